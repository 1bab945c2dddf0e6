//! The lines of Istio's Mixer, which `kubectl logs -c mixer` shows: one JSON object for each request, and
//! two for each TCP connection, when it opens and when it closes.
//!
//! Keys, their order and the way values are written are Mixer's. Destinations are described as Mixer
//! described what is outside the mesh: name, owner and workload `unknown`, namespace `default`. Of a
//! connection's close all bytes are told; Mixer's reports in between, every ten seconds, are not made.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::View;
use super::time::{write_go_duration, write_iso};
use super::value::write_json_string;
use crate::accesslog::{Field, Kind, Record, Traffic};
use crate::remote::Remote;

/// Who reports: the gateway itself, as Kubernetes sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Namespace, such as `istio-system`.
    pub namespace: String,
    /// Label `app` of the pod, such as `istio-ingressgateway`.
    pub app: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the Deployment that owns the pod.
    pub deployment: String,
}

impl Workload {
    /// Appends the object for a record.
    pub(super) fn write(&self, view: View<'_>, out: &mut Vec<u8>) {
        match view.record.kind {
            Kind::Http => self.request(view, Object::open(out)),
            Kind::TcpOpen => self.connection(view, "open", Object::open(out)),
            Kind::TcpClose => self.connection(view, "close", Object::open(out)),
        }
    }

    fn request(&self, view: View<'_>, mut object: Object<'_>) {
        let record = view.record;
        let text = |field| view.text(field).unwrap_or_default();
        let Traffic {
            received, sent, request_headers, response_headers, response_trailers, ..
        } = record.bytes;
        let path = view.text(Field::OriginalPath).or_else(|| view.text(Field::Path));
        let scheme = view.text(Field::Scheme).unwrap_or(b"http");
        object
            .moment("time", record.start)
            .text("instance", "accesslog.logentry.istio-system")
            .text("apiClaims", "")
            .text("apiKey", "")
            .text("clientTraceId", "");
        destination(record, service_host(view), &mut object);
        object
            .text("grpcMessage", "")
            .text("grpcStatus", "")
            .text("httpAuthority", text(Field::Authority))
            .duration("latency", record.end() - record.start)
            .text("method", text(Field::Method))
            .text("permissiveResponseCode", "none")
            .text("permissiveResponsePolicyID", "none")
            .text("protocol", scheme)
            .number("receivedBytes", received + u64::from(request_headers))
            .text("referer", text(Field::Referer))
            .text("reporter", "source")
            .text("requestId", text(Field::RequestId))
            .number("requestSize", received)
            .text("requestedServerName", text(Field::ServerName))
            .number("responseCode", record.status.into())
            .number("responseSize", sent)
            .moment("responseTimestamp", record.end())
            .number("sentBytes", sent + u64::from(response_headers) + u64::from(response_trailers));
        // Mixer gave the gateway's own address here, and always in its 16-byte form.
        let source = record.downstream_local.map(|address| match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        });
        self.source(source.as_ref().map(<[u8; 16]>::as_slice), &mut object);
        object
            .text("url", path.unwrap_or_default())
            .text("userAgent", text(Field::UserAgent))
            .text("xForwardedFor", text(Field::ForwardedFor))
            .close();
    }

    fn connection(&self, view: View<'_>, event: &str, mut object: Object<'_>) {
        let record = view.record;
        let Traffic { received, sent, .. } = record.bytes;
        let lasted = if event == "open" { 0 } else { record.end() - record.start };
        object
            .moment("time", record.end())
            .text("instance", "tcpaccesslog.logentry.istio-system")
            .duration("connectionDuration", lasted)
            .text("connectionEvent", event);
        destination(record, b"", &mut object);
        object
            .text("protocol", "tcp")
            .number("receivedBytes", received)
            .text("reporter", "source")
            .text("requestedServerName", view.text(Field::ServerName).unwrap_or_default())
            .number("sentBytes", sent);
        self.source(record.downstream_remote.map(octets).as_deref(), &mut object);
        object.number("totalReceivedBytes", received).number("totalSentBytes", sent).close();
    }

    fn source(&self, ip: Option<&[u8]>, object: &mut Object<'_>) {
        let Self { namespace, app, pod, deployment } = self;
        let owner =
            format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{deployment}");
        object
            .text("sourceApp", app)
            .bytes("sourceIp", ip.unwrap_or(&[0; 4]))
            .text("sourceName", pod)
            .text("sourceNamespace", namespace)
            .text("sourceOwner", owner)
            // A gateway that speaks plain text or passes TLS through has none.
            .text("sourcePrincipal", "")
            .text("sourceWorkload", deployment);
    }
}

fn destination(record: &Record, host: &[u8], object: &mut Object<'_>) {
    let ip = record.upstream_remote.as_ref().and_then(Remote::socket).map(octets);
    object
        .text("connection_security_policy", "unknown")
        .text("destinationApp", "")
        .bytes("destinationIp", ip.as_deref().unwrap_or(&[0; 4]))
        .text("destinationName", "unknown")
        .text("destinationNamespace", "default")
        .text("destinationOwner", "unknown")
        .text("destinationPrincipal", "")
        .text("destinationServiceHost", host)
        .text("destinationWorkload", "unknown");
}

/// The service that a request went to: the host in Istio's cluster name, else what the client asked for.
fn service_host(view: View<'_>) -> &[u8] {
    let cluster = view.text(Field::Cluster).unwrap_or_default();
    let mut parts = cluster.rsplitn(2, |byte| *byte == b'|');
    match (parts.next(), parts.next()) {
        (Some(host), Some(_)) => host,
        _ => {
            let authority = view.text(Field::Authority).unwrap_or_default();
            authority.split(|byte| *byte == b':').next().unwrap_or_default()
        }
    }
}

fn octets(address: SocketAddr) -> Vec<u8> {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A JSON object that is being written, without blanks.
struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(b"{\"level\":\"info\"");
        Self(out)
    }

    fn key(&mut self, key: &str) {
        let _ = write!(self.0, ",\"{key}\":");
    }

    fn text(&mut self, key: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.key(key);
        write_json_string(value.as_ref(), self.0);
        self
    }

    fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    fn bytes(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.text(key, STANDARD.encode(value))
    }

    fn moment(&mut self, key: &str, nanos: u64) -> &mut Self {
        let mut text = Vec::new();
        write_iso(nanos, 6, &mut text);
        self.text(key, text)
    }

    fn duration(&mut self, key: &str, nanos: u64) -> &mut Self {
        let mut text = Vec::new();
        write_go_duration(nanos, &mut text);
        self.text(key, text)
    }

    fn close(&mut self) {
        self.0.push(b'}');
    }
}

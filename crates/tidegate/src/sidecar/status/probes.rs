//! Probes of the workload, asked from within: the kubelet's own requests could be refused as a stranger's.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a probe may take that does not say so, as in Kubernetes.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a server of gRPC answers is asked for (`grpc.health.v1.Health`).
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Bytes of such an answer at most.
const MOST_OF_HEALTH: usize = 4 << 10;
/// `HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;

/// A probe of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prober {
    action: Action,
    patience: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Http { port: u16, is_tls: bool, path: String, headers: Vec<(HeaderName, HeaderValue)> },
    Tcp(u16),
    Grpc { port: u16, service: String },
}

/// Where the workload is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub address: IpAddr,
    /// From where: what comes from there is not led back to the sidecar.
    pub source: Option<IpAddr>,
}

impl Prober {
    /// Asks the workload; the status of what it answers.
    ///
    /// # Errors
    /// It does not answer, or not in time, or says that it is not well: in words.
    pub async fn ask(&self, workload: Place) -> Result<StatusCode, String> {
        let asked = timeout(self.patience, self.action.ask(workload)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.patience)))
    }
}

impl Action {
    async fn ask(&self, workload: Place) -> Result<StatusCode, String> {
        let port = match self {
            Self::Http { port, .. } | Self::Grpc { port, .. } | Self::Tcp(port) => *port,
        };
        let words = |error: &dyn std::fmt::Display| format!("port {port} of the workload: {error}");
        let stream = workload.dial(port).await.map_err(|error| words(&error))?;
        let host = SocketAddr::new(workload.address, port).to_string();
        let asked = match self {
            Self::Tcp(_) => Ok(StatusCode::OK),
            Self::Grpc { service, .. } => health(stream, &host, service).await,
            Self::Http { is_tls, path, headers, .. } => {
                let request = request(&host, path, headers)?;
                match is_tls {
                    false => get(stream, request).await,
                    true => match tls(stream, workload.address).await {
                        Ok(stream) => get(stream, request).await,
                        Err(error) => Err(error.to_string()),
                    },
                }
            }
        };
        asked.map_err(|why| words(&why))
    }
}

fn request(
    host: &str,
    path: &str,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Request<Empty<Bytes>>, String> {
    let request = Request::get(path).header(header::HOST, host).body(Empty::new());
    let mut request = request.map_err(|error| error.to_string())?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    Ok(request)
}

/// The status of an answer. One that leads elsewhere is a good one, as to kubelets, which could not follow it from outside.
async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<StatusCode, String> {
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(words);
    connection.abort();
    let status = answer?.status();
    Ok(if status.is_redirection() { StatusCode::OK } else { status })
}

/// Whether a service of gRPC is well, by its protocol of health (`grpc.health.v1`).
async fn health(stream: TcpStream, host: &str, service: &str) -> Result<StatusCode, String> {
    let words = |error: hyper::Error| error.to_string();
    let request = Request::post(format!("http://{host}{CHECK}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), io).await.map_err(words)?;
    let connection = tokio::spawn(connection);
    let told = async {
        let answer = sender.send_request(request).await.map_err(words)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_OF_HEALTH).collect().await;
        let body = body.map_err(|error| error.to_string())?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let code = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or("none");
        match (code, status(&body.to_bytes())) {
            ("0", Some(SERVING)) => Ok(StatusCode::OK),
            ("0", Some(status)) => Err(format!("its health is {status}, not SERVING ({SERVING})")),
            ("0", None) => Err("its health is told in another form than grpc.health.v1".to_owned()),
            (code, _) => Err(format!("grpc-status {code}")),
        }
    };
    let told = told.await;
    connection.abort();
    told
}

/// A `HealthCheckRequest`, whose field 1 is the service, in the frame of gRPC: a byte without flags, and the length.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    // Longer names would take another byte of length: those of Kubernetes are shorter.
    if let (false, Ok(length @ ..0x80)) = (service.is_empty(), u8::try_from(service.len())) {
        message.extend([0x0a, length]);
        message.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// Field 1 of a `HealthCheckResponse`; it is 0 where the field is not there. `None`: it is no such message.
fn status(mut frame: &[u8]) -> Option<u8> {
    if frame.len() < 5 || frame.get_u8() != 0 || frame.get_u32() as usize != frame.len() {
        return None;
    }
    match frame {
        [] => Some(0),
        [0x08, status @ ..0x80] => Some(*status),
        _ => None,
    }
}

async fn tls(
    stream: TcpStream,
    address: IpAddr,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(ServerName::from(address), stream).await
}

/// Takes any certificate, as kubelets do: the probe asks whether the workload is well, not who it is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Place {
    pub(super) async fn dial(self, port: u16) -> io::Result<TcpStream> {
        let socket = match self.address {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.connect(SocketAddr::new(self.address, port)).await
    }
}

/// The probes that injection tells of.
///
/// # Errors
/// It is no such text: where, and why.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Prober>, String> {
    let told: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let told = told.as_object().ok_or("it is no object")?;
    told.iter()
        .map(|(path, probe)| {
            let prober = prober(probe).map_err(|why| format!("{path}: {why}"))?;
            Ok((path.clone(), prober))
        })
        .collect()
}

fn prober(probe: &Value) -> Result<Prober, String> {
    let port = |action: &Value| {
        let port = action["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        port.filter(|port| *port > 0).ok_or_else(|| format!("{} is no port", action["port"]))
    };
    let action = if let Some(http) = probe.get("httpGet") {
        Action::Http {
            port: port(http)?,
            is_tls: http["scheme"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("https")),
            path: absolute(http["path"].as_str().unwrap_or_default()),
            headers: headers(&http["httpHeaders"])?,
        }
    } else if let Some(tcp) = probe.get("tcpSocket") {
        Action::Tcp(port(tcp)?)
    } else if let Some(grpc) = probe.get("grpc") {
        let service = grpc["service"].as_str().unwrap_or_default().to_owned();
        Action::Grpc { port: port(grpc)?, service }
    } else {
        return Err("it asks by none of httpGet, tcpSocket and grpc".to_owned());
    };
    let seconds = probe["timeoutSeconds"].as_u64().filter(|seconds| *seconds > 0);
    Ok(Prober { action, patience: seconds.map_or(PATIENCE, Duration::from_secs) })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn headers(told: &Value) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let told = told.as_array().into_iter().flatten();
    told.map(|header| {
        let text = |name: &str| header[name].as_str().unwrap_or_default();
        let name = text("name").parse().map_err(|_| format!("{} is no header", header["name"]))?;
        let value = text("value").parse();
        Ok((name, value.map_err(|_| format!("{} is no value of a header", header["value"]))?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_are_read_as_injection_writes_them() {
        let told = json!({
            "/app-health/app/readyz": {
                "httpGet": {"path": "ready", "port": 8080, "scheme": "HTTP",
                    "httpHeaders": [{"name": "X-Probe", "value": "1"}]},
                "timeoutSeconds": 3,
            },
            "/app-health/app/livez": {"tcpSocket": {"port": 9000}},
            "/app-health/app/startupz": {"grpc": {"port": 9001, "service": "db"}},
            "/app-health/other/livez": {"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}},
        });
        let probers = read(&told.to_string()).expect("probes");
        let headers = vec![(HeaderName::from_static("x-probe"), HeaderValue::from_static("1"))];
        let http = Action::Http { port: 8080, is_tls: false, path: "/ready".to_owned(), headers };
        let ready = &probers["/app-health/app/readyz"];
        assert_eq!((&ready.action, ready.patience), (&http, Duration::from_secs(3)));
        let live = &probers["/app-health/app/livez"];
        assert_eq!((&live.action, live.patience), (&Action::Tcp(9000), PATIENCE));
        let grpc = Action::Grpc { port: 9001, service: "db".to_owned() };
        assert_eq!(probers["/app-health/app/startupz"].action, grpc);
        let tls = &probers["/app-health/other/livez"].action;
        assert!(matches!(tls, Action::Http { is_tls: true, port: 8443, .. }), "{tls:?}");
        for (wrong, why) in [
            ("[]", "no object"),
            ("{", "EOF"),
            (r#"{"/x": {"tcpSocket": {"port": 70000}}}"#, "/x: 70000 is no port"),
            (r#"{"/x": {"exec": {}}}"#, "none of httpGet"),
            (r#"{"/x": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}}"#, "no header"),
        ] {
            let found = read(wrong).expect_err(wrong);
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn health_is_asked_and_told_in_the_frame_of_grpc() {
        assert_eq!(&question("")[..], [0; 5]);
        assert_eq!(&question("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(status(&[0, 0, 0, 0, 2, 0x08, 1]), Some(SERVING));
        assert_eq!(status(&[0; 5]), Some(0), "UNKNOWN");
        for wrong in
            [&[][..], &[0, 0, 0, 0, 2, 0x08], &[1, 0, 0, 0, 2, 0x08, 1], &[0, 0, 0, 0, 1, 7]]
        {
            assert_eq!(status(wrong), None, "{wrong:?}");
        }
    }
}

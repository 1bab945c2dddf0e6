//! What kubelets and Prometheus ask of a sidecar, at the ports of Istio's agent: injected Pods' probes and annotations lead there.
//!
//! | port | path | what |
//! |---|---|---|
//! | 15020 | `/healthz/ready` | as at 15021 |
//! | 15020, 15090 | `/stats/prometheus` | counters for Prometheus |
//! | 15020 | `/app-health/CONTAINER/PROBE` | a probe of the workload, asked from within |

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidegate_proxy::admin::{Admin, State};
use tidegate_proxy::view::View;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Workload;
use crate::failure::{Failure, Outcome, both};
use crate::{http_server, listen};

/// What injection tells of the probes that it has led here: each by its path.
const PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";
/// What it tells of metrics of the workload that it has hidden from Prometheus.
const METRICS: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
/// Where Istio's agent answers.
const STATUS_PORT: u16 = 15020;
/// Where Istio's proxies tell their counters.
const METRICS_PORT: u16 = 15090;
/// How long a probe may take that does not say so, as in Kubernetes.
const PATIENCE: Duration = Duration::from_secs(1);

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Both ports, bound, and what is known of the workload's probes.
#[derive(Debug)]
pub struct Status {
    status: TcpListener,
    metrics: TcpListener,
    probers: BTreeMap<String, Prober>,
}

/// A probe of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prober {
    action: Action,
    patience: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Http {
        port: u16,
        path: String,
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    Tcp(u16),
    /// One that cannot be asked, and why.
    Unasked(&'static str),
}

impl Status {
    /// Binds the ports, of every address of the workload's unless flags say another.
    ///
    /// # Errors
    /// One is taken.
    pub fn bind(workload: &Workload, [status, metrics]: [Option<SocketAddr>; 2]) -> Outcome<Self> {
        let status = status.unwrap_or_else(|| workload.any(STATUS_PORT));
        let metrics = metrics.unwrap_or_else(|| workload.any(METRICS_PORT));
        let (status, metrics) = both(
            listen::bind(status, "--status-listen"),
            listen::bind(metrics, "--metrics-listen"),
        )?;
        Ok(Self { status, metrics, probers: BTreeMap::new() })
    }

    /// The same, with the workload's probes as the environment says, which injection has written.
    ///
    /// # Errors
    /// It says something else.
    pub fn probing(self) -> Outcome<Self> {
        if std::env::var_os(METRICS).is_some() {
            tracing::warn!(
                "the workload's own metrics ({METRICS}) are not told at port {STATUS_PORT}: have Prometheus ask the workload itself"
            );
        }
        let Ok(told) = std::env::var(PROBERS) else { return Ok(self) };
        let probers = read(&told)
            .map_err(|why| Failure::new(format!("{PROBERS}: {why}")).or("inject the Pod anew"))?;
        Ok(Self { probers, ..self })
    }

    /// Where both ports are.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn places(&self) -> Outcome<[SocketAddr; 2]> {
        both(listen::local(&self.status), listen::local(&self.metrics)).map(|(s, m)| [s, m])
    }

    /// Answers until the process ends. Needs a runtime.
    pub fn serve(self, admin: &Arc<Admin>, view: &Arc<View>, workload: &Workload) {
        let Self { status, metrics, probers } = self;
        let address = workload.addresses.first().copied();
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let sources = tidegate_pilot::Workload { addresses: workload.addresses.clone() }.sources();
        let source = sources.into_iter().find(|source| source.is_ipv4() == address.is_ipv4());
        let told = Arc::new(Told {
            admin: Arc::clone(admin),
            view: Arc::clone(view),
            probers,
            workload: Place { address, source },
        });
        let counters = Arc::clone(&told);
        let counters = move |request, _| {
            let told = Arc::clone(&counters);
            async move { told.counters(&request) }
        };
        let all = move |request, _| {
            let told = Arc::clone(&told);
            async move { told.answer(request).await }
        };
        tokio::spawn(http_server::http("status", status, None, all));
        tokio::spawn(http_server::http("metrics", metrics, None, counters));
    }
}

/// What is told, and of whom.
struct Told {
    admin: Arc<Admin>,
    view: Arc<View>,
    probers: BTreeMap<String, Prober>,
    workload: Place,
}

/// Where the workload is asked.
#[derive(Clone, Copy, Debug)]
struct Place {
    address: IpAddr,
    /// From where: what comes from there is not led back to the sidecar.
    source: Option<IpAddr>,
}

impl Told {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Some(prober) = self.probers.get(request.uri().path()) {
            return match prober.ask(self.workload).await {
                Ok(status) => text(status, String::new()),
                Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
            };
        }
        match request.uri().path() {
            "/healthz/ready" if reads(request.method()) => {
                let is_ready = self.asked("/ready").is_some_and(|it| it.status().is_success())
                    && self.view.serves_initial_configuration();
                text(
                    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE },
                    String::new(),
                )
            }
            _ => self.counters(&request),
        }
    }

    fn counters(&self, request: &Request<Incoming>) -> Response<Body> {
        let asks = reads(request.method()) && request.uri().path() == "/stats/prometheus";
        let told = asks.then(|| self.asked("/stats/prometheus")).flatten();
        told.unwrap_or_else(|| text(StatusCode::NOT_FOUND, String::new()))
    }

    /// What the admin interface answers.
    fn asked(&self, path: &str) -> Option<Response<Body>> {
        let request = Request::get(path).header(header::HOST, "localhost").body(()).ok()?;
        let answer = self.admin.answer(&request);
        let response = Response::builder()
            .status(answer.status)
            .header(header::CONTENT_TYPE, answer.content_type);
        response.body(answer.body.boxed_unsync()).ok()
    }
}

const fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).boxed_unsync());
    *response.status_mut() = status;
    response
}

impl Prober {
    /// Asks the workload; the status of what it answers.
    async fn ask(&self, workload: Place) -> Result<StatusCode, String> {
        let asked = timeout(self.patience, self.action.ask(workload)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.patience)))
    }
}

impl Action {
    async fn ask(&self, workload: Place) -> Result<StatusCode, String> {
        let dial = async |port: u16| {
            workload
                .dial(port)
                .await
                .map_err(|error| format!("port {port} of the workload: {error}"))
        };
        match self {
            Self::Unasked(why) => Err((*why).to_owned()),
            Self::Tcp(port) => dial(*port).await.map(|_| StatusCode::OK),
            Self::Http { port, path, headers } => {
                let stream = TokioIo::new(dial(*port).await?);
                let words = |error: hyper::Error| format!("port {port} of the workload: {error}");
                let (mut sender, connection) = http1::handshake(stream).await.map_err(words)?;
                let connection = tokio::spawn(connection);
                let mut request = Request::get(path.as_str())
                    .body(Empty::<Bytes>::new())
                    .map_err(|error| error.to_string())?;
                let host = SocketAddr::new(workload.address, *port).to_string();
                let host = HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
                request.headers_mut().insert(header::HOST, host);
                for (name, value) in headers {
                    request.headers_mut().insert(name, value.clone());
                }
                let answer = sender.send_request(request).await.map_err(words);
                connection.abort();
                answer.map(|answer| answer.status())
            }
        }
    }
}

impl Place {
    async fn dial(self, port: u16) -> io::Result<TcpStream> {
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
fn read(text: &str) -> Result<BTreeMap<String, Prober>, String> {
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
        let is_tls = http["scheme"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("https"));
        match is_tls {
            true => Action::Unasked("probes of HTTPS are not asked by this sidecar"),
            false => Action::Http {
                port: port(http)?,
                path: absolute(http["path"].as_str().unwrap_or_default()),
                headers: headers(&http["httpHeaders"])?,
            },
        }
    } else if let Some(tcp) = probe.get("tcpSocket") {
        Action::Tcp(port(tcp)?)
    } else {
        Action::Unasked("probes of gRPC are not asked by this sidecar")
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
            "/app-health/app/startupz": {"grpc": {"port": 9001}},
            "/app-health/other/livez": {"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}},
        });
        let probers = read(&told.to_string()).expect("probes");
        let headers = vec![(HeaderName::from_static("x-probe"), HeaderValue::from_static("1"))];
        let http = Action::Http { port: 8080, path: "/ready".to_owned(), headers };
        let ready = &probers["/app-health/app/readyz"];
        assert_eq!((&ready.action, ready.patience), (&http, Duration::from_secs(3)));
        let live = &probers["/app-health/app/livez"];
        assert_eq!((&live.action, live.patience), (&Action::Tcp(9000), PATIENCE));
        for path in ["/app-health/app/startupz", "/app-health/other/livez"] {
            assert!(matches!(probers[path].action, Action::Unasked(_)), "{path}");
        }
        for (wrong, why) in [
            ("[]", "no object"),
            ("{", "EOF"),
            (r#"{"/x": {"tcpSocket": {"port": 70000}}}"#, "/x: 70000 is no port"),
            (r#"{"/x": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}}"#, "no header"),
        ] {
            let found = read(wrong).expect_err(wrong);
            assert!(found.contains(why), "{found}");
        }
    }
}

//! What kubelets and Prometheus ask of a sidecar, at the ports of Istio's agent: injected Pods' probes and annotations lead there.
//!
//! | port | path | what |
//! |---|---|---|
//! | 15020 | `/healthz/ready` | as at 15021 |
//! | 15020, 15090 | `/stats/prometheus` | counters for Prometheus |
//! | 15020 | `/app-health/CONTAINER/PROBE` | a probe of the workload, asked from within (`probes.rs`) |
//!
//! At 15020 the counters are those of the workload, too, where injection has hidden these from Prometheus (`metrics.rs`).

mod metrics;
mod probes;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tidegate_proxy::admin::{Admin, State};
use tidegate_proxy::view::View;

use self::metrics::OwnMetrics;
use self::probes::{Place, Prober};
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

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Both ports, bound, and what is known of the workload's probes.
#[derive(Debug)]
pub struct Status {
    status: TcpListener,
    metrics: TcpListener,
    probers: BTreeMap<String, Prober>,
    own: OwnMetrics,
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
        Ok(Self { status, metrics, probers: BTreeMap::new(), own: OwnMetrics::default() })
    }

    /// The same, with the workload's probes and metrics as the environment says, which injection has written.
    ///
    /// # Errors
    /// It says something else.
    pub fn probing(mut self) -> Outcome<Self> {
        let wrong = |name: &str, why: String| {
            Failure::new(format!("{name}: {why}")).or("inject the Pod anew")
        };
        if let Ok(told) = std::env::var(PROBERS) {
            self.probers = probes::read(&told).map_err(|why| wrong(PROBERS, why))?;
        }
        if let Ok(told) = std::env::var(METRICS) {
            let own = listen::local(&self.status)?.port();
            self.own = OwnMetrics::read(&told, own).map_err(|why| wrong(METRICS, why))?;
        }
        Ok(self)
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
        let Self { status, metrics, probers, own } = self;
        let address = workload.addresses.first().copied();
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let sources = tidegate_pilot::Workload { addresses: workload.addresses.clone() }.sources();
        let source = sources.into_iter().find(|source| source.is_ipv4() == address.is_ipv4());
        let told = Arc::new(Told {
            admin: Arc::clone(admin),
            view: Arc::clone(view),
            probers,
            own,
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
    own: OwnMetrics,
    workload: Place,
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
            _ => self.merged(&request).await,
        }
    }

    /// Counters of the proxy, and those of the workload behind them.
    async fn merged(&self, request: &Request<Incoming>) -> Response<Body> {
        let answer = self.counters(request);
        if self.own.is_empty() || !answer.status().is_success() {
            return answer;
        }
        let (head, body) = answer.into_parts();
        let mut text =
            body.collect().await.unwrap_or_else(|never| match never {}).to_bytes().to_vec();
        text.extend(self.own.ask(self.workload.address, request.headers()).await);
        Response::from_parts(head, Full::from(text).boxed_unsync())
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

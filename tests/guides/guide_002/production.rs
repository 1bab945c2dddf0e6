//! "Complete Production Example": all of it at once, and what it does when a version fails under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::ClientConfig;
use serde_json::json;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Builder, Origin};
use tidegate_testing::tools::Tool;
use tidegate_testing::{HeldPort, PATIENCE, eventually};

use crate::support::{Load, Progress, objects};

use super::{Guide, apply, pod, say};

const API: &str = "api.mycompany.com";
const WEB: &str = "www.mycompany.com";
/// The cluster of version 2.
const V2: &str = "cluster.outbound|8080|v2|api-service.default.svc.cluster.local";

/// What the example takes for granted: two Pods of each version of the API, the frontend, and a certificate.
struct Company {
    guide: Guide,
    ca: Ca,
    /// Whether the second Pod of version 2 fails.
    fails: Arc<AtomicBool>,
    /// Whether the first one does.
    fails_too: Arc<AtomicBool>,
    /// That Pod, while it is there.
    failing: Option<Origin>,
    _pods: Vec<Origin>,
    _gone: HeldPort,
}

impl Company {
    async fn begin() -> Option<Self> {
        let services = [("web-frontend", 80)];
        let guide = Guide::begin(&[Tool::Kubectl], &services).await?;
        let [fails, fails_too] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let v1 = Origin::start().http2().http(|request| say("v1", request)).await;
        let v2 = failing(Origin::start(), "v2-a", &fails_too).await;
        let v2_failing = failing(Origin::start(), "v2-b", &fails).await;
        let gone = HeldPort::any();
        let pods = [
            ("v1-a", "v1", v1.address()),
            ("v1-b", "v1", gone.address),
            ("v2-a", "v2", v2.address()),
            ("v2-b", "v2", v2_failing.address()),
        ];
        let objects = pods.map(|(name, version, address)| {
            pod("api-service", name, &json!({"app": "api", "version": version}), address)
        });
        let api = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "api-service"},
            "spec": {"ports": [{"name": "http", "port": 8080}], "selector": {"app": "api"}},
        });
        apply(&guide.shell, &format!("{api}\n{}", objects.join("\n"))).await;

        let ca = Ca::new("company");
        let mut secret = objects::certificate("mycompany-tls-credential", &ca.issue(&[API, WEB]));
        secret["metadata"]["namespace"] = json!("istio-system");
        apply(&guide.shell, &secret.to_string()).await;
        guide.apply("production-ingress.yaml").await;
        let failing = Some(v2_failing);
        Some(Self { guide, ca, fails, fails_too, failing, _pods: vec![v1, v2], _gone: gone })
    }

    /// Waits until one Pod of version 2 is ejected, and looks at how that is told.
    async fn ejected(&self, pod: SocketAddr) {
        let gateway = &self.guide.gateway;
        let active = format!("{V2}.outlier_detection.ejections_active");
        eventually(PATIENCE, || async { gateway.stat(&active).await == 1 }).await;
        let count = async |name: &str| gateway.stat(&format!("{V2}.{name}")).await;
        assert_eq!(count("outlier_detection.ejections_enforced_consecutive_5xx").await, 1);
        assert_eq!(count("membership_healthy").await, 1);
        assert_eq!(count("membership_total").await, 2);
        let clusters = client::get(gateway.admin, "localhost", "/clusters").await.text();
        let cluster = V2.trim_start_matches("cluster.");
        let line = format!("{cluster}::{pod}::health_flags::/failed_outlier_check");
        assert!(clusters.lines().any(|found| found == line), "no {line} in {clusters}");
        self.told("EndpointEjected", pod).await;
    }

    /// Waits until it gets requests again.
    async fn returned(&self, pod: SocketAddr) {
        let gateway = &self.guide.gateway;
        let healthy = format!("{V2}.membership_healthy");
        eventually(PATIENCE, || async { gateway.stat(&healthy).await == 2 }).await;
        self.told("EndpointReturned", pod).await;
    }

    /// Waits for an event of the Service about a Pod's address in version 2.
    async fn told(&self, reason: &str, pod: SocketAddr) {
        let about = format!("endpoint {pod} of {}", V2.trim_start_matches("cluster."));
        eventually(PATIENCE, || async {
            let events = self.guide.shell.ok("kubectl describe service api-service").await;
            let told = |line: &str| line.contains(reason) && line.contains(&about);
            if events.lines().any(told) { Ok(()) } else { Err(format!("no {reason}: {events}")) }
        })
        .await;
    }

    /// How many requests the Pod that fails has had.
    fn asked(&self) -> usize {
        self.failing.as_ref().map_or(0, Origin::requests)
    }

    /// The answer to a GET over TLS.
    async fn get(&self, host: &str, path: &str) -> client::Response {
        let config = self.ca.client_config(&["http/1.1"]);
        let stream = client::tls(self.guide.gateway.https, host, config).await;
        let mut client = Client::over(stream.expect("a handshake"));
        client.request(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }

    /// Clients that ask for a path of the API; what is wrong is any answer but 200.
    fn load(&self, path: &'static str) -> Load {
        let (address, config) = (self.guide.gateway.https, self.ca.client_config(&["http/1.1"]));
        Load::run(CLIENTS, move |progress| ask(address, Arc::clone(&config), path, progress))
    }
}

const CLIENTS: usize = 4;

/// A Pod of version 2: it answers 500 while it fails.
async fn failing(origin: Builder, name: &'static str, fails: &Arc<AtomicBool>) -> Origin {
    let fails = Arc::clone(fails);
    let answer = move |request| {
        let fails = fails.load(Ordering::SeqCst);
        async move {
            let mut answer = say(name, request).await;
            if fails {
                *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            }
            answer
        }
    };
    origin.http2().http(answer).await
}

/// One client: a request after the other on one connection. `PATH STATUS SERVICE` of what was not answered 200 by an
/// endpoint that works.
async fn ask(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    path: &'static str,
    progress: Arc<Progress>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let stream = client::tls(address, API, config).await;
    let mut client = Client::over(stream.expect("a handshake"));
    while progress.goes_on() {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {API}\r\n\r\n");
        let answer = client.request(request).await;
        match answer.status {
            200 => progress.answered(),
            status => faults.push(format!("{path} {status} {}", answer.text())),
        }
    }
    faults
}

#[tokio::test]
async fn everything_goes_where_the_production_example_says() {
    let Some(company) = Company::begin().await else { return };
    // "HTTP server with redirect to HTTPS"
    for host in [API, WEB] {
        let answer = company.guide.gateway.get(host, "/v1/a?b").await;
        assert_eq!(answer.status, 301);
        assert_eq!(answer.header("location"), Some(&*format!("https://{host}/v1/a?b")));
    }
    assert_eq!(company.guide.gateway.get("mycompany.com", "/").await.status, 404);
    // "Health check endpoint", "API v2 endpoints", "API v1 endpoints", "Default route to latest API version"
    for (path, versions) in [
        ("/health", &["v1", "v2-a", "v2-b"][..]),
        ("/v2/a", &["v2-a", "v2-b"]),
        ("/v1/a", &["v1"]),
        ("/health/a", &["v2-a", "v2-b"]),
        ("/", &["v2-a", "v2-b"]),
    ] {
        for _ in 0..20 {
            let answer = company.get(API, path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let told = answer.json();
            assert_eq!(told["path"], path);
            assert!(versions.iter().any(|version| told["service"] == *version), "{path}: {told}");
            assert_eq!(answer.header("cache-control"), None);
        }
    }
    // "Static assets with caching headers"
    for (path, cached) in [("/static/a.css", Some("public, max-age=31536000")), ("/a", None)] {
        let answer = company.get(WEB, path).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, cached), "{path}");
        assert_eq!(answer.json()["service"], "web-frontend");
    }
}

#[tokio::test]
async fn a_version_that_fails_under_load_costs_a_few_requests_until_it_heals() {
    let Some(company) = Company::begin().await else { return };
    let pod = company.failing.as_ref().expect("it is there").address();
    let [v1, v2] = ["/v1/a", "/v2/a"].map(|path| company.load(path));
    v1.flows(200).await;
    v2.flows(200).await;
    company.fails.store(true, Ordering::SeqCst);
    company.ejected(pod).await;
    let failed = v2.stop().await;
    // "consecutive5xxErrors: 5", and those that were on their way until somebody had decided: how many depends on the machine.
    assert!((5..100).contains(&failed.len()), "{failed:?}");
    for fault in &failed {
        assert!(fault.starts_with("/v2/a 500 ") && fault.contains("v2-b"), "{fault}");
    }
    // The other one serves on alone: "maxEjectionPercent: 50".
    let asked = company.asked();
    let v2 = company.load("/v2/a");
    v2.flows(500).await;
    assert_eq!(company.asked(), asked, "requests come to a Pod that is ejected");
    // It heals, and returns when its time is over: sooner than after the example's 30 seconds, with a change under load.
    company.fails.store(false, Ordering::SeqCst);
    let sooner = json!({"interval": "1s", "baseEjectionTime": "1s"});
    let sooner = json!({"spec": {"trafficPolicy": {"outlierDetection": sooner}}});
    let rule = "destinationrule api-service-destinationrule";
    company.guide.shell.ok(&format!("kubectl patch {rule} --type=merge -p '{sooner}'")).await;
    company.returned(pod).await;
    let has_been_asked = || async { company.asked() >= asked + 100 };
    eventually(PATIENCE, has_been_asked).await;
    assert_eq!(v2.stop().await, [""; 0]);
    // One Pod of version 1 is not there at all: what cannot connect is tried again elsewhere.
    assert_eq!(v1.stop().await, [""; 0]);
}

#[tokio::test]
async fn a_version_of_which_all_fails_under_load_takes_nothing_else_with_it() {
    let Some(company) = Company::begin().await else { return };
    let [v1, v2] = ["/v1/a", "/v2/a"].map(|path| company.load(path));
    v1.flows(200).await;
    v2.flows(200).await;
    for fails in [&company.fails, &company.fails_too] {
        fails.store(true, Ordering::SeqCst);
    }
    // "maxEjectionPercent: 50": of its two Pods one is taken out, and the other one would be.
    let gateway = &company.guide.gateway;
    let count = async |name: &str| gateway.stat(&format!("{V2}.outlier_detection.{name}")).await;
    eventually(PATIENCE, || async { count("ejections_overflow").await > 0 }).await;
    assert_eq!(count("ejections_active").await, 1);
    // Whoever asks hears what the version says itself, and nobody else hears of it.
    for fault in v2.stop().await {
        assert!(fault.starts_with("/v2/a 500 ") && fault.contains("v2-"), "{fault}");
    }
    for fails in [&company.fails, &company.fails_too] {
        fails.store(false, Ordering::SeqCst);
    }
    let healed = company.load("/v2/a");
    healed.flows(500).await;
    assert_eq!(healed.stop().await, [""; 0]);
    assert_eq!(v1.stop().await, [""; 0]);
}

#[tokio::test]
async fn a_version_that_refuses_connections_under_load_is_tried_elsewhere_until_it_is_back() {
    let Some(mut company) = Company::begin().await else { return };
    let v2 = company.load("/v2/a");
    v2.flows(200).await;
    let pod = company.failing.take().expect("it is there");
    let address = pod.address();
    pod.kill().await;
    company.ejected(address).await;
    // "retryOn: connect-failure,refused-stream,unavailable" does not repeat what had reached the Pod; nothing else fails.
    let failed = v2.stop().await;
    assert!(failed.len() <= 2 * CLIENTS, "{failed:?}");
    for fault in &failed {
        assert!(fault.starts_with("/v2/a 503 ") && fault.contains("connection"), "{fault}");
    }
    let v2 = company.load("/v2/a");
    v2.flows(500).await;
    // It is back before its time is over, as soon as it takes connections.
    company.failing = Some(failing(Origin::start().at(address), "v2-b", &company.fails).await);
    company.returned(address).await;
    eventually(PATIENCE, || async { company.asked() >= 100 }).await;
    assert_eq!(v2.stop().await, [""; 0]);
}

//! What kubelets and Prometheus ask of a sidecar, from outside of the workload.

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use tidegate_testing::ca::Ca;
use tidegate_testing::client;
use tidegate_testing::origin::{Body, Origin, empty, full};

use super::at;
use crate::support::captured::{WORKLOAD, World};

/// A workload that is well for whoever asks as its probe does.
async fn probed(request: Request<Incoming>) -> Response<Body> {
    let is_probe = request.headers().get("x-probe").is_some_and(|value| value == "1");
    let is_well = is_probe && request.uri().path() == "/ready";
    let mut answer = Response::new(empty());
    *answer.status_mut() = if is_well { 200 } else { 418 }.try_into().expect("a status");
    answer
}

/// A service of gRPC that is well for whoever asks for `db`.
async fn healthy(request: Request<Incoming>) -> Response<Body> {
    use http_body_util::BodyExt;
    let is_health = request.uri().path() == "/grpc.health.v1.Health/Check"
        && request.headers()["content-type"] == "application/grpc";
    let asked = request.into_body().collect().await.expect("a body").to_bytes();
    let is_db = is_health && asked == [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b'][..];
    let status = if is_db { 1 } else { 2 };
    let mut answer = Response::new(full(Bytes::from(vec![0, 0, 0, 0, 2, 8, status])));
    answer.headers_mut().insert("grpc-status", "0".parse().expect("a value"));
    answer
}

/// The workload's own metrics.
async fn measured(request: Request<Incoming>) -> Response<Body> {
    let is_asked = request.uri().path() == "/own";
    Response::new(full(if is_asked { "orders_total 7\n" } else { "" }))
}

#[tokio::test]
async fn health_counters_and_probes_are_where_injected_pods_have_them() {
    let Some(world) = World::new() else { return };
    let app = Origin::start().on(world.listen(at(WORKLOAD[0], 8080)).await).http(probed).await;
    let http = |path: &str| {
        json!({ "httpGet": { "path": path, "port": 8080, "scheme": "HTTP",
            "httpHeaders": [{ "name": "X-Probe", "value": "1" }] }, "timeoutSeconds": 20 })
    };
    let probers = json!({
        "/app-health/app/readyz": http("/ready"),
        "/app-health/app/livez": http("/else"),
        "/app-health/app/startupz": { "tcpSocket": { "port": 8080 }, "timeoutSeconds": 20 },
        "/app-health/gone/livez": { "tcpSocket": { "port": 8081 }, "timeoutSeconds": 20 },
        "/app-health/tls/livez": { "httpGet": { "path": "/ready", "port": 8443, "scheme": "HTTPS",
            "httpHeaders": [{ "name": "X-Probe", "value": "1" }] }, "timeoutSeconds": 20 },
        "/app-health/grpc/livez": { "grpc": { "port": 9001, "service": "db" }, "timeoutSeconds": 20 },
        "/app-health/grpc/readyz": { "grpc": { "port": 9001 }, "timeoutSeconds": 20 },
    });
    let certificate = Ca::new("workloads").issue(&["nobody.example"]);
    let tls = Origin::start().tls(&certificate).on(world.listen(at(WORKLOAD[0], 8443)).await);
    let _tls = tls.http(probed).await;
    let grpc = Origin::start().http2().on(world.listen(at(WORKLOAD[0], 9001)).await);
    let _grpc = grpc.http(healthy).await;
    let metrics = Origin::start().on(world.listen(at("127.0.0.1", 9090)).await);
    let _metrics = metrics.http(measured).await;
    // As istio-init is told to.
    world.capture(&["-i", "*", "-b", "*", "-d", "15090,15021,15020"]);
    let manifests = world.manifests().display().to_string();
    let own = json!({ "scrape": "true", "port": "9090", "path": "/own" });
    let variables = [
        ("ISTIO_KUBE_APP_PROBERS", &*probers.to_string()),
        ("ISTIO_PROMETHEUS_ANNOTATIONS", &own.to_string()),
    ];
    let sidecar = world.sidecar_on(&variables, &["-f", &manifests]).await;
    let ask = async |port: u16, path: &str| {
        let answer = client::get(at(WORKLOAD[0], port), "10.77.0.100", path).await;
        (answer.status, answer.text())
    };
    assert_eq!(ask(15020, "/healthz/ready").await.0, 200);
    for port in [15020, 15090] {
        let (status, counters) = ask(port, "/stats/prometheus").await;
        assert_eq!(status, 200);
        assert!(
            counters.contains("\nenvoy_server_live{} 1\n")
                || counters.contains("envoy_server_live 1\n"),
            "{counters}"
        );
        assert_eq!(counters.contains("\norders_total 7\n"), port == 15020, "{counters}");
    }
    assert_eq!(ask(15020, "/app-health/app/readyz").await.0, 200);
    assert_eq!(ask(15020, "/app-health/app/livez").await.0, 418, "what the workload answers");
    assert_eq!(app.requests(), 2);
    assert_eq!(ask(15020, "/app-health/app/startupz").await.0, 200);
    let (status, why) = ask(15020, "/app-health/gone/livez").await;
    assert!(status == 500 && why.contains("port 8081 of the workload"), "{status} {why}");
    let (status, why) = ask(15020, "/app-health/tls/livez").await;
    assert_eq!(status, 200, "whoever it is: {why}");
    assert_eq!(ask(15020, "/app-health/grpc/livez").await.0, 200);
    let (status, why) = ask(15020, "/app-health/grpc/readyz").await;
    assert!(status == 500 && why.contains("not SERVING"), "{status} {why}");
    for (port, path) in
        [(15020, "/app-health/nobody/livez"), (15020, "/quitquitquit"), (15090, "/healthz/ready")]
    {
        assert_eq!(ask(port, path).await.0, 404, "{port}{path}");
    }
    sidecar.end().await;
}

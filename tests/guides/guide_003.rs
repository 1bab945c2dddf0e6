//! Guide 003, "Configuring Egress with Envoy", for a workload whose connections and queries are really captured; its commands are typed
//! here as it writes them.
//!
//! Three things stand in for others: curl in the workload's network for `kubectl exec`, `tidegate run` for the node that would start the
//! Pod of a Deployment, and origins of the test, which an own name server leads to, for httpbin.org and www.google.com.

use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::captured::ORIGINS;
use crate::support::egress_guide::Setting;

const HTTPBIN: &str = "cat <<EOF | kubectl create -f -
apiVersion: v1
kind: Service
metadata:
  name: httpbin
spec:
  type: ExternalName
  externalName: httpbin.org
  ports:
  - port: 80
EOF";

const SECUREGOOGLE: &str = "cat <<EOF | kubectl create -f -
apiVersion: v1
kind: Service
metadata:
  name: securegoogle
spec:
  type: ExternalName
  externalName: www.google.com
  ports:
  - port: 443
EOF";

/// The values of `--includeIPRanges` that the guide names, of one platform after the other.
const RANGES: [&str; 3] =
    ["10.0.0.1/24", "172.30.0.0/16,172.20.0.0/16", "10.4.0.0/14,10.7.240.0/20"];

const SOURCE_POD: &str = "kubectl get pod -l app=sleep -o jsonpath={.items..metadata.name}";
/// The workload's own address.
const SOURCE_IP: &str = "kubectl get pod -l app=sleep -o jsonpath={.items..status.podIP}";

/// Answers with the Host and the path that it was asked for; at `/ip` with whom it was asked by, as httpbin does.
async fn told(request: Request<Incoming>) -> Response<Body> {
    let client = request.extensions().get::<SocketAddr>();
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    Response::new(full(match (request.uri().path(), client) {
        ("/ip", Some(client)) => client.ip().to_string(),
        (path, _) => format!("{}{path}", host.unwrap_or("nobody")),
    }))
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// Waits for a line of the workload's sidecar that has all of these parts.
async fn logged(setting: &Setting, parts: &[&str]) {
    eventually(PATIENCE, async || {
        let log = setting.shell.ok("kubectl logs -l app=sleep -c istio-proxy --tail=-1").await;
        let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        if found { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn external_services_are_reached_by_the_names_of_services() {
    let Some(setting) = Setting::new("001/samples/sleep").await else { return };
    let Setting { shell, names: internet, .. } = &setting;
    internet.address("httpbin.org.", 60, ORIGINS[0]);
    internet.address("www.google.com.", 60, ORIGINS[1]);
    let identity = setting.certificate("www.google.com");
    let _httpbin = Origin::start().at(at(ORIGINS[0], 80)).http(told).await;
    let _google = Origin::start().at(at(ORIGINS[1], 443)).tls(&identity).http(told).await;

    // Before you begin
    shell.ok("kubectl apply -f <(istioctl kube-inject -f sleep.yaml)").await;
    let source = setting.workload("sleep-1", "app=sleep", &[]).await;
    assert_eq!(shell.ok(SOURCE_POD).await, "sleep-1");
    let unknown = source.curl(&["http://httpbin/headers"]).await;
    assert!(unknown.contains(" 000") && unknown.contains("resolve"), "{unknown}");

    // Using the Istio Egress service
    assert_eq!(shell.ok(HTTPBIN).await, "service/httpbin created\n");
    assert_eq!(shell.ok(SECUREGOOGLE).await, "service/securegoogle created\n");
    let asks = async |url: &str, expected: &str| {
        source.answers(&[url], |answer| answer == expected).await;
    };
    asks("http://httpbin/headers", "httpbin.org/headers 200").await;
    asks("http://securegoogle:443", "www.google.com/ 200").await;
    asks("http://securegoogle.default.svc:443", "www.google.com/ 200").await;
    let by_name = ["\"GET /headers", "outbound|80||httpbin.default.svc.cluster.local"];
    logged(&setting, &by_name).await;
    let over_tls = ["\"GET /", "outbound|443|~tls|securegoogle.default.svc.cluster.local"];
    logged(&setting, &over_tls).await;

    // Who speaks TLS already is not wrapped in TLS once more, and nobody else's TLS goes there.
    let own = source.curl(&["-k", "https://securegoogle/"]).await;
    assert_eq!(own, "securegoogle/ 200");
    logged(&setting, &["outbound|443||securegoogle.default.svc.cluster.local"]).await;
    let other =
        source.curl(&["-k", "--connect-to", "::10.77.0.3:443", "https://other.example/"]).await;
    assert!(other.contains(" 000"), "{other}");
    logged(&setting, &["BlackHoleCluster", "other.example"]).await;
    // What no object describes is not reached by its own name.
    let denied = source.curl(&["http://httpbin.org/headers"]).await;
    assert!(denied.ends_with(" 502"), "{denied}");
    source.end().await;

    for (number, ranges) in (2..).zip(RANGES) {
        calls_directly(&setting, &format!("sleep-{number}"), ranges).await;
    }

    // What is removed has no name any more.
    let source = setting.workload("sleep-9", "app=sleep", &[]).await;
    source.answers(&["http://httpbin/headers"], |it| it == "httpbin.org/headers 200").await;
    shell.ok("kubectl delete service httpbin securegoogle").await;
    source.answers(&["http://httpbin/headers"], |it| it.contains("resolve")).await;
    source.end().await;
}

/// "Calling external services directly": the service is started as the guide writes it, for one platform.
async fn calls_directly(setting: &Setting, pod: &str, ranges: &str) {
    let Setting { shell, .. } = setting;
    let inject = format!("istioctl kube-inject -f sleep.yaml --includeIPRanges={ranges}");
    shell.ok(&format!("kubectl apply -f <({inject})")).await;
    let source = setting.deployed(pod).await;
    assert_eq!(shell.ok(SOURCE_POD).await, pod);
    let direct = source.curl(&["http://httpbin.org/headers"]).await;
    assert_eq!(direct, "httpbin.org/headers 200");
    let seen = source.curl(&["http://httpbin.org/ip"]).await;
    assert_eq!(seen, format!("{} 200", shell.ok(SOURCE_IP).await), "the workload's own address");
    let log = shell.ok(&format!("kubectl logs {pod} -c istio-proxy")).await;
    assert_eq!(log, "", "nothing has touched the sidecar");
    source.end().await;
}

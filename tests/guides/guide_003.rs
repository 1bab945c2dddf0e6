//! Guide 003, "Configuring Egress with Envoy", for a workload whose connections and queries are really captured; its commands are typed
//! here as it writes them.
//!
//! Three things stand in for others: curl in the workload's network for `kubectl exec`, what `kube-inject` would have a Pod started with
//! for the Pod, and origins of the test, which an own name server leads to, for httpbin.org and www.google.com.

use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::captured::{ORIGINS, RESOLVER};
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

/// What is known of the workload, as its node would tell.
const SLEEP: &str = "cat <<EOF | kubectl create -f -
apiVersion: v1
kind: Pod
metadata:
  name: sleep
  labels:
    app: sleep
spec:
  containers:
  - name: sleep
    image: curlimages/curl
status:
  podIP: 10.77.0.100
EOF";

/// Answers with the Host and the path that it was asked for.
async fn told(request: Request<Incoming>) -> Response<Body> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    Response::new(full(format!("{}{}", host.unwrap_or("nobody"), request.uri().path())))
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

#[tokio::test]
async fn external_services_are_reached_by_the_names_of_services() {
    let Some(setting) = Setting::new(".").await else { return };
    let Setting { world, shell, names: internet, roots, kubeconfig, .. } = &setting;
    internet.address("httpbin.org.", 60, ORIGINS[0]);
    internet.address("www.google.com.", 60, ORIGINS[1]);
    let identity = setting.certificate("www.google.com");
    let _httpbin = Origin::start().at(at(ORIGINS[0], 80)).http(told).await;
    let _google = Origin::start().at(at(ORIGINS[1], 443)).tls(&identity).http(told).await;

    world.capture(&["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    shell.ok(SLEEP).await;
    let pods = "kubectl get pod -l app=sleep -o jsonpath={.items..metadata.name}";
    let source_pod = shell.ok(pods).await;
    let api = ["--kubeconfig", kubeconfig, "--pod", source_pod.trim()];
    let names = ["--dns-listen", "--dns-server", RESOLVER];
    let flags = [&api[..], &names].concat();
    let sidecar = world.sidecar_on(&[("SSL_CERT_FILE", roots)], &flags).await;
    let unknown = world.curl(&["http://httpbin/headers"]).await;
    assert!(unknown.contains(" 000") && unknown.contains("resolve"), "{unknown}");

    // Using the Istio Egress service
    assert_eq!(shell.ok(HTTPBIN).await, "service/httpbin created\n");
    assert_eq!(shell.ok(SECUREGOOGLE).await, "service/securegoogle created\n");
    let asks = async |url: &str, expected: &str| {
        eventually(PATIENCE, async || {
            let answer = world.curl(&[url]).await;
            if answer == expected { Ok(()) } else { Err(answer) }
        })
        .await;
    };
    asks("http://httpbin/headers", "httpbin.org/headers 200").await;
    asks("http://securegoogle:443", "www.google.com/ 200").await;
    asks("http://securegoogle.default.svc:443", "www.google.com/ 200").await;
    sidecar.logged(&["\"GET /headers", "outbound|80||httpbin.default.svc.cluster.local"]).await;
    sidecar.logged(&["\"GET /", "outbound|443|~tls|securegoogle.default.svc.cluster.local"]).await;

    // Who speaks TLS already is not wrapped in TLS once more, and nobody else's TLS goes there.
    let own = world.curl(&["-k", "https://securegoogle/"]).await;
    assert_eq!(own, "securegoogle/ 200");
    sidecar.logged(&["outbound|443||securegoogle.default.svc.cluster.local"]).await;
    let other =
        world.curl(&["-k", "--connect-to", "::10.77.0.3:443", "https://other.example/"]).await;
    assert!(other.contains(" 000"), "{other}");
    sidecar.logged(&["BlackHoleCluster", "other.example"]).await;

    // Calling external services directly: outside of --includeIPRanges nothing touches the sidecar.
    let before = sidecar.log().lines().count();
    world.capture(&["-i", "10.0.0.1/24", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let direct = world.curl(&["http://httpbin.org/headers"]).await;
    assert_eq!(direct, "httpbin.org/headers 200");

    // What is removed has no name any more.
    shell.ok("kubectl delete service httpbin securegoogle").await;
    eventually(PATIENCE, async || {
        let answer = world.curl(&["http://httpbin/headers"]).await;
        if answer.contains("resolve") { Ok(()) } else { Err(answer) }
    })
    .await;
    let log = sidecar.end().await;
    assert_eq!(log.lines().count(), before, "{log}");
}

//! Guide 003, "Configuring Egress with Envoy", for a workload whose connections and queries are really captured.
//!
//! Its Services come from files, as the sidecar reads them there: `kubectl create` is a file that is written, `kubectl delete` one that is
//! removed. httpbin.org and www.google.com are origins of the test, which an own name server leads to.

use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::ca::Ca;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::captured::{ORIGINS, RESOLVER, World, resolver};

const HTTPBIN: &str = "
apiVersion: v1
kind: Service
metadata:
  name: httpbin
spec:
  type: ExternalName
  externalName: httpbin.org
  ports:
  - port: 80
";

const SECUREGOOGLE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: securegoogle
spec:
  type: ExternalName
  externalName: www.google.com
  ports:
  - port: 443
";

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
    let Some(world) = World::new() else { return };
    let internet = resolver().await;
    internet.address("httpbin.org.", 60, ORIGINS[0]);
    internet.address("www.google.com.", 60, ORIGINS[1]);
    let ca = Ca::new("internet");
    let identity = ca.issue(&["www.google.com"]);
    let _httpbin = Origin::start().at(at(ORIGINS[0], 80)).http(told).await;
    let _google = Origin::start().at(at(ORIGINS[1], 443)).tls(&identity).http(told).await;
    let roots = world.file("roots.pem", ca.pem());

    world.capture(&["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let flags = ["--labels", "app=sleep", "--dns-listen", "--dns-server", RESOLVER];
    let sidecar = world.sidecar_with(&[("SSL_CERT_FILE", &roots)], &flags).await;
    let unknown = world.curl(&["http://httpbin/headers"]).await;
    assert!(unknown.contains(" 000") && unknown.contains("resolve"), "{unknown}");

    // Using the Istio Egress service
    world.manifest("httpbin.yaml", HTTPBIN);
    world.manifest("securegoogle.yaml", SECUREGOOGLE);
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

    // Calling external services directly: outside of --includeIPRanges nothing touches the sidecar.
    let before = sidecar.log().lines().count();
    world.capture(&["-i", "10.0.0.1/24", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let direct = world.curl(&["http://httpbin.org/headers"]).await;
    assert_eq!(direct, "httpbin.org/headers 200");

    // What is removed has no name any more.
    for manifest in ["httpbin.yaml", "securegoogle.yaml"] {
        std::fs::remove_file(world.manifests().join(manifest)).expect("removed");
    }
    eventually(PATIENCE, async || {
        let answer = world.curl(&["http://httpbin/headers"]).await;
        if answer.contains("resolve") { Ok(()) } else { Err(answer) }
    })
    .await;
    let log = sidecar.end().await;
    assert_eq!(log.lines().count(), before, "{log}");
}

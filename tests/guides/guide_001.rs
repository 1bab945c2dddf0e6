//! Guide 001, "Control Egress Traffic", for a workload whose connections and queries are really captured; its commands are typed here
//! as it writes them.
//!
//! Three things stand in for others: curl in the workload's network for `kubectl exec`, `tidegate run` for the node that would start the
//! Pod of a Deployment, and origins of the test, which an own name server leads to, for httpbin.org and www.google.com.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::origin::{Body, Origin, full};

use crate::support::captured::{ORIGINS, greeter};
use crate::support::egress_guide::{Setting, Workload};

const HTTPBIN: &str = "cat <<EOF | istioctl create -f -
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: httpbin-ext
spec:
  hosts:
  - httpbin.org
  ports:
  - number: 80
    name: http
    protocol: http
EOF";

const GOOGLE: &str = "cat <<EOF | istioctl create -f -
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: google-ext
spec:
  hosts:
  - www.google.com
  ports:
  - number: 443
    name: https
    protocol: http
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: google-ext
spec:
  name: www.google.com
  trafficPolicy:
    tls:
      mode: SIMPLE # initiates HTTPS when talking to www.google.com
EOF";

const TIMEOUT: &str = "cat <<EOF | istioctl create -f -
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: httpbin-ext
spec:
  hosts:
    - httpbin.org
  http:
  - timeout: 3s
EOF";

const SOURCE_POD: &str = "kubectl get pod -l app=sleep -o jsonpath={.items..metadata.name}";

/// Ranges that the guide names, of one platform after the other.
const RANGES: [&str; 4] = [
    "172.30.0.0/16,172.20.0.0/16,10.10.10.0/24",
    "10.4.0.0/14,10.7.240.0/20",
    "10.244.0.0/16,10.240.0.0/16",
    "10.0.0.1/24",
];

/// Answers as httpbin does: `/delay/N` after as many seconds; with the Host that it was asked for, and by whom.
async fn httpbin(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if let Some(seconds) = path.strip_prefix("/delay/").and_then(|seconds| seconds.parse().ok()) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    Response::new(full(format!("{}{path}", host.unwrap_or("nobody"))))
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// Asks for an answer that takes 5 seconds: its status, and how long it took.
async fn delayed(source: &Workload) -> (String, Duration) {
    let begun = Instant::now();
    let arguments = ["-o", "/dev/null", "-s", "-w", "%{http_code}\n", "http://httpbin.org/delay/5"];
    let status = source.exec("curl", &arguments).await.success();
    (status, begun.elapsed())
}

#[tokio::test]
async fn what_service_entries_describe_goes_out_and_nothing_else() {
    let Some(setting) = Setting::new("001").await else { return };
    let Setting { shell, names, .. } = &setting;
    names.address("httpbin.org.", 60, ORIGINS[0]);
    names.address("www.google.com.", 60, ORIGINS[1]);
    let web = Origin::start().at(at(ORIGINS[0], 80)).http(httpbin).await;
    let identity = setting.certificate("www.google.com");
    let google = Origin::start().at(at(ORIGINS[1], 443)).tls(&identity).http(httpbin).await;

    // Before you begin
    shell.ok("kubectl apply -f <(istioctl kube-inject -f samples/sleep/sleep.yaml)").await;
    let source = setting.workload("sleep-1", "app=sleep", &[]).await;
    let source_pod = shell.ok(SOURCE_POD).await;
    assert_eq!(source_pod, "sleep-1");
    let denied = source.curl(&["http://httpbin.org/headers"]).await;
    let words = "egress to httpbin.org on port 80 is denied: ";
    assert!(denied.starts_with(words) && denied.ends_with(" 502"), "{denied}");
    let denied = source.curl(&["http://www.google.com:443"]).await;
    assert!(denied.ends_with(" 502"), "{denied}");
    assert_eq!((web.connections(), google.connections()), (0, 0));

    // Configuring the external services, and requests to them
    shell.ok(HTTPBIN).await;
    shell.ok(GOOGLE).await;
    source.answers(&["http://httpbin.org/headers"], |it| it == "httpbin.org/headers 200").await;
    source.answers(&["http://www.google.com:443"], |it| it == "www.google.com:443/ 200").await;

    // Setting route rules on an external service
    let (status, time) = delayed(&source).await;
    assert_eq!(status, "200\n");
    assert!(time >= Duration::from_secs(5), "{time:?}");
    shell.ok(TIMEOUT).await;
    let mut last = delayed(&source).await;
    // "Wait a few seconds, then issue the curl request again."
    for _ in 0..3 {
        if last.0 == "504\n" {
            break;
        }
        last = delayed(&source).await;
    }
    let (status, time) = last;
    assert_eq!(status, "504\n");
    assert!(time >= Duration::from_secs(3) && time < Duration::from_secs(5), "{time:?}");

    // The API's own gateway has nothing against what is for sidecars.
    let found = shell.run("istioctl analyze").await;
    assert!(found.status.success() && found.stdout.is_empty(), "{found:?}");
    let faults = "kubectl get se,vs,dr -o jsonpath='{range .items[*].status.conditions[?(@.type!=\"Programmed\")]}{.status} {.reason}: {.message}{\"\\n\"}{end}'";
    let faults = shell.ok(faults).await;
    assert!(faults.contains("NotSelected") && !faults.contains("False"), "{faults}");

    calls_directly(&setting, source, &web).await;
}

/// "Calling external services directly", and what comes after it.
async fn calls_directly(setting: &Setting, source: Workload, web: &Origin) {
    let Setting { shell, .. } = setting;
    source.end().await;
    let mut running = None;
    for ranges in RANGES {
        if let Some(before) = running.take() {
            Workload::end(before).await;
        }
        let inject =
            format!("istioctl kube-inject -f samples/sleep/sleep.yaml --includeIPRanges={ranges}");
        shell.ok(&format!("kubectl apply -f <({inject})")).await;
        let source = setting.deployed("sleep-2").await;
        assert_eq!(shell.ok(SOURCE_POD).await, "sleep-2");
        let before = web.connections();
        let direct = source.curl(&["http://httpbin.org/headers"]).await;
        assert_eq!(direct, "httpbin.org/headers 200", "{ranges}");
        assert_eq!(web.connections(), before + 1, "{ranges}");
        let log = shell.ok("kubectl logs sleep-2 -c istio-proxy").await;
        assert_eq!(log, "", "{ranges}: nothing has touched the sidecar");
        running = Some(source);
    }
    let source = running.expect("the last of them");
    // Whatever the protocol, and whoever speaks first.
    greeter(ORIGINS[0], 27017).await;
    let greeted = "exec 3<>/dev/tcp/10.77.0.2/27017; head -n 1 <&3";
    let mongo = source.exec("bash", &["-c", greeted]).await.success();
    let own = "kubectl get pod sleep-2 -o jsonpath='{.status.podIP}'";
    assert_eq!(mongo, format!("hello {}\n", shell.ok(own).await), "the workload's own address");
    let log = shell.ok("kubectl logs sleep-2 -c istio-proxy").await;
    assert_eq!(log, "", "nothing has touched the sidecar");
    source.end().await;

    // Cleanup
    let source = setting.workload("sleep-3", "app=sleep", &[]).await;
    source.answers(&["http://httpbin.org/headers"], |it| it == "httpbin.org/headers 200").await;
    shell.ok("istioctl delete ServiceEntry httpbin-ext google-ext").await;
    shell.ok("istioctl delete destinationrule google-ext").await;
    shell.ok("istioctl delete virtualservice httpbin-ext").await;
    source.answers(&["http://httpbin.org/headers"], |it| it.ends_with(" 502")).await;
    source.answers(&["http://www.google.com:443"], |it| it.ends_with(" 502")).await;
    shell.ok("kubectl delete -f samples/sleep/sleep.yaml").await;
    source.end().await;
    assert_eq!(shell.ok("kubectl get pods -o name").await, "");
}

//! Guide 004, "Consuming External Web Services", for a workload whose connections and queries are really captured; its commands are
//! typed here as it writes them, but for `--dry-run`, to which kubectl wants a value by now.
//!
//! Three things stand in for others: curl in the workload's network, with the URL that its Deployment has it ask for, for the details
//! microservice; `tidegate run` for the node that would start the Pod of the Deployment; and an origin of the test, which an own name
//! server leads to, for www.googleapis.com.

use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::Shell;
use crate::support::captured::ORIGINS;
use crate::support::egress_guide::Setting;

const HTTPS: &str = "kubectl apply -f - <<EOF
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: googleapis
spec:
  hosts:
  - www.googleapis.com
  ports:
  - number: 443
    name: https
    protocol: HTTPS
  location: MESH_EXTERNAL
  resolution: DNS
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: googleapis
spec:
  hosts:
  - www.googleapis.com
  tls:
  - match:
    - port: 443
      sni_hosts:
      - www.googleapis.com
    route:
    - destination:
        host: www.googleapis.com
        port:
          number: 443
      weight: 100
EOF";

const ORIGINATION: &str = "kubectl apply -f - <<EOF
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: googleapis
spec:
  hosts:
  - www.googleapis.com
  ports:
  - number: 443
    name: http-port-for-tls-origination
    protocol: HTTP
  resolution: DNS
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: originate-tls-for-googleapis
spec:
  host: www.googleapis.com
  trafficPolicy:
    loadBalancer:
      simple: ROUND_ROBIN
    portLevelSettings:
    - port:
        number: 443
      tls:
        mode: SIMPLE # initiates HTTPS when accessing edition.cnn.com
EOF";

const DETAILS: &str = "samples/bookinfo/platform/kube/bookinfo-details-v2.yaml";
const ROUTING: &str = "samples/bookinfo/networking/virtual-service-details-v2.yaml";
const BOOK: &str = "/books/v1/volumes?q=isbn:0486424618";

/// What is asked for, which is what is answered.
async fn books(request: Request<Incoming>) -> Response<Body> {
    let asked = request.uri().path_and_query().map(ToString::to_string);
    Response::new(full(asked.unwrap_or_default()))
}

/// The URL that the Deployment has the details microservice ask for: its port is that of HTTPS either way.
async fn url(shell: &Shell) -> String {
    let env = "{.spec.template.spec.containers[0].env[?(@.name==\"DO_NOT_ENCRYPT\")].value}";
    let plain = shell.ok(&format!("kubectl get deployment details-v2 -o jsonpath='{env}'")).await;
    match plain.as_str() {
        "true" => format!("http://www.googleapis.com:443{BOOK}"),
        "false" => format!("https://www.googleapis.com{BOOK}"),
        other => panic!("DO_NOT_ENCRYPT is {other:?}"),
    }
}

#[tokio::test]
async fn external_web_services_are_consumed_over_https() {
    let Some(setting) = Setting::new("004").await else { return };
    let Setting { shell, names, .. } = &setting;
    names.address("www.googleapis.com.", 60, ORIGINS[0]);
    let identity = setting.certificate("www.googleapis.com");
    let at: SocketAddr = format!("{}:443", ORIGINS[0]).parse().expect("an address");
    let google = Origin::start().at(at).tls(&identity).http(books).await;
    shell.ok("kubectl apply -f samples/bookinfo/platform/kube/bookinfo-details.yaml").await;
    shell.ok("kubectl apply -f samples/bookinfo/networking/destination-rule-all.yaml").await;

    // Bookinfo with HTTPS access
    let set = "kubectl set env --local -f - 'DO_NOT_ENCRYPT=false' -o yaml";
    let apply =
        format!("kubectl apply -f {DETAILS} --dry-run=client -o yaml | {set} | kubectl apply -f -");
    shell.ok(&apply).await;
    shell.ok(&format!("kubectl apply -f {ROUTING}")).await;
    let details = setting.workload("details-v2-1", "app=details,version=v2", &[]).await;
    let book = url(shell).await;
    let denied = details.curl(&[&book]).await;
    assert!(denied.contains(" 000"), "{denied}");
    assert_eq!(google.connections(), 0);

    shell.ok(HTTPS).await;
    let found = format!("{BOOK} 200");
    details.answers(&[&book], |it| it == found).await;
    let listed = shell.ok("kubectl get serviceentries").await;
    assert!(listed.starts_with("NAME") && listed.contains("\ngoogleapis "), "{listed}");

    let deleted = shell.ok("kubectl delete serviceentry googleapis").await;
    assert!(deleted.contains("\"googleapis\" deleted"), "{deleted}");
    details.answers(&[&book], |it| it.contains(" 000")).await;

    // What was denied is told of the Pod.
    let pod =
        "$(kubectl get pods -l app=details -l version=v2 -o jsonpath='{.items[0].metadata.name}')";
    eventually(PATIENCE, async || {
        let told = shell.ok(&format!("kubectl describe pod {pod}")).await;
        let words = ["EgressDenied", "www.googleapis.com:443"];
        if words.iter().all(|word| told.contains(word)) { Ok(()) } else { Err(told) }
    })
    .await;

    // Cleanup of HTTPS access: the first one is deleted already, as above.
    shell.run("kubectl delete serviceentry googleapis").await;
    shell.ok("kubectl delete virtualservice googleapis").await;
    shell.ok(&format!("kubectl delete -f {ROUTING}")).await;
    shell.ok(&format!("kubectl delete -f {DETAILS}")).await;
    details.end().await;

    // Bookinfo with TLS origination
    shell.ok(&format!("kubectl apply -f {DETAILS}")).await;
    shell.ok(&format!("kubectl apply -f {ROUTING}")).await;
    let format = ["--access-log-format", "istio-1.0"];
    let details = setting.workload("details-v2-2", "app=details,version=v2", &format).await;
    let book = url(shell).await;
    let denied = details.curl(&[&book]).await;
    assert!(denied.ends_with(" 502"), "{denied}");
    shell.ok(ORIGINATION).await;
    details.answers(&[&book], |it| it == found).await;

    let begins = format!("\"GET {BOOK} HTTP/1.1\" 200 - 0 ");
    let line = eventually(PATIENCE, async || {
        let log = shell.run(&format!("kubectl logs {pod} istio-proxy | grep googleapis")).await;
        let line = log.stdout.lines().find(|line| line.contains(&begins)).map(str::to_owned);
        line.ok_or(format!("{}{}", log.stdout, log.stderr))
    })
    .await;
    let ends = format!("\"www.googleapis.com:443\" \"{at}\"");
    assert!(line.starts_with('[') && line.ends_with(&ends), "{line}");
    let tail = shell.ok(&format!("kubectl logs {pod} istio-proxy --tail=1")).await;
    assert_eq!(tail.lines().collect::<Vec<_>>(), [line]);

    // Cleanup of TLS origination
    shell.ok("kubectl delete serviceentry googleapis").await;
    shell.ok("kubectl delete destinationrule originate-tls-for-googleapis").await;
    shell.ok(&format!("kubectl delete -f {ROUTING}")).await;
    shell.ok(&format!("kubectl delete -f {DETAILS}")).await;
    details.answers(&[&book], |it| it.ends_with(" 502")).await;
    details.end().await;
}

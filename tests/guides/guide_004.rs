//! Guide 004, "Consuming External Web Services", for a workload whose connections and queries are really captured; its commands are
//! typed here as it writes them, but for `--dry-run`, to which kubectl wants a value by now.
//!
//! Four things stand in for others: a server in the workload's network, which asks by curl for the URL that its Deployment has it ask
//! for, for the details microservice; another workload that asks it for the web page; `tidegate run` for the node that would start
//! the Pods of Deployments; and an origin of the test, which an own name server leads to, for www.googleapis.com.

use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::Shell;
use crate::support::captured::ORIGINS;
use crate::support::egress_guide::{Setting, Workload};

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
/// What the web page has of the book, asked of the details microservice by its name.
const PAGE: &str = "http://details:9080/details/0";
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

/// Starts the details microservice as its Deployment says: whoever asks it has it ask for the book, and is told what came of that.
async fn details(setting: &Setting, pod: &str, flags: &[&str]) -> (Workload, Origin) {
    let workload = setting.workload(pod, "app=details,version=v2", flags).await;
    let (inside, book) = (workload.inside(), url(&setting.shell).await);
    let server = Origin::start().on(workload.listen(9080)).http(move |_| {
        let (inside, book) = (inside.clone(), book.clone());
        async move {
            let answer = inside.curl(&[&book]).await;
            let (status, body) = match answer.strip_suffix(" 200") {
                Some(found) => (200, found.to_owned()),
                None => (500, answer),
            };
            Response::builder().status(status).body(full(body)).expect("a valid answer")
        }
    });
    (workload, server.await)
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
    let (workload, server) = details(&setting, "details-v2-1", &[]).await;
    let productpage = setting.workload("productpage-v1-1", "app=productpage,version=v1", &[]).await;
    productpage.answers(&[PAGE], |it| it.contains(" 000") && it.ends_with(" 500")).await;
    assert_eq!(google.connections(), 0);
    // "So what might have gone wrong?"
    eventually(PATIENCE, async || {
        let listed = shell.ok("tidegate egress denied").await;
        let row = listed.lines().find(|line| line.starts_with("details-v2-1.default "));
        let words: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
        let found = words.get(1..).is_some_and(|words| {
            words.starts_with(&["www.googleapis.com", ORIGINS[0], "443", "TLS"])
        });
        if found { Ok(()) } else { Err(listed) }
    })
    .await;

    shell.ok(HTTPS).await;
    let found = format!("{BOOK} 200");
    productpage.answers(&[PAGE], |it| it == found).await;
    assert!(google.connections() > 0);
    let listed = shell.ok("kubectl get serviceentries").await;
    assert!(listed.starts_with("NAME") && listed.contains("\ngoogleapis "), "{listed}");

    let deleted = shell.ok("kubectl delete serviceentry googleapis").await;
    assert!(deleted.contains("\"googleapis\" deleted"), "{deleted}");
    productpage.answers(&[PAGE], |it| it.contains(" 000") && it.ends_with(" 500")).await;

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
    drop(server);
    workload.end().await;

    // Bookinfo with TLS origination
    shell.ok(&format!("kubectl apply -f {DETAILS}")).await;
    shell.ok(&format!("kubectl apply -f {ROUTING}")).await;
    let format = ["--access-log-format", "istio-1.0"];
    let (workload, server) = details(&setting, "details-v2-2", &format).await;
    productpage.answers(&[PAGE], |it| it.contains(" 502") && it.ends_with(" 500")).await;
    shell.ok(ORIGINATION).await;
    productpage.answers(&[PAGE], |it| it == found).await;

    let begins = format!("\"GET {BOOK} HTTP/1.1\" 200 - 0 ");
    let line = eventually(PATIENCE, async || {
        let log = shell.run(&format!("kubectl logs {pod} istio-proxy | grep googleapis")).await;
        let line = log.stdout.lines().find(|line| line.contains(&begins)).map(str::to_owned);
        line.ok_or(format!("{}{}", log.stdout, log.stderr))
    })
    .await;
    let ends = format!("\"www.googleapis.com:443\" \"{at}\"");
    assert!(line.starts_with('[') && line.ends_with(&ends), "{line}");
    // Both requests are there: the one that came in, and the one that it led to.
    let came = ["\"GET /details/0 HTTP/1.1\" 200", "\"details:9080\""];
    eventually(PATIENCE, async || {
        let log = shell.ok(&format!("kubectl logs {pod} istio-proxy")).await;
        let found = log.lines().any(|line| came.iter().all(|part| line.contains(part)));
        if found { Ok(()) } else { Err(log) }
    })
    .await;

    // Cleanup of TLS origination
    shell.ok("kubectl delete serviceentry googleapis").await;
    shell.ok("kubectl delete destinationrule originate-tls-for-googleapis").await;
    shell.ok(&format!("kubectl delete -f {ROUTING}")).await;
    shell.ok(&format!("kubectl delete -f {DETAILS}")).await;
    productpage.answers(&[PAGE], |it| it.contains(" 502") && it.ends_with(" 500")).await;
    drop(server);
    workload.end().await;
    productpage.end().await;
}

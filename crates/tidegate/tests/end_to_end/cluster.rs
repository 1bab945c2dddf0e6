//! `tidegate up --kubeconfig`: gateways whose objects come from the API of another process, whatever happens to it.

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use tidegate_testing::client;
use tidegate_testing::origin::{Body, Origin, full};
use tokio::process::Command;

use crate::support::{Api, ApiServer, Attached, NETWORKING, Way, objects};

async fn hello(_: Request<Incoming>) -> Response<Body> {
    Response::new(full("hello".to_owned()))
}

/// A Gateway with routes for these hosts, all to one origin.
async fn publish(api: &mut Api, origin: &Origin, hosts: &[&str]) {
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("origin", "origin.example", origin.address()))
        .await;
    for host in hosts {
        route(api, host).await;
    }
}

async fn route(api: &mut Api, host: &str) {
    let name = host.split('.').next().unwrap_or_default();
    let route = objects::route(name, "web", host, "origin.example");
    api.create("virtualservices", &route).await;
}

async fn unroute(api: &mut Api, name: &str) {
    api.send("DELETE", &format!("{NETWORKING}/virtualservices/{name}"), "").await;
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_is_away_and_nothing_is_lost() {
    let origin = Origin::start().http(hello).await;
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    publish(&mut api, &origin, &["a.example", "goes.example"]).await;
    let way = Way::to(&server).await;
    let gateway = Attached::start(&way, &[]).await;
    gateway.ready().await;
    for host in ["a.example", "goes.example"] {
        assert_eq!(gateway.get(host).await.status, 200);
    }
    route(&mut api, "b.example").await;
    gateway.answers("b.example", 200).await;

    // A network that loses everything, and tells nobody.
    way.link.hold();
    route(&mut api, "c.example").await;
    unroute(&mut api, "goes").await;
    for _ in 0..20 {
        assert_eq!(gateway.get("goes.example").await.status, 200, "nobody can know");
    }
    way.link.mend(server.address);
    gateway.answers("c.example", 200).await;
    gateway.answers("goes.example", 404).await;

    // A server that dies, and has other things to tell when it is back.
    let place = server.place();
    server.process.kill().await;
    gateway.process.stderr().containing("what was read before stays in force").await;
    assert_eq!(gateway.get("c.example").await.status, 200);
    let server = ApiServer::start_at(&place, &[]).await;
    let mut api = server.client().await;
    unroute(&mut api, "a").await;
    route(&mut api, "d.example").await;
    assert_eq!(gateway.get("a.example").await.status, 200, "it has not heard of it");
    way.leads_to(&server);
    gateway.answers("d.example", 200).await;
    gateway.answers("a.example", 404).await;
    assert_eq!(gateway.get("b.example").await.status, 200);
    gateway.process.stderr().containing("the API server is followed again").await;
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let origin = Origin::start().http(hello).await;
    let server = ApiServer::start().await;
    let way = Way::to(&server).await;
    way.link.cut();
    let gateway = Attached::start(&way, &[]).await;
    gateway.process.stderr().containing("nothing is served before all objects are read").await;
    assert_eq!(client::get(gateway.health, "localhost", "/healthz/ready").await.status, 503);
    let mut api = server.client().await;
    publish(&mut api, &origin, &["a.example"]).await;
    way.link.mend(server.address);
    gateway.ready().await;
    assert_eq!(gateway.get("a.example").await.status, 200);
}

/// Endpoints come from EndpointSlices, and subsets from the labels of their Pods.
#[tokio::test]
async fn services_lead_to_the_pods_behind_them() {
    let one = Origin::start().http(|_| async { Response::new(full("one".to_owned())) }).await;
    let two = Origin::start().http(|_| async { Response::new(full("two".to_owned())) }).await;
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    let core = "/api/v1/namespaces/default";
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "app" },
        "spec": { "selector": { "app": "app" }, "ports": [{ "name": "http", "port": 80 }] },
    });
    api.send("POST", &format!("{core}/services"), &service.to_string()).await;
    for (version, origin, address) in [("v1", &one, "127.0.0.1"), ("v2", &two, "127.0.0.1")] {
        let name = format!("app-{version}");
        let labels = json!({ "app": "app", "version": version });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": labels },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
            "status": { "podIP": address },
        });
        api.send("POST", &format!("{core}/pods"), &pod.to_string()).await;
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "app" } },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": origin.address().port(), "protocol": "TCP" }],
            "endpoints": [{
                "addresses": [address],
                "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "namespace": "default", "name": name },
            }],
        });
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        api.send("POST", slices, &slice.to_string()).await;
    }
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": { "name": "app" },
        "spec": { "host": "app", "subsets": [{ "name": "two", "labels": { "version": "v2" } }] },
    });
    api.create("destinationrules", &rule).await;
    let to_two = json!([{ "route": [{ "destination": { "host": "app", "subset": "two" } }] }]);
    api.create("virtualservices", &objects::rules("two", "web", "two.example", &to_two)).await;
    let way = Way::to(&server).await;
    let gateway = Attached::start(&way, &[]).await;
    gateway.ready().await;
    for _ in 0..10 {
        assert_eq!(gateway.get("two.example").await.text(), "two");
    }
}

#[tokio::test]
async fn what_does_not_go_together_is_refused() {
    for (flags, told) in [
        (&["--kubeconfig", "x", "--data-dir", "y"][..], "--data-dir"),
        (&["--kubeconfig", "x", "--demo"], "--demo"),
        (&["--kubeconfig", "x", "-f", "."], "--filename"),
        (&["--kubeconfig", "x", "--api-listen", "127.0.0.1:0"], "--api-listen"),
        (&["--namespace", "x"], "--kubeconfig"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let refused = command.arg("up").args(flags).output().await.expect("it starts");
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && text.contains(told), "{flags:?}: {text}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["up", "--kubeconfig", "/nowhere/config", "--port-map", "80=0,443=0"]);
    command.args(["--admin-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
    let refused = command.output().await.expect("it starts");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("/nowhere/config") && text.contains("try: --kubeconfig FILE"), "{text}");
}

//! Flags of `tidegate up` that change what is served and what is said of it.

use regex::Regex;
use serde_json::{Value, json};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::{PATIENCE, eventually};
use tokio::sync::Mutex;

use crate::support::{Api, Gateway, NETWORKING, objects};

const SYSTEM: &str = "/api/v1/namespaces/istio-system";

/// A Gateway for those who have these labels.
fn selecting(name: &str, selector: Value) -> Value {
    let mut gateway = objects::gateway(name, 80, &["*"]);
    gateway["spec"]["selector"] = selector;
    gateway
}

#[tokio::test]
async fn gateway_labels_choose_which_gateways_are_served() {
    let origin = Origin::start().http(echo).await;
    let gateway = Gateway::start(&["--gateway-labels", "istio=edge,team=a"]).await;
    let mut api = Api::of(&gateway).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    for (name, selector) in [
        ("ingress", json!({ "istio": "ingressgateway" })),
        ("other", json!({ "istio": "edge", "team": "b" })),
        ("edge", json!({ "istio": "edge" })),
        ("team", json!({ "team": "a", "istio": "edge" })),
    ] {
        api.create("gateways", &selecting(name, selector)).await;
        let host = format!("{name}.example");
        api.create("virtualservices", &objects::route(name, name, &host, "a.internal")).await;
    }
    for name in ["edge", "team"] {
        gateway.answers(&format!("{name}.example"), "/", 200).await;
    }
    for name in ["ingress", "other"] {
        assert_eq!(gateway.get(&format!("{name}.example"), "/").await.status, 404, "{name}");
    }
    let service = api.send("GET", &format!("{SYSTEM}/services/istio-edge"), "").await;
    assert_eq!(service["spec"]["selector"]["team"], "a");
    let none = api.try_send("GET", &format!("{SYSTEM}/services/istio-ingressgateway"), "").await;
    assert_eq!(none.expect("an answer").status, 404);
}

#[tokio::test]
async fn connect_to_goes_elsewhere_than_the_name_says() {
    let origin = Origin::start().http(echo).await;
    let elsewhere = format!("a.invalid:80:127.0.0.1:{}", origin.address().port());
    let gateway = Gateway::start(&["--connect-to", &elsewhere]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let mut host = objects::host("a", "a.invalid", origin.address());
    host["spec"]["resolution"] = "DNS".into();
    for gone in ["endpoints", "ports"] {
        host["spec"].as_object_mut().expect("a spec").remove(gone);
    }
    host["spec"]["ports"] = json!([
        { "number": 80, "name": "http", "protocol": "HTTP" },
        { "number": 81, "name": "http-81", "protocol": "HTTP" },
    ]);
    api.create("serviceentries", &host).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.invalid")).await;
    gateway.answers("a.example", "/", 200).await;
    assert!(gateway.get("a.example", "/here").await.text().contains("/here"));

    // It is about one port: the name itself leads nowhere.
    let mut other = objects::route("b", "web", "b.example", "a.invalid");
    other["spec"]["http"][0]["route"][0]["destination"]["port"]["number"] = 81.into();
    api.create("virtualservices", &other).await;
    gateway.answers("b.example", "/", 503).await;
}

/// Waits until a container's log holds a line like this.
async fn logged(api: &Mutex<Api>, pod: &str, container: &str, pattern: &str) {
    let pattern = Regex::new(pattern).expect("a pattern");
    let path = format!("{SYSTEM}/pods/{pod}/log?container={container}");
    eventually(PATIENCE, || async {
        let answer = api.lock().await.try_send("GET", &path, "").await.expect("an answer").text();
        if answer.lines().any(|line| pattern.is_match(line)) {
            Ok(())
        } else {
            Err(format!("{pattern}\nis not in\n{answer}"))
        }
    })
    .await;
}

#[tokio::test]
async fn the_format_of_the_access_log_is_not_that_of_mixer() {
    let origin = Origin::start().http(echo).await;
    let gateway = Gateway::start(&["--access-log-format", "istio-1.0"]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    gateway.answers("a.example", "/one", 200).await;

    let pods = format!("{SYSTEM}/pods?labelSelector=istio-mixer-type%3Dtelemetry");
    let pods = api.send("GET", &pods, "").await;
    let mixer = pods["items"][0]["metadata"]["name"].as_str().expect("a Pod").to_owned();
    let api = Mutex::new(api);
    let line = format!(
        r#"^\[[-0-9T:.]+Z\] "GET /one HTTP/1\.1" 200 - 0 \d+ \d+ \d+ "127\.0\.0\.1" "[^"]*" "[-0-9a-f]{{36}}" "a\.example" "{}"$"#,
        origin.address()
    );
    logged(&api, "istio-ingressgateway", "istio-proxy", &line).await;
    let line = r#"^\{"level":"info","time":.*"destinationServiceHost":"a\.internal".*"responseCode":200,.*"sourceWorkload":"istio-ingressgateway","url":"/one",.*\}$"#;
    logged(&api, &mixer, "mixer", line).await;
    gateway.process.stdout().containing("\"GET /one HTTP/1.1\" 200").await;
}

#[tokio::test]
async fn the_service_shows_every_port_that_is_open() {
    let gateway = Gateway::start(&[]).await;
    let api = Mutex::new(Api::of(&gateway).await);
    let shows = async |port: u16, wanted: bool| {
        eventually(PATIENCE, || async {
            let path = format!("{SYSTEM}/services/istio-ingressgateway");
            let service = api.lock().await.send("GET", &path, "").await;
            let ports = service["spec"]["ports"].as_array().expect("ports");
            let own = |p: &&Value| p["port"] == port && p["targetPort"] == port;
            if ports.iter().any(|p| own(&p)) == wanted { Ok(()) } else { Err(service.to_string()) }
        })
        .await;
    };
    // The port that is bound for 80 is open for itself, too.
    let port = gateway.http.port();
    api.lock().await.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.lock().await.create("gateways", &objects::gateway("own", port, &["*"])).await;
    shows(port, true).await;
    let path = format!("{NETWORKING}/gateways/own");
    api.lock().await.send("DELETE", &path, "").await;
    shows(port, false).await;
}

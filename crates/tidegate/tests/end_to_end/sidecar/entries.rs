//! What ServiceEntries may say of a host beside its name and its port: how it is spoken to, where its endpoints are, and who sees it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::{PATIENCE, eventually};
use tokio::net::UnixListener;

use super::beside_envoy::origins;
use super::{EVERYTHING, at, first_words, host};
use crate::support::captured::{ORIGINS, RESOLVER, World, greeter, resolver};
use crate::support::entries::{in_namespace, service_entry};

/// Where an origin is, in the words of a ServiceEntry.
const AT_FIRST: [&str; 2] = ["resolution: STATIC", "endpoints: [{address: 10.77.0.2}]"];

/// Answers with the version of HTTP, what was asked for, and what the client says of trailers.
async fn spoken(request: Request<Incoming>) -> Response<Body> {
    let trailers = request.headers().get("te").and_then(|te| te.to_str().ok()).unwrap_or("-");
    Response::new(full(format!("{:?} {} te {trailers}", request.version(), request.uri())))
}

/// Answers with the name of an origin.
fn named(
    name: &'static str,
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Response<Body>> + Clone {
    move |_| std::future::ready(Response::new(full(name)))
}

/// What a client of gRPC is answered: status, fields and content.
async fn call(world: &World, to: SocketAddr, host: &str) -> (u16, HeaderMap, String) {
    let stream = world.dial(to).await.expect("a connection");
    let answer = async {
        let (client, connection) = h2::client::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(format!("http://{host}/own.Service/Call"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = request.body(()).expect("a request");
        let response = client.ready().await?.send_request(request, true)?.0.await?;
        let (head, mut content) = response.into_parts();
        let mut text = Vec::new();
        while let Some(data) = content.data().await {
            text.extend_from_slice(&data?);
        }
        connection.abort();
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok::<_, h2::Error>((head.status.as_u16(), head.headers, text))
    };
    tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer")
}

async fn ask(world: &World, host: &str) -> String {
    world.curl(&["-H", &format!("Host: {host}"), "http://10.77.0.200/"]).await
}

#[tokio::test]
async fn http2_and_grpc_are_spoken_to_the_origin_as_to_the_workload() {
    let Some(world) = World::new() else { return };
    let (grpc, other) = (at(ORIGINS[0], 50051), at(ORIGINS[0], 8082));
    let _grpc = Origin::start().at(grpc).http2().http(spoken).await;
    let _other = Origin::start().at(other).http2().http(spoken).await;
    world.manifest("grpc.yaml", &service_entry("grpc.example", (50051, "GRPC"), &AT_FIRST));
    world.manifest("http2.yaml", &service_entry("h2.example", (8082, "HTTP2"), &AT_FIRST));
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    for (to, name) in [(grpc, "grpc.example"), (other, "h2.example")] {
        let (status, _, words) = call(&world, to, name).await;
        let expected = format!("HTTP/2.0 http://{name}/own.Service/Call te trailers");
        assert_eq!((status, words), (200, expected));
        sidecar.logged(&[&format!("outbound|{}||{name}", to.port()), "HTTP/2\" 200"]).await;
    }
    // A workload that speaks HTTP/1.1 to a port of HTTP/2 reaches it, too.
    let older = world.curl(&["-H", "Host: h2.example", "http://10.77.0.2:8082/"]).await;
    assert_eq!(older, "HTTP/2.0 http://h2.example/ te - 200");
    // A refusal is one that clients of gRPC understand.
    let (status, fields, _) = call(&world, grpc, "stranger.example").await;
    let told = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    assert_eq!((status, told("grpc-status")), (200, Some("14")), "{fields:?}");
    assert!(told("grpc-message").is_some_and(|words| words.contains("stranger.example")));
    sidecar.end().await;
}

#[tokio::test]
async fn an_endpoint_may_be_a_unix_socket() {
    let Some(world) = World::new() else { return };
    let path = world.file("origin.sock", "");
    std::fs::remove_file(&path).expect("a place");
    let listener = UnixListener::bind(&path).expect("a socket");
    // The sidecar is of another user.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("a mode");
    tokio::spawn(origins::requests_on_socket(listener));
    let endpoints = format!("endpoints: [{{address: 'unix://{path}'}}]");
    let entry = service_entry("socket.example", (80, "HTTP"), &["resolution: STATIC", &endpoints]);
    world.manifest("socket.yaml", &entry);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    let answer = ask(&world, "socket.example").await;
    assert!(answer.starts_with("a socket\n") && answer.ends_with(" 200"), "{answer}");
    sidecar.logged(&["outbound|80||socket.example", &path]).await;
    sidecar.end().await;
}

/// A Pod or a WorkloadEntry that the selector of a ServiceEntry finds.
fn chosen(kind: &str) -> String {
    let labels = json!({ "app": "chosen" });
    let manifest: Value = match kind {
        "Pod" => json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "chosen", "labels": labels },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
            "status": { "phase": "Running", "podIP": ORIGINS[1], "conditions": [{ "type": "Ready", "status": "True" }] },
        }),
        _ => json!({
            "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "metadata": { "name": "chosen" },
            "spec": { "address": ORIGINS[0], "labels": labels, "ports": { "http": 8080 } },
        }),
    };
    manifest.to_string()
}

#[tokio::test]
async fn endpoints_are_selected_among_workloads() {
    let Some(world) = World::new() else { return };
    let _entry = Origin::start().at(at(ORIGINS[0], 8080)).http(named("entry")).await;
    let _pod = Origin::start().at(at(ORIGINS[1], 80)).http(named("pod")).await;
    let selector = ["resolution: STATIC", "workloadSelector: {labels: {app: chosen}}"];
    world.manifest("chosen.yaml", &service_entry("chosen.example", (80, "HTTP"), &selector));
    world.manifest("entry.yaml", &chosen("WorkloadEntry"));
    world.manifest("pod.yaml", &chosen("Pod"));
    world.manifest("other.yaml", &chosen("WorkloadEntry").replace("\"chosen\"", "\"other\""));
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    let all = async |wanted: &[&str]| {
        let wanted: BTreeSet<String> = wanted.iter().map(|name| format!("{name} 200")).collect();
        eventually(PATIENCE, async || {
            let mut found = BTreeSet::new();
            for _ in 0..4 {
                found.insert(ask(&world, "chosen.example").await);
            }
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    };
    all(&["entry", "pod"]).await;
    std::fs::remove_file(world.manifests().join("entry.yaml")).expect("removed");
    all(&["pod"]).await;
    std::fs::remove_file(world.manifests().join("pod.yaml")).expect("removed");
    eventually(PATIENCE, async || {
        let answer = ask(&world, "chosen.example").await;
        if answer.ends_with(" 503") { Ok(()) } else { Err(answer) }
    })
    .await;
    sidecar.end().await;
}

/// Endpoints with labels, by which rules tell them apart, and with localities, by which the nearest comes first.
const LABELLED: &str = "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: labelled}
spec:
  host: labelled.example
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: labelled}
spec:
  hosts: [labelled.example]
  http:
  - match: [{headers: {x-version: {exact: v2}}}]
    route: [{destination: {host: labelled.example, subset: v2}}]
  - route: [{destination: {host: labelled.example, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: local}
spec:
  host: local.example
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}
    loadBalancer: {localityLbSetting: {enabled: true}}
";

#[tokio::test]
async fn labels_and_localities_of_endpoints_count() {
    let Some(world) = World::new() else { return };
    let first = Origin::start().at(at(ORIGINS[0], 80)).http(named("first")).await;
    let _second = Origin::start().at(at(ORIGINS[1], 80)).http(named("second")).await;
    let labels = "endpoints: [{address: 10.77.0.2, labels: {version: v1}}, {address: 10.77.0.3, labels: {version: v2}}]";
    let localities = "endpoints: [{address: 10.77.0.2, locality: here/a}, {address: 10.77.0.3, locality: there/b}]";
    let entry = |host: &str, endpoints: &str| {
        service_entry(host, (80, "HTTP"), &["resolution: STATIC", endpoints])
    };
    let entries = [entry("labelled.example", labels), entry("local.example", localities)];
    world.manifest("entries.yaml", &[&entries.concat(), LABELLED].concat());
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&["--labels", "app=app,istio-locality=here.a"]).await;
    for _ in 0..4 {
        assert_eq!(ask(&world, "labelled.example").await, "first 200");
        assert_eq!(ask(&world, "local.example").await, "first 200");
    }
    let url = "http://10.77.0.200/";
    let newer = world.curl(&["-H", "Host: labelled.example", "-H", "x-version: v2", url]).await;
    assert_eq!(newer, "second 200");
    // Where nobody is near, who is far answers.
    first.kill().await;
    eventually(PATIENCE, async || {
        let answer = ask(&world, "local.example").await;
        if answer == "second 200" { Ok(()) } else { Err(answer) }
    })
    .await;
    sidecar.end().await;
}

#[tokio::test]
async fn an_entry_is_seen_by_whom_it_is_exported_to() {
    let Some(world) = World::new() else { return };
    let web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let private = [&AT_FIRST[..], &["exportTo: ['.']"]].concat();
    let entries = [
        service_entry("all.example", (80, "HTTP"), &AT_FIRST),
        service_entry("private.example", (80, "HTTP"), &private),
    ];
    world.manifest("entries.yaml", &in_namespace("other", &entries.concat()));
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    assert_eq!(ask(&world, "all.example").await, "all.example 200");
    let refused = ask(&world, "private.example").await;
    assert!(refused.contains("is denied") && refused.ends_with(" 502"), "{refused}");
    assert_eq!(web.requests(), 1);
    sidecar.end().await;
    let own = world.sidecar(&["--namespace", "other"]).await;
    assert_eq!(ask(&world, "private.example").await, "private.example 200");
    own.end().await;
}

#[tokio::test]
async fn a_name_in_round_robin_is_dialled_where_it_leads_now() {
    let Some(world) = World::new() else { return };
    let names = resolver().await;
    let _first = Origin::start().at(at(ORIGINS[0], 80)).http(named("first")).await;
    let _second = Origin::start().at(at(ORIGINS[1], 80)).http(named("second")).await;
    names.address("turns.example.", 1, ORIGINS[0]);
    let turns = service_entry("turns.example", (80, "HTTP"), &["resolution: DNS_ROUND_ROBIN"]);
    world.manifest("turns.yaml", &turns);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&["--dns-server", RESOLVER]).await;
    assert_eq!(ask(&world, "turns.example").await, "first 200");
    names.address("turns.example.", 1, ORIGINS[1]);
    eventually(PATIENCE, async || {
        let answer = ask(&world, "turns.example").await;
        if answer == "second 200" { Ok(()) } else { Err(answer) }
    })
    .await;
    sidecar.end().await;
}

#[tokio::test]
async fn networks_are_let_out_as_they_are_dialled() {
    let Some(world) = World::new() else { return };
    for origin in ORIGINS {
        greeter(origin, 9000).await;
    }
    let networks = ["addresses: [10.77.0.2/31, 'fd77::/64']", "resolution: NONE"];
    world.manifest("networks.yaml", &service_entry("network.example", (9000, "TCP"), &networks));
    greeter("10.77.0.1", 9000).await;
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    for origin in ORIGINS {
        let words = first_words(world.dial(at(origin, 9000)).await).await;
        assert!(words.starts_with("hello "), "{origin}: {words}");
        sidecar.logged(&["outbound|9000||network.example", &at(origin, 9000).to_string()]).await;
    }
    let outside = first_words(world.dial(at("10.77.0.1", 9000)).await).await;
    assert_eq!(outside, "", "one address outside of the network");
    sidecar.end().await;
}

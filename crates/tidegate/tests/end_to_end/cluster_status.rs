//! Status on the objects of an API server: by one of several processes, whatever becomes of it.

use serde_json::Value;
use tidegate_testing::PATIENCE;
use tidegate_testing::eventually;

use crate::support::{Api, ApiServer, Attached, Gateway, NETWORKING, Place, WEB, Way, objects};

const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/istio-ingressgateway-status";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const HOLDS: &str = "this process holds Lease istio-system/istio-ingressgateway-status";
const LOST: &str = "is lost: this process writes no more";
/// Every replica of a gateway writes under this name.
const MANAGER: &str = "istio-ingressgateway.istio-system";

/// Two gateways on one API, each by a way of its own: the first one leads.
async fn pair(server: &ApiServer) -> [(Attached, Way); 2] {
    let way = Way::to(server).await;
    let first = Attached::start(&way, &[]).await;
    first.process.stderr().containing(HOLDS).await;
    let other = Way::to(server).await;
    let second = Attached::start(&other, &[]).await;
    second.ready().await;
    [(first, way), (second, other)]
}

/// Waits until the Gateway is served in its present form, as its status says, by whom.
async fn served(api: &mut Api) -> Value {
    let gateway = api.wait_for(WEB, &[("Programmed", "True"), ("Reconciled", "True")]).await;
    assert_eq!(managers(&gateway), [MANAGER]);
    gateway
}

fn managers(object: &Value) -> Vec<&str> {
    let entries = object["metadata"]["managedFields"].as_array().expect("managed fields");
    let of_status = entries.iter().filter(|entry| entry["subresource"] == "status");
    of_status.filter_map(|entry| entry["manager"].as_str()).collect()
}

async fn holder(api: &mut Api) -> String {
    let lease = api.send("GET", LEASE, "").await;
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// Opens another port of the Gateway, which makes another generation of it.
async fn change(api: &mut Api, port: u16) {
    let spec = objects::gateway("web", port, &["*"])["spec"].clone();
    api.change(WEB, &spec).await;
}

#[tokio::test]
async fn one_writes_and_another_takes_over_when_it_dies() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("gateways", &objects::gateway("stays", 80, &["stays.example"])).await;
    let [(first, _way), (second, _other)] = pair(&server).await;
    served(&mut api).await;
    let before = holder(&mut api).await;
    assert!(!before.is_empty());
    let stays = format!("{NETWORKING}/gateways/stays");
    let unchanged = api.wait_for(&stays, &[("Programmed", "True")]).await;
    change(&mut api, 443).await;
    served(&mut api).await;
    assert!(!second.process.stderr().text().contains(HOLDS), "{}", second.process);

    first.process.kill().await;
    change(&mut api, 80).await;
    // What happens while nobody leads is told by whoever leads next.
    let route = objects::route("lost", "nowhere", "lost.example", "lost.example");
    api.create("virtualservices", &route).await;
    second.process.stderr().containing(HOLDS).await;
    served(&mut api).await;
    let events = api.tells(EVENTS, &["there is no Gateway default/nowhere"]).await;
    let of = |event: &&Value| event["involvedObject"]["name"] == "lost";
    let counts = events["items"].as_array().into_iter().flatten().filter(of);
    assert!(counts.clone().count() > 0 && counts.clone().all(|event| event["count"] == 1));
    let now = holder(&mut api).await;
    assert!(now != before && !now.is_empty(), "{now} after {before}");
    // Whoever takes over writes what is different, and no more.
    let same = api.send("GET", &stays, "").await;
    assert_eq!(same["metadata"]["resourceVersion"], unchanged["metadata"]["resourceVersion"]);

    // One that ends in order gives it back, so that nobody waits for it.
    second.process.signal(rustix::process::Signal::TERM);
    let api = tokio::sync::Mutex::new(api);
    eventually(PATIENCE, || async {
        let holder = holder(&mut *api.lock().await).await;
        if holder.is_empty() { Ok(()) } else { Err(holder) }
    })
    .await;
}

#[tokio::test]
async fn one_that_is_cut_off_stops_before_another_begins() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let [(first, way), (second, _other)] = pair(&server).await;
    served(&mut api).await;
    way.link.hold();
    second.process.stderr().containing(HOLDS).await;
    assert!(first.process.stderr().text().contains(LOST), "{}", first.process);
    change(&mut api, 443).await;
    served(&mut api).await;
    let holds = holder(&mut api).await;

    // What it had begun to write before is not in force any more when it comes through.
    way.link.mend(server.address);
    api.create("gateways", &objects::gateway("later", 80, &["later.example"])).await;
    let later = format!("{NETWORKING}/gateways/later");
    api.wait_for(&later, &[("Programmed", "True")]).await;
    assert_eq!(holder(&mut api).await, holds);
    served(&mut api).await;
    assert_eq!(first.process.stderr().text().matches(HOLDS).count(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_told_in_conditions_and_events_with_those_of_others_beside_them() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    let [(_first, _way), (_second, _other)] = pair(&server).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    served(&mut api).await;
    // Somebody else's condition stays.
    let mut status = api.send("GET", WEB, "").await["status"].clone();
    let theirs = serde_json::json!({ "type": "Theirs", "status": "True", "reason": "Said" });
    status["conditions"].as_array_mut().expect("conditions").push(theirs);
    let body = serde_json::json!({ "status": status }).to_string();
    api.send("PATCH", &format!("{WEB}/status"), &body).await;
    let route = objects::route("lost", "nowhere", "lost.example", "lost.example");
    api.create("virtualservices", &route).await;
    let lost = format!("{NETWORKING}/virtualservices/lost");
    api.wait_for(&lost, &[("Programmed", "False")]).await;
    api.tells(EVENTS, &["there is no Gateway default/nowhere"]).await;
    change(&mut api, 443).await;
    let gateway = api.wait_for(WEB, &[("Programmed", "True")]).await;
    let text = gateway["status"].to_string();
    assert!(text.contains("Theirs"), "{text}");
}

const EDGE: &str = "istio-edge.istio-system";

/// What gateways say of an object, each by itself: whether `Programmed` holds, and of which form.
fn entries(object: &Value) -> Vec<(String, String, i64)> {
    let entries = object["status"]["gateways"].as_object().into_iter().flatten();
    let entries = entries.filter_map(|(gateway, entry)| {
        let mut conditions = entry["conditions"].as_array()?.iter();
        let programmed = conditions.find(|condition| condition["type"] == "Programmed")?;
        let status = programmed["status"].as_str()?.to_owned();
        Some((gateway.clone(), status, programmed["observedGeneration"].as_i64()?))
    });
    entries.collect()
}

/// Waits until the gateways of an object say this of its present form; the object.
async fn told(api: &mut Api, path: &str, wanted: &[(&str, &str)]) -> Value {
    let api = tokio::sync::Mutex::new(api);
    eventually(PATIENCE, || async {
        let object = api.lock().await.send("GET", path, "").await;
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(gateway, status)| ((*gateway).to_owned(), (*status).to_owned(), generation))
            .collect();
        if entries(&object) == wanted { Ok(object) } else { Err(format!("{object:#}")) }
    })
    .await
}

fn condition(object: &Value, kind: &str) -> (String, String, Value) {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == kind).expect("a condition");
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"), found["observedGeneration"].clone())
}

#[tokio::test]
async fn two_gateways_of_one_object_say_both_what_they_know_and_neither_writes_over_the_other() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let mut edge = objects::gateway("edge", 80, &["a.example"]);
    edge["spec"]["selector"] = serde_json::json!({ "istio": "edge" });
    api.create("gateways", &edge).await;
    let origin = std::net::SocketAddr::from(([192, 0, 2, 1], 80));
    api.create("serviceentries", &objects::host("origin", "origin.example", origin)).await;
    let mut shared = objects::route("shared", "web", "a.example", "origin.example");
    shared["spec"]["gateways"] = serde_json::json!(["web", "edge"]);
    api.create("virtualservices", &shared).await;
    let way = Way::to(&server).await;
    let first = Attached::start(&way, &[]).await;
    let second = Attached::start(&way, &["--gateway-labels", "istio=edge"]).await;
    first.ready().await;
    second.ready().await;

    let path = format!("{NETWORKING}/virtualservices/shared");
    let good = told(&mut api, &path, &[(EDGE, "True"), (MANAGER, "True")]).await;
    assert_eq!(condition(&good, "Programmed").0, "True");
    // One of them does not serve it any more: so it says, and so does the whole.
    edge["spec"]["servers"][0]["hosts"] = serde_json::json!(["b.example"]);
    api.change(&format!("{NETWORKING}/gateways/edge"), &edge["spec"]).await;
    let bad = told(&mut api, &path, &[(EDGE, "False"), (MANAGER, "True")]).await;
    let (status, message, _) = condition(&bad, "Programmed");
    assert_eq!(status, "False");
    assert!(message.contains(&format!("{EDGE}: ")) && message.contains(MANAGER), "{message}");
    // Another form, of which both speak, and then neither any more.
    shared["spec"]["http"][0]["timeout"] = "3s".into();
    api.change(&path, &shared["spec"]).await;
    let settled = told(&mut api, &path, &[(EDGE, "False"), (MANAGER, "True")]).await;
    assert_eq!(condition(&settled, "Programmed").2, settled["metadata"]["generation"]);
    for (name, selector) in [("later-web", "ingressgateway"), ("later-edge", "edge")] {
        let mut later = objects::gateway(name, 80, &[&format!("{name}.example")]);
        later["spec"]["selector"] = serde_json::json!({ "istio": selector });
        api.create("gateways", &later).await;
        let later = format!("{NETWORKING}/gateways/{name}");
        api.wait_for(&later, &[("Programmed", "True")]).await;
    }
    let still = api.send("GET", &path, "").await;
    assert_eq!(still["metadata"]["resourceVersion"], settled["metadata"]["resourceVersion"]);
    // What is not for it any more, it says nothing of.
    shared["spec"]["gateways"] = serde_json::json!(["web"]);
    api.change(&path, &shared["spec"]).await;
    let alone = told(&mut api, &path, &[(MANAGER, "True")]).await;
    let (status, message, _) = condition(&alone, "Programmed");
    assert!(status == "True" && !message.contains(EDGE), "{status}: {message}");
    // A host that both send to.
    let host = format!("{NETWORKING}/serviceentries/origin");
    told(&mut api, &host, &[(EDGE, "True"), (MANAGER, "True")]).await;
}

#[tokio::test]
async fn the_gateway_of_an_api_and_another_one_on_it_say_both_what_they_know() {
    // What a gateway of other labels had said here, which is gone since, nobody holds a Lease for.
    let place = Place::new();
    let earlier = Gateway::start_at(&place, &["--gateway-labels", "istio=earlier"]).await;
    let mut api = Api::of(&earlier).await;
    let mut web = objects::gateway("web", 80, &["*"]);
    web["spec"]["selector"] = serde_json::json!({ "istio": "earlier" });
    api.create("gateways", &web).await;
    told(&mut api, WEB, &[("istio-earlier.istio-system", "True")]).await;
    earlier.process.kill().await;

    let own = Gateway::start_at(&place, &[]).await;
    let mut api = Api::of(&own).await;
    api.change(WEB, &objects::gateway("web", 80, &["*"])["spec"]).await;
    let web = told(&mut api, WEB, &[(MANAGER, "True")]).await;
    assert_eq!(condition(&web, "Programmed").0, "True");
    let mut edge = objects::gateway("edge", 80, &["b.example"]);
    edge["spec"]["selector"] = serde_json::json!({ "istio": "edge" });
    api.create("gateways", &edge).await;
    let origin = std::net::SocketAddr::from(([192, 0, 2, 1], 80));
    api.create("serviceentries", &objects::host("origin", "origin.example", origin)).await;
    let mut shared = objects::route("shared", "web", "a.example", "origin.example");
    shared["spec"]["gateways"] = serde_json::json!(["web", "edge"]);
    api.create("virtualservices", &shared).await;
    let kubeconfig = place.data_dir().join("kubeconfig");
    let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let labels = ["--gateway-labels", "istio=edge"];
    let other = Attached::started(command, Some(&kubeconfig), &labels).await;
    other.ready().await;

    let path = format!("{NETWORKING}/virtualservices/shared");
    let both = told(&mut api, &path, &[(EDGE, "False"), (MANAGER, "True")]).await;
    let (status, message, _) = condition(&both, "Programmed");
    assert_eq!(status, "False");
    assert!(message.contains(&format!("{EDGE}: ")) && message.contains(MANAGER), "{message}");
    // Whoever writes last: here the gateway of the API itself, and then the other.
    shared["spec"]["http"][0]["timeout"] = "3s".into();
    api.change(&path, &shared["spec"]).await;
    told(&mut api, &path, &[(EDGE, "False"), (MANAGER, "True")]).await;
    edge["spec"]["servers"][0]["hosts"] = serde_json::json!(["*"]);
    api.change(&format!("{NETWORKING}/gateways/edge"), &edge["spec"]).await;
    let good = told(&mut api, &path, &[(EDGE, "True"), (MANAGER, "True")]).await;
    assert_eq!(condition(&good, "Programmed").0, "True");
}

/// The times in a record may be of any clock.
#[tokio::test]
async fn a_holder_with_another_clock_is_one_while_it_gives_signs() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    let times = ["1999-01-01T00:00:00.000000Z", "2199-01-01T00:00:00.000000Z"];
    let lease = |number: usize| {
        serde_json::json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": "istio-ingressgateway-status", "namespace": "istio-system" },
            "spec": {
                "holderIdentity": "another",
                "leaseDurationSeconds": 10,
                "renewTime": times[number % 2],
                "leaseTransitions": number,
            },
        })
    };
    let all = LEASE.rsplit_once('/').expect("a path").0;
    api.send("POST", all, &lease(0).to_string()).await;
    let way = Way::to(&server).await;
    let gateway = Attached::start(&way, &[]).await;
    gateway.ready().await;
    // For longer than it lasts.
    for number in 1..14 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let renewed = serde_json::json!({ "spec": lease(number)["spec"] });
        let there = api.send("PATCH", LEASE, &renewed.to_string()).await;
        assert_eq!(there["spec"]["holderIdentity"], "another");
        assert!(!gateway.process.stderr().text().contains(HOLDS), "{}", gateway.process);
    }
    gateway.process.stderr().containing(HOLDS).await;
    assert_ne!(holder(&mut api).await, "another");
}

#[tokio::test]
async fn without_status_nothing_is_written() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let way = Way::to(&server).await;
    let gateway = Attached::start(&way, &["--no-status"]).await;
    gateway.ready().await;
    let leases = LEASE.rsplit_once('/').expect("a path").0;
    let leases = api.send("GET", leases, "").await;
    assert_eq!(leases["items"].as_array().map(Vec::len), Some(0), "{leases}");
    assert_eq!(managers(&api.send("GET", WEB, "").await), [""; 0]);
}

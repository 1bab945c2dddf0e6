//! Status on the objects of an API server: by one of several processes, whatever becomes of it.

use serde_json::Value;
use tidegate_testing::PATIENCE;
use tidegate_testing::eventually;

use crate::support::{Api, ApiServer, Attached, NETWORKING, WEB, Way, objects};

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
    second.process.stderr().containing(HOLDS).await;
    served(&mut api).await;
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

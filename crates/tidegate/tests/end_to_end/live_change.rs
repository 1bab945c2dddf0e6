//! Objects that come, change and go under load: no request fails, and what is wrong takes down itself alone.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testing::client::Client;
use tidegate_testing::dns::{Answer, Dns};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::command_line::tidegate;
use crate::support::{Api, Gateway, Load, NETWORKING, Shell, objects};

/// A gateway whose host `a.example` goes to an origin of the test.
async fn one_host() -> (Gateway, Api, Origin) {
    let origin = Origin::start().http(echo).await;
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    gateway.answers("a.example", "/", 200).await;
    (gateway, api, origin)
}

#[tokio::test]
async fn no_request_fails_while_objects_come_change_and_go() {
    let (gateway, mut api, origin) = one_host().await;
    let load = Load::start(4, gateway.http, "a.example", "/", 200);
    load.flows(20).await;
    for round in 0..25 {
        // The neighbours come and go, and the loaded route itself changes.
        let name = format!("n{round}");
        let host = format!("{name}.example");
        api.create(
            "serviceentries",
            &objects::host(&name, &format!("{name}.internal"), origin.address()),
        )
        .await;
        api.create(
            "virtualservices",
            &objects::route(&name, "web", &host, &format!("{name}.internal")),
        )
        .await;
        let timeout = json!({ "metadata": { "labels": { "round": name } }, "spec": { "hosts": ["a.example", host] } });
        api.send("PATCH", &format!("{NETWORKING}/virtualservices/a"), &timeout.to_string()).await;
        load.flows(10).await;
        api.send("DELETE", &format!("{NETWORKING}/virtualservices/{name}"), "").await;
        api.send("DELETE", &format!("{NETWORKING}/serviceentries/{name}"), "").await;
        load.flows(10).await;
    }
    assert_eq!(load.stop().await, Vec::<String>::new());
}

#[tokio::test]
async fn status_says_when_every_worker_serves_it() {
    let (gateway, mut api, origin) = one_host().await;
    let served = [("Reconciled", "True"), ("ResolvedRefs", "True"), ("Programmed", "True")];
    for (plural, name) in [("gateways", "web"), ("virtualservices", "a"), ("serviceentries", "a")] {
        api.wait_for(&format!("{NETWORKING}/{plural}/{name}"), &served).await;
    }
    // Once the condition holds, the first request gets the new route.
    for round in 0..10 {
        let name = format!("n{round}");
        let host = format!("{name}.example");
        api.create("serviceentries", &objects::host(&name, &host, origin.address())).await;
        api.create("virtualservices", &objects::route(&name, "web", &host, &host)).await;
        api.wait_for(&format!("{NETWORKING}/virtualservices/{name}"), &served).await;
        assert_eq!(gateway.get(&host, "/").await.status, 200, "{host}");

        let other = format!("other-{host}");
        let change = json!({ "spec": { "hosts": [host, other] } });
        let path = format!("{NETWORKING}/virtualservices/{name}");
        api.send("PATCH", &path, &change.to_string()).await;
        api.wait_for(&path, &served).await;
        assert_eq!(gateway.get(&other, "/").await.status, 200, "{other}");
    }
}

#[tokio::test]
async fn a_reference_to_nothing_is_told_and_harms_nobody() {
    let (gateway, mut api, _origin) = one_host().await;
    api.create("virtualservices", &objects::route("b", "web", "b.example", "nowhere.internal"))
        .await;
    let path = format!("{NETWORKING}/virtualservices/b");
    api.wait_for(&path, &[("ResolvedRefs", "False")]).await;
    gateway.answers("a.example", "/", 200).await;

    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let described = shell.ok("kubectl describe virtualservice b").await;
    assert!(described.contains("nowhere.internal"), "{described}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_harms_nobody() {
    let (gateway, mut api, origin) = one_host().await;
    let taken = origin.address().port();
    api.create("gateways", &objects::gateway("taken", taken, &["*"])).await;
    let path = format!("{NETWORKING}/gateways/taken");
    let told = api.wait_for(&path, &[("Programmed", "False")]).await;
    let status = told["status"].to_string();
    assert!(status.contains("another process has the port"), "{told:#}");
    assert!(status.contains(&format!("--port-map {taken}=")), "{told:#}");
    gateway.answers("a.example", "/", 200).await;

    // Routes of that Gateway alone are not in force; those that another Gateway serves, too, are.
    let mut route = objects::route("b", "taken", "b.example", "a.internal");
    api.create("virtualservices", &route).await;
    let path = format!("{NETWORKING}/virtualservices/b");
    let told = api.wait_for(&path, &[("Reconciled", "True"), ("Programmed", "False")]).await;
    let told = told["status"].to_string();
    assert!(told.contains("GatewayNotProgrammed") && told.contains("default/taken"), "{told}");
    route["spec"]["gateways"] = json!(["taken", "web"]);
    api.send("PATCH", &path, &route.to_string()).await;
    let told = api.wait_for(&path, &[("Programmed", "True")]).await["status"].to_string();
    assert!(told.contains("PartlyServed") && told.contains("Gateway default/taken: "), "{told}");
    assert_eq!(gateway.get("b.example", "/").await.status, 200);

    // A Gateway that serves by another of its servers is in force, and says which one is not.
    let mut both = objects::gateway("both", 80, &["*"]);
    let mut second = both["spec"]["servers"][0].clone();
    second["port"] = json!({ "number": taken, "name": "second", "protocol": "HTTP" });
    both["spec"]["servers"].as_array_mut().expect("servers").push(second);
    api.create("gateways", &both).await;
    let both = format!("{NETWORKING}/gateways/both");
    let told = api.wait_for(&both, &[("Programmed", "True")]).await["status"].to_string();
    let words = format!("servers[1].port (port {taken}): cannot listen on ");
    assert!(told.contains("PartlyServed") && told.contains(&words), "{told}");
    assert!(!told.contains("Refused") && !told.contains("servers[0]"), "{told}");
    let admin = gateway.admin.to_string();
    let shown = tidegate(&["proxy-config", "listeners", "--admin", &admin]).await.success();
    let port = format!(" {taken} ");
    let rows: Vec<&str> = shown.lines().filter(|line| line.contains(&port)).collect();
    assert!(matches!(rows[..], [row] if row.contains("not open: cannot listen on ")), "{shown}");

    // Those of this very process.
    let own = [(gateway.admin, "admin"), (gateway.health, "health"), (gateway.api, "api")];
    for (address, name) in own {
        api.create("gateways", &objects::gateway(name, address.port(), &["*"])).await;
        let path = format!("{NETWORKING}/gateways/{name}");
        let told = api.wait_for(&path, &[("Programmed", "False")]).await;
        let status = told["status"].to_string();
        assert!(status.contains("of this process"), "{told:#}");
        assert!(status.contains(&format!("--{name}-listen")), "{told:#}");
    }
    // Each was told once, whatever changed since; and nothing serves on where nothing served.
    let log = gateway.process.stderr().text();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("cannot listen on")).collect();
    assert_eq!(told.len(), 4, "{log}");
    assert!(!log.contains("serves on"), "{log}");
}

/// The reason of `Programmed`, once it is `status` for the present generation.
async fn programmed(api: &mut Api, plural: &str, name: &str, status: &str) -> String {
    let path = format!("{NETWORKING}/{plural}/{name}");
    let object = api.wait_for(&path, &[("Programmed", status)]).await;
    let mut conditions = object["status"]["conditions"].as_array().expect("a list").iter();
    let condition = conditions.find(|c| c["type"] == "Programmed").expect("the condition");
    condition["reason"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn routes_are_programmed_only_where_a_gateway_serves_them() {
    let (gateway, mut api, _origin) = one_host().await;
    let mut elsewhere = objects::gateway("elsewhere", 80, &["*"]);
    elsewhere["spec"]["selector"] = json!({ "istio": "egressgateway" });
    api.create("gateways", &elsewhere).await;
    for (name, gateway) in [("nogw", "nowhere"), ("other", "elsewhere"), ("mesh", "mesh")] {
        let host = format!("{name}.example");
        api.create("virtualservices", &objects::route(name, gateway, &host, "a.internal")).await;
    }
    let mut partly = objects::route("partly", "web", "partly.example", "a.internal");
    partly["spec"]["http"][0]["retries"] = json!({ "attempts": 1, "retryRemoteLocalities": true });
    api.create("virtualservices", &partly).await;

    assert_eq!(programmed(&mut api, "virtualservices", "nogw", "False").await, "NoGateway");
    assert_eq!(programmed(&mut api, "virtualservices", "mesh", "False").await, "NotSelected");
    assert_eq!(programmed(&mut api, "virtualservices", "other", "False").await, "NotSelected");
    assert_eq!(programmed(&mut api, "gateways", "elsewhere", "False").await, "NotSelected");
    assert_eq!(programmed(&mut api, "virtualservices", "partly", "True").await, "PartlyServed");
    let path = format!("{NETWORKING}/virtualservices/partly");
    api.wait_for(&path, &[("Reconciled", "False")]).await;
    assert_eq!(gateway.get("partly.example", "/").await.status, 200);

    // A Gateway that goes takes its routes out of force, and brings them back.
    api.send("DELETE", &format!("{NETWORKING}/gateways/web"), "").await;
    assert_eq!(programmed(&mut api, "virtualservices", "a", "False").await, "NoGateway");
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    assert_eq!(programmed(&mut api, "virtualservices", "a", "True").await, "Served");
    assert_eq!(gateway.get("a.example", "/").await.status, 200);
}

/// Whoever exports an object and applies it again takes its status from nobody.
#[tokio::test]
async fn the_status_of_what_was_exported_and_applied_stays_true() {
    let (gateway, mut api, _origin) = one_host().await;
    let path = format!("{NETWORKING}/gateways/web");
    let mut exported = api.wait_for(&path, &[("Programmed", "True")]).await;
    let metadata = exported["metadata"].as_object_mut().expect("metadata");
    metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace"));
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    shell.ok(&format!("cat <<'EOF' | istioctl apply -f -\n{exported}\nEOF")).await;
    api.change(&path, &json!({ "selector": { "istio": "egressgateway" } })).await;
    assert_eq!(programmed(&mut api, "gateways", "web", "False").await, "NotSelected");
}

#[tokio::test]
async fn what_is_missing_only_while_objects_come_and_go_is_no_event() {
    let origin = Origin::start().http(echo).await;
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    // As `kubectl apply -f` and `delete -f` on a folder: references lead nowhere in between.
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    gateway.answers("a.example", "/", 200).await;
    for (plural, name) in [("gateways", "web"), ("serviceentries", "a"), ("virtualservices", "a")] {
        api.send("DELETE", &format!("{NETWORKING}/{plural}/{name}"), "").await;
    }
    // What stays wrong is told, later than all of the above would have been.
    api.create("virtualservices", &objects::route("b", "nowhere", "b.example", "b.internal")).await;
    let api = tokio::sync::Mutex::new(api);
    let told = eventually(PATIENCE, || async {
        let events = api.lock().await.send("GET", "/api/v1/namespaces/default/events", "").await;
        let items = events["items"].as_array().expect("a list").clone();
        let said = |reason: &str| items.iter().any(|event| event["reason"] == reason);
        if said("RefNotFound") && said("NoGateway") { Ok(items) } else { Err(events) }
    })
    .await;
    for event in told {
        assert_eq!(event["involvedObject"]["name"], "b", "{event:#}");
    }
}

#[tokio::test]
async fn a_file_that_is_broken_keeps_its_last_good_form() {
    let origin = Origin::start().http(echo).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let json = |value: Value| value.to_string();
    write("gateway.yaml", &json(objects::gateway("web", 80, &["*"])));
    write("a.yaml", &json(objects::host("a", "a.internal", origin.address())));
    write("routes.yaml", &json(objects::route("a", "web", "a.example", "a.internal")));
    let flag = folder.path().display().to_string();
    let gateway = Gateway::start(&["-f", &flag]).await;
    gateway.answers("a.example", "/", 200).await;

    write("routes.yaml", "kind: VirtualService\nspec: [\n");
    gateway.process.stderr().containing("routes.yaml").await;
    assert_eq!(gateway.get("a.example", "/").await.status, 200);
    let mut api = Api::of(&gateway).await;
    let path = format!("{NETWORKING}/virtualservices/a");
    let told = api.wait_for(&path, &[("Reconciled", "False")]).await;
    assert!(told["status"].to_string().contains("routes.yaml:"), "{told:#}");
    if let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) {
        let described = shell.ok("kubectl describe virtualservice a").await;
        let events = described.split_once("Events:").expect("a list of events").1;
        assert!(events.contains("Invalid") && events.contains("routes.yaml:"), "{described}");
    }

    write("routes.yaml", &json(objects::route("a", "web", "b.example", "a.internal")));
    gateway.answers("b.example", "/", 200).await;
    api.wait_for(&path, &[("Reconciled", "True")]).await;
    eventually(PATIENCE, || async { gateway.get("a.example", "/").await.status == 404 }).await;

    std::fs::remove_file(folder.path().join("routes.yaml")).expect("the file removed");
    gateway.answers("b.example", "/", 404).await;
}

#[tokio::test]
async fn objects_of_files_are_read_only_and_say_where_they_stand() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, objects::gateway("web", 80, &["*"]).to_string()).expect("a file");
    let gateway = Gateway::start(&["-f", &folder.path().display().to_string()]).await;
    let mut api = Api::of(&gateway).await;
    let path = format!("{NETWORKING}/gateways/web");
    let object = api.send("GET", &path, "").await;
    assert!(object["metadata"]["annotations"].to_string().contains("web.yaml:1"), "{object:#}");
    let refused = api.try_send("DELETE", &path, "").await.expect("an answer");
    assert!(refused.status >= 400 && refused.text().contains("web.yaml:1"), "{}", refused.text());
}

/// A client that posts on one connection until it is told to stop; how often it was answered. Every answer leaves the connection
/// open.
async fn poster(address: SocketAddr, stopped: watch::Receiver<bool>) -> (Client, usize) {
    let post = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\nx";
    let mut client = Client::connect(address).await;
    let mut served = 0;
    while !*stopped.borrow() {
        let answer = client.request(post).await;
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        served += 1;
    }
    (client, served)
}

/// Policies and patches are part of a listener's filter chains: what they change holds for the next request of every connection,
/// and none is closed for it. A request that is sent just then would be lost.
#[tokio::test]
async fn no_connection_is_closed_while_policies_and_patches_change() {
    const POLICIES: &str =
        "/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies";
    const FILTERS: &str = "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters";
    let deny = |path: &str| json!({ "action": "DENY", "rules": [{ "to": [{ "operation": { "paths": [path] } }] }] });
    let named = |name: &str| {
        json!({ "configPatches": [{
            "applyTo": "NETWORK_FILTER",
            "match": { "listener": { "filterChain": {
                "filter": { "name": "envoy.filters.network.http_connection_manager" } } } },
            "patch": { "operation": "MERGE", "value": { "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "server_name": name } } } }] })
    };
    let object = |version: &str, kind: &str, spec: &Value| {
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "it" }, "spec": spec })
            .to_string()
    };
    let (gateway, mut api, origin) = one_host().await;
    let policy = object("security.istio.io/v1", "AuthorizationPolicy", &deny("/none"));
    api.send("POST", POLICIES, &policy).await;
    let filter = object("networking.istio.io/v1alpha3", "EnvoyFilter", &named("first"));
    api.send("POST", FILTERS, &filter).await;
    let [policy, filter] = [POLICIES, FILTERS].map(|path| format!("{path}/it"));
    for path in [&policy, &filter] {
        api.wait_for(path, &[("Programmed", "True")]).await;
    }

    let before = origin.requests();
    let (stop, stopped) = watch::channel(false);
    let mut posters = JoinSet::new();
    for _ in 0..8 {
        posters.spawn(poster(gateway.http, stopped.clone()));
    }
    for round in 0..25 {
        api.change(&policy, &deny(&format!("/none{round}"))).await;
        api.wait_for(&policy, &[("Programmed", "True")]).await;
        api.change(&filter, &named(&format!("round{round}"))).await;
        api.wait_for(&filter, &[("Programmed", "True")]).await;
    }
    stop.send_replace(true);
    let mut posters = posters.join_all().await;
    let served: usize = posters.iter().map(|(_, served)| served).sum();
    assert_eq!(origin.requests() - before, served, "each once");

    api.change(&policy, &deny("/*")).await;
    gateway.answers("a.example", "/", 403).await;
    for (client, _) in &mut posters {
        let answer = client.request("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!((answer.status, answer.header("server")), (403, Some("round24")));
    }
}

#[tokio::test]
async fn names_are_asked_of_the_given_server_and_kept_while_it_fails() {
    let origin = Origin::start().http(echo).await;
    let dns = Dns::start().await;
    dns.set("origin.test", Answer::address(origin.address().ip(), 1));
    let gateway = Gateway::start(&["--dns-server", &dns.address().to_string()]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let mut entry = objects::host("a", "origin.test", origin.address());
    entry["spec"]["resolution"] = json!("DNS");
    entry["spec"]["endpoints"] = json!([]);
    entry["spec"]["ports"][0]["number"] = json!(origin.address().port());
    entry["spec"]["ports"][0]["targetPort"] = json!(null);
    let mut route = objects::route("a", "web", "a.example", "origin.test");
    route["spec"]["http"][0]["route"][0]["destination"]["port"]["number"] =
        json!(origin.address().port());
    api.create("serviceentries", &entry).await;
    api.create("virtualservices", &route).await;
    gateway.answers("a.example", "/", 200).await;

    dns.set("origin.test", Answer::Failure);
    let asked = dns.asked("origin.test");
    // Asked again in vain, by its time to live: the last good address serves on.
    eventually(PATIENCE, || async { dns.asked("origin.test") > asked + 1 }).await;
    assert_eq!(gateway.get("a.example", "/").await.status, 200);
}

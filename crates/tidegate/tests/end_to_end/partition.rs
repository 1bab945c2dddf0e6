//! An API server and a gateway in two networks, whose connection is cut as networks are: its end is taken down, or loses every packet.

use std::path::Path;

use serde_json::json;
use tidegate_testing::{PATIENCE, eventually};

use crate::support::captured::{RESOLVER, World};
use crate::support::{
    Api, ApiServer, Attached, GATEWAY_TOKEN, NETWORKING, Place, WEB, objects, of_user,
};

/// What the gateway answers for a host, to a client in its network.
async fn answers(world: &World, gateway: &Attached, host: &str) -> String {
    let (url, host) = (format!("http://{}/", gateway.http), format!("Host: {host}"));
    let told = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &host, &url];
    world.run("curl", &told).await.stdout
}

async fn until(world: &World, gateway: &Attached, host: &str, status: &str) {
    eventually(PATIENCE, || async {
        let told = answers(world, gateway, host).await;
        if told == status { Ok(()) } else { Err(format!("{host}: {told}")) }
    })
    .await;
}

/// Has a host answered by the gateway itself.
async fn publish(api: &mut Api, name: &str) {
    let rules = json!([{ "directResponse": { "status": 200 } }]);
    let host = format!("{name}.example");
    api.create("virtualservices", &objects::rules(name, "web", &host, &rules)).await;
}

async fn ip(world: &World, arguments: &[&str]) {
    let done = world.run("ip", arguments).await;
    assert!(done.status.success(), "{done:?}");
}

async fn lose_everything(world: &World, from_now_on: bool) {
    let what = if from_now_on { "-A" } else { "-D" };
    for (chain, side) in [("INPUT", "-s"), ("OUTPUT", "-d")] {
        let rule = ["-w", what, chain, side, RESOLVER, "-j", "DROP"];
        let done = world.run("iptables", &rule).await;
        assert!(done.status.success(), "{done:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_serves_on_and_misses_nothing() {
    let Some(world) = World::new() else { return };
    let place = Place::new();
    let listen = format!("{RESOLVER}:0");
    let tokens = place.tokens().display().to_string();
    let flags = ["--api-listen", &listen, "--api-token-file", &tokens];
    let server = ApiServer::start_at(&place, &flags).await;
    let mut api = server.client().await;
    let namespace = r#"{"metadata": {"name": "istio-system"}}"#;
    api.send("POST", "/api/v1/namespaces", namespace).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    for name in ["stays", "goes", "goes-later"] {
        publish(&mut api, name).await;
    }
    // It needs no more rights than those of a gateway.
    let kubeconfig = world.file("kubeconfig", &of_user(GATEWAY_TOKEN, &server.kubeconfig()));
    let gateway = Attached::start_in(&world, Path::new(&kubeconfig), &[]).await;
    gateway.process.stderr().containing("every worker serves them").await;
    until(&world, &gateway, "stays.example", "200").await;
    api.wait_for(WEB, &[("Programmed", "True")]).await;
    assert!(!gateway.process.stderr().text().contains("forbidden"), "{}", gateway.process);

    // Its end of the wire is down.
    ip(&world, &["link", "set", "eth0", "down"]).await;
    api.send("DELETE", &format!("{NETWORKING}/virtualservices/goes"), "").await;
    publish(&mut api, "comes").await;
    assert_eq!(answers(&world, &gateway, "stays.example").await, "200");
    assert_eq!(answers(&world, &gateway, "goes.example").await, "200");
    ip(&world, &["link", "set", "eth0", "up"]).await;
    until(&world, &gateway, "comes.example", "200").await;
    until(&world, &gateway, "goes.example", "404").await;

    // Nothing arrives any more, in silence; and the server is another process when something does.
    lose_everything(&world, true).await;
    api.send("DELETE", &format!("{NETWORKING}/virtualservices/goes-later"), "").await;
    publish(&mut api, "comes-later").await;
    server.process.kill().await;
    let again = ApiServer::start_at(&place, &flags).await;
    world.file("kubeconfig", &of_user(GATEWAY_TOKEN, &again.kubeconfig()));
    let mut api = again.client().await;
    publish(&mut api, "comes-last").await;
    for (host, status) in [("stays", "200"), ("goes-later", "200"), ("comes-last", "404")] {
        assert_eq!(answers(&world, &gateway, &format!("{host}.example")).await, status, "{host}");
    }
    lose_everything(&world, false).await;
    for (host, status) in [("comes-last", "200"), ("comes-later", "200"), ("goes-later", "404")] {
        until(&world, &gateway, &format!("{host}.example"), status).await;
    }
    assert_eq!(answers(&world, &gateway, "stays.example").await, "200");
}

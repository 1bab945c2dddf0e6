//! `gatewayTopology.numTrustedProxies`: who the client is behind a proxy in front of the gateway, whatever clients say.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tidegate_testing::PATIENCE;
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Origin, echo};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::support::{Api, Gateway, objects};

const HOST: &str = "app.example";
const POLICIES: &str = "/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies";
const GUEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// The status of a request from an address that says it had come from others.
async fn asked(gateway: SocketAddr, from: Ipv4Addr, said: &str) -> u16 {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("an address of this machine");
    let mut client = Client::over(socket.connect(gateway).await.expect("a connection"));
    let said = if said.is_empty() { String::new() } else { format!("X-Forwarded-For: {said}\r\n") };
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{said}\r\n");
    timeout(PATIENCE, client.request(request)).await.expect("in time").status
}

/// A gateway with a route to an address.
async fn leading_to(address: SocketAddr, args: &[&str]) -> (Gateway, Api) {
    let gateway = Gateway::start(args).await;
    let mut api = Api::of(&gateway).await;
    api.create("serviceentries", &objects::host("next", "next.internal", address)).await;
    api.create("gateways", &objects::gateway("web", 80, &[HOST])).await;
    api.create("virtualservices", &objects::route("app", "web", HOST, "next.internal")).await;
    gateway.answers(HOST, "/", 200).await;
    (gateway, api)
}

#[tokio::test]
async fn the_client_is_whom_the_trusted_proxy_names() {
    let origin = Origin::start().http(echo).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mesh.yaml");
    let mesh = "defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}";
    std::fs::write(&file, mesh).expect("written");
    let mesh = file.display().to_string();
    let (gateway, mut api) = leading_to(origin.address(), &["--mesh-config", &mesh]).await;
    let (front, _api) = leading_to(gateway.http, &[]).await;
    let source = json!({"source": {"remoteIpBlocks": [GUEST.to_string()]}});
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "guests"},
        "spec": {"action": "ALLOW", "rules": [{"from": [source]}]},
    });
    api.send("POST", POLICIES, &policy.to_string()).await;
    gateway.answers(HOST, "/", 403).await;

    assert_eq!(asked(front.http, GUEST, "").await, 200);
    assert_eq!(asked(front.http, STRANGER, "").await, 403);
    // What clients write stands before what the proxy adds, and is not looked at.
    for said in [GUEST.to_string(), format!("{GUEST}, {GUEST}"), "nonsense".to_owned()] {
        assert_eq!(asked(front.http, STRANGER, &said).await, 403, "{said}");
    }
    assert_eq!(asked(front.http, GUEST, &STRANGER.to_string()).await, 200);
}

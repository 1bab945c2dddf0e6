//! `ISTIO_MUTUAL`: workloads of a mesh that know each other by SPIFFE certificates.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::{PATIENCE, client, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::handshakes::{put, status};
use crate::support::{Api, Gateway, NETWORKING, WEB, objects};

const HOST: &str = "mesh.example";
const MYSELF: &str = "spiffe://cluster.local/ns/istio-system/sa/gateway";

/// Puts a certificate where Istio's agent puts it. In between files do not belong together.
fn place(folder: &Path, leaf: &Identity, ca: &Ca) {
    put(
        folder,
        &[
            ("cert-chain.pem", &leaf.certificate_pem),
            ("key.pem", &leaf.key_pem),
            ("root-cert.pem", ca.pem()),
        ],
    );
}

/// A Gateway with a server of the mesh beside one in plain text.
fn web() -> Value {
    let mut web = objects::gateway("web", 80, &["plain.example"]);
    let servers = web["spec"]["servers"].as_array_mut().expect("servers");
    servers.push(objects::https("mesh", HOST, &json!({ "mode": "ISTIO_MUTUAL" })));
    web
}

/// What a client with a certificate of `ca` is answered at the server of the mesh.
async fn asked(gateway: &Gateway, server: &Ca, client: Option<&Identity>) -> std::io::Result<u16> {
    let config = match client {
        Some(identity) => server.client_config_with(identity, &[]),
        None => server.client_config(&[]),
    };
    status(gateway, HOST, &config).await
}

/// A gateway that sends `plain.example` to its own server in the mesh, which sends it to an origin: it is both sides
/// of a handshake.
#[tokio::test]
async fn workloads_of_a_mesh_know_each_other() {
    let (ca, stranger) = (Ca::new("mesh"), Ca::new("stranger"));
    let folder = tempfile::tempdir().expect("a folder");
    let leaf = ca.issue_with_uris(&[HOST], &[MYSELF]);
    place(folder.path(), &leaf, &ca);
    let path = folder.path().display().to_string();
    let gateway = Gateway::start(&["--workload-certs", &path]).await;
    let mut api = Api::of(&gateway).await;
    let origin = Origin::start().http(echo).await;
    api.create("gateways", &web()).await;
    api.create("serviceentries", &objects::host("origin", "origin.internal", origin.address()))
        .await;
    api.create("serviceentries", &objects::host("self", "self.internal", gateway.https)).await;
    let mut to_mesh = objects::route("plain", "web", "plain.example", "self.internal");
    to_mesh["spec"]["http"][0]["rewrite"] = json!({ "authority": HOST });
    api.create("virtualservices", &to_mesh).await;
    let inside = objects::route("mesh", "web", HOST, "origin.internal");
    api.create("virtualservices", &inside).await;
    // In plain text a server in the mesh answers with an alert only.
    gateway.answers("plain.example", "/", 502).await;
    let tls =
        |names: &[&str]| json!({ "mode": "ISTIO_MUTUAL", "sni": HOST, "subjectAltNames": names });
    let rule = objects::towards("self", "self.internal", &tls(&[MYSELF]));
    api.create("destinationrules", &rule).await;
    gateway.answers("plain.example", "/", 200).await;
    // Who is of the mesh gets in, and nobody else.
    let peer = ca.issue_with_uris(&[], &["spiffe://cluster.local/ns/default/sa/peer"]);
    let other = stranger.issue_with_uris(&[], &["spiffe://cluster.local/ns/default/sa/peer"]);
    assert_eq!(asked(&gateway, &ca, Some(&peer)).await.expect("an answer"), 200);
    asked(&gateway, &ca, Some(&other)).await.expect_err("of another mesh");
    asked(&gateway, &ca, None).await.expect_err("no certificate");
    // The gateway verifies whom it sends to, too.
    let other_name = tls(&["spiffe://cluster.local/ns/default/sa/other"]);
    let path = format!("{NETWORKING}/destinationrules/self");
    api.change(&path, &json!({ "trafficPolicy": { "tls": other_name } })).await;
    gateway.answers("plain.example", "/", 503).await;
    // Certificates of a mesh live for hours; authorities are replaced, too.
    place(folder.path(), &stranger.issue_with_uris(&[HOST], &[MYSELF]), &stranger);
    eventually(PATIENCE, || async {
        match asked(&gateway, &stranger, Some(&other)).await {
            Ok(200) => Ok(()),
            wrong => Err(format!("{wrong:?}")),
        }
    })
    .await;
    asked(&gateway, &stranger, Some(&peer)).await.expect_err("of the mesh before");
}

#[tokio::test]
async fn without_certificates_the_gateway_says_where_they_come_from() {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &web()).await;
    let conditions = [("ResolvedRefs", "False"), ("Programmed", "True")];
    api.wait_for(WEB, &conditions).await;
    api.tells(WEB, &["tidegate up --workload-certs"]).await;
    gateway.answers("plain.example", "/", 404).await;
}

/// Istio's proxies put a description of themselves before the bytes where `istio-peer-exchange` is agreed on.
#[tokio::test]
async fn nobody_is_asked_to_describe_itself_before_the_bytes() {
    let ca = Ca::new("mesh");
    let folder = tempfile::tempdir().expect("a folder");
    place(folder.path(), &ca.issue_with_uris(&[HOST], &[MYSELF]), &ca);
    let path = folder.path().display().to_string();
    let gateway = Gateway::start(&["--workload-certs", &path]).await;
    let mut api = Api::of(&gateway).await;
    let origin = Origin::start().echo_bytes().await;
    let mut web = objects::gateway("web", 443, &["mesh.example"]);
    let server = &mut web["spec"]["servers"][0];
    server["port"]["protocol"] = json!("TLS");
    server["tls"] = json!({ "mode": "ISTIO_MUTUAL" });
    api.create("gateways", &web).await;
    api.create("serviceentries", &objects::host("origin", "origin.internal", origin.address()))
        .await;
    let mut route = objects::route("bytes", "web", "mesh.example", "origin.internal");
    let rule = route["spec"]["http"][0]["route"].clone();
    route["spec"].as_object_mut().expect("a spec").remove("http");
    route["spec"]["tcp"] = json!([{ "route": rule }]);
    api.create("virtualservices", &route).await;
    let served = [("Programmed", "True"), ("ResolvedRefs", "True")];
    api.wait_for(&format!("{NETWORKING}/virtualservices/bytes"), &served).await;

    let peer = ca.issue_with_uris(&[], &["spiffe://cluster.local/ns/default/sa/peer"]);
    let config = ca.client_config_with(&peer, &["istio-peer-exchange", "istio"]);
    let mut stream = client::tls(gateway.https, "mesh.example", config).await.expect("let in");
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "agreed on nothing");
    stream.write_all(b"bytes").await.expect("sent");
    let mut echoed = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut echoed)).await.expect("in time").expect("read");
    assert_eq!(&echoed, b"bytes");
}

//! Clients whose certificates are revoked while a gateway runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::{Api, Gateway, NETWORKING, objects};

const GATEWAY: &str = "/apis/networking.istio.io/v1/namespaces/default/gateways/web";
const SECRETS: &str = "/api/v1/namespaces/istio-system/secrets";

/// How long a revocation may take to count: a second, and as much again twice on a busy machine.
const SOON: Duration = Duration::from_secs(3);

/// The status of an answer to a client, which it gets where its certificate is accepted.
async fn status(gateway: &Gateway, config: &Arc<ClientConfig>) -> std::io::Result<u16> {
    let stream = client::tls(gateway.https, "a.example", Arc::clone(config)).await?;
    let mut client = Client::over(stream);
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    Ok(client.read(false).await?.status)
}

/// Waits until a client is accepted, or sent away; how long that took.
async fn turns(gateway: &Gateway, config: &Arc<ClientConfig>, accepted: bool) -> Duration {
    let start = Instant::now();
    eventually(PATIENCE, || async {
        match status(gateway, config).await {
            // Nothing is routed.
            Ok(404) if accepted => Ok(()),
            Err(_) if !accepted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    start.elapsed()
}

fn object(tls: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "web" },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": [{
            "port": { "number": 443, "name": "https", "protocol": "HTTPS" },
            "hosts": ["a.example"],
            "tls": tls,
        }]},
    })
}

/// Replaces a file as a whole.
fn put(folder: &Path, name: &str, content: &str) -> String {
    let (new, path) = (folder.join("new"), folder.join(name));
    std::fs::write(&new, content).expect("written");
    std::fs::rename(new, &path).expect("moved");
    path.display().to_string()
}

/// A client of this authority, which shows a certificate.
fn client_of(ca: &Ca) -> (Identity, Arc<ClientConfig>) {
    let identity = ca.issue(&["client.example"]);
    let config = ca.client_config_with(&identity, &[]);
    (identity, config)
}

/// Waits until the Gateway's status says something.
async fn tells(api: &mut Api, words: &str) {
    let api = tokio::sync::Mutex::new(api);
    eventually(PATIENCE, || async {
        let text = api.lock().await.send("GET", GATEWAY, "").await["status"].to_string();
        if text.contains(words) { Ok(()) } else { Err(format!("no {words:?} in {text}")) }
    })
    .await;
}

#[tokio::test]
async fn a_file_of_revoked_certificates_is_followed() {
    let ca = Ca::new("root");
    let (leaf, folder) = (ca.issue(&["a.example"]), tempfile::tempdir().expect("a folder"));
    let ((first, one), (second, two)) = (client_of(&ca), client_of(&ca));
    let put = |name: &str, content: &str| put(folder.path(), name, content);
    let tls = json!({
        "mode": "MUTUAL",
        "serverCertificate": put("tls.crt", &leaf.certificate_pem),
        "privateKey": put("tls.key", &leaf.key_pem),
        "caCertificates": put("ca.crt", ca.pem()),
        "caCrl": put("ca.crl", &ca.revocations(&[])),
    });
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &object(&tls)).await;
    turns(&gateway, &one, true).await;

    put("ca.crl", &ca.revocations(&[&first]));
    let taken = turns(&gateway, &one, false).await;
    assert!(taken < SOON, "{taken:?}");
    turns(&gateway, &two, true).await;

    // What is no list, and what cannot be read, leave the one before in force.
    put("ca.crl", "garbage");
    tells(&mut api, "list of revoked certificates: there is no revocation list in it").await;
    status(&gateway, &one).await.expect_err("still revoked");
    turns(&gateway, &two, true).await;
    std::fs::remove_file(folder.path().join("ca.crl")).expect("removed");
    tells(&mut api, "ca.crl cannot be read: No such file").await;
    tells(&mut api, "the one before serves on").await;
    status(&gateway, &one).await.expect_err("still revoked");
    turns(&gateway, &two, true).await;

    put("ca.crl", &ca.revocations(&[&second]));
    turns(&gateway, &two, false).await;
    turns(&gateway, &one, true).await;
    api.wait_for(GATEWAY, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
}

#[tokio::test]
async fn a_list_in_the_secret_of_the_authorities_counts() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&["a.example"]);
    let (identity, config) = client_of(&ca);
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "web" },
        "stringData": { "tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem, "ca.crt": ca.pem() },
    });
    api.send("POST", SECRETS, &secret.to_string()).await;
    let tls = json!({ "mode": "MUTUAL", "credentialName": "web" });
    api.create("gateways", &object(&tls)).await;
    turns(&gateway, &config, true).await;
    let list = STANDARD.encode(ca.revocations(&[&identity]));
    let change = json!({ "data": { "ca.crl": list } }).to_string();
    api.send("PATCH", &format!("{SECRETS}/web"), &change).await;
    let taken = turns(&gateway, &config, false).await;
    assert!(taken < SOON, "{taken:?}");
}

#[tokio::test]
async fn a_destination_whose_certificate_is_revoked_gets_nothing_more() {
    let ca = Ca::new("root");
    let (leaf, folder) = (ca.issue(&["a.internal"]), tempfile::tempdir().expect("a folder"));
    // Each request has a connection of its own.
    let closing = |request| async {
        let mut answer = echo(request).await;
        answer.headers_mut().insert("connection", HeaderValue::from_static("close"));
        answer
    };
    let origin = Origin::start().tls(&leaf).http(closing).await;
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    let mut route = objects::route("a", "web", "a.example", "a.internal");
    route["spec"]["http"][0]["rewrite"] = json!({ "authority": "a.internal" });
    api.create("virtualservices", &route).await;
    let list = put(folder.path(), "ca.crl", &ca.revocations(&[]));
    let authorities = put(folder.path(), "ca.crt", ca.pem());
    let rule = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": { "name": "a" },
        "spec": { "host": "a.internal", "trafficPolicy": { "tls": {
            "mode": "SIMPLE", "caCertificates": authorities, "caCrl": list,
        }}},
    });
    api.create("destinationrules", &rule).await;
    gateway.answers("a.example", "/", 200).await;
    put(folder.path(), "ca.crl", &ca.revocations(&[&leaf]));
    gateway.answers("a.example", "/", 503).await;
    api.wait_for(&format!("{NETWORKING}/destinationrules/a"), &[("Programmed", "True")]).await;
}

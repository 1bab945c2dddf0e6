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
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::handshakes::{put, status};
use crate::support::{Api, Gateway, NETWORKING, WEB, objects};

const HOST: &str = "a.example";

/// How many changes are timed.
const ROUNDS: usize = 11;

/// Waits until a client is accepted, or sent away; how long that took.
async fn turns(gateway: &Gateway, config: &Arc<ClientConfig>, accepted: bool) -> Duration {
    let start = Instant::now();
    eventually(PATIENCE, || async {
        match status(gateway, HOST, config).await {
            // Nothing is routed.
            Ok(404) if accepted => Ok(()),
            Err(_) if !accepted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    start.elapsed()
}

/// From a change to the first client that it meets a second at most is promised; single ones may wait for a machine that is
/// busy, half of them do not.
#[track_caller]
fn within_a_second(mut waits: Vec<Duration>) {
    waits.sort_unstable();
    let (median, last) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    assert!(median < Duration::from_secs(1), "half of them took {median:?} or longer: {waits:?}");
    println!("counted after {median:?} (median), {last:?} at most");
}

fn object(tls: &Value) -> Value {
    objects::gateway_of("web", &[objects::https("https", HOST, tls)])
}

/// Replaces a file; its path.
fn file(folder: &Path, name: &str, content: &str) -> String {
    put(folder, &[(name, content)]);
    folder.join(name).display().to_string()
}

/// A client of this authority, which shows a certificate.
fn client_of(ca: &Ca) -> (Identity, Arc<ClientConfig>) {
    let identity = ca.issue(&["client.example"]);
    let config = ca.client_config_with(&identity, &[]);
    (identity, config)
}

#[tokio::test]
async fn a_file_of_revoked_certificates_is_followed() {
    let ca = Ca::new("root");
    let (leaf, folder) = (ca.issue(&["a.example"]), tempfile::tempdir().expect("a folder"));
    let ((first, one), (second, two)) = (client_of(&ca), client_of(&ca));
    let put = |name: &str, content: &str| file(folder.path(), name, content);
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
    turns(&gateway, &one, false).await;
    turns(&gateway, &two, true).await;

    // What is no list, and what cannot be read, leave the one before in force.
    put("ca.crl", "garbage");
    api.tells(WEB, &["list of revoked certificates: there is no revocation list in it"]).await;
    status(&gateway, HOST, &one).await.expect_err("still revoked");
    turns(&gateway, &two, true).await;
    std::fs::remove_file(folder.path().join("ca.crl")).expect("removed");
    api.tells(WEB, &["ca.crl cannot be read: No such file", "the one before serves on"]).await;
    status(&gateway, HOST, &one).await.expect_err("still revoked");
    turns(&gateway, &two, true).await;

    put("ca.crl", &ca.revocations(&[&second]));
    turns(&gateway, &two, false).await;
    turns(&gateway, &one, true).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;

    let (revoked, mut waits) = ([&first], Vec::with_capacity(ROUNDS));
    for accepted in (0..ROUNDS).map(|round| round % 2 == 1) {
        put("ca.crl", &ca.revocations(if accepted { &[] } else { &revoked }));
        waits.push(turns(&gateway, &one, accepted).await);
    }
    within_a_second(waits);
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
    api.create_secret(&secret).await;
    let tls = json!({ "mode": "MUTUAL", "credentialName": "web" });
    api.create("gateways", &object(&tls)).await;
    turns(&gateway, &config, true).await;
    let (revoked, mut waits) = ([&identity], Vec::with_capacity(ROUNDS));
    for accepted in (0..ROUNDS).map(|round| round % 2 == 1) {
        let list = ca.revocations(if accepted { &[] } else { &revoked });
        let start = Instant::now();
        api.change_secret("web", &json!({ "ca.crl": STANDARD.encode(list) })).await;
        turns(&gateway, &config, accepted).await;
        waits.push(start.elapsed());
    }
    within_a_second(waits);
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
    let list = file(folder.path(), "ca.crl", &ca.revocations(&[]));
    let authorities = file(folder.path(), "ca.crt", ca.pem());
    let tls = json!({ "mode": "SIMPLE", "caCertificates": authorities, "caCrl": list });
    let rule = objects::towards("a", "a.internal", &tls);
    api.create("destinationrules", &rule).await;
    gateway.answers("a.example", "/", 200).await;
    file(folder.path(), "ca.crl", &ca.revocations(&[&leaf]));
    gateway.answers("a.example", "/", 503).await;
    api.wait_for(&format!("{NETWORKING}/destinationrules/a"), &[("Programmed", "True")]).await;
}

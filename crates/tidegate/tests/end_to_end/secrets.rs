//! Secrets that come, change, break and go while clients connect.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use crate::support::handshakes::{handshakes, put, shown, shown_soon, shows, two_hosts};
use crate::support::{Api, Gateway, NETWORKING, SECRETS, WEB, objects};

/// Events about objects of the namespace.
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// What openssl writes into a file, given arguments that end with the file's option.
async fn openssl(openssl: &Path, arguments: &str, file: &Path) -> Vec<u8> {
    let mut command = std::process::Command::new(openssl);
    command.args(arguments.split(' ')).arg(file);
    let _words = tidegate_testing::process::run(command.into(), "").await.success();
    std::fs::read(file).expect("openssl's file")
}

#[tokio::test]
async fn what_people_put_into_secrets_is_told_with_its_remedy() {
    let Some(program) = Tool::Openssl.need() else { return };
    let ca = Ca::new("root");
    let (_gateway, mut api) = two_hosts(&ca).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (leaf, file) = (ca.issue(&["a.example"]), |name: &str| folder.path().join(name));
    std::fs::write(file("crt"), &leaf.certificate_pem).expect("written");
    std::fs::write(file("key"), &leaf.key_pem).expect("written");
    let path = |name: &str| file(name).display().to_string();
    let make =
        async |arguments: String, name: &str| openssl(&program, &arguments, &file(name)).await;
    let locked =
        make(format!("pkey -in {} -aes128 -passout pass:x -out", path("key")), "locked").await;
    let der = make(format!("x509 -in {} -outform DER -out", path("crt")), "der").await;
    let short = format!(
        "req -x509 -newkey rsa:1024 -nodes -subj /CN=a.example -keyout {} -out",
        path("short.key")
    );
    let short = make(short, "short.crt").await;
    let short_key = std::fs::read(file("short.key")).expect("a key");
    let (chain, key) = (leaf.certificate_pem.into_bytes(), leaf.key_pem.into_bytes());
    let cases = [
        (&chain, &locked, "key: the key is protected by a passphrase"),
        (&der, &key, "certificate: it is DER and not PEM: convert it by openssl x509"),
        (&key, &chain, "certificate: it holds a private key and no certificate: swap the two"),
        (&short, &short_key, "key: the RSA key has 1024 bits, and less than 2048"),
    ];
    for (chain, key, words) in cases {
        api.change_secret("a", &objects::pair_of(chain, key)).await;
        let place = "servers[0] (port 443): Secret istio-system/a, ";
        api.tells(WEB, &[&format!("{place}{words}")]).await;
    }
}

#[tokio::test]
async fn the_last_good_certificate_serves_after_a_restart() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let config = ca.client_config(&[]);
    let before = shown(&gateway, "a.example", &config).await.expect("a handshake");
    // One lacks a key, which pilot sees, and one is refused by the proxy.
    api.send("DELETE", &format!("{SECRETS}/b"), "").await;
    api.tells(WEB, &["what is in force of it"]).await;
    let leaf = ca.issue(&["b.example"]);
    let mut opaque = objects::certificate("b", &leaf);
    opaque["type"] = json!("Opaque");
    api.create_secret(&opaque).await;
    shows(&gateway, "b.example", &config, &leaf).await;
    api.tells(WEB, &["every worker serves it"]).await;
    api.change_secret("b", &json!({ "tls.crt": null, "other": "" })).await;
    api.tells(WEB, &["Secret istio-system/b has no certificate with a key"]).await;
    api.change_secret("a", &json!({ "tls.crt": STANDARD.encode("garbage") })).await;
    api.tells(WEB, &["Secret istio-system/a, certificate: "]).await;

    let place = gateway.place();
    gateway.process.kill().await;
    let gateway = Gateway::start_at(&place, &[]).await;
    let now = shown_soon(&gateway, "a.example", &config).await;
    assert_eq!(now, before, "the old one serves on");
    assert_eq!(shown_soon(&gateway, "b.example", &config).await, leaf.certificate);
    let mut api = Api::of(&gateway).await;
    let lacking = "neither (cert and key) nor (tls.crt and tls.key)";
    let broken = "Secret istio-system/a, certificate: ";
    api.tells(WEB, &[broken, lacking, "; the one before serves on"]).await;
    let leaf = ca.issue(&["a.example"]);
    api.change_secret("a", &objects::pair(&leaf)).await;
    shows(&gateway, "a.example", &config, &leaf).await;
}

#[tokio::test]
async fn a_missing_secret_closes_its_own_hosts_alone() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let config = ca.client_config(&[]);
    api.send("DELETE", &format!("{SECRETS}/a"), "").await;
    api.wait_for(WEB, &[("ResolvedRefs", "False"), ("Programmed", "True")]).await;
    let closed = "not in force: servers[0] (port 443): connections for its hosts are closed";
    api.tells(WEB, &["there is no Secret a in namespace istio-system", closed]).await;
    shown(&gateway, "a.example", &config).await.expect_err("nothing to show");
    shown(&gateway, "b.example", &config).await.expect("b has its own");
    // One in another namespace is not taken, and said to be there.
    let leaf = ca.issue(&["a.example"]);
    let elsewhere = "/api/v1/namespaces/default/secrets";
    let secret = objects::certificate("a", &leaf);
    api.send("POST", elsewhere, &secret.to_string()).await;
    api.tells(WEB, &["the one in namespace default is not looked at"]).await;
    api.create_secret(&secret).await;
    shows(&gateway, "a.example", &config, &leaf).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    // The Gateway goes, and so does its listener.
    api.send("DELETE", WEB, "").await;
    eventually(PATIENCE, || async {
        match shown(&gateway, "b.example", &config).await {
            Ok(_) => Err("it still listens".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn other_authorities_that_are_taken_are_told_in_an_event() {
    let ca = Ca::new("root");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let leaf = ca.issue(&["a.example"]);
    api.create_secret(&objects::certificate("a", &leaf)).await;
    api.create_secret(&objects::authorities("clients", &ca)).await;
    let tls = json!({ "mode": "MUTUAL", "credentialName": "a" });
    let server = objects::https("https", "a.example", &tls);
    api.create("gateways", &objects::gateway_of("web", &[server])).await;
    api.tells(WEB, &["verified against Secret clients"]).await;
    api.send("DELETE", &format!("{SECRETS}/clients"), "").await;
    api.tells(WEB, &["no Secret with authorities that nothing else names"]).await;
    api.create_secret(&objects::authorities("others", &ca)).await;
    api.tells(EVENTS, &["verified against Secret others from now on"]).await;
}

#[tokio::test]
async fn certificates_from_files_are_followed() {
    let ca = Ca::new("root");
    let config = ca.client_config(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let tls = json!({
        "mode": "SIMPLE", "serverCertificate": path("tls.crt"), "privateKey": path("tls.key"),
    });
    let server = objects::https("https", "a.example", &tls);
    api.create("gateways", &objects::gateway_of("web", &[server])).await;
    api.tells(WEB, &["tls.crt cannot be read: No such file"]).await;
    // In between they do not belong together.
    let replace = |leaf: &Identity| {
        put(folder.path(), &[("tls.crt", &leaf.certificate_pem), ("tls.key", &leaf.key_pem)]);
    };
    let leaf = ca.issue(&["a.example"]);
    replace(&leaf);
    shows(&gateway, "a.example", &config, &leaf).await;
    let load = handshakes(&gateway, "a.example", &config);
    for _ in 0..3 {
        let leaf = ca.issue(&["a.example"]);
        replace(&leaf);
        load.flows(5).await;
        shows(&gateway, "a.example", &config, &leaf).await;
    }
    assert_eq!(load.stop().await, Vec::<String>::new());
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
}

/// Destinations are verified, by their name too, and a Secret that names their authority counts at once.
#[tokio::test]
async fn destinations_are_verified() {
    let (ca, stranger) = (Ca::new("root"), Ca::new("stranger"));
    let right = Origin::start().tls(&ca.issue(&["a.internal"])).http(echo).await;
    let wrong_name = Origin::start().tls(&ca.issue(&["other.internal"])).http(echo).await;
    let roots = stranger.pem_file();
    let gateway = Gateway::start_with(&[], &[("SSL_CERT_FILE", roots.path())]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    for (name, origin) in [("a", &right), ("b", &wrong_name)] {
        let host = format!("{name}.internal");
        api.create("serviceentries", &objects::host(name, &host, origin.address())).await;
        let mut route = objects::route(name, "web", &format!("{name}.example"), &host);
        route["spec"]["http"][0]["rewrite"] = json!({ "authority": "a.internal" });
        api.create("virtualservices", &route).await;
        let verifies = objects::towards(name, &host, &json!({ "mode": "SIMPLE" }));
        api.create("destinationrules", &verifies).await;
    }
    // By the system's authorities, of which none issued these certificates.
    gateway.answers("a.example", "/", 503).await;
    api.create_secret(&objects::authorities("authorities", &ca)).await;
    for name in ["a", "b"] {
        let settings = json!({ "mode": "SIMPLE", "credentialName": "authorities" });
        let change = json!({ "trafficPolicy": { "tls": settings } });
        api.change(&format!("{NETWORKING}/destinationrules/{name}"), &change).await;
    }
    gateway.answers("a.example", "/", 200).await;
    gateway.answers("b.example", "/", 503).await;
    let careless = json!({ "credentialName": null, "insecureSkipVerify": true });
    let path = format!("{NETWORKING}/destinationrules/b");
    let object = api.change(&path, &json!({ "trafficPolicy": { "tls": careless } })).await;
    assert_eq!(object["spec"]["trafficPolicy"]["tls"]["insecureSkipVerify"], true);
    gateway.answers("b.example", "/", 200).await;
    api.wait_for(&path, &[("Programmed", "True")]).await;
    api.tells(&path, &["the server's certificate is not verified"]).await;
}

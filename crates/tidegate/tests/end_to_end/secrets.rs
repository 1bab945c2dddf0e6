//! Secrets that come, change, break and go while clients connect.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, client, eventually};
use tokio::task::JoinHandle;

use crate::support::{Api, Gateway, NETWORKING, objects};

const SECRETS: &str = "/api/v1/namespaces/istio-system/secrets";
const GATEWAY: &str = "/apis/networking.istio.io/v1/namespaces/default/gateways/web";

/// A gateway that terminates TLS for `a.example` by the Secret `a`, and for `b.example` by `b`.
async fn two_hosts(ca: &Ca) -> (Gateway, Api) {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let server = |name: &str| {
        json!({
            "port": { "number": 443, "name": name, "protocol": "HTTPS" },
            "hosts": [format!("{name}.example")],
            "tls": { "mode": "SIMPLE", "credentialName": name },
        })
    };
    let object = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "web" },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": [server("a"), server("b")] },
    });
    for name in ["a", "b"] {
        let leaf = ca.issue(&[&format!("{name}.example")]);
        api.send("POST", SECRETS, &secret(name, &leaf).to_string()).await;
    }
    api.create("gateways", &object).await;
    api.wait_for(GATEWAY, &[("Programmed", "True")]).await;
    (gateway, api)
}

fn secret(name: &str, leaf: &Identity) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "type": "kubernetes.io/tls",
        "data": data(leaf),
    })
}

fn data(leaf: &Identity) -> Value {
    json!({
        "tls.crt": STANDARD.encode(&leaf.certificate_pem),
        "tls.key": STANDARD.encode(&leaf.key_pem),
    })
}

/// The certificate that a client is shown.
async fn shown(
    gateway: &Gateway,
    host: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<CertificateDer<'static>> {
    let stream = client::tls(gateway.https, host, Arc::clone(config)).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.first().expect("a certificate").clone().into_owned())
}

/// Waits until clients are shown a certificate.
async fn shows(gateway: &Gateway, host: &str, config: &Arc<ClientConfig>, leaf: &Identity) {
    eventually(PATIENCE, || async {
        match shown(gateway, host, config).await {
            Ok(certificate) if certificate == leaf.certificate => Ok(()),
            other => Err(format!("{host}: {other:?}")),
        }
    })
    .await;
}

/// Clients that connect again and again, and must not fail.
struct Handshakes {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    client: JoinHandle<Vec<String>>,
}

impl Handshakes {
    fn start(gateway: &Gateway, config: Arc<ClientConfig>) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (address, stopped, count) = (gateway.https, Arc::clone(&stop), Arc::clone(&done));
        let client = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                if let Err(error) = client::tls(address, "a.example", Arc::clone(&config)).await {
                    failures.push(error.to_string());
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            failures
        });
        Self { stop, done, client }
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.client.await.expect("the client ends");
        (self.done.load(Ordering::Relaxed), failures)
    }
}

#[tokio::test]
async fn no_handshake_fails_while_certificates_are_replaced() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let config = ca.client_config(&[]);
    let handshakes = Handshakes::start(&gateway, Arc::clone(&config));
    for _ in 0..25 {
        let leaf = ca.issue(&["a.example"]);
        let change = json!({ "data": data(&leaf) }).to_string();
        api.send("PATCH", &format!("{SECRETS}/a"), &change).await;
        shows(&gateway, "a.example", &config, &leaf).await;
    }
    let (done, failures) = handshakes.stop().await;
    assert_eq!(failures, Vec::<String>::new(), "of {done} handshakes");
    assert!(done > 25, "{done}");
}

#[tokio::test]
async fn a_broken_certificate_leaves_the_old_one_and_is_told() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let config = ca.client_config(&[]);
    let before = shown(&gateway, "a.example", &config).await.expect("a handshake");
    let (leaf, other) = (ca.issue(&["a.example"]), ca.issue(&["a.example"]));
    let key = STANDARD.encode(&other.key_pem);
    let broken = [
        (json!({ "tls.crt": STANDARD.encode(&leaf.certificate_pem), "tls.key": key }), "key"),
        (json!({ "tls.crt": STANDARD.encode("garbage"), "tls.key": key }), "certificate"),
    ];
    for (data, word) in broken {
        let change = json!({ "data": data }).to_string();
        api.send("PATCH", &format!("{SECRETS}/a"), &change).await;
        tells(&gateway, &format!("servers[0] (port 443): Secret istio-system/a, {word}: ")).await;
        tells(&gateway, "; the one before serves on").await;
        // It is in force, but for that.
        api.wait_for(GATEWAY, &[("ResolvedRefs", "False"), ("Programmed", "True")]).await;
        tells(&gateway, "PartlyServed").await;
        let now = shown(&gateway, "a.example", &config).await.expect("a handshake");
        assert_eq!(now, before, "the old one serves on");
    }
    let change = json!({ "data": data(&leaf) }).to_string();
    api.send("PATCH", &format!("{SECRETS}/a"), &change).await;
    shows(&gateway, "a.example", &config, &leaf).await;
    api.wait_for(GATEWAY, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    tells(&gateway, "every worker serves it").await;
}

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
    let (gateway, mut api) = two_hosts(&ca).await;
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
        let data = json!({ "tls.crt": STANDARD.encode(chain), "tls.key": STANDARD.encode(key) });
        api.send("PATCH", &format!("{SECRETS}/a"), &json!({ "data": data }).to_string()).await;
        tells(&gateway, &format!("servers[0] (port 443): Secret istio-system/a, {words}")).await;
    }
}

#[tokio::test]
async fn the_last_good_certificate_serves_after_a_restart() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let config = ca.client_config(&[]);
    let before = shown(&gateway, "a.example", &config).await.expect("a handshake");
    let garbage = json!({ "tls.crt": STANDARD.encode("garbage") });
    // One lacks a key, which pilot sees, and one is refused by the proxy.
    api.send("DELETE", &format!("{SECRETS}/b"), "").await;
    tells(&gateway, "what is in force of it").await;
    let leaf = ca.issue(&["b.example"]);
    let mut opaque = secret("b", &leaf);
    opaque["type"] = json!("Opaque");
    api.send("POST", SECRETS, &opaque.to_string()).await;
    shows(&gateway, "b.example", &config, &leaf).await;
    tells(&gateway, "every worker serves it").await;
    let lacking = json!({ "data": { "tls.crt": null, "other": "" } });
    api.send("PATCH", &format!("{SECRETS}/b"), &lacking.to_string()).await;
    tells(&gateway, "Secret istio-system/b has no certificate with a key").await;
    api.send("PATCH", &format!("{SECRETS}/a"), &json!({ "data": garbage }).to_string()).await;
    tells(&gateway, "Secret istio-system/a, certificate: ").await;

    let place = gateway.place();
    gateway.process.kill().await;
    let gateway = Gateway::start_at(&place, &[]).await;
    let now = shown_soon(&gateway, "a.example", &config).await;
    assert_eq!(now, before, "the old one serves on");
    assert_eq!(shown_soon(&gateway, "b.example", &config).await, leaf.certificate);
    tells(&gateway, "Secret istio-system/a, certificate: ").await;
    tells(&gateway, "neither (cert and key) nor (tls.crt and tls.key)").await;
    tells(&gateway, "; the one before serves on").await;
    let mut api = Api::of(&gateway).await;
    let leaf = ca.issue(&["a.example"]);
    let change = json!({ "data": data(&leaf) }).to_string();
    api.send("PATCH", &format!("{SECRETS}/a"), &change).await;
    shows(&gateway, "a.example", &config, &leaf).await;
}

/// The certificate that clients are shown once the listener is open.
async fn shown_soon(
    gateway: &Gateway,
    host: &str,
    config: &Arc<ClientConfig>,
) -> CertificateDer<'static> {
    eventually(PATIENCE, || async {
        shown(gateway, host, config).await.map_err(|error| error.to_string())
    })
    .await
}

#[tokio::test]
async fn a_missing_secret_closes_its_own_hosts_alone() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let config = ca.client_config(&[]);
    api.send("DELETE", &format!("{SECRETS}/a"), "").await;
    api.wait_for(GATEWAY, &[("ResolvedRefs", "False"), ("Programmed", "True")]).await;
    tells(&gateway, "there is no Secret a in namespace istio-system").await;
    tells(&gateway, "not in force: servers[0] (port 443): connections for its hosts are closed")
        .await;
    shown(&gateway, "a.example", &config).await.expect_err("nothing to show");
    shown(&gateway, "b.example", &config).await.expect("b has its own");
    // One in another namespace is not taken, and said to be there.
    let leaf = ca.issue(&["a.example"]);
    let elsewhere = "/api/v1/namespaces/default/secrets";
    api.send("POST", elsewhere, &secret("a", &leaf).to_string()).await;
    tells(&gateway, "the one in namespace default is not looked at").await;
    api.send("POST", SECRETS, &secret("a", &leaf).to_string()).await;
    shows(&gateway, "a.example", &config, &leaf).await;
    api.wait_for(GATEWAY, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    // The Gateway goes, and so does its listener.
    api.send("DELETE", &format!("{NETWORKING}/gateways/web"), "").await;
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
    api.send("POST", SECRETS, &secret("a", &leaf).to_string()).await;
    let authorities = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name },
            "data": { "ca.crt": STANDARD.encode(ca.pem()) },
        })
    };
    api.send("POST", SECRETS, &authorities("clients").to_string()).await;
    let object = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "web" },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": [{
            "port": { "number": 443, "name": "https", "protocol": "HTTPS" },
            "hosts": ["a.example"],
            "tls": { "mode": "MUTUAL", "credentialName": "a" },
        }]},
    });
    api.create("gateways", &object).await;
    tells(&gateway, "verified against Secret clients").await;
    api.send("DELETE", &format!("{SECRETS}/clients"), "").await;
    tells(&gateway, "no Secret with authorities that nothing else names").await;
    api.send("POST", SECRETS, &authorities("others").to_string()).await;
    let api = tokio::sync::Mutex::new(api);
    eventually(PATIENCE, || async {
        let events = "/api/v1/namespaces/default/events";
        let text = api.lock().await.send("GET", events, "").await.to_string();
        match text.contains("verified against Secret others from now on") {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
}

/// Waits until the Gateway's status says something.
async fn tells(gateway: &Gateway, words: &str) {
    eventually(PATIENCE, || async {
        let mut api = Api::of(gateway).await;
        let text = api.send("GET", GATEWAY, "").await["status"].to_string();
        if text.contains(words) { Ok(()) } else { Err(format!("no {words:?} in {text}")) }
    })
    .await;
}

#[tokio::test]
async fn certificates_from_files_are_followed() {
    let ca = Ca::new("root");
    let config = ca.client_config(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let object = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "web" },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": [{
            "port": { "number": 443, "name": "https", "protocol": "HTTPS" },
            "hosts": ["a.example"],
            "tls": { "mode": "SIMPLE", "serverCertificate": path("tls.crt"), "privateKey": path("tls.key") },
        }]},
    });
    api.create("gateways", &object).await;
    tells(&gateway, "tls.crt cannot be read: No such file").await;
    let handshakes = {
        let leaf = ca.issue(&["a.example"]);
        replace(folder.path(), &leaf);
        shows(&gateway, "a.example", &config, &leaf).await;
        Handshakes::start(&gateway, Arc::clone(&config))
    };
    for _ in 0..3 {
        let leaf = ca.issue(&["a.example"]);
        replace(folder.path(), &leaf);
        shows(&gateway, "a.example", &config, &leaf).await;
    }
    let (done, failures) = handshakes.stop().await;
    assert_eq!(failures, Vec::<String>::new(), "of {done} handshakes");
    api.wait_for(GATEWAY, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
}

/// Replaces the files one after the other: in between they do not belong together.
fn replace(folder: &Path, leaf: &Identity) {
    for (name, content) in [("tls.crt", &leaf.certificate_pem), ("tls.key", &leaf.key_pem)] {
        let new = folder.join("new");
        std::fs::write(&new, content).expect("written");
        std::fs::rename(new, folder.join(name)).expect("moved");
    }
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
        api.create("destinationrules", &rule(name, &json!({ "mode": "SIMPLE" }))).await;
    }
    // By the system's authorities, of which none issued these certificates.
    gateway.answers("a.example", "/", 503).await;
    let authorities = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "authorities" },
        "data": { "ca.crt": STANDARD.encode(ca.pem()) },
    });
    api.send("POST", SECRETS, &authorities.to_string()).await;
    for name in ["a", "b"] {
        let settings = json!({ "mode": "SIMPLE", "credentialName": "authorities" });
        let change = json!({ "spec": rule(name, &settings)["spec"] }).to_string();
        api.send("PATCH", &format!("{NETWORKING}/destinationrules/{name}"), &change).await;
    }
    gateway.answers("a.example", "/", 200).await;
    gateway.answers("b.example", "/", 503).await;
    let careless = json!({ "credentialName": null, "insecureSkipVerify": true });
    let change = json!({ "spec": { "trafficPolicy": { "tls": careless } } }).to_string();
    let path = format!("{NETWORKING}/destinationrules/b");
    let object = api.send("PATCH", &path, &change).await;
    assert_eq!(object["spec"]["trafficPolicy"]["tls"]["insecureSkipVerify"], true);
    gateway.answers("b.example", "/", 200).await;
    let object = api.wait_for(&path, &[("Programmed", "True")]).await;
    let text = object["status"].to_string();
    assert!(text.contains("the server's certificate is not verified"), "{text}");
}

fn rule(name: &str, tls: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": { "name": name },
        "spec": { "host": format!("{name}.internal"), "trafficPolicy": { "tls": tls } },
    })
}

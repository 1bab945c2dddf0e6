//! Injection by webhook, as an API server asks for it.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client, Response};
use tidegate_testing::process::Process;
use tidegate_testing::{PATIENCE, eventually};
use tokio::process::Command;

const NAME: &str = "injector.istio-system.svc";

struct Webhook {
    process: Process,
    at: SocketAddr,
    ca: Ca,
}

impl Webhook {
    async fn start(folder: &Path) -> Self {
        let ca = Ca::new("a cluster");
        write(folder, &ca.issue(&[NAME]));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.current_dir(folder).args(["webhook", "--listen", "127.0.0.1:0"]);
        command.args(["--tls-cert", "tls.crt", "--tls-key", "tls.key"]);
        let process = Process::spawn(command);
        let line = process.stderr().containing("/inject").await;
        let at = line.split("https://").nth(1).and_then(|rest| rest.split('/').next());
        let at = at.and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("no address: {line}"));
        Self { process, at, ca }
    }

    async fn ask(&self, path: &str, body: &str) -> Response {
        let stream = client::tls(self.at, NAME, self.ca.client_config(&[])).await.expect("TLS");
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {length}\r\n\r\n");
        Client::over(stream).request(format!("{head}{body}")).await
    }

    async fn shown(&self) -> Vec<u8> {
        let stream = client::tls(self.at, NAME, self.ca.client_config(&[])).await.expect("TLS");
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        chain.first().expect("a certificate").to_vec()
    }
}

fn write(folder: &Path, identity: &Identity) {
    std::fs::write(folder.join("tls.crt"), &identity.certificate_pem).expect("a file");
    std::fs::write(folder.join("tls.key"), &identity.key_pem).expect("a file");
}

fn review() -> Value {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "sleep" },
        "spec": { "containers": [{ "name": "sleep", "image": "curl" }] },
    });
    let request =
        json!({ "uid": "u-1", "operation": "CREATE", "namespace": "shop", "object": pod });
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
}

#[tokio::test]
async fn a_pod_that_is_created_gets_its_sidecar() {
    let folder = tempfile::tempdir().expect("a folder");
    let webhook = Webhook::start(folder.path()).await;
    let answer = webhook.ask("/inject", &review().to_string()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let answer = answer.json();
    assert_eq!(answer["response"]["allowed"], true);
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().expect("a patch"));
    let patch: Value = serde_json::from_slice(&patch.expect("base64")).expect("JSON");
    assert!(patch.to_string().contains("istio-proxy"), "{patch:#}");

    assert_eq!(webhook.ask("/inject/cluster/east", &review().to_string()).await.status, 200);
    assert_eq!(webhook.ask("/inject", "{").await.status, 400);
    assert_eq!(webhook.ask("/inject", "{}").await.status, 400);
    assert_eq!(webhook.ask("/elsewhere", "{}").await.status, 404);
}

#[tokio::test]
async fn a_certificate_in_the_place_of_the_old_one_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let webhook = Webhook::start(folder.path()).await;
    let next = webhook.ca.issue(&[NAME]);
    assert_ne!(webhook.shown().await, next.certificate.as_ref());
    write(folder.path(), &next);
    eventually(PATIENCE, || async {
        match webhook.shown().await == next.certificate.as_ref() {
            true => Ok(()),
            false => Err("the old one is shown"),
        }
    })
    .await;
    // What cannot be used changes nothing.
    std::fs::write(folder.path().join("tls.crt"), "nothing").expect("a file");
    webhook.process.stderr().containing("is shown on").await;
    assert_eq!(webhook.shown().await, next.certificate.as_ref());
}

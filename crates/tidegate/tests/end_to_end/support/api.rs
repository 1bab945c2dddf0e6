//! The API without kubectl, for tests that write faster than a process starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tidegate_testing::client::{self, Client, Response};
use tidegate_testing::{PATIENCE, eventually};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Gateway;

/// Istio's networking kinds in the namespace `default`.
pub const NETWORKING: &str = "/apis/networking.istio.io/v1/namespaces/default";

/// The Gateway that tests with one of them have.
pub const WEB: &str = "/apis/networking.istio.io/v1/namespaces/default/gateways/web";

/// Secrets where the gateway looks for them.
pub const SECRETS: &str = "/api/v1/namespaces/istio-system/secrets";

/// One connection to a gateway's API, with its kubeconfig's token.
pub struct Api {
    client: Client<TlsStream<TcpStream>>,
    token: String,
}

impl Api {
    /// Connects as the gateway's kubeconfig says.
    pub async fn of(gateway: &Gateway) -> Self {
        Self::at(&gateway.exports["KUBECONFIG"]).await.expect("the API")
    }

    /// Connects as a kubeconfig says.
    pub async fn at(kubeconfig: &str) -> std::io::Result<Self> {
        let kubeconfig = std::fs::read_to_string(kubeconfig)?;
        let fields: BTreeMap<&str, &str> = kubeconfig
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").split_once(": "))
            .map(|(name, value)| (name, value.trim().trim_matches('"')))
            .collect();
        let address = fields["server"].strip_prefix("https://").and_then(|a| a.parse().ok());
        let address: SocketAddr = address.expect("an address");
        let ca = STANDARD.decode(fields["certificate-authority-data"]).expect("base64");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca).expect("PEM")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = client::tls(address, &address.ip().to_string(), Arc::new(tls)).await?;
        Ok(Self { client: Client::over(stream), token: fields["token"].to_owned() })
    }

    /// Sends a request; an error when the connection ends before the answer.
    pub async fn try_send(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> std::io::Result<Response> {
        let content_type =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        self.client.send(head + body).await;
        self.client.read(false).await
    }

    /// Sends a request that has to be answered with a success; the object.
    #[track_caller]
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.try_send(method, path, body).await.expect("an answer");
            assert!(
                (200..300).contains(&answer.status),
                "{method} {path} at {caller}: {}",
                answer.text()
            );
            answer.json()
        }
    }

    /// Creates an object from YAML-free JSON.
    pub async fn create(&mut self, plural: &str, object: &Value) -> Value {
        self.send("POST", &format!("{NETWORKING}/{plural}"), &object.to_string()).await
    }

    /// Changes what an object asks for.
    pub async fn change(&mut self, path: &str, spec: &Value) -> Value {
        self.send("PATCH", path, &json!({ "spec": spec }).to_string()).await
    }

    /// Creates a Secret where the gateway looks for it.
    pub async fn create_secret(&mut self, secret: &Value) -> Value {
        self.send("POST", SECRETS, &secret.to_string()).await
    }

    /// Changes what is in such a Secret.
    pub async fn change_secret(&mut self, name: &str, data: &Value) -> Value {
        let change = json!({ "data": data }).to_string();
        self.send("PATCH", &format!("{SECRETS}/{name}"), &change).await
    }

    /// Waits until what an object, or a list of them, says has all these words in it; that of an object in its status.
    pub async fn tells(&mut self, path: &str, words: &[&str]) -> Value {
        let this = tokio::sync::Mutex::new(self);
        eventually(PATIENCE, || async {
            let object = this.lock().await.send("GET", path, "").await;
            let told = object.get("status").unwrap_or(&object);
            let text = told.to_string();
            match words.iter().find(|word| !text.contains(**word)) {
                None => Ok(told.clone()),
                Some(word) => Err(format!("no {word:?} in {told:#}")),
            }
        })
        .await
    }

    /// Waits until an object's conditions of these names all hold for its present generation.
    pub async fn wait_for(&mut self, path: &str, conditions: &[(&str, &str)]) -> Value {
        let this = tokio::sync::Mutex::new(self);
        eventually(PATIENCE, || async {
            let object = this.lock().await.send("GET", path, "").await;
            if conditions.iter().all(|(name, status)| has(&object, name, status)) {
                Ok(object)
            } else {
                Err(format!("{conditions:?} not in {object:#}"))
            }
        })
        .await
    }
}

fn has(object: &Value, name: &str, status: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == name
            && condition["status"] == status
            && condition["observedGeneration"] == object["metadata"]["generation"]
    })
}

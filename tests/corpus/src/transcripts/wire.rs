//! Requests as they were recorded, over TLS to the server that a kubeconfig names.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tidegate_testing::client::{self, Client, Response};

use super::recording::Request;
use crate::cases;

/// How long a watch is listened to, in seconds.
const WATCHED: &str = "1";

/// Who asks. Recordings have no tokens; what was answered says whose it was.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Admin,
    /// A user who may do nothing.
    Viewer,
    /// Somebody with a token of nobody.
    Stranger,
}

/// The server before us.
pub struct Server {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: String,
    viewer: String,
}

impl Server {
    pub fn of(kubeconfig: &Path) -> Result<Self> {
        let config = cases::document(kubeconfig)?;
        let cluster = &config["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().context("a kubeconfig without a server")?;
        let address = server.trim_start_matches("https://").parse().context(server.to_owned())?;
        let pem = cluster["certificate-authority-data"].as_str().context("no authority")?;
        let authority = CertificateDer::from_pem_slice(&BASE64.decode(pem)?)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let token = config["users"][0]["user"]["token"].as_str().context("no token")?.to_owned();
        let viewer = std::env::var("VIEWER_TOKEN").unwrap_or_default();
        Ok(Self { address, tls: Arc::new(tls), token, viewer })
    }

    /// Sends a request on a connection of its own, as somebody.
    pub async fn ask(&self, request: &Request, by: By) -> Result<Response> {
        let (headers, body) = self.written(request, by);
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            request.method,
            target(request),
            self.address
        );
        let name = self.address.ip().to_string();
        let mut client = Client::over(client::tls(self.address, &name, self.tls.clone()).await?);
        client.send(head).await;
        client.send(body).await;
        // A log that is followed has no end.
        let to_head = request.method == "HEAD" || request.query.contains_key("follow");
        Ok(client.read(to_head).await?)
    }

    /// Reads what is at a path.
    pub async fn get(&self, path: &str) -> Result<Response> {
        let headers = json!({"authorization": "", "accept": "application/json"});
        let request = json!({"method": "GET", "path": path, "headers": headers});
        self.ask(&serde_json::from_value(request)?, By::Admin).await
    }

    /// The fields that matter to a server, and the content.
    fn written(&self, request: &Request, by: By) -> (String, Vec<u8>) {
        let mut headers = String::new();
        for (name, value) in &request.headers {
            match name.as_str() {
                "authorization" => {
                    let token = match by {
                        By::Admin => &self.token,
                        By::Viewer => &self.viewer,
                        By::Stranger => "wrong",
                    };
                    let _ = write!(headers, "{name}: Bearer {token}\r\n");
                }
                "accept-encoding" | "user-agent" => {}
                _ => {
                    let _ = write!(headers, "{name}: {value}\r\n");
                }
            }
        }
        if request.headers.contains_key("upgrade") {
            headers.push_str(
                "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            );
        }
        let body = content(&request.body);
        if !matches!(request.body, Value::Null) {
            let _ = write!(headers, "content-length: {}\r\n", body.len());
        }
        (headers, body)
    }
}

/// The path with its query. Watches of minutes are cut short: what they begin with is what is compared.
fn target(request: &Request) -> String {
    let mut target = request.path.clone();
    let mut sign = '?';
    let watch = request.query.contains_key("watch");
    for (name, values) in &request.query {
        for value in values.all() {
            let value = if watch && name == "timeoutSeconds" { WATCHED } else { value };
            let _ = write!(target, "{sign}{name}={}", encoded(value));
            sign = '&';
        }
    }
    if watch && !request.query.contains_key("timeoutSeconds") {
        let _ = write!(target, "{sign}timeoutSeconds={WATCHED}");
    }
    target
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A text stands for itself, anything else is written as JSON.
fn content(body: &Value) -> Vec<u8> {
    match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        _ => body.to_string().into_bytes(),
    }
}

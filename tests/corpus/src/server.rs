//! The server that `KUBECONFIG` names, over TLS, a connection for each request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tidegate_testing::client::{self, Client, Response};

use crate::cases;

/// The server before us.
pub struct Server {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    /// The token of somebody who may do everything.
    pub token: String,
}

impl Server {
    /// The one of `KUBECONFIG`.
    pub fn before_us() -> Result<Self> {
        let kubeconfig =
            PathBuf::from(std::env::var_os("KUBECONFIG").context("KUBECONFIG names no server")?);
        let config = cases::document(&kubeconfig)?;
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
        Ok(Self { address, tls: Arc::new(tls), token })
    }

    /// Sends a request and reads the answer, or only its head. `line` is the method and the target, `headers` are the fields,
    /// each with its end of line.
    pub async fn send(
        &self,
        line: &str,
        headers: &str,
        body: Vec<u8>,
        to_head: bool,
    ) -> Result<Response> {
        let head = format!("{line} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address);
        let name = self.address.ip().to_string();
        let mut client = Client::over(client::tls(self.address, &name, self.tls.clone()).await?);
        client.send(head).await;
        client.send(body).await;
        Ok(client.read(to_head).await?)
    }

    /// Reads what is at a path, in one of the forms of `accept`.
    pub async fn get(&self, path: &str, accept: &str) -> Result<Response> {
        let headers = format!("authorization: Bearer {}\r\naccept: {accept}\r\n", self.token);
        self.send(&format!("GET {path}"), &headers, Vec::new(), false).await
    }
}

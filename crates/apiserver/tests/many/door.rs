//! How clients come in: over TLS, each with a connection of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tidegate_apiserver::rest::Handle;
use tidegate_testing::client;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The way to a server, as its administrator.
pub struct Door {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: String,
}

impl Door {
    /// To a server whose data folder this is.
    pub fn to(server: &Handle, dir: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(dir.join("ca.crt")).expect("a certificate");
        roots.add(authority).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let token = std::fs::read_to_string(dir.join("token")).expect("a token");
        let token = token.trim().to_owned();
        Self { address: server.local_addr(), tls: Arc::new(tls), token }
    }

    /// Sends a GET; what is answered is to be read to the end of the connection.
    pub async fn ask(&self, target: &str) -> TlsStream<TcpStream> {
        let stream = client::tls(self.address, "127.0.0.1", Arc::clone(&self.tls)).await;
        let mut stream = stream.expect("a handshake");
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        stream
    }
}

/// Bytes of memory that the process has: what allocators add to what they are asked for counts, too.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1_024
}

//! Clients that shake hands, and what they are shown.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};
use tidegate_testing::{PATIENCE, eventually};

use super::{Api, Gateway, Load, WEB, objects};

/// A gateway that terminates TLS for `a.example` by the Secret `a`, and for `b.example` by `b`.
pub async fn two_hosts(ca: &Ca) -> (Gateway, Api) {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let server = |name: &str| {
        let tls = serde_json::json!({ "mode": "SIMPLE", "credentialName": name });
        objects::https(name, &format!("{name}.example"), &tls)
    };
    for name in ["a", "b"] {
        let leaf = ca.issue(&[&format!("{name}.example")]);
        api.create_secret(&objects::certificate(name, &leaf)).await;
    }
    api.create("gateways", &objects::gateway_of("web", &[server("a"), server("b")])).await;
    api.wait_for(WEB, &[("Programmed", "True")]).await;
    (gateway, api)
}

/// The certificate that a client is shown.
pub async fn shown(
    gateway: &Gateway,
    host: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<CertificateDer<'static>> {
    let stream = client::tls(gateway.https, host, Arc::clone(config)).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.first().expect("a certificate").clone().into_owned())
}

/// The certificate that clients are shown once the listener is open.
pub async fn shown_soon(
    gateway: &Gateway,
    host: &str,
    config: &Arc<ClientConfig>,
) -> CertificateDer<'static> {
    eventually(PATIENCE, || async {
        shown(gateway, host, config).await.map_err(|error| error.to_string())
    })
    .await
}

/// Waits until clients are shown a certificate.
pub async fn shows(gateway: &Gateway, host: &str, config: &Arc<ClientConfig>, leaf: &Identity) {
    eventually(PATIENCE, || async {
        match shown(gateway, host, config).await {
            Ok(certificate) if certificate == leaf.certificate => Ok(()),
            other => Err(format!("{host}: {other:?}")),
        }
    })
    .await;
}

/// The status of an answer to a client on a connection of its own, which it gets where its certificate is accepted.
pub async fn status(gateway: &Gateway, host: &str, config: &Arc<ClientConfig>) -> io::Result<u16> {
    asked(gateway.https, host, config).await
}

async fn asked(address: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> io::Result<u16> {
    let stream = client::tls(address, host, Arc::clone(config)).await?;
    let mut client = Client::over(stream);
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    Ok(client.read(false).await?.status)
}

/// A client that connects and asks again and again, and must get an answer, whichever.
pub fn handshakes(gateway: &Gateway, host: &'static str, config: &Arc<ClientConfig>) -> Load {
    let address = gateway.https;
    Load::run(1, |progress| {
        let config = Arc::clone(config);
        async move {
            let mut faults = Vec::new();
            while progress.goes_on() {
                match asked(address, host, &config).await {
                    Ok(_) => progress.answered(),
                    Err(error) => faults.push(error.to_string()),
                }
            }
            faults
        }
    })
}

/// Replaces files of a folder, each as a whole, one after the other.
pub fn put(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let new = folder.join("new");
        std::fs::write(&new, content).expect("written");
        std::fs::rename(new, folder.join(name)).expect("moved");
    }
}

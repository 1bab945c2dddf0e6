//! Certificates for both sides, and a client that takes whatever it is shown.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};

/// How many certificates there are for servers.
const SERVERS: usize = 4;

/// A TLS connection to be.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server name that is asked for.
    pub name: Option<String>,
    /// Whether the client has a certificate.
    pub certificate: bool,
}

/// Certificates and who trusts them.
pub struct Keys {
    ca: Ca,
    servers: Vec<Identity>,
    with_certificate: ClientConfig,
    without: ClientConfig,
}

impl Keys {
    pub fn new() -> Self {
        let ca = Ca::new("authority");
        let servers = (0..SERVERS).map(|n| ca.issue(&[&format!("server-{n}")])).collect();
        let client = ca.issue(&["client"]);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let taking_all = || {
            let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
            ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("TLS 1.2 and 1.3")
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        };
        let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).expect("a key");
        let certified = taking_all().with_client_auth_cert(vec![client.certificate], key);
        Self {
            ca,
            servers,
            with_certificate: certified.expect("a key that fits"),
            without: taking_all().with_no_client_auth(),
        }
    }

    /// Puts real certificates into a secret.
    pub fn fill(&self, secret: &mut Value, number: usize) {
        let text = |text: &str| json!({ "inline_string": text });
        if secret.get("tls_certificate").is_some() {
            let server = &self.servers[number % SERVERS];
            secret["tls_certificate"] = json!({
                "certificate_chain": text(&server.certificate_pem),
                "private_key": text(&server.key_pem),
            });
        }
        if secret.get("validation_context").is_some() {
            secret["validation_context"]["trusted_ca"] = text(self.ca.pem());
        }
    }

    /// A certificate that those trust who trust the authority.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.ca.issue(names)
    }

    pub fn client(&self, tls: &Tls, http2: bool) -> Arc<ClientConfig> {
        let config = if tls.certificate { &self.with_certificate } else { &self.without };
        let mut config = config.clone();
        if http2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Arc::new(config)
    }

    /// Which server a certificate is for.
    pub fn server_of(&self, certificate: Option<&CertificateDer<'_>>) -> Option<usize> {
        self.servers.iter().position(|server| Some(&server.certificate) == certificate)
    }
}

/// Takes any certificate: which one it is, is compared afterwards.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

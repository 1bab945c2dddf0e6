//! Certificates for both sides, and a client that takes whatever it is shown.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};

use super::generate::{CLIENT_HASH, CLIENT_KEY_HASH};

/// How many certificates there are for servers.
const SERVERS: usize = 4;

/// A TLS connection to be.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server name that is asked for.
    pub name: Option<String>,
    /// Whether the client has a certificate.
    pub certificate: bool,
    /// The only version that the client speaks, if there is one.
    pub version: Option<Version>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

/// Certificates and who trusts them.
pub struct Keys {
    ca: Ca,
    servers: Vec<Identity>,
    client: Identity,
}

impl Keys {
    pub fn new() -> Self {
        let ca = Ca::new("authority");
        let servers = (0..SERVERS).map(|n| ca.issue(&[&format!("server-{n}")])).collect();
        let client = ca.issue(&["client"]);
        Self { ca, servers, client }
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

    /// Puts the client's hashes where something stands for them.
    pub fn pin(&self, value: &mut Value) {
        match value {
            Value::String(text) if text == CLIENT_HASH => {
                *text = self.client.digest().iter().map(|byte| format!("{byte:02x}")).collect();
            }
            Value::String(text) if text == CLIENT_KEY_HASH => {
                *text = STANDARD.encode(self.client.key_digest());
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.pin(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.pin(value)),
            _ => {}
        }
    }

    pub fn client(&self, tls: &Tls, http2: bool) -> Arc<ClientConfig> {
        let versions: &[&'static SupportedProtocolVersion] = match tls.version {
            None => &[&TLS13, &TLS12],
            Some(Version::Tls12) => &[&TLS12],
            Some(Version::Tls13) => &[&TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = if tls.certificate {
            let key = PrivateKeyDer::from_pem_slice(self.client.key_pem.as_bytes());
            let chain = vec![self.client.certificate.clone()];
            let config = builder.with_client_auth_cert(chain, key.expect("a key"));
            config.expect("a key that fits")
        } else {
            builder.with_no_client_auth()
        };
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

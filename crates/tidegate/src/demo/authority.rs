//! The demo's certificate authority. Its key never leaves the process and dies with it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Certificates outlive any demo, and nothing else.
const VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where systems keep their public roots as one PEM file.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// An authority that can vouch for any name, to those who were told to trust it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// When the cryptographic provider cannot make a key.
    pub fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Tidegate demo CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        limit(&mut params);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Writes the authority's certificate after the system's public roots, so that a shell that exports
    /// the file as `CURL_CA_BUNDLE` still reaches the rest of the world.
    ///
    /// # Errors
    /// When `path` cannot be written.
    pub fn write_bundle(&self, path: &Path) -> io::Result<()> {
        let system = SYSTEM_BUNDLES.iter().find_map(|file| fs::read_to_string(file).ok());
        fs::write(path, format!("{}\n{}", system.unwrap_or_default().trim_end(), self.pem))
    }

    /// A TLS server that proves to be `name`.
    ///
    /// # Errors
    /// When `name` is no DNS name or the provider cannot make a key.
    pub fn serve_as(&self, name: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        limit(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate could not be made.
    #[error("the demo certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library did not take it.
    #[error("the demo certificate cannot be served: {0}")]
    Tls(#[from] rustls::Error),
}

fn limit(params: &mut CertificateParams) {
    let now = SystemTime::now();
    // An hour back, for clients whose clocks are a little behind.
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + VALIDITY).into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_ends_with_the_demo_authority() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let authority = Authority::new().expect("an authority");
        authority.write_bundle(&path).expect("the bundle");
        assert!(fs::read_to_string(&path).expect("the bundle").ends_with(&authority.pem));
        assert!(authority.serve_as("www.google.com").is_ok());
        assert!(authority.serve_as("kein Name: ä").is_err());
    }
}

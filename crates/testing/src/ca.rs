//! A throwaway certificate authority: ECDSA P-256 (or RSA, where asked for), one level, valid for as long as rcgen's defaults say.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams,
    RsaKeySize, SanType, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, SignatureVerificationAlgorithm, UnixTime,
};
use tempfile::NamedTempFile;

/// A certificate authority that lives as long as the test.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    issued: AtomicU64,
}

impl Ca {
    /// A new authority whose subject is `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a root certificate");
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            issued: AtomicU64::new(1),
        }
    }

    /// The root certificate as PEM text.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The root certificate in a file, for `curl --cacert` and the like; gone when dropped.
    #[must_use]
    pub fn pem_file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(self.pem.as_bytes()).expect("the certificate written");
        file
    }

    /// A certificate for `names` (DNS names or IP addresses; the first is also the subject).
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with_uris(names, &[])
    }

    /// The same, for URIs as well.
    #[must_use]
    pub fn issue_with_uris(&self, names: &[&str], uris: &[&str]) -> Identity {
        self.issue_with(names, |params| {
            for uri in uris {
                let uri = (*uri).try_into().expect("an ASCII URI");
                params.subject_alt_names.push(SanType::URI(uri));
            }
        })
    }

    /// A certificate that was valid in the year 2000 only.
    #[must_use]
    pub fn issue_expired(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    /// A certificate with an RSA key of 2048 bits, slower to make than the others.
    #[must_use]
    pub fn issue_rsa(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048);
        self.issue_for(&key.expect("a key"), names, |_| {})
    }

    fn issue_with(&self, names: &[&str], more: impl FnOnce(&mut CertificateParams)) -> Identity {
        self.issue_for(&KeyPair::generate().expect("a key"), names, more)
    }

    fn issue_for(
        &self,
        key: &KeyPair,
        names: &[&str],
        more: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("valid names");
        if let Some(first) = names.first() {
            params.distinguished_name.push(DnType::CommonName, first);
        }
        let serial = self.issued.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(serial.into());
        more(&mut params);
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            public_key: key.subject_public_key_info(),
            serial,
        }
    }

    /// The list of certificates that this authority has revoked, as PEM text; good for this century.
    #[must_use]
    pub fn revocations(&self, revoked: &[&Identity]) -> String {
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial.into(),
            revocation_time: date_time_ymd(2000, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2000, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a list")
    }

    /// A client that trusts this authority alone and offers `alpn`, the preferred protocol first.
    #[must_use]
    pub fn client_config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.client(None, alpn)
    }

    /// The same, for whom it is the year 2000 still.
    #[must_use]
    pub fn client_config_in_2000(&self) -> Arc<ClientConfig> {
        let mut config = (*self.client(None, &[])).clone();
        config.time_provider = Arc::new(Year2000);
        Arc::new(config)
    }

    /// The same, for one version of TLS. Sessions are resumed only if that is asked for.
    #[must_use]
    pub fn client_config_of(
        &self,
        version: &'static SupportedProtocolVersion,
        resumes: bool,
    ) -> Arc<ClientConfig> {
        let mut config = self.client_of(version, provider());
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Arc::new(config)
    }

    /// The same, for one cipher suite and its version of TLS. No session is resumed.
    #[must_use]
    pub fn client_config_by(&self, suite: SupportedCipherSuite) -> Arc<ClientConfig> {
        let provider = CryptoProvider { cipher_suites: vec![suite], ..(*provider()).clone() };
        let mut config = self.client_of(suite.version(), provider.into());
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// A client to which a server can prove itself by an RSA key alone, in one version of TLS.
    #[must_use]
    pub fn client_config_for_rsa(
        &self,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut provider = (*provider()).clone();
        // What is offered for the handshake. The chain may be signed otherwise, as by this authority.
        provider.signature_verification_algorithms.mapping = &RSA_ALONE;
        let mut config = self.client_of(version, provider.into());
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    fn client_of(
        &self,
        version: &'static SupportedProtocolVersion,
        provider: Arc<CryptoProvider>,
    ) -> ClientConfig {
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// The same, with a certificate to show.
    #[must_use]
    pub fn client_config_with(&self, identity: &Identity, alpn: &[&str]) -> Arc<ClientConfig> {
        self.client(Some(identity), alpn)
    }

    /// This authority, as the only one that is trusted.
    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root certificate");
        Arc::new(roots)
    }

    fn client(&self, identity: Option<&Identity>, alpn: &[&str]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(self.roots());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key, .. }) => {
                let key = PrivateKeyDer::Pkcs8(key.clone_key());
                let config = builder.with_client_auth_cert(vec![certificate.clone()], key);
                config.expect("a key that fits its certificate")
            }
        };
        config.alpn_protocols = wire_names(alpn);
        Arc::new(config)
    }
}

/// A way to sign, and what verifies it.
type Verifiable = (SignatureScheme, &'static [&'static dyn SignatureVerificationAlgorithm]);

/// The ways in which RSA keys sign.
static RSA_ALONE: LazyLock<Vec<Verifiable>> = LazyLock::new(|| {
    let all = provider().signature_verification_algorithms.mapping;
    let name = |scheme: &SignatureScheme| scheme.as_str().unwrap_or_default();
    all.iter().filter(|(scheme, _)| name(scheme).starts_with("RSA_")).copied().collect()
});

#[derive(Debug)]
struct Year2000;

impl TimeProvider for Year2000 {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(962_409_600)))
    }
}

/// A certificate and its key.
pub struct Identity {
    /// The certificate as PEM text.
    pub certificate_pem: String,
    /// The key as PKCS#8 PEM text.
    pub key_pem: String,
    /// The certificate, to compare with what a client saw.
    pub certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    public_key: Vec<u8>,
    serial: u64,
}

impl Identity {
    /// SHA-256 of the certificate.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        sha256(&self.certificate)
    }

    /// SHA-256 of its public key (SubjectPublicKeyInfo).
    #[must_use]
    pub fn key_digest(&self) -> Vec<u8> {
        sha256(&self.public_key)
    }

    /// A server that presents this certificate and speaks one of `alpn` (or anything, when empty).
    #[must_use]
    pub fn server_config(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        self.server_config_with(WebPkiClientVerifier::no_client_auth(), alpn)
    }

    /// The same for a server that takes clients with a certificate of `clients` alone.
    #[must_use]
    pub fn server_config_for(&self, clients: &Ca, alpn: &[&str]) -> Arc<ServerConfig> {
        let verifier = WebPkiClientVerifier::builder_with_provider(clients.roots(), provider());
        self.server_config_with(verifier.build().expect("an authority"), alpn)
    }

    fn server_config_with(
        &self,
        clients: Arc<dyn ClientCertVerifier>,
        alpn: &[&str],
    ) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![self.certificate.clone()],
                PrivateKeyDer::Pkcs8(self.key.clone_key()),
            )
            .expect("a key that fits its certificate");
        config.alpn_protocols = wire_names(alpn);
        Arc::new(config)
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    suite.common.hash_provider.hash(bytes).as_ref().to_vec()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn wire_names(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_certificates_that_rustls_takes() {
        let ca = Ca::new("test root");
        let identity = ca.issue(&["a.example", "127.0.0.1"]);
        assert!(identity.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(identity.server_config(&["h2"]).alpn_protocols, [b"h2".to_vec()]);
        let file = ca.pem_file();
        let written = std::fs::read_to_string(file.path()).expect("the file");
        assert_eq!(written, ca.pem());
    }
}

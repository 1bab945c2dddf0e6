//! The one cryptography provider, and what is used of it directly.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite};

/// The provider of everything that does TLS here. Its suites stand in the order of preference.
#[must_use]
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(dearness);
        Arc::new(provider)
    });
    &PROVIDER
}

/// What a suite costs beside others of its version. As in Envoy AES-128 comes first: all suites are beyond what anybody can break,
/// and those with SHA-384 make a handshake, which derives a dozen keys with it, a sixth dearer.
fn dearness(suite: &SupportedCipherSuite) -> (bool, u8) {
    let cipher = match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 2,
        _ => 1,
    };
    (suite.tls13().is_none(), cipher)
}

/// SHA-256 of `data`.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    // The suite is one of the library's own, so that its hash is there; a digest of another length cannot be.
    let hash = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let output = hash.map(|suite| suite.common.hash_provider.hash(data));
    let digest = output.as_ref().map(AsRef::as_ref).unwrap_or_default();
    <[u8; 32]>::try_from(digest).unwrap_or([0; 32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::x509::hex;

    #[test]
    fn sha256_of_a_known_text() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(b"abc")), expected);
    }
}

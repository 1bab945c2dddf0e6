//! The one cryptography provider, and what is used of it directly.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The provider of everything that does TLS here.
#[must_use]
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
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

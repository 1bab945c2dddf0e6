//! What a peer's certificate must be (`CertificateValidationContext`).

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use super::crypto::sha256;
use super::identity::dns_name_covers;
use super::x509::{AltName, Certificate};
use crate::route::TextMatch;

/// What a peer's certificate must be. Parts that are empty ask nothing.
#[derive(Debug, Clone, Default)]
pub struct Validation {
    /// Who may have issued it. With none the chain is not looked at.
    pub roots: Vec<CertificateDer<'static>>,
    /// What has been revoked. With one, every certificate of the chain must be covered by one.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// Whether only the peer's own certificate is looked up in them.
    pub only_leaf_revoked: bool,
    /// One of these must match one of its names.
    pub names: Vec<NameMatch>,
    /// SHA-256 of its key, or …
    pub key_hashes: Vec<[u8; 32]>,
    /// … of the whole certificate, must be one of these.
    pub hashes: Vec<[u8; 32]>,
    /// Whether a chain that does not verify is accepted all the same.
    pub accept_untrusted: bool,
    /// Whether a server does not say whose certificates it takes.
    pub no_hints: bool,
}

/// A test of one kind of names.
#[derive(Debug, Clone)]
pub struct NameMatch {
    /// The kind.
    pub kind: NameKind,
    /// The test.
    pub text: TextMatch,
}

/// A kind of names in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// DNS names.
    Dns,
    /// URIs.
    Uri,
    /// Mail addresses.
    Email,
    /// IP addresses.
    Ip,
}

/// Why a certificate is not accepted, beyond its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// No name is as asked.
    #[error("verify SAN list")]
    Name,
    /// Neither its key nor itself is one of those asked for.
    #[error("verify cert hash or SPKI")]
    Pin,
}

impl NameMatch {
    /// Whether a name of a certificate is as asked.
    #[must_use]
    pub fn matches(&self, name: &AltName<'_>) -> bool {
        match (self.kind, name) {
            (NameKind::Dns, AltName::Dns(name)) => match &self.text {
                // The certificate may stand for more than one host.
                TextMatch::Exact(wanted) => {
                    std::str::from_utf8(wanted).is_ok_and(|wanted| dns_name_covers(name, wanted))
                }
                test => test.matches(name.as_bytes()),
            },
            (NameKind::Uri, AltName::Uri(text)) | (NameKind::Email, AltName::Email(text)) => {
                self.text.matches(text.as_bytes())
            }
            (NameKind::Ip, AltName::Ip(address)) => {
                self.text.matches(address.to_string().as_bytes())
            }
            _ => false,
        }
    }
}

impl Validation {
    /// This with what `more` says: lists are joined, what it sets counts, as protobuf merges messages.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let mut both = self.clone();
        if !more.roots.is_empty() {
            both.roots.clone_from(&more.roots);
        }
        if !more.revoked.is_empty() {
            both.revoked.clone_from(&more.revoked);
        }
        both.names.extend_from_slice(&more.names);
        both.key_hashes.extend_from_slice(&more.key_hashes);
        both.hashes.extend_from_slice(&more.hashes);
        both.only_leaf_revoked |= more.only_leaf_revoked;
        both.accept_untrusted |= more.accept_untrusted;
        both.no_hints |= more.no_hints;
        both
    }

    /// Whether a peer's certificate is looked at in any way.
    #[must_use]
    pub fn asks(&self) -> bool {
        !(self.roots.is_empty() && self.key_hashes.is_empty() && self.hashes.is_empty())
    }

    /// Whether the peer is known to be who it says: its chain is verified, or its key is one that is listed.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.asks() && !self.accept_untrusted
    }

    /// Whether a peer has to have a certificate, even where none is demanded otherwise: names and pins are asked of everybody,
    /// as by Envoy, unless any issuer will do.
    #[must_use]
    pub fn demands(&self) -> bool {
        let any = self.names.is_empty() && self.key_hashes.is_empty() && self.hashes.is_empty();
        !(any || self.accept_untrusted)
    }

    /// Looks at names and pins.
    ///
    /// # Errors
    /// Which of the two does not match.
    pub fn check(&self, certificate: &Certificate<'_>, der: &[u8]) -> Result<(), Mismatch> {
        let named = |test: &NameMatch| certificate.alt_names().any(|name| test.matches(&name));
        if !self.names.is_empty() && !self.names.iter().any(named) {
            return Err(Mismatch::Name);
        }
        if self.key_hashes.is_empty() && self.hashes.is_empty() {
            return Ok(());
        }
        let pinned = self.key_hashes.contains(&sha256(certificate.key))
            || self.hashes.contains(&sha256(der));
        if pinned { Ok(()) } else { Err(Mismatch::Pin) }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testing::ca::Ca;

    use super::*;

    fn name(kind: NameKind, text: TextMatch) -> Validation {
        Validation { names: vec![NameMatch { kind, text }], ..Validation::default() }
    }

    #[test]
    fn names_and_pins() {
        let identity = Ca::new("root").issue(&["*.a.example", "10.1.2.3"]);
        let certificate = Certificate::parse(&identity.certificate).expect("a certificate");
        let exact = |text: &str| TextMatch::Exact(text.as_bytes().into());
        let pin = |key_hash: [u8; 32], hash: [u8; 32]| Validation {
            key_hashes: vec![key_hash],
            hashes: vec![hash],
            ..Validation::default()
        };
        let (key, whole) = (sha256(certificate.key), sha256(&identity.certificate));
        let cases = [
            (Validation::default(), Ok(())),
            (name(NameKind::Dns, exact("x.a.example")), Ok(())),
            (name(NameKind::Dns, exact("x.y.a.example")), Err(Mismatch::Name)),
            (name(NameKind::Dns, TextMatch::Suffix(b".a.example".as_slice().into())), Ok(())),
            (name(NameKind::Uri, exact("x.a.example")), Err(Mismatch::Name)),
            (name(NameKind::Ip, exact("10.1.2.3")), Ok(())),
            (pin(key, [0; 32]), Ok(())),
            (pin([0; 32], whole), Ok(())),
            (pin([0; 32], [0; 32]), Err(Mismatch::Pin)),
        ];
        for (validation, expected) in cases {
            let found = validation.check(&certificate, &identity.certificate);
            assert_eq!(found, expected, "{validation:?}");
        }
    }

    #[test]
    fn what_is_said_later_counts() {
        let root = |name: &str| Validation {
            roots: vec![Ca::new(name).issue(&[name]).certificate],
            ..name_match(name)
        };
        fn name_match(text: &str) -> Validation {
            name(NameKind::Dns, TextMatch::Exact(text.as_bytes().into()))
        }
        let (a, b) = (root("a"), root("b"));
        let both = a.with(&b);
        assert_eq!(both.roots, b.roots);
        assert_eq!(both.names.len(), 2);
        assert!(both.verifies());
        let lax = both.with(&Validation { accept_untrusted: true, ..Validation::default() });
        assert!(lax.asks() && !lax.verifies());
        assert_eq!(lax.roots, b.roots);
    }
}

//! A certificate chain and its key, as this proxy presents them.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::crypto::provider;
use super::ocsp;
use super::pem::{self, Wanted};
use super::x509::{AltName, Certificate};
use crate::accesslog::timestamp;

/// RSA keys with fewer bits are not used (NIST SP 800-57 part 1, section 5.6.1).
const LEAST_RSA_BITS: usize = 2048;

/// A chain whose key fits, and what is told of it.
#[derive(Debug)]
pub struct Identity {
    /// The chain and its key, for handshakes.
    pub key: Arc<CertifiedKey>,
    /// What the leaf says.
    pub leaf: Leaf,
    /// The same with an OCSP response, and until when that is good.
    stapled: Option<(Arc<CertifiedKey>, SystemTime)>,
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Subject, as RFC 2253 writes it.
    pub subject: String,
    /// DNS names.
    pub dns_names: Vec<Box<str>>,
    /// URIs.
    pub uris: Vec<Box<str>>,
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
}

/// Why a chain and a key cannot be used, and which of the two it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The chain.
    #[error("{0}")]
    Chain(String),
    /// The key.
    #[error("{0}")]
    Key(String),
}

impl Leaf {
    /// What `certificate` says.
    #[must_use]
    pub fn of(certificate: &Certificate<'_>) -> Self {
        let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
        for name in certificate.alt_names() {
            match name {
                AltName::Dns(name) => dns_names.push(name.into()),
                AltName::Uri(uri) => uris.push(uri.into()),
                AltName::Email(_) | AltName::Ip(_) => {}
            }
        }
        Self {
            serial: certificate.serial_text(),
            subject: certificate.subject_text(),
            dns_names,
            uris,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }
    }

    /// Whether it is for a host; `*` stands for one label (RFC 9525, section 6.3).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        self.dns_names.iter().any(|name| dns_name_covers(name, host))
    }
}

/// Whether a DNS name of a certificate covers `host`.
#[must_use]
pub fn dns_name_covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(suffix) => host.split_once('.').is_some_and(|(label, parent)| {
            !label.is_empty() && parent.eq_ignore_ascii_case(suffix)
        }),
        None => name.eq_ignore_ascii_case(host),
    }
}

impl Identity {
    /// Takes a chain and a key in PEM. Whether it has expired is left to who decides what else there is to serve.
    ///
    /// # Errors
    /// They are no chain or no key, or do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Unusable> {
        let unusable = |reason: String| Unusable::Chain(reason);
        if let Some(instead) = pem::instead(Wanted::Certificates, chain) {
            return Err(unusable(instead.to_owned()));
        }
        if let Some(instead) = pem::instead(Wanted::Key, key) {
            return Err(Unusable::Key(instead.to_owned()));
        }
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(format!("the PEM text cannot be read: {error}")))?;
        let Some(first) = chain.first() else {
            return Err(unusable("there is no certificate in it".to_owned()));
        };
        let Some(certificate) = Certificate::parse(first) else {
            return Err(unusable("the first certificate in it is malformed".to_owned()));
        };
        let leaf = Leaf::of(&certificate);
        if let Some(bits) = certificate.rsa_bits().filter(|bits| *bits < LEAST_RSA_BITS) {
            return Err(Unusable::Key(format!(
                "the RSA key has {bits} bits, and less than {LEAST_RSA_BITS} are not accepted by anybody: make a longer one, \
                 or one with an elliptic curve (openssl ecparam -name prime256v1 -genkey)"
            )));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| Unusable::Key(format!("the PEM text cannot be read: {error}")))?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| Unusable::Key(format!("the key cannot be used: {error}")))?;
        if key.public_key().is_some_and(|public| *public != *certificate.key) {
            return Err(Unusable::Key(format!(
                "the key is not that of the certificate of {}",
                leaf.subject
            )));
        }
        Ok(Self { key: Arc::new(CertifiedKey::new(chain, key)), leaf, stapled: None })
    }

    /// The same with an OCSP response for its certificate, which clients that ask for it are told as long as it is
    /// good.
    ///
    /// # Errors
    /// See [`ocsp::Unusable`].
    pub fn with_staple(self, response: Vec<u8>) -> Result<Self, ocsp::Unusable> {
        let certificate = self.key.cert.first().and_then(|leaf| Certificate::parse(leaf));
        let certificate = certificate.ok_or(ocsp::Unusable::Malformed)?;
        let until = ocsp::good_until(&response, certificate.serial)?;
        let key = CertifiedKey { ocsp: Some(response), ..(*self.key).clone() };
        Ok(Self { stapled: until.map(|until| (Arc::new(key), until)), ..self })
    }

    /// What a handshake at `now` presents.
    #[must_use]
    pub fn presented(&self, now: SystemTime) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some((stapled, until)) if now < *until => stapled,
            _ => &self.key,
        }
    }

    /// That it has expired at `now`, or is not valid yet, in words; `None` while it is valid.
    #[must_use]
    pub fn untimely(&self, now: SystemTime) -> Option<String> {
        let Leaf { subject, not_before, not_after, .. } = &self.leaf;
        if self.is_early(now) {
            let from = timestamp(*not_before);
            return Some(format!("the certificate of {subject} is not valid before {from}"));
        }
        let age = now.duration_since(*not_after).ok().filter(|age| !age.is_zero())?;
        let (days, until) = (age.as_secs() / 86_400, timestamp(*not_after));
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        Some(format!("the certificate of {subject} expired {days} ago, at {until}"))
    }

    /// That it has expired at `now`, in words that stay the same from then on; `None` while it has not.
    #[must_use]
    pub fn expired(&self, now: SystemTime) -> Option<String> {
        let Leaf { subject, not_after, .. } = &self.leaf;
        let until = timestamp(*not_after);
        (*not_after < now).then(|| format!("the certificate of {subject} expired at {until}"))
    }

    /// Whether it is not valid yet at `now`.
    #[must_use]
    pub fn is_early(&self, now: SystemTime) -> bool {
        now < self.leaf.not_before
    }

    /// Whether its key can sign in one of these ways.
    #[must_use]
    pub fn signs_as(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }

    /// Whether its key is an elliptic-curve one, cheaper to sign with than RSA.
    #[must_use]
    pub fn is_ecdsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::ECDSA
    }
}

/// The one of `identities` for a client that asks for `host` and understands `schemes`: one whose key it
/// understands, that is for the host if one is, with an elliptic-curve key if one has it.
pub fn choose<'i>(
    identities: &'i [Arc<Identity>],
    host: Option<&str>,
    schemes: &[SignatureScheme],
) -> Option<&'i Arc<Identity>> {
    let rank = |identity: &Identity| {
        (host.is_some_and(|host| identity.leaf.covers(host)), identity.is_ecdsa())
    };
    let usable = identities.iter().filter(|identity| identity.signs_as(schemes));
    // The first of equals.
    usable.rev().max_by_key(|identity| rank(identity))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_testing::ca::Ca;

    use super::*;

    #[test]
    fn a_chain_and_its_key() {
        let ca = Ca::new("root");
        let (a, b) = (ca.issue(&["a.example"]), ca.issue(&["b.example"]));
        let load = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes());
        let identity = load(&a.certificate_pem, &a.key_pem).expect("they fit");
        assert!(identity.leaf.covers("A.example"));
        assert!(!identity.leaf.covers("b.example"));
        assert!(identity.is_ecdsa());
        let refused = |chain: &str, key: &str| load(chain, key).map(|_| ()).expect_err("refused");
        assert!(
            matches!(refused(&a.certificate_pem, &b.key_pem), Unusable::Key(why) if why.contains("not that of"))
        );
        assert!(matches!(refused("", &a.key_pem), Unusable::Chain(_)));
        assert!(matches!(refused("garbage", &a.key_pem), Unusable::Chain(_)));
        assert!(matches!(refused(&a.certificate_pem, "garbage"), Unusable::Key(_)));
        let swapped = refused(&a.key_pem, &a.certificate_pem);
        assert!(matches!(swapped, Unusable::Chain(why) if why.contains("swap the two")));
        let cut = &a.certificate_pem[..a.certificate_pem.len() / 2];
        assert!(matches!(refused(cut, &a.key_pem), Unusable::Chain(_)));
        let last = identity.leaf.not_after;
        assert_eq!(identity.untimely(last), None);
        let late = identity.untimely(last + Duration::from_secs(3 * 86_400));
        let until = timestamp(last);
        let words = format!("the certificate of CN=a.example expired 3 days ago, at {until}");
        assert_eq!(late, Some(words));
        let first = identity.leaf.not_before;
        assert_eq!(identity.untimely(first), None);
        let early = identity.untimely(first - Duration::from_secs(1));
        let from = timestamp(first);
        let words = format!("the certificate of CN=a.example is not valid before {from}");
        assert_eq!(early, Some(words));
    }

    #[test]
    fn a_client_is_shown_what_it_understands_and_is_for_its_host() {
        const RSA: &[SignatureScheme] =
            &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
        const CURVE: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
        let ca = Ca::new("root");
        let load = |leaf: tidegate_testing::ca::Identity| {
            let (chain, key) = (leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes());
            Arc::new(Identity::from_pem(chain, key).expect("they fit"))
        };
        let rsa = load(ca.issue_rsa(&["a.example", "rsa.example"]));
        let curve = load(ca.issue(&["a.example", "curve.example"]));
        assert_eq!((rsa.is_ecdsa(), curve.is_ecdsa()), (false, true));
        let both = [RSA, CURVE].concat();
        let cases: [(_, &[SignatureScheme], _); 9] = [
            (Some("a.example"), RSA, Some(&rsa)),
            (Some("a.example"), CURVE, Some(&curve)),
            (Some("a.example"), &both, Some(&curve)),
            (None, RSA, Some(&rsa)),
            (None, &both, Some(&curve)),
            // What is for the host goes before what is cheap, and what is understood before both.
            (Some("rsa.example"), &both, Some(&rsa)),
            (Some("rsa.example"), CURVE, Some(&curve)),
            (Some("other.example"), &both, Some(&curve)),
            (Some("a.example"), &[SignatureScheme::ED25519], None),
        ];
        for identities in [[&rsa, &curve], [&curve, &rsa]].map(|both| both.map(Arc::clone)) {
            for (host, schemes, wanted) in &cases {
                let chosen = choose(&identities, *host, schemes);
                let same = match (chosen, wanted) {
                    (Some(chosen), Some(wanted)) => Arc::ptr_eq(chosen, wanted),
                    (chosen, wanted) => chosen.is_none() && wanted.is_none(),
                };
                assert!(same, "{host:?} {schemes:?}: {:?}", chosen.map(|chosen| &chosen.leaf));
            }
        }
    }

    #[test]
    fn the_first_of_equals_is_shown() {
        let ca = Ca::new("root");
        let [one, two] = [(); 2].map(|()| {
            let leaf = ca.issue(&["a.example"]);
            let (chain, key) = (leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes());
            Arc::new(Identity::from_pem(chain, key).expect("they fit"))
        });
        for identities in [[&one, &two], [&two, &one]].map(|both| both.map(Arc::clone)) {
            let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
            let chosen = choose(&identities, Some("a.example"), &schemes).expect("one");
            assert!(Arc::ptr_eq(chosen, &identities[0]));
        }
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let cases = [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "A.EXAMPLE.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("a.example.com", "a.example.com", true),
            ("*", "a", false),
        ];
        for (name, host, covers) in cases {
            assert_eq!(dns_name_covers(name, host), covers, "{name} {host}");
        }
    }
}

//! Names of protocol versions and cipher suites: OpenSSL's, which configuration and logs use.

use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite};

use super::crypto::provider;

/// Suites of TLS 1.2 by OpenSSL's names, in the library's words.
const TLS12: [(&str, CipherSuite); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Suites that BoringSSL has and this library has left out, as they lack forward secrecy or authenticate late.
const WEAK: [&str; 14] = [
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
];

/// Suites of TLS 1.3.
const TLS13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Why a suite cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSuite {
    /// No such name is known.
    #[error("no suite is known by that name of OpenSSL's, such as ECDHE-RSA-AES128-GCM-SHA256")]
    Unknown,
    /// It is weak.
    #[error(
        "it has no forward secrecy or is of the CBC kind, open to padding attacks; use ECDHE with GCM or CHACHA20-POLY1305"
    )]
    Weak,
    /// It is no suite of TLS 1.2.
    #[error("it is of TLS 1.3, whose suites are always offered")]
    Tls13,
}

/// The suites of TLS 1.2 behind a name: one, or a group in brackets (`[A|B]`). In the place of one that cannot be had,
/// its name and why.
pub fn tls12(name: &str) -> impl Iterator<Item = Result<CipherSuite, (&str, NoSuite)>> {
    let group = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    group.split('|').map(|name| {
        let is = |suite: &CipherSuite| suite.as_str().is_some_and(|iana| iana == name);
        match TLS12.iter().find(|(known, suite)| *known == name || is(suite)) {
            Some((_, suite)) => Ok(*suite),
            None if WEAK.contains(&name) => Err((name, NoSuite::Weak)),
            None if TLS13.contains(&name) => Err((name, NoSuite::Tls13)),
            None => Err((name, NoSuite::Unknown)),
        }
    })
}

/// The provider's suites: all of TLS 1.3, and of TLS 1.2 those in `only`, in its order, or all of them.
#[must_use]
pub fn supported(only: &[CipherSuite]) -> Vec<SupportedCipherSuite> {
    let all = &provider().cipher_suites;
    let (tls13, tls12): (Vec<_>, Vec<_>) =
        all.iter().copied().partition(|suite| suite.tls13().is_some());
    if only.is_empty() {
        return all.clone();
    }
    let find = |wanted: &CipherSuite| tls12.iter().copied().find(|suite| suite.suite() == *wanted);
    tls13.iter().copied().chain(only.iter().filter_map(find)).collect()
}

/// The group for key exchange of a name.
#[must_use]
pub fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    let group = match name {
        "X25519" => NamedGroup::X25519,
        "P-256" | "prime256v1" | "secp256r1" => NamedGroup::secp256r1,
        "P-384" | "secp384r1" => NamedGroup::secp384r1,
        "X25519MLKEM768" => NamedGroup::X25519MLKEM768,
        _ => return None,
    };
    aws_lc_rs::ALL_KX_GROUPS.iter().copied().find(|known| known.name() == group)
}

/// OpenSSL's name of a suite.
#[must_use]
pub fn name(suite: CipherSuite) -> &'static str {
    let known = TLS12.iter().find(|(_, known)| *known == suite).map(|(name, _)| *name);
    known.unwrap_or(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => "unknown",
    })
}

/// Name of a version, as logs write it.
#[must_use]
pub fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_suites() {
        for (name, suite) in TLS12 {
            assert_eq!(tls12(name).collect::<Vec<_>>(), [Ok(suite)]);
            assert_eq!(super::name(suite), name);
        }
        let group = "[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA|ECDHE-RSA-CHACHA20-POLY1305]";
        let group: Vec<_> = tls12(group).map(|suite| suite.is_ok()).collect();
        assert_eq!(group, [true, false, true]);
        let lacks = |name: &'static str, why| tls12(name).eq([Err((name, why))]);
        assert!(lacks("AES128-SHA", NoSuite::Weak));
        assert!(lacks("TLS_AES_128_GCM_SHA256", NoSuite::Tls13));
        assert!(lacks("RC4-MD5", NoSuite::Unknown));
        assert!(lacks("", NoSuite::Unknown));
    }

    #[test]
    fn names_of_groups() {
        for name in ["X25519", "P-256", "P-384", "X25519MLKEM768"] {
            assert!(group(name).is_some(), "{name}");
        }
        assert!(group("P-224").is_none());
    }

    #[test]
    fn every_supported_suite_has_a_name_and_weak_ones_are_not_supported() {
        assert!(supported(&[]).iter().all(|suite| name(suite.suite()) != "unknown"));
        let one = supported(&[CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]);
        assert_eq!(one.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
        assert_eq!(one.len(), 4);
    }
}

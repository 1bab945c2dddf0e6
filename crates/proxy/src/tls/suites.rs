//! Names of protocol versions and cipher suites: OpenSSL's, which configuration and logs use.

use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite};

use tidegate_envoy::suites::{self as names, NoSuite};

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

/// The suites of TLS 1.2 behind a name, as [`tidegate_envoy::suites::tls12`] finds them.
pub fn tls12(name: &str) -> impl Iterator<Item = Result<CipherSuite, (&str, NoSuite)>> {
    names::tls12(name).filter_map(|found| match found {
        Ok(name) => TLS12.iter().find(|(known, _)| *known == name).map(|(_, suite)| Ok(*suite)),
        Err(why) => Some(Err(why)),
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
    let group = match names::group(name)? {
        "X25519" => NamedGroup::X25519,
        "P-256" => NamedGroup::secp256r1,
        "P-384" => NamedGroup::secp384r1,
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
        assert_eq!(TLS12.map(|(name, _)| name), names::TLS12.map(|(name, _)| name));
        for (name, suite) in TLS12 {
            assert_eq!(tls12(name).collect::<Vec<_>>(), [Ok(suite)]);
            assert_eq!(super::name(suite), name);
            let standard = suite.as_str().expect("it has a name");
            assert_eq!(tls12(standard).collect::<Vec<_>>(), [Ok(suite)]);
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
        for (name, others) in names::GROUPS {
            for name in [name].iter().chain(others) {
                assert!(group(name).is_some(), "{name}");
            }
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

//! Cipher suites of TLS 1.2 and groups for key exchange that the proxy has. Others are left out of a handshake, and where none
//! is left there is no handshake, so whoever names them asks here before.

/// Suites of TLS 1.2 by OpenSSL's names, each with the name that standards give it.
pub const TLS12: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// Groups for key exchange, each with other names for it.
pub const GROUPS: [(&str, &[&str]); 4] = [
    ("X25519", &[]),
    ("P-256", &["prime256v1", "secp256r1"]),
    ("P-384", &["secp384r1"]),
    ("X25519MLKEM768", &[]),
];

/// Groups that can be named, for messages.
pub const USE_GROUPS: &str = "use X25519, P-256, P-384 or X25519MLKEM768";

/// Suites that BoringSSL has and the proxy has not, as they lack forward secrecy or authenticate late.
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

/// The suites of TLS 1.2 behind a name, by OpenSSL's names: one, or a group in brackets (`[A|B]`). In the place of one that
/// cannot be had, its name and why.
pub fn tls12(name: &str) -> impl Iterator<Item = Result<&'static str, (&str, NoSuite)>> {
    let group = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    group.split('|').map(|name| {
        match TLS12.iter().find(|(known, standard)| [*known, *standard].contains(&name)) {
            Some((known, _)) => Ok(*known),
            None if WEAK.contains(&name) => Err((name, NoSuite::Weak)),
            None if TLS13.contains(&name) => Err((name, NoSuite::Tls13)),
            None => Err((name, NoSuite::Unknown)),
        }
    })
}

/// The group of a name, by its first name in [`GROUPS`].
#[must_use]
pub fn group(name: &str) -> Option<&'static str> {
    let is = |(known, others): &&(&'static str, &[&str])| *known == name || others.contains(&name);
    GROUPS.iter().find(is).map(|(known, _)| *known)
}

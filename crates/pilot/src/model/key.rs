//! Kinds of private keys, as far as choosing between certificates needs them.

use std::fmt;

use tidegate_api::base64;

/// A kind of private keys. A client that knows one of two kinds is shown the certificate with a key of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// On a curve such as P-256.
    EllipticCurve,
    /// On an Edwards curve.
    Edwards,
}

/// Identifiers of algorithms in PKCS #8 (RFC 5958), in DER.
const ALGORITHMS: [(&[u8], KeyKind); 3] = [
    (&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], KeyKind::Rsa),
    (&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], KeyKind::EllipticCurve),
    (&[6, 3, 0x2b, 0x65, 0x70], KeyKind::Edwards),
];
/// Characters of base64 that hold the algorithm: it stands at the beginning.
const HEAD: usize = 64;

impl KeyKind {
    /// The kind of the first private key in a PEM text; `None` where there is none, or one of another kind.
    #[must_use]
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        let text = str::from_utf8(pem).ok()?;
        let mut blocks = text.split("-----BEGIN ").skip(1).filter_map(|b| b.split_once("-----"));
        blocks.find_map(|(label, body)| match label {
            "RSA PRIVATE KEY" => Some(Self::Rsa),
            "EC PRIVATE KEY" => Some(Self::EllipticCurve),
            "PRIVATE KEY" => of_pkcs8(body),
            _ => None,
        })
    }
}

fn of_pkcs8(body: &str) -> Option<KeyKind> {
    let (body, _) = body.split_once("-----END ")?;
    let head: String = body.chars().filter(|c| !c.is_whitespace()).take(HEAD).collect();
    let der = base64::decode(&head).ok()?;
    let has = |algorithm: &[u8]| der.windows(algorithm.len()).any(|window| window == algorithm);
    ALGORITHMS.into_iter().find(|(algorithm, _)| has(algorithm)).map(|(_, kind)| kind)
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "an RSA key",
            Self::EllipticCurve => "an elliptic-curve key",
            Self::Edwards => "an Edwards-curve key",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let pem = |label: &str, der: &[u8]| {
            let body = base64::encode(der);
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        let pkcs8 = |algorithm: &[u8]| {
            let head = [&[0x30, 0x82, 4, 0xbe, 2, 1, 0, 0x30, 0x0d][..], algorithm].concat();
            pem("PRIVATE KEY", &[head, vec![0; 64]].concat())
        };
        for (algorithm, kind) in ALGORITHMS {
            assert_eq!(KeyKind::of_pem(pkcs8(algorithm).as_bytes()), Some(kind));
        }
        let curve = pem("EC PARAMETERS", &[6, 8]) + &pem("EC PRIVATE KEY", &[0x30]);
        assert_eq!(KeyKind::of_pem(curve.as_bytes()), Some(KeyKind::EllipticCurve));
        let rsa = pem("CERTIFICATE", &[0x30]) + &pem("RSA PRIVATE KEY", &[0x30]);
        assert_eq!(KeyKind::of_pem(rsa.as_bytes()), Some(KeyKind::Rsa));
        for none in [pem("CERTIFICATE", &[0x30]), pem("PRIVATE KEY", &[0x30]), "k".to_owned()] {
            assert_eq!(KeyKind::of_pem(none.as_bytes()), None, "{none}");
        }
        assert_eq!(KeyKind::of_pem(&[0xff, 0xfe]), None);
    }
}

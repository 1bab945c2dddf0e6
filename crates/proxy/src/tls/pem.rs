//! What people give in place of certificates and keys in PEM, and what to do about it.

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Certificates.
    Certificates,
    /// Certificates of authorities.
    Authorities,
    /// A private key.
    Key,
    /// Lists of revoked certificates.
    Revocations,
}

/// What was given instead, and the remedy; `None` where that is not known.
#[must_use]
pub fn instead(wanted: Wanted, given: &[u8]) -> Option<&'static str> {
    let has = |label: &str| given.windows(label.len()).any(|part| part == label.as_bytes());
    // A sequence of DER, whose length takes more than one byte.
    if matches!(given, [0x30, 0x81..=0x84, ..]) {
        return Some(match wanted {
            Wanted::Certificates | Wanted::Authorities => {
                "it is DER and not PEM: convert it by openssl x509 -inform DER -in FILE -out FILE.pem"
            }
            Wanted::Key => {
                "it is DER and not PEM: convert it by openssl pkey -inform DER -in FILE -out FILE.pem"
            }
            Wanted::Revocations => {
                "it is DER and not PEM: convert it by openssl crl -inform DER -in FILE -out FILE.pem"
            }
        });
    }
    let key = has("PRIVATE KEY-----");
    let certificate = has("CERTIFICATE-----");
    match wanted {
        Wanted::Key if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") => Some(
            "the key is protected by a passphrase, which nobody is here to type: write it without one by openssl pkey -in \
             FILE -out FILE.pem",
        ),
        Wanted::Key if certificate && !key => {
            Some("it holds a certificate and no private key: swap the two")
        }
        Wanted::Certificates if key && !certificate => {
            Some("it holds a private key and no certificate: swap the two")
        }
        Wanted::Authorities if key && !certificate => Some(
            "it holds a private key: the authority's certificate belongs there, and its key nowhere near",
        ),
        Wanted::Revocations if certificate && !has("X509 CRL-----") => {
            Some("it holds a certificate and no list of revoked ones (BEGIN X509 CRL)")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_instead() {
        const DER: &[u8] = &[0x30, 0x82, 1, 2, 3];
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n".as_slice();
        let rsa = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n".as_slice();
        let locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n".as_slice();
        let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n".as_slice();
        let cases = [
            (Wanted::Certificates, DER, "openssl x509 -inform DER"),
            (Wanted::Key, DER, "openssl pkey -inform DER"),
            (Wanted::Revocations, DER, "openssl crl -inform DER"),
            (Wanted::Key, rsa, "passphrase"),
            (Wanted::Key, locked, "passphrase"),
            (Wanted::Key, certificate, "no private key: swap"),
            (Wanted::Certificates, key, "no certificate: swap"),
            (Wanted::Revocations, certificate, "no list of revoked ones"),
        ];
        for (wanted, given, words) in cases {
            let told = instead(wanted, given);
            assert!(told.is_some_and(|told| told.contains(words)), "{wanted:?}: {told:?}");
        }
        let both = [certificate, key].concat();
        for (wanted, given) in [
            (Wanted::Certificates, both.as_slice()),
            (Wanted::Key, &both),
            (Wanted::Key, key),
            (Wanted::Certificates, b"garbage"),
        ] {
            assert_eq!(instead(wanted, given), None);
        }
    }
}

//! What a list of revoked certificates says (RFC 5280 section 5), read in place from its DER form.
//!
//! The TLS library looks at lists for the chains that it verifies. This is for the leaves that it does not take: those of
//! version 1, and those that are trusted themselves.

use std::time::SystemTime;

use super::x509::{
    BIT_STRING, BOOLEAN, Certificate, Der, GENERALIZED_TIME, INTEGER, OID, SEQUENCE, UTC_TIME,
    bits, time, values,
};

/// `id-ce-deltaCRLIndicator`: such a list says only what is new.
const DELTA: &[u8] = &[0x55, 0x1d, 0x1b];
/// `id-ce-issuingDistributionPoint`: such a list is about some certificates of its issuer, or of other issuers.
const DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];

/// A list, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct RevocationList<'a> {
    /// What the issuer signed.
    pub signed: &'a [u8],
    /// Name of the issuer, DER.
    pub issuer: &'a [u8],
    /// When a newer list is there at the latest; a list that does not say so never ends.
    pub next_update: Option<SystemTime>,
    /// Algorithm of the signature: the content of its `AlgorithmIdentifier`.
    pub signature_algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// Whether it is about every certificate of its issuer, as far as is understood here.
    pub is_whole: bool,
    /// The entries.
    revoked: &'a [u8],
}

impl<'a> RevocationList<'a> {
    /// Takes a list apart; `None` when it is none.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Der(der);
        let whole = outer.read(SEQUENCE).filter(|_| outer.0.is_empty())?;
        let mut parts = Der(whole.content);
        let signed = parts.read(SEQUENCE)?;
        let signature_algorithm = parts.read(SEQUENCE)?.content;
        let signature = bits(parts.read(BIT_STRING)?.content)?;

        let mut fields = Der(signed.content);
        fields.optional(INTEGER);
        fields.read(SEQUENCE)?;
        let issuer = fields.read(SEQUENCE)?.whole;
        time(fields.next()?)?;
        let next_update = fields.optional(UTC_TIME).or_else(|| fields.optional(GENERALIZED_TIME));
        let next_update = match next_update {
            Some(value) => Some(time(value)?),
            None => None,
        };
        let revoked = fields.optional(SEQUENCE).map_or(&[][..], |entries| entries.content);
        let extensions = fields.optional(0xa0);
        let is_whole = extensions.is_none_or(|extensions| is_whole(extensions.content));
        Some(Self {
            signed: signed.whole,
            issuer,
            next_update,
            signature_algorithm,
            signature,
            is_whole,
            revoked,
        })
    }

    /// Whether a certificate of its issuer is on it.
    pub(super) fn has(&self, certificate: &Certificate<'_>) -> bool {
        let serials = values(self.revoked).filter_map(|entry| Der(entry.content).read(INTEGER));
        let mut serials = serials.map(|serial| serial.content);
        serials.any(|serial| serial == certificate.serial)
    }
}

/// Whether nothing in the extensions limits what a list is about, or is critical and not known here.
fn is_whole(extensions: &[u8]) -> bool {
    let Some(list) = Der(extensions).read(SEQUENCE) else { return false };
    values(list.content).all(|extension| {
        let mut fields = Der(extension.content);
        let Some(name) = fields.read(OID) else { return false };
        let critical = fields.optional(BOOLEAN).is_some_and(|critical| critical.content != [0]);
        !critical && ![DELTA, DISTRIBUTION_POINT].contains(&name.content)
    })
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
    use tidegate_testing::ca::Ca;

    use super::*;

    #[test]
    fn what_is_no_list_is_none() {
        let ca = Ca::new("root");
        let certificate = CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("one");
        assert!(RevocationList::parse(&certificate).is_none());
        let list = CertificateRevocationListDer::from_pem_slice(ca.revocations(&[]).as_bytes());
        let list = list.expect("a list");
        assert!(RevocationList::parse(&list).is_some_and(|list| list.is_whole));
        for cut in 0..list.len() {
            assert!(RevocationList::parse(&list[..cut]).is_none(), "{cut}");
        }
        for bytes in [&b""[..], &[0x30, 0x00], &[0x30, 0x80, 0, 0], &[0xff; 64]] {
            assert!(RevocationList::parse(bytes).is_none());
        }
    }
}

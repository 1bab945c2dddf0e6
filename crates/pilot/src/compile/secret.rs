//! Secrets: what handshakes take by name.

use tidegate_envoy::v3::core::DataSource;
use tidegate_envoy::v3::core::data_source::Specifier;
use tidegate_envoy::v3::tls::secret::Type;
use tidegate_envoy::v3::tls::{CertificateValidationContext, Secret, TlsCertificate};

use crate::model::credentials::Found;

/// The secret of a credential; none where a server of its own has it.
#[must_use]
pub fn secret(name: &str, found: Found<'_>) -> Option<Secret> {
    let kind = match found {
        Found::Pair { chain, key, staple } => Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(bytes(chain)),
            private_key: Some(bytes(key)),
            ocsp_staple: staple.map(bytes),
            ..TlsCertificate::default()
        }),
        Found::Authorities { roots, revoked, .. } => {
            Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(bytes(roots)),
                crl: revoked.map(bytes),
                ..CertificateValidationContext::default()
            })
        }
        Found::Elsewhere => return None,
    };
    Some(Secret { name: name.to_owned(), r#type: Some(kind) })
}

fn bytes(bytes: &[u8]) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes.to_vec())), ..DataSource::default() }
}

//! The certificates that contexts have now, for those who must renew them in time.

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use super::context::Common;
use super::secret::{IdentitySource, ValidationSource};
use super::validation::Validation;
use super::x509::Certificate;

/// What certificates are called that have no name because they stand in a context, as by Envoy.
const UNNAMED: &str = "unnamed_cert_e3b0c442";
/// Likewise those that others are verified by.
const UNNAMED_CA: &str = "unnamed_ca_cert_e3b0c442";

/// The certificates of a context.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Those that are presented: the first of each chain.
    pub presented: Vec<Named>,
    /// The first of those that peers are verified by.
    pub ca: Option<Named>,
}

/// A certificate, and what its secret is called.
#[derive(Debug)]
pub struct Named {
    /// The secret's name.
    pub name: Arc<str>,
    /// Whether it comes in a secret of that name, and does not stand in a context.
    pub is_secret: bool,
    /// The certificate.
    pub certificate: CertificateDer<'static>,
}

impl Named {
    /// Last moment of its validity.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        Some(Certificate::parse(&self.certificate)?.not_after)
    }
}

impl Inventory {
    /// The certificates of a context; what is missing still is left out.
    #[must_use]
    pub fn of(context: &Common) -> Self {
        let presented = |source: &IdentitySource| {
            let (name, identity, is_secret) = match source {
                IdentitySource::Here(identity) => (UNNAMED.into(), Arc::clone(identity), false),
                IdentitySource::Secret(slot) => (Arc::clone(&slot.name), slot.identity()?, true),
            };
            let certificate = identity.key.cert.first()?.clone();
            Some(Named { name, is_secret, certificate })
        };
        Self {
            presented: context.identities.iter().filter_map(presented).collect(),
            ca: ca(&context.validation),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Named> {
        self.presented.iter().chain(&self.ca)
    }
}

/// What a secret says stands in for what stands in place.
fn ca(source: &ValidationSource) -> Option<Named> {
    let first = |validation: &Validation| validation.roots.first().cloned();
    let of_secret = source.secret.as_ref().and_then(|slot| {
        let certificate = first(&*slot.validation()?)?;
        Some(Named { name: Arc::clone(&slot.name), is_secret: true, certificate })
    });
    of_secret.or_else(|| {
        let certificate = first(source.here.as_deref()?)?;
        Some(Named { name: UNNAMED_CA.into(), is_secret: false, certificate })
    })
}

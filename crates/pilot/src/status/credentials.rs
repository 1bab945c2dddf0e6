//! What is wrong with certificates, keys and authorities that an object names.

use super::{Findings, View};
use crate::model::credentials::NotFound;
use crate::model::tls::Credential;

/// What a credential lacks.
#[derive(Clone, Debug)]
pub struct Lack {
    /// What it is, and where.
    pub words: String,
    /// Where it comes from.
    source: String,
    /// Whether it is there, in a form that cannot be used.
    broken: bool,
    /// Whether a form that could be used serves on.
    pub serves_on: bool,
}

impl Lack {
    /// What is wrong with a credential; `None` where nothing is.
    pub(crate) fn of(credential: &Credential, view: View<'_>) -> Option<Self> {
        let behind = view.credentials.behind(credential);
        let credential = behind.as_ref().unwrap_or(credential);
        let usable = view.credentials.usable(credential);
        let source = view.secrets.describe(credential);
        if let Err(NotFound { reason, broken }) = view.secrets.find(credential) {
            return Some(Self { words: reason, source, broken, serves_on: broken && usable });
        }
        let refused = view.credentials.refused(credential)?;
        let words = format!("{source}, {}: {}", part(&refused.path), refused.reason);
        Some(Self { words, source, broken: true, serves_on: usable })
    }

    /// Tells it of a place; `otherwise` says what follows where no earlier form serves on.
    pub(super) fn tell(self, place: &str, otherwise: &str, findings: &mut Findings) {
        let Self { words, source, broken, serves_on } = self;
        let act = if serves_on { "the one before serves on" } else { otherwise };
        let list = if broken { &mut findings.broken } else { &mut findings.missing };
        list.push(format!("{place}: {words}; {act}"));
        let closed = match serves_on {
            true => format!("{place}: {source} as it is now; the one before serves on"),
            false => format!("{place}: {otherwise}"),
        };
        // What follows is the same however many credentials a place lacks.
        if !findings.closed.contains(&closed) {
            findings.closed.push(closed);
        }
    }
}

/// What a Secret is to those who take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretUse {
    /// Nobody takes it: whether it could be used is not known.
    Nobody,
    /// It serves those who take it.
    Usable,
    /// It cannot be used as it is now: why.
    Unusable(String),
}

/// Why what a credential stands for is there and cannot be used; `None` where it can, and where it is not there.
pub(crate) fn unusable(credential: &Credential, view: View<'_>) -> Option<String> {
    let Lack { words, serves_on, .. } = Lack::of(credential, view).filter(|lack| lack.broken)?;
    let act = if serves_on { "the one before serves on" } else { "nothing is served by it" };
    Some(format!("{words}; {act}"))
}

/// A field of a secret in xDS in words.
fn part(path: &str) -> &str {
    match path {
        "tls_certificate.certificate_chain" => "certificate",
        "tls_certificate.private_key" => "key",
        "tls_certificate.ocsp_staple" => "OCSP response",
        "validation_context.trusted_ca" => "authorities",
        "validation_context.crl" => "list of revoked certificates",
        path => path,
    }
}

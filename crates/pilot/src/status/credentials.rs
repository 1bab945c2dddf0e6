//! What is wrong with certificates, keys and authorities that an object names.

use super::{Findings, View};
use crate::Serves;
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
    /// What is served of it.
    pub serves: Serves,
}

impl Lack {
    /// What is wrong with a credential; `None` where nothing is.
    pub(crate) fn of(credential: &Credential, view: View<'_>) -> Option<Self> {
        let behind = view.credentials.behind(credential);
        let credential = behind.as_ref().unwrap_or(credential);
        let usable = view.credentials.usable(credential);
        let source = view.secrets.describe(credential);
        if let Err(NotFound { reason, broken }) = view.secrets.find(credential) {
            let serves = if broken && usable { Serves::Before } else { Serves::Nothing };
            return Some(Self { words: reason, source, broken, serves });
        }
        let faulty = view.credentials.faulty(credential)?;
        let words = format!("{source}, {}: {}", part_of_secret(&faulty.path), faulty.reason);
        let serves = if usable { faulty.serves } else { Serves::Nothing };
        Some(Self { words, source, broken: true, serves })
    }

    /// Tells it of a place; `otherwise` says what follows where no earlier form serves on.
    pub(super) fn tell(self, place: &str, otherwise: &str, findings: &mut Findings) {
        let Self { words, source, broken, serves } = self;
        let act = follows(serves, otherwise);
        let list = if broken { &mut findings.broken } else { &mut findings.missing };
        // What is shown and what is trusted may lack for one reason.
        let told = format!("{place}: {words}; {act}");
        if !list.contains(&told) {
            list.push(told);
        }
        let closed = match serves {
            Serves::Before => format!("{place}: {source} as it is now; {act}"),
            Serves::Nothing => format!("{place}: {otherwise}"),
            Serves::Itself => return,
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
    let Lack { words, serves, .. } = Lack::of(credential, view).filter(|lack| lack.broken)?;
    Some(format!("{words}; {}", follows(serves, "nothing is served by it")))
}

/// What follows from a fault; `otherwise` where nothing is served.
fn follows(serves: Serves, otherwise: &str) -> &str {
    match serves {
        Serves::Nothing => otherwise,
        Serves::Before => "the one before serves on",
        Serves::Itself => {
            "it is presented all the same, as there is none that is valid, and whoever verifies it refuses the connection: \
             renew it"
        }
    }
}

/// A field of a secret in xDS in words.
#[must_use]
pub fn part_of_secret(path: &str) -> &str {
    match path {
        "tls_certificate.certificate_chain" => "certificate",
        "tls_certificate.private_key" => "key",
        "tls_certificate.ocsp_staple" => "OCSP response",
        "validation_context.trusted_ca" => "authorities",
        "validation_context.crl" => "list of revoked certificates",
        path => path,
    }
}

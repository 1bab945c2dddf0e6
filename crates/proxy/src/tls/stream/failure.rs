//! Why a handshake came to nothing.

use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error, InvalidMessage};

use crate::tls::validation::Mismatch;
use crate::tls::verify::{in_words, mismatch};

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The peer closed before its end.
    #[error("closed by the peer")]
    Closed,
    /// It took too long.
    #[error("timed out")]
    TimedOut,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer broke the protocol, or is not accepted.
    #[error("{}", told(.0))]
    Tls(Error),
    /// We cannot shake hands now.
    #[error(transparent)]
    NotReady(#[from] crate::tls::context::NotReady),
    /// The client did not name a server, as it must.
    #[error("no server name")]
    NoServerName,
}

/// Why a peer's certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// What is wrong with it.
    pub about: About,
    /// The same in words, about "it".
    pub why: Arc<str>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// It is for others than who was asked for.
    Names,
    /// Nobody who is trusted has issued it.
    Issuers,
    /// It is no good to anybody: it has expired, or was revoked …
    Itself,
}

impl Failure {
    /// Whether the peer's first bytes are no TLS at all.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)))
    }

    /// Why the peer's certificate is not accepted, if that is what failed.
    #[must_use]
    pub fn distrust(&self) -> Option<Distrust> {
        let Self::Tls(error @ Error::InvalidCertificate(why)) = self else { return None };
        let about = match (mismatch(error), why) {
            (Some(Mismatch::Name), _) => About::Names,
            (_, CertificateError::UnknownIssuer) => About::Issuers,
            _ => About::Itself,
        };
        Some(Distrust { about, why: in_words(error).into() })
    }

    /// The same, for another who waited for the same handshake.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Closed => Self::Closed,
            Self::TimedOut => Self::TimedOut,
            Self::Io(error) => Self::Io(crate::io::again(error)),
            Self::Tls(error) => Self::Tls(error.clone()),
            Self::NotReady(why) => Self::NotReady(why.clone()),
            Self::NoServerName => Self::NoServerName,
        }
    }
}

/// What is wrong with a peer in the library's words, and with its certificate in ours.
fn told(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(_) => format!("certificate not accepted: {}", in_words(error)),
        other => other.to_string(),
    }
}

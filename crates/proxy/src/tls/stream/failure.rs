//! Why a handshake came to nothing.

use std::io;

use rustls::{Error, InvalidMessage};

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
    #[error(transparent)]
    Tls(Error),
    /// We cannot shake hands now.
    #[error(transparent)]
    NotReady(#[from] crate::tls::context::NotReady),
    /// The client did not name a server, as it must.
    #[error("no server name")]
    NoServerName,
}

impl Failure {
    /// Whether the peer's first bytes are no TLS at all.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)))
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

//! Why no connection to an endpoint could be had.

use std::io;

use crate::tls;
use crate::upstream::Cluster;
use crate::upstream::outlier::Seen;
use crate::upstream::wrong_tls::{Mistake, WrongTls};

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The cluster's limits are reached (`UO`).
    #[error("overflow")]
    Overflow,
    /// It was not established in time (`UF`).
    #[error("connection timeout")]
    Timeout,
    /// It was refused or failed (`UF`).
    #[error("{}", in_words(.0))]
    Failed(#[from] io::Error),
    /// The TLS handshake failed (`UF`).
    #[error("TLS_error: {0}")]
    Tls(tls::Failure),
    /// The endpoint does not speak TLS (`UF`).
    #[error("TLS_error: {0}")]
    NoTls(Box<WrongTls>),
}

impl ConnectError {
    /// What it says of the endpoint; `None` when that is not its doing.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        match self {
            Self::Overflow => None,
            Self::Timeout | Self::Failed(_) => Some(Seen::Unreachable),
            Self::Tls(_) | Self::NoTls(_) => Some(Seen::Reset),
        }
    }

    /// Why a handshake with an endpoint of a cluster failed. One that does not speak TLS at all, or whose certificate is not
    /// accepted, is told of.
    pub(super) fn of(failure: tls::Failure, cluster: &Cluster) -> Self {
        if let Some(distrust) = failure.distrust() {
            cluster.tell_wrong_tls(Mistake::Certificate(distrust));
        }
        let wrong = failure.is_plain().then(|| cluster.tell_wrong_tls(Mistake::PlainEndpoint));
        match wrong.flatten() {
            Some(wrong) => Self::NoTls(Box::new(wrong)),
            None => Self::Tls(failure),
        }
    }

    /// The same, for another request that waited for the same attempt.
    pub(in crate::upstream) fn again(&self) -> Self {
        match self {
            Self::Overflow => Self::Overflow,
            Self::Timeout => Self::Timeout,
            Self::Failed(error) => Self::Failed(crate::io::again(error)),
            Self::Tls(failure) => Self::Tls(failure.again()),
            Self::NoTls(wrong) => Self::NoTls(wrong.clone()),
        }
    }
}

/// What the system says of a connection, as Envoy writes it: some errors come at once, others when the peer had its say.
fn in_words(error: &io::Error) -> String {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, NotFound, PermissionDenied};
    let words = error.to_string();
    let Some(code) = error.raw_os_error() else { return words };
    let at_once = [AddrNotAvailable, NetworkUnreachable, NotFound, PermissionDenied];
    let when = if at_once.contains(&error.kind()) { "immediate" } else { "delayed" };
    let words = words.trim_end_matches(&format!(" (os error {code})"));
    format!("{when} connect error: {words}")
}

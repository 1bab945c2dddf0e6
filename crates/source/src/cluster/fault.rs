//! What went wrong between us and an API server, in words, and what follows from it.

use std::error::Error as StdError;
use std::fmt;

use kube::core::Status;
use kube::error::Error;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is nothing at the path: the kind is not served in this version.
    NotServed,
    /// The history does not reach back to where we stood: only a list tells what is there.
    Expired,
    /// The server does not know us.
    Unauthorized(String),
    /// It knows us, and does not let us.
    Forbidden(String),
    /// The server does not take what it was asked, in words: it may not know how.
    Refused(String),
    /// It sends an object in a watch that is longer than a line may be, in words: a list has it.
    TooLong(String),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed => f.write_str("it is not served"),
            Self::Expired => f.write_str("the history is too short"),
            Self::Unauthorized(why)
            | Self::Forbidden(why)
            | Self::Refused(why)
            | Self::TooLong(why)
            | Self::Other(why) => f.write_str(why),
        }
    }
}

impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Api(status) => Self::answered(status),
            other => Self::Other(words(other)),
        }
    }

    /// What a refusal means.
    pub(super) fn answered(status: &Status) -> Self {
        let said = || match status.message.is_empty() {
            true => format!("it answers {} {}", status.code, status.reason),
            false => format!("it answers {}: {}", status.code, status.message.trim()),
        };
        match status.code {
            401 => Self::Unauthorized(format!(
                "{}: the credentials are not good (they are read again from where they stand)",
                said()
            )),
            403 => Self::Forbidden(format!("{} (it takes the right to list and watch)", said())),
            404 => Self::NotServed,
            410 => Self::Expired,
            400 | 422 => Self::Refused(said()),
            _ => Self::Other(said()),
        }
    }
}

/// What a client has met, in words. That its service has failed says nothing beside why.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::Service(why) => chain(why.as_ref()),
        other => chain(other),
    }
}

/// An error and its causes, without what is said twice.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
        next = cause.source();
    }
    words
}

//! How long is waited for an API server.

use std::time::Duration;

/// How long who follows an API server waits for what. A network may lose everything from one moment on, and tell nobody: only
/// what is not heard in time says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long an answer may take to begin, or a page of a list to come.
    pub answer: Duration,
    /// How long a single request may take, with all of its answer: a list of 100,000 objects takes a few seconds.
    pub request: Duration,
    /// How long a watch is asked for, in seconds, at least; up to half as much more, so that not all end together. A server
    /// that is silent for longer than it was asked for is gone, with no word of it.
    pub watch: u32,
    /// How much later than asked for a watch may end.
    pub margin: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            request: Duration::from_secs(60),
            watch: 60,
            margin: Duration::from_secs(10),
        }
    }
}

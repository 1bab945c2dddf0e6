//! Keys that are fetched (`remote_jwks`): once for the process, through a cluster, ahead of their end.
//!
//! Filters that say the same of how keys are fetched share one [`KeySource`], whatever their listeners become: workers read
//! its keys without a lock, and requests that come before there are any wait for the one fetch that is under way.
//!
//! | file | subject |
//! |---|---|
//! | `source.rs` | keys as workers see them, and requests that wait for them |
//! | `follower.rs` | when they are fetched, on the control side |
//! | `fetch.rs` | one fetch |
//!
//! As in Envoy, keys of `async_fetch` hold until others come; those of others end with `cache_duration`. Unlike there, these
//! too are fetched ahead of their end while tokens come; a failure counts for [`PAUSE`], in which nobody waits for another
//! one; and what is to be had by `https` is not asked for in plain text.

mod fetch;
mod follower;
mod source;
#[cfg(test)]
mod tests;

pub use follower::Follower;
pub(super) use source::Current;
pub use source::{FetchedKeys, KeySource, Waiting};

use std::sync::Arc;
use std::time::Duration;

/// How long a failure counts before a request makes for another fetch: who sends tokens shall not be able to have an issuer
/// flooded.
pub const PAUSE: Duration = Duration::from_secs(1);
/// Most requests that wait for keys of one source: the requests that a cluster of Envoy has in flight, by default.
const MOST_WAITING: u32 = 1024;

/// Where keys are fetched and how. What is equal here is fetched once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The address: `http://` or `https://`, an authority and a path.
    pub uri: http::Uri,
    /// The cluster that requests for it go through.
    pub cluster: Arc<str>,
    /// How long a fetch may take, with all attempts.
    pub timeout: Duration,
    /// How long keys are good.
    pub keep: Duration,
    /// How long after a failure they are fetched again without being asked for; `None` where they are fetched only when
    /// they are asked for (without `async_fetch`).
    pub unasked: Option<Duration>,
    /// What is done when an attempt fails.
    pub retries: Retries,
}

/// How often, and after which pause, a fetch is attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retries {
    /// How often.
    pub most: u32,
    /// The first pause, at most; the next ones double.
    pub pause: Duration,
    /// The longest.
    pub longest_pause: Duration,
}

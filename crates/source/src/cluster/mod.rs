//! Objects from an API server: a cluster's, or the embedded one of another process.
//!
//! | file | what it is about |
//! |---|---|
//! | `access.rs` | which server, and as whom |
//! | `client.rs` | single requests, for whoever asks or writes |
//! | `lease.rs` | which of several processes writes |
//! | `server.rs` | the client that all kinds share |
//! | `follow.rs` | one kind: list, watch, and what comes between |
//! | `events.rs` | a watch, line by line |
//! | `known.rs` | what of it is news |
//! | `health.rs` | how it stands with the server |
//! | `fault.rs`, `backoff.rs` | what goes wrong, and when to try again |
//! | `times.rs` | how long is waited for it |
//! | `raw.rs` | an object as the server writes it |
//!
//! It takes the right to list and watch the kinds that anything is compiled from ([`Kind::compiled`]), where [`Options`] says
//! so; following writes nothing. Clocks do not matter: what is newer, the server says.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_api::Kind;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Change, Changes, Queue};

mod access;
mod backoff;
mod client;
mod events;
mod fault;
mod follow;
mod health;
mod known;
mod lease;
mod raw;
mod server;
mod times;

pub use access::{Access, AccessError};
pub use client::{Answer, Ask, Client, escaped, path};
pub use health::Health;
pub use lease::{Candidate, Election, Timing};
pub use times::Times;

use follow::Follower;
use health::Reporter;
use server::Server;

/// Which objects are followed, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of these kinds only some; of others all. Secrets of one namespace take fewer rights than those of all.
    pub selections: BTreeMap<Kind, Selection>,
    /// How long is waited for what.
    pub times: Times,
}

impl Options {
    /// What a workload of a namespace needs: of Secrets those of the namespace, and of the other kinds everything.
    #[must_use]
    pub fn of_workload(namespace: &str) -> Self {
        let own = Selection { namespace: Some(namespace.to_owned()), ..Selection::default() };
        Self { selections: [(Kind::Secret, own)].into(), times: Times::default() }
    }
}

/// Some objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of this namespace.
    pub namespace: Option<String>,
    /// Those with labels that this selector fits, as in `istio=ingressgateway`.
    pub labels: Option<String>,
    /// Those with fields that this selector fits, as in `type=kubernetes.io/tls`.
    pub fields: Option<String>,
}

/// The objects of an API server, followed: all of them as they stand, then [`Change::Synced`], then every change. While the
/// server cannot be reached nothing is told; what has changed meanwhile is told when it can be.
#[derive(Debug)]
pub struct Cluster {
    changes: Changes,
    server: Arc<Server>,
    times: Times,
    health: watch::Receiver<Health>,
    /// Ends with this.
    _followers: JoinSet<()>,
}

impl Cluster {
    /// Starts to follow, on the runtime that this is called in, which needs its drivers of I/O and of time.
    #[must_use]
    pub fn follow(access: Access, options: &Options) -> Self {
        let server = Arc::new(Server::new(access));
        let reporter = Arc::new(Reporter::new(Kind::compiled()));
        let queue = Arc::new(Queue::default());
        let health = reporter.subscribe();
        let (times, mut followers) = (options.times, JoinSet::new());
        for kind in Kind::compiled() {
            let selection = options.selections.get(&kind).cloned().unwrap_or_default();
            let (server, reporter) = (Arc::clone(&server), Arc::clone(&reporter));
            let queue = Arc::clone(&queue);
            let follower = Follower::new(kind, selection, times, server, reporter, queue);
            followers.spawn(follower.run());
        }
        let changes = Changes::new([].into(), queue);
        Self { changes, server, times, health, _followers: followers }
    }

    /// Sends single requests on the way that is followed, with the credentials of now.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::sharing(Arc::clone(&self.server), self.times.request)
    }

    /// The next change; waits for it. Cancel safe.
    pub async fn next(&mut self) -> Change {
        self.changes.next().await
    }

    /// The next change if there is one already, to take what came at once together.
    pub fn try_next(&mut self) -> Option<Change> {
        self.changes.try_next()
    }

    /// How it stands with the server, now and from here on.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

#[cfg(test)]
mod tests;

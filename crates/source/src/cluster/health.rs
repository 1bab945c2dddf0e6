//! How it stands with the API server, and who is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tidegate_api::Kind;
use tokio::sync::watch;
use tokio::time::Instant;

/// Most reasons that are logged of one outage: a server may have another one each time.
const MOST_TOLD: usize = 8;

/// How it stands with the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not everything has been read yet, and nothing has gone wrong so far.
    Starting,
    /// Every kind is followed.
    Connected,
    /// What was read last is all that is known.
    Lost {
        /// Since when, by this machine's clock.
        since: Timestamp,
        /// Why, in words.
        why: Arc<str>,
        /// Whether the server answers, and refuses these credentials: somebody has to give others, or other rights.
        refused: bool,
    },
}

/// What the kinds have to say about the server, in one. What goes wrong is logged once per outage, and so is its end.
#[derive(Debug)]
pub(super) struct Reporter {
    state: Mutex<State>,
    health: watch::Sender<Health>,
}

#[derive(Debug)]
struct State {
    /// Kinds that were not read yet.
    unread: BTreeSet<Kind>,
    /// Kinds that are not served.
    unserved: BTreeSet<Kind>,
    /// What is wrong, by kind.
    faults: BTreeMap<Kind, Wrong>,
    outage: Option<Outage>,
}

/// What is wrong with a kind.
#[derive(Clone, Debug)]
struct Wrong {
    why: Arc<str>,
    refused: bool,
}

/// From the first fault to when none is left.
#[derive(Debug)]
struct Outage {
    since: Timestamp,
    began: Instant,
    /// What was logged of it.
    told: BTreeSet<Arc<str>>,
}

impl Reporter {
    pub(super) fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let state = State {
            unread: kinds.into_iter().collect(),
            unserved: BTreeSet::new(),
            faults: BTreeMap::new(),
            outage: None,
        };
        Self { state: Mutex::new(state), health: watch::Sender::new(Health::Starting) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// A kind was read whole; whether now every kind is known.
    pub(super) fn read(&self, kind: Kind) -> bool {
        let mut state = self.lock();
        if state.unserved.remove(&kind) {
            tracing::info!(%kind, "the API server serves this kind now");
        }
        self.known(state, kind)
    }

    /// A kind is not served; `kept` objects of it were read while it was. Whether now every kind is known.
    pub(super) fn not_served(&self, kind: Kind, kept: usize) -> bool {
        let mut state = self.lock();
        if state.unserved.insert(kind) {
            if kept == 0 {
                tracing::info!(%kind, "the API server does not serve this kind: there are none until it does");
            } else {
                // A server that has just started knows its definitions late: to lose all objects for that would be worse.
                tracing::warn!(
                    %kind, kept,
                    "the API server does not serve this kind any more. What was read of it stays in force until it does, or until \
                     this process starts again: restart it if the kind's definition was removed"
                );
            }
        }
        self.known(state, kind)
    }

    fn known(&self, mut state: MutexGuard<'_, State>, kind: Kind) -> bool {
        let last = state.unread.remove(&kind) && state.unread.is_empty();
        self.settle(&mut state, kind, None);
        last
    }

    /// A kind is followed, so that the server is there.
    pub(super) fn works(&self, kind: Kind) {
        self.settle(&mut self.lock(), kind, None);
    }

    /// A kind cannot be read or followed.
    pub(super) fn fails(&self, kind: Kind, why: &str) {
        self.settle(&mut self.lock(), kind, Some(Wrong { why: why.into(), refused: false }));
    }

    /// The server refuses that a kind is read, with these credentials.
    pub(super) fn refused(&self, kind: Kind, why: &str) {
        self.settle(&mut self.lock(), kind, Some(Wrong { why: why.into(), refused: true }));
    }

    fn settle(&self, state: &mut State, kind: Kind, wrong: Option<Wrong>) {
        match wrong {
            Some(wrong) => state.fault(kind, wrong),
            None => state.mend(kind),
        }
        let mut faults = state.faults.values();
        let first = faults.clone().find(|wrong| wrong.refused).or_else(|| faults.next());
        let health = match (&state.outage, first.cloned()) {
            (Some(Outage { since, .. }), Some(Wrong { why, refused })) => {
                Health::Lost { since: *since, why, refused }
            }
            _ if state.unread.is_empty() => Health::Connected,
            _ => Health::Starting,
        };
        self.health.send_if_modified(|now| {
            let new = *now != health;
            *now = health;
            new
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fault(&mut self, kind: Kind, wrong: Wrong) {
        let why = &wrong.why;
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: Timestamp::now(),
            began: Instant::now(),
            told: BTreeSet::new(),
        });
        if outage.told.len() < MOST_TOLD && outage.told.insert(Arc::clone(why)) {
            match self.unread.is_empty() {
                true => tracing::warn!("{why}; what was read before stays in force"),
                false => tracing::warn!("{why}; nothing is served before all objects are read"),
            }
        }
        self.faults.insert(kind, wrong);
    }

    fn mend(&mut self, kind: Kind) {
        self.faults.remove(&kind);
        if self.faults.is_empty()
            && let Some(outage) = self.outage.take()
        {
            let seconds = outage.began.elapsed().as_secs();
            tracing::info!("the API server is followed again, after {seconds} s");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_connected_when_no_kind_has_a_fault() {
        let reporter = Reporter::new([Kind::Gateway, Kind::Pod]);
        let health = reporter.subscribe();
        assert_eq!(*health.borrow(), Health::Starting);
        assert!(!reporter.read(Kind::Pod));
        assert_eq!(*health.borrow(), Health::Starting);
        reporter.fails(Kind::Gateway, "refused");
        let Health::Lost { since, why, refused } = health.borrow().clone() else { panic!("lost") };
        assert_eq!((&*why, refused), ("refused", false));
        reporter.fails(Kind::Pod, "refused");
        assert!(reporter.not_served(Kind::Gateway, 0), "all are known");
        assert_eq!(
            *health.borrow(),
            Health::Lost { since, why, refused },
            "one outage, until its end"
        );
        reporter.refused(Kind::Gateway, "not you");
        assert!(
            matches!(&*health.borrow(), Health::Lost { refused: true, why, .. } if &**why == "not you")
        );
        reporter.works(Kind::Gateway);
        reporter.works(Kind::Pod);
        assert_eq!(*health.borrow(), Health::Connected);
        assert!(!reporter.read(Kind::Gateway), "that was told");
    }
}

//! When keys are fetched: by a task for each source, on the control side.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::keys::KeySet;
use super::fetch::fetch;
use super::source::KeySource;
use super::{Origin, PAUSE};
use crate::stats::Scope;
use crate::upstream::ClusterSlot;
use crate::upstream::fault::Fault;

/// The part of the time that keys are good after which they are fetched again, at the earliest.
const EARLIEST: f64 = 0.8;
/// How much later it may be: many proxies got theirs at the same moment, and shall not come back at the same moment.
const SPREAD: f64 = 0.1;

/// The sources that are followed.
#[derive(Debug)]
pub struct Follower {
    runtime: Handle,
    counts: Arc<Counts>,
    /// Somebody's keys cannot be fetched, or can again.
    news: Arc<Notify>,
    followed: HashMap<Origin, Followed>,
}

/// A source, and the task that fetches for it.
#[derive(Debug)]
struct Followed {
    source: Arc<KeySource>,
    _task: JoinSet<()>,
}

impl Follower {
    /// Follows nothing yet. Keys are fetched on `runtime`, and fetches count in `scope`.
    #[must_use]
    pub fn new(runtime: Handle, scope: Scope) -> Self {
        let counts = Arc::new(Counts { scope, alone: Mutex::new(()) });
        Self { runtime, counts, news: Arc::default(), followed: HashMap::new() }
    }

    /// Follows these sources and no others.
    pub fn follow(&mut self, sources: &[Arc<KeySource>]) {
        let mut before = std::mem::take(&mut self.followed);
        for source in sources {
            let known = before.remove(&source.origin);
            let known = known.filter(|known| Arc::ptr_eq(&known.source, source));
            let followed = known.unwrap_or_else(|| self.start(source));
            self.followed.insert(source.origin.clone(), followed);
        }
    }

    /// Waits until other keys than before cannot be fetched ([`KeySource::fault`]), or for other reasons. Safe to cancel.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    fn start(&self, source: &Arc<KeySource>) -> Followed {
        let mut task = JoinSet::new();
        let (counts, of) = (Arc::clone(&self.counts), Arc::clone(source));
        let news = Arc::clone(&self.news);
        let ended = move |of: &KeySource, ended: Ended| {
            counts.count(of, ended.good);
            if ended.news {
                news.notify_one();
            }
        };
        let run = async move { follow(&of, fetch, |ended_so| ended(&of, ended_so)).await };
        task.spawn_on(run, &self.runtime);
        Followed { source: Arc::clone(source), _task: task }
    }
}

/// What fetches count, under the name of each filter that uses the keys.
#[derive(Debug)]
struct Counts {
    scope: Scope,
    /// Held while something is counted: a count has one writer at a time.
    alone: Mutex<()>,
}

impl Counts {
    fn count(&self, source: &KeySource, good: bool) {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = source.users();
        names.sort_by(|a, b| (&a.manager, &a.own).cmp(&(&b.manager, &b.own)));
        names.dedup_by(|a, b| (&a.manager, &a.own) == (&b.manager, &b.own));
        for user in names {
            let counts = self.scope.jwt(&user.manager, &user.own);
            if good { counts.jwks_fetch_success.inc() } else { counts.jwks_fetch_failed.inc() }
        }
    }
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// Whether there are keys.
    pub good: bool,
    /// Whether the one before ended otherwise, or it failed for a reason that was not told since one went well.
    pub news: bool,
}

/// Fetches the keys of a source whenever they are due.
pub(super) async fn follow<F>(
    source: &Arc<KeySource>,
    mut fetch: impl FnMut(Origin, Arc<ClusterSlot>) -> F,
    mut ended: impl FnMut(Ended),
) where
    F: Future<Output = Result<KeySet, Fault>>,
{
    let origin = &source.origin;
    let mut next = origin.unasked.map(|_| Instant::now());
    loop {
        due(source, next).await;
        let fetching = fetch(origin.clone(), Arc::clone(&source.cluster));
        let fetched = match timeout(origin.timeout, fetching).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("it took longer than {:?}", origin.timeout).into()),
        };
        let now = Instant::now();
        next = match &fetched {
            Ok(_) => after(now, origin.keep.mul_f64(EARLIEST + SPREAD * fastrand::f64())),
            Err(_) => after_failure(source, now),
        };
        let news = source.set_fault(fetched.as_ref().err().cloned());
        tell(origin, &fetched, source.has_keys(now), news);
        ended(Ended { good: fetched.is_ok(), news });
        source.take(fetched.map_err(|_| ()));
    }
}

fn after(now: Instant, time: Duration) -> Option<Instant> {
    now.checked_add(time)
}

/// When keys are fetched again that could not be: at once where they are fetched unasked, while they are still good, and else
/// when they are asked for.
fn after_failure(source: &KeySource, now: Instant) -> Option<Instant> {
    let pause = source.origin.unasked.unwrap_or(PAUSE);
    let again = after(now, pause.mul_f64(1.0 + SPREAD * fastrand::f64()))?;
    let in_time = source.until().is_some_and(|until| again < until);
    (source.origin.unasked.is_some() || in_time).then_some(again)
}

/// Waits until keys are to be fetched: at a moment, or when they are asked for. Those that nobody has used since they came are
/// not fetched again before that.
async fn due(source: &KeySource, next: Option<Instant>) {
    let moment = async {
        match next {
            Some(next) => {
                sleep_until(next).await;
                if source.origin.unasked.is_none() && !source.was_used() {
                    pending::<()>().await;
                }
            }
            None => pending().await,
        }
    };
    tokio::select! {
        () = moment => {}
        () = source.asked() => {}
    }
}

/// Tells of a failure that is news, and of its end.
fn tell(origin: &Origin, fetched: &Result<KeySet, Fault>, has_keys: bool, news: bool) {
    let Origin { uri, cluster, .. } = origin;
    match fetched {
        Ok(keys) => {
            for why in &keys.left_out {
                tracing::warn!("keys of {uri}: a key is left out: {why}");
            }
            if news {
                tracing::info!("keys of {uri} are there again");
            }
        }
        Err(why) if news => {
            let rest = if has_keys {
                "those of before serve on"
            } else {
                "tokens that need them are refused"
            };
            tracing::warn!("keys of {uri} cannot be fetched through {cluster}: {why}; {rest}");
        }
        Err(_) => {}
    }
}

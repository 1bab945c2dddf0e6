//! Running the proxy: updates of a snapshot in, verdicts out, until it is told to end.
//!
//! It runs on a thread of its own, as turning xDS into runtime types is work that neither the API nor the
//! control loop should wait for. Workers have threads of their own besides.

use std::future::pending;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tidegate_proxy::admin::Drain;
use tidegate_proxy::config::Notice;
use tidegate_proxy::proxy::Drained;
use tidegate_proxy::view::View;
use tidegate_proxy::{Options, Outcome, Proxy};
use tidegate_xds::{ResourceType, Snapshot, Subscription};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::ended::{self, Ended};
use crate::lifecycle::GRACE;

/// How often a port that was taken is tried again.
const REBIND: Duration = Duration::from_secs(1);

/// How often it is looked whether connections still use what was removed.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked at the clock whether certificates have expired, at the least.
const LOOK_AT_CLOCK: Duration = Duration::from_mins(1);
/// A certificate is valid through its last second.
const TICK: Duration = Duration::from_secs(1);

/// One worker for each core that this process may use.
pub fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How a secret of xDS, and a field of it, are called in the log.
pub type SecretWords = Box<dyn Fn(&str, &str) -> String + Send>;

/// A running proxy.
#[derive(Debug)]
pub struct DataPlane {
    /// What is told of it: admin, counts, logs.
    pub view: Arc<View>,
    /// Whether every worker serves what was there at the start.
    pub ready: watch::Receiver<bool>,
    /// Resolves when the thread has ended, which it does only after [`DataPlane::drain`].
    pub ended: Ended,
    orders: mpsc::Sender<Order>,
}

/// What the thread is told.
enum Order {
    /// Stop accepting and let connections finish, then end; answered with whether all did in time.
    Finish { grace: Duration, done: oneshot::Sender<bool> },
    /// Close listeners and serve the connections that are open.
    Drain(Drain),
}

impl DataPlane {
    /// Starts the workers, and serves what `snapshot` holds. `start` is the generation that holds everything
    /// there was at the start. Names are resolved on `control`. What is wrong with secrets is told in `words`.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made.
    pub fn start(
        options: Options,
        control: Handle,
        snapshot: &Snapshot,
        start: oneshot::Receiver<u64>,
        words: SecretWords,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let proxy = Proxy::start(options, control)?;
        let view = Arc::clone(proxy.view());
        let (ready, is_ready) = watch::channel(false);
        let (sender, orders) = mpsc::channel(1);
        let (alive, ended) = ended::pair();
        let subscription = snapshot.subscribe();
        let driver = Driver { proxy, subscription, view: Arc::clone(&view), ready, words };
        thread::Builder::new().name("data-plane".to_owned()).spawn(move || {
            runtime.block_on(driver.run(start, orders));
            drop(alive);
        })?;
        Ok(Self { view, ready: is_ready, ended, orders: sender })
    }

    /// Stops accepting and lets connections finish, for at most `grace`; true when all did. Access logs are
    /// written out then.
    pub async fn drain(&self, grace: Duration) -> bool {
        let (done, drained) = oneshot::channel();
        // A thread that is gone has nothing left to finish.
        let _ = self.orders.send(Order::Finish { grace, done }).await;
        drained.await.unwrap_or(true)
    }

    /// Closes listeners as `/drain_listeners` asks, and serves on.
    pub async fn drain_listeners(&self, drain: Drain) {
        let _ = self.orders.send(Order::Drain(drain)).await;
    }
}

struct Driver {
    proxy: Proxy,
    subscription: Subscription,
    view: Arc<View>,
    ready: watch::Sender<bool>,
    words: SecretWords,
}

impl Driver {
    async fn run(mut self, start: oneshot::Receiver<u64>, mut orders: mpsc::Receiver<Order>) {
        let mut start = Start::Unknown(start);
        let mut served = None;
        let mut unbound = false;
        let mut closing = None;
        loop {
            let expires = self.proxy.next_expiry();
            tokio::select! {
                update = self.subscription.next() => {
                    let Some(update) = update else { return };
                    let outcome = self.proxy.apply(&update).await;
                    tell(&outcome, &self.words);
                    unbound = !outcome.verdict.rejected.is_empty();
                    served = Some(outcome.verdict.generation);
                    self.subscription.report(outcome.verdict);
                }
                news = self.proxy.news() => {
                    let outcome = self.proxy.hear(news);
                    tell(&outcome, &self.words);
                    self.subscription.report(outcome.verdict);
                }
                generation = start.known() => start = Start::At(generation),
                () = sleep(REBIND), if unbound => {
                    if self.proxy.rebind().await {
                        let verdict = self.proxy.verdict();
                        unbound = !verdict.rejected.is_empty();
                        self.subscription.report(verdict);
                    }
                }
                () = expiry(expires) => {
                    self.subscription.report(self.proxy.verdict());
                }
                () = sleep(LOOK), if self.proxy.has_leaving() => self.proxy.let_go(),
                which = due(closing) => {
                    closing = None;
                    self.proxy.close_listeners(which).await;
                }
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Finish { grace, done }) => {
                        let all = self.proxy.drain(grace).await;
                        // Whoever asked may have lost patience.
                        let _ = done.send(all);
                        return;
                    }
                    Some(Order::Drain(drain)) => {
                        if let Some(close) = drain_listeners(&self.proxy, drain) {
                            closing = Some(close);
                        }
                    }
                },
            }
            if let (Start::At(start), Some(served)) = (&start, served)
                && served >= *start
                && !*self.ready.borrow()
            {
                self.view.set_serves_initial();
                self.ready.send_replace(true);
            }
        }
    }
}

/// Listeners to be closed, and when.
type Close = (Instant, Drained);

/// Begins to drain; tells what is to be closed, and when.
fn drain_listeners(proxy: &Proxy, drain: Drain) -> Option<Close> {
    let which = if drain.inbound_only { Drained::Inbound } else { Drained::All };
    if !drain.graceful {
        return Some((Instant::now(), which));
    }
    proxy.discourage(which);
    (!drain.skip_exit).then(|| (Instant::now() + GRACE, which))
}

/// Waits until it is time to close listeners; for ever when none are to be. Safe to cancel.
async fn due(closing: Option<Close>) -> Drained {
    match closing {
        Some((at, which)) => {
            sleep_until(at).await;
            which
        }
        None => pending().await,
    }
}

/// Waits until a certificate has expired, if any does. Clocks are set, and so it is looked again from time to time. Safe to
/// cancel.
async fn expiry(next: Option<SystemTime>) {
    let Some(next) = next else { return pending().await };
    while let Ok(left) = (next + TICK).duration_since(SystemTime::now()) {
        sleep(left.min(LOOK_AT_CLOCK)).await;
    }
}

/// The generation that holds everything there was at the start.
enum Start {
    Unknown(oneshot::Receiver<u64>),
    At(u64),
}

impl Start {
    /// Waits until it is known; for ever when it is already, or never will be. Safe to cancel.
    async fn known(&mut self) -> u64 {
        if let Self::Unknown(receiver) = self
            && let Ok(generation) = receiver.await
        {
            return generation;
        }
        pending().await
    }
}

fn tell(outcome: &Outcome, words: &SecretWords) {
    for tidegate_xds::Rejection { kind, name, path, reason, serves_on } in &outcome.rejected {
        let rest = if *serves_on { "; its last good form serves on" } else { "" };
        let what = match kind {
            ResourceType::Secret => words(name, path),
            _ => format!("{kind:?} {name}: {path}"),
        };
        tracing::warn!("{what}: {reason}{rest}");
    }
    for Notice { kind, name, finding } in &outcome.warnings {
        tracing::warn!("{kind:?} {name}: {finding}");
    }
    for notice in &outcome.notices {
        let Notice { kind, name, finding } = notice;
        tracing::debug!("{kind:?} {name}: {}: {}", finding.path, finding.reason);
    }
}

/// A secret of xDS, and a field of it, as users know them; `namespace` is that of the workload.
pub fn secret_words(namespace: &str) -> SecretWords {
    let namespace = namespace.to_owned();
    Box::new(move |name, path| {
        let secret = tidegate_pilot::model::tls::in_words(name, &namespace);
        format!("{secret}, {}", tidegate_pilot::status::part_of_secret(path))
    })
}

/// The file of the authorities that this machine trusts; the usual one where there is none, so that its absence is told.
pub fn system_roots() -> Arc<str> {
    let bundle = tidegate_proxy::tls::system_roots::bundle();
    let bundle = bundle.map(|path| path.display().to_string().into());
    bundle.unwrap_or_else(|| tidegate_pilot::Options::default().system_roots)
}

//! The task that decides who is ejected: told by workers, woken for sweeps and probes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Cause, Detector, Event, What};
use crate::io::Io;
use crate::upstream::incident::{Incident, Listener};
use crate::upstream::{Cluster, Endpoint};

/// An endpoint that has reached a threshold.
#[derive(Debug)]
pub struct Suspicion {
    /// Its cluster.
    pub cluster: Arc<str>,
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Which threshold.
    pub cause: Cause,
}

/// Watches the endpoints of clusters with outlier detection. Dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    orders: mpsc::UnboundedSender<Order>,
    suspicions: mpsc::UnboundedSender<Suspicion>,
    _task: JoinSet<()>,
}

/// What the task is told by whoever applies configuration.
#[derive(Debug)]
enum Order {
    Follow(Arc<Cluster>),
    Forget(Arc<str>),
}

impl Watch {
    /// Watches nothing yet; decides on `runtime`.
    #[must_use]
    pub fn start(runtime: &Handle, listener: Option<Listener>) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (suspicions, suspected) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn_on(run(ordered, suspected, listener), runtime);
        Self { orders, suspicions, _task: task }
    }

    /// Watches the endpoints of a cluster, in place of the cluster of this name before.
    pub fn follow(&self, cluster: &Arc<Cluster>) {
        if cluster.outlier.is_some() {
            cluster.report_to(self.suspicions.clone());
        }
        // The task lives as long as this.
        let _ = self.orders.send(Order::Follow(Arc::clone(cluster)));
    }

    /// Watches the endpoints of the cluster of this name no longer.
    pub fn forget(&self, cluster: &Arc<str>) {
        let _ = self.orders.send(Order::Forget(Arc::clone(cluster)));
    }
}

/// A dial that was tried, and whether it led to a connection.
type Probe = (Arc<str>, Arc<Endpoint>, bool);

async fn run(
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut suspicions: mpsc::UnboundedReceiver<Suspicion>,
    listener: Option<Listener>,
) {
    let mut round = Round::new(listener);
    round.random = fastrand::Rng::new();
    let mut probes: JoinSet<Probe> = JoinSet::new();
    loop {
        let next = round.next();
        let due = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A cluster is known before its endpoints are suspected.
            biased;
            Some(order) = orders.recv() => match order {
                Order::Follow(cluster) => round.follow(&cluster, Instant::now()),
                Order::Forget(cluster) => round.end(&cluster),
            },
            Some(suspicion) = suspicions.recv() => round.suspect(&suspicion, Instant::now()),
            Some(Ok((cluster, endpoint, reached))) = probes.join_next() => {
                if reached {
                    round.reached(&cluster, &endpoint, Instant::now());
                }
            }
            () = due => {
                for (cluster, endpoint) in round.tick(Instant::now()) {
                    probes.spawn(async move {
                        let source = cluster.sources.of(&endpoint.address);
                        let dial = Io::dial(&endpoint.address, source, None);
                        let dialled = timeout(cluster.connect_timeout, dial).await;
                        (Arc::clone(&cluster.name), endpoint, matches!(dialled, Ok(Ok(_))))
                    });
                }
            }
        }
    }
}

/// The clusters that are watched, and when something is to be done for each. Pure but for what it changes in them:
/// time is given.
pub(super) struct Round {
    clusters: HashMap<Arc<str>, Watched>,
    due: BTreeSet<(Instant, Arc<str>)>,
    listener: Option<Listener>,
    pub(super) random: fastrand::Rng,
}

pub(super) struct Watched {
    cluster: Arc<Cluster>,
    sweep: Instant,
    due: Instant,
}

impl Round {
    pub(super) fn new(listener: Option<Listener>) -> Self {
        let random = fastrand::Rng::with_seed(0);
        Self { clusters: HashMap::new(), due: BTreeSet::new(), listener, random }
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(super) fn follow(&mut self, cluster: &Arc<Cluster>, now: Instant) {
        let before = self.forget(&cluster.name);
        let Some(outlier) = &cluster.outlier else {
            if before.is_some() {
                acquit(cluster);
            }
            return;
        };
        let interval = outlier.settings.interval;
        // A change of something else puts no sweep off.
        let sweep = before.map_or(now + interval, |before| before.sweep.min(now + interval));
        let name = Arc::clone(&cluster.name);
        self.due.insert((sweep, Arc::clone(&name)));
        let watched = Watched { cluster: Arc::clone(cluster), sweep, due: sweep };
        self.clusters.insert(Arc::clone(&name), watched);
        for endpoint in &*cluster.endpoints.load().endpoints {
            for cause in endpoint.monitor.reached(&outlier.settings) {
                let (cluster, endpoint) = (Arc::clone(&name), Arc::clone(endpoint));
                self.suspect(&Suspicion { cluster, endpoint, cause }, now);
            }
        }
        cluster.reconsider();
        self.plan(&name);
    }

    /// Watches a cluster that is gone no longer. Connections that still use it are let to all of its endpoints, as nobody
    /// would let one back that is ejected.
    pub(super) fn end(&mut self, name: &Arc<str>) {
        if let Some(Watched { cluster, .. }) = self.forget(name) {
            acquit(&cluster);
        }
    }

    fn forget(&mut self, name: &Arc<str>) -> Option<Watched> {
        let before = self.clusters.remove(name)?;
        self.due.remove(&(before.due, Arc::clone(name)));
        Some(before)
    }

    pub(super) fn suspect(&mut self, suspicion: &Suspicion, now: Instant) {
        let Suspicion { cluster, endpoint, cause } = suspicion;
        self.decide(cluster, now, |detector, random| {
            detector.suspect(endpoint, *cause, random).into_iter().collect()
        });
    }

    pub(super) fn reached(&mut self, cluster: &Arc<str>, endpoint: &Endpoint, now: Instant) {
        self.decide(cluster, now, |detector, _| detector.reached(endpoint).into_iter().collect());
    }

    /// Does what is due; the endpoints that are to be dialled, with their clusters.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<(Arc<Cluster>, Arc<Endpoint>)> {
        let mut probes = Vec::new();
        while let Some((due, name)) = self.due.first().cloned().filter(|(due, _)| *due <= now) {
            let Some(watched) = self.clusters.get_mut(&name) else {
                self.due.remove(&(due, name));
                continue;
            };
            let cluster = Arc::clone(&watched.cluster);
            let sweeps = watched.sweep <= now;
            if sweeps && let Some(outlier) = &cluster.outlier {
                watched.sweep = now + outlier.settings.interval;
            }
            self.decide(&name, now, |detector, random| {
                let events = if sweeps { detector.sweep(random) } else { Vec::new() };
                let of_cluster = |endpoint| (Arc::clone(&cluster), endpoint);
                probes.extend(detector.probes().into_iter().map(of_cluster));
                events
            });
        }
        probes
    }

    /// Lets a decision be taken on the endpoints of a cluster, and carries it out.
    fn decide(
        &mut self,
        name: &Arc<str>,
        now: Instant,
        decide: impl FnOnce(&Detector<'_>, &mut dyn FnMut() -> u64) -> Vec<Event>,
    ) {
        let Some(cluster) = self.clusters.get(name).map(|watched| Arc::clone(&watched.cluster))
        else {
            return;
        };
        let events = {
            let endpoints = Arc::clone(&cluster.endpoints.load().endpoints);
            let stats = cluster.membership().map(|membership| membership.outlier());
            let stats = stats.as_deref().and_then(Option::as_ref);
            let (Some(outlier), Some(stats)) = (&cluster.outlier, stats) else {
                // A form without detection counts already, and will be here soon: until then nobody is judged.
                return self.set_due(name, None);
            };
            let detector = Detector { cluster: name, outlier, endpoints: &endpoints, stats, now };
            decide(&detector, &mut || self.random.u64(..))
        };
        if !events.is_empty() {
            cluster.reconsider();
        }
        for event in events {
            self.tell(event);
        }
        self.plan(name);
    }

    fn plan(&mut self, name: &Arc<str>) {
        let Some(watched) = self.clusters.get(name) else { return };
        let probe = Detector::next_probe(&watched.cluster.endpoints.load().endpoints);
        self.set_due(name, probe);
    }

    /// Something is to be done for a cluster at its next sweep, or when an endpoint is to be dialled.
    fn set_due(&mut self, name: &Arc<str>, probe: Option<Instant>) {
        let Some(watched) = self.clusters.get_mut(name) else { return };
        let due = probe.map_or(watched.sweep, |probe| probe.min(watched.sweep));
        if due != watched.due {
            self.due.remove(&(watched.due, Arc::clone(name)));
            self.due.insert((due, Arc::clone(name)));
            watched.due = due;
        }
    }

    fn tell(&self, event: Event) {
        match event.what {
            What::Ejected { .. } => tracing::warn!("{event}"),
            // Nothing ends that: there are as many as an endpoint makes failures.
            What::Spared { .. } => tracing::debug!("{event}"),
            What::Returned { .. } | What::Reached { .. } => tracing::info!("{event}"),
        }
        if let Some(listener) = &self.listener {
            // Who does not listen any more is ending the process.
            let _ = listener.send(Incident::Endpoint(event));
        }
    }
}

/// Nobody judges the endpoints of a cluster any more.
fn acquit(cluster: &Cluster) {
    for endpoint in &*cluster.endpoints.load().endpoints {
        endpoint.monitor.acquit();
    }
    cluster.reconsider();
}

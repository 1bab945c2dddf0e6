//! The request path in 10,000 random schedules: balancer, outlier detection, pools, limits and retries as they are, on
//! a network in memory and a clock that only moves when nothing is left to do. Seeded: a failure names its seed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep, timeout};
use xxhash_rust::xxh64::Xxh64;

use self::configuration::{cluster_of, terms, way};
use self::ledger::{Asked, Delivery, Outcome, Since, Terms, Why};
use self::origin::Mood;
use super::*;
use crate::accesslog::Recorder;
use crate::http::Session;
use crate::http::chain::{Client as Who, HttpChain, Line};
use crate::http::h1::Conn;
use crate::io::simulated::Peer;
use crate::io::{Io, simulated};
use crate::random::Random;
use crate::stats::{ClusterStats, Stats};
use crate::upstream::endpoints::Group;
use crate::upstream::membership::Membership;
use crate::upstream::outlier::simulation::{PORTS, found};
use crate::upstream::outlier::{Monitor, Watch};
use crate::worker::Worker;

mod client;
mod configuration;
mod ledger;
mod origin;
mod streams;
mod wire;

const SCHEDULES: u64 = 10_000;
const STEPS: u32 = 4;
/// Least time that there is for a connection.
const SOONEST_TIMEOUT: Duration = Duration::from_millis(50);
/// Longer than everything takes that is under way.
const LONG: Duration = Duration::from_secs(3000);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What all tasks of a schedule share.
struct Sim {
    seed: u64,
    random: RefCell<fastrand::Rng>,
    terms: Vec<Terms>,
    /// Whether connections to endpoints begin with who the client is.
    introduces: bool,
    asked: RefCell<Vec<Asked>>,
    moods: RefCell<HashMap<u16, Mood>>,
    /// The moods that endpoints were in, and when that ended.
    moods_before: RefCell<Vec<(Mood, u64)>>,
    /// When a connection died last that was idle, when one that had carried nothing, and when there was last nobody who
    /// takes requests.
    deaths: Cell<u64>,
    early_deaths: Cell<u64>,
    alone: Cell<u64>,
    /// Whether a form of the cluster speaks HTTP/2, and whether an endpoint has said that it did not look at a request.
    multiplexes: Cell<bool>,
    refuses: Cell<bool>,
    /// Whether a form of the cluster allows only a few of something, and only a few retries.
    is_limited: Cell<bool>,
    spares_retries: Cell<bool>,
    /// What each form of the cluster allows.
    limits: RefCell<Vec<Limits>>,
    /// The endpoints that there were.
    seen: RefCell<Vec<Weak<Endpoint>>>,
    /// Numbers what happens, in its order.
    ticks: Cell<u64>,
    slot: Arc<ClusterSlot>,
    /// The endpoints when they were last looked at, and when they had come.
    endpoints: RefCell<(Option<Arc<EndpointSet>>, u64)>,
    /// Connections that endpoints have taken and not closed.
    connections: Cell<usize>,
    /// Who is at the other end of those that were taken.
    peers: RefCell<Vec<Peer>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    failures: RefCell<Vec<String>>,
    /// What happened, and when.
    trace: RefCell<Xxh64>,
    began: Instant,
}

impl Sim {
    fn number(&self, below: u64) -> u64 {
        self.random.borrow_mut().u64(..below)
    }

    fn tick(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let task = tokio::task::spawn_local(task);
        self.tasks.borrow_mut().push(task);
    }

    fn note(&self, words: &[u64]) {
        let mut trace = self.trace.borrow_mut();
        trace.write_u128(self.began.elapsed().as_nanos());
        words.iter().for_each(|word| trace.write_u64(*word));
    }

    fn fail(&self, why: String) {
        self.failures.borrow_mut().push(why);
    }

    fn holds(&self, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.fail(why());
        }
    }

    fn mood(&self, port: u16) -> Mood {
        self.moods.borrow().get(&port).copied().unwrap_or(Mood::Well)
    }

    /// An endpoint was in this mood until now, or what was dialled while it was has come to its end: many may wait for it.
    fn was(&self, mood: Mood) {
        self.moods_before.borrow_mut().push((mood, self.tick()));
    }

    fn open(&self, asked: Asked) -> usize {
        self.asked.borrow_mut().push(asked);
        self.asked.borrow().len() - 1
    }

    fn asked(&self, number: usize) -> Asked {
        self.asked.borrow()[number].clone()
    }

    fn delivery(&self, number: usize, delivery: usize, change: impl FnOnce(&mut Delivery)) {
        change(&mut self.asked.borrow_mut()[number].deliveries[delivery]);
    }

    fn end(&self, number: usize, outcome: Outcome) {
        let words = match outcome {
            Outcome::Answered(status, _) | Outcome::Own(status, _) => u64::from(status),
            Outcome::Cut => 1,
            Outcome::Left => 2,
        };
        self.note(&[2, number as u64, words]);
        self.look();
        let asked = &mut self.asked.borrow_mut()[number];
        let sent = asked.sent;
        let befell = |why| self.befell(why, sent);
        let quiet = self.deaths.get() < sent && !self.multiplexes.get();
        let is_calm = quiet
            && !self.spares_retries.get()
            && ![Why::Overflow, Why::Nobody, Why::Refused, Why::Silent].into_iter().any(befell);
        let is_settled = self.early_deaths.get() < sent && !self.multiplexes.get();
        if let Err(why) = asked.end(outcome, &Since { befell: &befell, is_calm, is_settled }) {
            self.fail(format!("request {number} {why}: {asked:?}"));
        }
    }

    /// Whether this may have befallen a request that was sent then.
    fn befell(&self, why: Why, sent: u64) -> bool {
        let was = |mood: Mood| {
            let ended = |(before, end): &(Mood, u64)| *before == mood && *end >= sent;
            self.moods.borrow().values().any(|now| *now == mood)
                || self.moods_before.borrow().iter().any(ended)
        };
        let died = self.deaths.get() >= sent;
        match why {
            Why::Overflow => self.is_limited.get(),
            Why::Nobody => self.alone.get() >= sent,
            // A connection may die while it says who its client is, or before its endpoint says how many streams it takes.
            Why::Refused => {
                was(Mood::Refuses) || (self.introduces || self.multiplexes.get()) && died
            }
            Why::Unread => self.refuses.get(),
            Why::Silent => was(Mood::Silent),
            Why::Broken => died,
            Why::Nonsense | Why::Late | Why::Reset => false,
        }
    }

    /// A request comes to an endpoint.
    fn deliver(&self, number: usize, port: u16, reused: bool) -> usize {
        let now = self.tick();
        self.note(&[3, number as u64, port.into(), reused.into()]);
        let since = self.look();
        let mut all = self.asked.borrow_mut();
        let asked = &mut all[number];
        if asked.begun() > since && self.is_out(port) {
            self.fail(format!("request {number} comes to {port}, which takes none: {asked:?}"));
        }
        let delivery = asked.deliver(now, reused).unwrap_or_else(|why| {
            self.fail(format!("request {number} {why}: {asked:?}"));
            // Whatever is said of it later is said of the one before.
            asked.deliveries.len().saturating_sub(1)
        });
        let under_way = all.iter().filter(|asked| asked.is_under_way()).count();
        let most = self.most(|limits| limits.requests);
        self.holds(under_way <= most as usize, || {
            format!("{under_way} of {most} requests are at endpoints")
        });
        delivery
    }

    /// A connection comes to an endpoint.
    fn take(&self, peer: Peer) {
        self.connections.set(self.connections.get() + 1);
        let mut peers = self.peers.borrow_mut();
        peers.push(peer);
        peers.retain(|peer| !peer.is_gone());
        let (open, most) = (peers.len(), self.most_connections());
        self.holds(open <= most as usize, || format!("{open} of {most} connections are open"));
    }

    /// A connection on which this many requests had come died while none was on it.
    fn died(&self, carried: usize) {
        self.deaths.set(self.tick());
        if carried == 0 {
            self.early_deaths.set(self.ticks.get());
        }
    }

    /// The most that forms of the cluster allow: all of them count together, and one may have let in more than the next
    /// one would.
    fn most(&self, limit: impl Fn(&Limits) -> u32) -> u32 {
        self.limits.borrow().iter().map(limit).max().unwrap_or(0)
    }

    /// Each endpoint has one connection of each form in any case.
    fn most_connections(&self) -> u32 {
        let there = self.seen.borrow().iter().filter(|e| e.strong_count() > 0).count();
        let firsts = there * self.limits.borrow().len();
        self.most(|limits| limits.connections) + firsts as u32
    }

    /// Since when the endpoints are what they are.
    fn look(&self) -> u64 {
        let now = self.slot.load().map(|cluster| cluster.endpoints.load_full());
        if now.as_ref().is_none_or(|set| set.count() == 0) {
            self.alone.set(self.tick());
        }
        let mut known = self.endpoints.borrow_mut();
        let same = known.0.as_ref().map(Arc::as_ptr) == now.as_ref().map(Arc::as_ptr);
        if !same {
            *known = (now, self.tick());
        }
        known.1
    }

    /// Whether no request may come to an endpoint.
    fn is_out(&self, port: u16) -> bool {
        let Some(cluster) = self.slot.load() else { return true };
        let set = cluster.endpoints.load();
        let of = |group: &&Group| group.taking().any(|endpoint| endpoint.address.port() == port);
        let group = set.groups().find(of);
        // Those of a priority or a locality that takes none have none, too.
        group.is_none_or(|group| {
            let is_ejected = |endpoint: &Arc<Endpoint>| {
                endpoint.address.port() == port && endpoint.monitor.is_ejected()
            };
            cluster.outlier.is_some() && !group.panic && group.taking().any(is_ejected)
        })
    }
}

/// What the schedules of one thread share: it keeps nothing of them.
struct Ground {
    registry: Arc<Registry>,
    logs: Arc<Logs>,
}

impl Ground {
    fn new() -> Self {
        let registry = Registry::new(1);
        let logs = Logs::start(&registry, Options::default()).expect("a thread");
        Self { registry, logs }
    }

    fn recorder(&self) -> Recorder {
        self.logs.recorder(0)
    }

    /// Runs a schedule; what it came to.
    fn run(&self, seed: u64) -> u64 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        fastrand::seed(seed);
        let local = LocalSet::new();
        local.block_on(&runtime, async { Schedule::new(self, seed, runtime.handle()).run().await })
    }
}

/// One schedule.
struct Schedule {
    sim: Rc<Sim>,
    worker: Rc<Worker>,
    http: Rc<HttpChain>,
    watch: Watch,
    membership: Arc<Membership>,
    /// The cluster's counts, and how many requests there was no place or nobody for before.
    counts: Stats<ClusterStats>,
    refused_before: [u64; 2],
    clusters: Vec<Arc<Cluster>>,
    monitors: Vec<Weak<Monitor>>,
}

/// How many requests there was no place for, and nobody.
fn refused(counts: &ClusterStats) -> [u64; 2] {
    let overflow =
        counts.upstream_rq_active_overflow.get() + counts.upstream_rq_pending_overflow.get();
    [overflow, counts.upstream_cx_none_healthy.get()]
}

impl Schedule {
    fn new(ground: &Ground, seed: u64, runtime: &tokio::runtime::Handle) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let slot = Arc::new(ClusterSlot::empty(0, "c".into()));
        let terms: Vec<Terms> = (0..3).map(|_| terms(&mut random)).collect();
        let introduces = random.u32(..3) == 0;
        let routes = terms
            .iter()
            .enumerate()
            .map(|(n, terms)| route(&format!("/{n}"), way(&mut random, &slot, terms)));
        let listener = listener("l", manager(routes.collect()), false);
        let chain = Arc::clone(listener.chains.default.as_ref().expect("one chain"));
        let NetworkFilter::Http(manager) = &chain.filter else { unreachable!("it is HTTP") };
        let manager = Arc::clone(manager);
        let scope = ground.registry.worker(0);
        let mut worker = Worker::new(0, scope, ground.recorder(), None, Places::new(1000));
        worker.random = Random::seeded(seed);
        let worker = Rc::new(worker);
        let http = HttpChain::new(Rc::clone(&worker), &listener, chain, manager, Line::default());
        let membership = Arc::new(Membership::new(ground.registry.control().membership("c")));
        membership.detect(Some(ground.registry.control().outlier("c")));
        let sim = Rc::new(Sim {
            seed,
            random: RefCell::new(random),
            terms,
            introduces,
            asked: RefCell::default(),
            moods: RefCell::default(),
            moods_before: RefCell::default(),
            deaths: Cell::default(),
            early_deaths: Cell::default(),
            alone: Cell::default(),
            multiplexes: Cell::default(),
            refuses: Cell::default(),
            is_limited: Cell::default(),
            spares_retries: Cell::default(),
            limits: RefCell::default(),
            seen: RefCell::default(),
            ticks: Cell::new(0),
            slot,
            endpoints: RefCell::default(),
            connections: Cell::new(0),
            peers: RefCell::default(),
            tasks: RefCell::default(),
            failures: RefCell::default(),
            trace: RefCell::new(Xxh64::new(0)),
            began: Instant::now(),
        });
        let watch = Watch::start(runtime, None);
        let (clusters, monitors) = Default::default();
        let counts = worker.stats.cluster("c");
        let refused_before = refused(&counts);
        Self { sim, worker, http, watch, membership, counts, refused_before, clusters, monitors }
    }

    async fn run(mut self) -> u64 {
        let first = found(&mut self.sim.random.borrow_mut(), &EndpointSet::default());
        self.configure(first);
        let accepting =
            tokio::task::spawn_local(origin::accept(Rc::clone(&self.sim), simulated::network()));
        let worker = Rc::clone(&self.worker);
        let sweeping = tokio::task::spawn_local(async move {
            loop {
                sleep(Duration::from_secs(2)).await;
                worker.clusters.sweep();
            }
        });
        for _ in 0..STEPS {
            self.step();
            sleep(millis(self.sim.number(150))).await;
            self.check();
        }
        let trace = self.end().await;
        accepting.abort();
        sweeping.abort();
        trace
    }

    fn step(&mut self) {
        match self.sim.number(10) {
            0..6 => (0..1 + self.sim.number(3)).for_each(|_| self.connect()),
            6 => {
                let cluster = self.clusters.last().expect("one");
                let before = cluster.endpoints.load_full();
                let now = found(&mut self.sim.random.borrow_mut(), &before);
                cluster.set_endpoints(now);
                self.remember();
            }
            7 => {
                let known = self.clusters.last().expect("one").endpoints.load().again();
                self.configure(known);
            }
            _ => {
                let port = 1 + self.sim.number(PORTS.into()) as u16;
                let moods = [Mood::Well, Mood::Badly, Mood::Badly, Mood::Refuses, Mood::Silent];
                let mood = moods[self.sim.number(moods.len() as u64) as usize];
                if let Some(before) = self.sim.moods.borrow_mut().insert(port, mood) {
                    self.sim.was(before);
                }
            }
        }
        self.sim.look();
    }

    /// Another form of the cluster takes the place of the one before.
    fn configure(&mut self, endpoints: EndpointSet) {
        let mut random = self.sim.random.borrow_mut();
        let mut cluster = cluster_of(&mut random, endpoints, self.sim.introduces);
        if let Some(before) = self.clusters.last() {
            cluster.usage = before.usage.next();
            if random.bool() {
                cluster.limits = before.limits;
            }
        }
        drop(random);
        let http2 = cluster.http.protocol == Some(UpstreamProtocol::Http2);
        self.sim.multiplexes.set(self.sim.multiplexes.get() || http2);
        let Limits { connections, pending_requests, requests, .. } = cluster.limits;
        let few = [connections, pending_requests, requests].iter().any(|limit| *limit < 1024);
        self.sim.is_limited.set(self.sim.is_limited.get() || few);
        let spares = cluster.limits.retries < 1024 || cluster.limits.retry_budget.is_some();
        self.sim.spares_retries.set(self.sim.spares_retries.get() || spares);
        self.sim.limits.borrow_mut().push(cluster.limits);
        let cluster = Arc::new(cluster);
        cluster.count_in(Arc::clone(&self.membership));
        self.watch.follow(&cluster);
        self.sim.slot.store(Some(Arc::clone(&cluster)));
        self.clusters.push(cluster);
        self.remember();
    }

    /// Notes whom there is, to see that nobody stays.
    fn remember(&mut self) {
        let set = self.clusters.last().expect("one").endpoints.load_full();
        self.sim.seen.borrow_mut().extend(set.endpoints.iter().map(Arc::downgrade));
        self.monitors.extend(set.endpoints.iter().map(|e| Arc::downgrade(&e.monitor)));
    }

    /// A client comes.
    fn connect(&self) {
        let (ours, theirs) = simulated::pair();
        let counted = self.worker.stats.listener("l");
        counted.downstream_cx_total.inc();
        let id = self.worker.connection_id();
        let port = id as u16; // Clients are told apart by their ports.
        let who = Who {
            peer: ([10, 1, 0, 1], port).into(),
            local: ([10, 1, 0, 2], 80).into(),
            pipe: None,
            captured: None,
            source: None,
            id,
            server_name: None,
            tls: None,
            place: self.worker.places.take().expect("a place"),
            limits: Default::default(),
            pools: Default::default(),
        };
        let place = self.worker.connections.register();
        let open = crate::listener::Open::new(&counted);
        let session = Session::new(Rc::clone(&self.http), who, place, open);
        let conn = Conn::new(Io::Simulated(theirs), None, Rc::clone(&self.worker.buffers));
        self.sim.spawn(crate::http::serve(session, conn));
        self.sim.spawn(client::run(Rc::clone(&self.sim), ours, port));
    }

    /// What holds at any moment.
    fn check(&self) {
        let seed = self.sim.seed;
        let failures = self.sim.failures.borrow();
        assert!(failures.is_empty(), "seed {seed}: {}", failures.join("\n"));
        let within = |used: &AtomicU32, limit: u32, of| {
            let used = used.load(Relaxed);
            assert!(used <= limit, "seed {seed}: {used} of {limit} {of}");
        };
        let Some(usage) = self.clusters.last().map(|cluster| &cluster.usage) else { return };
        let most = |limit: &dyn Fn(&Limits) -> u32| self.sim.most(limit);
        within(&usage.connections, self.sim.most_connections(), "connections");
        within(&usage.pending_requests, most(&|l| l.pending_requests), "pending requests");
        within(&usage.requests, most(&|l| l.requests), "requests");
        // A budget is a share of the requests of a moment, which are not more than were ever asked.
        let asked = self.sim.asked.borrow().len() as u32;
        within(&usage.retries, most(&|l| l.retries_beside(asked.min(l.requests))), "retries");
    }

    async fn join(&self) {
        let seed = self.sim.seed;
        loop {
            let tasks = std::mem::take(&mut *self.sim.tasks.borrow_mut());
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                let ended = timeout(LONG, task).await;
                let failures = self.sim.failures.borrow();
                assert!(failures.is_empty(), "seed {seed}: {}", failures.join("\n"));
                let ended = ended.unwrap_or_else(|_| panic!("seed {seed}: something is stuck"));
                ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
        }
    }

    /// Everything is over, and nothing is left.
    async fn end(mut self) -> u64 {
        let seed = self.sim.seed;
        while self.sim.asked.borrow().iter().any(|asked| asked.outcome.is_none())
            || !self.worker.connections.is_empty()
        {
            let passed = self.sim.began.elapsed();
            let left = || self.sim.asked.borrow().iter().find(|a| a.outcome.is_none()).cloned();
            assert!(passed < LONG, "seed {seed}: stuck: {:?}", left());
            sleep(Duration::from_secs(5)).await;
            self.check();
        }
        let counts = self.counts.clone();
        self.sim.slot.load().expect("one").set_endpoints(EndpointSet::new(Vec::new()));
        self.worker.clusters.sweep();
        self.sim.slot.store(None);
        self.worker.clusters.sweep();
        self.watch.forget(&"c".into());
        self.join().await;
        // Whoever decides on ejections hears of it, too.
        sleep(Duration::from_secs(1)).await;
        self.check();
        for Cluster { usage, .. } in self.clusters.iter().map(|c| &**c) {
            let all =
                [&usage.connections, &usage.pending_requests, &usage.requests, &usage.retries]
                    .map(|used| used.load(Relaxed));
            assert_eq!(all, [0; 4], "seed {seed}: something is in use");
        }
        assert_eq!(self.sim.connections.get(), 0, "seed {seed}: connections are open");
        for (n, why) in [Why::Overflow, Why::Nobody].into_iter().enumerate() {
            let is_told = |asked: &&Asked| asked.outcome == Some(Outcome::Own(503, why));
            let told = self.sim.asked.borrow().iter().filter(is_told).count() as u64;
            let counted = refused(&self.counts)[n] - self.refused_before[n];
            assert!(told <= counted, "seed {seed}: {told} of {counted} {why:?}");
        }
        let gauges = [
            counts.upstream_cx_active.get(),
            counts.upstream_rq_active.get(),
            counts.upstream_rq_pending_active.get(),
        ];
        assert_eq!(gauges, [0; 3], "seed {seed}: connections, requests, pending requests count");
        drop(counts);
        self.sim.endpoints.take();
        let clusters: Vec<_> = self.clusters.drain(..).map(|c| Arc::downgrade(&c)).collect();
        let kept = [
            clusters.iter().filter(|cluster| cluster.strong_count() > 0).count(),
            self.sim.seen.borrow().iter().filter(|e| e.strong_count() > 0).count(),
            self.monitors.iter().filter(|monitor| monitor.strong_count() > 0).count(),
        ];
        assert_eq!(kept, [0; 3], "seed {seed}: clusters, endpoints and monitors stay");
        self.sim.trace.borrow().finish()
    }
}

#[test]
fn what_holds_in_every_schedule() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                let ground = Ground::new();
                for seed in (first..SCHEDULES).step_by(threads as usize) {
                    ground.run(seed);
                }
            });
        }
    });
}

#[test]
fn a_seed_is_a_schedule() {
    let ground = Ground::new();
    for seed in 0..100 {
        assert_eq!(ground.run(seed), ground.run(seed), "seed {seed}");
    }
}

//! Random schedules of requests, sweeps, probes, and changes of endpoints and configuration, and what holds in all of
//! them. Seeded: a failure names its seed.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::monitor::Monitor;
use super::tests::{SECOND, World, cluster, endpoint};
use super::{Event, FailurePercentage, Outlier, Seen, Settings, Streak, SuccessRate, What};
use crate::upstream::Endpoint;
use crate::upstream::cluster::{Balancing, Cluster, EndpointSet, HashKey, Locality, Place};
use crate::upstream::endpoints::Group;

const SCHEDULES: u64 = 10_000;
const STEPS: u32 = 60;
/// Endpoints have ports from 1 to this.
pub(crate) const PORTS: u16 = 8;

/// One schedule.
struct Schedule {
    seed: u64,
    random: fastrand::Rng,
    world: World,
    /// Which ports take connections, and which answer well.
    takes: HashSet<u16>,
    answers: HashSet<u16>,
    /// Those that events say are ejected, and how often any was.
    out: HashSet<u16>,
    ejections: u64,
    seen: Vec<Weak<Monitor>>,
}

fn streak(random: &mut fastrand::Rng) -> Streak {
    Streak { threshold: random.u32(0..4), enforcing: [0, 50, 100, 100][random.usize(..4)] }
}

fn settings(random: &mut fastrand::Rng) -> Settings {
    let base = Duration::from_millis(random.u64(1..20_000));
    Settings {
        consecutive_5xx: streak(random),
        consecutive_gateway_failure: streak(random),
        consecutive_local_origin_failure: streak(random),
        split: random.bool(),
        interval: Duration::from_millis(random.u64(1..10_000)),
        base,
        most: base + Duration::from_millis(random.u64(0..60_000)),
        jitter: Duration::from_millis(random.u64(0..3000)),
        max_percent: random.u32(0..=100),
        always_one: random.bool(),
        success_rate: SuccessRate {
            hosts: random.u32(0..4),
            requests: random.u32(0..4),
            stdev_factor: random.u32(0..2000),
            enforcing: 100,
            enforcing_local: 50,
        },
        failure_percentage: FailurePercentage {
            threshold: random.u32(0..=100),
            hosts: random.u32(0..4),
            requests: random.u32(0..4),
            enforcing: 50,
            enforcing_local: 100,
        },
    }
}

/// A cluster that detects outliers or not, and balances in some way.
pub(crate) fn form(random: &mut fastrand::Rng, endpoints: EndpointSet) -> Cluster {
    let outlier = (random.u32(..8) > 0).then(|| Outlier::new(settings(random), None));
    let (key, by_locality) = (HashKey::Address, random.bool());
    let balancing = match random.u32(..5) {
        0 => Balancing::RoundRobin,
        1 => Balancing::Random,
        2 => Balancing::LeastRequest,
        3 => Balancing::RingHash { least: 16, most: 64, key },
        _ => Balancing::Maglev { size: 31, key },
    };
    let mut cluster = cluster(outlier, random.u32(0..=100), balancing, EndpointSet::default());
    cluster.sharing.by_locality = by_locality;
    cluster.endpoints.store(Arc::new(endpoints.arranged(&cluster.sharing)));
    cluster
}

/// Where endpoints are: all in one place, or each with a priority and in a locality with a weight.
fn places(random: &mut fastrand::Rng) -> Vec<Arc<Place>> {
    if random.bool() {
        return vec![Arc::default()];
    }
    let overprovisioning = random.u32(100..200);
    let place = |n: u32| Place {
        priority: n / 2,
        locality: Locality { zone: (n % 2).to_string(), ..Locality::default() },
        weight: random.u32(..3),
        overprovisioning,
    };
    (0..4).map(place).map(Arc::new).collect()
}

/// Some of the ports, and what is known of them.
pub(crate) fn found(random: &mut fastrand::Rng, before: &EndpointSet) -> EndpointSet {
    let ports = (1..=PORTS).filter(|_| random.u32(..3) > 0).collect::<Vec<_>>();
    let make = |port| {
        let new = Endpoint::new(endpoint(port).address.clone(), None, random.u32(1..3));
        let same = |old: &&Arc<Endpoint>| old.address == new.address && old.weight == new.weight;
        let kept = before.endpoints.iter().find(same).cloned();
        kept.unwrap_or_else(|| Arc::new(new.known_from(before)))
    };
    let endpoints = ports.into_iter().map(make).collect::<Vec<_>>();
    let places = places(random);
    let placed = endpoints.into_iter().map(|endpoint| {
        let place = random.usize(..places.len());
        (endpoint, Arc::clone(&places[place]))
    });
    EndpointSet::placed(placed)
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let endpoints = found(&mut random, &EndpointSet::default());
        let cluster = form(&mut random, endpoints);
        let all: HashSet<u16> = (1..=PORTS).collect();
        let mut schedule = Self {
            seed,
            world: World::new(cluster),
            takes: all.clone(),
            answers: all,
            out: HashSet::new(),
            ejections: 0,
            seen: Vec::new(),
            random,
        };
        schedule.world.round.random = fastrand::Rng::with_seed(seed);
        schedule
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            match self.random.u32(..20) {
                0..10 => self.request(),
                10..13 => self.world.decide(),
                13..16 => {
                    let time = Duration::from_millis(self.random.u64(1..8000));
                    self.pass(time);
                }
                16 => {
                    let (port, random) = (self.random.u16(1..=PORTS), self.random.u32(..4));
                    let set = if random < 2 { &mut self.takes } else { &mut self.answers };
                    if !set.remove(&port) {
                        set.insert(port);
                    }
                }
                17 | 18 => {
                    let before = self.world.cluster.endpoints.load_full();
                    let now = found(&mut self.random, &before);
                    self.world.cluster.set_endpoints(now);
                    self.gone();
                }
                _ => {
                    let known = self.world.cluster.endpoints.load().again();
                    let next = form(&mut self.random, known);
                    if next.outlier.is_none() {
                        // Nobody says so, as nobody is judged any more.
                        self.out.clear();
                    }
                    self.world.replace(next);
                }
            }
            self.check();
        }
        self.end();
    }

    fn pass(&mut self, time: Duration) {
        let takes = self.takes.clone();
        self.world.pass(time, |port| takes.contains(&port));
    }

    /// Who is not there any more is not out.
    fn gone(&mut self) {
        let set = self.world.cluster.endpoints.load();
        let there: HashSet<u16> = set.endpoints.iter().map(|e| e.address.port()).collect();
        self.out.retain(|port| there.contains(port));
    }

    /// A few requests, as they come at a time: what they come to is told later.
    fn request(&mut self) {
        for _ in 0..self.random.u32(1..6) {
            let hash = self.random.bool().then(|| self.random.u64(..));
            let random = &mut self.random;
            let picked = self.world.pick(hash, || random.u64(..));
            let set = self.world.cluster.endpoints.load_full();
            let Some(position) = picked else {
                assert_eq!(set.count(), 0, "seed {}: somebody takes requests", self.seed);
                return;
            };
            let endpoint = &set.endpoints[position];
            let of =
                |group: &&Group| (0..group.count()).any(|n| group.position(n) == Some(position));
            let panic = set.groups().find(of).is_some_and(|group| group.panic);
            let out = endpoint.monitor.is_ejected() && !panic;
            assert!(!out, "seed {}: an ejected endpoint was chosen", self.seed);
            self.seen.push(Arc::downgrade(&endpoint.monitor));
            let port = endpoint.address.port();
            if !self.takes.contains(&port) {
                self.world.put(position, Seen::Unreachable);
                continue;
            }
            self.world.put(position, Seen::Connected);
            let bad = [Seen::Answer(500), Seen::Answer(503), Seen::Timeout, Seen::Reset];
            let good = [Seen::Answer(200), Seen::Answer(404)];
            let of = if self.answers.contains(&port) { &good[..] } else { &bad[..] };
            self.world.put(position, of[self.random.usize(..of.len())]);
        }
    }

    fn check(&mut self) {
        let seed = self.seed;
        let set = self.world.cluster.endpoints.load_full();
        for Event { address, what, .. } in self.world.events() {
            let port = address.port();
            match what {
                What::Ejected { .. } => {
                    assert!(self.out.insert(port), "seed {seed}: {port} was out already");
                    self.ejections += 1;
                    let settings =
                        &self.world.cluster.outlier.as_ref().expect("detection").settings;
                    let all = set.endpoints.len();
                    let may = 100 * self.out.len() <= settings.max_percent as usize * all
                        || settings.always_one && self.out.len() == 1;
                    assert!(may, "seed {seed}: {:?} of {all} are out", self.out);
                }
                What::Returned { .. } | What::Reached { .. } => {
                    assert!(self.out.remove(&port), "seed {seed}: {port} was not out");
                }
                What::Spared { .. } => {}
            }
        }
        let ejected: HashSet<u16> = self.world.ejected().into_iter().collect();
        assert_eq!(ejected, self.out, "seed {seed}");
        let detects = self.world.cluster.outlier.is_some();
        let healthy = set.endpoints.len() - ejected.len();
        assert_eq!(set.healthy, healthy, "seed {seed}");
        for group in set.groups() {
            assert!(group.count() > 0, "seed {seed}: nobody has a share");
            let all_in = group.taking().all(|endpoint| !endpoint.monitor.is_ejected());
            assert!(group.panic || !detects || all_in, "seed {seed}");
        }
        assert_eq!(set.count() == 0, set.endpoints.is_empty(), "seed {seed}");
        self.world.membership.refresh(&self.world.cluster);
        let stats = &self.world.stats;
        assert_eq!(stats.ejections_active.get(), ejected.len() as u64, "seed {seed}");
        assert_eq!(stats.ejections_enforced_total.get(), self.ejections, "seed {seed}");
    }

    /// Every ejection ends, and nothing is kept of what is gone.
    fn end(mut self) {
        self.world.decide();
        self.pass(200 * SECOND);
        self.check();
        assert_eq!(self.world.ejected(), [0; 0], "seed {}", self.seed);
        let Self { seed, mut world, seen, .. } = self;
        world.cluster.set_endpoints(EndpointSet::default());
        let kept = seen.iter().filter(|monitor| monitor.strong_count() > 0).count();
        assert_eq!(kept, 0, "seed {seed}");
        world.round.end(&"c".into());
        assert_eq!(world.round.next(), None, "seed {seed}");
        assert_eq!(Arc::strong_count(&world.cluster), 1, "seed {seed}");
    }
}

#[test]
fn what_holds_in_every_schedule() {
    for seed in 0..SCHEDULES {
        Schedule::new(seed).run();
    }
}

//! The endpoints of a cluster at one moment, and which of them take requests.
//!
//! Those that share a priority form a group, and where localities are weighted, those of each locality do. A request
//! goes to one of the groups, each as often as its share, and there to an endpoint as the algorithm says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use super::levels::{Level, Load, loads};
use super::limits::Connections;
use super::multiplex::Everywhere;
use super::outlier::Monitor;
use super::placement::Placement;
use super::sharing::Sharing;
use crate::remote::Remote;
use crate::shares::Shares;

/// Envoy's default of `overprovisioning_factor`, in percent: with this much more of healthy endpoints than are needed,
/// none are missing.
const OVERPROVISIONING: u32 = 140;
/// Parts of a percent that localities share.
const FINE: f64 = 1_000_000.0;

/// Where some of a cluster's endpoints are, and what their assignment says of them all
/// (`envoy.config.endpoint.v3.LocalityLbEndpoints`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Their priority: the lowest number comes first.
    pub priority: u32,
    /// Their locality.
    pub locality: Locality,
    /// The locality's weight among those of its priority; none gets no requests where localities are weighted.
    pub weight: u32,
    /// `overprovisioning_factor` of the assignment, in percent.
    pub overprovisioning: u32,
}

impl Default for Place {
    fn default() -> Self {
        let locality = Locality::default();
        Self { priority: 0, locality, weight: 0, overprovisioning: OVERPROVISIONING }
    }
}

/// `envoy.config.core.v3.Locality`
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Locality {
    /// Such as a cloud's region.
    pub region: String,
    /// A zone in it.
    pub zone: String,
    /// A part of that.
    pub sub_zone: String,
}

/// The endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Whether they are known: false until the first resolution or assignment.
    pub ready: bool,
    /// The endpoints, in the order given. Sets that differ only in who is ejected share them.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// Where each of them is.
    places: Arc<[Arc<Place>]>,
    /// How many are not ejected.
    pub healthy: usize,
    /// Those that take requests, by falling priority; `None` if nobody does, or before it is arranged.
    groups: Option<Shares<Group>>,
}

impl EndpointSet {
    /// A known set of endpoints that are all in one place. It has to be arranged before anybody takes requests.
    #[must_use]
    pub fn new(endpoints: Vec<Arc<Endpoint>>) -> Self {
        let place = Arc::<Place>::default();
        Self::placed(endpoints.into_iter().map(|endpoint| (endpoint, Arc::clone(&place))))
    }

    /// A known set of endpoints, each with its place. It has to be arranged before anybody takes requests.
    pub fn placed(endpoints: impl IntoIterator<Item = (Arc<Endpoint>, Arc<Place>)>) -> Self {
        let (endpoints, places): (Vec<_>, Vec<_>) = endpoints.into_iter().unzip();
        let healthy = endpoints.len();
        let (endpoints, places) = (endpoints.into(), places.into());
        Self { ready: true, endpoints, places, healthy, groups: None }
    }

    /// The same endpoints, to be arranged anew.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            ready: self.ready,
            endpoints: Arc::clone(&self.endpoints),
            places: Arc::clone(&self.places),
            healthy: self.endpoints.len(),
            groups: None,
        }
    }

    /// The same, and who of them takes requests: not those that are ejected, where there is outlier detection, unless
    /// too few are left.
    #[must_use]
    pub fn arranged(mut self, sharing: &Sharing) -> Self {
        let detects = sharing.panic_threshold.is_some();
        let is_in = |position: u32| {
            let endpoint = self.endpoints.get(position as usize);
            endpoint.is_some_and(|endpoint| !(detects && endpoint.monitor.is_ejected()))
        };
        let mut by_priority = BTreeMap::<u32, Vec<u32>>::new();
        for (position, place) in (0..).zip(self.places.iter()) {
            by_priority.entry(place.priority).or_default().push(position);
        }
        let count = |all: &Vec<u32>| Level {
            all: all.len(),
            healthy: all.iter().filter(|position| is_in(**position)).count(),
        };
        let levels: Vec<Level> = by_priority.values().map(count).collect();
        let overprovisioning =
            self.places.first().map_or(OVERPROVISIONING, |place| place.overprovisioning);
        let mut groups = Vec::new();
        let loads = loads(&levels, overprovisioning, sharing.panic_threshold.unwrap_or_default());
        for (load, all) in loads.into_iter().zip(by_priority.into_values()) {
            if load.percent > 0 {
                self.add_level(&mut groups, sharing, load, all, is_in);
            }
        }
        let number = |(number, (group, share))| (Group { number, ..group }, share);
        let groups = groups.into_iter().enumerate().map(number).collect();
        self.healthy = levels.iter().map(|level| level.healthy).sum();
        self.groups = Shares::new(groups);
        self
    }

    /// Adds the groups of one priority, each with its share of all requests.
    fn add_level(
        &self,
        groups: &mut Vec<(Group, u32)>,
        sharing: &Sharing,
        load: Load,
        all: Vec<u32>,
        is_in: impl Fn(u32) -> bool,
    ) {
        let hashes = sharing.balancing.hashes();
        // Hashes are shared by whole percents, as in Envoy; so that they lead to the same endpoints.
        let whole = if hashes { load.percent } else { load.percent * FINE as u32 };
        if load.panic {
            let weigh = |position: u32| f64::from(self.weight(position));
            return groups.push((self.group(sharing, load, all, weigh), whole));
        }
        let localities = sharing.by_locality.then(|| self.localities(&all, &is_in));
        let localities = localities.unwrap_or_default();
        let sum: f64 = localities.iter().map(|locality| locality.share).sum();
        if sum <= 0.0 {
            let takers = all.into_iter().filter(|position| is_in(*position)).collect();
            let weigh = |position: u32| f64::from(self.weight(position));
            groups.push((self.group(sharing, load, takers, weigh), whole));
        } else if hashes {
            groups.push((self.group_by_locality(sharing, load, &localities), whole));
        } else {
            for Weighted { share, takers, .. } in localities {
                let share = (f64::from(whole) * share / sum) as u32;
                let weigh = |position: u32| f64::from(self.weight(position));
                groups.push((self.group(sharing, load, takers, weigh), share));
            }
        }
    }

    /// The localities among `all`, with the share of the priority's requests that those in can take.
    fn localities(&self, all: &[u32], is_in: impl Fn(u32) -> bool) -> Vec<Weighted> {
        let mut localities = BTreeMap::<&Locality, (&Place, Vec<u32>)>::new();
        for &position in all {
            if let Some(place) = self.places.get(position as usize) {
                localities.entry(&place.locality).or_insert((place, Vec::new())).1.push(position);
            }
        }
        let weigh = |(place, all): (&Place, Vec<u32>)| {
            let count = all.len() as f64;
            let takers: Vec<u32> = all.into_iter().filter(|position| is_in(*position)).collect();
            let could = f64::from(place.overprovisioning) / 100.0 * takers.len() as f64 / count;
            let weight = f64::from(place.weight);
            Weighted { weight, share: weight * could.min(1.0), takers }
        };
        localities.into_values().map(weigh).filter(|locality| locality.share > 0.0).collect()
    }

    /// One group of several localities, as hashes are not shared between localities before they lead to an endpoint.
    fn group_by_locality(&self, sharing: &Sharing, load: Load, of: &[Weighted]) -> Group {
        let mut weights = BTreeMap::new();
        for Weighted { weight, takers, .. } in of {
            let sum: f64 = takers.iter().map(|taker| f64::from(self.weight(*taker))).sum();
            for &taker in takers {
                weights.insert(taker, weight * f64::from(self.weight(taker)) / sum);
            }
        }
        let takers = weights.keys().copied().collect();
        let weigh = |position: u32| weights.get(&position).copied().unwrap_or_default();
        self.group(sharing, load, takers, weigh)
    }

    fn group(
        &self,
        sharing: &Sharing,
        load: Load,
        takers: Vec<u32>,
        weigh: impl Fn(u32) -> f64,
    ) -> Group {
        let weighed = |&position: &u32| {
            let endpoint = self.endpoints.get(position as usize)?;
            Some((&**endpoint, weigh(position)))
        };
        let placement = Placement::weighted(sharing.balancing, takers.iter().filter_map(weighed));
        let newest = takers.iter().filter_map(|&position| self.endpoints.get(position as usize));
        Group {
            number: 0,
            panic: load.panic,
            total_weight: takers.iter().map(|taker| u64::from(self.weight(*taker))).sum(),
            newest: newest.map(|endpoint| endpoint.since).max(),
            placement,
            takers: (takers.len() < self.endpoints.len()).then(|| takers.into()),
            endpoints: Arc::clone(&self.endpoints),
        }
    }

    fn weight(&self, position: u32) -> u32 {
        self.endpoints.get(position as usize).map_or(0, |endpoint| endpoint.weight)
    }

    /// The group that takes the next request, by its hash where the cluster hashes; `None` if nobody does.
    pub fn group_for(&self, hash: Option<u64>, random: impl FnOnce() -> u64) -> Option<&Group> {
        let groups = self.groups.as_ref()?;
        Some(match hash {
            Some(hash) => groups.of(hash),
            None => groups.next(random),
        })
    }

    /// The groups that take requests, by falling priority.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().flat_map(|groups| groups.iter().map(|(group, _)| group))
    }

    /// How many take requests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.groups().map(Group::count).sum()
    }

    /// Whether there are too few in some priority, so that all of it take requests.
    #[must_use]
    pub fn panics(&self) -> bool {
        self.groups().any(|group| group.panic)
    }

    /// Each endpoint with its place.
    pub fn with_places(&self) -> impl Iterator<Item = (&Arc<Endpoint>, &Arc<Place>)> {
        self.endpoints.iter().zip(self.places.iter())
    }
}

/// One locality of a priority.
struct Weighted {
    /// The weight that it was given.
    weight: f64,
    /// What of it those can take that are in.
    share: f64,
    takers: Vec<u32>,
}

/// Endpoints of a set among which an algorithm chooses.
#[derive(Debug)]
pub struct Group {
    /// Its number in the set, from 0.
    pub number: usize,
    /// Whether too few of its endpoints are healthy, so that all take requests.
    pub panic: bool,
    /// Sum of the weights of its endpoints.
    pub total_weight: u64,
    /// When the latest of them came.
    pub newest: Option<Instant>,
    /// Where hashes lead, for clusters that hash.
    pub placement: Option<Placement>,
    /// Positions of its endpoints; `None` for all of the set.
    takers: Option<Box<[u32]>>,
    endpoints: Arc<[Arc<Endpoint>]>,
}

impl Group {
    /// How many endpoints it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.takers.as_ref().map_or(self.endpoints.len(), |takers| takers.len())
    }

    /// The position of its nth endpoint in the set.
    #[must_use]
    pub fn position(&self, nth: usize) -> Option<usize> {
        match &self.takers {
            None => (nth < self.endpoints.len()).then_some(nth),
            Some(takers) => takers.get(nth).map(|position| *position as usize),
        }
    }

    /// Its nth endpoint.
    #[must_use]
    pub fn taker(&self, nth: usize) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(self.position(nth)?)
    }

    /// Its endpoints.
    pub fn taking(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        (0..self.count()).filter_map(|nth| self.taker(nth))
    }
}

/// One address behind a cluster. Kept (same `Arc`) when a new set has the same address, so that its
/// connections and counts live on.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Remote,
    /// The name that led to the address, for logs and `auto_host_rewrite`.
    pub hostname: Option<Arc<str>>,
    /// Load-balancing weight, at least 1.
    pub weight: u32,
    /// Requests in flight over all workers.
    pub active: AtomicU32,
    /// Connections to it, open or being made, over all workers.
    pub connections: Connections,
    /// Those of HTTP/2 that other workers may open streams on.
    pub streams: Everywhere,
    /// How it does, for outlier detection.
    pub monitor: Arc<Monitor>,
    /// When its address came to the cluster, for slow start.
    pub since: Instant,
}

impl Endpoint {
    /// An endpoint without requests; a weight of 0 counts as 1.
    #[must_use]
    pub fn new(address: impl Into<Remote>, hostname: Option<Arc<str>>, weight: u32) -> Self {
        Self {
            address: address.into(),
            hostname,
            weight: weight.max(1),
            active: AtomicU32::new(0),
            connections: Connections::default(),
            streams: Everywhere::default(),
            monitor: Arc::default(),
            since: Instant::now(),
        }
    }

    /// The same with what is known of its address: `before` are the endpoints that there were.
    #[must_use]
    pub fn known_from(mut self, before: &EndpointSet) -> Self {
        let same = before.endpoints.iter().find(|endpoint| endpoint.address == self.address);
        if let Some(same) = same {
            self.monitor = Arc::clone(&same.monitor);
            self.since = same.since;
        }
        self
    }

    /// Whether both are of the same address of a cluster.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.monitor, &other.monitor)
    }

    /// Requests in flight over all workers.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }
}

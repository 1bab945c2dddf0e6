//! Picking an endpoint.

use std::cell::RefCell;

use tokio::time::Instant;

use super::endpoints::{Endpoint, EndpointSet, Group};
use super::sharing::{Balancing, Sharing};
use super::slow_start::SlowStart;

/// A weight of 1 while endpoints warm up, and get a part of their weight.
const WARM: f64 = 10_000.0;

/// A worker's turns among the endpoints of one cluster.
#[derive(Debug, Default)]
pub struct Balancer {
    /// By the number of a group.
    turns: RefCell<Vec<u64>>,
}

/// The endpoint that takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Its position in the set.
    pub position: usize,
    /// Whether it was picked in a panic, healthy or not.
    pub panic: bool,
}

impl Balancer {
    /// Picks the endpoint that takes the next request; `None` when there is none. `hash` is the request's, if it has
    /// one, and the number of the choice for it, from 0; `random` gives uniform numbers.
    pub fn pick(
        &self,
        sharing: &Sharing,
        set: &EndpointSet,
        (hash, choice): (Option<u64>, u64),
        mut random: impl FnMut() -> u64,
    ) -> Option<Picked> {
        // A request without a hash goes anywhere.
        let hash = sharing.balancing.hashes().then(|| hash.unwrap_or_else(&mut random));
        let group = set.group_for(hash, &mut random)?;
        let nth = match group.count() {
            1 => 0,
            _ => self.choose(sharing, group, (hash, choice), random)?,
        };
        Some(Picked { position: group.position(nth)?, panic: group.panic })
    }

    /// The number of an endpoint of a group.
    fn choose(
        &self,
        sharing: &Sharing,
        group: &Group,
        (hash, choice): (Option<u64>, u64),
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let weights = || Weights::of(group, sharing.slow_start.as_ref());
        match sharing.balancing {
            Balancing::RoundRobin => {
                let weights = weights();
                // Turns go by weights that stay.
                let number = match weights.warming {
                    Some(_) => random(),
                    None => self.turn(group, random),
                };
                Some(weights.draw(number))
            }
            Balancing::Random => Some(Weights::of(group, None).draw(random())),
            Balancing::LeastRequest => {
                // Power of two choices: nearly as even as looking at all, at the cost of two looks. Who is no busier than the
                // other takes its turn, so that a load that none feels is shared evenly, and not by chance.
                let (weights, number) = (weights(), random());
                let turn = match weights.warming {
                    Some(_) => number >> 32,
                    None => self.turn(group, random),
                };
                let first = weights.draw(turn);
                let second = weights.draw(number & 0xffff_ffff);
                let busier = weights.busier(group.taker(first)?, group.taker(second)?);
                Some(if busier { second } else { first })
            }
            Balancing::RingHash { .. } | Balancing::Maglev { .. } => {
                group.placement.as_ref()?.pick(hash?, choice)
            }
        }
    }

    /// The number of the next turn. The first is anybody's, so that workers do not all begin with the same endpoint.
    fn turn(&self, group: &Group, random: impl FnMut() -> u64) -> u64 {
        let mut turns = self.turns.borrow_mut();
        if turns.len() <= group.number {
            turns.resize_with(group.number + 1, random);
        }
        let turn = turns[group.number];
        turns[group.number] = turn.wrapping_add(1);
        turn
    }
}

/// The weights of a group's endpoints at one moment.
struct Weights<'a> {
    group: &'a Group,
    /// How those that are new share, and now, if there are any.
    warming: Option<(&'a SlowStart, Instant)>,
    total: u64,
}

impl<'a> Weights<'a> {
    fn of(group: &'a Group, slow_start: Option<&'a SlowStart>) -> Self {
        let warming = slow_start.zip(group.newest).and_then(|(slow_start, newest)| {
            let now = Instant::now();
            (now.duration_since(newest) < slow_start.window).then_some((slow_start, now))
        });
        let mut weights = Self { group, warming, total: group.total_weight };
        if warming.is_some() {
            weights.total = group.taking().map(|endpoint| weights.weight(endpoint)).sum();
        }
        weights
    }

    fn weight(&self, endpoint: &Endpoint) -> u64 {
        let weight = u64::from(endpoint.weight);
        let Some((slow_start, now)) = self.warming else { return weight };
        let part = slow_start.part(now.duration_since(endpoint.since));
        ((weight as f64 * part * WARM) as u64).max(1)
    }

    /// Maps a number onto one of the endpoints, each as often as its weight.
    fn draw(&self, number: u64) -> usize {
        if self.total == self.group.count() as u64 {
            return (number % self.total) as usize;
        }
        let mut left = number % self.total.max(1);
        for (nth, endpoint) in self.group.taking().enumerate() {
            match left.checked_sub(self.weight(endpoint)) {
                Some(rest) => left = rest,
                None => return nth,
            }
        }
        0
    }

    fn busier(&self, a: &Endpoint, b: &Endpoint) -> bool {
        // active/weight compared without division
        let load = |active: u32, weight: u64| u128::from(active) * u128::from(weight);
        load(a.active(), self.weight(b)) > load(b.active(), self.weight(a))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::upstream::cluster::{HashKey, Locality, Place};

    fn endpoint(port: usize, weight: u32) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(
            std::net::SocketAddr::from(([127, 0, 0, 1], port as u16)),
            None,
            weight,
        ))
    }

    fn set(weights: &[u32]) -> EndpointSet {
        let endpoints = weights.iter().enumerate().map(|(port, weight)| endpoint(port, *weight));
        EndpointSet::new(endpoints.collect())
    }

    fn shares(sharing: impl Into<Sharing>, set: EndpointSet, rounds: usize) -> Vec<usize> {
        let sharing = sharing.into();
        let set = set.arranged(&sharing);
        let (balancer, mut random) = (Balancer::default(), fastrand::Rng::with_seed(7));
        let mut shares = vec![0; set.endpoints.len()];
        for _ in 0..rounds {
            let picked = balancer.pick(&sharing, &set, (None, 0), || random.u64(..));
            shares[picked.expect("one").position] += 1;
        }
        shares
    }

    #[test]
    fn round_robin_is_exact_with_weights() {
        assert_eq!(shares(Balancing::RoundRobin, set(&[1, 1, 1]), 9), [3, 3, 3]);
        assert_eq!(shares(Balancing::RoundRobin, set(&[1, 2]), 9), [3, 6]);
        let sharing = Balancing::RoundRobin.into();
        let none = set(&[]).arranged(&sharing);
        assert_eq!(Balancer::default().pick(&sharing, &none, (None, 0), || 0), None);
    }

    #[test]
    fn a_hash_leads_to_one_endpoint_and_none_anywhere() {
        let key = HashKey::Address;
        for policy in [
            Balancing::RingHash { least: 1024, most: 4096, key },
            Balancing::Maglev { size: 31, key },
        ] {
            let sharing = policy.into();
            let three = set(&[1, 1, 1]).arranged(&sharing);
            let balancer = Balancer::default();
            let first =
                balancer.pick(&sharing, &three, (Some(7), 0), || unreachable!("it has a hash"));
            for _ in 0..9 {
                assert_eq!(balancer.pick(&sharing, &three, (Some(7), 0), || 0), first);
            }
            assert!(shares(policy, three, 300).iter().all(|share| *share > 0));
        }
    }

    #[test]
    fn least_request_shares_evenly_while_nobody_is_busy() {
        assert_eq!(shares(Balancing::LeastRequest, set(&[1, 1, 1, 1]), 400), [100; 4]);
        assert_eq!(shares(Balancing::LeastRequest, set(&[1, 3]), 400), [100, 300]);
    }

    #[test]
    fn least_request_avoids_the_busy_one() {
        let set = set(&[1, 1, 1]);
        set.endpoints[1].active.store(100, Ordering::Relaxed);
        let shares = shares(Balancing::LeastRequest, set, 3000);
        assert!(shares[1] < 450, "{shares:?}");
    }

    /// Two endpoints of weight 1 in each of the places, which are a priority, a locality and its weight.
    fn placed(places: &[(u32, &str, u32)]) -> EndpointSet {
        EndpointSet::placed(places.iter().enumerate().flat_map(|(n, (priority, zone, weight))| {
            let locality = Locality { zone: (*zone).into(), ..Locality::default() };
            let place =
                Place { priority: *priority, locality, weight: *weight, ..Place::default() };
            let place = Arc::new(place);
            [2 * n, 2 * n + 1].map(|port| (endpoint(port, 1), Arc::clone(&place)))
        }))
    }

    fn ejecting(sharing: impl Into<Sharing>) -> Sharing {
        Sharing { panic_threshold: Some(0), ..sharing.into() }
    }

    fn eject(set: &EndpointSet, positions: &[usize]) {
        for &position in positions {
            set.endpoints[position].monitor.set_ejected(true);
        }
    }

    #[test]
    fn what_a_priority_cannot_take_goes_to_the_next() {
        let all = [
            Balancing::RoundRobin,
            Balancing::LeastRequest,
            Balancing::Random,
            Balancing::RingHash { least: 1024, most: 4096, key: HashKey::Address },
        ];
        for balancing in all {
            let set = placed(&[(1, "", 0), (0, "", 0)]);
            let sharing = ejecting(balancing);
            let first = shares(sharing, set.again(), 1000);
            assert_eq!(first[..2], [0, 0], "{balancing:?}");
            eject(&set, &[2]);
            let next = shares(sharing, set.again(), 1000);
            assert!((660..740).contains(&next[3]) && next[2] == 0, "{balancing:?}: {next:?}");
            assert!(next[0] > 50 && next[1] > 50, "{balancing:?}: {next:?}");
            eject(&set, &[3]);
            let last = shares(sharing, set, 1000);
            assert_eq!(last[2..], [0, 0], "{balancing:?}");
        }
    }

    #[test]
    fn localities_share_by_weight_and_by_who_is_left() {
        let set = placed(&[(0, "a", 1), (0, "b", 3), (0, "c", 0)]);
        let unaware = ejecting(Balancing::RoundRobin);
        assert_eq!(shares(unaware, set.again(), 600), [100; 6]);
        let sharing = Sharing { by_locality: true, ..unaware };
        let by_locality = |set: EndpointSet| {
            let shares = shares(sharing, set, 1000);
            [shares[0] + shares[1], shares[2] + shares[3], shares[4] + shares[5]]
        };
        let near = |shares: [usize; 3], wanted: [usize; 3]| {
            let off = shares.iter().zip(wanted).all(|(share, wanted)| share.abs_diff(wanted) <= 5);
            assert!(off, "{shares:?} for {wanted:?}");
        };
        near(by_locality(set.again()), [250, 750, 0]);
        // One of two is left: 0.7 of 3 beside 1.
        eject(&set, &[2]);
        near(by_locality(set.again()), [323, 677, 0]);
        eject(&set, &[3]);
        near(by_locality(set.again()), [1000, 0, 0]);
        // Where nobody that is left has any weight, all that are left share.
        eject(&set, &[0, 1]);
        near(by_locality(set), [0, 0, 1000]);
    }

    #[test]
    fn hashes_go_by_the_weights_of_localities() {
        let key = HashKey::Address;
        for balancing in [
            Balancing::RingHash { least: 4096, most: 8192, key },
            Balancing::Maglev { size: 65_537, key },
        ] {
            let set = placed(&[(0, "a", 1), (0, "b", 3), (0, "c", 0)]);
            let sharing = Sharing { by_locality: true, ..ejecting(balancing) };
            let shares = shares(sharing, set, 10_000);
            assert!((2200..2800).contains(&(shares[0] + shares[1])), "{balancing:?}: {shares:?}");
            assert_eq!(shares[4..], [0, 0], "{balancing:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_endpoints_get_few_requests_at_first() {
        let slow_start = SlowStart { window: Duration::from_secs(60), aggression: 1.0, least: 0.1 };
        for balancing in [Balancing::RoundRobin, Balancing::LeastRequest] {
            let sharing = Sharing { slow_start: Some(slow_start), ..balancing.into() };
            let old = endpoint(1, 1);
            tokio::time::advance(Duration::from_secs(3600)).await;
            let set = EndpointSet::new(vec![old, endpoint(2, 1)]);
            let least = |waited: u64, of_new: usize| {
                let shares = shares(sharing, set.again(), 10_000);
                let off = shares[1].abs_diff(of_new);
                assert!(off < 300, "{balancing:?} after {waited} s: {shares:?}");
            };
            least(0, 909);
            tokio::time::advance(Duration::from_secs(30)).await;
            least(30, 3333);
            tokio::time::advance(Duration::from_secs(30)).await;
            least(60, 5000);
        }
    }
}

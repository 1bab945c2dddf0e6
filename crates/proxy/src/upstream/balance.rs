//! Picking an endpoint.

use std::cell::Cell;

use super::cluster::{Balancing, Endpoint, EndpointSet};

/// A worker's turn among the endpoints of one cluster.
#[derive(Debug, Default)]
pub struct Balancer {
    turn: Cell<usize>,
}

impl Balancer {
    /// The index of the endpoint that takes the next request; `None` when there is none. `hash` is the request's, if
    /// it has one; `random` gives uniform numbers.
    pub fn pick(
        &self,
        policy: Balancing,
        set: &EndpointSet,
        hash: Option<u64>,
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let endpoints = &set.endpoints;
        match endpoints.len() {
            0 => return None,
            1 => return Some(0),
            _ => {}
        }
        Some(match policy {
            Balancing::RoundRobin => {
                let turn = self.turn.get();
                self.turn.set(turn.wrapping_add(1));
                weighted(set, turn as u64)
            }
            Balancing::Random => weighted(set, random()),
            Balancing::LeastRequest => {
                // Power of two choices: nearly as even as looking at all, at the cost of two looks.
                let number = random();
                let first = weighted(set, number >> 32);
                let second = weighted(set, number & 0xffff_ffff);
                if busier(&endpoints[first], &endpoints[second]) { second } else { first }
            }
            Balancing::RingHash { .. } | Balancing::Maglev { .. } => {
                // A request without a hash goes anywhere.
                return set.placement.as_ref()?.pick(hash.unwrap_or_else(random));
            }
        })
    }
}

/// Maps a number onto an endpoint, each as often as its weight.
fn weighted(set: &EndpointSet, number: u64) -> usize {
    if set.total_weight == set.endpoints.len() as u64 {
        return (number % set.total_weight) as usize;
    }
    let mut left = number % set.total_weight.max(1);
    for (index, endpoint) in set.endpoints.iter().enumerate() {
        let weight = u64::from(endpoint.weight);
        if left < weight {
            return index;
        }
        left -= weight;
    }
    0
}

fn busier(a: &Endpoint, b: &Endpoint) -> bool {
    let load = |active: u32, weight: u32| u64::from(active) * u64::from(weight);
    // active/weight compared without division
    load(a.active(), b.weight) > load(b.active(), a.weight)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::upstream::cluster::HashKey;

    fn set(weights: &[u32]) -> EndpointSet {
        let endpoint = |(port, &weight): (usize, &u32)| {
            Arc::new(Endpoint::new(([127, 0, 0, 1], port as u16).into(), None, weight))
        };
        EndpointSet::new(weights.iter().enumerate().map(endpoint).collect())
    }

    fn shares(policy: Balancing, set: &EndpointSet, rounds: usize) -> Vec<usize> {
        let (balancer, mut random) = (Balancer::default(), fastrand::Rng::with_seed(7));
        let mut shares = vec![0; set.endpoints.len()];
        for _ in 0..rounds {
            shares[balancer.pick(policy, set, None, || random.u64(..)).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn round_robin_is_exact_with_weights() {
        assert_eq!(shares(Balancing::RoundRobin, &set(&[1, 1, 1]), 9), [3, 3, 3]);
        assert_eq!(shares(Balancing::RoundRobin, &set(&[1, 2]), 9), [3, 6]);
        assert_eq!(Balancer::default().pick(Balancing::RoundRobin, &set(&[]), None, || 0), None);
    }

    #[test]
    fn a_hash_leads_to_one_endpoint_and_none_anywhere() {
        let key = HashKey::Address;
        for policy in [
            Balancing::RingHash { least: 1024, most: 4096, key },
            Balancing::Maglev { size: 31, key },
        ] {
            let set = set(&[1, 1, 1]).placed(policy);
            let balancer = Balancer::default();
            let first = balancer.pick(policy, &set, Some(7), || unreachable!("it has a hash"));
            for _ in 0..9 {
                assert_eq!(balancer.pick(policy, &set, Some(7), || 0), first);
            }
            assert!(shares(policy, &set, 300).iter().all(|share| *share > 0));
        }
    }

    #[test]
    fn least_request_avoids_the_busy_one() {
        let set = set(&[1, 1, 1]);
        set.endpoints[1].active.store(100, Ordering::Relaxed);
        let shares = shares(Balancing::LeastRequest, &set, 3000);
        assert!(shares[1] < 450, "{shares:?}");
    }
}

//! Consistent hashing: which endpoint a hash leads to, as Envoy's ring hash and Maglev place them.
//!
//! A placement is made once for those that take requests, by whoever finds or ejects them; on a request it is only read.

use xxhash_rust::xxh64::xxh64;

use super::endpoints::Endpoint;
use super::sharing::{Balancing, HashKey};

/// Where hashes lead, for those of a set of endpoints that take requests. They go by their position among these.
#[derive(Debug)]
pub enum Placement {
    /// Points on a ring, in their order: a hash leads to the next one.
    Ring(Vec<(u64, u32)>),
    /// A table: a hash leads to its remainder.
    Table(Vec<u32>),
}

impl Placement {
    /// Places endpoints by their weights; `None` where the algorithm is another, or there is nothing to place.
    pub fn weighted<'e>(
        balancing: Balancing,
        endpoints: impl Iterator<Item = (&'e Endpoint, f64)>,
    ) -> Option<Self> {
        if !balancing.hashes() {
            return None;
        }
        let endpoints: Vec<(&Endpoint, f64)> = endpoints.collect();
        if endpoints.is_empty() {
            return None;
        }
        match balancing {
            Balancing::RingHash { least, most, key } => {
                Some(Self::Ring(ring(&endpoints, key, least, most)))
            }
            Balancing::Maglev { size, key } => Some(Self::Table(table(&endpoints, key, size))),
            Balancing::RoundRobin | Balancing::LeastRequest | Balancing::Random => None,
        }
    }

    /// The endpoint that a hash leads to, in the choice of that number, from 0: a request that is to go elsewhere is led to
    /// further ones as in Envoy, by the next points of a ring, and by hashes of their own in a table.
    #[must_use]
    pub fn pick(&self, hash: u64, choice: u64) -> Option<usize> {
        let remainder = |number: u64, len: usize| {
            number.checked_rem(len as u64).and_then(|at| usize::try_from(at).ok())
        };
        let endpoint = match self {
            Self::Ring(points) => {
                let next = points.partition_point(|(point, _)| *point < hash) as u64;
                points.get(remainder(next + choice, points.len())?).map(|(_, endpoint)| endpoint)
            }
            Self::Table(table) => {
                let hash = if choice == 0 { hash } else { hash ^ (u64::MAX - choice + 1) };
                table.get(remainder(hash, table.len())?)
            }
        };
        endpoint.map(|endpoint| *endpoint as usize)
    }
}

/// What is hashed of an endpoint.
fn key_of(endpoint: &Endpoint, key: HashKey) -> String {
    match (&endpoint.hostname, key) {
        (Some(hostname), HashKey::Hostname) => hostname.to_string(),
        _ => endpoint.address.to_string(),
    }
}

/// Shares of the endpoints, which add up to 1.
fn shares(endpoints: &[(&Endpoint, f64)]) -> Vec<f64> {
    let total: f64 = endpoints.iter().map(|(_, weight)| weight).sum();
    endpoints.iter().map(|(_, weight)| weight / total).collect()
}

/// The endpoint with the smallest share gets a whole number of points, the others as many as their shares are
/// larger; `most` bounds them all.
fn ring(endpoints: &[(&Endpoint, f64)], key: HashKey, least: u64, most: u64) -> Vec<(u64, u32)> {
    let shares = shares(endpoints);
    let smallest = shares.iter().copied().fold(1.0, f64::min);
    let scale = ((smallest * least as f64).ceil() / smallest).min(most as f64);
    let mut points = Vec::with_capacity(scale.ceil() as usize);
    // Running sums, so that what is not whole is carried over to the next endpoint.
    let (mut made, mut wanted) = (0.0, 0.0);
    for (number, ((endpoint, _), share)) in (0..).zip(endpoints.iter().zip(&shares)) {
        let key = key_of(endpoint, key);
        wanted += scale * share;
        let mut copy = 0_u64;
        while made < wanted {
            points.push((xxh64(format!("{key}_{copy}").as_bytes(), 0), number));
            copy += 1;
            made += 1.0;
        }
    }
    points.sort_unstable();
    points
}

/// One endpoint as it takes places in a Maglev table.
struct Taker {
    number: u32,
    share: f64,
    offset: u64,
    skip: u64,
    next: u64,
    target: f64,
}

/// Maglev's table (section 3.4 of the paper, with weights): endpoints in the order of their keys take places in
/// turn, each along a permutation of its own. `size` is a prime, at least 2.
fn table(endpoints: &[(&Endpoint, f64)], key: HashKey, size: u64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let shares = shares(endpoints);
    let largest = shares.iter().copied().fold(0.0, f64::max);
    let mut keyed: Vec<(String, u32, f64)> = (0..)
        .zip(endpoints.iter().zip(&shares))
        .map(|(number, ((endpoint, _), share))| (key_of(endpoint, key), number, *share))
        .collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let mut takers: Vec<Taker> = keyed
        .iter()
        .map(|(key, number, share)| Taker {
            number: *number,
            share: *share,
            offset: xxh64(key.as_bytes(), 0) % size,
            skip: xxh64(key.as_bytes(), 1) % (size - 1) + 1,
            next: 0,
            target: 0.0,
        })
        .collect();
    let mut table = vec![FREE; usize::try_from(size).unwrap_or_default()];
    let mut left = table.len();
    let mut round = 0_u32;
    while left > 0 {
        round += 1;
        for taker in &mut takers {
            if left == 0 {
                break;
            }
            // One with a third of the largest share takes a place in every third round.
            if f64::from(round) * taker.share < taker.target {
                continue;
            }
            taker.target += largest;
            loop {
                let place = (taker.offset + taker.skip * taker.next) % size;
                taker.next += 1;
                // The permutation visits every place, as the size is prime.
                match table.get_mut(place as usize) {
                    Some(free) if *free == FREE => {
                        *free = taker.number;
                        break;
                    }
                    _ => {}
                }
            }
            left -= 1;
        }
    }
    table
}

#[cfg(test)]
impl Placement {
    /// Places endpoints by their own weights.
    pub fn new<'e>(
        balancing: Balancing,
        endpoints: impl Iterator<Item = &'e std::sync::Arc<Endpoint>>,
    ) -> Option<Self> {
        let weighed = endpoints.map(|endpoint| (&**endpoint, f64::from(endpoint.weight)));
        Self::weighted(balancing, weighed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn endpoints(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        let endpoint = |(port, &weight): (u16, &u32)| {
            let name = port.to_string();
            Arc::new(Endpoint::new(
                std::net::SocketAddr::from(([127, 0, 0, 1], port)),
                Some(name.into()),
                weight,
            ))
        };
        (90..).zip(weights).map(endpoint).collect()
    }

    fn ring_hash(least: u64, key: HashKey) -> Balancing {
        Balancing::RingHash { least, most: 8 * 1024 * 1024, key }
    }

    /// The points that Envoy's own tests write down for these addresses.
    #[test]
    fn the_ring_is_envoys() {
        let Some(Placement::Ring(points)) =
            Placement::new(ring_hash(12, HashKey::Address), endpoints(&[1; 6]).iter())
        else {
            panic!("a ring")
        };
        let wanted = [
            (833_437_586_790_550_860, 4),
            (928_266_305_478_181_108, 2),
            (1_033_482_794_131_418_490, 0),
            (3_551_244_743_356_806_947, 5),
            (3_851_675_632_748_031_481, 3),
            (5_583_722_120_771_150_861, 1),
            (6_311_230_543_546_372_928, 1),
            (7_700_377_290_971_790_572, 3),
            (13_144_177_310_400_110_813, 5),
            (13_444_792_449_719_432_967, 2),
            (15_516_499_411_664_133_160, 4),
            (16_117_243_373_044_804_889, 0),
        ];
        assert_eq!(points, wanted);
        let ring = Placement::Ring(points);
        for (hash, endpoint) in [
            (0, 4),
            (u64::MAX, 4),
            (3_551_244_743_356_806_947, 5),
            (3_551_244_743_356_806_948, 3),
            (16_117_243_373_044_804_880, 0),
        ] {
            assert_eq!(ring.pick(hash, 0), Some(endpoint), "{hash}");
        }
        let by_name = Placement::new(ring_hash(12, HashKey::Hostname), endpoints(&[1; 6]).iter());
        let by_name = by_name.expect("a ring");
        assert_eq!(by_name.pick(7_225_015_537_174_310_577, 0), Some(2));
        assert_eq!(by_name.pick(6_803_900_775_736_438_537, 0), Some(3));
    }

    /// A ring has the next point for who is to go elsewhere, and so its endpoint again now and then; a table has another hash.
    #[test]
    fn further_choices_are_envoys() {
        let ring = Placement::Ring(vec![(10, 0), (20, 0), (30, 1), (40, 2)]);
        let along =
            |hash| -> Vec<_> { (0..6).filter_map(|choice| ring.pick(hash, choice)).collect() };
        assert_eq!(along(5), [0, 0, 1, 2, 0, 0]);
        assert_eq!(along(25), [1, 2, 0, 0, 1, 2]);
        assert_eq!(along(41), [0, 0, 1, 2, 0, 0]);
        let table = Placement::Table(vec![0, 1, 2, 3, 4]);
        for choice in 1..4_u64 {
            let other = 7 ^ choice.wrapping_neg();
            assert_eq!(table.pick(7, choice), table.pick(other, 0));
        }
    }

    /// The tables that Envoy's own tests write down for these addresses and names.
    #[test]
    fn the_table_is_envoys() {
        for (key, wanted) in
            [(HashKey::Address, [2, 4, 0, 1, 5, 0, 3]), (HashKey::Hostname, [2, 5, 0, 3, 4, 1, 0])]
        {
            let maglev = Balancing::Maglev { size: 7, key };
            let table = Placement::new(maglev, endpoints(&[1; 6]).iter()).expect("a table");
            let found: Vec<_> = (0..14).filter_map(|hash| table.pick(hash, 0)).collect();
            assert_eq!(found, [wanted, wanted].concat());
        }
    }

    #[test]
    fn weights_are_shares() {
        let count = |placement: &Placement| {
            let numbers: Vec<u32> = match placement {
                Placement::Ring(points) => points.iter().map(|(_, number)| *number).collect(),
                Placement::Table(table) => table.clone(),
            };
            [0, 1].map(|number| numbers.iter().filter(|n| **n == number).count())
        };
        let ring = Placement::new(ring_hash(4, HashKey::Address), endpoints(&[1, 3]).iter());
        assert_eq!(count(&ring.expect("a ring")), [1, 3]);
        let maglev = Balancing::Maglev { size: 17, key: HashKey::Address };
        let table = Placement::new(maglev, endpoints(&[1, 2]).iter()).expect("a table");
        assert_eq!(count(&table), [6, 11]);
    }

    #[test]
    fn few_move_when_one_goes() {
        let mut all = endpoints(&[1; 5]);
        let maglev = Balancing::Maglev { size: 65_537, key: HashKey::Address };
        for balancing in [ring_hash(1024, HashKey::Address), maglev] {
            let before = Placement::new(balancing, all.iter()).expect("a placement");
            let gone = all.pop().expect("one");
            let now = Placement::new(balancing, all.iter()).expect("a placement");
            let mut random = fastrand::Rng::with_seed(7);
            let mut moved = 0;
            for _ in 0..10_000 {
                let hash = random.u64(..);
                let was = before.pick(hash, 0);
                moved += usize::from(was != Some(4) && was != now.pick(hash, 0));
            }
            assert!(moved < 1000, "{balancing:?}: {moved} of 10,000 that need not");
            all.push(gone);
        }
        assert!(Placement::new(Balancing::Random, all.iter()).is_none());
        assert!(Placement::new(maglev, [].iter()).is_none());
    }
}

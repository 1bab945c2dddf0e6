//! How the endpoints of a cluster share its requests.

use super::slow_start::SlowStart;

/// How the endpoints of a cluster share its requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing {
    /// How one of several is picked.
    pub balancing: Balancing,
    /// Percent of the endpoints that must be in, or else all get requests (`healthy_panic_threshold`); `None` where
    /// nobody is ejected.
    pub panic_threshold: Option<u32>,
    /// Whether localities share requests by their weights (`locality_weighted_lb_config`).
    pub by_locality: bool,
    /// Whether those that are new get few requests at first. Not for algorithms that hash, or choose at random.
    pub slow_start: Option<SlowStart>,
}

impl From<Balancing> for Sharing {
    fn from(balancing: Balancing) -> Self {
        Self { balancing, ..Self::default() }
    }
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// The less busy of two random ones.
    LeastRequest,
    /// Any.
    Random,
    /// The next on a ring of hashes.
    RingHash {
        /// Fewest points on the ring.
        least: u64,
        /// Most points on the ring.
        most: u64,
        /// What is hashed of an endpoint.
        key: HashKey,
    },
    /// The one in Maglev's table.
    Maglev {
        /// Places in the table, a prime.
        size: u64,
        /// What is hashed of an endpoint.
        key: HashKey,
    },
}

/// What is hashed of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// Its address and port.
    #[default]
    Address,
    /// Its host name, where it has one.
    Hostname,
}

impl Balancing {
    /// Whether a request's hash says where it goes.
    #[must_use]
    pub fn hashes(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
}

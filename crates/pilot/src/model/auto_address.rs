//! Addresses for hosts of ServiceEntries that have none: what the sidecar's DNS proxy answers for their names, so that
//! connections tell by where they go which host is meant.
//!
//! They are of networks that nobody routes to: 240.240.0.0/16 (class E, RFC 1112 section 4) and 2001:2::f0f0:0/112 (of the
//! benchmarking network, RFC 5180 section 8). A host has the same address in every process whose hosts do not collide: its
//! place is a hash of its namespace and name, by the steps of Istio without its controller, but that one more object that
//! defines the host does not move it. Of two hosts that collide, the one that came first keeps its place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How many places there are, as in Istio.
const PLACES: u32 = 256 * 254;
/// The largest prime below that which Istio steps by where places are taken.
const PRIME: u32 = 65_011;
/// The last octet of an address is less.
const OCTET: u32 = 255;

/// Namespace and name of a host.
type Owner = (Arc<str>, Arc<str>);

/// The places that hosts have.
#[derive(Debug, Default)]
pub struct AutoAddresses {
    by_host: HashMap<Owner, Held>,
    taken: HashMap<u32, Owner>,
}

/// The place of a host, and how many objects define the host.
#[derive(Debug)]
struct Held {
    place: u32,
    users: usize,
}

impl AutoAddresses {
    /// The addresses of a host, for one more object that defines it; the one for IPv4 first. `None` where all are taken.
    pub fn take(&mut self, namespace: &Arc<str>, host: &Arc<str>) -> Option<[IpAddr; 2]> {
        let owner = (Arc::clone(namespace), Arc::clone(host));
        if let Some(held) = self.by_host.get_mut(&owner) {
            held.users += 1;
            return Some(addresses(held.place));
        }
        let place = self.free_place(&owner)?;
        self.taken.insert(place, owner.clone());
        self.by_host.insert(owner, Held { place, users: 1 });
        Some(addresses(place))
    }

    /// One object less defines a host. Its addresses are free when none does.
    pub fn leave(&mut self, namespace: &Arc<str>, host: &Arc<str>) {
        let owner = (Arc::clone(namespace), Arc::clone(host));
        let Some(held) = self.by_host.get_mut(&owner) else { return };
        held.users -= 1;
        if held.users == 0 {
            self.taken.remove(&held.place);
            self.by_host.remove(&owner);
        }
    }

    /// The first place that a host may have, of those in its order.
    fn free_place(&self, (namespace, host): &Owner) -> Option<u32> {
        let hash = fnv1a(&[namespace.as_bytes(), b"/", host.as_bytes()]);
        let step = PRIME - hash % PRIME;
        let mut tried = (1..PLACES).map(|n| hash.wrapping_add(n.wrapping_mul(step)) % (PLACES - 1));
        let found = tried.find(|place| self.is_free(*place));
        found.or_else(|| (0..PLACES).find(|place| self.is_free(*place)))
    }

    fn is_free(&self, place: u32) -> bool {
        // Many take an address that ends with 0 for that of a network.
        !(place + 1).is_multiple_of(OCTET) && !self.taken.contains_key(&place)
    }
}

/// Whether an address is one that hosts are given here.
#[must_use]
pub fn is_given(address: IpAddr) -> bool {
    let given = addresses(0);
    let in_network = |given: &IpAddr| match (given, address) {
        (IpAddr::V4(given), IpAddr::V4(own)) => given.octets()[..2] == own.octets()[..2],
        (IpAddr::V6(given), IpAddr::V6(own)) => given.segments()[..7] == own.segments()[..7],
        _ => false,
    };
    given.iter().any(in_network)
}

/// The addresses of a place.
fn addresses(place: u32) -> [IpAddr; 2] {
    let [.., third, fourth] = [((place + 1) / OCTET) as u8, ((place + 1) % OCTET) as u8];
    let last = u16::from_be_bytes([third, fourth]);
    [
        Ipv4Addr::new(240, 240, third, fourth).into(),
        Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, last).into(),
    ]
}

/// FNV-1a of 32 bits, as in Istio.
#[must_use]
pub fn fnv1a(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn take(all: &mut AutoAddresses, host: &str) -> Option<[IpAddr; 2]> {
        all.take(&"default".into(), &host.into())
    }

    #[test]
    fn a_host_has_the_address_that_istio_gives_it_where_two_objects_define_it() {
        let mut all = AutoAddresses::default();
        let [v4, v6] = take(&mut all, "istio.io").expect("a place");
        assert_eq!(v4, IpAddr::from([240, 240, 91, 120]));
        assert_eq!(v6.to_string(), "2001:2::f0f0:5b78");
        assert_eq!(take(&mut all, "istio.io"), Some([v4, v6]), "of another object");
    }

    #[test]
    fn places_are_free_again_when_nobody_has_them() {
        let mut all = AutoAddresses::default();
        let (namespace, host): (Arc<str>, Arc<str>) = ("a".into(), "b.example".into());
        let first = all.take(&namespace, &host);
        all.take(&namespace, &host);
        all.leave(&namespace, &host);
        assert_eq!(all.take(&namespace, &host), first);
        (0..3).for_each(|_| all.leave(&namespace, &host));
        assert!(all.taken.is_empty() && all.by_host.is_empty());
    }

    /// Every place is given to one host, and never one whose address ends with 0.
    #[test]
    fn hosts_never_share_an_address() {
        let mut all = AutoAddresses::default();
        let mut seen = HashSet::new();
        let most = (0..PLACES).filter(|place| !(place + 1).is_multiple_of(OCTET)).count();
        for number in 0..most {
            let [v4, v6] = take(&mut all, &format!("{number}.example")).expect("a place");
            assert!(seen.insert(v4) && seen.insert(v6), "{v4} {v6}");
            let IpAddr::V4(v4) = v4 else { panic!("{v4}") };
            assert_ne!(v4.octets()[3], 0);
        }
        assert_eq!(take(&mut all, "one.too.many"), None);
    }
}

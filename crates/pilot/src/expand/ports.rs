//! By which port of the gateway each port of a ServiceEntry goes.
//!
//! Requests and TLS say themselves whom they are for, and share ports. Plain bytes do not: a port of the gateway is for one port of one
//! ServiceEntry alone. That is the port's own number for the oldest ServiceEntry that wants it. Every further one has a port of
//! 20000 to 29999, which follows from its name: no order in which objects come makes a difference. What the gateway's
//! Service has that port for stays there, also when the older one goes.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_api::istio::ServiceEntry;
use tidegate_api::istio::service_entry::ServicePort;
use tidegate_api::{Object, ObjectKey};

use super::{Front, Wish};
use crate::model::age::Age;
use crate::model::auto_address::fnv1a;

/// Where requests and TLS are expected; plain bytes never have these.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
/// The ports of what cannot have its own number: below those of NodePorts and those that connections come from.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// How a port is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Http,
    Tls,
    Tcp,
}

impl Family {
    pub(super) fn of(port: &ServicePort) -> Option<Self> {
        match port.protocol? {
            protocol if protocol.is_http() => Some(Self::Http),
            protocol if protocol.is_tls() => Some(Self::Tls),
            protocol if protocol.is_tcp() => Some(Self::Tcp),
            _ => None,
        }
    }

    /// The field of a VirtualService with rules for it.
    pub(super) fn rules(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }
}

/// The gateway's port for one of a ServiceEntry, where connections say themselves whom they are for. `None` for plain bytes.
fn shared(entry: &ServiceEntry, wish: &Wish, port: &ServicePort, family: Family) -> Option<u16> {
    let alone = || entry.ports.iter().filter(|port| Family::of(port) == Some(family)).count() == 1;
    match family {
        Family::Http if alone() => Some(HTTP_PORT),
        Family::Tls if alone() => Some(HTTPS_PORT),
        Family::Tcp if !wish.mutual => None,
        _ => Some(port.number.get()),
    }
}

/// What a ServiceEntry wants of the ports of its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Claim {
    /// Those that others share.
    shared: Vec<u16>,
    /// Those of plain bytes.
    plain: Vec<u16>,
}

impl Claim {
    fn of(entry: &ServiceEntry, wish: &Wish) -> Self {
        let mut claim = Self::default();
        for port in &entry.ports {
            let Some(family) = Family::of(port) else { continue };
            match shared(entry, wish, port, family) {
                Some(HTTP_PORT | HTTPS_PORT) => {}
                Some(number) => claim.shared.push(number),
                None => claim.plain.push(port.number.get()),
            }
        }
        claim
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What ServiceEntries want of the ports of one gateway.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The oldest first, without those that only share ports 80 and 443.
    all: BTreeMap<Age, (ObjectKey, Claim)>,
}

impl Claims {
    /// Enters what a ServiceEntry wants, in place of what it wanted; whether that is anything else.
    pub fn enter(&mut self, object: &Object, entry: &ServiceEntry, wish: &Wish) -> bool {
        let (age, claim) = (Age::of(object), Claim::of(entry, wish));
        if self.all.get(&age).is_some_and(|(_, old)| *old == claim) {
            return false;
        }
        let had = self.leave(&object.key);
        if claim.is_empty() {
            return had;
        }
        self.all.insert(age, (object.key.clone(), claim));
        true
    }

    /// A ServiceEntry wants nothing any more; whether it did.
    pub fn leave(&mut self, key: &ObjectKey) -> bool {
        let before = self.all.len();
        self.all.retain(|_, (entry, _)| entry != key);
        self.all.len() != before
    }

    /// Whether nobody wants any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Who has which port, where the gateway's Service has these.
    #[must_use]
    pub fn settle(&self, front: Option<&Front>) -> BTreeMap<ObjectKey, Ports> {
        let shared = self.all.values().flat_map(|(_, claim)| &claim.shared).copied();
        let mut taken: BTreeSet<u16> = shared.chain([HTTP_PORT, HTTPS_PORT]).collect();
        let mut settled: BTreeMap<ObjectKey, Ports> = BTreeMap::new();
        for (key, claim) in self.all.values() {
            for number in &claim.plain {
                let further = further(key, *number, &taken);
                let is_there = front.is_some_and(|front| front.ports.contains(&further));
                let port = if is_there || taken.contains(number) { further } else { *number };
                taken.insert(port);
                settled.entry(key.clone()).or_default().plain.insert(*number, port);
            }
        }
        settled
    }
}

/// The port for what does not have its own number: the next that is free after that of its name.
fn further(key: &ObjectKey, number: u16, taken: &BTreeSet<u16>) -> u16 {
    let name = [&*key.namespace, &*key.name, &number.to_string()].join("/");
    let start = fnv1a(&[name.as_bytes()]) % u32::from(COUNT);
    let mut all = (0..COUNT).map(|n| FIRST + ((start + u32::from(n)) % u32::from(COUNT)) as u16);
    all.find(|port| !taken.contains(port)).unwrap_or(number)
}

/// The gateway's ports for the plain bytes of a ServiceEntry, which has one host then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// By its own.
    plain: BTreeMap<u16, u16>,
}

impl Ports {
    /// The gateway's port for one of a ServiceEntry.
    pub(super) fn of(
        &self,
        entry: &ServiceEntry,
        wish: &Wish,
        port: &ServicePort,
        family: Family,
    ) -> u16 {
        shared(entry, wish, port, family).unwrap_or_else(|| {
            let number = port.number.get();
            self.plain.get(&number).copied().unwrap_or(number)
        })
    }
}

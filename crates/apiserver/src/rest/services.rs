//! Virtual addresses and node ports: what one Service has, no other may have.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tidegate_api::kube::service::{self, Allocator};
use tidegate_api::{FieldError, Kind, ObjectKey, Spec};
use tokio::sync::MutexGuard;

use crate::store::{Entry, Expired, Store, Watch};

/// `10.96.0.0/16`; the first ones are for what the server itself shows.
const NETWORK: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const ADDRESSES: u32 = 1 << 16;
const RESERVED: u32 = 16;
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Writes of Services, one at a time: what is free when it is handed out is still free when it is stored.
#[derive(Debug, Default)]
pub(crate) struct Services {
    turn: tokio::sync::Mutex<()>,
    taken: Mutex<Option<Taken>>,
}

impl Services {
    /// Waits for the turn; writes of other kinds need none.
    pub(crate) async fn lock(&self, kind: Kind) -> Option<MutexGuard<'_, ()>> {
        match kind {
            Kind::Service => Some(self.turn.lock().await),
            _ => None,
        }
    }

    /// Gives a Service its address and ports. Call it, and store the result, within one turn.
    pub(crate) fn allocate(
        &self,
        store: &Store,
        value: &mut Value,
        old: Option<&Entry>,
    ) -> Result<(), Vec<FieldError>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken.get_or_insert_with(|| Taken::all(store));
        taken.follow(store);
        let mut free = taken.free_besides(old.map(Entry::key));
        let old = old.map(Entry::json);
        service::allocate(value, old.as_ref(), &mut free)
    }
}

/// What each Service has, followed from change to change: no Service is read again for each that is written.
#[derive(Debug)]
struct Taken {
    watch: Watch,
    of: HashMap<ObjectKey, Has>,
}

#[derive(Debug)]
struct Has {
    address: String,
    ports: Box<[u16]>,
}

impl Taken {
    fn all(store: &Store) -> Self {
        let all = store.list(Kind::Service, None);
        let watch = store.watch(Kind::Service, all.revision);
        let mut taken = Self { watch, of: HashMap::new() };
        for entry in &all.entries {
            taken.set(entry.key(), Some(entry));
        }
        taken
    }

    /// Takes in what has changed since it was asked last.
    fn follow(&mut self, store: &Store) {
        match self.watch.poll() {
            Ok(events) => {
                for event in events {
                    if let Some(key) = event.key() {
                        self.set(key, event.new.as_ref());
                    }
                }
            }
            Err(Expired { .. }) => *self = Self::all(store),
        }
    }

    fn set(&mut self, key: &ObjectKey, entry: Option<&Arc<Entry>>) {
        let object = entry.and_then(|entry| entry.decoded().ok());
        match object.as_ref().map(|object| &object.spec) {
            Some(Spec::Service(service)) => {
                let ports = service.spec.ports.iter().map(|port| port.node_port);
                let ports = ports.filter_map(|port| u16::try_from(port).ok()).collect();
                let has = Has { address: service.spec.cluster_ip.clone(), ports };
                self.of.insert(key.clone(), has);
            }
            _ => {
                self.of.remove(key);
            }
        }
    }

    /// What the others leave to one of them, or to a new one.
    fn free_besides(&self, own: Option<&ObjectKey>) -> Free {
        let mut free = Free { addresses: HashSet::new(), ports: HashSet::new() };
        for (_, has) in self.of.iter().filter(|(key, _)| Some(*key) != own) {
            free.addresses.insert(has.address.clone());
            free.ports.extend(&has.ports);
        }
        free
    }
}

/// What the other Services leave.
struct Free {
    addresses: HashSet<String>,
    ports: HashSet<u16>,
}

impl Allocator for Free {
    fn cluster_ip(&mut self, asked: Option<&str>) -> Result<String, String> {
        if let Some(asked) = asked {
            let address: Ipv4Addr = asked.parse().map_err(|_| "not a valid IP".to_owned())?;
            if u32::from(address) & !(ADDRESSES - 1) != NETWORK {
                return Err("the provided IP is not in the valid range. The range of valid IPs is 10.96.0.0/16".into());
            }
            return match self.addresses.insert(asked.to_owned()) {
                true => Ok(asked.to_owned()),
                false => Err("provided IP is already allocated".into()),
            };
        }
        let start = fastrand::u32(RESERVED..ADDRESSES - 1);
        // The last address of the network is its broadcast address.
        (0..ADDRESSES)
            .map(|step| RESERVED + (start + step) % (ADDRESSES - 1 - RESERVED))
            .map(|host| Ipv4Addr::from(NETWORK | host).to_string())
            .find(|address| self.addresses.insert(address.clone()))
            .ok_or_else(|| "range is full".into())
    }

    fn node_port(&mut self, asked: Option<u16>) -> Result<u16, String> {
        if let Some(asked) = asked {
            if !NODE_PORTS.contains(&asked) {
                return Err("provided port is not in the valid range. The range of valid ports is 30000-32767".into());
            }
            return match self.ports.insert(asked) {
                true => Ok(asked),
                false => Err("provided port is already allocated".into()),
            };
        }
        let start = fastrand::u16(NODE_PORTS);
        (start..=*NODE_PORTS.end())
            .chain(*NODE_PORTS.start()..start)
            .find(|port| self.ports.insert(*port))
            .ok_or_else(|| "range is full".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> Free {
        Free { addresses: HashSet::from(["10.96.0.20".to_owned()]), ports: HashSet::from([30_001]) }
    }

    #[test]
    fn hands_out_nothing_twice() {
        let mut free = free();
        let taken = free.cluster_ip(Some("10.96.0.20"));
        assert_eq!(taken, Err("provided IP is already allocated".into()));
        assert!(free.cluster_ip(Some("10.97.0.1")).is_err());
        assert!(free.cluster_ip(Some("x")).is_err());
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(free.cluster_ip(None).expect("a free one")));
        }
        assert!(!seen.contains("10.96.0.20"));
        assert!(free.node_port(Some(30_001)).is_err());
        assert!(free.node_port(Some(80)).is_err());
        let mut ports = HashSet::new();
        while let Ok(port) = free.node_port(None) {
            assert!(ports.insert(port));
        }
        assert_eq!(ports.len(), NODE_PORTS.len() - 1);
    }
}

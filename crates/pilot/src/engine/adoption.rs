//! Gateways that nobody names: which hosts they take of those that are answered in plain HTTP (see [`super::reach`]).
//!
//! A host is taken with all who answer it there, and with nobody else: `https://` leads nowhere that `http://` does
//! not. Where plain HTTP is spoken at several ports, the lowest that answers a host decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::intake::gateway_key;
use super::route_table::Row;
use super::{Dirty, Index, Pilot, RouteTable};
use crate::model::gateway::Server;
use crate::model::host::{Host, HostSet};

/// What a Gateway that nobody names takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adoption {
    /// Hosts by the VirtualServices that answer them in plain HTTP.
    pub(super) taken: BTreeMap<ObjectKey, BTreeSet<Host>>,
    /// Hosts under a wider one of those that plain HTTP knows apart: nobody answers for them by the wider one, and with
    /// 404 where nobody takes them.
    pub(super) apart: BTreeSet<Host>,
}

impl Pilot {
    /// Finds out again what the marked Gateways take; marks those for which that is something else.
    pub(super) fn adopt(&mut self, dirty: &mut Dirty) {
        for gateway in std::mem::take(&mut dirty.adopters) {
            let now = self.adoption(&gateway);
            if self.index.set_adoption(&gateway, now) {
                dirty.status.extend(gateway_key(&gateway));
                dirty.reclaimed.insert(gateway);
            }
        }
    }

    fn adoption(&self, gateway: &Arc<str>) -> Adoption {
        let mut adoption = Adoption::default();
        let Some(key) = gateway_key(gateway) else { return adoption };
        let namespace = &key.namespace;
        let found = self.index.gateway(&key).filter(|_| self.index.is_unnamed(gateway));
        let servers = found.into_iter().flat_map(|found| &found.servers);
        let https: Vec<&Arc<Server>> = servers.filter(|s| s.https_terms().is_some()).collect();
        if https.is_empty() {
            return adoption;
        }
        let plain = self.tables.values().filter(|table| table.is_plain_for(namespace));
        let mut plain: Vec<&RouteTable> = plain.collect();
        plain.sort_by_key(|table| table.servers().first().map(|server| server.port));
        let mut known = HashMap::new();
        for (at, table) in plain.iter().enumerate() {
            for (host, row) in table.rows() {
                let shared = https.iter().flat_map(|server| {
                    server.hosts.shared_with(std::slice::from_ref(host), namespace)
                });
                let shared: BTreeSet<Host> = shared
                    .filter(|shared| table.narrowest(shared).as_ref() == Some(host))
                    .filter(|shared| plain[..at].iter().all(|t| t.narrowest(shared).is_none()))
                    .collect();
                if shared.is_empty() {
                    continue;
                }
                if is_open(&row, &key, &self.index, &mut known) {
                    for (_, service) in row.claimants() {
                        let taken = adoption.taken.entry(service.clone()).or_default();
                        taken.extend(shared.iter().cloned());
                    }
                }
                adoption.apart.extend(shared);
            }
        }
        let taken: HostSet = adoption.taken.values().flatten().cloned().collect();
        adoption.apart.retain(|host| host.wider().any(|wider| taken.contains(&wider)));
        adoption
    }
}

/// Whether a host is answered in plain text by VirtualServices of a Gateway's namespace alone, at Gateways of the same, none of
/// which asks TLS for any host of theirs, or sends there; but that Gateway itself may send there. `known` keeps what was found of each VirtualService.
fn is_open<'a>(
    row: &Row<'a>,
    gateway: &ObjectKey,
    index: &Index,
    known: &mut HashMap<&'a ObjectKey, bool>,
) -> bool {
    let mut opens = |key: &'a ObjectKey| {
        let open = || {
            let service = index.virtual_service(key);
            service.is_some_and(|service| !index.is_stray(key) && index.is_in_plain_text(service))
        };
        *known.entry(key).or_insert_with(open)
    };
    let namespace = &gateway.namespace;
    row.redirectors().all(|server| server.key == *gateway)
        && row.claimants().next().is_some()
        && row.claimants().all(|(server, service)| {
            server.key.namespace == *namespace && service.namespace == *namespace && opens(service)
        })
}

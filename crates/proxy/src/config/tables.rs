//! The route configurations that are served: those with all their virtual hosts inside, and those whose
//! virtual hosts are resources of their own, so that a change of one costs one.
//!
//! A route configuration that is refused leaves its old form in place; so does a virtual host. Where a virtual
//! host of its own and one inside a new form of the route configuration claim the same domain, the one inside
//! has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_envoy::capability::Finding;
use tidegate_envoy::v3::route::{RouteConfiguration, VirtualHost as ProtoHost};
use tidegate_xds::{Resource, ResourceType};

use crate::route::{DomainTaken, HostChange, RouteTable, VirtualHost};

use super::compile::{self, Links, TableLevel};
use super::judge::{Judged, judge, judge_named};
use super::listener::RouteSlot;
use super::record::Records;
use super::refusal::Refusal;
use super::slots::Slots;
use super::split::split_route_configuration;

/// The route configurations by name.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: BTreeMap<Arc<str>, Table>,
    current: Arc<BTreeMap<Arc<str>, Arc<RouteSlot>>>,
    /// The slots of those that are gone, filled as long as chains point to them.
    gone: BTreeMap<Arc<str>, Arc<RouteSlot>>,
}

/// What an update changes in one route configuration.
#[derive(Debug, Default)]
pub(super) struct TableChange {
    /// The route configuration itself: a new form, or that it is gone.
    pub skeleton: Option<Option<Arc<Resource>>>,
    /// Virtual hosts that are resources of their own, by the resource's name: likewise.
    pub hosts: Vec<(Arc<str>, Option<Arc<Resource>>)>,
}

#[derive(Debug)]
struct Table {
    slot: Arc<RouteSlot>,
    /// The form that is served; `None` until there is one.
    served: Option<Skeleton>,
    /// Virtual hosts that are resources of their own, by the resource's name.
    own: BTreeMap<Arc<str>, OwnHost>,
}

/// A route configuration as it is served, without the virtual hosts that are resources of their own.
#[derive(Debug)]
struct Skeleton {
    bytes: Bytes,
    level: TableLevel,
    /// The virtual hosts inside.
    hosts: Vec<InnerHost>,
}

/// A virtual host inside a route configuration.
#[derive(Clone, Debug)]
struct InnerHost {
    form: Bytes,
    host: Arc<VirtualHost>,
    notices: Vec<Finding>,
}

#[derive(Debug)]
struct OwnHost {
    resource: Arc<Resource>,
    notices: Vec<Finding>,
    /// Compiled; `None` while there is no route configuration around it.
    host: Option<Arc<VirtualHost>>,
    /// Whether it is good but for a domain that another one has.
    waits: bool,
    /// Whether what is around it now refuses it, so that what was compiled before serves on.
    outdated: bool,
}

impl Tables {
    /// The slots of the route configurations that are served, by name.
    pub fn current(&self) -> &Arc<BTreeMap<Arc<str>, Arc<RouteSlot>>> {
        &self.current
    }

    /// Applies what changes in the route configuration of a name.
    pub fn change(
        &mut self,
        name: &Arc<str>,
        change: TableChange,
        slots: &mut Slots,
        records: &Records,
    ) {
        let table = self.tables.entry(Arc::clone(name)).or_insert_with(|| Table {
            slot: slots.routes(name),
            served: None,
            own: BTreeMap::new(),
        });
        table.change(name, change, slots, records);
        let was_served = self.current.contains_key(name);
        let is_served = table.served.is_some();
        if is_served && !was_served {
            Arc::make_mut(&mut self.current).insert(Arc::clone(name), Arc::clone(&table.slot));
            self.gone.remove(name);
        }
        if !is_served && was_served {
            Arc::make_mut(&mut self.current).remove(name);
            self.gone.insert(Arc::clone(name), Arc::clone(&table.slot));
        }
        if !is_served && table.own.is_empty() {
            self.tables.remove(name);
        }
    }

    /// Empties the slots of route configurations that are gone, but for those that are `used`: as by Envoy, whoever points
    /// to one keeps it.
    pub fn let_go(&mut self, used: impl FnOnce() -> HashSet<Arc<str>>) {
        if self.gone.is_empty() {
            return;
        }
        let used = used();
        self.gone.retain(|name, slot| {
            let is_used = used.contains(name);
            if !is_used {
                slot.table.store(Arc::default());
            }
            is_used
        });
    }
}

impl Table {
    fn change(
        &mut self,
        name: &Arc<str>,
        change: TableChange,
        slots: &mut Slots,
        records: &Records,
    ) {
        let whole = match change.skeleton {
            Some(Some(resource)) => self.put_skeleton(&resource, slots, records),
            Some(None) => {
                records.remove(ResourceType::RouteConfiguration, name);
                self.served = None;
                true
            }
            None => false,
        };
        let mut changes = Vec::new();
        for (key, resource) in change.hosts {
            match resource {
                Some(resource) => changes.extend(self.put_host(resource, slots, records)),
                None => {
                    records.remove(ResourceType::VirtualHost, &key);
                    if self.own.remove(&key).is_some() {
                        changes.push(HostChange::Remove(key));
                    }
                }
            }
        }
        if whole {
            self.compile_own(slots, records);
            self.rebuild(records);
        } else if self.served.is_some() {
            self.swap(changes, records);
        }
    }

    /// Takes a new form of the route configuration if it is good; tells whether it was.
    fn put_skeleton(
        &mut self,
        resource: &Arc<Resource>,
        slots: &mut Slots,
        records: &Records,
    ) -> bool {
        match compile_skeleton(resource, self.served.as_ref(), slots) {
            Ok((skeleton, notices)) => {
                records.serve(resource, notices);
                self.served = Some(skeleton);
                true
            }
            Err(refusals) => {
                records.refuse(resource, refusals);
                false
            }
        }
    }

    /// Takes a new form of a virtual host if it is good.
    fn put_host(
        &mut self,
        resource: Arc<Resource>,
        slots: &mut Slots,
        records: &Records,
    ) -> Option<HostChange> {
        let key = Arc::clone(&resource.name);
        let host = match &self.served {
            // It is judged when the route configuration comes.
            None => None,
            Some(served) => match compile_host(&resource.bytes, &served.level, slots) {
                Ok(judged) => Some(judged),
                Err(refusals) => {
                    records.refuse(&resource, refusals);
                    return None;
                }
            },
        };
        let (host, notices) = host.map(|judged| (judged.message, judged.notices)).unzip();
        let own = OwnHost {
            resource,
            notices: notices.unwrap_or_default(),
            host: host.clone(),
            waits: false,
            outdated: false,
        };
        self.own.insert(Arc::clone(&key), own);
        host.map(|host| HostChange::Put(key, host))
    }

    /// Compiles the virtual hosts that are resources of their own again, for a new form of what is around.
    fn compile_own(&mut self, slots: &mut Slots, records: &Records) {
        let Some(served) = &self.served else {
            self.own.values_mut().for_each(|own| own.host = None);
            return;
        };
        for own in self.own.values_mut() {
            match compile_host(&own.resource.bytes, &served.level, slots) {
                Ok(Judged { message, notices }) => {
                    own.host = Some(message);
                    own.notices = notices;
                    own.outdated = false;
                }
                Err(refusals) => {
                    records.refuse(&own.resource, refusals);
                    own.outdated = true;
                }
            }
        }
    }

    /// Makes the table from nothing. One that is gone stays as it was, for those who use it.
    fn rebuild(&mut self, records: &Records) {
        let Some(served) = &self.served else { return };
        let inside = put_inner(&served.hosts);
        let own = self.own.iter().filter_map(|(key, own)| {
            Some(HostChange::Put(Arc::clone(key), Arc::clone(own.host.as_ref()?)))
        });
        let changes = inside.chain(own).collect();
        let table = RouteTable::default().ignoring_port(served.level.ignore_port);
        let (table, refused) = table.with(changes);
        self.slot.table.store(Arc::new(table));
        let all: Vec<_> = self.own.keys().cloned().collect();
        self.settle(all, &refused, records);
    }

    /// Swaps single virtual hosts. Those that wait for a domain get another chance.
    fn swap(&mut self, mut changes: Vec<HostChange>, records: &Records) {
        if changes.is_empty() {
            return;
        }
        let changed: Vec<_> = changes.iter().map(|change| Arc::clone(change.key())).collect();
        let waiting = self.own.iter().filter(|(key, own)| own.waits && !changed.contains(key));
        changes.extend(waiting.filter_map(|(key, own)| {
            Some(HostChange::Put(Arc::clone(key), Arc::clone(own.host.as_ref()?)))
        }));
        let keys: Vec<_> = changes.iter().map(|change| Arc::clone(change.key())).collect();
        let (table, refused) = self.slot.table.load().with(changes);
        self.slot.table.store(Arc::new(table));
        self.settle(keys, &refused, records);
    }

    /// Records what became of virtual hosts that are resources of their own.
    fn settle(&mut self, keys: Vec<Arc<str>>, refused: &[DomainTaken], records: &Records) {
        let refused: HashMap<_, _> = refused.iter().map(|taken| (&taken.key, taken)).collect();
        for key in keys {
            let Some(own) = self.own.get_mut(&key) else { continue };
            match refused.get(&key) {
                Some(taken) => {
                    own.waits = true;
                    let refusal = Refusal::of(&format!("domains[{}]", taken.place), taken);
                    records.refuse(&own.resource, vec![refusal]);
                }
                None => {
                    own.waits = false;
                    if own.host.is_some() && !own.outdated {
                        records.settle(&own.resource, &own.notices);
                    }
                }
            }
        }
    }
}

/// Puts the virtual hosts inside a route configuration, each under its place: no name of a resource is a
/// number.
fn put_inner(hosts: &[InnerHost]) -> impl Iterator<Item = HostChange> {
    let numbered = hosts.iter().enumerate();
    numbered
        .map(|(place, inner)| HostChange::Put(place.to_string().into(), Arc::clone(&inner.host)))
}

/// Compiles a route configuration with the virtual hosts inside it. Those that have the same form as in
/// `before`, in the same surroundings, are taken over.
fn compile_skeleton(
    resource: &Resource,
    before: Option<&Skeleton>,
    slots: &mut Slots,
) -> Result<(Skeleton, Vec<Finding>), Vec<Refusal>> {
    let (bytes, forms) =
        split_route_configuration(&resource.bytes).map_err(|error| vec![Refusal::new(error)])?;
    let around = Resource::new(resource.kind, Arc::clone(&resource.name), bytes.clone());
    let Judged { message, mut notices } =
        judge_named(&around, |message: &RouteConfiguration| &message.name)?;
    if message.validate_clusters == Some(true) {
        let reason = "clusters of routes that come by themselves may come later: leave it out";
        return Err(vec![Refusal::of("validate_clusters", reason)]);
    }
    let level = compile::table_level(&message).map_err(|refusal| vec![refusal])?;
    let same: HashMap<&Bytes, &InnerHost> = before
        .filter(|before| before.bytes == bytes)
        .map(|before| before.hosts.iter().map(|inner| (&inner.form, inner)).collect())
        .unwrap_or_default();
    let compile = |form: Bytes| match same.get(&form) {
        Some(inner) => Ok((*inner).clone()),
        None => compile_host(&form, &level, slots)
            .map(|Judged { message: host, notices }| InnerHost { form, host, notices }),
    };
    let hosts = all_or_refusals(forms.into_iter().map(compile))?;
    let (_, taken) = RouteTable::default().with(put_inner(&hosts).collect());
    if !taken.is_empty() {
        let refusal = |taken: &DomainTaken| {
            Refusal::of(&format!("virtual_hosts[{}].domains[{}]", taken.key, taken.place), taken)
        };
        return Err(taken.iter().map(refusal).collect());
    }
    for (place, inner) in hosts.iter().enumerate() {
        notices.extend(inner.notices.iter().map(|notice| Finding {
            path: format!("virtual_hosts[{place}].{}", notice.path),
            reason: notice.reason.clone(),
        }));
    }
    Ok((Skeleton { bytes, level, hosts }, notices))
}

/// All virtual hosts, or every refusal of any of them.
fn all_or_refusals(
    hosts: impl Iterator<Item = Result<InnerHost, Vec<Refusal>>>,
) -> Result<Vec<InnerHost>, Vec<Refusal>> {
    let mut good = Vec::new();
    let mut refusals = Vec::new();
    for (place, host) in hosts.enumerate() {
        match host {
            Ok(host) => good.push(host),
            Err(found) => {
                let outer = format!("virtual_hosts[{place}]");
                refusals.extend(found.into_iter().map(|refusal| refusal.within(&outer)));
            }
        }
    }
    if refusals.is_empty() { Ok(good) } else { Err(refusals) }
}

fn compile_host(
    bytes: &[u8],
    level: &TableLevel,
    slots: &mut Slots,
) -> Result<Judged<Arc<VirtualHost>>, Vec<Refusal>> {
    let Judged { message, notices } = judge::<ProtoHost>(bytes)?;
    let message = compile::virtual_host(&message, level, slots).map_err(|refusal| vec![refusal])?;
    Ok(Judged { message, notices })
}

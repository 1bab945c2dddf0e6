//! The route configurations that are served: those with all their virtual hosts inside, and those whose
//! virtual hosts are resources of their own, so that a change of one costs one.
//!
//! A route configuration that is refused leaves its old form in place. A virtual host that is refused leaves its old
//! routes in place, and what its new form asks of requests holds for them ([`super::stand_in`]). Where a virtual host of
//! its own and one inside a new form of the route configuration claim the same domain, the one inside has it.

use std::cell::LazyCell;
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
use super::stand_in;

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
    /// The newest form, good or refused.
    newest: Arc<Resource>,
    /// The last form that was served, if there was one: of a good one all, of another what stood in for it.
    good: Option<Bytes>,
    /// What is wrong with the newest form: something stands in for it, or for a part of it.
    refusals: Vec<Refusal>,
    notices: Vec<Finding>,
    /// Compiled; `None` while there is no route configuration around it.
    host: Option<Arc<VirtualHost>>,
    /// Whether another one has a domain of it.
    waits: bool,
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
    /// to one keeps it. One that refuses what it does not name goes on refusing, for the connections that still have it: of the
    /// rest only what others serve stays.
    pub fn let_go(&mut self, used: impl FnOnce() -> HashSet<Arc<str>>) {
        if self.gone.is_empty() {
            return;
        }
        let used = used();
        let mut gone = std::mem::take(&mut self.gone);
        let served = LazyCell::new(|| self.host_names());
        gone.retain(|name, slot| {
            let table = slot.table.load_full();
            let rest = match table.denies() {
                true => table.retaining(|host| host.denies() || served.contains(&host.name)),
                false if used.contains(name) => return true,
                false => RouteTable::default(),
            };
            slot.table.store(Arc::new(rest));
            false
        });
        self.gone = gone;
    }

    /// The names of all virtual hosts that are served.
    fn host_names(&self) -> HashSet<Arc<str>> {
        let tables = self.current.values().map(|slot| slot.table.load_full());
        let names = |table: Arc<RouteTable>| -> Vec<Arc<str>> {
            table.virtual_hosts().map(|host| Arc::clone(&host.name)).collect()
        };
        tables.flat_map(names).collect()
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
        let terms = self.served.as_ref().map(|served| served.level.terms.clone());
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
                Some(resource) => changes.push(self.put_host(resource, slots, records)),
                None => {
                    records.remove(ResourceType::VirtualHost, &key);
                    if self.own.remove(&key).is_some() {
                        changes.push(HostChange::Remove(key));
                    }
                }
            }
        }
        if whole {
            let now = self.served.as_ref().map(|served| &served.level.terms);
            self.compile_own(terms.as_ref() != now, slots, records);
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

    /// Takes a new form of a virtual host, or what stands in for it.
    fn put_host(
        &mut self,
        resource: Arc<Resource>,
        slots: &mut Slots,
        records: &Records,
    ) -> HostChange {
        let key = Arc::clone(&resource.name);
        let before = self.own.remove(&key);
        let mut own = OwnHost::new(resource, before);
        if let Some(served) = &self.served {
            own.compile(&served.level, true, slots, records);
        }
        let host = own.host.clone();
        self.own.insert(Arc::clone(&key), own);
        match host {
            Some(host) => HostChange::Put(key, host),
            // It has no domains, or waits for the route configuration.
            None => HostChange::Remove(key),
        }
    }

    /// Compiles the virtual hosts that are resources of their own again, for a new form of what is around: `stricter` is
    /// whether that asks something else of requests than before.
    fn compile_own(&mut self, stricter: bool, slots: &mut Slots, records: &Records) {
        for own in self.own.values_mut() {
            match &self.served {
                Some(served) => own.compile(&served.level, stricter, slots, records),
                None => own.host = None,
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
        let (table, refused) = self.put(&table, changes);
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
        let (table, refused) = self.put(&self.slot.table.load(), changes);
        self.slot.table.store(Arc::new(table));
        self.settle(keys, &refused, records);
    }

    /// The table after changes, and the virtual hosts of which another has a domain: that costs them this domain alone, as
    /// an old form might ask less of requests for the others.
    fn put(&self, table: &RouteTable, changes: Vec<HostChange>) -> (RouteTable, Vec<DomainTaken>) {
        let (table, refused) = table.with(changes);
        let old_forms = refused.iter().map(|taken| HostChange::Remove(Arc::clone(&taken.key)));
        let (mut table, _) = table.with(old_forms.collect());
        let mut first_taken = Vec::new();
        for DomainTaken { key, .. } in refused {
            let Some(host) = self.own.get(&key).and_then(|own| own.host.as_ref()) else { continue };
            let mut left = Arc::clone(host);
            let mut first = None;
            while !left.domains.is_empty() {
                let change = HostChange::Put(Arc::clone(&key), Arc::clone(&left));
                let (next, taken) = table.with(vec![change]);
                table = next;
                let Some(taken) = taken.into_iter().next() else { break };
                left = Arc::new(left.without_domain(taken.place));
                first.get_or_insert(taken);
            }
            first_taken.extend(first);
        }
        (table, first_taken)
    }

    /// Records what became of virtual hosts that are resources of their own.
    fn settle(&mut self, keys: Vec<Arc<str>>, refused: &[DomainTaken], records: &Records) {
        let refused: HashMap<_, _> = refused.iter().map(|taken| (&taken.key, taken)).collect();
        for key in keys {
            let Some(own) = self.own.get_mut(&key) else { continue };
            own.settle(refused.get(&key).copied(), records);
        }
    }
}

impl OwnHost {
    /// A form that has not been looked at, in the place of one before. What was compiled of that stays until it is.
    fn new(newest: Arc<Resource>, before: Option<Self>) -> Self {
        let (good, host) = before.map(|before| (before.good, before.host)).unwrap_or_default();
        Self { newest, good, refusals: Vec::new(), notices: Vec::new(), host, waits: false }
    }

    /// Compiles the newest form, or what stands in for it. What was compiled of it before may do that unless what is around
    /// it is `stricter`.
    fn compile(
        &mut self,
        level: &TableLevel,
        stricter: bool,
        slots: &mut Slots,
        records: &Records,
    ) {
        let newest = self.newest.bytes.clone();
        let refusals = match compile_host(&newest, level, slots) {
            Ok(judged) => return self.serve(newest, judged, Vec::new()),
            Err(refusals) => refusals,
        };
        if self.host.is_some() && !stricter {
            self.refusals.clone_from(&refusals);
            return records.refuse(&self.newest, refusals);
        }
        let good = self.good.as_ref();
        let each = |form: &Bytes| compile_host(form, level, slots).map(|_| ());
        let refusals = match stand_in::mended(&newest, good, refusals, each) {
            Ok((form, faults)) => match compile_host(&form, level, slots) {
                Ok(judged) => {
                    records.serve(&self.newest, judged.notices.clone());
                    records.refuse(&self.newest, faults.clone());
                    return self.serve(form, judged, faults);
                }
                Err(refusals) => refusals,
            },
            Err(refusals) => refusals,
        };
        let old_routes = good
            .and_then(|good| stand_in::old_routes(&newest, good))
            .and_then(|form| Some(compile_host(&form, level, slots).ok()?.message));
        if let (Some(now), Some(before)) = (&old_routes, &self.host) {
            now.go_on(before);
        }
        self.host = old_routes;
        self.refusals.clone_from(&refusals);
        if self.host.is_some() {
            records.refuse(&self.newest, refusals);
        } else {
            records.close(&self.newest, refusals);
            self.host = stand_in::closed(&newest);
        }
    }

    fn serve(&mut self, form: Bytes, judged: Judged<Arc<VirtualHost>>, refusals: Vec<Refusal>) {
        self.good = Some(form);
        self.refusals = refusals;
        self.notices = judged.notices;
        if let Some(before) = &self.host {
            judged.message.go_on(before);
        }
        self.host = Some(judged.message);
    }

    /// Records what became of it: `taken` is a domain that another one has.
    fn settle(&mut self, taken: Option<&DomainTaken>, records: &Records) {
        let waited = std::mem::replace(&mut self.waits, taken.is_some());
        let mut refusals = self.refusals.clone();
        refusals
            .extend(taken.map(|taken| Refusal::of(&format!("domains[{}]", taken.place), taken)));
        if self.host.is_some() && refusals.is_empty() {
            records.settle(&self.newest, &self.notices);
        } else if taken.is_some() || waited && !refusals.is_empty() {
            records.refuse(&self.newest, refusals);
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
        None => compile_host(&form, &level, slots).map(|Judged { message: host, notices }| {
            let mut old = before.into_iter().flat_map(|before| &before.hosts);
            if let Some(old) = old.find(|old| old.host.name == host.name) {
                host.go_on(&old.host);
            }
            InnerHost { form, host, notices }
        }),
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

//! Second and third step: merge touched ports again, and move VirtualServices between virtual hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use super::credentials::{Use, User};
use super::intake::gateway_key;
use super::{Dirty, Pilot, RouteTable};
use crate::Compiled;
use crate::model::host::Host;
use crate::model::merge::{ListenerPlan, PortPlan, RoutePlan, merge};
use crate::model::names;

impl Pilot {
    /// Merges the Gateways of touched ports, brings the credentials that they take, and marks listeners and route tables that
    /// came out different.
    pub(super) fn plan(&mut self, dirty: &mut Dirty, compiled: &mut Compiled) {
        let mut merged: BTreeMap<u16, PortPlan> = BTreeMap::new();
        for port in std::mem::take(&mut dirty.ports) {
            let now = self.merged(port);
            self.uses(port, &now, dirty);
            merged.insert(port, now);
        }
        // Which servers there are says which credentials are taken; who of them can hold a handshake says the rest.
        self.bring(dirty, compiled);
        for port in std::mem::take(&mut dirty.ports) {
            merged.entry(port).or_insert_with(|| self.merged(port));
        }
        for (port, mut now) in merged {
            now.lay_out(|credential| self.credentials.usable(credential));
            let before = self.ports.remove(&port).unwrap_or_default();
            for refusal in before.refused.iter().chain(&now.refused) {
                dirty.status.insert(refusal.server.key.clone());
                dirty.status.extend(self.index.naming(&refusal.server.gateway).cloned());
            }
            self.replace_listeners(&before, &now, dirty);
            if now != PortPlan::default() {
                self.ports.insert(port, now);
            }
        }
    }

    /// The servers of a port, in their places.
    fn merged(&self, port: u16) -> PortPlan {
        if port < self.options.lowest_port {
            return PortPlan::default(); // Told in the Gateways' status.
        }
        merge(port, self.index.servers_on(port), &self.options.address.to_string())
    }

    fn replace_listeners(&mut self, before: &PortPlan, now: &PortPlan, dirty: &mut Dirty) {
        let name = |plan: &PortPlan| -> BTreeSet<Arc<str>> {
            plan.listeners.iter().map(|l| Arc::clone(&l.name)).collect()
        };
        let routes = |plan: &PortPlan| -> BTreeSet<Arc<str>> {
            plan.listeners.iter().flat_map(|l| &l.routes).map(|r| Arc::clone(&r.name)).collect()
        };
        let (names_before, names_now) = (name(before), name(now));
        if names_before != names_now || routes(before) != routes(now) {
            // What is there is told to those that match nothing.
            dirty.status.extend(self.filters.keys().cloned());
        }
        for gone in before.listeners.iter().filter(|l| !names_now.contains(&l.name)) {
            self.listeners.unlink(gone);
            dirty.status.extend(self.listeners.remove(&gone.name));
            self.outbox.remove(ResourceType::Listener, names::over_udp(&gone.name));
            self.outbox.remove(ResourceType::Listener, Arc::clone(&gone.name));
            gone.routes.iter().for_each(|routes| self.remove_table(&routes.name));
        }
        let old: BTreeMap<&str, &ListenerPlan> =
            before.listeners.iter().map(|l| (&*l.name, l)).collect();
        for plan in &now.listeners {
            let was = old.get(&*plan.name).copied();
            if was == Some(plan) {
                continue;
            }
            if let Some(was) = was {
                self.listeners.unlink(was);
                let names: HashSet<&str> = plan.routes.iter().map(|routes| &*routes.name).collect();
                if was.routes.is_empty() != plan.routes.is_empty() {
                    // Whether it is opened, for all who share it.
                    let servers = was.servers.iter().chain(&plan.servers);
                    dirty.status.extend(servers.map(|server| server.key.clone()));
                }
                for gone in was.routes.iter().filter(|routes| !names.contains(&*routes.name)) {
                    self.remove_table(&gone.name);
                }
            }
            self.listeners.set(plan.clone());
            // A plain HTTP listener looks the same whatever its servers are.
            let plain = |plan: &ListenerPlan| {
                let routes = plan.routes.first().filter(|_| plan.is_plain_http());
                routes.map(|routes| Arc::clone(&routes.name))
            };
            let same = was.and_then(plain).is_some_and(|was| plain(plan) == Some(was))
                && was.map(|was| self.egress_port(was)) == Some(self.egress_port(plan));
            if !same || !names_before.contains(&plan.name) {
                dirty.listeners.insert(Arc::clone(&plan.name));
            }
            let before: HashMap<&str, &RoutePlan> =
                was.into_iter().flat_map(|was| &was.routes).map(|r| (&*r.name, r)).collect();
            for routes in &plan.routes {
                if before.get(&*routes.name) != Some(&routes) {
                    self.replace_table(routes, dirty);
                }
            }
        }
    }

    /// Notes which credentials a port's servers take, in place of those that they took before.
    fn uses(&mut self, port: u16, now: &PortPlan, dirty: &mut Dirty) {
        let uses = |plan: &PortPlan| -> BTreeSet<Use> {
            let mut uses = BTreeSet::new();
            let listeners = plan.listeners.iter();
            for (plan, server) in listeners.flat_map(|p| p.servers.iter().map(move |s| (p, s))) {
                for credential in server.terms().into_iter().flat_map(|terms| terms.credentials()) {
                    let listener = Arc::clone(&plan.name);
                    let user = User::Gateway { key: server.key.clone(), listener };
                    uses.insert((credential.clone(), user));
                }
            }
            uses
        };
        let before = self.ports.get(&port).map(uses).unwrap_or_default();
        dirty.credentials.extend(self.credentials.replace(&before, &uses(now)));
    }

    fn replace_table(&mut self, plan: &RoutePlan, dirty: &mut Dirty) {
        let table = self.tables.entry(Arc::clone(&plan.name)).or_insert_with(|| {
            dirty.skeletons.insert(Arc::clone(&plan.name));
            RouteTable::default()
        });
        table.set_plan(plan, &self.index, &self.options);
        dirty.tables.insert(Arc::clone(&plan.name));
    }

    fn remove_table(&mut self, routes: &Arc<str>) {
        let Some(table) = self.tables.remove(routes) else { return };
        self.outbox.remove(ResourceType::RouteConfiguration, Arc::clone(routes));
        for host in table.names() {
            let host = virtual_host_name(routes, &host);
            self.shadows.forget(&host);
            self.patches.removals.forget(&host);
            self.outbox.remove(ResourceType::VirtualHost, host);
        }
    }

    /// Brings the claims of touched VirtualServices up to date, and marks what carries their connections.
    pub(super) fn route(&mut self, dirty: &mut Dirty) {
        for (key, before) in std::mem::take(&mut dirty.services) {
            let service = self.index.virtual_service(&key);
            let says_else = dirty.replaced.contains(&key);
            let reach = service.map(|service| self.index.reach(service)).unwrap_or_default();
            let now = reach.iter().map(|(gateway, _)| gateway);
            let gateways: BTreeSet<&Arc<str>> = before.gateways.iter().chain(now).collect();
            let own = service.into_iter().flat_map(|service| &service.hosts);
            let hosts: BTreeSet<&Host> = before.hosts.iter().chain(own).collect();
            // They are told about those who reach them, or do no more.
            dirty.status.extend(gateways.iter().filter_map(|gateway| gateway_key(gateway)));
            let tables: BTreeSet<&Arc<str>> = gateways
                .iter()
                .flat_map(|g| self.listeners.tables_for(g, hosts.iter().copied()).into_keys())
                .collect();
            for name in tables {
                if let Some(table) = self.tables.get_mut(name)
                    && table.set_service(
                        &key,
                        service.map(|s| &**s),
                        &reach,
                        says_else,
                        &self.options,
                    )
                {
                    dirty.tables.insert(Arc::clone(name));
                }
            }
        }
        for gateway in std::mem::take(&mut dirty.reclaimed) {
            self.reclaim(&gateway, dirty);
        }
        // What is answered in plain HTTP is known now.
        self.adopt(dirty);
        for gateway in std::mem::take(&mut dirty.reclaimed) {
            self.reclaim(&gateway, dirty);
        }
        for key in std::mem::take(&mut dirty.touched) {
            self.touch(&key, dirty);
        }
        for gateway in std::mem::take(&mut dirty.carriers) {
            let carrying = self.listeners.plans_of(&gateway).filter(|p| !p.is_plain_http());
            dirty.listeners.extend(carrying.map(|p| Arc::clone(&p.name)));
        }
    }

    /// Lets the VirtualServices that reach a Gateway claim its hosts again.
    fn reclaim(&mut self, gateway: &str, dirty: &mut Dirty) {
        for (name, listener) in self.listeners.tables_and_listeners_of(gateway) {
            let plan = self.listeners.plan(listener);
            let routes = plan.and_then(|plan| plan.routes.iter().find(|r| r.name == *name));
            if let (Some(routes), Some(table)) = (routes, self.tables.get_mut(name)) {
                table.set_plan(routes, &self.index, &self.options);
                dirty.tables.insert(Arc::clone(name));
            }
        }
    }

    /// Marks everything that a VirtualService is compiled into.
    fn touch(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        let Some(service) = self.index.virtual_service(key) else { return };
        for (gateway, _) in self.index.reach(service) {
            for name in self.listeners.tables_for(&gateway, &service.hosts).into_keys() {
                if let Some(table) = self.tables.get_mut(name)
                    && table.touch(key)
                {
                    dirty.tables.insert(Arc::clone(name));
                }
            }
            for plan in self.listeners.plans_of(&gateway) {
                if self.listeners.carries(&plan.name, key) {
                    dirty.listeners.insert(Arc::clone(&plan.name));
                }
            }
        }
    }
}

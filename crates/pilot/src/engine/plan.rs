//! Second and third step: merge touched ports again, and move VirtualServices between virtual hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use super::credentials::User;
use super::{Dirty, Pilot, RouteTable};
use crate::model::merge::{ListenerPlan, PortPlan, RoutePlan, merge};
use crate::model::tls::Credential;

impl Pilot {
    /// Merges the Gateways of touched ports, and marks listeners and route tables that came out different.
    pub(super) fn plan(&mut self, dirty: &mut Dirty) {
        let address = self.options.address.to_string();
        for port in std::mem::take(&mut dirty.ports) {
            let now = if port < self.options.lowest_port {
                PortPlan::default() // Told in the Gateways' status.
            } else {
                merge(port, self.index.servers_on(port), &address)
            };
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

    fn replace_listeners(&mut self, before: &PortPlan, now: &PortPlan, dirty: &mut Dirty) {
        let name = |plan: &PortPlan| -> BTreeSet<Arc<str>> {
            plan.listeners.iter().map(|l| Arc::clone(&l.name)).collect()
        };
        let (names_before, names_now) = (name(before), name(now));
        for gone in before.listeners.iter().filter(|l| !names_now.contains(&l.name)) {
            self.listeners.unlink(gone);
            dirty.status.extend(self.listeners.remove(&gone.name));
            self.outbox.remove(ResourceType::Listener, Arc::clone(&gone.name));
            gone.routes.iter().for_each(|routes| self.remove_table(&routes.name));
            self.uses(Some(gone), None, dirty);
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
                let stays = |name: &Arc<str>| plan.routes.iter().any(|routes| routes.name == *name);
                if was.routes.is_empty() != plan.routes.is_empty() {
                    // Whether it is opened, for all who share it.
                    let servers = was.servers.iter().chain(&plan.servers);
                    dirty.status.extend(servers.map(|server| server.key.clone()));
                }
                for gone in was.routes.iter().filter(|routes| !stays(&routes.name)) {
                    self.remove_table(&gone.name);
                }
            }
            self.listeners.set(plan.clone());
            // A plain HTTP listener looks the same whatever its servers are.
            let plain = |plan: &ListenerPlan| {
                let routes = plan.routes.first().filter(|_| plan.is_plain_http());
                routes.map(|routes| Arc::clone(&routes.name))
            };
            let same = was.and_then(plain).is_some_and(|was| plain(plan) == Some(was));
            if !same || !names_before.contains(&plan.name) {
                dirty.listeners.insert(Arc::clone(&plan.name));
            }
            for routes in &plan.routes {
                let before = was.and_then(|w| w.routes.iter().find(|r| r.name == routes.name));
                if before != Some(routes) {
                    self.replace_table(routes, dirty);
                }
            }
            self.uses(was, Some(plan), dirty);
        }
    }

    /// Notes which credentials a listener takes, in place of those that it took before.
    fn uses(
        &mut self,
        before: Option<&ListenerPlan>,
        now: Option<&ListenerPlan>,
        dirty: &mut Dirty,
    ) {
        let credentials = |plan: Option<&ListenerPlan>| -> BTreeSet<Credential> {
            let servers = plan.into_iter().flat_map(|plan| &plan.servers);
            let terms = servers.filter_map(|server| server.terms());
            terms.flat_map(|terms| terms.credentials().cloned()).collect()
        };
        let Some(listener) = before.or(now).map(|plan| Arc::clone(&plan.name)) else { return };
        let changed = self.credentials.replace(
            &User::Listener(listener),
            &credentials(before),
            &credentials(now),
        );
        dirty.credentials.extend(changed);
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
            self.outbox.remove(ResourceType::VirtualHost, host);
        }
    }

    /// Brings the claims of touched VirtualServices up to date, and marks what carries their connections.
    pub(super) fn route(&mut self, dirty: &mut Dirty) {
        for (key, before) in std::mem::take(&mut dirty.services) {
            let service = self.index.virtual_service(&key);
            let now = service.map_or(&[][..], |s| &s.gateways);
            let gateways: BTreeSet<&Arc<str>> = before.iter().chain(now).collect();
            let tables: BTreeSet<Arc<str>> = gateways
                .iter()
                .flat_map(|g| self.listeners.plans_of(g))
                .flat_map(|p| p.routes.iter().map(|routes| Arc::clone(&routes.name)))
                .collect();
            for name in tables {
                if let Some(table) = self.tables.get_mut(&name) {
                    table.set_service(&key, service.map(|s| &**s), &self.options);
                    dirty.tables.insert(name);
                }
            }
        }
        for key in std::mem::take(&mut dirty.touched) {
            self.touch(&key, dirty);
        }
        for gateway in std::mem::take(&mut dirty.carriers) {
            let carrying = self.listeners.plans_of(&gateway).filter(|p| !p.is_plain_http());
            dirty.listeners.extend(carrying.map(|p| Arc::clone(&p.name)));
        }
    }

    /// Marks everything that a VirtualService is compiled into.
    fn touch(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        let Some(service) = self.index.virtual_service(key) else { return };
        for gateway in &service.gateways {
            for plan in self.listeners.plans_of(gateway) {
                for routes in &plan.routes {
                    if let Some(table) = self.tables.get_mut(&routes.name)
                        && table.touch(key)
                    {
                        dirty.tables.insert(Arc::clone(&routes.name));
                    }
                }
                if self.listeners.carries(&plan.name, key) {
                    dirty.listeners.insert(Arc::clone(&plan.name));
                }
            }
        }
    }
}

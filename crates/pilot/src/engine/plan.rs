//! Second and third step: merge touched ports again, and move VirtualServices between virtual hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use super::{Dirty, Pilot, RouteTable};
use crate::model::merge::{ListenerPlan, PortPlan, merge};

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
            self.remove_table(gone);
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
                if was.routes != plan.routes {
                    self.remove_table(was);
                }
            }
            self.listeners.set(plan.clone());
            // A plain HTTP listener looks the same whatever its servers are.
            let same = was.is_some_and(|w| w.routes.is_some() && w.routes == plan.routes);
            if !same || !names_before.contains(&plan.name) {
                dirty.listeners.insert(Arc::clone(&plan.name));
            }
            self.replace_table(plan, dirty);
        }
    }

    fn replace_table(&mut self, plan: &ListenerPlan, dirty: &mut Dirty) {
        let Some(routes) = &plan.routes else { return };
        let table = self.tables.entry(Arc::clone(routes)).or_insert_with(|| {
            dirty.skeletons.insert(Arc::clone(routes));
            RouteTable::default()
        });
        table.set_servers(plan.servers.clone(), &self.index, &self.options);
        dirty.tables.insert(Arc::clone(routes));
    }

    fn remove_table(&mut self, plan: &ListenerPlan) {
        let Some(routes) = &plan.routes else { return };
        let Some(table) = self.tables.remove(routes) else { return };
        self.outbox.remove(ResourceType::RouteConfiguration, Arc::clone(routes));
        for host in table.names() {
            self.outbox.remove(ResourceType::VirtualHost, virtual_host_name(routes, &host));
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
                .filter_map(|p| p.routes.clone())
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
            let carrying = self.listeners.plans_of(&gateway).filter(|p| p.routes.is_none());
            dirty.listeners.extend(carrying.map(|p| Arc::clone(&p.name)));
        }
    }

    /// Marks everything that a VirtualService is compiled into.
    fn touch(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        let Some(service) = self.index.virtual_service(key) else { return };
        for gateway in &service.gateways {
            for plan in self.listeners.plans_of(gateway) {
                match &plan.routes {
                    Some(routes) => {
                        if let Some(table) = self.tables.get_mut(routes) {
                            table.touch(key);
                            dirty.tables.insert(Arc::clone(routes));
                        }
                    }
                    None => {
                        dirty.listeners.insert(Arc::clone(&plan.name));
                    }
                }
            }
        }
    }
}

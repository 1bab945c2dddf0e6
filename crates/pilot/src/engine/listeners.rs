//! The listeners there are: their plans, and what their compilation found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;

use crate::model::merge::ListenerPlan;

/// Listeners by name, and by the gateways that share them.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: BTreeMap<Arc<str>, State>,
    of_gateway: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Route configurations by the gateways whose servers they are for, with their listeners.
    tables: HashMap<Arc<str>, BTreeMap<Arc<str>, Arc<str>>>,
    /// What VirtualServices lost, by VirtualService and listener.
    lost: HashMap<ObjectKey, BTreeMap<Arc<str>, Vec<String>>>,
}

#[derive(Debug)]
struct State {
    plan: ListenerPlan,
    carries: BTreeSet<ObjectKey>,
    losers: BTreeSet<ObjectKey>,
}

impl Listeners {
    /// Enters a plan under its name.
    pub(crate) fn set(&mut self, plan: ListenerPlan) {
        for server in &plan.servers {
            let listeners = self.of_gateway.entry(Arc::clone(&server.gateway)).or_default();
            listeners.insert(Arc::clone(&plan.name));
        }
        for routes in &plan.routes {
            for server in &routes.servers {
                let tables = self.tables.entry(Arc::clone(&server.gateway)).or_default();
                tables.insert(Arc::clone(&routes.name), Arc::clone(&plan.name));
            }
        }
        let (carries, losers) = match self.all.remove(&plan.name) {
            Some(before) => (before.carries, before.losers),
            None => Default::default(),
        };
        self.all.insert(Arc::clone(&plan.name), State { plan, carries, losers });
    }

    /// Takes a listener's gateways away, before its plan is replaced or when it is gone.
    pub(crate) fn unlink(&mut self, plan: &ListenerPlan) {
        for routes in &plan.routes {
            for server in &routes.servers {
                if let Some(tables) = self.tables.get_mut(&server.gateway) {
                    tables.remove(&routes.name);
                    if tables.is_empty() {
                        self.tables.remove(&server.gateway);
                    }
                }
            }
        }
        for server in &plan.servers {
            if let Some(listeners) = self.of_gateway.get_mut(&server.gateway) {
                listeners.remove(&plan.name);
                if listeners.is_empty() {
                    self.of_gateway.remove(&server.gateway);
                }
            }
        }
    }

    /// The route configurations that a gateway shares.
    pub(crate) fn tables_of(&self, gateway: &str) -> impl Iterator<Item = &Arc<str>> {
        self.tables_and_listeners_of(gateway).map(|(table, _)| table)
    }

    /// The route configurations that a gateway shares, each with its listener.
    pub(crate) fn tables_and_listeners_of(
        &self,
        gateway: &str,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.tables.get(gateway).into_iter().flatten()
    }

    /// Forgets a listener that is gone; answers the VirtualServices that had to do with it.
    pub(crate) fn remove(&mut self, name: &str) -> BTreeSet<ObjectKey> {
        let Some(mut state) = self.all.remove(name) else { return BTreeSet::new() };
        self.forget_losses(name, &state.losers);
        state.losers.append(&mut state.carries);
        state.losers
    }

    /// The plan of a listener.
    pub(crate) fn plan(&self, name: &str) -> Option<&ListenerPlan> {
        self.all.get(name).map(|s| &s.plan)
    }

    /// The plans of the listeners that a gateway shares.
    pub(crate) fn plans_of(&self, gateway: &str) -> impl Iterator<Item = &ListenerPlan> {
        let names = self.of_gateway.get(gateway).into_iter().flatten();
        names.filter_map(|name| self.plan(name))
    }

    /// Whether a listener is opened: one for requests always, one for connections if it carries any.
    pub(crate) fn opens(&self, name: &str) -> bool {
        let opens = |state: &State| !state.plan.routes.is_empty() || !state.carries.is_empty();
        self.all.get(name).is_some_and(opens)
    }

    /// Notes what a compilation found; answers the objects for which it may differ.
    pub(crate) fn found(
        &mut self,
        name: &Arc<str>,
        carries: BTreeSet<ObjectKey>,
        lost: Vec<(ObjectKey, String)>,
    ) -> BTreeSet<ObjectKey> {
        let losers: BTreeSet<ObjectKey> = lost.iter().map(|(key, _)| key.clone()).collect();
        let Some(state) = self.all.get_mut(name) else { return BTreeSet::new() };
        let mut touched: BTreeSet<ObjectKey> =
            state.carries.symmetric_difference(&carries).cloned().collect();
        if state.carries.is_empty() != carries.is_empty() {
            touched.extend(state.plan.servers.iter().map(|s| s.key.clone()));
        }
        state.carries = carries;
        let before = std::mem::replace(&mut state.losers, losers.clone());
        self.forget_losses(name, &before);
        for (key, reason) in lost {
            let losses = self.lost.entry(key).or_default();
            losses.entry(Arc::clone(name)).or_default().push(reason);
        }
        touched.extend(before);
        touched.extend(losers);
        touched
    }

    fn forget_losses(&mut self, name: &str, losers: &BTreeSet<ObjectKey>) {
        for key in losers {
            if let Some(losses) = self.lost.get_mut(key) {
                losses.remove(name);
                if losses.is_empty() {
                    self.lost.remove(key);
                }
            }
        }
    }

    /// What a VirtualService lost to older ones, on all listeners.
    pub(crate) fn lost_by(&self, key: &ObjectKey) -> impl Iterator<Item = &str> {
        let losses = self.lost.get(key).into_iter().flat_map(BTreeMap::values);
        losses.flatten().map(String::as_str)
    }

    /// Whether a listener of the gateway carries connections for a VirtualService.
    pub(crate) fn carry(&self, gateway: &str, key: &ObjectKey) -> bool {
        let mut names = self.of_gateway.get(gateway).into_iter().flatten();
        names.any(|name| self.carries(name, key))
    }

    /// Whether a listener carries connections for a VirtualService.
    pub(crate) fn carries(&self, name: &str, key: &ObjectKey) -> bool {
        self.all.get(name).is_some_and(|state| state.carries.contains(key))
    }

    /// The VirtualServices that a listener carries connections for.
    pub(crate) fn carried(&self, name: &str) -> impl Iterator<Item = &ObjectKey> {
        self.all.get(name).into_iter().flat_map(|state| &state.carries)
    }

    /// The Gateways and VirtualServices behind a listener.
    pub(crate) fn owners(&self, name: &str) -> Vec<ObjectKey> {
        let Some(state) = self.all.get(name) else { return Vec::new() };
        let gateways = state.plan.servers.iter().map(|s| s.key.clone());
        let all: BTreeSet<ObjectKey> = gateways.chain(state.carries.iter().cloned()).collect();
        all.into_iter().collect()
    }
}

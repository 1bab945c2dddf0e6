//! The listeners there are: their plans, and what their compilation found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;

use crate::compile::listener::{Loss, RulePath};
use crate::model::gateway::Server;
use crate::model::host::Host;
use crate::model::merge::ListenerPlan;
use crate::model::names;

/// Listeners by name, and by the gateways that share them.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: BTreeMap<Arc<str>, State>,
    of_gateway: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Route configurations by the gateways whose servers they are for.
    tables: HashMap<Arc<str>, Tables>,
    /// What VirtualServices lost, by VirtualService and listener.
    lost: HashMap<ObjectKey, BTreeMap<Arc<str>, Vec<Loss>>>,
}

#[derive(Debug)]
struct State {
    plan: ListenerPlan,
    carries: BTreeSet<ObjectKey>,
    /// The rules of these that it carries connections for.
    rules: BTreeSet<(ObjectKey, RulePath)>,
    losers: BTreeSet<ObjectKey>,
    /// Whether one for HTTP/3 stands beside it.
    http3: bool,
}

/// The route configurations that a gateway shares.
#[derive(Debug, Default)]
struct Tables {
    /// All of them, with their listeners.
    all: BTreeMap<Arc<str>, Arc<str>>,
    /// Those of plain HTTP: one per listener, whatever its hosts are.
    plain: BTreeSet<Arc<str>>,
    /// The others by the hosts of the gateway's servers. There may be one per certificate.
    by_host: HashMap<Host, BTreeSet<Arc<str>>>,
}

impl Tables {
    fn add(&mut self, table: &Arc<str>, plan: &ListenerPlan, server: &Server) {
        self.all.insert(Arc::clone(table), Arc::clone(&plan.name));
        if plan.is_plain_http() {
            self.plain.insert(Arc::clone(table));
            return;
        }
        for host in server.names() {
            self.by_host.entry(host.clone()).or_default().insert(Arc::clone(table));
        }
    }

    fn remove(&mut self, table: &str, server: &Server) {
        self.all.remove(table);
        self.plain.remove(table);
        for host in server.names() {
            if let Some(tables) = self.by_host.get_mut(host) {
                tables.remove(table);
                if tables.is_empty() {
                    self.by_host.remove(host);
                }
            }
        }
    }
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
                tables.add(&routes.name, &plan, server);
            }
        }
        let (carries, rules, losers, http3) = match self.all.remove(&plan.name) {
            Some(before) => (before.carries, before.rules, before.losers, before.http3),
            None => Default::default(),
        };
        self.all.insert(Arc::clone(&plan.name), State { plan, carries, rules, losers, http3 });
    }

    /// Takes a listener's gateways away, before its plan is replaced or when it is gone.
    pub(crate) fn unlink(&mut self, plan: &ListenerPlan) {
        for routes in &plan.routes {
            for server in &routes.servers {
                if let Some(tables) = self.tables.get_mut(&server.gateway) {
                    tables.remove(&routes.name, server);
                    if tables.all.is_empty() {
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

    /// The route configurations that a gateway shares and where a VirtualService for these hosts may have a place, each with
    /// its listener. Where all hosts are names, the cost does not grow with the number of those that are for TLS.
    pub(crate) fn tables_for<'a>(
        &'a self,
        gateway: &str,
        hosts: impl IntoIterator<Item = &'a Host>,
    ) -> BTreeMap<&'a Arc<str>, &'a Arc<str>> {
        let Some(tables) = self.tables.get(gateway) else { return BTreeMap::new() };
        let mut found: BTreeSet<&Arc<str>> = tables.plain.iter().collect();
        for host in hosts {
            if host.is_wildcard() {
                return tables.all.iter().collect();
            }
            let patterns = host.patterns();
            found.extend(patterns.filter_map(|p| tables.by_host.get(&p)).flatten());
        }
        found.into_iter().filter_map(|table| tables.all.get_key_value(table)).collect()
    }

    /// The route configurations that a gateway shares, each with its listener.
    pub(crate) fn tables_and_listeners_of(
        &self,
        gateway: &str,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.tables.get(gateway).into_iter().flat_map(|tables| &tables.all)
    }

    /// Forgets a listener that is gone; answers the VirtualServices that had to do with it.
    pub(crate) fn remove(&mut self, name: &str) -> BTreeSet<ObjectKey> {
        let Some(mut state) = self.all.remove(name) else { return BTreeSet::new() };
        self.forget_losses(name, &state.losers);
        state.losers.append(&mut state.carries);
        state.losers
    }

    /// The names of all listeners.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.all.keys()
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
        if let Some(tcp) = names::beside_udp(name) {
            return self.all.get(tcp).is_some_and(|state| state.http3);
        }
        let opens = |state: &State| !state.plan.routes.is_empty() || !state.carries.is_empty();
        self.all.get(name).is_some_and(opens)
    }

    /// Notes whether one for HTTP/3 stands beside a listener.
    pub(crate) fn set_http3(&mut self, name: &str, http3: bool) {
        if let Some(state) = self.all.get_mut(name) {
            state.http3 = http3;
        }
    }

    /// Notes what a compilation found; answers the objects for which it may differ.
    pub(crate) fn found(
        &mut self,
        name: &Arc<str>,
        carries: BTreeSet<ObjectKey>,
        rules: BTreeSet<(ObjectKey, RulePath)>,
        lost: Vec<Loss>,
    ) -> BTreeSet<ObjectKey> {
        let losers: BTreeSet<ObjectKey> = lost.iter().map(|loss| loss.key.clone()).collect();
        let Some(state) = self.all.get_mut(name) else { return BTreeSet::new() };
        let mut touched: BTreeSet<ObjectKey> =
            state.carries.symmetric_difference(&carries).cloned().collect();
        if state.carries.is_empty() != carries.is_empty() {
            touched.extend(state.plan.servers.iter().map(|s| s.key.clone()));
        }
        state.carries = carries;
        let other = state.rules.symmetric_difference(&rules);
        touched.extend(other.map(|(key, _)| key.clone()));
        state.rules = rules;
        let before = std::mem::replace(&mut state.losers, losers.clone());
        self.forget_losses(name, &before);
        for loss in lost {
            let losses = self.lost.entry(loss.key.clone()).or_default();
            losses.entry(Arc::clone(name)).or_default().push(loss);
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

    /// What an object lost to others, on all listeners. A rule that another of its object goes before has lost nothing as long
    /// as any listener carries connections for it.
    pub(crate) fn lost_by(&self, key: &ObjectKey) -> impl Iterator<Item = &str> {
        let losses = self.lost.get(key).into_iter().flat_map(BTreeMap::values).flatten();
        let real =
            |loss: &&Loss| !loss.own || loss.rule.is_none_or(|path| !self.has_rule(key, path));
        losses.filter(real).map(|loss| &*loss.told)
    }

    fn has_rule(&self, key: &ObjectKey, path: RulePath) -> bool {
        let rule = (key.clone(), path);
        self.all.values().any(|state| state.rules.contains(&rule))
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
        if let Some(tcp) = names::beside_udp(name) {
            let state = self.all.get(tcp).filter(|state| state.http3);
            let servers = state.into_iter().flat_map(|state| &state.plan.servers);
            let own = servers.filter(|server| server.takes_http3());
            let all: BTreeSet<ObjectKey> = own.map(|server| server.key.clone()).collect();
            return all.into_iter().collect();
        }
        let Some(state) = self.all.get(name) else { return Vec::new() };
        let gateways = state.plan.servers.iter().map(|s| s.key.clone());
        let all: BTreeSet<ObjectKey> = gateways.chain(state.carries.iter().cloned()).collect();
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_api::{Kind, Object, Spec, istio};

    use super::*;
    use crate::Options;
    use crate::model::gateway::Gateway;
    use crate::model::merge::merge;

    /// A VirtualService looks at the certificates of its own hosts, however many its Gateway has.
    #[test]
    fn only_tables_that_may_have_a_host_are_looked_at() {
        let server = |n: usize, host: &str| {
            let port = json!({"number": 443, "name": format!("s{n}"), "protocol": "HTTPS"});
            let tls = json!({"mode": "SIMPLE", "credentialName": format!("c{n}")});
            json!({"port": port, "hosts": [host], "tls": tls})
        };
        let mut servers: Vec<_> = (0..500).map(|n| server(n, &format!("h{n}.example"))).collect();
        servers.extend([server(500, "*.example"), server(501, "*.other"), server(502, "own/x.y")]);
        let http = json!({"number": 80, "name": "http", "protocol": "HTTP"});
        servers.push(json!({"port": http, "hosts": ["plain.example"]}));
        let spec: istio::Gateway =
            serde_json::from_value(json!({"servers": servers})).expect("a Gateway");
        let key = ObjectKey::new(Kind::Gateway, "default", "g");
        let object = Object::new(key, Spec::Gateway(Box::new(spec.clone())));
        let gateway = Gateway::select(&object, &spec, &Options::default()).expect("selected");
        let mut listeners = Listeners::default();
        let mut plans = Vec::new();
        for port in [80, 443] {
            let servers = gateway.servers.iter().filter(|server| server.port == port);
            let mut plan = merge(port, servers, "0.0.0.0");
            plan.lay_out(|_| true);
            plans.extend(plan.listeners);
        }
        plans.iter().for_each(|plan| listeners.set(plan.clone()));
        let looked_at = |hosts: &[&str]| {
            let hosts: Vec<Host> = hosts.iter().map(|host| Host::new(host)).collect();
            let found = listeners.tables_for("default/g", &hosts);
            found.into_iter().map(|(table, listener)| format!("{table} {listener}")).collect()
        };
        let of = |tables: &[&str]| -> Vec<String> {
            let mut all = vec!["http.80 0.0.0.0_80".to_owned()];
            all.extend(tables.iter().map(|s| format!("https.443.{s}.g.default 0.0.0.0_443")));
            all
        };
        let found: Vec<String> = looked_at(&["h7.example"]);
        assert_eq!(found, of(&["s500", "s7"]));
        assert_eq!(looked_at(&["a.other", "h8.example"]), of(&["s500", "s501", "s8"]));
        assert_eq!(looked_at(&["x.y"]), of(&["s502"]));
        assert_eq!(looked_at(&["nowhere"]), of(&[]));
        assert_eq!(looked_at(&["*.example"]).len(), 504);
        assert!(listeners.tables_for("default/other", &[Host::new("h7.example")]).is_empty());
        plans.iter().for_each(|plan| listeners.unlink(plan));
        assert!(listeners.tables.is_empty(), "nothing is kept");
    }
}

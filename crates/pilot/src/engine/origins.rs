//! What served resources were made from.

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::virtual_service::{Destination, PortSelector};
use tidegate_api::scalar::Port;

use super::{Pilot, RouteTable};
use crate::Options;
use crate::compile::listener;
use crate::compile::virtual_host::{self, EncodedRoute};
use crate::model::gateway::Gateway;
use crate::model::merge::{ListenerPlan, RoutePlan};
use crate::model::names;
use crate::model::rule::UnmetReason;
use crate::model::tls::Credential;
use crate::model::virtual_service::{Place, VirtualService, is_served, not_here};
use crate::origins::{ChainOrigin, HostOrigins, Origin, RouteOrigin};
use crate::sidecar::Scope;
use crate::sidecar::routes::Target;
use crate::status::{self, Condition, Lack, Standing};

impl Pilot {
    /// What it was told about the gateway.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The plan of a listener: its servers.
    #[must_use]
    pub fn listener_plan(&self, listener: &str) -> Option<&ListenerPlan> {
        self.listeners.plan(listener)
    }

    /// How a listener serves connections that name no server: the routes that they are given, and whether requests are
    /// let through by their Host.
    #[must_use]
    pub fn nameless(&self, listener: &str) -> Option<&RoutePlan> {
        let plan = self.listeners.plan(listener)?;
        let nameless = plan.serving_nameless(|credential| self.credentials.usable(credential))?;
        plan.routes.iter().find(|routes| routes.name == nameless.routes)
    }

    /// The Gateways that are served here, the oldest first.
    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.index.gateways()
    }

    /// All VirtualServices, in no order.
    pub fn virtual_services(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.index.virtual_services()
    }

    /// What was last told of an object.
    #[must_use]
    pub fn told(&self, key: &ObjectKey) -> &[Condition] {
        self.told.get(key).map_or(&[], |account| &account.conditions)
    }

    /// How far an object is in force; nothing of one that there is not, or that nothing is compiled from.
    #[must_use]
    pub fn standing(&self, key: &ObjectKey) -> Option<&Standing> {
        self.told.get(key).map(|account| &account.standing)
    }

    /// What keeps the secret of that name from the data plane: where it was looked for. Nothing where it is there, or
    /// nobody asks for it.
    #[must_use]
    pub fn missing(&self, secret: &str) -> Option<String> {
        let credential = self.credentials.named(secret)?;
        self.secrets.find(&credential).err().map(|not_found| not_found.reason)
    }

    /// What is wrong with the secret of that name as it is now. Nothing where nothing is, or nobody asks for it.
    #[must_use]
    pub fn lack(&self, secret: &str) -> Option<Lack> {
        Lack::of(&self.credentials.named(secret)?, self.view())
    }

    /// Why a gateway has no cluster of that name, where it would be a service's; `None` where nothing is missing.
    #[must_use]
    pub fn absent(&self, cluster: &str) -> Option<String> {
        let (host, port, subset) = names::of_cluster(cluster)?;
        let number = Port::new(port.into());
        let destination = Destination {
            host: host.to_owned(),
            subset: subset.to_owned(),
            port: Some(PortSelector { number }),
        };
        status::absent(&destination, &self.options.namespace, self.view())
    }

    /// The settings that say how TLS is spoken with a cluster, if there are any.
    #[must_use]
    pub fn upstream_tls(&self, cluster: &str) -> Option<Origin> {
        let (host, port, subset) = names::of_cluster(cluster)?;
        let definition =
            self.registry.ports(host).get(&port).map(|(service, _)| service.key.clone());
        let namespace = definition.as_ref().map(|key| &*key.namespace);
        let rules = self.rules.find(host, namespace, &self.options)?;
        let (key, path) = rules.place_of_tls(port, subset)?;
        Some(Origin::new(key.clone(), path))
    }

    /// What got no place on a port, each with the reason, which names the winner: servers, and connections that
    /// belong to others.
    #[must_use]
    pub fn displaced(&self, port: u16) -> Vec<(Origin, String)> {
        let Some(plan) = self.ports.get(&port) else { return Vec::new() };
        let servers = plan.refused.iter().map(|refusal| {
            let origin = Origin::new(refusal.server.key.clone(), refusal.server.place());
            (origin, refusal.reason.clone())
        });
        let usable = |credential: &Credential| self.credentials.usable(credential);
        let compiled = plan.listeners.iter().flat_map(|plan| {
            let bound = |gateway: &str| self.index.bound_to(gateway);
            listener::listener(plan, bound, usable, &self.context()).lost
        });
        let whole = |key: ObjectKey| Origin { key, path: "spec".to_owned() };
        servers.chain(compiled.map(|(key, reason)| (whole(key), reason))).collect()
    }

    /// The VirtualServices that act through a listener, by themselves or as delegates.
    #[must_use]
    pub fn attached(&self, listener: &str) -> Vec<ObjectKey> {
        let plan = self.listeners.plan(listener);
        let routes = plan.into_iter().flat_map(|plan| &plan.routes);
        let tables = routes.filter_map(|routes| self.tables.get(&routes.name));
        let routed = tables.flat_map(RouteTable::claimants);
        self.with_delegates(routed.chain(self.listeners.carried(listener)).cloned().collect())
    }

    /// What the filter chains of a listener were made from, in their order.
    #[must_use]
    pub fn chain_origins(&self, listener: &str) -> Vec<ChainOrigin> {
        let origin = |source: listener::ChainSource| ChainOrigin {
            server: source.server,
            service: source.service,
            rule: source.rule.map(|(key, path)| Origin::new(key, path)),
            names: source.names,
            parts: source.parts,
            asks: source.asks,
        };
        let Some(plan) = self.listeners.plan(listener) else {
            return self.sidecar.chains(listener).iter().cloned().map(origin).collect();
        };
        let bound = |gateway: &str| self.index.bound_to(gateway);
        let usable = |credential: &Credential| self.credentials.usable(credential);
        let found = listener::listener(plan, bound, usable, &self.context());
        found.sources.into_iter().map(origin).collect()
    }

    /// What the routes of a virtual host were made from; `None` when there is no such virtual host, or none
    /// that an object made.
    #[must_use]
    pub fn host_origins(&self, table: &str, virtual_host: &str) -> Option<HostOrigins> {
        let routes: Vec<(Place, ObjectKey)> = match self.tables.get(table) {
            Some(table) => table.routing_of(virtual_host)?.routes.clone(),
            None => match self.sidecar.host(table, virtual_host)? {
                (Target::Rules(key), place) => vec![(place, key.clone())],
                (Target::Service(_) | Target::Elsewhere, _) => return None,
            },
        };
        let mut origins = HostOrigins::default();
        let mut all: Vec<(&VirtualService, EncodedRoute)> = Vec::new();
        for (place, key) in &routes {
            let Some(service) = self.index.virtual_service(key) else { continue };
            let routes = virtual_host::routes(service, place, &self.context());
            self.left_out(service, place, &routes, &mut origins);
            all.extend(routes.into_iter().map(|route| (&**service, route)));
        }
        for catch_all in [false, true] {
            let group = all.iter().filter(|(_, route)| route.is_catch_all() == catch_all);
            let found = group.filter_map(|(service, r)| origin(service, r.rule, r.condition));
            origins.routes.extend(found);
        }
        Some(origins)
    }

    /// Why rules of a VirtualService do not act for a sidecar's port, each with where it stands.
    #[must_use]
    pub fn idle_in_mesh(&self, key: &ObjectKey, port: u16) -> Vec<(RouteOrigin, String)> {
        let mut origins = HostOrigins::default();
        if let Some(service) = self.index.virtual_service(key) {
            self.left_out(service, &Scope::place(port), &[], &mut origins);
        }
        origins.left_out
    }

    /// The rules and conditions of a VirtualService that are no route at a place, and why.
    fn left_out(
        &self,
        service: &VirtualService,
        place: &Place,
        routes: &[EncodedRoute],
        origins: &mut HostOrigins,
    ) {
        let there: HashSet<_> = routes.iter().map(|r| (r.rule, r.condition)).collect();
        let last = routes.last().filter(|r| r.is_catch_all());
        for (r, rule) in service.rules.iter().enumerate() {
            for (number, condition) in rule.conditions().filter(|(n, _)| !there.contains(&(r, *n)))
            {
                let not_here = condition.and_then(|c| not_here(c, place, &self.options));
                let reason = if !is_served(&rule.says) {
                    "it has no route, redirect or directResponse that is served".to_owned()
                } else if let Some(reason) = not_here {
                    format!("it asks for {reason}; this is {}", here(place, &self.options))
                } else if let Some(last) = last.and_then(|l| origin(service, l.rule, l.condition)) {
                    let Origin { key, path } = &last.rule;
                    let of = if *key == rule.key { String::new() } else { format!(" of {key}") };
                    format!("{path}{of} takes every request before it")
                } else {
                    continue;
                };
                origins.left_out.extend(origin(service, r, number).map(|o| (o, reason)));
            }
        }
        for unmet in &service.unmet {
            let root = Origin::new(service.key.clone(), format_args!("http[{}]", unmet.number));
            let own = match unmet.reason {
                UnmetReason::Chained(own) | UnmetReason::Contradicts(own, _) => Some(own),
                UnmetReason::Missing | UnmetReason::Hidden | UnmetReason::HasHosts => None,
            };
            let origin = match own {
                Some(own) => {
                    let rule = Origin::new(unmet.delegate.clone(), format_args!("http[{own}]"));
                    RouteOrigin { root: Some(root), rule }
                }
                None => RouteOrigin { root: None, rule: root },
            };
            origins.left_out.push((origin, unmet.to_string()));
        }
    }
}

/// A place in words.
fn here(place: &Place, options: &Options) -> String {
    let Place { gateway, port, .. } = place;
    if **gateway != *names::MESH {
        return format!("port {port} of Gateway {gateway}");
    }
    let labels: Vec<String> = options.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let labels = if labels.is_empty() { "no labels".to_owned() } else { labels.join(",") };
    format!("port {port} of a workload of namespace {} with {labels}", options.namespace)
}

/// Where a rule that applies stands, or one of its conditions.
fn origin(service: &VirtualService, rule: usize, condition: Option<usize>) -> Option<RouteOrigin> {
    let rule = service.rules.get(rule)?;
    let root = rule.root_place(condition).map(|place| Origin::new(service.key.clone(), place));
    Some(RouteOrigin { root, rule: Origin::new(rule.key.clone(), rule.condition_place(condition)) })
}

//! What served resources were made from.

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::Protocol;
use tidegate_api::istio::destination_rule::H2UpgradePolicy;
use tidegate_api::istio::virtual_service::{Destination, HttpRoute, PortSelector};
use tidegate_api::scalar::Port;

use super::reach::How;
use super::removals::removed_by;
use super::{Pilot, RouteTable};
use crate::Options;
use crate::compile::listener::{self, Loss};
use crate::compile::virtual_host::{self, EncodedRoute};
use crate::compile::{matches, traffic};
use crate::model::destination_rule::Effective;
use crate::model::gateway::{Gateway, Server};
use crate::model::host::Host;
use crate::model::merge::{ListenerPlan, RoutePlan};
use crate::model::names;
use crate::model::rule::{Rule, UnmetReason};
use crate::model::virtual_service::{
    NotHere, Place, Semantics, VirtualService, is_served, not_here,
};
use crate::origins::{ChainOrigin, Elsewhere, HostOrigins, LeftOut, Origin, RouteOrigin};
use crate::sidecar::Scope;
use crate::sidecar::inbound::{Described, Local};
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
        let nameless = plan.nameless.as_ref()?;
        plan.routes.iter().find(|routes| routes.name == nameless.routes)
    }

    /// Whether connections that name no server come to the filter chain of a server for every name, and share its routes.
    #[must_use]
    pub fn is_for_nameless(&self, listener: &str, server: &Arc<Server>) -> bool {
        let plan = self.listeners.plan(listener).and_then(|plan| plan.nameless.as_ref());
        plan.is_some_and(|plan| plan.is_of(server))
    }

    /// The servers of a Gateway for which listeners are opened, as far as compiling decides, each with its listener.
    #[must_use]
    pub fn open_servers(&self, gateway: &ObjectKey) -> Vec<(Arc<Server>, Arc<str>)> {
        let open = status::open_servers(gateway, self.view());
        open.map(|(server, listener)| (Arc::clone(server), Arc::clone(listener))).collect()
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

    /// What a sidecar of its namespace makes of a VirtualService that is for sidecars, whatever else it is for: conditions, and how far
    /// it is in force. Nothing where this is no sidecar, or the object nothing for one.
    #[must_use]
    pub fn judged_in_mesh(&self, key: &ObjectKey) -> Option<(Vec<Condition>, Standing)> {
        self.options.workload()?;
        let account = status::account_in_mesh(key, self.view())?;
        Some((account.conditions, account.standing))
    }

    /// What is wrong with the secret of that name as it is now. Nothing where nothing is, or nobody asks for it.
    #[must_use]
    pub fn lack(&self, secret: &str) -> Option<Lack> {
        Lack::of(&self.credentials.named(secret)?, self.view())
    }

    /// Why a cluster of that name has no endpoints; `None` where it has some, or is not a service's.
    #[must_use]
    pub fn vacant(&self, cluster: &str) -> Option<&str> {
        let (host, ..) = names::of_cluster(cluster)?;
        self.vacant.get(host)?.get(cluster).map(String::as_str)
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
        let (rules, port, subset) = self.rules_of(cluster)?;
        let (key, path) = rules.place_of_tls(port, subset)?;
        Some(Origin::new(key.clone(), path))
    }

    /// The settings of DestinationRules that hold for a cluster, and the subset that it is of.
    #[must_use]
    pub fn cluster_settings(&self, cluster: &str) -> Vec<Origin> {
        if let Some(by) = self.sidecar.inbound(cluster) {
            return self.settings_of_inbound(by);
        }
        let Some((rules, port, subset)) = self.rules_of(cluster) else { return Vec::new() };
        let places = rules.places(port, subset).into_iter();
        places.map(|(key, path)| Origin::new(key.clone(), path)).collect()
    }

    /// What DestinationRules for the very host of a cluster, or for the wildcard that decides it, say of it without effect, as another
    /// rule comes first: where it stands, and the reason.
    #[must_use]
    pub fn outranked(&self, cluster: &str) -> Vec<(Origin, String)> {
        let Some((host, _, subset)) = names::of_cluster(cluster) else { return Vec::new() };
        let rules = self.rules.concerning(host);
        let effective = self.rules_of(cluster).map(|(effective, ..)| effective);
        let decides =
            |key: &ObjectKey| effective.iter().flat_map(Effective::rules).any(|r| r.key == *key);
        let rules = rules.filter(|rule| {
            let here = rule.host.as_str() == host || rule.host.is_wildcard() && decides(&rule.key);
            here && rule.acts_for(&self.options)
        });
        let parts = rules.flat_map(|rule| {
            let parts = status::outranked(rule, self.view()).into_iter();
            let parts = parts.filter(|part| part.subset.is_none_or(|named| named == subset));
            parts.map(|part| match part.path {
                Some(path) => (Origin::new(rule.key.clone(), path), part.told),
                None => (Origin { key: rule.key.clone(), path: "spec".to_owned() }, part.told),
            })
        });
        parts.collect()
    }

    /// Those of a cluster of the workload: its limits alone count there.
    fn settings_of_inbound(&self, by: &Described) -> Vec<Origin> {
        let pools = self.sidecars.chosen().into_iter().flat_map(|(key, spec)| {
            let position = match by {
                Described::Sidecar(ingress) => Some(ingress.position),
                Described::Service(_) => None,
            };
            let own = position.filter(|at| {
                spec.ingress.get(*at).is_some_and(|ingress| ingress.connection_pool.is_some())
            });
            let own = own.map(|at| format!("ingress[{at}].connectionPool"));
            let every = spec.inbound_connection_pool.as_ref();
            let path = own.or_else(|| every.map(|_| "inboundConnectionPool".to_owned()));
            path.map(|path| Origin::new(key.clone(), path))
        });
        let pools: Vec<Origin> = pools.collect();
        let Described::Service(Local { service, port, .. }) = by else { return pools };
        if !pools.is_empty() {
            return pools;
        }
        let namespace = Some(&*service.key.namespace);
        let Some(rules) = self.rules.find(&service.host, namespace, &self.options) else {
            return Vec::new();
        };
        let places = rules.places(port.number, "").into_iter();
        let limits = places.filter(|(_, path)| path.ends_with("connectionPool"));
        limits.map(|(key, path)| Origin::new(key.clone(), path)).collect()
    }

    /// What has HTTP/2 spoken to the endpoints of a cluster: the object whose port says so, with the port's number, or settings
    /// that do.
    #[must_use]
    pub fn http2_by(&self, cluster: &str) -> Option<Result<(ObjectKey, u16), Origin>> {
        if let Some(by) = self.sidecar.inbound(cluster) {
            let number = match by {
                Described::Service(local) => local.port.number,
                Described::Sidecar(ingress) => ingress.listener.port.number?.get(),
            };
            return Some(Ok((by.key().clone(), number)));
        }
        let (host, number, subset) = names::of_cluster(cluster)?;
        let ports = self.registry.ports(host);
        let (service, port) = ports.get(&number)?;
        if port.protocol.is_some_and(Protocol::is_http2) {
            return Some(Ok((service.key.clone(), number)));
        }
        let (rules, ..) = self.rules_of(cluster)?;
        let pool = rules.policy_for(number, rules.subset(subset)).connection_pool?;
        let http = pool.http.as_ref()?;
        (http.h2_upgrade_policy == H2UpgradePolicy::Upgrade).then_some(())?;
        let places = rules.places(number, subset).into_iter();
        let mut places = places.filter(|(_, path)| path.ends_with("connectionPool"));
        let (key, path) = places.next()?;
        Some(Err(Origin::new(key.clone(), format_args!("{path}.http.h2UpgradePolicy"))))
    }

    /// The DestinationRules for the host of a cluster, with the port and the subset.
    fn rules_of<'c>(&self, cluster: &'c str) -> Option<(Effective, u16, &'c str)> {
        let (host, port, subset) = names::of_cluster(cluster)?;
        let definition =
            self.registry.ports(host).get(&port).map(|(service, _)| service.key.clone());
        let namespace = definition.as_ref().map(|key| &*key.namespace);
        Some((self.rules.find(host, namespace, &self.options)?, port, subset))
    }

    /// Why a VirtualService is routed at one of these Gateways, where Istio would not do so; `None` where it would.
    #[must_use]
    pub fn lenience(&self, key: &ObjectKey, gateways: &[&str]) -> Option<String> {
        let service = self.index.virtual_service(key)?;
        let reach = self.index.reach(service).into_iter();
        let mut here = reach.filter(|(gateway, _)| gateways.contains(&&**gateway));
        match here.next()? {
            (_, How::Listed) => None,
            (gateway, How::Unlisted) => Some(format!(
                "Gateway {gateway} lists none of the hosts of {key}, and they are served there all the same, as nothing else \
                 here has them; Istio would not: list them in servers[].hosts"
            )),
            (gateway, How::Adopted(_)) => Some(format!(
                "{key} does not name Gateway {gateway}, which nobody names, and its hosts are served there all the same, as \
                 they are in plain HTTP; Istio would not: name it in gateways"
            )),
        }
    }

    /// What got no place on a port, each with the reason, which names the winner: servers, and rules whose connections
    /// belong to others; of those only what is for a server name, where one is asked for.
    #[must_use]
    pub fn displaced(&self, port: u16, server_name: Option<&str>) -> Vec<(Origin, String)> {
        let Some(plan) = self.ports.get(&port) else { return Vec::new() };
        let servers = plan.refused.iter().map(|refusal| {
            let origin = Origin::new(refusal.server.key.clone(), refusal.server.place());
            (origin, refusal.reason.clone())
        });
        let compiled = plan.listeners.iter().flat_map(|plan| {
            let bound = |gateway: &str| self.index.bound_to(gateway);
            listener::listener(plan, bound, None, &self.context()).lost
        });
        let asked = server_name.map(Host::new);
        let is_meant = |loss: &Loss| {
            let has =
                |asked: &Host| loss.names.iter().any(|name| asked.is_within(&Host::new(name)));
            loss.names.is_empty() || asked.as_ref().is_none_or(has)
        };
        let lost = compiled.filter(is_meant);
        servers.chain(lost.map(|loss| (Origin::new(loss.key, loss.place), loss.told))).collect()
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
            peers: source.peers.map(|(key, path)| Origin { key, path }),
            rule: source.rule.map(|(key, path)| Origin::new(key, path)),
            names: source.names,
            parts: source.parts,
            port: source.port,
            asks: source.asks,
        };
        let Some(plan) = self.listeners.plan(listener) else {
            return self.sidecar.chains(listener).iter().cloned().map(origin).collect();
        };
        let bound = |gateway: &str| self.index.bound_to(gateway);
        let found = listener::listener(plan, bound, self.egress_port(plan), &self.context());
        found.sources.into_iter().map(origin).collect()
    }

    /// What the routes of a virtual host were made from; `None` when there is no such virtual host, or none
    /// that an object made.
    #[must_use]
    pub fn host_origins(&self, table: &str, virtual_host: &str) -> Option<HostOrigins> {
        let mut onward = None;
        let (routes, before): (Vec<(Place, ObjectKey)>, usize) = match self.tables.get(table) {
            Some(table) => {
                let routing = table.routing_of(virtual_host)?;
                (routing.routes.clone(), routing.demands().routes_before())
            }
            None => match self.sidecar.host(table, virtual_host)? {
                (Target::Rules(key, to), place) => {
                    onward = Some(to);
                    (vec![(place, key.clone())], 0)
                }
                (Target::Service(_) | Target::Elsewhere(_), _) => return None,
            },
        };
        let mut origins = HostOrigins::default();
        origins.routes.resize(before, None);
        let mut all: Vec<(&VirtualService, EncodedRoute)> = Vec::new();
        for (place, key) in &routes {
            let Some(service) = self.index.virtual_service(key) else { continue };
            let routes = virtual_host::routes(service, place, onward, &self.context());
            self.left_out(service, place, &routes, &mut origins);
            all.extend(routes.into_iter().map(|route| (&**service, route)));
        }
        for catch_all in [false, true] {
            let group = all.iter().filter(|(_, route)| route.is_catch_all() == catch_all);
            let found = group.filter_map(|(service, r)| origin(service, r.rule, r.condition));
            origins.routes.extend(found.map(Some));
        }
        let ordered = |catch_all| {
            all.iter().map(|(_, route)| route).filter(move |r| r.is_catch_all() == catch_all)
        };
        let ordered: Vec<&EncodedRoute> = ordered(false).chain(ordered(true)).collect();
        if let Some(patched) = self.patched_routes(table, virtual_host, &ordered) {
            let before = std::mem::take(&mut origins.routes);
            for (number, patch) in patched.removed {
                let Some(origin) = before.get(number).cloned().flatten() else { continue };
                let reason = removed_by(&patch);
                origins.removed.push((origin.clone(), patch));
                origins.left_out.push(LeftOut { origin, reason, elsewhere: None });
            }
            let of = |route| match route {
                Ok(number) => before.get(number).cloned().flatten(),
                Err(rule) => Some(RouteOrigin { root: None, rule, mirrors: Vec::new() }),
            };
            origins.routes = patched.kept.into_iter().map(of).collect();
        }
        Some(origins)
    }

    /// Why rules of a VirtualService do not act for a sidecar's port, each with where it stands.
    #[must_use]
    pub fn idle_in_mesh(&self, key: &ObjectKey, port: u16) -> Vec<LeftOut> {
        self.idle_at(key, &Scope::place(port))
    }

    /// Why rules of a VirtualService that has no part in a place do not act there, each with where it stands.
    #[must_use]
    pub fn idle_at(&self, key: &ObjectKey, place: &Place) -> Vec<LeftOut> {
        let mut origins = HostOrigins::default();
        if let Some(service) = self.index.virtual_service(key) {
            self.left_out(service, place, &[], &mut origins);
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
                let reason = if !is_served(&rule.says, &self.options) {
                    "it has no route, redirect or directResponse that is served".to_owned()
                } else if let Some(asked) = not_here {
                    match here(&asked, place, &self.options) {
                        Some(here) => format!("it asks for {asked}; {here}"),
                        None => format!("it asks for {asked}"),
                    }
                } else if let Some(last) = last.and_then(|l| origin(service, l.rule, l.condition)) {
                    let Origin { key, path } = &last.rule;
                    let of = if *key == rule.key { String::new() } else { format!(" of {key}") };
                    format!("{path}{of} takes every request before it")
                } else {
                    continue;
                };
                let elsewhere = not_here.zip(condition).map(|(asked, condition)| Elsewhere {
                    asks: asked.to_string(),
                    matched: matches::of_condition(
                        condition,
                        service.semantics != Semantics::Plain,
                    ),
                });
                let elsewhere = elsewhere.filter(|_| is_served(&rule.says, &self.options));
                let origin = origin(service, r, number);
                origins.left_out.extend(origin.map(|origin| LeftOut { origin, reason, elsewhere }));
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
                    RouteOrigin { root: Some(root), rule, mirrors: Vec::new() }
                }
                None => RouteOrigin { root: None, rule: root, mirrors: Vec::new() },
            };
            let reason = match unmet.reason {
                UnmetReason::Missing => status::missed(unmet, self.view()),
                _ => unmet.to_string(),
            };
            origins.left_out.push(LeftOut { origin, reason, elsewhere: None });
        }
    }
}

/// What a condition finds at a place in place of what it asks for, in words. At a gateway the caller is the gateway itself.
fn here(asked: &NotHere<'_>, place: &Place, options: &Options) -> Option<String> {
    let Place { gateway, port, .. } = place;
    let in_mesh = **gateway == *names::MESH;
    let caller = if in_mesh { "the caller is this workload" } else { "the caller is the gateway" };
    Some(match asked {
        NotHere::Port(_) if in_mesh => format!("this is port {port} of the mesh"),
        NotHere::Port(_) => format!("this is port {port} of Gateway {gateway}"),
        NotHere::Gateways(_) if in_mesh => "this is gateway mesh, a sidecar's".to_owned(),
        NotHere::Gateways(_) => format!("this is Gateway {gateway}"),
        NotHere::SourceLabels(_) if options.labels.is_empty() => {
            format!("{caller}, without labels")
        }
        NotHere::SourceLabels(_) => {
            let labels = options.labels.iter().map(|(name, value)| format!("{name}={value}"));
            let labels: Vec<String> = labels.collect();
            format!("{caller}, with labels {}", labels.join(","))
        }
        NotHere::SourceNamespace(_) => format!("{caller}, of namespace {}", options.namespace),
        NotHere::Unfit => return None,
    })
}

/// Where a rule that applies stands, or one of its conditions.
fn origin(service: &VirtualService, rule: usize, condition: Option<usize>) -> Option<RouteOrigin> {
    let rule = service.rules.get(rule)?;
    let root = rule.root_place(condition).map(|place| Origin::new(service.key.clone(), place));
    let mirrors = traffic::copies(&rule.says).map(|(field, destination, _)| {
        let (key, place) = mirror_place(service, rule, &field, destination);
        Origin::new(key.clone(), place)
    });
    Some(RouteOrigin {
        root,
        mirrors: mirrors.collect(),
        rule: Origin::new(rule.key.clone(), rule.condition_place(condition)),
    })
}

/// Where a rule's copies to a destination are asked for: where it is a delegate's, perhaps in the rule that leads to it.
fn mirror_place<'k>(
    service: &'k VirtualService,
    rule: &'k Rule,
    field: &str,
    destination: &Destination,
) -> (&'k ObjectKey, String) {
    let number = rule.root_number();
    let root = number.and_then(|number| Some((number, service.http.get(number)?)));
    let asks = |says: &HttpRoute| {
        traffic::copies(says).any(|(other, to, _)| other == field && to == destination)
    };
    match root.filter(|(_, says)| asks(says)) {
        Some((number, _)) => (&service.key, format!("http[{number}].{field}")),
        None => (&rule.key, format!("{}.{field}", rule.place())),
    }
}

//! Status of EnvoyFilters: which patches are made, which cannot be, and which are for nothing that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::envoy_filter::{
    ApplyTo, ClusterMatch, ObjectMatch, Operation, RouteConfigurationMatch,
};
use tidegate_api::scalar::Port;
use tidegate_xds::ResourceType;

use super::{Findings, Force, View, standing};
use crate::compile::authorization::HTTP_FILTER;
use crate::compile::route::name as route_name;
use crate::compile::{claims, connection_manager, traffic};
use crate::engine::RouteTable;
use crate::model::destination_rule::Effective;
use crate::model::envoy_filter::{EnvoyFilter, Others, Patch, path};
use crate::model::merge::ListenerPlan;
use crate::model::names;
use crate::model::target::why_not;
use crate::patch::matches::{self, RoutePlace};
use crate::patch::merge::socket_alone;
use crate::patch::per_filter::{self, Setting};

/// The reason of faults that the proxy finds, or would.
const REFUSED: &str = "Refused";
/// The reason of faults that nothing comes of, as Envoy has it.
const NO_EFFECT: &str = "NoEffect";
/// The HTTP filters that stand in every listener without any patch.
const OWN_FILTERS: [&str; 3] = [traffic::CORS, traffic::FAULT, connection_manager::ROUTER];
/// How many listeners, route configurations and so on are named to who names another one.
const MOST_NAMED: usize = 8;

/// What is wrong with an EnvoyFilter; `None` when it is for other proxies.
pub(super) fn findings(key: &ObjectKey, view: View<'_>) -> Option<Findings> {
    let filter = view.filters.get(key)?;
    let mut findings = Findings::default();
    for (number, refused) in filter.refused.iter().enumerate() {
        let last = number + 1 == filter.refused.len();
        let rest = if last { "; nothing of this EnvoyFilter is applied" } else { "" };
        findings.fault(REFUSED, format!("{}{rest}", refused.told()));
    }
    findings.advice.extend(filter.notices.iter().cloned());
    for refused in view.filters.newer(key) {
        findings.fault(REFUSED, format!("{}; the last good form serves on", refused.told()));
    }
    for refused in view.patches.refused(key) {
        let told = refused.told();
        findings.fault(REFUSED, format!("{told}; nothing of this EnvoyFilter is applied to it"));
    }
    // Patches with the same to say about what there is share a sentence.
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for patch in idle(filter, view) {
        let there = there(patch, view).or_else(|| missed(key, patch, view)).unwrap_or_default();
        match told.iter_mut().find(|(other, _)| *other == there) {
            Some((_, paths)) => paths.push(path(patch.number)),
            None => told.push((there, vec![path(patch.number)])),
        }
    }
    for (there, paths) in told {
        let matches = if paths.len() == 1 { "matches" } else { "match" };
        let told = format!("{} {matches} nothing that this proxy has{there}", paths.join(", "));
        findings.fault("NoMatch", told);
    }
    for unread in unread(filter, view) {
        findings.fault(NO_EFFECT, unread.told);
    }
    for told in unlimited(filter, view).into_iter().chain(beside_socket(filter)) {
        findings.fault(NO_EFFECT, told);
    }
    Some(findings)
}

/// Limits by descriptors, where nothing says what a request is known by.
fn unlimited(filter: &EnvoyFilter, view: View<'_>) -> Vec<String> {
    let by_number: BTreeMap<usize, &Patch> =
        filter.patches.iter().map(|patch| (patch.number, patch)).collect();
    let mut open = by_number.values().flat_map(|patch| {
        let paths = patch.descriptors.open.iter();
        paths.map(|open| format!("{}.patch.value{open}", path(patch.number)))
    });
    let known = |filter: &Arc<EnvoyFilter>| {
        let made = view.patches.made(&filter.key);
        let mut patches = filter.patches.iter();
        patches.any(|patch| patch.descriptors.known && made.contains(&patch.number))
    };
    let Some(first) = open.next().filter(|_| !view.filters.applied().any(known)) else {
        return Vec::new();
    };
    let told = |path: String| {
        format!(
            "{path} limit nobody: what a request is known by is said nowhere; add rate_limits with actions to the filter, or to a \
             virtual host or route"
        )
    };
    std::iter::once(first).chain(open).map(told).collect()
}

/// What is merged into no cluster, as it stands beside a transport socket.
fn beside_socket(filter: &EnvoyFilter) -> Vec<String> {
    let merges = |patch: &&Patch| {
        matches!(patch.operation, Operation::Merge | Operation::MergeAndReplaceList)
    };
    let by_number: BTreeMap<usize, &Patch> = filter
        .patches(ApplyTo::Cluster)
        .filter(merges)
        .map(|patch| (patch.number, patch))
        .collect();
    let told = by_number.into_values().filter_map(|patch| {
        let (_, dropped) = socket_alone(patch.value.as_ref()?)?;
        (!dropped.is_empty()).then(|| {
            format!(
                "{}.patch.value: {} without effect: beside transport_socket nothing else is merged into a cluster, as in Istio; \
                 use another patch for the rest",
                path(patch.number),
                list(dropped.iter().map(String::as_str))
            )
        })
    });
    told.collect()
}

/// Something that a patch says to an HTTP filter which does not stand before the routes that it says it of.
struct Unread {
    patch: usize,
    /// Whether the patch says nothing else, and this nowhere with effect.
    whole: bool,
    told: String,
}

fn unread(filter: &EnvoyFilter, view: View<'_>) -> Vec<Unread> {
    let by_number: BTreeMap<usize, &Patch> =
        filter.patches.iter().map(|patch| (patch.number, patch)).collect();
    by_number.into_values().flat_map(|patch| unread_of(&filter.key, patch, view)).collect()
}

fn unread_of(key: &ObjectKey, patch: &Patch, view: View<'_>) -> Vec<Unread> {
    let Some(value) = &patch.value else { return Vec::new() };
    let settings = per_filter::settings(value);
    if settings.is_empty() {
        return Vec::new();
    }
    let places = reading(&view.patches.tables_of(key, patch.number), view);
    let without = |filter: &str| -> Vec<&str> {
        let lacks = |(_, listeners): &&(&str, Vec<&str>)| {
            !is_own(filter, view) && !listeners.iter().any(|at| is_brought(filter, at, view))
        };
        places.iter().filter(lacks).map(|(place, _)| *place).collect()
    };
    let without: Vec<(&Setting, Vec<&str>)> =
        settings.iter().map(|setting| (setting, without(&setting.filter))).collect();
    let nowhere = without.iter().all(|(_, without)| without.len() == places.len());
    let whole = nowhere && !per_filter::says_more(value);
    let lacking = without.into_iter().filter(|(_, without)| !without.is_empty());
    let told = |setting: &Setting, without: Vec<&str>| {
        let (path, listeners) = (path(patch.number), list(without.into_iter()));
        format!(
            "{path}.patch.value{} has no effect at {listeners}: no HTTP filter of this name is there; add it with a patch of HTTP_FILTER",
            setting.path
        )
    };
    let unread =
        |(setting, without)| Unread { patch: patch.number, whole, told: told(setting, without) };
    lacking.map(unread).collect()
}

/// Where what is said of these route configurations may be read: each listener by itself; of a sidecar, whose listeners are not
/// planned in these tables, any.
fn reading<'v>(tables: &BTreeSet<&str>, view: View<'v>) -> Vec<(&'v str, Vec<&'v str>)> {
    if view.options.workload().is_some() {
        let any =
            (!tables.is_empty()).then(|| ("any listener", view.patches.listeners().collect()));
        return any.into_iter().collect();
    }
    let plans = view.listeners.names().filter_map(|name| view.listeners.plan(name));
    let carries = |plan: &&ListenerPlan| plan.routes.iter().any(|own| tables.contains(&*own.name));
    plans.filter(carries).map(|plan| (&*plan.name, vec![&*plan.name])).collect()
}

/// Whether an HTTP filter of a name stands in every listener that may have it, without any patch.
fn is_own(filter: &str, view: View<'_>) -> bool {
    match filter {
        claims::FILTER => view.tokens.filter.is_some(),
        HTTP_FILTER => !view.authorization.requests.is_empty(),
        own => OWN_FILTERS.contains(&own),
    }
}

/// Whether a patch has brought an HTTP filter of a name to a listener, by itself or inside of something.
fn is_brought(filter: &str, listener: &str, view: View<'_>) -> bool {
    let brings = |(key, number): &(ObjectKey, usize)| {
        let patches = view.filters.get(key).map(|filter| &filter.patches);
        let mut own = patches.into_iter().flatten().filter(|patch| patch.number == *number);
        own.any(|patch| match (patch.apply_to, &patch.value) {
            (ApplyTo::HttpFilter, Some(value)) => matches::text(value, "name") == filter,
            _ => true,
        })
    };
    let speaking = view.patches.speaking_of(filter, ResourceType::Listener, listener, view.filters);
    speaking.iter().any(brings)
}

/// Where a patch names something that is not there: what there is of its sort.
fn there(patch: &Patch, view: View<'_>) -> Option<String> {
    if view.options.workload().is_some() {
        return None; // A sidecar's are not planned in these tables.
    }
    let plans = || view.listeners.names().filter_map(|name| view.listeners.plan(name));
    if !plans().any(|plan| matches::listener_plan(&patch.what, plan)) {
        let names: Vec<Arc<str>> = plans().flat_map(ListenerPlan::names).collect();
        let names = list(names.iter().map(|name| &**name));
        return Some(format!("; its listeners, which go by the port that is bound, are {names}"));
    }
    let wanted = patch.what.route_configuration.as_ref();
    let routes = wanted.and_then(|wanted| routes(&patch.what, wanted, view));
    routes.or_else(|| clusters(patch.what.cluster.as_ref()?, view))
}

/// Where a patch names a route configuration, a virtual host or a route that is not there: those that there are.
fn routes(what: &ObjectMatch, wanted: &RouteConfigurationMatch, view: View<'_>) -> Option<String> {
    if !wanted.name.is_empty() && !view.tables.contains_key(&*wanted.name) {
        let names = list(view.tables.keys().map(|name| &**name));
        return Some(format!(
            "; its route configurations, which go by the port that is bound, are {names}"
        ));
    }
    let named =
        view.tables.iter().filter(|(name, _)| wanted.name.is_empty() || ***name == *wanted.name);
    let named = named.map(|(name, table)| (RoutePlace::of_gateway(name, table.servers()), table));
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        named.partition(|(place, _)| matches::route_configuration(what, place));
    if here.is_empty() && !elsewhere.is_empty() {
        let servers = elsewhere.iter().flat_map(|(place, _)| &place.servers);
        let servers: BTreeSet<String> = servers.map(ToString::to_string).collect();
        return Some(format!("; the servers there are {}", list(servers.iter().map(|s| &**s))));
    }
    let tables = || here.iter().map(|(_, table)| *table);
    let host = wanted.vhost.as_ref()?;
    let hosts: BTreeSet<Arc<str>> = tables().flat_map(RouteTable::names).collect();
    let of = if elsewhere.is_empty() && wanted.name.is_empty() { "" } else { " there" };
    if !host.name.is_empty() && !hosts.contains(&*host.name) {
        return Some(format!("; its virtual hosts{of} are {}", list(hosts.iter().map(|h| &**h))));
    }
    let asked = |name: &&Arc<str>| host.name.is_empty() || ***name == *host.name;
    let domains: BTreeSet<String> = (hosts.iter().filter(asked))
        .flat_map(|name| tables().flat_map(move |table| table.domains(name)))
        .collect();
    if !host.domain_name.is_empty() && !domains.contains(&host.domain_name) {
        let of = if host.name.is_empty() { of.to_owned() } else { format!(" of {}", host.name) };
        let domains = list(domains.iter().map(String::as_str));
        return Some(format!("; the domains{of} are {domains}"));
    }
    let route = host.route.as_ref().filter(|route| !route.name.is_empty())?;
    let hosts = hosts.iter().filter(|own| host.name.is_empty() || ***own == *host.name);
    let owners = hosts.flat_map(|host| {
        let routings = tables().filter_map(move |table| table.routing_of(host));
        routings.flat_map(|routing| routing.routes.iter().map(|(_, key)| key))
    });
    let services = owners.filter_map(|key| view.index.virtual_service(key));
    let names = services.flat_map(|service| &service.rules).flat_map(|rule| {
        let names = rule.conditions().map(move |(_, condition)| route_name(&rule.says, condition));
        names.filter(|name| !name.is_empty())
    });
    let names: BTreeSet<String> = names.collect();
    // What is there may be of another action, or of another port.
    (!names.contains(&route.name)).then(|| {
        let of = if host.name.is_empty() { "here" } else { &*host.name };
        let names = list(names.iter().map(String::as_str));
        format!("; the names of routes (http[].name) of {of} are {names}")
    })
}

/// Where a patch names a service, or a port or subset of one, that is not there: those that there are.
fn clusters(wanted: &ClusterMatch, view: View<'_>) -> Option<String> {
    let named = names::of_cluster(&wanted.name);
    let (host, port, subset) = match wanted.name.is_empty() {
        true => (&*wanted.service, wanted.port_number.map(Port::get), &*wanted.subset),
        false => named.map(|(host, port, subset)| (host, Some(port), subset))?,
    };
    if host.is_empty() {
        return None;
    }
    let ports = view.registry.ports(host);
    let Some((service, _)) = ports.values().next() else {
        let hosts = list(view.registry.hosts().map(|host| &**host));
        return Some(format!("; the hosts of its clusters are {hosts}"));
    };
    if port.is_some_and(|port| !ports.contains_key(&port)) {
        let ports: Vec<String> = ports.keys().map(ToString::to_string).collect();
        return Some(format!("; the ports of {host} are {}", ports.join(", ")));
    }
    let rules = view.rules.find(host, Some(&service.key.namespace), view.options);
    let subsets: Vec<&str> =
        rules.iter().flat_map(Effective::subsets).map(|subset| &*subset.name).collect();
    (!subset.is_empty() && !subsets.contains(&subset))
        .then(|| format!("; the subsets of {host} are {}", list(subsets.into_iter())))
}

/// Where a patch names a filter that is not there: those that there are in its place.
fn missed(key: &ObjectKey, patch: &Patch, view: View<'_>) -> Option<String> {
    let missed = view.patches.missed(key, &BTreeSet::from([patch.number])).into_iter();
    let told: String = missed
        .map(|(filters, names)| {
            format!("; the {} there are {}", filters.words(), list(names.into_iter()))
        })
        .collect();
    (!told.is_empty()).then_some(told)
}

/// Some names, in their order.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(MOST_NAMED);
    names.truncate(MOST_NAMED);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// The patches that nothing was changed by, and nothing refused either, each once.
fn idle<'f>(filter: &'f EnvoyFilter, view: View<'_>) -> Vec<&'f Patch> {
    if !filter.refused.is_empty() {
        return Vec::new();
    }
    let mut busy = view.patches.made(&filter.key);
    let refused = view.patches.refused(&filter.key);
    // Nothing more is known of an EnvoyFilter that was refused somewhere.
    let known = refused.is_empty();
    busy.extend(refused.iter().map(|refused| refused.patch));
    let idle = filter.patches.iter().filter(|patch| known && !busy.contains(&patch.number));
    let by_number: BTreeMap<usize, &Patch> = idle.map(|patch| (patch.number, patch)).collect();
    by_number.into_values().collect()
}

/// Whether anything of an EnvoyFilter is in force.
pub(super) fn force(key: &ObjectKey, findings: Option<&Findings>, view: View<'_>) -> Force {
    let (Some(filter), Some(findings)) = (view.filters.get(key), findings) else {
        let message = match view.filters.others(key) {
            Some(Others::Namespace) => {
                let (own, root) = (&view.options.namespace, &view.options.root_namespace);
                let both = if own == root { own.clone() } else { format!("{own} or {root}") };
                let this = standing::this(view);
                format!(
                    "it is for workloads of its own namespace: for this {this} it has to be in {both}"
                )
            }
            Some(Others::Targets) => why_not("workloadSelector.labels", view.options),
            Some(Others::Labels) | None => standing::not_selected(view),
        };
        return Force::nothing("NotSelected", message);
    };
    let unread = unread(filter, view);
    let without_effect = |number: &usize| unread.iter().any(|u| u.patch == *number && u.whole);
    if view.patches.made(key).iter().any(|number| !without_effect(number)) {
        return Force::Whole;
    }
    match findings.first_and_all() {
        (Some(reason), faults) => Force::nothing(reason, faults),
        _ => match filter.elsewhere.first() {
            Some((number, reason)) => {
                Force::nothing("NotSelected", format!("{}.{reason}", path(*number)))
            }
            None => Force::nothing("NoMatch", "it has no patches"),
        },
    }
}

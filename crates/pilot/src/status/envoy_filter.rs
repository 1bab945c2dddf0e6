//! Status of EnvoyFilters: which patches are made, which cannot be, and which are for nothing that is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::{Findings, Force, View, standing};
use crate::model::envoy_filter::{EnvoyFilter, Others, Patch, path};
use crate::model::merge::ListenerPlan;
use crate::model::target::why_not;
use crate::patch::matches;

/// The reason of faults that the proxy finds, or would.
const REFUSED: &str = "Refused";
/// How many listeners or route configurations are named to who names another one.
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
    let idle = idle(filter, view);
    if !idle.is_empty() {
        let told = "matches nothing that this proxy has";
        let paths: Vec<String> = idle.iter().map(|patch| path(patch.number)).collect();
        let there = there(&idle, view).or_else(|| missed(key, &idle, view)).unwrap_or_default();
        findings.fault("NoMatch", format!("{} {told}{there}", paths.join(", ")));
    }
    Some(findings)
}

/// Where patches name a listener or a route configuration that is not there: those that there are.
fn there(idle: &[&Patch], view: View<'_>) -> Option<String> {
    if view.options.workload().is_some() {
        return None; // A sidecar's are not planned in these tables.
    }
    let plans = || view.listeners.names().filter_map(|name| view.listeners.plan(name));
    let listens = |patch: &&Patch| plans().any(|plan| matches::listener_plan(&patch.what, plan));
    if !idle.iter().all(listens) {
        let names: Vec<Arc<str>> = plans().flat_map(ListenerPlan::names).collect();
        let names = list(names.iter().map(|name| &**name));
        return Some(format!("; its listeners, which go by the port that is bound, are {names}"));
    }
    let routed = |patch: &&Patch| {
        let wanted = patch.what.route_configuration.as_ref().map_or("", |wanted| &*wanted.name);
        wanted.is_empty() || view.tables.contains_key(wanted)
    };
    (!idle.iter().all(routed)).then(|| {
        let names = list(view.tables.keys().map(|name| &**name));
        format!("; its route configurations, which go by the port that is bound, are {names}")
    })
}

/// Where patches name a filter that is not there: those that there are in its place.
fn missed(key: &ObjectKey, idle: &[&Patch], view: View<'_>) -> Option<String> {
    let idle = idle.iter().map(|patch| patch.number).collect();
    let missed = view.patches.missed(key, &idle).into_iter();
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
    if !view.patches.made(key).is_empty() {
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

//! Rules that get no request, as another always goes before them: within one VirtualService, or among those that share
//! a host.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::Index;
use crate::compile::Context;
use crate::compile::cover::Taken;
use crate::compile::virtual_host::{self, EncodedRoute};
use crate::model::rule::Rule;
use crate::model::virtual_service::{Place, VirtualService};

/// What is said of rules that get no request, by VirtualService and virtual host.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    told: HashMap<ObjectKey, BTreeMap<Arc<str>, Vec<String>>>,
    on_host: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// VirtualServices of which something else is to be said.
    touched: BTreeSet<ObjectKey>,
}

impl Shadows {
    /// Replaces what is said of a virtual host.
    pub(crate) fn found(&mut self, host: &Arc<str>, all: Vec<(ObjectKey, String)>) {
        self.forget(host);
        for (key, message) in all {
            self.touched.insert(key.clone());
            self.on_host.entry(Arc::clone(host)).or_default().insert(key.clone());
            let hosts = self.told.entry(key).or_default();
            hosts.entry(Arc::clone(host)).or_default().push(message);
        }
    }

    /// Forgets a virtual host that is gone.
    pub(crate) fn forget(&mut self, host: &str) {
        for key in self.on_host.remove(host).unwrap_or_default() {
            if let Some(hosts) = self.told.get_mut(&key) {
                hosts.remove(host);
                if hosts.is_empty() {
                    self.told.remove(&key);
                }
            }
            self.touched.insert(key);
        }
    }

    /// The VirtualServices of which something else may be said than at the last time.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.touched)
    }

    /// What is said of a VirtualService; the same of several hosts once.
    pub(crate) fn of(&self, key: &ObjectKey) -> BTreeSet<&str> {
        let hosts = self.told.get(key).into_iter().flat_map(BTreeMap::values);
        hosts.flatten().map(String::as_str).collect()
    }
}

/// Looks for such rules in a virtual host, whose routes are those of `parts` in order; `domain` stands for its hosts.
pub(crate) fn find<'a>(
    parts: impl Iterator<Item = (&'a (Place, ObjectKey), &'a Vec<EncodedRoute>)> + Clone,
    domain: &str,
    index: &Index,
    context: &Context<'_>,
) -> Vec<(ObjectKey, String)> {
    let mut lost = Vec::new();
    let mut taken = Taken::default();
    let mut seen: Vec<(&VirtualService, &EncodedRoute)> = Vec::new();
    for catch_all in [false, true] {
        for ((_, key), routes) in parts.clone() {
            let Some(service) = index.virtual_service(key) else { continue };
            for route in routes.iter().filter(|route| route.is_catch_all() == catch_all) {
                let number = seen.len();
                seen.push((service, route));
                let before = taken.add(number, &route.matched).and_then(|first| seen.get(first));
                // A VirtualService may be bound by two Gateways of one port.
                let itself = |(winner, first): &&(&VirtualService, &EncodedRoute)| {
                    winner.key == service.key
                        && (first.rule, first.condition) == (route.rule, route.condition)
                };
                if let Some((winner, first)) = before.filter(|before| !itself(before)) {
                    tell(
                        service,
                        (route.rule, route.condition),
                        (winner, first),
                        domain,
                        &mut lost,
                    );
                }
            }
        }
    }
    for ((place, key), routes) in parts {
        let Some(service) = index.virtual_service(key) else { continue };
        let Some(last) = routes.last().filter(|route| route.is_catch_all()) else { continue };
        for missing in virtual_host::unreached(service, place, routes, context) {
            tell(service, missing, (service, last), domain, &mut lost);
        }
    }
    lost
}

/// Tells the object that a rule is written in, and the one that leads to it.
fn tell(
    service: &VirtualService,
    (rule, condition): (usize, Option<usize>),
    (winner, first): (&VirtualService, &EncodedRoute),
    domain: &str,
    lost: &mut Vec<(ObjectKey, String)>,
) {
    let Some(rule) = service.rules.get(rule) else { return };
    let Some(taker) = winner.rules.get(first.rule) else { return };
    let all = if first.is_catch_all() { "every request" } else { "all that it asks for" };
    for key in BTreeSet::from([&service.key, &rule.key]) {
        let place = named(rule, condition, key);
        let taker = named(taker, first.condition, key);
        let message = if winner.key == service.key {
            format!("{place} is never reached: {taker} goes first and takes {all}")
        } else {
            format!("{place} is never reached on host {domain}: {taker} goes first and takes {all}")
        };
        lost.push((key.clone(), message));
    }
}

/// Where a rule or one of its conditions stands, as it is told to an object.
fn named(rule: &Rule, condition: Option<usize>, to: &ObjectKey) -> String {
    let place = rule.condition_place(condition);
    if rule.key == *to { place } else { format!("{place} of {}", rule.key) }
}

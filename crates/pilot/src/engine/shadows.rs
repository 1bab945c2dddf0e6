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
    /// Where a VirtualService has a rule that gets requests.
    alive: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
    alive_on: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// VirtualServices of which something else is to be said.
    touched: BTreeSet<ObjectKey>,
}

/// What is found in a virtual host.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Rules that get no request, in words, with the object that is told.
    lost: Vec<(ObjectKey, String)>,
    /// The VirtualServices that have one that does.
    alive: BTreeSet<ObjectKey>,
}

impl Shadows {
    /// Replaces what is known of a virtual host.
    pub(crate) fn found(&mut self, host: &Arc<str>, found: Found) {
        self.forget(host);
        for key in &found.alive {
            self.alive.entry(key.clone()).or_default().insert(Arc::clone(host));
        }
        if !found.alive.is_empty() {
            self.alive_on.insert(Arc::clone(host), found.alive);
        }
        for (key, message) in found.lost {
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
        for key in self.alive_on.remove(host).unwrap_or_default() {
            if let Some(hosts) = self.alive.get_mut(&key) {
                hosts.remove(host);
                if hosts.is_empty() {
                    self.alive.remove(&key);
                }
            }
        }
    }

    /// Whether none of a VirtualService's rules for requests gets any, and that is because others go first.
    pub(crate) fn hide(&self, key: &ObjectKey) -> bool {
        self.told.contains_key(key) && !self.alive.contains_key(key)
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
) -> Found {
    let Found { mut lost, mut alive } = Found::default();
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
                let at = (route.rule, route.condition);
                match before.filter(|before| !itself(before)) {
                    Some((winner, first)) => tell(service, at, (winner, first), domain, &mut lost),
                    None => _ = alive.insert(service.key.clone()),
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
    Found { lost, alive }
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

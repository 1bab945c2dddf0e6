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
    told: HashMap<ObjectKey, BTreeMap<Arc<str>, Vec<Lost>>>,
    on_host: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// Which rules of an object get requests, and where.
    alive: HashMap<ObjectKey, BTreeMap<Arc<str>, BTreeSet<Spot>>>,
    alive_on: HashMap<Arc<str>, Living>,
    /// VirtualServices of which something else is to be said.
    touched: BTreeSet<ObjectKey>,
}

/// A rule, and one of its conditions if it has any: as an object that is told of it counts them.
type Spot = (usize, Option<usize>);

/// A virtual host in which rules get requests.
#[derive(Debug, Default)]
struct Living {
    keys: BTreeSet<ObjectKey>,
    domains: Arc<[String]>,
}

/// A rule that gets no request in a virtual host.
#[derive(Debug)]
struct Lost {
    spot: Spot,
    /// Where it stands, in words.
    place: String,
    /// Why, in words.
    why: String,
    /// On which port and for which hosts; not told where the rule that goes first is the same object's.
    at: Option<(u16, Arc<[String]>)>,
}

/// What is found in a virtual host.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Rules that get no request, with the object that is told.
    lost: Vec<(ObjectKey, Lost)>,
    /// Rules that do, by object.
    alive: BTreeMap<ObjectKey, BTreeSet<Spot>>,
    /// The hosts of the virtual host.
    domains: Arc<[String]>,
}

impl Found {
    /// The same where none of these objects has a route in the end.
    pub(crate) fn without(mut self, objects: &BTreeSet<ObjectKey>) -> Self {
        self.alive.retain(|key, _| !objects.contains(key));
        self
    }
}

/// What is said of the rules of an object.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Of those that get no request for a host, or none at all.
    pub(crate) faults: BTreeSet<String>,
    /// Of those that get none on one port alone.
    pub(crate) notes: BTreeSet<String>,
}

impl Shadows {
    /// Replaces what is known of a virtual host.
    pub(crate) fn found(&mut self, host: &Arc<str>, found: Found) {
        self.forget(host);
        let Found { lost, alive, domains } = found;
        if !alive.is_empty() {
            let keys = alive.keys().cloned().collect();
            self.alive_on.insert(Arc::clone(host), Living { keys, domains });
        }
        for (key, spots) in alive {
            // What is lost elsewhere is got here.
            if self.told.contains_key(&key) {
                self.touched.insert(key.clone());
            }
            self.alive.entry(key).or_default().insert(Arc::clone(host), spots);
        }
        for (key, lost) in lost {
            self.touched.insert(key.clone());
            self.on_host.entry(Arc::clone(host)).or_default().insert(key.clone());
            let hosts = self.told.entry(key).or_default();
            hosts.entry(Arc::clone(host)).or_default().push(lost);
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
        for key in self.alive_on.remove(host).unwrap_or_default().keys {
            if let Some(hosts) = self.alive.get_mut(&key) {
                hosts.remove(host);
                if hosts.is_empty() {
                    self.alive.remove(&key);
                }
            }
            if self.told.contains_key(&key) {
                self.touched.insert(key);
            }
        }
    }

    /// Whether none of a VirtualService's rules for requests gets any, and that is because others go first.
    pub(crate) fn hide(&self, key: &ObjectKey) -> bool {
        self.told.contains_key(key) && !self.alive.contains_key(key)
    }

    /// Whether any of a VirtualService's rules for requests gets some.
    pub(crate) fn leave(&self, key: &ObjectKey) -> bool {
        self.alive.contains_key(key)
    }

    /// The VirtualServices of which something else may be said than at the last time.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.touched)
    }

    /// What is said of a VirtualService: each cause once, with all rules that it costs. Nothing is said of a rule that its
    /// own object gives requests elsewhere, as that is what was written.
    pub(crate) fn of(&self, key: &ObjectKey) -> Told {
        let mut causes: BTreeMap<(bool, String), Vec<&str>> = BTreeMap::new();
        let hosts = self.told.get(key).into_iter().flat_map(BTreeMap::values);
        for lost in hosts.flatten() {
            let mut alive = self.where_alive(key, lost.spot).peekable();
            let (partly, on) = match &lost.at {
                None if alive.peek().is_some() => continue,
                None => (false, String::new()),
                Some((port, domains)) => {
                    let domain = domains.first().map_or("", String::as_str);
                    let partly = alive.any(|living| living.iter().any(|d| d == domain));
                    let port = if partly { format!("port {port} of ") } else { String::new() };
                    (partly, format!(" on {port}host {domain}"))
                }
            };
            let places = causes.entry((partly, format!("{on}{}", lost.why))).or_default();
            // It is the same on several hosts.
            if !places.contains(&lost.place.as_str()) {
                places.push(&lost.place);
            }
        }
        let mut told = Told::default();
        for ((partly, why), places) in causes {
            let are = if places.len() == 1 { "is" } else { "are" };
            let said = format!("{} {are} never reached{why}", places.join(", "));
            if partly {
                told.notes.insert(said)
            } else {
                told.faults.insert(said)
            };
        }
        told
    }

    /// The hosts of each virtual host in which a rule of an object gets requests.
    fn where_alive(&self, key: &ObjectKey, spot: Spot) -> impl Iterator<Item = &[String]> {
        let hosts = self.alive.get(key).into_iter().flatten();
        let hosts = hosts.filter(move |(_, spots)| spots.contains(&spot));
        hosts.filter_map(|(host, _)| Some(&*self.alive_on.get(host)?.domains))
    }
}

/// Looks for such rules in a virtual host of these hosts, whose routes are those of `parts` in order.
pub(crate) fn find<'a>(
    parts: impl Iterator<Item = (&'a (Place, ObjectKey), &'a Vec<EncodedRoute>)> + Clone,
    domains: &[String],
    index: &Index,
    context: &Context<'_>,
) -> Found {
    let mut found = Found { domains: domains.into(), ..Found::default() };
    let mut taken = Taken::default();
    let mut seen: Vec<(Part<'_>, &EncodedRoute)> = Vec::new();
    for catch_all in [false, true] {
        for ((place, key), routes) in parts.clone() {
            let Some(service) = index.virtual_service(key) else { continue };
            let part = Part { service, place };
            for route in routes.iter().filter(|route| route.is_catch_all() == catch_all) {
                let number = seen.len();
                seen.push((part, route));
                let before = taken.add(number, &route.matched).and_then(|first| seen.get(first));
                // A VirtualService may be bound by two Gateways of one port.
                let itself = |(winner, first): &&(Part<'_>, &EncodedRoute)| {
                    winner.service.key == service.key
                        && (first.rule, first.condition) == (route.rule, route.condition)
                };
                let at = (route.rule, route.condition);
                match before.filter(|before| !itself(before)) {
                    Some(winner) => found.tell(part, at, *winner, index),
                    None => found.live(service, at),
                }
            }
        }
    }
    for ((place, key), routes) in parts {
        let Some(service) = index.virtual_service(key) else { continue };
        let part = Part { service, place };
        let Some(last) = routes.last().filter(|route| route.is_catch_all()) else { continue };
        for missing in virtual_host::unreached(service, place, routes, context) {
            found.tell(part, missing, (part, last), index);
        }
    }
    found
}

/// A VirtualService at a place.
#[derive(Clone, Copy)]
struct Part<'a> {
    service: &'a VirtualService,
    place: &'a Place,
}

impl Found {
    /// Notes that a rule gets requests, for the object that it is written in and the one that leads to it.
    fn live(&mut self, service: &VirtualService, (number, condition): Spot) {
        let Some(rule) = service.rules.get(number) else { return };
        for (key, spot) in spots(service, rule, (number, condition)) {
            self.alive.entry(key.clone()).or_default().insert(spot);
        }
    }

    /// Tells the object that a rule is written in, and the one that leads to it.
    fn tell(
        &mut self,
        Part { service, place }: Part<'_>,
        (number, condition): Spot,
        (winner, first): (Part<'_>, &EncodedRoute),
        index: &Index,
    ) {
        let Some(rule) = service.rules.get(number) else { return };
        let Some(taker) = winner.service.rules.get(first.rule) else { return };
        let all = if first.is_catch_all() { "every request" } else { "all that it asks for" };
        let itself = winner.service.key == service.key;
        let because = if itself {
            String::new()
        } else {
            why_first(taker, winner, Part { service, place }, index)
        };
        for (key, spot) in spots(service, rule, (number, condition)) {
            let at = (!itself).then(|| (place.port, Arc::clone(&self.domains)));
            let taker = named(taker, first.condition, key);
            let why = format!(": {taker} goes first{because} and takes {all}");
            let place = named(rule, condition, key);
            self.lost.push((key.clone(), Lost { spot, place, why, at }));
        }
    }
}

/// A rule as each object counts it that is told of it: the VirtualService, and the delegate where it is written in one.
fn spots<'a>(
    service: &'a VirtualService,
    rule: &'a Rule,
    (number, condition): Spot,
) -> BTreeMap<&'a ObjectKey, Spot> {
    let own = rule.own_condition(condition);
    BTreeMap::from([(&rule.key, (rule.number, own)), (&service.key, (number, own))])
}

/// Why the rules of a VirtualService come before those of another, in words.
fn why_first(taker: &Rule, winner: Part<'_>, loser: Part<'_>, index: &Index) -> String {
    let gateways = (&winner.place.gateway, &loser.place.gateway);
    if gateways.0 != gateways.1 {
        let why = index.why_gateway_first(gateways.0, gateways.1).unwrap_or("comes first");
        return format!(", as Gateway {} {why},", gateways.0);
    }
    match (&winner.service.order, &loser.service.order) {
        (Some(first), Some(then)) if first < then => {
            let it = if taker.key == winner.service.key {
                "it".to_owned()
            } else {
                winner.service.key.to_string()
            };
            format!(", as {it} {},", first.why_before(then))
        }
        _ => ", as its server comes first,".to_owned(),
    }
}

/// Where a rule or one of its conditions stands, as it is told to an object.
fn named(rule: &Rule, condition: Option<usize>, to: &ObjectKey) -> String {
    let place = rule.condition_place(condition);
    if rule.key == *to { place } else { format!("{place} of {}", rule.key) }
}

//! The condition `Programmed`: which objects wait for which generation, and which the proxy refuses.
//!
//! Pure bookkeeping. An object is programmed once every worker serves the generation that it was published
//! in, and no resource that it feeds is refused. A refusal that goes makes it programmed again. A listener is fed by its
//! Gateways; routes act through it, so that they are told of again when it is refused or comes back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::{Kind, ObjectKey};
use tidegate_pilot::Pilot;
use tidegate_pilot::model::gateway::Server;
use tidegate_pilot::origins::{Origin, RouteOrigin};
use tidegate_xds::assemble::split_virtual_host_name;
use tidegate_xds::{Rejection, ResourceType, Verdicts};

/// What is to be told of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which object.
    pub key: ObjectKey,
    /// `metadata.generation` of the form that this is about.
    pub generation: i64,
    /// Why the proxy refuses what the object feeds; nothing when every worker serves it, or a part of it.
    pub refusal: Option<String>,
    /// What of a Gateway is not served, while the rest of it is.
    pub lost: Option<String>,
}

/// A server of a Gateway at a listener where it is open, as far as compiling decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// Its position among the Gateway's servers.
    pub server: usize,
    /// Its port, as it is written.
    pub port: u16,
    /// Whether it says an address to listen on.
    pub bound: bool,
    /// The listener.
    pub listener: Arc<str>,
}

impl Seat {
    /// What is refused of it, in words.
    fn refused(&self, rejection: &Rejection) -> String {
        let Self { server, port, bound, .. } = self;
        if rejection.path != ADDRESS {
            return format!("servers[{server}] (port {port}): {}", reason(rejection));
        }
        let field = if *bound { "bind" } else { "port" };
        format!("servers[{server}].{field} (port {port}): {}", reason(rejection))
    }
}

/// Where a listener is refused that cannot be opened.
const ADDRESS: &str = "address";

/// Objects on their way to the workers.
#[derive(Debug, Default)]
pub struct Programmed {
    /// Objects (with `metadata.generation`) by the snapshot generation that they wait for.
    waiting: BTreeMap<u64, Vec<(ObjectKey, i64)>>,
    /// The last generation of each object that was published.
    published: HashMap<ObjectKey, i64>,
    /// Objects that feed a refused resource, with the reason.
    refused: BTreeMap<ObjectKey, String>,
    /// Gateways of which something is refused and the rest served, with the reason.
    lost: BTreeMap<ObjectKey, String>,
    /// Objects whose own form is what is refused: of Secrets and what names them, the former.
    unfit: BTreeSet<ObjectKey>,
    /// Listeners that are refused, with the reason.
    closed: BTreeMap<Arc<str>, String>,
}

/// What leads from resources to objects.
pub trait Origins {
    /// The objects that a resource was compiled from.
    fn owners(&self, kind: ResourceType, name: &str) -> Vec<ObjectKey>;
    /// The Secrets that a secret's content comes from.
    fn secrets(&self, name: &str) -> Vec<ObjectKey>;
    /// The server that a filter chain of a listener was compiled from: its Gateway, and its position there.
    fn chain_server(&self, listener: &str, chain: usize) -> Option<(ObjectKey, usize)>;
    /// The servers of a Gateway that are open, as far as compiling decides.
    fn seats(&self, gateway: &ObjectKey) -> Vec<Seat>;
    /// The parts of objects that a route of a virtual host was compiled from; none of a route that no object asked for.
    fn route_origins(&self, virtual_host: &str, route: usize) -> Vec<Origin>;
    /// The routes that act through a listener.
    fn attached(&self, listener: &str) -> Vec<ObjectKey>;
}

impl Origins for Pilot {
    fn owners(&self, kind: ResourceType, name: &str) -> Vec<ObjectKey> {
        let mut owners = Self::owners(self, kind, name);
        if kind == ResourceType::Listener {
            owners.retain(|owner| owner.kind == Kind::Gateway);
        }
        owners
    }

    fn secrets(&self, name: &str) -> Vec<ObjectKey> {
        self.secret_sources(name)
    }

    fn chain_server(&self, listener: &str, chain: usize) -> Option<(ObjectKey, usize)> {
        let server = self.chain_origins(listener).into_iter().nth(chain)?.server?;
        Some((server.key.clone(), server.index))
    }

    fn seats(&self, gateway: &ObjectKey) -> Vec<Seat> {
        let seat = |(server, listener): (Arc<Server>, Arc<str>)| Seat {
            server: server.index,
            port: server.port,
            bound: !server.bind.is_empty(),
            listener,
        };
        self.open_servers(gateway).into_iter().map(seat).collect()
    }

    fn route_origins(&self, virtual_host: &str, route: usize) -> Vec<Origin> {
        let origins = split_virtual_host_name(virtual_host)
            .and_then(|(table, host)| self.host_origins(table, host));
        let origin = origins.as_ref().and_then(|origins| origins.route(route));
        origin.into_iter().flat_map(RouteOrigin::parts).cloned().collect()
    }

    fn attached(&self, listener: &str) -> Vec<ObjectKey> {
        Self::attached(self, listener)
    }
}

impl Programmed {
    /// Objects came into force with a snapshot generation.
    pub fn applied(&mut self, snapshot: u64, objects: Vec<(ObjectKey, i64)>) {
        self.published.extend(objects.iter().cloned());
        if !objects.is_empty() {
            self.waiting.entry(snapshot).or_default().extend(objects);
        }
    }

    /// An object is gone; nothing is told of it any more.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.published.remove(key);
        self.refused.remove(key);
        self.lost.remove(key);
        self.waiting.retain(|_, objects| {
            objects.retain(|(waiting, _)| waiting != key);
            !objects.is_empty()
        });
    }

    /// What follows from what subscribers say.
    pub fn heard(&mut self, verdicts: &Verdicts, origins: &impl Origins) -> Vec<Told> {
        let mut refused: BTreeMap<ObjectKey, String> = BTreeMap::new();
        let mut closed: BTreeMap<Arc<str>, String> = BTreeMap::new();
        let mut listeners: Vec<&Rejection> = Vec::new();
        self.unfit.clear();
        for (_, rejection) in verdicts.rejections() {
            if rejection.kind == ResourceType::Secret {
                // Who takes it is in force all the same, and pilot says how far.
                self.unfit.extend(origins.secrets(&rejection.name));
                continue;
            }
            if rejection.kind == ResourceType::Listener {
                // Workers of one process refuse alike.
                if !listeners.contains(&rejection) {
                    listeners.push(rejection);
                }
                continue;
            }
            for (owner, words) in blamed(rejection, origins) {
                self.unfit.insert(owner.clone());
                refused.entry(owner).or_insert(words);
            }
        }
        let mut lost: BTreeMap<ObjectKey, String> = BTreeMap::new();
        for rejection in &listeners {
            if rejection.chain_alone().is_none() {
                closed.entry(Arc::clone(&rejection.name)).or_insert_with(|| reason(rejection));
            }
        }
        for (gateway, words) in of_gateways(&listeners, origins) {
            self.unfit.insert(gateway.clone());
            match words {
                Ok(some) => lost.insert(gateway, some),
                Err(all) => refused.insert(gateway, all),
            };
        }
        let mut turned: BTreeSet<ObjectKey> = differing(&self.refused, &refused).cloned().collect();
        turned.extend(differing(&self.lost, &lost).cloned());
        self.lost = lost;
        turned.extend(differing(&self.closed, &closed).flat_map(|name| origins.attached(name)));
        (self.refused, self.closed) = (refused, closed);

        let published = |key: ObjectKey| {
            let generation = self.published.get(&key).copied()?;
            Some((key, generation))
        };
        let mut told: BTreeMap<ObjectKey, i64> = turned.into_iter().filter_map(published).collect();
        let later = match verdicts.served() {
            Some(served) => self.waiting.split_off(&(served + 1)),
            None => std::mem::take(&mut self.waiting),
        };
        let arrived = std::mem::replace(&mut self.waiting, later);
        if verdicts.served().is_some() {
            told.extend(arrived.into_values().flatten());
        }
        told.retain(|key, _| self.published.contains_key(key));
        let told = told.into_iter().map(|(key, generation)| {
            let refusal = self.refused.get(&key).cloned();
            let lost = self.lost.get(&key).cloned();
            Told { key, generation, refusal, lost }
        });
        told.collect()
    }

    /// Whether the proxy refuses what an object's own form was compiled into.
    pub fn is_unfit(&self, key: &ObjectKey) -> bool {
        self.unfit.contains(key)
    }

    /// Those of these listeners that are not open, and why.
    pub fn closed<'a>(&'a self, listeners: &'a [Arc<str>]) -> Vec<(&'a Arc<str>, &'a str)> {
        let closed = listeners.iter();
        closed.filter_map(|name| Some((name, self.closed.get(name)?.as_str()))).collect()
    }
}

/// The keys whose values differ.
fn differing<'a, K: Ord>(
    before: &'a BTreeMap<K, String>,
    now: &'a BTreeMap<K, String>,
) -> impl Iterator<Item = &'a K> {
    before.keys().chain(now.keys()).filter(|key| before.get(key) != now.get(key))
}

/// The Gateways that refusals of listeners are about: what of each is refused, in words; as an error where nothing else of
/// it is served.
fn of_gateways(
    rejections: &[&Rejection],
    origins: &impl Origins,
) -> BTreeMap<ObjectKey, Result<String, String>> {
    let mut gateways: BTreeMap<ObjectKey, Vec<(Seat, String)>> = BTreeMap::new();
    for rejection in rejections {
        let alone = rejection.chain_alone();
        let server = alone.and_then(|chain| origins.chain_server(&rejection.name, chain));
        let owners = match &server {
            Some((gateway, _)) => vec![gateway.clone()],
            // One that no server has is for all of them, and costs none of them all it has.
            None if alone.is_some() => continue,
            None => origins.owners(rejection.kind, &rejection.name),
        };
        for gateway in owners {
            let seats = origins.seats(&gateway).into_iter();
            let own = seats.filter(|seat| {
                let is = server.as_ref().is_none_or(|(_, number)| *number == seat.server);
                seat.listener == rejection.name && is
            });
            let lost = own.map(|seat| {
                let words = seat.refused(rejection);
                (seat, words)
            });
            gateways.entry(gateway).or_default().extend(lost);
        }
    }
    let told = gateways.into_iter().filter(|(_, lost)| !lost.is_empty()).map(|(gateway, lost)| {
        let gone = |seat: &Seat| lost.iter().any(|(other, _)| other == seat);
        let all = origins.seats(&gateway).iter().all(gone);
        let words: BTreeSet<&str> = lost.iter().map(|(_, words)| words.as_str()).collect();
        let words = words.into_iter().collect::<Vec<_>>().join("; ");
        (gateway, if all { Err(words) } else { Ok(words) })
    });
    told.collect()
}

/// The objects that a refusal is about, each with what it is told.
fn blamed(rejection: &Rejection, origins: &impl Origins) -> Vec<(ObjectKey, String)> {
    let words = reason(rejection);
    let parts = rejection.route_alone().map(|route| origins.route_origins(&rejection.name, route));
    if let Some(parts) = parts.filter(|parts| !parts.is_empty()) {
        let told = |Origin { key, path }| (key, format!("{path}: {words}"));
        return parts.into_iter().map(told).collect();
    }
    let owners = origins.owners(rejection.kind, &rejection.name);
    owners.into_iter().map(|owner| (owner, words.clone())).collect()
}

/// The refusal in words.
fn reason(rejection: &Rejection) -> String {
    let Rejection { kind, name, path, reason, serves_on } = rejection;
    let place = if path.is_empty() { String::new() } else { format!(", {path}") };
    let rest = if *serves_on { "; its last good form serves on" } else { "" };
    if *kind == ResourceType::Listener && path == ADDRESS {
        return format!("{reason}{rest}"); // It names the address.
    }
    format!("{kind:?} {name}{place}: {reason}{rest}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_api::{Kind, Object};
    use tidegate_pilot::Input;
    use tidegate_xds::{Change, Resource, Snapshot, Subscription, Verdict};

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Gateway, "default", name)
    }

    /// A snapshot at some generation, with one subscriber.
    fn published(changes: u64) -> (Snapshot, Subscription) {
        let snapshot = Snapshot::new();
        let subscription = snapshot.subscribe();
        for version in 0..changes {
            let bytes = version.to_string().into_bytes().into();
            let resource =
                Resource { kind: ResourceType::Cluster, name: "c".into(), version, bytes };
            snapshot.publish(Change { upsert: vec![resource], remove: Vec::new() });
        }
        (snapshot, subscription)
    }

    fn refusal(name: &str) -> Rejection {
        Rejection {
            kind: ResourceType::Listener,
            name: name.into(),
            path: "address".into(),
            reason: "taken".into(),
            serves_on: false,
        }
    }

    /// A resource has the name of its owner, and `on-NAME` is the route on a listener.
    struct Named;

    impl Origins for Named {
        fn secrets(&self, name: &str) -> Vec<ObjectKey> {
            vec![ObjectKey::new(Kind::Secret, "default", name)]
        }

        fn chain_server(&self, listener: &str, chain: usize) -> Option<(ObjectKey, usize)> {
            Some((key(listener), chain))
        }

        /// A Gateway has one server; `two` has another one elsewhere.
        fn seats(&self, gateway: &ObjectKey) -> Vec<Seat> {
            let seat = |server, listener: &str| Seat {
                server,
                port: 80,
                bound: server == 1,
                listener: listener.into(),
            };
            let mut seats = vec![seat(0, &gateway.name)];
            seats.extend((&*gateway.name == "two").then(|| seat(1, "elsewhere")));
            seats
        }

        fn route_origins(&self, virtual_host: &str, route: usize) -> Vec<Origin> {
            let owner = key(&format!("{virtual_host}/{route}"));
            if route < 2 { vec![Origin::new(owner, "http[7]")] } else { Vec::new() }
        }

        fn owners(&self, _: ResourceType, name: &str) -> Vec<ObjectKey> {
            vec![key(if name == "elsewhere" { "two" } else { name })]
        }

        fn attached(&self, listener: &str) -> Vec<ObjectKey> {
            vec![key(&format!("on-{listener}"))]
        }
    }

    fn hear(programmed: &mut Programmed, snapshot: &Snapshot) -> Vec<(String, Option<String>)> {
        let told = programmed.heard(&snapshot.verdicts().borrow(), &Named);
        told.into_iter().map(|told| (told.key.name.to_string(), told.refusal)).collect()
    }

    #[test]
    fn nothing_is_programmed_before_every_worker_serves_it() {
        let (snapshot, subscription) = published(2);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1)]);
        programmed.applied(2, vec![(key("b"), 1)]);
        assert_eq!(hear(&mut programmed, &snapshot), []);

        subscription.report(Verdict { generation: 1, rejected: Vec::new(), ..Verdict::default() });
        assert_eq!(hear(&mut programmed, &snapshot), [("a".to_owned(), None)]);
        subscription.report(Verdict { generation: 2, rejected: Vec::new(), ..Verdict::default() });
        assert_eq!(hear(&mut programmed, &snapshot), [("b".to_owned(), None)]);
        assert_eq!(hear(&mut programmed, &snapshot), []);
    }

    #[test]
    fn a_refusal_is_told_and_taken_back() {
        let (snapshot, subscription) = published(2);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1), (key("b"), 1)]);
        subscription.report(Verdict {
            generation: 1,
            rejected: vec![refusal("b")],
            ..Verdict::default()
        });
        let words = Some("servers[0].port (port 80): taken".to_owned());
        let told = hear(&mut programmed, &snapshot);
        assert_eq!(told, [("a".to_owned(), None), ("b".to_owned(), words)]);

        subscription.report(Verdict { generation: 2, rejected: Vec::new(), ..Verdict::default() });
        assert_eq!(hear(&mut programmed, &snapshot), [("b".to_owned(), None)]);
    }

    #[test]
    fn routes_are_told_of_again_when_their_listener_is_refused_and_when_it_comes_back() {
        let (snapshot, subscription) = published(2);
        let mut programmed = Programmed::default();
        let route = || ("on-b".to_owned(), None);
        let listeners: Vec<Arc<str>> = vec!["b".into(), "c".into()];
        programmed.applied(1, vec![(key("on-b"), 1)]);
        subscription.report(Verdict { generation: 1, rejected: Vec::new(), ..Verdict::default() });
        assert_eq!(hear(&mut programmed, &snapshot), [route()]);
        assert_eq!(programmed.closed(&listeners[..1]), []);

        subscription.report(Verdict {
            generation: 2,
            rejected: vec![refusal("b")],
            ..Verdict::default()
        });
        assert_eq!(hear(&mut programmed, &snapshot), [route()]);
        assert_eq!(programmed.closed(&listeners), [(&listeners[0], "taken")]);

        subscription.report(Verdict { generation: 2, rejected: Vec::new(), ..Verdict::default() });
        assert_eq!(hear(&mut programmed, &snapshot), [route()]);
        assert_eq!(programmed.closed(&listeners[..1]), []);
    }

    #[test]
    fn what_is_refused_of_a_gateway_is_told_while_the_rest_serves() {
        let (snapshot, subscription) = published(1);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("two"), 1)]);
        let mut told = |names: &[&str]| {
            let rejected = names.iter().map(|name| refusal(name)).collect();
            subscription.report(Verdict { generation: 1, rejected, ..Verdict::default() });
            let told = programmed.heard(&snapshot.verdicts().borrow(), &Named);
            told.into_iter().map(|told| (told.refusal, told.lost)).collect::<Vec<_>>()
        };
        let (first, second) =
            ("servers[0].port (port 80): taken", "servers[1].bind (port 80): taken");
        assert_eq!(told(&["two"]), [(None, Some(first.to_owned()))]);
        assert_eq!(told(&["elsewhere"]), [(None, Some(second.to_owned()))]);
        assert_eq!(told(&["two", "elsewhere"]), [(Some(format!("{first}; {second}")), None)]);
        assert_eq!(told(&[]), [(None, None)]);
    }

    #[test]
    fn a_faulty_chain_is_told_to_its_own_gateway_and_closes_nothing_else() {
        let (snapshot, subscription) = published(1);
        let mut programmed = Programmed::default();
        let all = ["b", "two", "on-b"];
        programmed.applied(1, all.map(|name| (key(name), 1)).to_vec());
        let rejected = Rejection {
            path: "filter_chains[0].transport_socket.typed_config.x".into(),
            ..refusal("two")
        };
        subscription.report(Verdict {
            generation: 1,
            rejected: vec![rejected],
            ..Verdict::default()
        });
        let told = programmed.heard(&snapshot.verdicts().borrow(), &Named).into_iter();
        let lost: Vec<_> = told.filter_map(|told| Some((told.key, told.lost?))).collect();
        let words = "servers[0] (port 80): Listener two, filter_chains[0].transport_socket.typed_config.x: taken";
        assert_eq!(lost, [(key("two"), words.to_owned())]);
        assert_eq!(programmed.closed(&["two".into()]), []);
    }

    #[test]
    fn a_faulty_route_is_told_to_its_own_object() {
        let (snapshot, subscription) = published(1);
        let mut programmed = Programmed::default();
        let all = ["b", "b/0", "b/1"];
        programmed.applied(1, all.map(|name| (key(name), 1)).to_vec());
        let mut refused = |path: &str| {
            let kind = ResourceType::VirtualHost;
            let rejected = vec![Rejection { kind, path: path.into(), ..refusal("b") }];
            subscription.report(Verdict { generation: 1, rejected, ..Verdict::default() });
            let told = hear(&mut programmed, &snapshot);
            let unfit = all.into_iter().filter(|name| programmed.is_unfit(&key(name)));
            let unfit: Vec<&str> = unfit.collect();
            (unfit, told.into_iter().find_map(|(_, words)| words).unwrap_or_default())
        };
        let (unfit, words) = refused("routes[1].direct_response.status");
        assert_eq!(unfit, ["b/1"]);
        assert_eq!(words, "spec.http[7]: VirtualHost b, routes[1].direct_response.status: taken");
        assert_eq!(refused("routes[1].match.safe_regex.regex").0, ["b"], "it costs all of them");
        assert_eq!(refused("routes[2].direct_response.status").0, ["b"], "no object's own");
        assert_eq!(refused("domains[1]").0, ["b"]);
    }

    #[test]
    fn a_route_leads_back_to_the_rule_that_it_was_compiled_from() {
        let object = |kind: Kind, name: &str, spec: serde_json::Value| {
            let manifest = json!({
                "apiVersion": "networking.istio.io/v1", "kind": kind.name(), "spec": spec,
                "metadata": {"name": name, "namespace": "default", "uid": name},
            });
            let decoded = Object::decode(kind, "v1", &manifest, tidegate_api::Origin::Api);
            Input::Apply(Arc::new(decoded.expect("a valid object").object))
        };
        let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
        let gateway = json!({"servers": [{"port": port, "hosts": ["*"]}]});
        let rule =
            |path: &str| json!({"match": [{"uri": {"exact": path}}], "redirect": {"uri": "/"}});
        let service = |http: &[serde_json::Value]| json!({"hosts": ["h.example"], "gateways": ["g"], "http": http});
        let whole = json!({"directResponse": {"status": 200}});
        let lead = json!({"match": [{"uri": {"prefix": "/x"}}], "delegate": {"name": "d"}});
        let mut pilot = Pilot::new(tidegate_pilot::Options::default());
        pilot.apply([
            object(Kind::Gateway, "g", gateway),
            object(Kind::VirtualService, "a", service(&[rule("/a"), whole])),
            object(Kind::VirtualService, "b", service(&[rule("/b"), lead])),
            object(Kind::VirtualService, "d", json!({"http": [rule("/x/d")]})),
        ]);
        let places = |route: usize| {
            let origins = pilot.route_origins("http.80/h.example:80", route).into_iter();
            origins.map(|o| format!("{} {}", o.key.name, o.path)).collect::<Vec<_>>()
        };
        assert_eq!(places(0), ["a spec.http[0].match[0]"]);
        assert_eq!(places(1), ["b spec.http[0].match[0]"]);
        assert_eq!(places(2), ["b spec.http[1].match[0]", "d spec.http[0].match[0]"]);
        assert_eq!(places(3), ["a spec.http[1]"], "what takes every request is tried last");
        assert_eq!(places(4), [""; 0]);
    }

    #[test]
    fn an_object_waits_for_its_own_generation_and_not_for_its_predecessor_s() {
        let (snapshot, subscription) = published(2);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1)]);
        programmed.forget(&key("a"));
        // Created anew, with generation 1 again, while the snapshot before is on its way.
        programmed.applied(2, vec![(key("a"), 1)]);
        subscription.report(Verdict { generation: 1, rejected: Vec::new(), ..Verdict::default() });
        assert_eq!(hear(&mut programmed, &snapshot), []);
        subscription.report(Verdict { generation: 2, rejected: Vec::new(), ..Verdict::default() });
        assert_eq!(hear(&mut programmed, &snapshot), [("a".to_owned(), None)]);
    }

    #[test]
    fn what_is_gone_is_not_spoken_of() {
        let (snapshot, subscription) = published(1);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1)]);
        programmed.forget(&key("a"));
        subscription.report(Verdict {
            generation: 1,
            rejected: vec![refusal("a")],
            ..Verdict::default()
        });
        assert_eq!(hear(&mut programmed, &snapshot), []);
    }
}

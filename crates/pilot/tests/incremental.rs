//! What comes out of any sequence of changes is what a compilation from nothing would give.

mod common;
#[path = "incremental/in_sidecars.rs"]
mod in_sidecars;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{World, manifest, try_object};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use tidegate_api::{Object, ObjectKey};
use tidegate_pilot::{GatewayService, Input, Options};

/// Picks among choices with the bits of one number, so that a failing case shrinks to small numbers.
struct Dice(u64);

impl Dice {
    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        let n = from.len() as u64;
        let choice = usize::try_from(self.0 % n).expect("small");
        self.0 /= n;
        from[choice]
    }

    fn some<'a>(&mut self, from: &[&'a str]) -> Vec<&'a str> {
        let chosen = from.iter().filter(|_| self.flip()).copied();
        chosen.collect()
    }

    fn flip(&mut self) -> bool {
        let set = self.0 & 1 == 1;
        self.0 >>= 1;
        set
    }
}

const HOSTS: [&str; 6] = ["*", "*.a.com", "x.a.com", "y.a.com", "b.com", "c.com"];
const DESTINATIONS: [&str; 6] = [
    "x.a.com",
    "b.com",
    "*.a.com",
    "web",
    "web.two.svc.cluster.local",
    "gw.istio-system.svc.cluster.local",
];

fn gateway(dice: &mut Dice) -> Value {
    let server = |dice: &mut Dice, name: &str| {
        let protocol = dice.pick(&["HTTP", "HTTPS", "HTTPS", "TLS", "TCP", "GRPC"]);
        let tls = match protocol {
            "HTTPS" | "TLS" => json!({
                "mode": dice.pick(&["PASSTHROUGH", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"]),
                "credentialName": dice.pick(&["c", "c", "d", "c-cacert"]),
                "caCertCredentialName": dice.pick(&["", "", "c-cacert", "d", "clients", "gone"]),
            }),
            "HTTP" if dice.flip() => json!({"httpsRedirect": true}),
            _ => Value::Null,
        };
        let host = *dice.pick(&[&"*", &"*.a.com", &"b.com", &"two/*", &"./x.a.com", &"x.a.com"]);
        let number = dice.pick(&[&80, &443, &81]);
        json!({
            "port": {"number": number, "name": name, "protocol": protocol},
            "hosts": [host],
            "tls": tls,
            "bind": dice.pick(&["", "", "", "127.0.0.1"]),
        })
    };
    let mut servers = vec![server(dice, "one")];
    if dice.flip() {
        servers.push(server(dice, "two"));
    }
    let label = dice.pick(&["ingressgateway", "ingressgateway", "other"]);
    let selector = json!({"istio": label});
    json!({"selector": selector, "servers": servers})
}

fn destination(dice: &mut Dice) -> Value {
    let mut destination = json!({"host": dice.pick(&DESTINATIONS)});
    if dice.flip() {
        destination["port"] = json!({"number": dice.pick(&[&80, &443])});
    }
    if dice.flip() {
        destination["subset"] = json!(dice.pick(&["v1", "v2"]));
    }
    json!({"destination": destination})
}

fn virtual_service(dice: &mut Dice) -> Value {
    let mut hosts = dice.some(&HOSTS);
    if hosts.is_empty() {
        hosts.push("b.com");
    }
    let mut http = Vec::new();
    for _ in 0..*dice.pick(&[&0, &1, &2]) {
        let mut rule = json!({"route": [destination(dice)]});
        if dice.flip() {
            let port = dice.pick(&[&80, &81]);
            rule["match"] = json!([{"uri": {"prefix": dice.pick(&["/", "/x"])}, "port": port}]);
        }
        if dice.flip() {
            rule["mirror"] = destination(dice)["destination"].take();
        }
        http.push(rule);
    }
    if dice.flip() {
        let delegate =
            json!({"name": dice.pick(&["d0", "v1"]), "namespace": dice.pick(&["", "two"])});
        let mut root = json!({"match": [{"uri": {"prefix": "/x"}}], "delegate": delegate});
        if dice.flip() {
            root["mirror"] = destination(dice)["destination"].take();
        }
        http.push(root);
    }
    let (mut tls, mut tcp) = (Vec::new(), Vec::new());
    if dice.flip() {
        tls.push(json!({"match": [{"sniHosts": [hosts[0]]}], "route": [destination(dice)]}));
    }
    if http.is_empty() && tls.is_empty() || dice.flip() {
        tcp.push(json!({"route": [destination(dice)]}));
    }
    json!({
        "hosts": hosts,
        "gateways": [dice.pick(&["one/g0", "one/g1", "two/g0", "mesh"]), "two/g1"],
        "exportTo": dice.pick(&[&json!([]), &json!(["istio-system"]), &json!(["."])]),
        "http": http,
        "tls": tls,
        "tcp": tcp,
    })
}

fn delegate(dice: &mut Dice) -> Value {
    let prefixes = [dice.pick(&["/x", "/y"]), dice.pick(&["/x/y", "/"])];
    let rule = |path: &str, destination: Value| json!({"match": [{"uri": {"prefix": path}}], "route": [destination]});
    let http: Vec<Value> = prefixes.map(|path| rule(path, destination(dice))).into();
    json!({
        "exportTo": dice.pick(&[&json!([]), &json!(["one"]), &json!(["."])]),
        "http": http,
    })
}

fn service_entry(dice: &mut Dice) -> Value {
    let ports = [(80, "http", "HTTP"), (443, "https", "HTTPS")];
    let mut ports: Vec<Value> = ports
        .iter()
        .filter(|_| dice.flip())
        .map(|(number, name, protocol)| json!({"number": number, "name": name, "protocol": protocol}))
        .collect();
    if ports.is_empty() {
        ports.push(json!({"number": 80, "name": "grpc", "protocol": "GRPC"}));
    }
    let resolution = dice.pick(&["DNS", "STATIC", "NONE", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]);
    let endpoints = match resolution {
        "STATIC" => json!([{"address": dice.pick(&["1.1.1.1", "2.2.2.2"])}]),
        "DNS" => {
            let labels = json!({"version": dice.pick(&["1", "2"])});
            json!([{"address": "e.example", "labels": labels}])
        }
        _ => json!([]),
    };
    json!({
        "hosts": [dice.pick(&["x.a.com", "b.com", "*.a.com"])],
        "ports": ports,
        "resolution": resolution,
        "endpoints": endpoints,
        "exportTo": dice.pick(&[&json!([]), &json!([]), &json!(["."])]),
    })
}

/// The manifest of one slot of a small universe, in one of its many forms.
fn content(kind: &str, namespace: &str, name: &str, bits: u64) -> Value {
    let mut dice = Dice(bits);
    let created = dice.pick(&["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"]);
    let mut manifest = match kind {
        "Gateway" => manifest(kind, name, &gateway(&mut dice)),
        "VirtualService" if name == "d0" => manifest(kind, name, &delegate(&mut dice)),
        "VirtualService" => manifest(kind, name, &virtual_service(&mut dice)),
        "ServiceEntry" => manifest(kind, name, &service_entry(&mut dice)),
        "DestinationRule" => {
            let mut subsets = vec![json!({"name": "v1"})];
            if dice.flip() {
                subsets[0]["labels"] = json!({"version": dice.pick(&["1", "2"])});
            }
            if dice.flip() {
                subsets.push(json!({"name": "v2", "labels": {"version": "2"}}));
            }
            let mut spec = json!({"host": dice.pick(&DESTINATIONS)});
            let tls = |dice: &mut Dice| {
                let secret = dice.pick(&["d", "c-cacert", "clients", "gone-cacert"]);
                let mode = dice.pick(&["SIMPLE", "MUTUAL"]);
                json!({"tls": {"mode": mode, "credentialName": secret}})
            };
            if dice.flip() {
                spec["trafficPolicy"] = tls(&mut dice);
            }
            if dice.flip() {
                subsets[0]["trafficPolicy"] = tls(&mut dice);
            }
            spec["subsets"] = json!(subsets);
            manifest(kind, name, &spec)
        }
        "Secret" => {
            let version = dice.pick(&["1", "2"]);
            let (own, ca) = (!name.starts_with("cl") && !name.ends_with("-cacert"), name != "c");
            let mut data = json!({});
            for key in ["tls.crt", "tls.key"].iter().filter(|_| own) {
                data[key] = json!(format!("{name} {version}"));
            }
            // A Secret has the same keys all its life: one that loses some leaves in place what it held before.
            if ca {
                data["ca.crt"] = json!(format!("{name} {version}"));
            }
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "stringData": data})
        }
        "Service" => {
            let mut ports = vec![json!({"name": "http", "port": 80, "targetPort": 8080})];
            if dice.flip() {
                ports.push(json!({"name": "https", "port": 443, "targetPort": "tls"}));
            }
            let spec = json!({"ports": ports, "selector": {"app": dice.pick(&["web", "other"])}});
            json!({"kind": kind, "metadata": {"name": "web"}, "spec": spec})
        }
        "EndpointSlice" => {
            let mut endpoint = json!({"addresses": [dice.pick(&["3.3.3.3", "4.4.4.4"])]});
            if dice.flip() {
                endpoint["targetRef"] = json!({"kind": "Pod", "name": dice.pick(&["p0", "p1"])});
            }
            let labels = json!({
                "kubernetes.io/service-name": "web", "version": dice.pick(&["1", "2"]),
            });
            json!({
                "kind": kind,
                "metadata": {"name": name, "labels": labels},
                "addressType": "IPv4",
                "endpoints": [endpoint],
                "ports": [{"name": "http", "port": 8080}],
            })
        }
        "WorkloadEntry" => {
            let mut spec = json!({
                "address": dice.pick(&["7.7.7.7", "8.8.8.8", "name.example.org"]),
                "labels": {"app": dice.pick(&["web", "other"]), "version": dice.pick(&["1", "2"])},
                "weight": *dice.pick(&[&0, &3]),
            });
            if dice.flip() {
                spec["ports"] = json!({"http": 8088, "tls": 8443});
            }
            json!({"kind": kind, "metadata": {"name": name}, "spec": spec})
        }
        "AuthorizationPolicy" => {
            let mut spec = json!({
                "action": dice.pick(&["ALLOW", "DENY", "AUDIT"]),
                "rules": [{"to": [{"operation": {"paths": [dice.pick(&["/a", "/b"])]}}]}],
            });
            if dice.flip() {
                let labels = json!({"istio": dice.pick(&["ingressgateway", "egressgateway"])});
                spec["selector"] = json!({"matchLabels": labels});
            }
            json!({"kind": kind, "metadata": {"name": name}, "spec": spec})
        }
        _ => {
            let app = dice.pick(&["web", "other"]);
            let labels = json!({"app": app, "version": dice.pick(&["1", "2"])});
            json!({
                "kind": "Pod",
                "metadata": {"name": name, "labels": labels},
                "spec": {"containers": [{
                    "name": "c", "image": "i", "ports": [{"name": "tls", "containerPort": 8443}],
                }]},
                "status": {"podIP": dice.pick(&["5.5.5.5", "6.6.6.6", ""])},
            })
        }
    };
    manifest["metadata"]["namespace"] = json!(namespace);
    manifest["metadata"]["creationTimestamp"] = json!(created);
    manifest
}

/// Kind, namespace and name of an object that may be there.
type Slot = (&'static str, &'static str, &'static str);

/// A small universe of objects, each in many forms.
struct Universe {
    slots: &'static [Slot],
    /// The manifest of a slot, in the form that the bits of a number choose.
    content: fn(kind: &str, namespace: &str, name: &str, bits: u64) -> Value,
}

const GATEWAY: Universe = Universe { slots: &SLOTS, content };

const SLOTS: [Slot; 29] = [
    ("Gateway", "one", "g0"),
    ("Gateway", "one", "g1"),
    ("Gateway", "two", "g0"),
    ("Gateway", "two", "g1"),
    ("VirtualService", "one", "v0"),
    ("VirtualService", "one", "v1"),
    ("VirtualService", "two", "v0"),
    ("VirtualService", "two", "v1"),
    ("VirtualService", "one", "d0"),
    ("VirtualService", "two", "d0"),
    ("ServiceEntry", "one", "s0"),
    ("ServiceEntry", "two", "s0"),
    ("ServiceEntry", "two", "s1"),
    ("Service", "one", "web"),
    ("Service", "two", "web"),
    ("EndpointSlice", "one", "e0"),
    ("Pod", "one", "p0"),
    ("WorkloadEntry", "one", "w0"),
    ("WorkloadEntry", "two", "w1"),
    ("AuthorizationPolicy", "istio-system", "a0"),
    ("AuthorizationPolicy", "istio-system", "a1"),
    ("AuthorizationPolicy", "one", "a0"),
    ("DestinationRule", "one", "d0"),
    ("DestinationRule", "two", "d1"),
    ("Secret", "istio-system", "c"),
    ("Secret", "istio-system", "d"),
    ("Secret", "istio-system", "c-cacert"),
    ("Secret", "istio-system", "clients"),
    ("Secret", "one", "d"),
];

#[derive(Clone, Debug)]
enum Step {
    Apply(usize, u64),
    Delete(usize),
    Invalid(usize),
}

/// Batches of steps among so many slots.
fn batches(slots: usize) -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        6 => (0..slots, any::<u64>()).prop_map(|(slot, bits)| Step::Apply(slot, bits)),
        2 => (0..slots).prop_map(Step::Delete),
        1 => (0..slots).prop_map(Step::Invalid),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..4), 1..25)
}

fn options() -> Options {
    let front = GatewayService {
        host: "gw.istio-system.svc.cluster.local".to_owned(),
        namespace: "istio-system".to_owned(),
        // Two Service ports that lead to one listener.
        ports: BTreeMap::from([(80, 8080), (81, 8080)]),
    };
    Options { services: vec![front], http3: true, ..Options::default() }
}

/// The objects that are there after a sequence of steps, good or refused.
struct Objects {
    universe: Universe,
    good: BTreeMap<ObjectKey, Arc<Object>>,
    refused: BTreeMap<ObjectKey, Input>,
}

impl Objects {
    fn of(universe: Universe) -> Self {
        Self { universe, good: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// The inputs of a batch. What is gone has no status.
    fn batch(&mut self, steps: &[Step], world: &mut World) -> Vec<Input> {
        let inputs: Vec<Input> = steps.iter().filter_map(|step| self.take(step)).collect();
        for input in &inputs {
            if let Input::Delete(key) = input {
                world.status.remove(key);
            }
        }
        inputs
    }

    /// The input of a step; `None` when the step's content would not pass validation.
    fn take(&mut self, step: &Step) -> Option<Input> {
        let slot = |s: usize, bits| {
            let (kind, namespace, name) = self.universe.slots[s];
            try_object(&(self.universe.content)(kind, namespace, name, bits))
        };
        match step {
            Step::Apply(s, bits) => {
                let object = slot(*s, *bits).ok()?;
                self.refused.remove(&object.key);
                self.good.insert(object.key.clone(), Arc::clone(&object));
                Some(Input::Apply(object))
            }
            Step::Delete(s) => {
                let key = slot(*s, 0).expect("the first form is valid").key.clone();
                self.refused.remove(&key);
                self.good.remove(&key);
                Some(Input::Delete(key))
            }
            Step::Invalid(s) => {
                let key = slot(*s, 0).expect("the first form is valid").key.clone();
                let errors = vec!["spec: wrong".to_owned()];
                let invalid =
                    Input::Invalid { key: key.clone(), generation: 7, errors, selector: None };
                self.refused.insert(key, invalid.clone());
                Some(invalid)
            }
        }
    }

    fn inputs(&self) -> impl Iterator<Item = Input> {
        let good = self.good.values().map(|o| Input::Apply(Arc::clone(o)));
        good.chain(self.refused.values().cloned())
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        // The same every time; another number for others.
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn any_sequence_of_changes_ends_as_a_compilation_from_nothing(
        batches in batches(SLOTS.len()),
    ) {
        let mut objects = Objects::of(GATEWAY);
        let mut world = World::new(options());
        world.give([]);
        for batch in batches {
            let inputs = objects.batch(&batch, &mut world);
            world.give(inputs);
        }
        let mut scratch = World::new(options());
        scratch.give(objects.inputs());
        prop_assert_eq!(world.dump(), scratch.dump());
        prop_assert_eq!(world.bytes(), scratch.bytes());
        prop_assert_eq!(&world.status, &scratch.status);
        for key in objects.good.keys().chain(objects.refused.keys()) {
            prop_assert_eq!(world.pilot.standing(key), scratch.pilot.standing(key), "{}", key);
        }
    }
}

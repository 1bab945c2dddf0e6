//! What the integration tests share: objects from JSON, and a pilot with everything that came out of it.

#![allow(dead_code, reason = "every test binary uses its own part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::{KINDS, Object, ObjectKey, Origin};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_pilot::status::{Condition, ConditionKind, Force};
use tidegate_pilot::{Input, Options, Output, Pilot};
use tidegate_xds::{ResourceType, Snapshot};

/// An object as its manifest says it; the namespace is `default` where it says none.
pub fn object(manifest: &Value) -> Arc<Object> {
    try_object(manifest).unwrap_or_else(|errors| panic!("{errors}\n{manifest:#}"))
}

/// As [`object`], with the reasons why it does not decode.
pub fn try_object(manifest: &Value) -> Result<Arc<Object>, String> {
    let kind = manifest["kind"].as_str().expect("a kind");
    let info = KINDS.iter().find(|info| info.name == kind);
    let info = info.ok_or_else(|| format!("no kind {kind}"))?;
    let mut manifest = manifest.clone();
    let metadata = manifest["metadata"].as_object_mut().expect("metadata");
    metadata.entry("namespace").or_insert_with(|| json!("default"));
    let version = manifest["apiVersion"].as_str().unwrap_or("v1");
    let version = version.rsplit('/').next().unwrap_or(version).to_owned();
    Object::decode(info.kind, &version, &manifest, Origin::Api)
        .map(|decoded| Arc::new(decoded.object))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// The documents of a YAML text.
pub fn documents(source: &str) -> Vec<Value> {
    let documents = tidegate_yaml::parse(source).into_iter();
    documents.map(|d| d.unwrap_or_else(|fault| panic!("{fault}\n{source}")).to_json()).collect()
}

/// A manifest of the networking group.
pub fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    })
}

/// A pilot, the snapshot that it publishes to, and the last status of every object.
pub struct World {
    pub pilot: Pilot,
    pub snapshot: Snapshot,
    pub status: BTreeMap<ObjectKey, Vec<Condition>>,
}

impl World {
    pub fn new(options: Options) -> Self {
        let (pilot, snapshot) = (Pilot::new(options), Snapshot::new());
        Self { pilot, snapshot, status: BTreeMap::new() }
    }

    /// A world in which these objects were applied at once.
    pub fn with(options: Options, manifests: &[Value]) -> Self {
        let mut world = Self::new(options);
        world.give(manifests.iter().map(|m| Input::Apply(object(m))));
        world
    }

    pub fn give(&mut self, inputs: impl IntoIterator<Item = Input>) -> Output {
        let output = self.pilot.apply(inputs);
        self.snapshot.publish(output.change.clone());
        for update in &output.status {
            if update.conditions.is_empty() {
                self.status.remove(&update.key);
            } else {
                self.status.insert(update.key.clone(), update.conditions.clone());
            }
        }
        output
    }

    pub fn apply(&mut self, manifest: &Value) -> Output {
        self.give([Input::Apply(object(manifest))])
    }

    pub fn delete(&mut self, manifest: &Value) -> Output {
        let key = object(manifest).key.clone();
        self.status.remove(&key);
        self.give([Input::Delete(key)])
    }

    /// The message of a condition that does not hold; `None` when it holds.
    pub fn fault(&self, manifest: &Value, kind: ConditionKind) -> Option<String> {
        let key = object(manifest).key.clone();
        let conditions = self.status.get(&key).unwrap_or_else(|| panic!("no status of {key}"));
        let condition = conditions.iter().find(|c| c.kind == kind).expect("the condition");
        (!condition.holds).then(|| format!("{}: {}", condition.reason, condition.message))
    }

    /// Why nothing of an object is in force; `None` when something is.
    pub fn idle(&self, manifest: &Value) -> Option<String> {
        let key = object(manifest).key.clone();
        let standing = self.pilot.standing(&key).unwrap_or_else(|| panic!("nothing of {key}"));
        match &standing.force {
            Force::Nothing { reason, message } => Some(format!("{reason}: {message}")),
            Force::Whole | Force::Through(_) => None,
        }
    }

    /// Every resource as JSON, by type and name.
    pub fn dump(&self) -> Value {
        let dump = ResourceType::ALL.iter().filter_map(|kind| {
            let resources: serde_json::Map<String, Value> = self
                .snapshot
                .list(*kind)
                .iter()
                .map(|r| (r.name.to_string(), self.json(*kind, &r.name)))
                .collect();
            (!resources.is_empty()).then(|| (format!("{kind:?}"), Value::Object(resources)))
        });
        Value::Object(dump.collect())
    }

    /// One resource as JSON.
    pub fn json(&self, kind: ResourceType, name: &str) -> Value {
        let resource =
            self.snapshot.get(kind, name).unwrap_or_else(|| panic!("no {kind:?} {name}"));
        bytes_to_json(kind.type_url(), &resource.bytes, FieldNames::Proto).expect("it decodes")
    }

    /// Names of the resources of a type.
    pub fn names(&self, kind: ResourceType) -> Vec<String> {
        self.snapshot.list(kind).iter().map(|r| r.name.to_string()).collect()
    }

    /// Every resource's bytes, by type and name.
    pub fn bytes(&self) -> BTreeMap<(ResourceType, String), Vec<u8>> {
        let all = ResourceType::ALL.into_iter().flat_map(|kind| self.snapshot.list(kind));
        all.map(|r| ((r.kind, r.name.to_string()), r.bytes.to_vec())).collect()
    }
}

/// A Gateway `g` with every host: HTTP on port 80, TLS passed through on port 443.
pub fn gateway() -> Value {
    let http = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    let tls = json!({
        "port": {"number": 443, "name": "tls", "protocol": "TLS"},
        "hosts": ["*"],
        "tls": {"mode": "PASSTHROUGH"},
    });
    manifest("Gateway", "g", &json!({"servers": [http, tls]}))
}

/// A VirtualService of that Gateway that sends a path of a host to `backend.example.org`.
pub fn service(name: &str, host: &str, path: &str) -> Value {
    let rule = json!({
        "match": [{"uri": {"prefix": path}}],
        "route": [{"destination": {"host": "backend.example.org"}}],
    });
    manifest("VirtualService", name, &json!({"hosts": [host], "gateways": ["g"], "http": [rule]}))
}

/// `backend.example.org` with these ports.
pub fn entry(ports: &[u16]) -> Value {
    let port = |n: &u16| json!({"number": n, "name": format!("p{n}"), "protocol": "HTTP"});
    let ports: Vec<Value> = ports.iter().map(port).collect();
    let spec = json!({"hosts": ["backend.example.org"], "ports": ports, "resolution": "DNS"});
    manifest("ServiceEntry", "backend", &spec)
}

/// A virtual host of port 80.
pub fn host(world: &World, name: &str) -> Value {
    world.json(ResourceType::VirtualHost, &format!("http.80/{name}:80"))
}

//! Manifests to parts of a bootstrap: what pilot makes of one configuration, beside others in one process.
//!
//! Only what would collide is changed: names get the configuration's own in front, listeners any port of loopback, and
//! endpoints are origins of the test, a different one for each cluster. Secrets get real certificates. Of clusters with
//! weights the heaviest gets everything: chance is not compared.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::{KINDS, Object, Origin};
use tidegate_envoy::json::{FieldNames, to_json};
use tidegate_pilot::{Input, Options, Pilot};
use tidegate_xds::Snapshot;
use tidegate_xds::bootstrap::static_bootstrap;

use super::origins::Origins;
use super::tls::Keys;

/// Endpoints of a cluster that hashes.
const HASHED: usize = 3;

/// What a listener carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Plain text, be it requests or not.
    Plain,
    /// TLS, terminated or passed through.
    Tls,
}

/// A listener of one configuration.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in the bootstrap.
    pub name: String,
    pub carries: Carries,
}

/// A compiled configuration.
pub struct Compiled {
    pub listeners: Vec<Listener>,
    /// As a bootstrap has them.
    pub listener_resources: Vec<Value>,
    pub cluster_resources: Vec<Value>,
    pub secret_resources: Vec<Value>,
}

/// Compiles a configuration.
pub fn compile(name: &str, manifests: &[Value], origins: &Origins, keys: &Keys) -> Compiled {
    let mut pilot = Pilot::new(Options::default());
    let objects = manifests.iter().map(|manifest| object(name, manifest));
    let output = pilot.apply(objects.map(Input::Apply));
    let snapshot = Snapshot::new();
    snapshot.publish(output.change);
    let bootstrap = static_bootstrap(&snapshot, "gateway").expect("a bootstrap");
    let bootstrap = to_json(&bootstrap, FieldNames::Proto).expect("known types");
    let mut resources = bootstrap["static_resources"].clone();
    let raw = raw_clusters(&resources["listeners"]);
    let mut clusters = array(resources["clusters"].take());
    let mut secrets = array(resources["secrets"].take());
    let names: BTreeSet<String> = clusters.iter().chain(&secrets).filter_map(name_of).collect();
    for (number, secret) in secrets.iter_mut().enumerate() {
        keys.fill(secret, number);
    }
    // Requests of the others may come without what is hashed.
    let hashed = if name.starts_with("generated/") { HASHED } else { 1 };
    for (number, cluster) in clusters.iter_mut().enumerate() {
        settle(cluster, number, hashed, (&raw, origins));
    }
    let mut listeners = array(resources["listeners"].take());
    let mut told = Vec::new();
    for listener in &mut listeners {
        let own = format!("{name}/{}", name_of(listener).expect("a name"));
        listener["name"] = own.clone().into();
        listener["address"] = address(SocketAddr::from(([127, 0, 0, 1], 0)));
        told.push(Listener { name: own, carries: carries(listener) });
    }
    for resource in listeners.iter_mut().chain(&mut clusters).chain(&mut secrets) {
        rename(resource, name, &names);
    }
    listeners.iter_mut().for_each(leave_nothing_to_chance);
    listeners.iter_mut().for_each(|listener| keys.pin(listener));
    Compiled {
        listeners: told,
        listener_resources: listeners,
        cluster_resources: clusters,
        secret_resources: secrets,
    }
}

fn object(configuration: &str, manifest: &Value) -> Arc<Object> {
    let kind = manifest["kind"].as_str().expect("a kind");
    let info = KINDS.iter().find(|info| info.name == kind).expect("a known kind");
    let mut manifest = manifest.clone();
    if manifest["metadata"].get("namespace").is_none() {
        manifest["metadata"]["namespace"] = "default".into();
    }
    let version = manifest["apiVersion"].as_str().expect("a version");
    let version = version.rsplit('/').next().unwrap_or(version).to_owned();
    match Object::decode(info.kind, &version, &manifest, Origin::Api) {
        Ok(decoded) => Arc::new(decoded.object),
        Err(errors) => panic!("{configuration}: {errors:?}\n{manifest:#}"),
    }
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn name_of(resource: &Value) -> Option<String> {
    resource["name"].as_str().map(str::to_owned)
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip(), "port_value": of.port() } })
}

fn filters(listener: &Value) -> impl Iterator<Item = &Value> {
    let chains = listener["filter_chains"].as_array().into_iter().flatten();
    let filters = chains.flat_map(|chain| chain["filters"].as_array().into_iter().flatten());
    filters.map(|filter| &filter["typed_config"])
}

fn is_tcp_proxy(filter: &Value) -> bool {
    filter["@type"].as_str().is_some_and(|name| name.ends_with(".TcpProxy"))
}

fn carries(listener: &Value) -> Carries {
    if listener.get("listener_filters").is_some() { Carries::Tls } else { Carries::Plain }
}

/// The clusters that get bytes and not requests.
fn raw_clusters(listeners: &Value) -> BTreeSet<String> {
    let listeners = listeners.as_array().into_iter().flatten();
    let proxies = listeners.flat_map(filters).filter(|filter| is_tcp_proxy(filter));
    let names = proxies.flat_map(|proxy| {
        let shares = proxy["weighted_clusters"]["clusters"].as_array().into_iter().flatten();
        proxy["cluster"].as_str().into_iter().chain(shares.filter_map(|s| s["name"].as_str()))
    });
    names.map(str::to_owned).collect()
}

/// Leads a cluster to an origin, but for those behind which there is nobody.
fn settle(
    cluster: &mut Value,
    number: usize,
    hashed: usize,
    (raw, origins): (&BTreeSet<String>, &Origins),
) {
    let name = name_of(cluster).expect("a name");
    let fields = cluster.as_object_mut().expect("a cluster");
    let options = fields.get("typed_extension_protocol_options");
    let options = options.and_then(Value::as_object).and_then(|options| options.values().next());
    let http2 = options.is_some_and(|options| {
        !options["explicit_http_config"]["http2_protocol_options"].is_null()
    });
    let hashes = ["RING_HASH", "MAGLEV"]
        .iter()
        .any(|policy| fields.get("lb_policy") == Some(&json!(policy)));
    for field in ["eds_cluster_config", "dns_lookup_family", "dns_refresh_rate", "respect_dns_ttl"]
    {
        fields.remove(field);
    }
    // Whom clients ask for is resolved by nobody here: it is the origin, as all are.
    if fields.remove("cluster_type").is_some() {
        fields.remove("lb_policy");
    }
    fields.insert("type".to_owned(), "STATIC".into());
    if name == "BlackHoleCluster" || name.contains("||none.") {
        fields.remove("load_assignment");
        return;
    }
    let tls = fields.contains_key("transport_socket");
    let origin = |number: usize| match (raw.contains(&name), tls, http2) {
        (true, ..) => origins.raw(number),
        (false, true, false) => origins.tls(number),
        (false, true, true) => origins.tls_http2(number),
        (false, false, true) => origins.http2(number),
        (false, false, false) => origins.http1(number),
    };
    // Which of several gets a request must follow from the request.
    let count = if hashes && !raw.contains(&name) { hashed } else { 1 };
    let endpoints: Vec<Value> = (number..number + count)
        .map(|number| json!({ "endpoint": { "address": address(origin(number)) } }))
        .collect();
    let assignment = json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] });
    fields.insert("load_assignment".to_owned(), assignment);
}

/// Puts the configuration's name before those of its clusters and secrets, wherever they stand.
fn rename(value: &mut Value, configuration: &str, names: &BTreeSet<String>) {
    match value {
        Value::String(text) if names.contains(text) => *text = format!("{configuration}/{text}"),
        Value::Array(values) => {
            values.iter_mut().for_each(|value| rename(value, configuration, names));
        }
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| rename(value, configuration, names));
        }
        _ => {}
    }
}

/// Gives everything to the first of the heaviest, wherever clusters have weights.
fn leave_nothing_to_chance(value: &mut Value) {
    if let Some(clusters) = value.pointer_mut("/weighted_clusters/clusters") {
        let clusters = clusters.as_array_mut().expect("clusters");
        let weight = |cluster: &Value| cluster["weight"].as_u64().unwrap_or_default();
        let most = clusters.iter().map(weight).max();
        let mut first = true;
        clusters.retain(|cluster| {
            weight(cluster) == 0 || Some(weight(cluster)) == most && std::mem::take(&mut first)
        });
    }
    match value {
        Value::Array(values) => values.iter_mut().for_each(leave_nothing_to_chance),
        Value::Object(fields) => fields.values_mut().for_each(leave_nothing_to_chance),
        _ => {}
    }
}

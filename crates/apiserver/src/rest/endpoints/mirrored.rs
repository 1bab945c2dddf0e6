//! Endpoints that somebody writes for a Service without a selector, as EndpointSlices: gateways read these alone. What a cluster's
//! own controller (`endpointslicemirroring`) makes of them, by its rules and under its name.

use serde_json::{Map, Value, json};
use tidegate_api::{Kind, ObjectKey, Origin};

use super::SERVICE_NAME;
use crate::store::Entry;

/// The label that says who made a slice, and who makes these.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// The label by which Endpoints are left alone.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints that are a lock, and say nothing of addresses.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses of one list that are mirrored, as in Kubernetes.
const MOST: usize = 1_000;

/// Whether a slice was made here.
pub(super) fn is_mirror(slice: &Entry) -> bool {
    *slice.origin() == Origin::Process && slice.labels().get(MANAGED_BY) == Some(MANAGER)
}

/// The slices of Endpoints: for each subset one of each family of addresses that it has.
pub(super) fn slices(endpoints: &Entry) -> Vec<(ObjectKey, Map<String, Value>)> {
    let object = endpoints.json();
    let metadata = &object["metadata"];
    if metadata["labels"][SKIP] == "true" || metadata["annotations"].get(LEADER).is_some() {
        return Vec::new();
    }
    let mut slices = Vec::new();
    for subset in list(&object["subsets"]) {
        for family in ["IPv4", "IPv6"] {
            let of = |field: &str, ready: bool| {
                let addresses = list(&subset[field]).iter().take(MOST);
                addresses.filter_map(move |address| endpoint(address, family, ready))
            };
            let all = of("addresses", true).chain(of("notReadyAddresses", false));
            let all: Vec<Value> = all.collect();
            if !all.is_empty() {
                let name = format!("{}-mirrored-{}", endpoints.key().name, slices.len());
                slices.push(slice(endpoints, &name, family, all, &subset["ports"]));
            }
        }
    }
    slices
}

/// Whether a slice says what it would be made as now.
pub(super) fn says(slice: &Entry, manifest: &Map<String, Value>) -> bool {
    let slice = slice.json();
    let same = |field: &str| slice.get(field) == manifest.get(field);
    ["addressType", "endpoints", "ports"].into_iter().all(same)
        && slice["metadata"].get("labels") == manifest["metadata"].get("labels")
}

fn slice(
    endpoints: &Entry,
    name: &str,
    family: &str,
    all: Vec<Value>,
    ports: &Value,
) -> (ObjectKey, Map<String, Value>) {
    let of = endpoints.key();
    let labels = endpoints.json()["metadata"]["labels"].as_object().cloned();
    let mut labels = labels.unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), (*of.name).into());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.into());
    let manifest = Map::from_iter([
        ("apiVersion".to_owned(), "discovery.k8s.io/v1".into()),
        ("kind".to_owned(), "EndpointSlice".into()),
        (
            "metadata".to_owned(),
            json!({ "name": name, "namespace": *of.namespace, "labels": labels }),
        ),
        ("addressType".to_owned(), family.into()),
        ("endpoints".to_owned(), all.into()),
        ("ports".to_owned(), list(ports).iter().map(port).collect()),
    ]);
    let key = ObjectKey { kind: Kind::EndpointSlice, name: name.into(), ..of.clone() };
    (key, manifest)
}

/// An address of a family as an endpoint.
fn endpoint(address: &Value, family: &str, ready: bool) -> Option<Value> {
    let ip: std::net::IpAddr = address["ip"].as_str()?.parse().ok()?;
    if ip.is_ipv4() != (family == "IPv4") {
        return None;
    }
    let mut endpoint = json!({ "addresses": [ip], "conditions": { "ready": ready } });
    for field in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(field) {
            endpoint[field] = value.clone();
        }
    }
    Some(endpoint)
}

/// A port, which has a name in a slice even where that is empty.
fn port(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"].is_null() {
        port["name"] = "".into();
    }
    port
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

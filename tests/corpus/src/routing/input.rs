//! Objects of cases, which Istio's unit tests build past its own validation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::kinds::{by_api_version, split_api_version};
use tidegate_api::{Kind, Object, ObjectKey, Origin, Spec};
use tidegate_explain::World;
use tidegate_pilot::{GatewayService, Options, OutboundPolicy, ProxyKind, Workload, mesh};
use tidegate_testing::ca::Ca;

/// The object of a manifest, validated or not; `None` for kinds that are not served yet.
pub fn object(manifest: &Value) -> Option<Arc<Object>> {
    if let Some(object) = valid(manifest) {
        return Some(Arc::new(object));
    }
    let mut spec = without_nulls(&manifest["spec"]);
    let (kind, spec) = match manifest["kind"].as_str()? {
        "Gateway" => {
            for server in spec["servers"].as_array_mut()? {
                server.as_object_mut()?.entry("hosts").or_insert_with(|| json!([]));
            }
            (Kind::Gateway, Spec::Gateway(serde_json::from_value(spec).ok()?))
        }
        "VirtualService" => {
            (Kind::VirtualService, Spec::VirtualService(serde_json::from_value(spec).ok()?))
        }
        "DestinationRule" => {
            (Kind::DestinationRule, Spec::DestinationRule(serde_json::from_value(spec).ok()?))
        }
        "ServiceEntry" => {
            (Kind::ServiceEntry, Spec::ServiceEntry(serde_json::from_value(spec).ok()?))
        }
        "Sidecar" => (Kind::Sidecar, Spec::Sidecar(serde_json::from_value(spec).ok()?)),
        "Service" => {
            (Kind::Service, Spec::Service(serde_json::from_value(json!({"spec": spec})).ok()?))
        }
        "EndpointSlice" => {
            let mut slice = manifest.clone();
            slice.as_object_mut()?.entry("addressType").or_insert_with(|| json!("IPv4"));
            (Kind::EndpointSlice, Spec::EndpointSlice(serde_json::from_value(slice).ok()?))
        }
        _ => return None,
    };
    let metadata = &manifest["metadata"];
    let text = |key: &str| metadata[key].as_str().unwrap_or("default");
    let mut object = Object::new(ObjectKey::new(kind, text("namespace"), text("name")), spec);
    object.labels = strings(&metadata["labels"]);
    object.annotations = strings(&metadata["annotations"]);
    Some(Arc::new(object))
}

fn valid(manifest: &Value) -> Option<Object> {
    let mut manifest = manifest.clone();
    let metadata = manifest["metadata"].as_object_mut()?;
    metadata.entry("namespace").or_insert_with(|| json!("default"));
    let api_version = manifest["apiVersion"].as_str()?;
    let info = by_api_version(api_version, manifest["kind"].as_str()?)?;
    let (_, version) = split_api_version(api_version);
    Object::decode(info.kind, version, &manifest, Origin::Api).ok().map(|decoded| decoded.object)
}

/// What a case's objects are compiled into. Every Secret that a Gateway names is there, as in Istio's tests, which
/// never ask for one.
pub fn world(case: &Value) -> Result<World, String> {
    let options = options(case)?;
    let mut all = objects(case);
    let ca = Ca::new("root");
    let mut named = BTreeSet::new();
    for object in &all {
        let Spec::Gateway(gateway) = &object.spec else { continue };
        let tls = gateway.servers.iter().filter_map(|server| server.tls.as_ref());
        named.extend(tls.map(|tls| tls.credential_name.clone()).filter(|name| !name.is_empty()));
    }
    all.extend(named.iter().filter_map(|name| object(&secret(name, &options.namespace, &ca))));
    Ok(World::new(options, all))
}

fn secret(name: &str, namespace: &str, ca: &Ca) -> Value {
    let leaf = ca.issue(&["*.example.com"]);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name.trim_start_matches("kubernetes://"), "namespace": namespace},
        "stringData": {"tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem, "ca.crt": ca.pem()},
    })
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

/// A null stands for an empty message, as in Go.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The objects of a case.
pub fn objects(case: &Value) -> Vec<Arc<Object>> {
    let lists = ["config", "kube"].iter().filter_map(|key| case[key].as_array());
    lists.flatten().filter_map(object).collect()
}

/// The proxy of a case and its mesh: labels and namespace; the addresses of a sidecar, and the Services in front of a gateway.
pub fn options(case: &Value) -> Result<Options, String> {
    let proxy = &case["proxy"];
    let mut options = Options::default();
    if let Some(namespace) = proxy["configNamespace"].as_str() {
        namespace.clone_into(&mut options.namespace);
    }
    if proxy["labels"].is_object() {
        options.labels = strings(&proxy["labels"]);
    }
    if proxy["type"] == "sidecar" {
        let addresses = proxy["ip"].as_array().into_iter().flatten();
        let addresses = addresses.filter_map(|ip| ip.as_str()?.parse().ok()).collect();
        options.proxy = ProxyKind::Sidecar(Workload { addresses });
        options.outbound_policy = OutboundPolicy::AllowAny;
        options.captures_dns = proxy["dnsCapture"] == true && proxy["dnsAutoAllocate"] == true;
    }
    mesh::apply(&case["meshConfig"], &mut options).map_err(|error| error.to_string())?;
    if case["proxyMetadata"]["unprivilegedPod"] == "true" {
        options.lowest_port = 1024;
    }
    let ip = proxy["ip"][0].as_str().unwrap_or("1.1.1.1");
    let config = case["config"].as_array().into_iter().flatten();
    options.services = config.filter_map(|manifest| front(manifest, ip)).collect();
    for port in case["gatewayServicePorts"].as_array().into_iter().flatten() {
        let number = |key: &str| u16::try_from(port[key].as_u64()?).ok();
        let ports = number("servicePort").zip(number("targetPort")).into_iter().collect();
        options.services.push(GatewayService { ports, ..GatewayService::default() });
    }
    Ok(options)
}

/// A ServiceEntry of which the gateway itself is an endpoint.
fn front(manifest: &Value, ip: &str) -> Option<GatewayService> {
    let spec = &manifest["spec"];
    let endpoints = spec["endpoints"].as_array()?;
    if manifest["kind"] != "ServiceEntry" || !endpoints.iter().any(|e| e["address"] == ip) {
        return None;
    }
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let ports = spec["ports"].as_array()?.iter().filter_map(|port| {
        let from = number(&port["number"])?;
        Some((from, number(&port["targetPort"]).unwrap_or(from)))
    });
    Some(GatewayService {
        host: spec["hosts"][0].as_str()?.to_owned(),
        namespace: manifest["metadata"]["namespace"].as_str()?.to_owned(),
        ports: ports.collect(),
    })
}

fn strings(map: &Value) -> BTreeMap<String, String> {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

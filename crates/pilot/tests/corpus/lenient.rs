//! Objects of cases, which Istio's unit tests build past its own validation.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::{Kind, Object, ObjectKey, Spec};
use tidegate_pilot::{GatewayService, Options};

use crate::common::try_object;

/// The object of a manifest, validated or not; `None` for kinds that are not served yet.
pub fn object(manifest: &Value) -> Option<Arc<Object>> {
    if let Ok(object) = try_object(manifest) {
        return Some(object);
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
        "ServiceEntry" => {
            (Kind::ServiceEntry, Spec::ServiceEntry(serde_json::from_value(spec).ok()?))
        }
        _ => return None,
    };
    let metadata = &manifest["metadata"];
    let text = |key: &str| metadata[key].as_str().unwrap_or("default");
    let mut object = Object::new(ObjectKey::new(kind, text("namespace"), text("name")), spec);
    object.annotations = strings(&metadata["annotations"]);
    Some(Arc::new(object))
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

/// The gateway of a case: its labels and namespace, and the Services in front of it.
pub fn options(case: &Value) -> Options {
    let proxy = &case["proxy"];
    let mut options = Options::default();
    if let Some(namespace) = proxy["configNamespace"].as_str() {
        namespace.clone_into(&mut options.namespace);
    }
    if proxy["labels"].is_object() {
        options.labels = strings(&proxy["labels"]);
    }
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
    options
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

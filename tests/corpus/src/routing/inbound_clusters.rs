//! `routing/sidecar-inbound-clusters`: the clusters of a workload itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result as Done;
use serde_json::{Value, json};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_explain::World;
use tidegate_xds::ResourceType;

use super::{same, sidecars, stem, supplement, verdict};
use crate::cases::{self, Tally};

/// How a table calls a cluster that keeps the address that was dialled.
const DIALLED: &str = "none (ORIGINAL_DST style passthrough)";

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    for file in if folder.is_dir() { cases::files(folder)? } else { Vec::new() } {
        let case = cases::document(&file)?;
        let name = format!("sidecar-inbound-clusters/{}", stem(&file));
        tally.add(&name, verdict(check(&case)));
    }
    Ok(())
}

fn check(case: &Value) -> Result<(), String> {
    let mut case = case.clone();
    case["kube"] = kube(&case);
    let wanted = case["inboundClusters"].as_object().into_iter().flatten();
    let wanted: BTreeMap<String, Value> =
        wanted.map(|(name, cluster)| (name.clone(), cluster["endpoints"].clone())).collect();
    same(&wanted, &found(&sidecars::world(&case)?)?)
}

/// The services of a case, and the ports of the workload that are theirs.
fn kube(case: &Value) -> Value {
    let own = supplement::instances(case);
    let mut objects = Vec::new();
    for service in case["services"].as_array().into_iter().flatten() {
        let host = service["host"].as_str().unwrap_or_default();
        let name = host.split('.').next().unwrap_or_default();
        let ports = service["ports"].as_array().into_iter().flatten();
        let ports: Vec<Value> = ports
            .map(|port| {
                let protocol = port["protocol"].as_str().unwrap_or_default().to_lowercase();
                json!({"name": port["name"], "port": port["port"], "appProtocol": protocol})
            })
            .collect();
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": "10.0.0.1", "ports": ports},
        }));
        let own = own.as_object().into_iter().flatten();
        let own: Vec<Value> = own.map(|(name, port)| json!({"name": name, "port": port})).collect();
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-1"),
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": case["proxy"]["ip"]}],
            "ports": own,
        }));
    }
    Value::Array(objects)
}

/// The clusters that are there, each with its endpoints.
fn found(world: &World) -> Result<BTreeMap<String, Value>, String> {
    let kind = ResourceType::Cluster;
    let all = world.snapshot().list(kind);
    let own = all.iter().filter(|cluster| cluster.name.starts_with("inbound|"));
    own.map(|cluster| {
        let json = bytes_to_json(kind.type_url(), &cluster.bytes, FieldNames::Camel);
        let json = json.map_err(|error| error.to_string())?;
        let endpoints = json["loadAssignment"]["endpoints"].as_array().into_iter().flatten();
        let endpoints = endpoints.flat_map(|group| group["lbEndpoints"].as_array());
        let addresses: Vec<Value> = endpoints
            .flatten()
            .map(|endpoint| {
                let socket = &endpoint["endpoint"]["address"]["socketAddress"];
                let address = socket["address"].as_str().unwrap_or_default();
                json!(format!("{address}:{}", socket["portValue"]))
            })
            .collect();
        let endpoints = match json["type"] == "ORIGINAL_DST" {
            true => json!(DIALLED),
            false => Value::Array(addresses),
        };
        Ok((cluster.name.to_string(), endpoints))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(more: &Value) -> Value {
        let mut case = json!({
            "name": "TestInboundClusters/single service, partial instance",
            "proxy": {"type": "sidecar", "configNamespace": "default", "labels": {}, "ip": ["1.2.3.4"]},
            "config": [],
            "services": [{"host": "backend.default.svc.cluster.local", "ports": [
                {"name": "default", "port": 80, "protocol": "HTTP"},
                {"name": "other", "port": 81, "protocol": "HTTP"},
            ]}],
            "inboundClusters": {"inbound|8080||": {"endpoints": DIALLED}},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            case[key] = value.clone();
        }
        case
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_expectation_fails() {
        assert_eq!(check(&case(&json!({}))), Ok(()));
        for wrong in [
            json!({"inboundClusters": {}}),
            json!({"inboundClusters": {"inbound|8081||": {"endpoints": DIALLED}}}),
            json!({"inboundClusters": {"inbound|8080||": {"endpoints": ["127.0.0.1:8080"]}}}),
            json!({"name": "another"}),
            json!({"meshConfig": {"inboundTrafficPolicy": {"mode": "LOCALHOST"}}}),
        ] {
            assert!(check(&case(&wrong)).is_err(), "{wrong}");
        }
        let here = json!({
            "meshConfig": {"inboundTrafficPolicy": {"mode": "LOCALHOST"}},
            "inboundClusters": {"inbound|8080||": {"endpoints": ["127.0.0.1:8080"]}},
        });
        assert_eq!(check(&case(&here)), Ok(()));
    }
}

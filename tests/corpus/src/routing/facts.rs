//! `routing/facts`: tables about listeners, merging, server names and protocols.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result as Done;
use serde_json::Value;
use tidegate_api::{Object, Spec};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_explain::World;
use tidegate_pilot::Options;
use tidegate_pilot::model::gateway::{Class, Gateway, Server};
use tidegate_pilot::model::{merge, protocol};
use tidegate_xds::ResourceType;

use super::input::{self, world};
use super::{same, table, verdict};
use crate::cases::Tally;

/// How a case of a table is judged.
type Check = fn(&Value) -> Result<(), String>;

const TABLES: [(&str, Check); 4] = [
    ("gateway-listeners", listeners),
    ("gateway-merge", merged),
    ("gateway-sni-overlap", no_overlap),
    ("port-protocol", port_protocol),
];

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    for (name, check) in TABLES {
        for case in table(folder, name)?["cases"].as_array().into_iter().flatten() {
            let case_name = case["name"].as_str().unwrap_or_default();
            tally.add(&format!("{name}/{case_name}"), verdict(check(case)));
        }
    }
    Ok(())
}

/// Names of the listeners.
fn names(world: &World) -> BTreeSet<String> {
    let all = world.snapshot().list(ResourceType::Listener);
    all.iter().map(|listener| listener.name.to_string()).collect()
}

fn listeners(case: &Value) -> Result<(), String> {
    let wanted: BTreeSet<String> = strings(&case["expect"]["listeners"]);
    same(&wanted, &names(&world(case)?))
}

/// Every Gateway of a case is merged, whatever it selects.
fn merged(case: &Value) -> Result<(), String> {
    let options = Options::default();
    let gateways: Vec<Gateway> =
        input::objects(case).iter().filter_map(|o| gateway(o, &options)).collect();
    let servers: Vec<&Arc<Server>> = gateways.iter().flat_map(|g| &g.servers).collect();
    let ports: BTreeSet<u16> = servers.iter().flat_map(|s| s.listen.iter().copied()).collect();
    let mut kinds = BTreeSet::new();
    let mut routes: BTreeMap<String, usize> = BTreeMap::new();
    for port in ports {
        let on = servers.iter().copied().filter(|s| s.listen.contains(&port));
        let mut plan = merge::merge(port, on, "0.0.0.0");
        plan.lay_out(|_| true);
        for listener in plan.listeners {
            for server in &listener.servers {
                // HTTP of every version shares what its first server opened.
                let spoken = match server.class() {
                    Class::Http => "HTTP",
                    _ => server.protocol.as_str(),
                };
                kinds.insert((port, server.bind.clone(), spoken));
            }
            for plan in &listener.routes {
                routes.insert(plan.name.to_string(), plan.servers.len());
            }
        }
    }
    let expect = &case["expect"];
    let wanted = expect["serversPerRouteConfig"].as_object().into_iter().flatten();
    let wanted: BTreeMap<String, usize> =
        wanted.map(|(name, n)| (name.clone(), n.as_u64().unwrap_or_default() as usize)).collect();
    same(&expect["mergedListeners"].as_u64().unwrap_or_default(), &(kinds.len() as u64))?;
    same(&wanted, &routes)
}

fn gateway(object: &Object, options: &Options) -> Option<Gateway> {
    let Spec::Gateway(spec) = &object.spec else { return None };
    let mut spec = spec.clone();
    spec.selector.clear();
    Gateway::select(object, &spec, options)
}

fn no_overlap(case: &Value) -> Result<(), String> {
    let world = world(case)?;
    same(&case["expect"]["noTwoFilterChainsShareTheSameMatch"], &Value::Bool(true))?;
    for listener in world.snapshot().list(ResourceType::Listener) {
        let name = &listener.name;
        let listener = bytes_to_json(listener.kind.type_url(), &listener.bytes, FieldNames::Proto)
            .map_err(|error| error.to_string())?;
        if let Some(matched) = repeated(&listener) {
            return Err(format!("two filter chains of {name} match {matched}"));
        }
    }
    Ok(())
}

/// What two filter chains of a listener match.
fn repeated(listener: &Value) -> Option<String> {
    let chains = listener["filter_chains"].as_array().into_iter().flatten();
    let mut seen = BTreeSet::new();
    let mut matches = chains.map(|chain| chain["filter_chain_match"].to_string());
    matches.find(|matched| !seen.insert(matched.clone()))
}

fn port_protocol(case: &Value) -> Result<(), String> {
    let port = u16::try_from(case["port"].as_u64().unwrap_or_default()).unwrap_or_default();
    let name = case["portName"].as_str().unwrap_or_default();
    let found = if case["transport"] == "ProtocolUDP" {
        "UDP"
    } else {
        let found = protocol::of_service_port(port, name, case["appProtocol"].as_str());
        found.map_or("Unsupported", tidegate_api::istio::Protocol::as_str)
    };
    // Istio's table writes the name without its hyphen.
    let found = found.replace("GRPC-WEB", "GRPCWeb");
    same(&case["expect"].as_str().unwrap_or_default(), &found.as_str())
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::changes::all_fail;

    fn server(number: u16, name: &str, protocol: &str, host: &str) -> Value {
        json!({"port": {"number": number, "name": name, "protocol": protocol}, "hosts": [host]})
    }

    fn gateways(servers: &[&[Value]]) -> Value {
        let gateway = |(n, servers): (usize, &&[Value])| {
            let spec = json!({"selector": {"istio": "ingressgateway"}, "servers": servers});
            input::manifest("Gateway", &format!("g{n}"), &spec)
        };
        servers.iter().enumerate().map(gateway).collect()
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_expectation_fails() {
        let (web, more) =
            (server(80, "web", "HTTP", "a.com"), server(80, "more", "HTTP2", "b.com"));
        let other = server(8080, "other", "HTTP", "a.com");
        let case = json!({
            "config": gateways(&[&[web.clone(), other.clone()]]),
            "gatewayServicePorts": [{"servicePort": 8080, "targetPort": 9090}],
            "expect": {"listeners": ["0.0.0.0_80", "0.0.0.0_9090"]},
        });
        all_fail(&case, "expect", listeners);

        let case = json!({
            "config": gateways(&[&[web, other], &[more]]),
            "expect": {
                "mergedListeners": 2,
                "serversPerRouteConfig": {"http.80": 2, "http.8080": 1},
            },
        });
        all_fail(&case, "expect", merged);
        let mut short = case;
        short["expect"]["serversPerRouteConfig"].as_object_mut().map(|all| all.remove("http.8080"));
        assert!(merged(&short).is_err(), "every route configuration is named");

        let mut passed = server(443, "tls", "TLS", "a.com");
        passed["tls"] = json!({"mode": "PASSTHROUGH"});
        let case = json!({
            "config": gateways(&[&[passed]]),
            "expect": {"noTwoFilterChainsShareTheSameMatch": true},
        });
        all_fail(&case, "expect", no_overlap);

        for (port, name, app, transport, expect) in [
            (80, "http-a", Value::Null, "", "HTTP"),
            (80, "grpc-web-a", Value::Null, "", "GRPCWeb"),
            (9000, "a", json!("https"), "", "HTTPS"),
            (53, "a", Value::Null, "ProtocolUDP", "UDP"),
            (9000, "a", Value::Null, "", "Unsupported"),
        ] {
            let case = json!({
                "port": port, "portName": name, "appProtocol": app, "transport": transport, "expect": expect,
            });
            all_fail(&case, "expect", port_protocol);
        }
    }

    #[test]
    fn chains_that_match_the_same_are_found() {
        let chain = |name: &str| json!({"filter_chain_match": {"server_names": [name]}});
        let listener = |names: &[&str]| -> Value {
            json!({"filter_chains": names.iter().map(|name| chain(name)).collect::<Vec<_>>()})
        };
        assert_eq!(repeated(&listener(&["a.com", "b.com"])), None);
        assert!(repeated(&listener(&["a.com", "b.com", "a.com"])).is_some());
    }
}

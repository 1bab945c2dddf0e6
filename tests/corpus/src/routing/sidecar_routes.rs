//! `routing/sidecar-routes` and `routing/facts/sidecar-outbound-route-config`: virtual hosts of a sidecar, with their domains
//! and the clusters of their routes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result as Done;
use serde_json::{Value, json};
use tidegate_api::{Kind, Object, ObjectKey, Spec};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_pilot::compile::authorization::Authorization;
use tidegate_pilot::compile::tokens::Tokens;
use tidegate_pilot::compile::{Context, virtual_host};
use tidegate_pilot::model::age::Age;
use tidegate_pilot::model::destination_rule::Rules;
use tidegate_pilot::model::registry::Registry;
use tidegate_pilot::model::service::{Discovery, Port, Service, Target as Endpoint};
use tidegate_pilot::model::sidecar::Sidecars;
use tidegate_pilot::model::subnet::Subnet;
use tidegate_pilot::model::virtual_service::VirtualService;
use tidegate_pilot::sidecar::Scope;
use tidegate_pilot::sidecar::routes::{self, TableName, Target};
use tidegate_pilot::{Options, OutboundPolicy};
use tidegate_xds::ResourceType;

use super::{input, same, sidecars, stem, table, verdict};
use crate::cases::{self, Tally, Verdict};

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    for file in if folder.is_dir() { cases::files(folder)? } else { Vec::new() } {
        let name = format!("sidecar-routes/{}", stem(&file));
        let case = cases::document(&file)?;
        let of_gateway_api = |manifest: &Value| manifest["kind"] == "HTTPRoute";
        let from_route = |manifest: &Value| {
            let annotation = "internal.istio.io/route-semantics";
            !manifest["metadata"]["annotations"][annotation].is_null()
        };
        let mut config = case["config"].as_array().into_iter().flatten();
        if config.any(|manifest| of_gateway_api(manifest) || from_route(manifest)) {
            println!("not yet: {name}: routes of the Gateway API");
            tally.add(&name, Verdict::Skipped);
            continue;
        }
        tally.add(&name, verdict(clusters(&case)));
    }
    Ok(())
}

/// The clusters that requests for a domain may go to.
fn clusters(case: &Value) -> Result<(), String> {
    let world = sidecars::world(case)?;
    let table = case["routes"]["routeConfig"].as_str().unwrap_or_default();
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for host in world.snapshot().list(ResourceType::VirtualHost) {
        if !host.name.starts_with(&format!("{table}/")) {
            continue;
        }
        let host = bytes_to_json(host.kind.type_url(), &host.bytes, FieldNames::Proto)
            .map_err(|error| error.to_string())?;
        let routes = host["routes"].as_array().into_iter().flatten();
        let clusters: Value = routes.map(|route| route["route"]["cluster"].clone()).collect();
        for domain in host["domains"].as_array().into_iter().flatten() {
            found.insert(domain.as_str().unwrap_or_default().to_owned(), clusters.clone());
        }
    }
    for (domain, wanted) in case["routes"]["virtualHosts"].as_object().into_iter().flatten() {
        let clusters = found.get(domain).cloned().unwrap_or_else(|| json!("ABSENT"));
        same(wanted, &clusters).map_err(|why| format!("{domain}: {why}"))?;
    }
    Ok(())
}

pub fn run_facts(folder: &Path, tally: &mut Tally) -> Done<()> {
    let part = "sidecar-outbound-route-config";
    let table = table(folder, part)?;
    for case in table["cases"].as_array().into_iter().flatten() {
        let name = case["name"].as_str().unwrap_or_default();
        tally.add(&format!("{part}/{name}"), verdict(domains(case, &table)));
    }
    Ok(())
}

/// The domains of every virtual host of a route configuration, and how many routes it has.
fn domains(case: &Value, table: &Value) -> Result<(), String> {
    if let Some(kind) = sidecars::unserved(case) {
        return Err(format!("{kind} is not served"));
    }
    let mut options = input::options(table)?;
    // Its objects and services are of no domain.
    options.domain = String::new();
    options.outbound_policy = match case["outboundTrafficPolicy"].as_str() {
        Some("ALLOW_ANY") => OutboundPolicy::AllowAny,
        _ => OutboundPolicy::RegistryOnly,
    };
    let mut registry = Registry::default();
    for service in table["services"].as_array().into_iter().flatten() {
        let seen = service["exportTo"] != json!(["."])
            || service["namespace"].as_str() == Some(&options.namespace);
        if let Some(service) = self::service(service).filter(|_| seen) {
            registry.set_services(&service.key.clone(), vec![service]);
        }
    }
    let objects = input::objects(case);
    let mut sidecars = Sidecars::new(options.outbound_policy);
    for object in &objects {
        if let Spec::Sidecar(spec) = &object.spec {
            sidecars.set(object, spec, &options);
        }
    }
    (options.outbound_policy, options.egress_proxy) = sidecars.outbound(&options.domain);
    let services: Vec<VirtualService> =
        objects.iter().filter_map(|object| resolve(object, &options)).collect();
    let scope = Scope::new(
        &options,
        &registry,
        services.iter(),
        sidecars.chosen().map(|(key, spec)| (key, &**spec)),
    );
    let name = table_name(case["routeConfig"].as_str().unwrap_or_default())
        .ok_or("it is no port, and no service with one")?;
    let found = routes::Tables::new(&scope).table(&name).hosts;

    let wanted = case["expect"]["virtualHosts"].as_object().into_iter().flatten();
    // Host names know no letter case, and what is compiled has small letters throughout.
    let wanted: BTreeMap<String, BTreeSet<String>> = wanted
        .map(|(name, domains)| {
            let domains = domains.as_array().into_iter().flatten().filter_map(Value::as_str);
            (name.to_ascii_lowercase(), domains.map(str::to_ascii_lowercase).collect())
        })
        .collect();
    let hosts =
        found.iter().map(|host| (host.name.clone(), host.domains.iter().cloned().collect()));
    same(&wanted, &hosts.collect())?;
    let context = Context {
        options: &options,
        registry: &registry,
        rules: &Rules::default(),
        tokens: &Tokens::default(),
        authorization: &Authorization::default(),
        resolves_asked: false,
    };
    let routes = found.iter().map(|host| match &host.target {
        Target::Rules(key, onward) => {
            let rules = services.iter().find(|service| service.key == *key);
            rules.map_or(0, |s| {
                virtual_host::routes(s, &Scope::place(host.port), Some(onward), &context).len()
            })
        }
        Target::Service(_) | Target::Elsewhere(_) => 1,
    });
    same(&case["expect"]["totalRoutes"].as_u64(), &Some(routes.sum::<usize>() as u64))
}

fn table_name(text: &str) -> Option<TableName> {
    if text.starts_with("unix://") {
        return Some(TableName::Socket(text.into()));
    }
    match text.rsplit_once(':') {
        None => text.parse().ok().map(TableName::Port),
        Some((host, port)) => Some(TableName::Service(host.into(), port.parse().ok()?)),
    }
}

fn resolve(object: &Object, options: &Options) -> Option<VirtualService> {
    match &object.spec {
        Spec::VirtualService(spec) => Some(VirtualService::resolve(object, spec, options)),
        _ => None,
    }
}

/// A service of the table, all of which come from Kubernetes, whatever they are called.
fn service(service: &Value) -> Option<Service> {
    let host = service["hostname"].as_str()?.to_ascii_lowercase();
    let key = ObjectKey::new(Kind::Service, service["namespace"].as_str()?, host.as_str());
    let object = Object::new(key.clone(), Spec::Service(Box::default()));
    let port = |port: &Value| {
        let number = u16::try_from(port["port"].as_u64()?).ok()?;
        Some(Port {
            number,
            name: port["name"].as_str()?.to_owned(),
            protocol: port["protocol"].as_str()?.parse().ok(),
            target: Endpoint::Number(number),
        })
    };
    let headless = service["defaultAddress"] == "0.0.0.0";
    let address = service["defaultAddress"].as_str().filter(|_| !headless);
    Some(Service {
        age: Age::of(&object),
        key,
        host: host.into(),
        external: false,
        certified: Arc::default(),
        ports: service["ports"].as_array()?.iter().filter_map(port).collect::<Arc<[Port]>>(),
        addresses: address.and_then(Subnet::parse).into_iter().collect(),
        direct: headless,
        discovery: Discovery::Slices(BTreeMap::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> (Value, Value) {
        let port = json!({"name": "http-80", "port": 80, "protocol": "HTTP"});
        let table = json!({
            "proxy": {"type": "sidecar", "configNamespace": "own", "ip": ["1.1.1.1"]},
            "services": [{
                "hostname": "a.com", "defaultAddress": "8.8.8.8", "ports": [port],
                "exportTo": ["*"], "namespace": "other",
            }],
        });
        let hosts = json!({"a.com:80": ["a.com", "a.com.", "8.8.8.8"], "block_all": ["*"]});
        let expect = json!({"virtualHosts": hosts, "totalRoutes": 2});
        let case = json!({
            "config": [], "routeConfig": "80", "outboundTrafficPolicy": "REGISTRY_ONLY", "expect": expect,
        });
        (table, case)
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_expectation_fails() {
        let (table, case) = facts();
        assert_eq!(domains(&case, &table), Ok(()));
        for (field, wrong) in [
            ("/expect/virtualHosts/a.com:80/0", json!("b.com")),
            ("/expect/virtualHosts/block_all", json!([])),
            ("/expect/totalRoutes", json!(3)),
            ("/routeConfig", json!("81")),
            ("/outboundTrafficPolicy", json!("ALLOW_ANY")),
        ] {
            let mut broken = case.clone();
            *broken.pointer_mut(field).expect("a field") = wrong;
            assert!(domains(&broken, &table).is_err(), "{field}");
        }
        let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
        let entry = json!({"hosts": ["a.com"], "ports": [port], "resolution": "DNS"});
        let mut case = json!({
            "proxy": table["proxy"],
            "config": [input::manifest("ServiceEntry", "a", &entry)],
            "routes": {"routeConfig": "80", "virtualHosts": {
                "a.com": ["outbound|80||a.com"], "b.com": "ABSENT",
            }},
        });
        assert_eq!(clusters(&case), Ok(()));
        case["routes"]["virtualHosts"]["b.com"] = json!([]);
        assert!(clusters(&case).is_err());
    }
}

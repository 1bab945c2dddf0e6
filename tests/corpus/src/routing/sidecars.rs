//! `routing/sidecar` and `routing/serviceentry`: calls through a sidecar.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result as Done;
use serde_json::{Value, json};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_explain::{Answer, World};
use tidegate_testing::ca::Ca;
use tidegate_xds::ResourceType;

use super::calls::{check, question};
use super::{input, same, stem, verdict};
use crate::cases::{self, Tally, Verdict};

/// Calls whose expectation is a fault of Istio's own output.
const INFORMATIVE: &str = "Mismatch IP and SNI";

pub fn run(folder: &Path, part: &str, tally: &mut Tally) -> Done<()> {
    for file in if folder.is_dir() { cases::files(folder)? } else { Vec::new() } {
        let case = cases::document(&file)?;
        let number = stem(&file).split('-').next().unwrap_or_default().to_owned();
        let name = format!("{part}/{number}");
        let world = match world(&case) {
            Ok(world) => world,
            Err(why) => {
                tally.add(&name, Verdict::Failed(why));
                continue;
            }
        };
        if case["calls"].is_null() {
            tally.add(&name, verdict(shape(&case["expect"], &world)));
        }
        for call in case["calls"].as_array().into_iter().flatten() {
            let answer = world.explain(&question(&call["call"]));
            let call_name = call["name"].as_str().unwrap_or_default();
            if call_name.starts_with(INFORMATIVE) {
                println!("of no consequence: {name}/{call_name}");
                tally.add(&format!("{name}/{call_name}"), Verdict::Skipped);
                continue;
            }
            let outcome = match insists_in_vain(&call["call"], &world, &answer) {
                true => same(&call["expect"]["error"], &json!("MTLSError")),
                false => check(&call["expect"], &answer),
            };
            tally.add(&format!("{name}/{call_name}"), verdict(outcome));
        }
    }
    Ok(())
}

/// What a sidecar's objects are compiled into.
pub fn world(case: &Value) -> Result<World, String> {
    if let Some(kind) = unserved(case) {
        return Err(format!("{kind} is not served"));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut case = case.clone();
    for manifest in case["config"].as_array_mut().into_iter().flatten() {
        for listener in manifest["spec"]["ingress"].as_array_mut().into_iter().flatten() {
            if let Some(tls) = listener.get_mut("tls") {
                name_files(tls, folder.path()).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(World::new(input::options(&case)?, input::objects(&case)))
}

/// Has the settings of an ingress listener name files that there are, as Istio's tests never read one.
fn name_files(tls: &mut Value, folder: &Path) -> Done<()> {
    let ca = Ca::new("root");
    let leaf = ca.issue(&["*.example.com"]);
    let fields = [
        ("serverCertificate", leaf.certificate_pem.as_str()),
        ("privateKey", leaf.key_pem.as_str()),
        ("caCertificates", ca.pem()),
    ];
    for (field, content) in fields {
        if let Some(name) = tls[field].as_str() {
            let file = folder.join(name);
            fs::write(&file, content)?;
            tls[field] = json!(file);
        }
    }
    Ok(())
}

/// Whether a client of a call insists on mutual TLS where nobody asks for its certificate. Clients in earnest do not mind, and
/// `explain` does not either.
fn insists_in_vain(call: &Value, world: &World, answer: &Answer) -> bool {
    if call["tls"] != "mtls" || answer.error().is_some() {
        return false;
    }
    let (Some(listener), Some(chain)) = (&answer.listener, &answer.filter_chain) else {
        return false;
    };
    let Some(listener) = world.snapshot().get(ResourceType::Listener, &listener.name) else {
        return false;
    };
    let listener = bytes_to_json(listener.kind.type_url(), &listener.bytes, FieldNames::Camel);
    let listener = listener.unwrap_or_default();
    let mut chains = listener["filterChains"].as_array().into_iter().flatten();
    chains.any(|found| {
        let terms = &found["transportSocket"]["typedConfig"];
        found["name"] == *chain.name
            && !terms.is_null()
            && terms["requireClientCertificate"] != true
    })
}

/// A kind among a case's objects that counts for nothing here.
pub fn unserved(case: &Value) -> Option<&str> {
    let config = case["config"].as_array()?.iter();
    let idle = config.filter(|manifest| input::object(manifest).is_none());
    idle.filter_map(|manifest| manifest["kind"].as_str()).next()
}

/// A case that asks for listeners.
fn shape(expect: &Value, world: &World) -> Result<(), String> {
    let listeners = world.snapshot().list(ResourceType::Listener);
    let names: BTreeSet<&str> = listeners.iter().map(|listener| &*listener.name).collect();
    let found = names.iter().filter(|name| name.ends_with("_8080")).count();
    match expect["minListenersOnPort8080"].as_u64() {
        Some(wanted) if (found as u64) < wanted => {
            Err(format!("wanted {wanted} listeners on port 8080 or more, found {names:?}"))
        }
        Some(_) => Ok(()),
        None => Err(format!("nothing is known of {expect}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Value {
        let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
        let entry = json!({"hosts": ["a.com"], "ports": [port], "resolution": "DNS"});
        json!({
            "proxy": {"type": "sidecar", "configNamespace": "default", "labels": {}, "ip": ["1.1.1.1"]},
            "config": [input::manifest("ServiceEntry", "a", &entry)],
        })
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_expectation_fails() {
        let world = world(&case()).unwrap_or_else(|why| panic!("{why}"));
        let call =
            json!({"where": "sidecar-outbound", "port": 80, "protocol": "http", "host": "a.com"});
        let answer = world.explain(&question(&call));
        let right = json!({
            "strict": true,
            "listener": "0.0.0.0_80",
            "routeConfig": "80",
            "virtualHost": "a.com:80",
            "route": "default",
            "cluster": "outbound|80||a.com",
        });
        assert_eq!(check(&right, &answer), Ok(()));
        for field in ["listener", "routeConfig", "virtualHost", "route", "cluster", "error"] {
            let mut wrong = right.clone();
            wrong[field] = json!("other");
            assert!(check(&wrong, &answer).is_err_and(|why| why.starts_with(field)), "{field}");
        }
        assert!(shape(&json!({"minListenersOnPort8080": 1}), &world).is_err());
    }

    #[test]
    fn a_case_with_what_is_not_served_fails() {
        let mut case = case();
        case["config"][0]["kind"] = json!("WasmPlugin");
        assert!(world(&case).is_err_and(|why| why.contains("WasmPlugin")));
    }
}

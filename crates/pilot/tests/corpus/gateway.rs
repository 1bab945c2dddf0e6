//! `routing/gateway`: calls through a gateway.

use serde_json::Value;
use tidegate_pilot::Input;

use crate::common::World;
use crate::walk::{Call, Way, follow};
use crate::{Outcomes, files, lenient};

/// Files that need kinds nobody has asked for yet: Kubernetes Ingress, and routes of the Gateway API.
const NOT_YET: [&str; 4] = ["018-", "019-", "028-", "030-"];

/// Calls whose expectation is a fault of Istio's own output; whatever single answer we give is right.
const INFORMATIVE: [&str; 2] = ["010-", "012-"];

pub fn run(outcomes: &mut Outcomes) {
    for (file, case) in files("gateway") {
        let left_out = NOT_YET.iter().chain(&INFORMATIVE).any(|start| file.starts_with(start));
        if left_out {
            println!("not yet, or of no consequence: gateway/{file}");
            continue;
        }
        let mut world = World::new(lenient::options(&case));
        world.give(lenient::objects(&case).into_iter().map(Input::Apply));
        let number = file.split('-').next().unwrap_or(&file);
        if case["calls"].is_null() {
            let outcome = expect_listener(&case["expect"], &world);
            outcomes.insert(format!("gateway/{number}"), outcome);
        }
        for call in case["calls"].as_array().into_iter().flatten() {
            let name = call["name"].as_str().unwrap_or_default();
            let way = follow(&world, &read(&call["call"]));
            outcomes.insert(format!("gateway/{number}/{name}"), check(&call["expect"], &way));
        }
    }
}

fn read(call: &Value) -> Call<'_> {
    let text = |key: &str| call[key].as_str();
    Call {
        port: call["port"].as_u64().unwrap_or_default(),
        http: text("protocol").is_some_and(|p| p.starts_with("http")),
        tls: text("tls") != Some("plaintext"),
        host: text("host").unwrap_or_default(),
        sni: text("sni"),
        path: text("path").unwrap_or("/"),
    }
}

fn check(expect: &Value, way: &Way) -> Result<(), String> {
    let strict = expect["strict"] == true;
    let fields = [
        ("error", way.error),
        ("listener", &way.listener),
        ("routeConfig", &way.route_config),
        ("virtualHost", &way.virtual_host),
        ("route", &way.route),
        ("cluster", &way.cluster),
    ];
    for (field, found) in fields {
        let wanted = expect[field].as_str();
        // An expectation without an error is one of success.
        let checked = wanted.is_some() || strict || field == "error";
        let wanted = wanted.unwrap_or_default();
        if checked && wanted != found {
            return Err(format!("{field}: wanted {wanted:?}, found {found:?}"));
        }
    }
    Ok(())
}

fn expect_listener(expect: &Value, world: &World) -> Result<(), String> {
    let listeners = world.names(tidegate_xds::ResourceType::Listener);
    let wanted = expect["listener"].as_str().unwrap_or_default();
    if listeners.iter().any(|l| l == wanted) {
        return Err("what it says of TLS contexts is not looked at".to_owned());
    }
    Err(format!("wanted listener {wanted}, found {listeners:?}"))
}

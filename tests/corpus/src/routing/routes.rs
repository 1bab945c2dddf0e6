//! `routing/facts/http-route-translation`: fields of the routes that a VirtualService becomes.

use std::path::Path;

use anyhow::Result as Done;
use serde_json::{Map, Value, json};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_explain::World;
use tidegate_pilot::Options;
use tidegate_xds::ResourceType;

use super::input::{self, manifest};
use super::{table, verdict};
use crate::cases::Tally;

/// The alternatives of Envoy's `oneof`s that the table names as a whole.
const ONE_OF: [(&str, &[&str]); 3] = [
    ("pathSpecifier", &["prefix", "path", "safeRegex", "pathSeparatedPrefix"]),
    ("hostRewriteSpecifier", &["hostRewriteLiteral", "autoHostRewrite"]),
    ("pathRewriteSpecifier", &["pathRedirect", "prefixRewrite", "regexRewrite"]),
];

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    let name = "http-route-translation";
    for case in table(folder, name)?["cases"].as_array().into_iter().flatten() {
        let routes = json!({"routes": routes(case)});
        let checks = case["expect"].as_array().into_iter().flatten();
        let failed: Vec<String> = checks.filter_map(|c| check(c, &routes).err()).collect();
        let outcome = if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) };
        let case_name = case["name"].as_str().unwrap_or_default();
        tally.add(&format!("{name}/{case_name}"), verdict(outcome));
    }
    Ok(())
}

/// The routes of the case's VirtualService on a gateway that listens where the case does.
fn routes(case: &Value) -> Value {
    let port = &case["listenPort"];
    let server =
        json!({"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    let gateway = manifest("Gateway", "some-gateway", &json!({"servers": [server]}));
    let hosts = json!({
        "hosts": ["*.example.org"],
        "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}],
    });
    let entry = manifest("ServiceEntry", "wild", &hosts);
    let mut service = case["virtualService"].clone();
    // What a case does not bind is meant for the proxy that it is translated for.
    if service["spec"]["gateways"].is_null() {
        service["spec"]["gateways"] = json!(["some-gateway"]);
    }
    if service["spec"]["hosts"].as_array().is_none_or(Vec::is_empty) {
        service["spec"]["hosts"] = json!(["*"]);
    }
    let objects = [gateway, entry, service];
    let world = World::new(Options::default(), objects.iter().filter_map(input::object));
    let hosts = world.snapshot().list(ResourceType::VirtualHost);
    let Some(host) = hosts.first() else { return json!([]) };
    let host = bytes_to_json(host.kind.type_url(), &host.bytes, FieldNames::Camel);
    host.ok().and_then(|h| h.get("routes").cloned()).unwrap_or_else(|| json!([]))
}

fn check(check: &Value, routes: &Value) -> Result<(), String> {
    let path = check["path"].as_str().unwrap_or_default();
    let found = value(path, routes);
    let pass = if let Some(wanted) = check.get("equals") {
        plain(wanted) == plain(&found)
    } else if let Some(wanted) = check.get("containsExactly") {
        plain(wanted) == plain(&found)
    } else if let Some(unset) = check.get("isUnset") {
        found.is_null() == (unset == true)
    } else if check["isEmpty"] == true {
        plain(&found).is_null()
    } else {
        check["hasKey"].as_str().is_some_and(|key| found.get(key).is_some())
    };
    if pass { Ok(()) } else { Err(format!("{check}: found {found}")) }
}

/// The value at a path such as `len(routes)` or `routes[0].match.headers[1].name`.
fn value(path: &str, root: &Value) -> Value {
    let inner = |name: &str| path.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(path) = inner("len") {
        return json!(value(path, root).as_array().map_or(0, Vec::len));
    }
    if let Some(path) = inner("isSet") {
        return json!(!value(path, root).is_null());
    }
    path.split('.').fold(root.clone(), |value, part| {
        let mut pieces = part.split(['[', ']']).filter(|piece| !piece.is_empty());
        let field = field(&value, pieces.next().unwrap_or_default());
        pieces.fold(field, |list, index| {
            let index: usize = index.parse().unwrap_or(usize::MAX);
            list.get(index).cloned().unwrap_or_default()
        })
    })
}

fn field(value: &Value, name: &str) -> Value {
    if let (Some(span), "seconds") = (value.as_str(), name) {
        return json!(span.trim_end_matches('s').parse::<u64>().unwrap_or_default());
    }
    if let Some((_, names)) = ONE_OF.iter().find(|(group, _)| *group == name) {
        let chosen: Map<String, Value> = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), value.get(name)?.clone())))
            .collect();
        return Value::Object(chosen);
    }
    let default = if name == "responseCode" { json!("MOVED_PERMANENTLY") } else { Value::Null };
    value.get(name).cloned().unwrap_or(default)
}

/// Without what protobuf leaves out: defaults.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().map(|(name, value)| (name.clone(), plain(value)));
            let kept: Map<String, Value> = kept.filter(|(_, value)| !value.is_null()).collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::String(text) if text.is_empty() || text == "APPEND_IF_EXISTS_OR_ADD" => Value::Null,
        Value::Bool(false) => Value::Null,
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Null,
        other => other.clone(),
    }
}

//! `routing/facts/http-route-translation`: fields of the routes that a VirtualService becomes.

use std::path::Path;

use anyhow::Result as Done;
use serde_json::{Map, Value, json};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_explain::World;
use tidegate_pilot::Options;
use tidegate_xds::ResourceType;

use super::input::{self, manifest};
use super::{supplement, table, verdict};
use crate::cases::{Tally, Verdict};

/// The alternatives of Envoy's `oneof`s that the table names as a whole.
const ONE_OF: [(&str, &[&str]); 3] = [
    ("pathSpecifier", &["prefix", "path", "safeRegex", "pathSeparatedPrefix"]),
    ("hostRewriteSpecifier", &["hostRewriteLiteral", "autoHostRewrite"]),
    ("pathRewriteSpecifier", &["pathRedirect", "prefixRewrite", "regexRewrite"]),
];

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    let name = "http-route-translation";
    for case in table(folder, name)?["cases"].as_array().into_iter().flatten() {
        let case_name = case["name"].as_str().unwrap_or_default();
        if let Some(kind) = supplement::destination(case) {
            println!("not yet: {name}/{case_name}: {kind}, of the Gateway API's extensions");
            tally.add(&format!("{name}/{case_name}"), Verdict::Skipped);
            continue;
        }
        let routes = json!({"routes": routes(case)});
        let checks = case["expect"].as_array().into_iter().flatten();
        let failed: Vec<String> = checks.filter_map(|c| check(c, &routes).err()).collect();
        let outcome = if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) };
        tally.add(&format!("{name}/{case_name}"), verdict(outcome));
    }
    Ok(())
}

/// The routes of the case's VirtualService on a gateway that listens where the case does.
fn routes(case: &Value) -> Value {
    let port = &case["listenPort"];
    let http3 = supplement::http3(case);
    let protocol = if http3 { "HTTPS" } else { "HTTP" };
    let mut server =
        json!({"port": {"number": port, "name": "http", "protocol": protocol}, "hosts": ["*"]});
    if http3 {
        server["tls"] = json!({"mode": "SIMPLE", "credentialName": "some-credential"});
    }
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
    let meant = meant(case["name"].as_str().unwrap_or_default());
    if let Some(semantics) = meant.semantics {
        service["metadata"]["annotations"] =
            json!({"internal.istio.io/route-semantics": semantics});
    }
    let mut objects = vec![gateway, entry, service];
    if let Some(spec) = meant.destination_rule {
        let mut rule = manifest("DestinationRule", "acme", &spec);
        rule["metadata"]["namespace"] = json!("istio-system");
        objects.push(rule);
    }
    let mut options = Options { forwarded_host: meant.forwarded_host, http3, ..Options::default() };
    if let Some(namespace) = meant.namespace {
        options.namespace = namespace.to_owned();
    }
    let world = World::new(options, objects.iter().filter_map(input::object));
    let hosts = world.snapshot().list(ResourceType::VirtualHost);
    let Some(host) = hosts.first() else { return json!([]) };
    let host = bytes_to_json(host.kind.type_url(), &host.bytes, FieldNames::Camel);
    host.ok().and_then(|h| h.get("routes").cloned()).unwrap_or_else(|| json!([]))
}

/// What a case is about and its table leaves to its name: the upstream test sets it up in code.
#[derive(Default)]
struct Meant {
    /// The namespace of the proxy.
    namespace: Option<&'static str>,
    /// What the VirtualService was made from.
    semantics: Option<&'static str>,
    /// `proxyHeaders.xForwardedHost` of the mesh.
    forwarded_host: bool,
    /// What the host's DestinationRule, of namespace istio-system, says.
    destination_rule: Option<Value>,
}

fn meant(name: &str) -> Meant {
    match name.rsplit('/').next().unwrap_or(name) {
        "for virtual service with source namespace matching #1" => {
            Meant { namespace: Some("foo"), ..Meant::default() }
        }
        "for virtual service with source namespace matching #2" => {
            Meant { namespace: Some("bar"), ..Meant::default() }
        }
        "for internally generated virtual service with ingress semantics" => {
            Meant { semantics: Some("ingress"), ..Meant::default() }
        }
        "for internally generated virtual service with gateway semantics" => {
            Meant { semantics: Some("gateway"), ..Meant::default() }
        }
        name if name.ends_with("with XForwardedHost enabled") => {
            Meant { forwarded_host: true, ..Meant::default() }
        }
        name => Meant { destination_rule: destination_rule(name), ..Meant::default() },
    }
}

/// What the DestinationRule of a case says.
fn destination_rule(name: &str) -> Option<Value> {
    let by_cookie = |name: &str| json!({"consistentHash": {"httpCookie": {"name": name}}});
    let at_port = |port: u16, name: &str| json!([{"port": {"number": port}, "loadBalancer": by_cookie(name)}]);
    let rule = |rest: Value| {
        let mut spec = json!({"host": "*.example.org"});
        for (key, value) in rest.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        Some(spec)
    };
    let subset = |policy: Value| json!([{"name": "some-subset", "trafficPolicy": policy}]);
    let other = json!({"loadBalancer": by_cookie("other-cookie")});
    let short_lived = |attributes: Value| {
        let mut cookie = json!({"name": "hash-cookie", "ttl": "100ns"});
        for (key, value) in attributes.as_object().into_iter().flatten() {
            cookie[key] = value.clone();
        }
        json!({"trafficPolicy": {"loadBalancer": {"consistentHash": {"httpCookie": cookie}}}})
    };
    match name {
        "for virtual service with ring hash" => rule(short_lived(json!({}))),
        "for virtual service with cookie hash policy with attributes" => {
            let attribute = |name: &str, value: &str| json!({"name": name, "value": value});
            rule(short_lived(json!({
                "name": "hash-cookie-with-attributes",
                "path": "/api",
                "attributes": [
                    attribute("SameSite", "Strict"),
                    attribute("Secure", "true"),
                    attribute("HttpOnly", "true"),
                ],
            })))
        }
        "for virtual service with query param based ring hash" => rule(json!({
            "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "query"}}},
        })),
        "for virtual service with subsets with ring hash" => {
            rule(json!({"subsets": subset(other)}))
        }
        "for virtual service with subsets and top level traffic policy with ring hash" => {
            let policy = json!({"loadBalancer": by_cookie("hash-cookie")});
            rule(json!({"subsets": subset(other), "trafficPolicy": policy}))
        }
        "for virtual service with subsets with port level settings with ring hash" => rule(json!({
            "subsets": [{
                "name": "port-level-settings-subset",
                "trafficPolicy": {"portLevelSettings": at_port(8484, "port-level-settings-cookie")},
            }],
            "trafficPolicy": {"portLevelSettings": at_port(8484, "hash-cookie")},
        })),
        "for virtual service with port level settings matching service port" => rule(
            json!({"trafficPolicy": {"portLevelSettings": at_port(8484, "matching-port-cookie")}}),
        ),
        "for virtual service with port level settings mismatched port" => rule(
            json!({"trafficPolicy": {"portLevelSettings": at_port(443, "mismatched-port-cookie")}}),
        ),
        "port selector based traffic policy" => {
            rule(json!({"trafficPolicy": {"portLevelSettings": at_port(8484, "hash-cookie")}}))
        }
        _ => None,
    }
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

/// A duration as JSON has it, whatever its zeros.
fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok()
}

/// Without what protobuf leaves out: defaults.
fn plain(value: &Value) -> Value {
    match value {
        // The table names the group that the alternatives belong to.
        Value::Object(fields) if fields.contains_key("policySpecifier") => {
            plain(&fields["policySpecifier"])
        }
        Value::Object(fields) => {
            let kept = fields.iter().map(|(name, value)| (name.clone(), plain(value)));
            let kept: Map<String, Value> = kept.filter(|(_, value)| !value.is_null()).collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::String(text) if text.is_empty() || text == "APPEND_IF_EXISTS_OR_ADD" => Value::Null,
        Value::String(text) if seconds(text).is_some() => json!(seconds(text)),
        Value::Bool(false) => Value::Null,
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Null,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(path: &str, wanted: &Value) -> Value {
        let rule = json!({
            "name": "r",
            "match": [{"uri": {"prefix": "/a"}}],
            "timeout": "10s",
            "route": [{"destination": {"host": "*.example.org", "port": {"number": 8484}}}],
        });
        json!({
            "name": "for virtual service with ring hash",
            "listenPort": 8080,
            "virtualService": manifest("VirtualService", "v", &json!({"http": [rule]})),
            "expect": [{"path": path, "equals": wanted}],
        })
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_expectation_fails() {
        let cases = [
            ("len(routes)", json!(1), json!(2)),
            ("routes[0].match.prefix", json!("/a"), json!("/b")),
            ("routes[0].route.timeout.seconds", json!(10), json!(11)),
            ("isSet(routes[0].redirect)", json!(false), json!(true)),
            (
                "routes[0].route.hashPolicy",
                json!([{"policySpecifier": {"cookie": {"name": "hash-cookie", "ttl": "0.0000001s"}}}]),
                json!([{"policySpecifier": {"cookie": {"name": "hash-cookie", "ttl": "0.0000002s"}}}]),
            ),
        ];
        for (path, right, wrong) in cases {
            let case = case(path, &right);
            let found = json!({"routes": routes(&case)});
            assert_eq!(check(&case["expect"][0], &found), Ok(()), "{path}");
            assert!(check(&json!({"path": path, "equals": wrong}), &found).is_err(), "{path}");
        }
    }
}

//! `routing/gateway`: calls through a gateway.

use std::path::Path;

use anyhow::Result as Done;
use serde_json::{Value, json};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_explain::{Answer, Direction, Part, Protocol, Question, Security, World};
use tidegate_xds::ResourceType;

use super::{input, same, stem, verdict};
use crate::cases::{self, Tally, Verdict};

/// Files that need kinds nobody has asked for yet: Kubernetes Ingress, and routes of the Gateway API.
const NOT_YET: [&str; 4] = ["018-", "019-", "028-", "030-"];

/// A file whose expectation is a fault of Istio's own output; it says nothing of how it should be.
const INFORMATIVE: &str = "010-";

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    for file in cases::files(folder)? {
        let name = stem(&file);
        let case = cases::document(&file)?;
        let number = name.split('-').next().unwrap_or(&name);
        if name.starts_with(INFORMATIVE) || NOT_YET.iter().any(|start| name.starts_with(start)) {
            println!("not yet, or of no consequence: gateway/{name}");
            tally.add(&format!("gateway/{number}"), Verdict::Skipped);
            continue;
        }
        let world = match input::world(&case) {
            Ok(world) => world,
            Err(why) => {
                tally.add(&format!("gateway/{number}"), Verdict::Failed(why));
                continue;
            }
        };
        if case["calls"].is_null() {
            let outcome = expect_listener(&case["expect"], &world);
            tally.add(&format!("gateway/{number}"), verdict(outcome));
        }
        for call in case["calls"].as_array().into_iter().flatten() {
            let name = call["name"].as_str().unwrap_or_default();
            let answer = world.explain(&question(&call["call"]));
            let outcome = check(&call["expect"], &answer);
            tally.add(&format!("gateway/{number}/{name}"), verdict(outcome));
        }
    }
    Ok(())
}

/// A call as a question.
pub fn question(call: &Value) -> Question {
    let text = |key: &str| call[key].as_str();
    let protocol = match text("protocol") {
        Some("http") => Protocol::Http1,
        Some("http2") => Protocol::Http2,
        _ => Protocol::Tcp,
    };
    let security = match text("tls") {
        Some("tls" | "mtls") => Security::Tls,
        // Raw bytes that name a server are a ClientHello.
        _ if text("protocol") == Some("unset") && text("sni").is_some() => Security::Tls,
        _ => Security::Plain,
    };
    let alpn: Vec<String> = match (text("alpn"), security, text("tls"), protocol) {
        (Some(one), ..) => vec![one.to_owned()],
        (None, Security::Plain, ..) => Vec::new(),
        (None, Security::Tls, Some("mtls"), Protocol::Http | Protocol::Http1) => {
            vec!["istio-http/1.1".to_owned()]
        }
        (None, Security::Tls, Some("mtls"), Protocol::Http2) => vec!["istio-h2".to_owned()],
        (None, Security::Tls, Some("mtls"), Protocol::Tcp) => vec!["istio".to_owned()],
        (None, Security::Tls, _, Protocol::Http | Protocol::Http1) => vec!["http/1.1".to_owned()],
        (None, Security::Tls, _, Protocol::Http2) => vec!["h2".to_owned()],
        (None, Security::Tls, _, Protocol::Tcp) => Vec::new(),
    };
    let direction = match text("where") {
        Some("sidecar-outbound") => Some(Direction::Outbound),
        Some("sidecar-inbound") => Some(Direction::Inbound),
        _ => None,
    };
    Question {
        direction,
        address: text("address").and_then(|address| address.parse().ok()),
        port: call["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or_default(),
        protocol,
        security,
        sni: text("sni").map(str::to_owned),
        alpn,
        client_certificate: text("tls") == Some("mtls"),
        host: text("host").unwrap_or_default().to_owned(),
        path: text("path").unwrap_or("/").to_owned(),
        ..Question::default()
    }
}

/// Holds an answer against what is expected of it.
pub fn check(expect: &Value, answer: &Answer) -> Result<(), String> {
    let strict = expect["strict"] == true;
    let name = |part: &Option<Part>| part.as_ref().map(|p| p.name.clone()).unwrap_or_default();
    let error = answer.error().map_or("", tidegate_explain::Error::as_str);
    if expect["error"] == "MultipleFilterChain" {
        // A fault of Istio's own output: any single chain is right.
        return match &answer.filter_chain {
            Some(_) => Ok(()),
            None => Err(format!("wanted one filter chain, found {error:?}")),
        };
    }
    let cluster = answer.clusters.first().map(|c| c.name.clone()).unwrap_or_default();
    let fields = [
        ("error", error.to_owned()),
        ("listener", name(&answer.listener)),
        ("filterChain", name(&answer.filter_chain)),
        ("routeConfig", name(&answer.route_configuration)),
        ("virtualHost", name(&answer.virtual_host)),
        ("route", name(&answer.route)),
        ("cluster", cluster),
    ];
    for (field, found) in fields {
        let wanted = expect[field].as_str();
        // An expectation without an error is one of success.
        let checked = wanted.is_some() || (strict && field != "filterChain") || field == "error";
        let wanted = wanted.unwrap_or_default();
        if checked && wanted != found {
            return Err(format!("{field}: wanted {wanted:?}, found {found:?}"));
        }
    }
    Ok(())
}

/// Compares the first chain of a listener: its certificate, and the server that the certificate is asked for at.
fn expect_listener(expect: &Value, world: &World) -> Result<(), String> {
    let wanted = expect["listener"].as_str().unwrap_or_default();
    let kind = ResourceType::Listener;
    let listener = world.snapshot().get(kind, wanted);
    let listener = listener.ok_or_else(|| format!("there is no listener {wanted}"))?;
    let listener = bytes_to_json(kind.type_url(), &listener.bytes, FieldNames::Camel);
    let listener = listener.map_err(|error| error.to_string())?;
    let socket = &listener["filterChains"][0]["transportSocket"]["typedConfig"];
    let secret = &socket["commonTlsContext"]["tlsCertificateSdsSecretConfigs"][0];
    let server = &secret["sdsConfig"]["apiConfigSource"]["grpcServices"][0]["envoyGrpc"];
    let found = json!({
        "tls": !socket.is_null(),
        "certificateSecret": secret["name"],
        "sdsServerCluster": server["clusterName"],
    });
    same(&expect["firstFilterChain"], &found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Value {
        let gateway = json!({
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["a.com"]}],
        });
        let route = json!([{"destination": {"host": "b", "port": {"number": 9080}}}]);
        let service = json!({
            "hosts": ["a.com"],
            "gateways": ["g"],
            "http": [{"name": "r", "match": [{"uri": {"exact": "/x"}}], "route": route}],
        });
        json!({"config": [
            input::manifest("Gateway", "g", &gateway),
            input::manifest("VirtualService", "v", &service),
        ]})
    }

    fn judge(call: &Value, expect: &Value) -> Result<(), String> {
        check(expect, &input::world(&case())?.explain(&question(call)))
    }

    #[test]
    fn the_first_chain_is_compared_whole() {
        let world = input::world(&case()).unwrap_or_else(|why| panic!("{why}"));
        let plain = json!({"tls": false, "certificateSecret": null, "sdsServerCluster": null});
        let expect = |chain: &Value| json!({"listener": "0.0.0.0_80", "firstFilterChain": chain});
        assert_eq!(expect_listener(&expect(&plain), &world), Ok(()));
        for field in ["tls", "certificateSecret", "sdsServerCluster"] {
            let mut wrong = plain.clone();
            wrong[field] = json!("other");
            assert!(expect_listener(&expect(&wrong), &world).is_err(), "{field}");
        }
        assert!(expect_listener(&json!({"listener": "0.0.0.0_81"}), &world).is_err());
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_expectation_fails() {
        let mut call = json!({"port": 80, "protocol": "http", "tls": "plaintext", "host": "a.com", "path": "/x"});
        let right = json!({
            "strict": true,
            "listener": "0.0.0.0_80",
            "routeConfig": "http.80",
            "virtualHost": "a.com:80",
            "route": "r",
            "cluster": "outbound|9080||b.default.svc.cluster.local",
        });
        assert_eq!(judge(&call, &right), Ok(()));
        for field in ["listener", "routeConfig", "virtualHost", "route", "cluster", "error"] {
            let mut wrong = right.clone();
            wrong[field] = json!("other");
            assert!(judge(&call, &wrong).is_err_and(|why| why.starts_with(field)), "{field}");
            let mut short = right.clone();
            short[field] = Value::Null;
            let all_named = field == "error";
            assert_eq!(judge(&call, &short).is_ok(), all_named, "strict without {field}");
        }
        let lenient = json!({"cluster": right["cluster"]});
        assert_eq!(judge(&call, &lenient), Ok(()));
        call["path"] = json!("/y");
        assert!(judge(&call, &lenient).is_err_and(|why| why.contains("NoRoute")), "not a success");
        assert_eq!(judge(&call, &json!({"error": "NoRoute", "virtualHost": "a.com:80"})), Ok(()));
    }
}

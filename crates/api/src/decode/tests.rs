//! The guides' manifests and their dialects, read end to end; and that nothing makes decoding panic.

use serde_json::{Value, json};

use super::*;
use crate::WarningKind;
use crate::istio::service_entry::{Location, Resolution};
use crate::istio::virtual_service::Destination;
use crate::istio::{Protocol, StringMatch};
use crate::scalar::Port;

fn decode(kind: Kind, spec: impl Into<Value>) -> Result<Decoded, Vec<String>> {
    let spec: Value = spec.into();
    let object = json!({"metadata": {"name": "x", "namespace": "default"}, "spec": spec});
    // Istio's oldest.
    let version = kind.info().versions.last().expect("a version");
    Object::decode(kind, version, &object, Origin::Api)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn virtual_service(spec: Value) -> (istio::VirtualService, Vec<String>) {
    let decoded = decode(Kind::VirtualService, spec).expect("valid");
    let Spec::VirtualService(spec) = decoded.object.spec else { panic!("a VirtualService") };
    (*spec, decoded.warnings.iter().map(ToString::to_string).collect())
}

fn errors(kind: Kind, spec: Value) -> Vec<String> {
    decode(kind, spec).expect_err("invalid")
}

#[test]
fn guide_000_front_proxy() {
    let gateway = decode(
        Kind::Gateway,
        json!({
            "selector": {"istio": "ingressgateway"},
            "servers": [
                {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
                {
                    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                    "tls": {"mode": "PASSTHROUGH"}, "hosts": ["*"],
                },
            ],
        }),
    )
    .expect("valid");
    assert_eq!(gateway.warnings, []);

    let (spec, warnings) = virtual_service(json!({
        "hosts": ["*"], "gateways": ["front-proxy"],
        "http": [{
            "match": [{"port": 80, "uri": {"prefix": "/status"}}],
            "route": [{"destination": {"host": "httpbin.org", "port": {"number": 80}}}],
        }],
        "tls": [{
            "match": [{"port": 443, "sni_hosts": ["www.google.com"]}],
            "route": [{"destination": {"host": "www.google.com", "port": {"number": 443}}}],
        }],
    }));
    assert_eq!(
        warnings,
        [
            "spec.tls[0].match[0].sni_hosts: read as sniHosts, which is how the field is written today"
        ]
    );
    let condition = &spec.http[0].matches[0];
    assert_eq!(condition.port, Port::new(80));
    assert_eq!(condition.uri, Some(StringMatch::Prefix("/status".to_owned())));
    assert_eq!(spec.tls[0].matches[0].sni_hosts, ["www.google.com"]);
    let Destination { host, port, .. } = &spec.tls[0].route[0].destination;
    assert_eq!(
        (host.as_str(), port.and_then(|port| port.number)),
        ("www.google.com", Port::new(443))
    );

    let entry = decode(
        Kind::ServiceEntry,
        json!({
            "hosts": ["httpbin.org"], "ports": [{"number": 80, "name": "http", "protocol": "http"}],
            "resolution": "DNS", "location": "MESH_EXTERNAL",
        }),
    )
    .expect("valid");
    let Spec::ServiceEntry(entry) = entry.object.spec else { panic!("a ServiceEntry") };
    assert_eq!(entry.resolution, Resolution::Dns);
    assert_eq!(entry.location, Location::MeshExternal);
    assert_eq!(entry.ports[0].protocol, Some(Protocol::Http));
}

#[test]
fn guide_001_names_the_host_of_a_rule_by_name() {
    let spec = json!({"name": "www.google.com", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}});
    let decoded = decode(Kind::DestinationRule, spec).expect("a dialect");
    let Spec::DestinationRule(rule) = decoded.object.spec else { panic!("a DestinationRule") };
    assert_eq!(rule.host, "www.google.com");
    assert_eq!(decoded.warnings[0].kind, WarningKind::Dialect);
    assert_eq!(decoded.warnings[0].path, "spec.name");
}

#[test]
fn guide_001_limits_a_host_without_naming_a_route() {
    let (spec, warnings) =
        virtual_service(json!({"hosts": ["httpbin.org"], "http": [{"timeout": "3s"}]}));
    assert!(spec.http[0].keeps_default_route());
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("spec.http[0]: names no route"), "{warnings:?}");
    assert_eq!(
        errors(Kind::VirtualService, json!({"hosts": ["httpbin.org"], "http": [{}]})),
        ["spec.http[0].route: Required value: HTTP route, redirect or direct_response is required"]
    );
}

#[test]
fn guide_002_lists_statuses_to_retry_on() {
    let (spec, warnings) = virtual_service(json!({
        "hosts": ["a.b"],
        "http": [{
            "route": [{"destination": {"host": "a.b"}}],
            "retries": {
                "attempts": 3, "retryOn": "connect-failure,retriable-status-codes",
                "retriableStatusCodes": [503, 504],
            },
        }],
    }));
    let retries = spec.http[0].retries.as_ref().expect("retries");
    assert_eq!(retries.retry_on, "connect-failure,retriable-status-codes,503,504");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("retryOn: \"connect-failure,503,504\""), "{warnings:?}");
}

#[test]
fn a_value_that_is_not_decodable_names_its_place() {
    assert_eq!(
        errors(
            Kind::VirtualService,
            json!({"hosts": ["a"], "http": [{"directResponse": {"status": 200, "body": {"bytes": "hello"}}}]}),
        ),
        ["spec.http[0].directResponse.body.bytes: Invalid value: \"hello\": \
          spec.http[0].directResponse.body.bytes in body must be of type byte: illegal base64 data at \
          input byte 5"]
    );
}

#[test]
fn versions_and_absent_specs() {
    let object = json!({"metadata": {"name": "x"}});
    let texts = |kind, version| -> Vec<String> {
        let errors = Object::decode(kind, version, &object, Origin::Api).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(texts(Kind::ServiceEntry, "v1"), ["spec: Required value"]);
    assert_eq!(texts(Kind::DestinationRule, "v1"), ["spec.host: Required value"]);
    assert!(texts(Kind::Gateway, "v7")[0].starts_with("apiVersion: Unsupported value: \"v7\""));
}

#[test]
fn warnings_are_told_of_wrong_objects_too() {
    let object = json!({"metadata": {"name": "x"}, "spec": {
        "hosts": ["google.com"], "workloadSelector": {"labels": {"a": "b"}},
        "endpoints": [{"address": "1.1.1.1"}], "extra": 1,
    }});
    let examined = Object::examine(Kind::ServiceEntry, "v1", &object, Origin::Api);
    assert!(examined.object.is_some());
    assert!(!examined.errors.is_empty());
    let kinds: Vec<WarningKind> = examined.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(kinds, [WarningKind::UnknownField, WarningKind::Advice]);
}

/// Any JSON with names that our types know, so that the walk gets deep.
fn any_json(random: &mut Random, depth: u32) -> Value {
    const KEYS: [&str; 24] = [
        "spec",
        "metadata",
        "http",
        "match",
        "uri",
        "exact",
        "route",
        "destination",
        "host",
        "port",
        "number",
        "tls",
        "sni_hosts",
        "timeout",
        "servers",
        "hosts",
        "ports",
        "labels",
        "data",
        "retries",
        "name",
        "endpoints",
        "trafficPolicy",
        "address",
    ];
    const TEXTS: [&str; 10] =
        ["", "*", "3s", "\u{0}", "ä", "HTTP", "10.0.0.0/8", "unix:///x", "a.b", "%A("];
    match random.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.below(70_000) as i64 - 10),
        3 => json!(random.below(1000) as f64 / 7.0),
        4 | 5 => json!(TEXTS[random.below(TEXTS.len() as u64) as usize]),
        6 => (0..random.below(4)).map(|_| any_json(random, depth - 1)).collect(),
        _ => {
            let fields = (0..random.below(6)).map(|_| {
                let key = KEYS[random.below(KEYS.len() as u64) as usize];
                (key.to_owned(), any_json(random, depth - 1))
            });
            Value::Object(fields.collect())
        }
    }
}

/// A small generator of numbers (xorshift64*), seeded so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

#[test]
fn decoding_never_panics() {
    let mut random = Random(0x7465_7374);
    for _ in 0..4000 {
        let value = any_json(&mut random, 8);
        let mut object = json!({"metadata": {"name": "x"}});
        for field in ["spec", "metadata", "data", "endpoints", "ports"] {
            if random.below(3) > 0 {
                object[field] = any_json(&mut random, 7);
            }
        }
        for kind in Kind::all() {
            let _ = Object::decode(kind, "v1", &value, Origin::Api);
            let _ = Object::decode(kind, "v1", &object, Origin::Api);
            let mut stored = object.clone();
            let _ = crate::admit(
                kind,
                kind.info().group,
                &mut stored,
                crate::FieldValidation::Warn,
                None,
            );
            kube::defaults(kind, &mut stored);
            let _ = Object::decode(kind, "v1", &stored, Origin::Api);
        }
    }
}

#[test]
fn kinds_without_an_effect_here_are_judged_all_the_same() {
    let tag = |tag: Value| json!({"metrics": [{}, {"overrides": [{"tagOverrides": {"a": tag}}]}]});
    let target = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g",
        "namespace": "other"});
    for (kind, spec, fault) in [
        (Kind::Telemetry, tag(json!({"operation": "UPSERT"})), "value must be set"),
        (Kind::Telemetry, tag(json!({"value": ""})), "value must be set"),
        (Kind::Telemetry, tag(json!({"operation": "REMOVE", "value": "x"})), "must not be set"),
        (Kind::Telemetry, json!({"targetRef": target}), "cross namespace"),
        (
            Kind::ProxyConfig,
            json!({"selector": {"matchLabels": {"": "a"}}}),
            "key must not be empty",
        ),
    ] {
        let told = errors(kind, spec);
        assert!(told[0].contains(fault), "{told:?}");
    }
    decode(Kind::Telemetry, tag(json!({"operation": "REMOVE"}))).expect("valid");
    decode(Kind::Telemetry, tag(json!({"value": "x"}))).expect("valid");
    decode(Kind::ProxyConfig, json!({})).expect("valid");
}

#[test]
fn rules_of_definitions_hold_for_kinds_without_an_effect() {
    let entry = |entry: Value| json!({ "template": entry });
    let probe = |scheme: &str| json!({"template": {}, "probe": {"httpGet": {"port": 80, "scheme": scheme}}});
    let wasm = |field: &str, value: Value| json!({"url": "oci://a/b", field: value});
    let target = json!({"kind": "Service", "name": "a"});
    let elsewhere = json!({"kind": "Service", "name": "a", "namespace": "b"});
    let labels = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    let env = |from: &str| json!({"env": [{"name": "A", "valueFrom": from, "value": "b"}]});
    let script = json!({"inlineCode": "x"});
    let one = "only one of targetRefs or selector can be set";
    let source = "url must have schema one of [http, https, file, oci]";
    let either = "exactly one of wasm or lua must be set";
    for (kind, spec, fault) in [
        (
            Kind::WorkloadGroup,
            entry(json!({"address": "unix:///a", "ports": {}})),
            Some("UDS may not include ports"),
        ),
        (
            Kind::WorkloadGroup,
            entry(json!({"address": "unix://a"})),
            Some("UDS must be an absolute path or abstract socket"),
        ),
        (
            Kind::WorkloadGroup,
            entry(json!({"address": "unix:///a/"})),
            Some("UDS may not be a dir"),
        ),
        (
            Kind::WorkloadGroup,
            entry(json!({"ports": {"a b": 80}})),
            Some("port name must be valid"),
        ),
        (Kind::WorkloadGroup, entry(json!({"address": "unix://@a"})), None),
        (Kind::WorkloadGroup, probe("TCP"), Some("scheme must be one of [HTTP, HTTPS]")),
        (Kind::WorkloadGroup, probe("HTTPS"), None),
        (Kind::WasmPlugin, wasm("selector", labels("a", "b")), None),
        (
            Kind::WasmPlugin,
            wasm("selector", labels("a*", "b")),
            Some("wildcard not allowed in label key match"),
        ),
        (
            Kind::WasmPlugin,
            wasm("selector", labels("a", "*")),
            Some("wildcard not allowed in label value match"),
        ),
        (Kind::WasmPlugin, wasm("selector", labels("", "b")), Some("key must not be empty")),
        (Kind::WasmPlugin, wasm("targetRef", target.clone()), None),
        (
            Kind::WasmPlugin,
            wasm("targetRef", elsewhere),
            Some("cross namespace referencing is not currently supported"),
        ),
        (
            Kind::WasmPlugin,
            json!({"url": "a", "selector": {}, "targetRefs": [target.clone()]}),
            Some(one),
        ),
        (Kind::WasmPlugin, wasm("vmConfig", env("INLINE")), None),
        (
            Kind::WasmPlugin,
            wasm("vmConfig", env("HOST")),
            Some("value may only be set when valueFrom is INLINE"),
        ),
        (Kind::WasmPlugin, json!({"url": "a.com/b:1"}), None),
        (Kind::WasmPlugin, json!({"url": "HTTPS://a.com/b"}), None),
        (Kind::WasmPlugin, json!({"url": "ftp://a.com/b"}), Some(source)),
        (Kind::WasmPlugin, json!({"url": "a b"}), Some(source)),
        (Kind::TrafficExtension, json!({"lua": script}), None),
        (Kind::TrafficExtension, json!({"wasm": {"url": "file:///a"}}), None),
        (Kind::TrafficExtension, json!({}), Some(either)),
        (Kind::TrafficExtension, json!({"lua": script, "wasm": {"url": "a"}}), Some(either)),
        (
            Kind::TrafficExtension,
            json!({"lua": script, "selector": {}, "targetRefs": [target]}),
            Some(one),
        ),
    ] {
        let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
        let group = kind.info().group;
        let admitted = crate::admit(kind, group, &mut object, crate::FieldValidation::Strict, None);
        let told: Vec<String> =
            admitted.err().unwrap_or_default().iter().map(ToString::to_string).collect();
        let expected = fault.map(|fault| format!(": Invalid value: {fault}"));
        match expected {
            Some(fault) => {
                assert!(told.len() == 1 && told[0].ends_with(&fault), "{spec}: {told:?}");
            }
            None => assert!(told.is_empty(), "{spec}: {told:?}"),
        }
    }
}

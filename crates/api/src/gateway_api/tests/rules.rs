//! Rules across fields of Gateways, of their classes and of policies.

use serde_json::{Value, json};

use super::admitted;
use crate::gateway_api::GROUP;
use crate::{FieldValidation, Kind, admit};

/// Checks that a spec is admitted where nothing is expected of it, and else that each of the faults is told, as a rule's.
pub(super) fn judged(kind: Kind, spec: &Value, expected: &[&str]) {
    match admitted(kind, spec) {
        Ok(_) => assert!(expected.is_empty(), "{kind} {spec} was admitted"),
        Err(faults) => {
            assert!(!expected.is_empty(), "{kind} {spec}: {faults:?}");
            for fault in expected {
                let told = format!(": Invalid value: {fault}");
                let found =
                    faults.iter().any(|said| said.starts_with("spec") && said.ends_with(&told));
                assert!(found, "{kind} {spec}: {fault:?} is not in {faults:?}");
            }
        }
    }
}

fn gateway(listeners: &Value) -> Value {
    json!({"gatewayClassName": "a", "listeners": listeners})
}

fn certificate() -> Value {
    json!({"certificateRefs": [{"name": "a"}]})
}

#[test]
fn listeners_have_what_their_protocol_needs() {
    let no_tls = "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']";
    let mode = "tls mode must be set for protocol TLS";
    let no_host = "hostname must not be specified for protocols ['TCP', 'UDP']";
    let certificates = "certificateRefs or options must be specified when mode is Terminate";
    let cases: [(&str, Value, &[&str]); 14] = [
        ("HTTP", json!({}), &[]),
        ("HTTP", json!({"tls": {"mode": "Passthrough"}}), &[no_tls]),
        ("TCP", json!({}), &[]),
        ("TCP", json!({"tls": certificate()}), &[no_tls]),
        ("TCP", json!({"hostname": "a.com"}), &[no_host]),
        ("UDP", json!({"hostname": "a.com", "tls": {"mode": "Passthrough"}}), &[no_host, no_tls]),
        ("HTTPS", json!({}), &[]),
        ("HTTPS", json!({"hostname": "a.com", "tls": certificate()}), &[]),
        (
            "HTTPS",
            json!({"tls": {"mode": "Passthrough"}}),
            &["tls mode must be Terminate for protocol HTTPS"],
        ),
        ("HTTPS", json!({"tls": {}}), &[certificates]),
        ("HTTPS", json!({"tls": {"mode": "Terminate", "options": {"a.com/b": "c"}}}), &[]),
        ("TLS", json!({}), &[mode]),
        ("TLS", json!({"tls": {"mode": "Passthrough"}}), &[]),
        ("TLS", json!({"tls": {"mode": "Terminate", "certificateRefs": []}}), &[certificates]),
    ];
    for (protocol, mut listener, faults) in cases {
        listener["name"] = json!("a");
        listener["port"] = json!(443);
        listener["protocol"] = json!(protocol);
        judged(Kind::KubernetesGateway, &gateway(&json!([listener])), faults);
        let set = json!({"parentRef": {"name": "a"}, "listeners": [listener]});
        judged(Kind::ListenerSet, &set, faults);
    }
}

#[test]
fn listeners_are_told_apart() {
    let listener = |name: &str, port: u16, protocol: &str, host: Option<&str>| {
        let mut listener = json!({"name": name, "port": port, "protocol": protocol});
        if let Some(host) = host {
            listener["hostname"] = host.into();
        }
        listener
    };
    let place = "Combination of port, protocol and hostname must be unique for each listener";
    let first = listener("a", 80, "HTTP", Some("a.com"));
    for (second, faults) in [
        (listener("b", 80, "HTTP", Some("b.com")), &[][..]),
        (listener("b", 81, "HTTP", Some("a.com")), &[]),
        (listener("b", 80, "HTTPS", Some("a.com")), &[]),
        (listener("b", 80, "HTTP", None), &[]),
        (listener("b", 80, "HTTP", Some("a.com")), &[place]),
        (listener("a", 81, "HTTP", None), &["Listener name must be unique within the Gateway"]),
    ] {
        judged(Kind::KubernetesGateway, &gateway(&json!([first, second])), faults);
    }
    let nameless = [listener("a", 80, "HTTP", None), listener("b", 80, "HTTP", None)];
    judged(Kind::KubernetesGateway, &gateway(&json!(nameless)), &[place]);
    let twice = gateway(&json!([first, listener("a", 81, "HTTP", None)]));
    let faults = admitted(Kind::KubernetesGateway, &twice).expect_err("a name twice");
    assert!(
        faults.contains(&r#"spec.listeners[1]: Duplicate value: {"name":"a"}"#.to_owned()),
        "{faults:?}"
    );
}

#[test]
fn addresses_infrastructure_and_clients_of_a_gateway() {
    let mut spec = gateway(&json!([{"name": "a", "port": 80, "protocol": "HTTP"}]));
    let long = format!("{}.com/a", "a.".repeat(130));
    let key = "keys must be in the form of an optional DNS subdomain prefix followed by a required name segment of up to 63 \
               characters.";
    let prefix = "key's prefix must be a DNS subdomain not longer than 253 characters in total.";
    let tls = |ports: [u16; 2]| {
        let port = |port: &u16| json!({"port": port, "tls": {}});
        let ports: Vec<Value> = ports.iter().map(port).collect();
        json!({"frontend": {"default": {}, "perPort": ports}})
    };
    let same = json!([{"value": "::1"}, {"value": "::1"}, {"type": "Hostname", "value": "a"}]);
    let hosts = json!([{"type": "Hostname", "value": "a"}, {"type": "Hostname", "value": "a"}]);
    let cases: [(&str, Value, &[&str]); 13] = [
        ("addresses", json!([{"value": "1.2.3.4"}, {"type": "Hostname", "value": "*.a.com"}]), &[]),
        ("addresses", json!([{}, {}, {"type": "Hostname"}, {"type": "Hostname"}]), &[]),
        ("addresses", json!([{"type": "a.com/named", "value": "x y"}]), &[]),
        (
            "addresses",
            json!([{"value": "1.2.3.4:8080"}]),
            &["IPAddress value must be an address of IPv4 or IPv6"],
        ),
        (
            "addresses",
            json!([{"type": "Hostname", "value": "*.*.com"}]),
            &["Hostname value must be empty or contain only valid characters (matching \
               ^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$)"],
        ),
        ("addresses", same, &["IPAddress values must be unique"]),
        ("addresses", hosts, &["Hostname values must be unique"]),
        ("infrastructure", json!({"labels": {"a.com/b": "c", "d": "e"}}), &[]),
        ("infrastructure", json!({"labels": {"a b": "c"}}), &[&format!("Label {key}")]),
        ("infrastructure", json!({"annotations": {"/a": "c"}}), &[&format!("Annotation {key}")]),
        (
            "infrastructure",
            json!({"annotations": {long: "c"}}),
            &[&format!("If specified, the annotation {prefix}")],
        ),
        ("tls", tls([443, 8443]), &[]),
        ("tls", tls([443, 443]), &["Port for TLS configuration must be unique within the Gateway"]),
    ];
    for (field, value, faults) in cases {
        let mut spec = spec.clone();
        spec[field] = value;
        judged(Kind::KubernetesGateway, &spec, faults);
    }
    spec["addresses"] = json!([]);
    judged(Kind::KubernetesGateway, &spec, &[]);
}

#[test]
fn a_class_keeps_its_controller() {
    let class = |controller: &str, description: &str| {
        let spec = json!({"controllerName": controller, "description": description});
        json!({"metadata": {"name": "a"}, "spec": spec})
    };
    let update = |mut new: Value, old: &Value| {
        admit(Kind::GatewayClass, GROUP, &mut new, FieldValidation::Strict, Some(old))
    };
    let old = class("a.com/b", "one");
    assert!(update(class("a.com/b", "two"), &old).is_ok());
    let faults = update(class("a.com/c", "one"), &old).expect_err("another controller");
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["spec.controllerName: Invalid value: field is immutable"]);
}

#[test]
fn what_stays_as_it_was_is_not_judged_anew() {
    let gateway = |name: &str, port: u16, host: &str| {
        let broken = json!({"name": "a", "port": 80, "protocol": "TLS"});
        let other = json!({"name": name, "port": port, "protocol": "HTTP", "hostname": host});
        let spec = json!({"gatewayClassName": name, "listeners": [broken, other]});
        json!({"metadata": {"name": "a"}, "spec": spec})
    };
    let update = |new: &Value, old: Value| {
        let mut new = new.clone();
        admit(Kind::KubernetesGateway, GROUP, &mut new, FieldValidation::Strict, Some(&old))
    };
    let kind = Kind::KubernetesGateway;
    let mut old = gateway("b", 81, "a.com");
    let fault = admit(kind, GROUP, &mut old, FieldValidation::Strict, None).expect_err("broken");
    assert_eq!(fault.len(), 1, "{fault:?}");
    let mut relabelled = old.clone();
    relabelled["metadata"]["labels"] = json!({"a": "b"});
    relabelled["spec"]["gatewayClassName"] = json!("c");
    assert!(update(&relabelled, old.clone()).is_ok());
    assert!(update(&gateway("b", 82, "a.com"), old).is_err(), "the list is another one");
}

#[test]
fn policies_name_targets_and_authorities() {
    let policy = |targets: Value, validation: Value| json!({"targetRefs": targets, "validation": validation});
    let target = |name: &str, section: Option<&str>| {
        let mut target = json!({"group": "", "kind": "Service", "name": name});
        if let Some(section) = section {
            target["sectionName"] = section.into();
        }
        target
    };
    let system = json!({"hostname": "a.com", "wellKnownCACertificates": "System"});
    let unique = "sectionName must be unique when targetRefs includes 2 or more references to the same target";
    let specified = "sectionName must be specified when targetRefs includes 2 or more references to the same target";
    let cases: [(Value, &[&str]); 5] = [
        (json!([target("a", None), target("b", None)]), &[]),
        (json!([target("a", Some("x")), target("a", Some("y")), target("b", Some("x"))]), &[]),
        (json!([target("a", None), target("a", None)]), &[unique]),
        (json!([target("a", None), target("a", Some("x"))]), &[specified]),
        (
            json!([target("a", Some("x")), target("a", Some("y")), target("a", Some("x"))]),
            &[unique],
        ),
    ];
    for (targets, faults) in cases {
        judged(Kind::BackendTLSPolicy, &policy(targets, system.clone()), faults);
    }
    let authorities = json!([{"group": "", "kind": "ConfigMap", "name": "a"}]);
    let either = "must specify either CACertificateRefs or WellKnownCACertificates";
    let both = "must not contain both CACertificateRefs and WellKnownCACertificates";
    let names = |names: Value| json!({"hostname": "a.com", "wellKnownCACertificates": "System", "subjectAltNames": names});
    let cases: [(Value, &[&str]); 9] = [
        (json!({"hostname": "a.com", "caCertificateRefs": authorities}), &[]),
        (json!({"hostname": "a.com"}), &[either]),
        (json!({"hostname": "a.com", "caCertificateRefs": []}), &[either]),
        (
            json!({"hostname": "a.com", "caCertificateRefs": authorities, "wellKnownCACertificates": "System"}),
            &[both],
        ),
        (
            names(
                json!([{"type": "Hostname", "hostname": "*.a.com"}, {"type": "URI", "uri": "a://b"}]),
            ),
            &[],
        ),
        (
            names(json!([{"type": "Hostname"}])),
            &["SubjectAltName element must contain Hostname, if Type is set to Hostname"],
        ),
        (
            names(json!([{"type": "URI", "uri": "a://b", "hostname": "a"}])),
            &["SubjectAltName element must not contain Hostname, if Type is not set to Hostname"],
        ),
        (
            names(json!([{"type": "URI"}])),
            &["SubjectAltName element must contain URI, if Type is set to URI"],
        ),
        (
            names(json!([{"type": "Hostname", "hostname": "a", "uri": "a://b"}])),
            &["SubjectAltName element must not contain URI, if Type is not set to URI"],
        ),
    ];
    for (validation, faults) in cases {
        judged(Kind::BackendTLSPolicy, &policy(json!([target("a", None)]), validation), faults);
    }
}

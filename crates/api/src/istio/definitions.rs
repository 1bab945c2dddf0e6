//! What Istio's own definitions refuse, kind by kind: at the same place, and with the same words where a rule says them.

use serde_json::{Value, json};

use crate::{FieldValidation, Kind, Object, Origin, admit};

const LABEL_KEY: &str = "wildcard not allowed in label key match";
const NO_KEY: &str = "key must not be empty";
const LABEL_VALUE: &str = "wildcard not allowed in label value match";
const SELECTOR: &str = "wildcard is not supported in selector";
const ONE_TARGET: &str = "only one of targetRefs or selector can be set";
const FOREIGN: &str = "cross namespace referencing is not currently supported";
const PORT: &str = "port must be between 1-65535";
const DURATION: &str = "must be a valid duration greater than 1ms";

/// Faults of a spec at a write and where it is decoded, each of which tells it once.
fn refused(kind: Kind, spec: &Value, place: &str, words: &str) {
    let info = kind.info();
    let version = info.versions[0];
    let mut object = json!({
        "apiVersion": format!("{}/{version}", info.group), "kind": info.name,
        "metadata": {"name": "x", "namespace": "default"}, "spec": spec,
    });
    let examined = Object::examine(kind, version, &object, Origin::Api).errors;
    let written = admit(kind, info.group, &mut object, FieldValidation::Strict, None);
    for faults in [written.err().unwrap_or_default(), examined] {
        let told = faults.iter().map(ToString::to_string);
        let told: Vec<String> = told.filter(|fault| fault.contains(words)).collect();
        let at_place = told.first().is_some_and(|fault| fault.starts_with(&format!("{place}: ")));
        assert!(told.len() == 1 && at_place, "{kind} {spec}: {place}: {words:?} in {faults:?}");
    }
}

fn all(kind: Kind, cases: &[(Value, &str, &str)]) {
    for (spec, place, words) in cases {
        refused(kind, spec, place, words);
    }
}

#[test]
fn whom_policies_are_about() {
    let base = |kind| match kind {
        Kind::WasmPlugin => json!({"url": "a"}),
        Kind::TrafficExtension => json!({"lua": {"inlineCode": "a"}}),
        Kind::DestinationRule => json!({"host": "a"}),
        _ => json!({}),
    };
    let with = |kind, field: &str, value: Value| {
        let mut spec = base(kind);
        spec[field] = value;
        spec
    };
    let policies = [
        Kind::AuthorizationPolicy,
        Kind::RequestAuthentication,
        Kind::Telemetry,
        Kind::WasmPlugin,
        Kind::TrafficExtension,
    ];
    let others = [Kind::PeerAuthentication, Kind::ProxyConfig, Kind::DestinationRule];
    for kind in policies.into_iter().chain(others) {
        let field = if kind == Kind::DestinationRule { "workloadSelector" } else { "selector" };
        let labels = |labels: Value| with(kind, field, json!({"matchLabels": labels}));
        let place = format!("spec.{field}.matchLabels");
        let (of_a, long) = (format!("{place}[a]"), format!("{place}.a"));
        let cases = [
            (labels(json!({"a*": "b"})), place.as_str(), LABEL_KEY),
            (labels(json!({"": "b"})), &place, NO_KEY),
            (labels(json!({"a": "b*"})), &of_a, LABEL_VALUE),
            (labels(json!({"a": "b".repeat(64)})), &long, "may not be more than 63"),
        ];
        all(kind, &cases);
    }
    let target = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "a"});
    for kind in policies.into_iter().chain([Kind::EnvoyFilter]) {
        let changed = |field: &str, value: &str| {
            let mut target = target.clone();
            target[field] = value.into();
            with(kind, "targetRefs", json!([target]))
        };
        let cases = [
            (changed("namespace", "b"), "spec.targetRefs[0].namespace", FOREIGN),
            (changed("group", "A_b"), "spec.targetRefs[0].group", "should match"),
            (changed("kind", "1"), "spec.targetRefs[0].kind", "should match"),
            (changed("name", ""), "spec.targetRefs[0].name", "at least 1"),
            (
                with(kind, "targetRefs", json!(vec![target.clone(); 17])),
                "spec.targetRefs",
                "at most 16",
            ),
        ];
        all(kind, &cases);
    }
    for kind in policies {
        let mut both = with(kind, "selector", json!({}));
        both["targetRefs"] = json!([target]);
        refused(kind, &both, "spec", ONE_TARGET);
    }
}

#[test]
fn envoy_filters() {
    let matching = |what: Value| json!({"configPatches": [{"applyTo": "LISTENER", "match": what, "patch": {"operation": "REMOVE"}}]});
    let waypoint = "only support waypointMatch when context is WAYPOINT";
    let place = "spec.configPatches[0].match";
    let target = json!({"kind": "Gateway", "name": "a"});
    let cases = [
        (
            json!({"workloadSelector": {}, "targetRefs": [target]}),
            "spec",
            "only one of targetRefs or workloadSelector can be set",
        ),
        (
            json!({"workloadSelector": {"labels": {"a": "*"}}}),
            "spec.workloadSelector.labels[a]",
            SELECTOR,
        ),
        (matching(json!({"waypoint": {}})), place, waypoint),
        (matching(json!({"context": "WAYPOINT"})), place, waypoint),
        (matching(json!({"context": "WAYPOINT", "cluster": {}})), place, waypoint),
        (
            matching(json!({"context": "WAYPOINT", "waypoint": {"portNumber": 0}})),
            "spec.configPatches[0].match.waypoint.portNumber",
            PORT,
        ),
    ];
    all(Kind::EnvoyFilter, &cases);
}

#[test]
fn certificates_of_servers() {
    let cases = [
        (
            json!({"mode": "SIMPLE", "credentialName": "a", "credentialNames": ["b"]}),
            "only one of credentialName or credentialNames can be set",
        ),
        (
            json!({"mode": "SIMPLE", "credentialNames": ["b"], "tlsCertificates": [{}]}),
            "only one of credentialNames or tlsCertificates can be set",
        ),
    ];
    for (tls, words) in cases {
        let port = json!({"number": 443, "name": "a", "protocol": "HTTPS"});
        let server = json!({"port": port, "hosts": ["a.b"], "tls": tls});
        refused(Kind::Gateway, &json!({"servers": [server]}), "spec.servers[0].tls", words);
        let listener = json!({"port": port, "tls": tls});
        refused(Kind::Sidecar, &json!({"ingress": [listener]}), "spec.ingress[0].tls", words);
    }
}

#[test]
fn service_entries() {
    let with = |changes: Value| {
        let mut spec = json!({"hosts": ["a.b"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]});
        for (field, value) in changes.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        spec
    };
    let here = json!({"address": "1.1.1.1"});
    let port = |port: Value| with(json!({"ports": [port]}));
    let endpoint = |endpoint: Value| with(json!({"resolution": "STATIC", "endpoints": [endpoint]}));
    let cases = [
        (
            with(json!({"resolution": "STATIC", "workloadSelector": {}, "endpoints": [here]})),
            "spec",
            "only one of WorkloadSelector or Endpoints can be set",
        ),
        (
            with(json!({"resolution": "DNS", "addresses": ["10.0.0.0/8"]})),
            "spec",
            "CIDR addresses are allowed only for NONE/STATIC resolution types",
        ),
        (with(json!({"endpoints": [here]})), "spec", "NONE mode cannot set endpoints"),
        (
            with(json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": [here, here]})),
            "spec",
            "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
        ),
        (with(json!({"hosts": ["a.b", "*"]})), "spec.hosts[1]", "hostname cannot be wildcard"),
        (with(json!({"addresses": ["1".repeat(65)]})), "spec.addresses[0]", "more than 64"),
        (
            with(json!({"ports": [{"number": 80, "name": "a"}, {"number": 80, "name": "b"}]})),
            "spec.ports",
            "port number cannot be duplicated",
        ),
        (port(json!({"number": 0, "name": "a"})), "spec.ports[0].number", PORT),
        (
            port(json!({"number": 1, "name": "a", "targetPort": 0})),
            "spec.ports[0].targetPort",
            PORT,
        ),
        (
            with(json!({"workloadSelector": {"labels": {"a": "*"}}})),
            "spec.workloadSelector.labels[a]",
            SELECTOR,
        ),
        (endpoint(json!({})), "spec.endpoints[0]", "Address is required"),
        (endpoint(json!({"network": "", "weight": 1})), "spec.endpoints[0]", "Address is required"),
        (
            endpoint(json!({"address": "unix:///a", "ports": {"http": 80}})),
            "spec.endpoints[0]",
            "UDS may not include ports",
        ),
        (
            endpoint(json!({"address": "unix://a"})),
            "spec.endpoints[0].address",
            "UDS must be an absolute path or abstract socket",
        ),
        (
            endpoint(json!({"address": "unix:///a/"})),
            "spec.endpoints[0].address",
            "UDS may not be a dir",
        ),
        (
            endpoint(json!({"address": "1.1.1.1", "ports": {"a_b": 80}})),
            "spec.endpoints[0].ports",
            "port name must be valid",
        ),
        (
            endpoint(json!({"address": "1.1.1.1", "ports": {"http": 0}})),
            "spec.endpoints[0].ports.http",
            PORT,
        ),
    ];
    all(Kind::ServiceEntry, &cases);
}

#[test]
fn workloads() {
    refused(Kind::WorkloadEntry, &json!({"weight": 1}), "spec", "Address is required");
    let sidecar = json!({"workloadSelector": {"labels": {"a": "*"}}});
    refused(Kind::Sidecar, &sidecar, "spec.workloadSelector.labels[a]", SELECTOR);
    let long = json!({"environmentVariables": {"A": "b".repeat(2049)}});
    refused(Kind::ProxyConfig, &long, "spec.environmentVariables.A", "more than 2048");
    let group = json!({"template": {}, "probe": {"exec": {"command": [""]}}});
    refused(Kind::WorkloadGroup, &group, "spec.probe.exec.command[0]", "at least 1");
    let group = json!({"template": {"address": "unix:///a", "ports": {"a": 1}}});
    refused(Kind::WorkloadGroup, &group, "spec.template", "UDS may not include ports");
}

#[test]
fn authentication_and_authorization() {
    let from = |source: Value| json!({"rules": [{"from": [{"source": source}]}]});
    let accounts = "Cannot set serviceAccounts with namespaces or principals";
    let place = "spec.rules[0].from[0].source";
    for source in [
        json!({"serviceAccounts": ["a"], "principals": ["b"]}),
        json!({"notServiceAccounts": ["a"], "notNamespaces": ["b"]}),
    ] {
        refused(Kind::AuthorizationPolicy, &from(source), place, accounts);
    }
    let long = from(json!({"serviceAccounts": ["a".repeat(321)]}));
    let first = format!("{place}.serviceAccounts[0]");
    refused(Kind::AuthorizationPolicy, &long, &first, "more than 320");

    let strict = json!({"mode": "STRICT"});
    let labels = json!({"matchLabels": {"a": "b"}});
    let ports = |ports: Value| json!({"selector": labels, "portLevelMtls": ports});
    let cases = [
        (json!({"portLevelMtls": {"80": strict}}), "spec", "portLevelMtls requires selector"),
        (
            json!({"port_level_mtls": {"80": strict}, "selector": {}}),
            "spec",
            "portLevelMtls requires selector",
        ),
        (ports(json!({})), "spec.portLevelMtls", "at least 1 properties"),
        (ports(json!({"0": strict})), "spec.portLevelMtls", PORT),
        (ports(json!({"65536": strict})), "spec.portLevelMtls", PORT),
        (ports(json!({"http": strict})), "spec.portLevelMtls", PORT),
    ];
    all(Kind::PeerAuthentication, &cases);

    let rule = |changes: Value| {
        let mut rule = json!({"issuer": "a"});
        for (field, value) in changes.as_object().into_iter().flatten() {
            rule[field] = value.clone();
        }
        json!({"jwtRules": [rule]})
    };
    let place = "spec.jwtRules[0]";
    let cases = [
        (
            json!({"jwks": "{}", "jwksUri": "http://a"}),
            "",
            "only one of jwks or jwksUri can be set",
        ),
        (json!({"jwksUri": "ftp://a"}), ".jwksUri", "url must have scheme http:// or https://"),
        (json!({"issuer": ""}), ".issuer", "at least 1 chars"),
        (json!({"audiences": [""]}), ".audiences[0]", "at least 1 chars"),
        (json!({"fromParams": [""]}), ".fromParams[0]", "at least 1 chars"),
        (json!({"fromCookies": [""]}), ".fromCookies[0]", "at least 1 chars"),
        (json!({"fromHeaders": [{"name": ""}]}), ".fromHeaders[0].name", "at least 1 chars"),
        (json!({"spaceDelimitedClaims": [""]}), ".spaceDelimitedClaims[0]", "at least 1 chars"),
        (
            json!({"outputClaimToHeaders": [{"header": "a b", "claim": "c"}]}),
            ".outputClaimToHeaders[0].header",
            "should match",
        ),
        (
            json!({"outputClaimToHeaders": [{"header": "a", "claim": ""}]}),
            ".outputClaimToHeaders[0].claim",
            "at least 1 chars",
        ),
        (json!({"timeout": "0s"}), ".timeout", DURATION),
    ];
    for (changes, below, words) in cases {
        refused(Kind::RequestAuthentication, &rule(changes), &format!("{place}{below}"), words);
    }
}

#[test]
fn telemetry_and_extensions() {
    let tag = |tag: Value| json!({"metrics": [{"overrides": [{"tagOverrides": {"a": tag}}]}]});
    let place = "spec.metrics[0].overrides[0].tagOverrides[a]";
    let cases = [
        (tag(json!({"operation": "UPSERT"})), place, "value must be set when operation is UPSERT"),
        (tag(json!({})), place, "value must be set when operation is UPSERT"),
        (
            tag(json!({"operation": "REMOVE", "value": "b"})),
            place,
            "value must not be set when operation is REMOVE",
        ),
        (
            json!({"metrics": [{"reportingInterval": "1us"}]}),
            "spec.metrics[0].reportingInterval",
            DURATION,
        ),
    ];
    all(Kind::Telemetry, &cases);

    let port = json!({"url": "a", "match": [{"ports": [{"number": 0}]}]});
    let place = "spec.match[0].ports[0].number";
    refused(Kind::WasmPlugin, &port, place, "greater than or equal to 1");
    let env = |env: Value| json!({"url": "a", "vmConfig": {"env": [env]}});
    let cases = [
        (
            json!({"url": "ftp://a"}),
            "spec.url",
            "url must have schema one of [http, https, file, oci]",
        ),
        (
            env(json!({"name": "a", "valueFrom": "HOST", "value": "b"})),
            "spec.vmConfig.env[0]",
            "value may only be set when valueFrom is INLINE",
        ),
    ];
    all(Kind::WasmPlugin, &cases);
    let neither = json!({"match": []});
    refused(Kind::TrafficExtension, &neither, "spec", "exactly one of wasm or lua must be set");
}

/// What is spelt as protobuf does is held against the rules, too, and told as it was written.
#[test]
fn rules_hold_for_every_spelling() {
    let mut object = json!({
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {"jwt_rules": [{"issuer": "a", "jwks_uri": "ftp://a", "jwks": "{}"}]},
    });
    let kind = Kind::RequestAuthentication;
    let faults = admit(kind, kind.info().group, &mut object, FieldValidation::Strict, None);
    let told: Vec<String> = faults.expect_err("wrong").iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "spec.jwt_rules[0]: Invalid value: only one of jwks or jwksUri can be set",
            "spec.jwt_rules[0].jwks_uri: Invalid value: url must have scheme http:// or https://",
        ]
    );
}

/// Rules of single values, which stand at many places, are shown at each of them.
#[test]
fn ports_and_durations_are_shown_with_their_rules() {
    use crate::schema::openapi;
    let timeout =
        "/properties/spec/properties/http/items/properties/retries/properties/perTryTimeout";
    let number = "/properties/spec/properties/servers/items/properties/port/properties/number";
    for (kind, pointer, words) in
        [(Kind::VirtualService, timeout, DURATION), (Kind::Gateway, number, PORT)]
    {
        let printed = openapi::object(kind, kind.info().group);
        let field = printed.pointer(pointer).expect("the field");
        assert_eq!(field["x-kubernetes-validations"][0]["message"], words, "{field}");
    }
    // What Kubernetes' own code checks has no rules in its schema.
    let service = openapi::object(Kind::Service, "");
    assert!(!service.to_string().contains("x-kubernetes-validations"));
}

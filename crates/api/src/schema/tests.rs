//! Tests of the schema, the walk and the printed form.

use serde_json::{Value, json};

use super::walk::{Findings, Mode, walk};
use super::*;

fn run(kind: Kind, mode: Mode, mut value: Value) -> (Value, Findings) {
    let found = walk(of(kind), kind.info().built_in, mode, &mut value);
    (value, found)
}

fn errors(found: &Findings) -> Vec<String> {
    found.errors.iter().map(ToString::to_string).collect()
}

/// Every node of every schema, with its path.
fn nodes(schema: &Schema, path: &str, visit: &mut impl FnMut(&str, &Schema)) {
    visit(path, schema);
    match &schema.node {
        Node::Array { items, .. } => nodes(items, &format!("{path}[]"), visit),
        Node::Map { values, .. } => nodes(values, &format!("{path}{{}}"), visit),
        Node::Object(object) => {
            for (name, field) in &object.fields {
                nodes(&field.schema, &format!("{path}.{name}"), visit);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_of_custom_kinds_has_a_shape_and_words() {
    for kind in Kind::all().filter(|kind| !kind.info().built_in) {
        nodes(of(kind), "", &mut |path, schema| {
            let any = matches!(schema.node, Node::Any);
            assert!(!any || !path.starts_with(".spec"), "{kind}{path} has no shape");
            let entry = path.ends_with("[]") || path.ends_with("{}");
            let wordless = schema.description.is_empty();
            assert!(entry || !wordless, "{kind}{path} has no words");
        });
    }
}

#[test]
fn unknown_fields_are_found_and_pruned() {
    let (value, found) = run(
        Kind::VirtualService,
        Mode::Store,
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "bogus": 1,
            "metadata": {"name": "fv", "labls": {}},
            "spec": {"hosts": ["a"], "zzz": 1, "http": [{"yyy": 2}]},
        }),
    );
    assert_eq!(found.unknown, ["bogus", "metadata.labls", "spec.http[0].yyy", "spec.zzz"]);
    assert_eq!(value["spec"], json!({"hosts": ["a"], "http": [{}]}));
    assert!(value.get("bogus").is_none());
}

#[test]
fn type_errors_read_as_kubernetes_writes_them() {
    let (_, found) = run(Kind::VirtualService, Mode::Store, json!({"spec": {"hosts": "x"}}));
    assert_eq!(
        errors(&found),
        [
            "spec.hosts: Invalid value: \"string\": spec.hosts in body must be of type array: \"string\""
        ]
    );
    assert_eq!(found.errors[0].reason.as_str(), "FieldValueTypeInvalid");
    let (_, found) = run(
        Kind::VirtualService,
        Mode::Store,
        json!({"spec": {"hosts": [1], "http": [{"timeout": "zz"}]}}),
    );
    assert_eq!(
        errors(&found),
        [
            "spec.hosts[0]: Invalid value: \"integer\": spec.hosts[0] in body must be of type string: \
          \"integer\""
        ],
        "rules wait until the shape is right"
    );
    let (_, found) = run(
        Kind::VirtualService,
        Mode::Store,
        json!({"spec": {"hosts": ["a"], "http": null, "gateways": [null]}}),
    );
    assert_eq!(
        errors(&found),
        [
            "spec.gateways[0]: Invalid value: \"null\": spec.gateways[0] in body must be of type string: \
          \"null\""
        ]
    );
}

#[test]
fn enumerations_one_ofs_and_required_fields() {
    let (_, found) = run(
        Kind::DestinationRule,
        Mode::Store,
        json!({"spec": {"host": "h", "trafficPolicy": {
            "tls": {"mode": "NOPE"},
            "loadBalancer": {"simple": "ROUND_ROBIN", "consistentHash": {"useSourceIp": true}},
        }}}),
    );
    assert_eq!(
        errors(&found),
        [
            "spec.trafficPolicy.loadBalancer: Invalid value: \"\": \"spec.trafficPolicy.loadBalancer\" \
             must validate one and only one schema (oneOf). Found 2 valid alternatives",
            "spec.trafficPolicy.tls.mode: Unsupported value: \"NOPE\": supported values: \"DISABLE\", \
             \"SIMPLE\", \"MUTUAL\", \"ISTIO_MUTUAL\"",
        ]
    );
    let (_, found) =
        run(Kind::Gateway, Mode::Store, json!({"spec": {"servers": [{"port": {"number": 80}}]}}));
    assert_eq!(
        errors(&found),
        [
            "spec.servers[0].port.protocol: Required value",
            "spec.servers[0].port.name: Required value",
            "spec.servers[0].hosts: Required value",
        ]
    );
}

#[test]
fn built_in_kinds_answer_as_gos_decoder() {
    let (_, found) = run(Kind::Service, Mode::Store, json!({"spec": {"ports": [{"port": "abc"}]}}));
    assert_eq!(
        errors(&found),
        [
            "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"
        ]
    );
    let (_, found) =
        run(Kind::VirtualService, Mode::Store, json!({"metadata": {"labels": {"a": 1}}}));
    assert_eq!(
        errors(&found),
        ["json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"]
    );
    let (value, found) = run(
        Kind::Secret,
        Mode::Store,
        json!({"metadata": {"name": "s", "creationTimestamp": null}, "data": {"a": null}}),
    );
    assert_eq!(errors(&found), [""; 0]);
    assert_eq!(value, json!({"metadata": {"name": "s"}, "data": {"a": ""}}));
}

#[test]
fn dialects_are_stored_as_written_and_decoded_as_today() {
    let written = json!({"spec": {"tls": [{"match": [{"port": 443, "sni_hosts": ["a"]}]}]}});
    let (stored, found) = run(Kind::VirtualService, Mode::Store, written.clone());
    assert_eq!(stored, written);
    assert_eq!(errors(&found), [""; 0]);
    assert_eq!(found.unknown, [""; 0]);
    assert_eq!(found.dialects.len(), 1);
    assert_eq!(
        found.dialects[0].message,
        "spec.tls[0].match[0].sni_hosts: read as sniHosts, which is how the field is written today"
    );
    let (decoded, _) = run(Kind::VirtualService, Mode::Decode, written);
    assert_eq!(decoded["spec"]["tls"][0]["match"][0], json!({"port": 443, "sniHosts": ["a"]}));

    let (decoded, found) = run(Kind::DestinationRule, Mode::Decode, json!({"spec": {"name": "a"}}));
    assert_eq!(decoded, json!({"spec": {"host": "a"}}));
    assert_eq!(found.dialects[0].path, "spec.name");

    let (_, found) =
        run(Kind::DestinationRule, Mode::Store, json!({"spec": {"name": "a", "host": "b"}}));
    assert_eq!(
        errors(&found),
        ["spec.name: Duplicate value: the same field is given as host too; keep host"]
    );
}

#[test]
fn protobuf_spelling_stops_at_the_users_own_keys() {
    let (value, found) = run(
        Kind::VirtualService,
        Mode::Decode,
        json!({"spec": {"http": [{"match": [{"source_labels": {"app_name": "x"}}]}]}}),
    );
    assert_eq!(value["spec"]["http"][0]["match"][0], json!({"sourceLabels": {"app_name": "x"}}));
    assert_eq!(found.dialects.len(), 1);
    let (_, found) = run(Kind::Service, Mode::Store, json!({"spec": {"cluster_ip": "None"}}));
    assert_eq!(found.unknown, ["spec.cluster_ip"], "only Istio's API has a second spelling");
}

#[test]
fn numbers_and_rules() {
    let port = |number: Value| {
        let value = json!({"spec": {"hosts": ["a.b"], "ports": [{"name": "a", "number": number}]}});
        let (value, found) = run(Kind::ServiceEntry, Mode::Decode, value);
        (value["spec"]["ports"][0]["number"].clone(), errors(&found))
    };
    assert_eq!(port(json!(80.0)), (json!(80), vec![]));
    assert_eq!(
        port(json!(99_999)).1,
        ["spec.ports[0].number: Invalid value: 99999: port must be between 1-65535"]
    );
    assert_eq!(
        port(json!(-1)).1,
        [
            "spec.ports[0].number: Invalid value: -1: spec.ports[0].number in body should be greater than \
         or equal to 0"
        ]
    );
    assert_eq!(port(json!("80")).1.len(), 1);
    assert_eq!(port(json!(80.5)).1.len(), 1);
    let timeout = |text: &str| {
        let value =
            json!({"spec": {"http": [{"retries": {"perTryTimeout": text}, "timeout": "0s"}]}});
        errors(&run(Kind::VirtualService, Mode::Decode, value).1)
    };
    assert_eq!(timeout("3s"), [""; 0]);
    assert_eq!(
        timeout("1us"),
        [
            "spec.http[0].retries.perTryTimeout: Invalid value: \"1us\": must be a valid duration greater \
         than 1ms"
        ]
    );
}

#[test]
fn openapi_is_structural_and_hides_dialects() {
    for row in KINDS {
        let printed = openapi::object(row.kind, row.group);
        assert_eq!(printed["type"], "object", "{}", row.name);
        assert!(printed["properties"]["metadata"]["allOf"][0]["$ref"].is_string());
        assert!(printed["properties"]["apiVersion"].is_object());
        assert!(!printed.to_string().contains("x-rule"));
    }
    let printed = openapi::object(Kind::VirtualService, "networking.istio.io");
    let http = &printed["properties"]["spec"]["properties"]["http"]["items"]["properties"];
    assert!(http["retries"]["properties"].get("retriableStatusCodes").is_none());
    assert_eq!(
        http["match"]["items"]["properties"]["uri"]["oneOf"][1],
        json!({"required": ["exact"]})
    );
    assert_eq!(
        http["mirrorPercent"],
        json!({
            "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32, "nullable": true,
            "description": "Deprecated: share of requests that `mirror` copies, a whole number of percent.",
        })
    );
    let meta = openapi::object_meta();
    assert_eq!(meta["properties"]["creationTimestamp"]["format"], "date-time");
    let event = openapi::object(Kind::Event, "events.k8s.io");
    assert!(event["properties"]["regarding"].is_object());
}

/// What the custom resource definitions of Istio ask for; one field that slips in makes manifests invalid.
#[test]
fn required_fields_are_those_of_istio() {
    let required = |kind| {
        let mut paths = Vec::new();
        nodes(of(kind), "", &mut |path, schema| {
            if let Node::Object(object) = &schema.node {
                paths.extend(object.required.iter().map(|name| format!("{path}.{name}")));
            }
        });
        paths.retain(|path| !path.starts_with(".metadata"));
        paths
    };
    assert_eq!(
        required(Kind::Gateway),
        [
            ".spec.servers[].port",
            ".spec.servers[].hosts",
            ".spec.servers[].port.number",
            ".spec.servers[].port.protocol",
            ".spec.servers[].port.name",
        ]
    );
    assert_eq!(
        required(Kind::VirtualService),
        [
            ".spec.http[].directResponse.status",
            ".spec.http[].mirror.host",
            ".spec.http[].mirrors[].destination",
            ".spec.http[].mirrors[].destination.host",
            ".spec.http[].route[].destination",
            ".spec.http[].route[].destination.host",
            ".spec.tcp[].route[].destination",
            ".spec.tcp[].route[].destination.host",
            ".spec.tls[].match",
            ".spec.tls[].match[].sniHosts",
            ".spec.tls[].route[].destination",
            ".spec.tls[].route[].destination.host",
        ]
    );
    assert_eq!(
        required(Kind::ServiceEntry),
        [".spec", ".spec.hosts", ".spec.ports[].number", ".spec.ports[].name"]
    );
    let rule = required(Kind::DestinationRule);
    let mut names: Vec<&str> =
        rule.iter().map(|path| path.rsplit('.').next().unwrap_or_default()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["duration", "host", "name", "targetHost", "targetPort"]);
    assert_eq!(
        required(Kind::WorkloadGroup),
        [
            ".spec",
            ".spec.template",
            ".spec.probe.exec.command",
            ".spec.probe.httpGet.port",
            ".spec.probe.tcpSocket.port",
        ]
    );
    assert_eq!(
        required(Kind::WasmPlugin),
        [
            ".spec",
            ".spec.url",
            ".spec.match[].ports[].number",
            ".spec.targetRef.kind",
            ".spec.targetRef.name",
            ".spec.targetRefs[].kind",
            ".spec.targetRefs[].name",
            ".spec.vmConfig.env[].name",
        ]
    );
    for row in KINDS.iter().filter(|row| row.built_in) {
        let wanted: &[&str] = match row.kind {
            Kind::EndpointSlice => &[".addressType", ".endpoints[].addresses"],
            _ => &[],
        };
        assert_eq!(required(row.kind), wanted, "{}", row.name);
    }
}

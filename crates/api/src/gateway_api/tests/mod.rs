//! Shape and defaults of the Gateway API's kinds.

mod routes;
mod rules;

use serde_json::{Value, json};

use crate::{FieldValidation, Kind, admit, kube};

fn admitted(kind: Kind, spec: &Value) -> Result<Value, Vec<String>> {
    let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
    admit(kind, super::GROUP, &mut object, FieldValidation::Strict, None)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    kube::defaults(kind, &mut object);
    Ok(object)
}

#[test]
fn defaults_are_stored_where_nothing_was_written() {
    let spec = json!({
        "parentRefs": [{"name": "g"}],
        "rules": [{"backendRefs": [{"name": "web", "port": 80, "weight": 0}]}],
    });
    let route = admitted(Kind::HTTPRoute, &spec).expect("good");
    assert_eq!(
        route["spec"],
        json!({
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"group": "", "kind": "Service", "name": "web", "port": 80, "weight": 0}],
            }],
        })
    );
    let listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
    let spec = json!({"gatewayClassName": "istio", "listeners": [listener]});
    let gateway = admitted(Kind::KubernetesGateway, &spec).expect("good");
    let listener = &gateway["spec"]["listeners"][0];
    assert_eq!(listener["allowedRoutes"], json!({"namespaces": {"from": "Same"}}));
    let conditions = gateway["status"]["conditions"].as_array().expect("conditions");
    let said = conditions.iter().map(|c| (c["type"].as_str(), c["status"].as_str()));
    let unknown = Some("Unknown");
    let expected = [(Some("Accepted"), unknown), (Some("Programmed"), unknown)];
    assert_eq!(said.collect::<Vec<_>>(), expected);
}

fn infrastructure(of: &Value) -> Value {
    let listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
    json!({"gatewayClassName": "a", "listeners": [listener], "infrastructure": of})
}

#[test]
fn faults_read_as_those_of_the_gateway_apis_definitions() {
    let redirect = |port: u32| json!({"rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"port": port}}]}]});
    assert!(admitted(Kind::HTTPRoute, &redirect(443)).is_ok());
    for (kind, spec, fault) in [
        (
            Kind::HTTPRoute,
            redirect(99_999),
            "spec.rules[0].filters[0].requestRedirect.port in body should be less than or equal to 65535",
        ),
        (
            Kind::HTTPRoute,
            json!({"hostnames": ["a..b"]}),
            "spec.hostnames[0] in body should match '^(\\*\\.)?",
        ),
        (
            Kind::HTTPRoute,
            json!({"parentRefs": [{"name": ""}]}),
            "spec.parentRefs[0].name in body should be at least 1 chars long",
        ),
        (
            Kind::HTTPRoute,
            json!({"rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 304}}]}]}),
            "spec.rules[0].filters[0].requestRedirect.statusCode: Unsupported value: 304: supported values: \"301\", \
             \"302\", \"303\", \"307\", \"308\"",
        ),
        (
            Kind::HTTPRoute,
            json!({"rules": [{"matches": [{"queryParams": [{"name": "a", "value": "b".repeat(1025)}]}]}]}),
            "spec.rules[0].matches[0].queryParams[0].value: Too long: may not be more than 1024",
        ),
        (
            Kind::KubernetesGateway,
            infrastructure(&json!({"labels": {"a": "-b"}})),
            "spec.infrastructure.labels.a in body should match",
        ),
        (
            Kind::KubernetesGateway,
            infrastructure(&json!({"annotations": {"a": "b".repeat(4097)}})),
            "spec.infrastructure.annotations.a: Too long: may not be more than 4096",
        ),
        (
            Kind::KubernetesGateway,
            json!({"gatewayClassName": "a", "listeners": [], "addresses": [{"type": "host"}]}),
            "spec.addresses[0].type in body should match",
        ),
        (
            Kind::BackendTLSPolicy,
            json!({
                "targetRefs": [{"group": "", "kind": "Service", "name": "a"}],
                "validation": {"hostname": "a.b", "wellKnownCACertificates": "System"},
                "options": {"a.b/c": "d".repeat(4097)},
            }),
            "spec.options.a.b/c: Too long: may not be more than 4096",
        ),
        (Kind::GatewayClass, json!({}), "spec.controllerName: Required value"),
        (Kind::TLSRoute, json!({"hostnames": ["a"], "rules": []}), "should have at least 1 items"),
        (
            Kind::GRPCRoute,
            json!({"rules": [{"filters": [{"type": "URLRewrite"}]}]}),
            "Unsupported value: \"URLRewrite\"",
        ),
    ] {
        let faults = admitted(kind, &spec).expect_err("bad");
        assert!(faults.iter().any(|said| said.contains(fault)), "{spec}: {faults:?}");
    }
}

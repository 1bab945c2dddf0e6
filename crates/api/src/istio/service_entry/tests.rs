use serde_json::{Value, json};

use crate::Kind::ServiceEntry;
use crate::istio::testing::{advice, faults, with};

fn dns() -> Value {
    json!({
        "hosts": ["a.example.com"], "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    })
}

fn fixed(address: &str) -> Value {
    with(&dns(), &[("/resolution", json!("STATIC")), ("/endpoints", json!([{"address": address}]))])
}

#[test]
fn hosts_and_addresses() {
    for (changes, fault) in [
        (vec![("/hosts", json!([]))], "should have at least 1 items"),
        (vec![("/hosts/0", json!("*"))], "hostname cannot be wildcard"),
        (vec![("/hosts/0", json!("*.example.com"))], "a wildcard cannot be resolved"),
        (vec![("/addresses", json!(["10.0.0"]))], "is not a valid IP"),
        (vec![("/addresses", json!(["10.0.0.0/8"]))], "only for NONE/STATIC"),
        (vec![("/exportTo", json!(["~", "ns"]))], "to no one (~) and someone"),
        (vec![("/resolution", json!("LATER"))], "Unsupported value: \"LATER\""),
    ] {
        let faults = faults(ServiceEntry, &with(&dns(), &changes));
        assert!(faults.len() == 1 && faults[0].contains(fault), "{changes:?}: {faults:?}");
    }
    let open = json!({"hosts": ["*.example.com", "*example.org"], "addresses": ["10.0.0.0/8"]});
    let advice = advice(ServiceEntry, &open);
    assert!(advice.len() == 1 && advice[0].contains("partial wildcard"), "{advice:?}");
}

#[test]
fn ports() {
    let port = |changes: &[(&str, Value)]| faults(ServiceEntry, &with(&dns(), changes));
    let second = json!({"number": 81, "name": "other", "protocol": "tcp"});
    let both = [dns()["ports"][0].clone(), second];
    assert_eq!(port(&[("/ports", json!(both))]), [""; 0]);
    let same = |field: &str| {
        let of_first = both[0][field].clone();
        port(&[("/ports", with(&json!(both), &[(&format!("/1/{field}"), of_first)]))])
    };
    assert_eq!(same("name"), [r#"spec.ports[1]: Duplicate value: {"name":"http"}"#]);
    assert_eq!(same("number"), ["spec.ports: Invalid value: port number cannot be duplicated"]);
    assert!(port(&[("/ports/0/protocol", json!("QUIC"))])[0].contains("invalid protocol"));
    assert_eq!(port(&[("/ports/0/protocol", json!(""))]), [""; 0], "it is detected");
    assert!(port(&[("/ports/0/targetPort", json!(65_536))])[0].contains("between 1-65535"));
    let hosts = [("/hosts", json!(["a.b", "c.d"])), ("/ports/0/protocol", json!("TCP"))];
    assert_eq!(
        port(&hosts),
        ["spec: Invalid value: multiple hosts provided with non-HTTP, non-TLS ports"]
    );
}

#[test]
fn endpoints_have_to_suit_the_resolution() {
    for good in ["10.0.0.1", "::1", "unix:///run/x", "unix://@x"] {
        assert_eq!(faults(ServiceEntry, &fixed(good)), [""; 0], "{good}");
    }
    for bad in ["", "a.example.com", "unix://run/x", "unix:///run/"] {
        assert_eq!(faults(ServiceEntry, &fixed(bad)).len(), 1, "{bad}");
    }
    let named = with(&fixed("a.example.com"), &[("/resolution", json!("DNS"))]);
    assert_eq!(faults(ServiceEntry, &named), [""; 0]);
    let socket = with(&fixed("unix:///run/x"), &[("/resolution", json!("DNS"))]);
    assert!(faults(ServiceEntry, &socket)[0].contains("cannot be resolved by DNS"));
    let none = with(&fixed("10.0.0.1"), &[("/resolution", json!("NONE"))]);
    assert_eq!(
        faults(ServiceEntry, &none),
        ["spec: Invalid value: NONE mode cannot set endpoints"]
    );
    let port = with(&fixed("10.0.0.1"), &[("/endpoints/0/ports", json!({"grpc": 1}))]);
    assert!(faults(ServiceEntry, &port)[0].contains("grpc is not defined by the service entry"));
    let two = [
        ("/resolution", json!("DNS_ROUND_ROBIN")),
        ("/endpoints", json!([{"address": "a.b"}, {"address": "c.d"}])),
    ];
    assert!(
        faults(ServiceEntry, &with(&dns(), &two))[0].contains("cannot have multiple endpoints")
    );
    let selected =
        with(&fixed("10.0.0.1"), &[("/workloadSelector", json!({"labels": {"a": "b"}}))]);
    assert!(
        faults(ServiceEntry, &selected)[0].contains("only one of WorkloadSelector or Endpoints")
    );
}

#[test]
fn names_that_are_resolved_per_request() {
    let entry =
        with(&dns(), &[("/resolution", json!("DYNAMIC_DNS")), ("/hosts/0", json!("*.a.b"))]);
    assert_eq!(advice(ServiceEntry, &entry), [""; 0]);
    for (pointer, value) in [
        ("/hosts/0", json!("a.b")),
        ("/addresses", json!(["10.0.0.1"])),
        ("/endpoints", json!([{"address": "10.0.0.1"}])),
        ("/ports/0/protocol", json!("TCP")),
    ] {
        let faults = faults(ServiceEntry, &with(&entry, &[(pointer, value)]));
        assert_eq!(faults.len(), 1, "{pointer}: {faults:?}");
    }
}

#[test]
fn a_selector_without_labels_is_told() {
    let entry = json!({"hosts": ["a.b"], "workloadSelector": {}, "resolution": "STATIC"});
    let advice = advice(ServiceEntry, &entry);
    assert!(
        advice.len() == 1 && advice[0].starts_with("spec.workloadSelector: selects every"),
        "{advice:?}"
    );
    let star = json!({"hosts": ["a.b"], "workloadSelector": {"labels": {"a": "*"}}});
    assert!(faults(ServiceEntry, &star)[0].contains("wildcard is not supported in selector"));
}

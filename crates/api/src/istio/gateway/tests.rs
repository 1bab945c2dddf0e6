use serde_json::{Value, json};

use crate::Kind::Gateway;
use crate::istio::testing::{advice, faults, with};

fn https(tls: &Value) -> Value {
    json!({"servers": [{
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["a.example.com"],
        "tls": tls,
    }]})
}

fn http() -> Value {
    json!({"servers": [{
        "port": {"number": 80, "name": "http", "protocol": "http"}, "hosts": ["*"],
    }]})
}

#[test]
fn ports_and_names() {
    assert_eq!(faults(Gateway, &http()), [""; 0]);
    assert_eq!(
        faults(Gateway, &json!({"servers": []})),
        ["spec.servers: Required value: gateway must have at least one server"]
    );
    let mut twice = http();
    let server = twice["servers"][0].clone();
    twice["servers"].as_array_mut().expect("a list").push(server);
    assert_eq!(
        faults(Gateway, &twice),
        [
            "spec.servers[1].port.name: Invalid value: \"http\": port names in servers must be unique"
        ]
    );
    for (pointer, value, fault) in [
        ("/servers/0/port/protocol", json!("QUIC"), "invalid protocol"),
        ("/servers/0/port/number", json!(70_000), "must be between 1-65535"),
        ("/servers/0/port/targetPort", json!(8080), "has no impact on Gateways"),
        ("/servers/0/bind", json!("localhost"), "must be an IP address"),
        ("/servers/0/bind", json!("unix:///x"), "not on Unix sockets"),
    ] {
        let faults = faults(Gateway, &with(&http(), &[(pointer, value)]));
        assert!(faults.len() == 1 && faults[0].contains(fault), "{pointer}: {faults:?}");
    }
}

#[test]
fn hosts() {
    let faults =
        |host: &str| faults(Gateway, &with(&http(), &[("/servers/0/hosts/0", json!(host))]));
    for good in ["*", "*.example.com", "a.example.com", "ns/a.b", "*/a.b", "./a.b", "10.0.0.1"] {
        assert_eq!(faults(good), [""; 0], "{good}");
    }
    for bad in ["short", "*example.com", "a.*.b", "~/a.b", "/a.b", "ns/", "n_s/a.b", ""] {
        assert_eq!(faults(bad).len(), 1, "{bad}");
    }
}

#[test]
fn tls_needs_what_its_mode_needs() {
    let faults = |tls: Value| faults(Gateway, &https(&tls));
    let files = json!({"serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/ca"});
    for good in [
        json!({"mode": "PASSTHROUGH"}),
        json!({"mode": "SIMPLE", "credentialName": "s"}),
        json!({"mode": "MUTUAL", "credentialName": "s"}),
        json!({"mode": "ISTIO_MUTUAL"}),
        with(&files, &[("/mode", json!("OPTIONAL_MUTUAL"))]),
    ] {
        assert_eq!(faults(good.clone()), [""; 0], "{good}");
    }
    assert_eq!(faults(json!({"mode": "SIMPLE"})).len(), 2);
    assert_eq!(faults(json!({"mode": "MUTUAL"})).len(), 3);
    assert_eq!(faults(with(&files, &[("/mode", json!("ISTIO_MUTUAL"))])).len(), 3);
    let both = with(&files, &[("/mode", json!("SIMPLE")), ("/credentialName", json!("s"))]);
    assert!(faults(both)[0].contains("only one of"));
    let crl = with(&files, &[("/mode", json!("SIMPLE")), ("/caCrl", json!("/crl"))]);
    assert_eq!(
        faults(crl),
        ["spec.servers[0].tls.caCrl: Forbidden: CRL is not supported with SIMPLE TLS"]
    );
}

#[test]
fn tls_has_to_suit_the_protocol() {
    let without = json!({"servers": [{
        "port": {"number": 443, "name": "https", "protocol": "TLS"}, "hosts": ["*"],
    }]});
    assert_eq!(
        faults(Gateway, &without),
        [
            "spec.servers[0].tls: Required value: server must have TLS settings for HTTPS/TLS protocols"
        ]
    );
    let redirect = with(&http(), &[("/servers/0/tls", json!({"httpsRedirect": true}))]);
    assert_eq!(advice(Gateway, &redirect), [""; 0]);
    let terminated =
        with(&http(), &[("/servers/0/tls", json!({"mode": "SIMPLE", "credentialName": "s"}))]);
    assert!(faults(Gateway, &terminated)[0].contains("plain text HTTP ports"));
    let opaque = with(&redirect, &[("/servers/0/port/protocol", json!("TCP"))]);
    assert!(faults(Gateway, &opaque)[0].contains("non HTTPS/TLS ports"));
}

#[test]
fn what_has_no_effect_is_told() {
    let advice = |tls: Value| advice(Gateway, &https(&tls));
    assert_eq!(
        advice(json!({"mode": "PASSTHROUGH", "credentialName": "s"})),
        ["spec.servers[0].tls: PASSTHROUGH mode does not use certificates, they will be ignored"]
    );
    let ciphers = ["AES128-SHA", "AES128-SHA", "ROT13", "-ALL"];
    assert_eq!(
        advice(json!({"mode": "SIMPLE", "credentialName": "s", "cipherSuites": ciphers})),
        [
            "spec.servers[0].tls.cipherSuites[1]: ignoring duplicate cipher suite AES128-SHA",
            "spec.servers[0].tls.cipherSuites[2]: ignoring invalid cipher suite ROT13",
        ]
    );
    let old = advice(json!({
        "mode": "SIMPLE", "credentialName": "s", "minProtocolVersion": "TLSV1_0",
    }));
    assert!(old[0].contains("compatible cipherSuites"), "{old:?}");
    assert!(advice(json!({"httpsRedirect": true}))[0].contains("only be used with http servers"));
}

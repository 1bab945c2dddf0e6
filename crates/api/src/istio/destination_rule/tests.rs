use serde_json::{Value, json};

use crate::Kind::DestinationRule;
use crate::istio::testing::{advice, faults, with};

fn policy(policy: &Value) -> Value {
    json!({"host": "reviews", "trafficPolicy": policy})
}

#[test]
fn hosts_subsets_and_visibility() {
    for good in ["reviews", "*.example.com", "a.b.svc.cluster.local"] {
        assert_eq!(faults(DestinationRule, &json!({"host": good})), [""; 0], "{good}");
    }
    assert!(faults(DestinationRule, &json!({"host": ""}))[0].contains("empty domain name"));
    let subsets = json!({"host": "a", "subsets": [
        {"name": "v1", "labels": {"version": "v1"}}, {"name": "v1"}, {"name": "v_2"},
        {"name": "v3", "labels": {"a b": "c"}}, {"name": "v4", "trafficPolicy": {}},
    ]});
    let faults_of = faults(DestinationRule, &subsets);
    assert_eq!(faults_of.len(), 4, "{faults_of:?}");
    assert_eq!(faults_of[0], "spec.subsets[1].name: Duplicate value: \"v1\"");
    let selective = |export: Value| {
        let rule = json!({"host": "a", "workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": export});
        faults(DestinationRule, &rule).len()
    };
    assert_eq!(selective(json!([])), 0);
    assert_eq!(selective(json!(["."])), 0);
    assert_eq!(selective(json!(["default"])), 0);
    assert_eq!(selective(json!(["*"])), 1);
    assert_eq!(selective(json!(["other"])), 1);
}

#[test]
fn policies_have_to_say_something_sensible() {
    for (settings, fault) in [
        (json!({}), "at least one field"),
        (json!({"connectionPool": {}}), "at least one field"),
        (json!({"connectionPool": {"tcp": {"maxConnections": -1}}}), "must be non-negative"),
        (json!({"connectionPool": {"tcp": {"connectTimeout": "1us"}}}), "greater than 1ms"),
        (
            json!({"connectionPool": {"http": {"http2KeepAlive": {"interval": "1s"}}}}),
            "timeout: Required",
        ),
        (
            json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE", "useClientProtocol": true}}}),
            "h2UpgradePolicy is UPGRADE",
        ),
        (json!({"outlierDetection": {"maxEjectionPercent": 101}}), "in range 0..100"),
        (
            json!({"outlierDetection": {"consecutiveLocalOriginFailures": 2}}),
            "needs splitExternalLocalOriginErrors",
        ),
        (json!({"portLevelSettings": [{"tls": {"mode": "SIMPLE"}}]}), "must have valid port"),
        (json!({"portLevelSettings": [{"port": {"number": 80}}]}), "at least one field"),
        (
            json!({"tunnel": {"targetHost": "a.b", "targetPort": 1}, "proxyProtocol": {}}),
            "must not be set together",
        ),
        (json!({"proxyProtocol": {"version": "V3"}}), "V3"),
        (json!({"tunnel": {"targetHost": "a_b", "targetPort": 1}}), "valid FQDN or IP address"),
        (
            json!({"loadBalancer": {"localityLbSetting": {}, "zoneAwareLbSetting": {}}}),
            "only one of",
        ),
        (
            json!({"loadBalancer": {"consistentHash": {"httpCookie": {"name": ""}}}}),
            "a cookie needs a name",
        ),
        (
            json!({"loadBalancer": {"consistentHash": {"httpHeaderName": "a", "useSourceIp": true}}}),
            "Found 2 valid alternatives",
        ),
        (json!({"loadBalancer": {"consistentHash": {"maglev": {"tableSize": 8}}}}), "prime number"),
        (
            json!({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "r", "to": {"r": 90}}]}}}),
            "total locality weight must be 100",
        ),
        (
            json!({"loadBalancer": {"warmup": {"duration": "1s", "aggression": 0}}}),
            "greater than 0",
        ),
    ] {
        let faults = faults(DestinationRule, &policy(&settings));
        assert!(faults.len() == 1 && faults[0].contains(fault), "{settings}: {faults:?}");
    }
    for good in [
        json!({"connectionPool": {"tcp": {"idleTimeout": "0s"}}}),
        json!({"loadBalancer": {"consistentHash": {"httpCookie": {"name": "a", "ttl": "0s"}}}}),
        json!({"loadBalancer": {"simple": "ROUND_ROBIN"}, "portLevelSettings": [
            {"port": {"number": 443}, "tls": {"mode": "SIMPLE"}},
        ]}),
    ] {
        assert_eq!(advice(DestinationRule, &policy(&good)), [""; 0], "{good}");
    }
}

#[test]
fn tls_towards_a_destination() {
    let faults = |tls: &Value| faults(DestinationRule, &policy(&json!({"tls": tls})));
    let skip = ("/insecureSkipVerify", json!(true));
    let simple = json!({"mode": "SIMPLE"});
    let mutual = json!({"mode": "MUTUAL", "clientCertificate": "/c", "privateKey": "/k"});
    for good in [
        simple.clone(),
        mutual.clone(),
        with(&simple, std::slice::from_ref(&skip)),
        with(&mutual, std::slice::from_ref(&skip)),
        json!({"mode": "MUTUAL", "credentialName": "s"}),
        json!({"mode": "SIMPLE", "credentialName": "configmap://default/ca"}),
    ] {
        assert_eq!(faults(&good), [""; 0], "{good}");
    }
    for (bad, count) in [
        (json!({"mode": "MUTUAL"}), 2),
        (with(&simple, &[skip.clone(), ("/caCertificates", json!("/ca"))]), 1),
        (with(&simple, &[skip.clone(), ("/credentialName", json!("s"))]), 1),
        (with(&mutual, &[skip, ("/subjectAltNames", json!(["a"]))]), 1),
        (with(&mutual, &[("/credentialName", json!("s"))]), 2),
        (json!({"mode": "SIMPLE", "credentialName": "configmap://other/ca"}), 1),
    ] {
        assert_eq!(faults(&bad).len(), count, "{bad}");
    }
}

#[test]
fn what_is_deprecated_or_without_effect_is_told() {
    for (settings, part) in [
        (json!({"outlierDetection": {"consecutiveErrors": 1}}), "is deprecated"),
        (json!({"loadBalancer": {"consistentHash": {"minimumRingSize": 8}}}), "use ringHash"),
        (
            json!({"loadBalancer": {"localityLbSetting": {"failoverPriority": ["a"]}}}),
            "outlierDetection must be provided",
        ),
    ] {
        let advice = advice(DestinationRule, &policy(&settings));
        assert!(advice.len() == 1 && advice[0].contains(part), "{settings}: {advice:?}");
    }
}

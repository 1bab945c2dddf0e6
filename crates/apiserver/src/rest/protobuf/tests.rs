//! Bodies are built here as kubectl builds them: every plain field is written, also when it is empty.

use serde_json::json;

use super::*;

/// A field of a message: its number, and its bytes or number.
pub(super) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    out.extend_from_slice(bytes);
    out
}

fn number(number: u8, value: u8) -> Vec<u8> {
    assert!(value < 0x80);
    vec![number << 3, value]
}

fn meta(name: &str) -> Vec<u8> {
    let mut out = field(1, name.as_bytes());
    for empty in 2..=6 {
        out.extend(field(empty, b""));
    }
    out.extend(number(7, 0));
    out.extend(field(8, b""));
    out
}

fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

fn body(api_version: &str, kind: &str, object: &[Vec<u8>]) -> Vec<u8> {
    let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    let rest = [field(1, &types), field(2, &object.concat()), field(3, b""), field(4, b"")];
    [MAGIC.to_vec(), rest.concat()].concat()
}

#[test]
fn a_secret() {
    let object = [field(1, &meta("s")), field(2, &entry("a", b"b\xff")), field(3, b"")];
    assert_eq!(
        decode(&body("v1", "Secret", &object)),
        Ok(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s"}, "data": {"a": "Yv8="},
        }))
    );
}

#[test]
fn a_service() {
    let target = [number(1, 0), number(2, 99), field(3, b"")].concat();
    let port =
        [field(1, b"80-99"), field(2, b"TCP"), number(3, 80), field(4, &target), number(5, 0)];
    let spec = [
        field(1, &port.concat()),
        field(2, &entry("app", b"x")),
        field(3, b""),
        field(4, b"ClusterIP"),
        number(12, 0),
        number(13, 0),
    ];
    let object = [field(1, &meta("x")), field(2, &spec.concat()), field(3, &field(1, b""))];
    assert_eq!(
        decode(&body("v1", "Service", &object)),
        Ok(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"},
            "spec": {
                "type": "ClusterIP",
                "selector": {"app": "x"},
                "ports": [{"name": "80-99", "protocol": "TCP", "port": 80, "targetPort": 99}],
            },
        }))
    );
}

#[test]
fn pointers_keep_their_zero() {
    let spec = [number(1, 0), field(2, b""), field(3, &field(2, b"")), number(5, 0)].concat();
    let object = [field(1, &meta("d")), field(2, &spec)];
    let decoded = decode(&body("apps/v1", "Deployment", &object)).expect("decoded");
    assert_eq!(decoded["spec"], json!({"replicas": 0, "selector": {}, "template": {"spec": {}}}));
}

#[test]
fn sets_of_pods() {
    let selector = field(1, &entry("app", b"x"));
    let template = [field(1, &meta("")), field(2, b"")].concat();
    let expected = json!({"matchLabels": {"app": "x"}});
    let decoded = |kind: &str, spec: &[Vec<u8>]| {
        let object = [field(1, &meta("s")), field(2, &spec.concat()), field(3, &number(1, 4))];
        let mut decoded = decode(&body("apps/v1", kind, &object)).expect("decoded");
        assert_eq!(decoded["spec"]["selector"], expected, "{kind}");
        assert_eq!(decoded.get("status"), None, "{kind}: the server's to say");
        decoded["spec"].take()
    };
    let unavailable = field(1, &[number(1, 1), number(2, 0), field(3, b"10%")].concat());
    let strategy = [field(1, b"RollingUpdate"), field(2, &unavailable)].concat();
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}});
    let spec = [field(1, &selector), field(2, &template), field(3, &strategy), number(6, 0)];
    let set = decoded("DaemonSet", &spec);
    assert_eq!((&set["updateStrategy"], &set["revisionHistoryLimit"]), (&rolling, &json!(0)));

    let spec = [number(1, 0), field(2, &selector), field(3, &template), number(4, 5)];
    let set = decoded("ReplicaSet", &spec);
    assert_eq!((&set["replicas"], &set["minReadySeconds"]), (&json!(0), &json!(5)));

    let requests = field(2, &entry("storage", &field(1, b"1Gi")));
    let claim = [field(1, b"ReadWriteOnce"), field(2, &requests), field(5, b"fast")].concat();
    let claim = [field(1, &meta("data")), field(2, &claim)].concat();
    let strategy = [field(1, b"RollingUpdate"), field(2, &number(1, 2))].concat();
    let spec = [
        number(1, 3),
        field(2, &selector),
        field(3, &template),
        field(4, &claim),
        field(5, b"web"),
        field(6, b"Parallel"),
        field(7, &strategy),
        field(11, &number(1, 1)),
    ];
    let mut set = decoded("StatefulSet", &spec);
    for field in ["selector", "template"] {
        set[field].take();
    }
    let claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "fast",
    });
    let expected = json!({
        "replicas": 3,
        "selector": null,
        "template": null,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        "serviceName": "web",
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
        "ordinals": {"start": 1},
    });
    assert_eq!(set, expected);
}

/// A Pod of which every field says something, as Kubernetes' own types (1.37) write it in protobuf and in JSON.
#[test]
fn a_pod_with_everything() {
    let expected: Value = serde_json::from_str(include_str!("tests/pod.json")).expect("JSON");
    let mut decoded = decode(include_bytes!("tests/pod.pb")).expect("decoded");
    for part in ["spec", "status"] {
        let (decoded, expected) = (decoded[part].take(), &expected[part]);
        let Value::Object(fields) = &decoded else { panic!("{part} is {decoded}") };
        for (name, value) in fields {
            assert_eq!(value, &expected[name], "{part}.{name}");
        }
        assert_eq!(&decoded, expected, "{part}");
    }
}

#[test]
fn quotas_limits_and_nodes() {
    let decoded = |kind: &str, spec: &[Vec<u8>]| {
        let object = [field(1, &meta("s")), field(2, &spec.concat())];
        decode(&body("v1", kind, &object)).expect("decoded")["spec"].take()
    };
    let amount = |name: &str, amount: &str| entry(name, &field(1, amount.as_bytes()));
    let spec = [field(1, &amount("pods", "4")), field(2, b"BestEffort")];
    let expected = json!({"hard": {"pods": "4"}, "scopes": ["BestEffort"]});
    assert_eq!(decoded("ResourceQuota", &spec), expected);
    let limit =
        [field(1, b"Container"), field(2, &amount("cpu", "2")), field(3, &amount("cpu", "1"))];
    let expected =
        json!({"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]});
    assert_eq!(decoded("LimitRange", &[field(1, &limit.concat())]), expected);
    let taint = [field(1, b"a"), field(2, b""), field(3, b"NoSchedule")].concat();
    let spec = [field(1, b"10.0.0.0/24"), number(4, 1), field(5, &taint)];
    let expected = json!({
        "podCIDR": "10.0.0.0/24",
        "unschedulable": true,
        "taints": [{"key": "a", "effect": "NoSchedule"}],
    });
    assert_eq!(decoded("Node", &spec), expected);
}

/// As controllers with leader election write it.
#[test]
fn a_lease() {
    let renewed = [number(1, 1), number(2, 0)].concat();
    let spec = [field(1, b"me"), number(2, 15), field(4, &renewed), number(5, 0)].concat();
    let object = [field(1, &meta("l")), field(2, &spec)];
    let decoded = decode(&body("coordination.k8s.io/v1", "Lease", &object)).expect("decoded");
    let spec = json!({
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "renewTime": "1970-01-01T00:00:01.000000Z",
        "leaseTransitions": 0,
    });
    assert_eq!(decoded["spec"], spec);
}

/// As recorders of events write one: the newer group has numbers of its own.
#[test]
fn events_of_both_groups() {
    let time = |second: u8| [number(1, second), number(2, 0)].concat();
    let about = [field(1, b"Gateway"), field(3, b"g")].concat();
    let series = [number(1, 3), field(2, &time(2))].concat();
    let about_json = json!({"kind": "Gateway", "name": "g"});
    let series_json = json!({"count": 3, "lastObservedTime": "1970-01-01T00:00:02.000000Z"});
    let newer = [
        field(1, &meta("e")),
        field(2, &time(1)),
        field(3, &series),
        field(4, b"c"),
        field(5, b"i"),
        field(6, b"Sync"),
        field(7, b"Served"),
        field(8, &about),
        field(10, b"words"),
        field(11, b"Normal"),
        field(12, &field(1, b"old")),
        field(13, &time(3)),
        field(14, &time(4)),
        number(15, 5),
    ];
    assert_eq!(
        decode(&body("events.k8s.io/v1", "Event", &newer)),
        Ok(json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "eventTime": "1970-01-01T00:00:01.000000Z", "series": series_json,
            "reportingController": "c", "reportingInstance": "i", "action": "Sync",
            "reason": "Served", "regarding": about_json, "note": "words", "type": "Normal",
            "deprecatedSource": {"component": "old"},
            "deprecatedFirstTimestamp": "1970-01-01T00:00:03Z",
            "deprecatedLastTimestamp": "1970-01-01T00:00:04Z", "deprecatedCount": 5,
        }))
    );
    let older = [field(1, &meta("e")), field(2, &about), field(3, b"Served"), field(11, &series)];
    assert_eq!(
        decode(&body("v1", "Event", &older)),
        Ok(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
            "involvedObject": about_json, "reason": "Served", "series": series_json,
        }))
    );
    let error = decode(&body("events.k8s.io/v1", "Secret", &[])).expect_err("refused");
    assert!(error.contains("events.k8s.io/v1 \"Secret\""), "{error}");
}

#[test]
fn hints_of_an_endpoint() {
    let hints = field(1, &field(1, b"zone-a"));
    let endpoint = [field(1, b"10.0.0.1"), field(8, &hints)].concat();
    let object = [field(1, &meta("s")), field(2, &endpoint), field(4, b"IPv4")];
    let decoded = decode(&body("discovery.k8s.io/v1", "EndpointSlice", &object)).expect("decoded");
    let expected =
        json!([{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "zone-a"}]}}]);
    assert_eq!(decoded["endpoints"], expected);
}

#[test]
fn an_access_review() {
    let attributes = [field(1, b"default"), field(2, b"create"), field(5, b"gateways")].concat();
    let status = [number(1, 0), field(2, b"")].concat();
    let object = [field(1, b""), field(2, &field(1, &attributes)), field(3, &status)];
    let decoded = decode(&body("authorization.k8s.io/v1", "SelfSubjectAccessReview", &object));
    assert_eq!(
        decoded.expect("decoded")["spec"]["resourceAttributes"],
        json!({"namespace": "default", "verb": "create", "resource": "gateways"})
    );
}

#[test]
fn what_is_not_read_is_refused_and_not_dropped() {
    let with_feature = [field(1, &meta("n")), field(2, &field(9, b"x"))];
    let error = decode(&body("v1", "Node", &with_feature)).expect_err("refused");
    assert!(error.contains("field 9 of NodeSpec") && error.contains("application/json"), "{error}");
    let error = decode(&body("v1", "Binding", &[])).expect_err("refused");
    assert!(error.contains("\"Binding\" is not read from protobuf"), "{error}");
}

#[test]
fn broken_bodies_are_refused() {
    let good = body("v1", "Secret", &[field(1, &meta("s")), field(2, &entry("a", b"b"))]);
    for cut in 0..good.len() {
        // Every prefix either fails or says less; none panics.
        let _ = decode(&good[..cut]);
    }
    for bad in [&b""[..], b"k8s", b"json", b"k8s\0\x0a\xff\xff\xff\xff\x0f", b"k8s\0\x0b"] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
    let mut deep = Vec::new();
    for _ in 0..200 {
        deep = field(2, &deep);
    }
    assert!(decode(&body("v1", "Namespace", &[deep])).is_err());
}

//! The cells of each kind. A cell that has nothing to say is null for custom kinds, `<none>` for built-in ones.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_api::Kind;

use super::age::age;

const NONE: &str = "<none>";
const UNSET: &str = "<unset>";
/// At most this many addresses or ports are spelt out in a cell.
const SPELT_OUT: usize = 3;

/// The cells of one object, in the order of [`super::columns::columns`].
pub(super) fn cells(kind: Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object["metadata"]["name"].clone();
    let created = &object["metadata"]["creationTimestamp"];
    let old: Value = age(created, now).into();
    let spec = &object["spec"];
    match kind {
        Kind::Gateway | Kind::Sidecar | Kind::EnvoyFilter | Kind::RequestAuthentication => {
            vec![name, old]
        }
        Kind::VirtualService => {
            vec![name, printed(&spec["gateways"]), printed(&spec["hosts"]), old]
        }
        Kind::DestinationRule => vec![name, printed(&spec["host"]), old],
        Kind::ServiceEntry => vec![
            name,
            printed(&spec["hosts"]),
            printed(&spec["location"]),
            printed(&spec["resolution"]),
            old,
        ],
        Kind::WorkloadEntry => vec![name, old, printed(&spec["address"])],
        Kind::AuthorizationPolicy => vec![name, printed(&spec["action"]), old],
        Kind::PeerAuthentication => vec![name, printed(&spec["mtls"]["mode"]), old],
        Kind::Namespace => vec![name, object["status"]["phase"].clone(), old],
        Kind::Service => service(object, name, old),
        Kind::EndpointSlice => endpoint_slice(object, name, old),
        Kind::Secret => vec![name, object["type"].clone(), keys(&object["data"]).into(), old],
        Kind::ConfigMap => {
            vec![name, (keys(&object["data"]) + keys(&object["binaryData"])).into(), old]
        }
        Kind::Pod => pod(object, name, old),
        Kind::Deployment => deployment(object, name, old),
        Kind::Event => event(object, name, now),
    }
}

/// A value as a custom kind's column prints it: text as it is, lists and maps as JSON.
fn printed(value: &Value) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) => value.to_string().into(),
        other => other.clone(),
    }
}

fn keys(map: &Value) -> usize {
    map.as_object().map_or(0, Map::len)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text_or<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// `a=b,c=d`, or `<none>`.
fn labels(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { NONE.into() } else { pairs.join(",") }
}

/// The first few, and how many more there are; `empty` when there are none.
fn few(all: &[String], empty: &str) -> String {
    match all.len() {
        0 => empty.into(),
        n if n <= SPELT_OUT => all.join(","),
        n => format!("{} + {} more...", all[..SPELT_OUT].join(","), n - SPELT_OUT),
    }
}

fn service(object: &Value, name: Value, old: Value) -> Vec<Value> {
    let spec = &object["spec"];
    let kind = text_or(&spec["type"], "ClusterIP");
    let ports: Vec<String> = items(&spec["ports"])
        .map(|port| {
            let protocol = text_or(&port["protocol"], "TCP");
            match number(&port["nodePort"]) {
                0 => format!("{}/{protocol}", number(&port["port"])),
                node => format!("{}:{node}/{protocol}", number(&port["port"])),
            }
        })
        .collect();
    vec![
        name,
        kind.into(),
        text_or(&spec["clusterIP"], NONE).into(),
        external_addresses(object, kind).into(),
        if ports.is_empty() { NONE.into() } else { ports.join(",").into() },
        old,
        labels(&spec["selector"]).into(),
    ]
}

fn external_addresses(object: &Value, kind: &str) -> String {
    let spec = &object["spec"];
    let mut addresses: Vec<&str> = Vec::new();
    match kind {
        "ExternalName" => return text_or(&spec["externalName"], NONE).into(),
        "LoadBalancer" => {
            let ingress = items(&object["status"]["loadBalancer"]["ingress"]);
            addresses.extend(ingress.map(|at| text_or(&at["ip"], text_or(&at["hostname"], ""))));
        }
        _ => {}
    }
    addresses.extend(items(&spec["externalIPs"]).filter_map(Value::as_str));
    addresses.retain(|address| !address.is_empty());
    match (addresses.is_empty(), kind) {
        (false, _) => addresses.join(","),
        (true, "LoadBalancer") => "<pending>".into(),
        (true, _) => NONE.into(),
    }
}

fn endpoint_slice(object: &Value, name: Value, old: Value) -> Vec<Value> {
    let ports: Vec<String> = items(&object["ports"])
        .map(|port| match port["port"].as_i64() {
            Some(number) => number.to_string(),
            None => text_or(&port["name"], "*").to_owned(),
        })
        .collect();
    let addresses: Vec<String> = items(&object["endpoints"])
        .flat_map(|endpoint| items(&endpoint["addresses"]))
        .filter_map(|address| Some(address.as_str()?.to_owned()))
        .collect();
    vec![
        name,
        object["addressType"].clone(),
        few(&ports, UNSET).into(),
        few(&addresses, UNSET).into(),
        old,
    ]
}

fn pod(object: &Value, name: Value, old: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let states = || items(&status["containerStatuses"]);
    let containers = items(&spec["containers"]).count();
    let ready = match states().next() {
        Some(_) => states().filter(|state| state["ready"] == true).count(),
        // Where no kubelet writes of containers, all of them are as the pod is: it serves, or it does not.
        None if serves(status) => containers,
        None => 0,
    };
    let restarts: i64 = states().map(|state| number(&state["restartCount"])).sum();
    let gates: Vec<&str> =
        items(&spec["readinessGates"]).filter_map(|gate| gate["conditionType"].as_str()).collect();
    let holds = |gate: &&&str| {
        items(&status["conditions"]).any(|c| c["type"] == ***gate && c["status"] == "True")
    };
    let gates = match gates.len() {
        0 => NONE.to_owned(),
        all => format!("{}/{all}", gates.iter().filter(holds).count()),
    };
    vec![
        name,
        format!("{ready}/{containers}").into(),
        pod_state(object).into(),
        restarts.to_string().into(),
        old,
        text_or(&status["podIP"], NONE).into(),
        text_or(&spec["nodeName"], NONE).into(),
        text_or(&status["nominatedNodeName"], NONE).into(),
        gates.into(),
    ]
}

/// Whether a pod takes traffic: it has an address, and nothing says that it is not ready.
fn serves(status: &Value) -> bool {
    let has_address = status["podIP"].as_str().is_some_and(|address| !address.is_empty());
    let says = items(&status["conditions"]).find(|condition| condition["type"] == "Ready");
    has_address
        && match says {
            Some(condition) => condition["status"] == "True",
            None => !matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")),
        }
}

/// What a container waits for or ended with says more than the phase.
fn pod_state(object: &Value) -> String {
    let status = &object["status"];
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".into();
    }
    let states = || items(&status["containerStatuses"]).map(|container| &container["state"]);
    let waiting = states().find_map(|state| state["waiting"]["reason"].as_str());
    let ended = states().find_map(|state| state["terminated"]["reason"].as_str());
    waiting
        .or(ended)
        .or_else(|| status["reason"].as_str())
        .unwrap_or_else(|| text_or(&status["phase"], "Unknown"))
        .to_owned()
}

fn deployment(object: &Value, name: Value, old: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let containers = || items(&spec["template"]["spec"]["containers"]);
    let each = |field: &str| -> String {
        let all: Vec<&str> = containers().filter_map(|c| c[field].as_str()).collect();
        all.join(",")
    };
    vec![
        name,
        format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"])).into(),
        number(&status["updatedReplicas"]).into(),
        number(&status["availableReplicas"]).into(),
        old,
        each("name").into(),
        each("image").into(),
        selector(&spec["selector"]).into(),
    ]
}

/// A selector with expressions, as kubectl writes it.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in items(&selector["matchExpressions"]) {
        let key = text_or(&expression["key"], "");
        let values: Vec<&str> = items(&expression["values"]).filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match text_or(&expression["operator"], "") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if parts.is_empty() { NONE.into() } else { parts.join(",") }
}

fn event(object: &Value, name: Value, now: Timestamp) -> Vec<Value> {
    let at = |field: &str| Some(&object[field]).filter(|time| !time.is_null());
    let created = &object["metadata"]["creationTimestamp"];
    let first = at("firstTimestamp").or(at("eventTime")).unwrap_or(created);
    let last = Some(&object["series"]["lastObservedTime"])
        .filter(|time| !time.is_null())
        .or(at("lastTimestamp"))
        .unwrap_or(first);
    let about = &object["involvedObject"];
    let kind = text_or(&about["kind"], "").to_lowercase();
    let source =
        text_or(&object["source"]["component"], text_or(&object["reportingComponent"], ""));
    let host = text_or(&object["source"]["host"], text_or(&object["reportingInstance"], ""));
    let source = if host.is_empty() { source.to_owned() } else { format!("{source}, {host}") };
    let count = object["series"]["count"].as_i64().or_else(|| object["count"].as_i64());
    vec![
        age(last, now).into(),
        object["type"].clone(),
        object["reason"].clone(),
        format!("{kind}/{}", text_or(&about["name"], "")).into(),
        text_or(&about["fieldPath"], "").into(),
        source.into(),
        text_or(&object["message"], "").trim().into(),
        age(first, now).into(),
        json!(count.unwrap_or(1)),
        name,
    ]
}

#[cfg(test)]
mod tests {
    use super::super::columns::columns;
    use super::*;

    fn row(kind: Kind, object: &Value) -> Vec<Value> {
        let now: Timestamp = "2026-08-22T10:00:10Z".parse().expect("a time");
        let cells = cells(kind, object, now);
        assert_eq!(cells.len(), columns(kind).len());
        cells
    }

    #[test]
    fn every_kind_has_a_cell_for_each_column_whatever_is_missing() {
        for kind in Kind::all() {
            row(kind, &json!({}));
            row(kind, &json!({"spec": [], "status": 1, "metadata": "x"}));
        }
    }

    #[test]
    fn custom_kinds_print_lists_as_json() {
        let object = json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-08-22T10:00:00Z"},
            "spec": {"hosts": ["x", "y"]},
        });
        assert_eq!(
            row(Kind::VirtualService, &object),
            [json!("a"), Value::Null, json!("[\"x\",\"y\"]"), json!("10s")]
        );
    }

    #[test]
    fn services() {
        let cases = [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"port": 443, "protocol": "TCP"}]}),
                json!({}),
                ["ClusterIP", "10.96.0.1", "<none>", "443/TCP"],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b"}),
                json!({}),
                ["ExternalName", "<none>", "a.b", "<none>"],
            ),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.96.0.2", "ports": [{"port": 80, "nodePort": 30412}, {"port": 443}]}),
                json!({}),
                ["LoadBalancer", "10.96.0.2", "<pending>", "80:30412/TCP,443/TCP"],
            ),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.96.0.2"}),
                json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}),
                ["LoadBalancer", "10.96.0.2", "127.0.0.1", "<none>"],
            ),
        ];
        for (spec, status, expected) in cases {
            let object = json!({"metadata": {"name": "s"}, "spec": spec, "status": status});
            assert_eq!(row(Kind::Service, &object)[1..5], expected);
        }
    }

    #[test]
    fn slices_spell_out_three() {
        let endpoint = |address: &str| json!({"addresses": [address]});
        let object = json!({
            "addressType": "IPv4",
            "ports": [{"port": 80}, {"port": 81}],
            "endpoints": [endpoint("1"), endpoint("2"), endpoint("3"), endpoint("4"), endpoint("5")],
        });
        assert_eq!(row(Kind::EndpointSlice, &object)[1..4], ["IPv4", "80,81", "1,2,3 + 2 more..."]);
        assert_eq!(row(Kind::EndpointSlice, &json!({}))[2..4], ["<unset>", "<unset>"]);
    }

    #[test]
    fn pods_and_deployments() {
        let pod = json!({
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
                {"ready": true, "restartCount": 2}, {"ready": false, "restartCount": 1},
            ]},
        });
        assert_eq!(row(Kind::Pod, &pod)[1..4], ["1/2", "Running", "3"]);
        let of_status = |status: Value| {
            let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
            row(Kind::Pod, &json!({"spec": spec, "status": status}))[1].clone()
        };
        let not_ready = json!([{"type": "Ready", "status": "False"}]);
        assert_eq!(of_status(json!({"podIP": "10.0.0.1"})), "2/2");
        assert_eq!(of_status(json!({"podIP": "10.0.0.1", "conditions": not_ready})), "0/2");
        assert_eq!(of_status(json!({"podIP": "10.0.0.1", "phase": "Failed"})), "0/2");
        assert_eq!(of_status(json!({"phase": "Running"})), "0/2");
        let deployment = json!({
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
            "status": {"readyReplicas": 1},
        });
        let cells = row(Kind::Deployment, &deployment);
        assert_eq!(cells[1..4], [json!("1/2"), json!(0), json!(0)]);
        assert_eq!(cells[5..8], ["c", "i", "a=b"]);
    }

    #[test]
    fn events() {
        let event = json!({
            "metadata": {"name": "e", "creationTimestamp": "2026-08-22T10:00:00Z"},
            "involvedObject": {"kind": "VirtualService", "name": "v"},
            "lastTimestamp": "2026-08-22T10:00:05Z", "firstTimestamp": "2026-08-22T10:00:00Z",
            "reason": "Applied", "type": "Normal", "message": "hello\n", "count": 3,
            "source": {"component": "tidegate"},
        });
        let cells = row(Kind::Event, &event);
        assert_eq!(cells[..4], ["5s", "Normal", "Applied", "virtualservice/v"]);
        assert_eq!(cells[5..9], [json!("tidegate"), json!("hello"), json!("10s"), json!(3)]);
    }
}

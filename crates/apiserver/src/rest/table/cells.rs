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
        Kind::Gateway
        | Kind::Sidecar
        | Kind::EnvoyFilter
        | Kind::WorkloadGroup
        | Kind::ProxyConfig
        | Kind::RequestAuthentication
        | Kind::Telemetry
        | Kind::WasmPlugin
        | Kind::TrafficExtension
        | Kind::TCPRoute
        | Kind::TLSRoute
        | Kind::UDPRoute
        | Kind::BackendTLSPolicy
        | Kind::ReferenceGrant
        | Kind::ServiceAccount => vec![name, old],
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
        Kind::GatewayClass => vec![
            name,
            spec["controllerName"].clone(),
            condition(object, "Accepted"),
            old,
            spec["description"].clone(),
        ],
        Kind::KubernetesGateway => {
            let addresses = items(&object["status"]["addresses"]);
            let addresses: Vec<&str> = addresses.filter_map(|at| at["value"].as_str()).collect();
            let address = addresses.first().map_or(Value::Null, |_| addresses.join(",").into());
            let class = spec["gatewayClassName"].clone();
            vec![name, class, address, condition(object, "Programmed"), old]
        }
        Kind::ListenerSet => {
            vec![name, condition(object, "Accepted"), condition(object, "Programmed"), old]
        }
        Kind::HTTPRoute | Kind::GRPCRoute => vec![name, printed(&spec["hostnames"]), old],
        Kind::Namespace => vec![name, object["status"]["phase"].clone(), old],
        Kind::Service => service(object, name, old),
        Kind::Endpoints => vec![name, endpoints(object).into(), old],
        Kind::EndpointSlice => endpoint_slice(object, name, old),
        Kind::Secret => vec![name, object["type"].clone(), keys(&object["data"]).into(), old],
        Kind::ConfigMap => {
            vec![name, (keys(&object["data"]) + keys(&object["binaryData"])).into(), old]
        }
        Kind::Pod => pod(object, name, old),
        Kind::Node => node(object, name, old),
        Kind::ResourceQuota => {
            vec![name, quota(object, false).into(), quota(object, true).into(), old]
        }
        Kind::LimitRange | Kind::CustomResourceDefinition => vec![name, created.clone()],
        Kind::Lease => vec![name, spec["holderIdentity"].clone(), old],
        Kind::Deployment => deployment(object, name, old),
        Kind::DaemonSet => daemon_set(object, name, old),
        Kind::StatefulSet => {
            let status = &object["status"];
            let ready =
                format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
            vec![
                name,
                ready.into(),
                old,
                each_container(spec, "name"),
                each_container(spec, "image"),
            ]
        }
        Kind::ReplicaSet => vec![
            name,
            number(&spec["replicas"]).into(),
            number(&object["status"]["replicas"]).into(),
            number(&object["status"]["readyReplicas"]).into(),
            old,
            each_container(spec, "name"),
            each_container(spec, "image"),
            selector(&spec["selector"]).into(),
        ],
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
    vec![
        name,
        format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"])).into(),
        number(&status["updatedReplicas"]).into(),
        number(&status["availableReplicas"]).into(),
        old,
        each_container(spec, "name"),
        each_container(spec, "image"),
        selector(&spec["selector"]).into(),
    ]
}

fn daemon_set(object: &Value, name: Value, old: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name];
    cells.extend(counts.map(|field| Value::from(number(&status[field]))));
    cells.extend([
        labels(&spec["template"]["spec"]["nodeSelector"]).into(),
        old,
        each_container(spec, "name"),
        each_container(spec, "image"),
        selector(&spec["selector"]).into(),
    ]);
    cells
}

/// A field of each container of a template.
fn each_container(spec: &Value, field: &str) -> Value {
    let containers = items(&spec["template"]["spec"]["containers"]);
    let all: Vec<&str> = containers.filter_map(|container| container[field].as_str()).collect();
    all.join(",").into()
}

/// What a condition of an object says; null if there is none.
fn condition(object: &Value, aspect: &str) -> Value {
    let mut conditions = items(&object["status"]["conditions"]);
    let said = conditions.find(|condition| condition["type"] == aspect);
    said.map_or(Value::Null, |condition| condition["status"].clone())
}

/// Every address with every port of its subset.
fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(&object["subsets"]) {
        let addresses = || items(&subset["addresses"]).filter_map(|at| at["ip"].as_str());
        let ports: Vec<i64> = items(&subset["ports"]).map(|port| number(&port["port"])).collect();
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for address in addresses() {
            all.extend(ports.iter().map(|port| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            }));
        }
    }
    few(&all, NONE)
}

fn node(object: &Value, name: Value, old: Value) -> Vec<Value> {
    const ROLE: &str = "node-role.kubernetes.io/";
    let status = &object["status"];
    let mut state = match condition(object, "Ready").as_str() {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let keys = object["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> = keys.filter_map(|(key, _)| key.strip_prefix(ROLE)).collect();
    let address = |kind: &str| {
        let found = items(&status["addresses"]).find(|address| address["type"] == kind);
        found.map_or(NONE, |address| text_or(&address["address"], NONE)).to_owned()
    };
    let info = |field: &str| text_or(&status["nodeInfo"][field], "<unknown>").to_owned();
    let kernel = match status["nodeInfo"]["architecture"].as_str() {
        Some(architecture) => format!("{} ({architecture})", info("kernelVersion")),
        None => info("kernelVersion"),
    };
    vec![
        name,
        state.into(),
        if roles.is_empty() { NONE.into() } else { roles.join(",").into() },
        old,
        text_or(&status["nodeInfo"]["kubeletVersion"], "").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage").into(),
        kernel.into(),
        info("containerRuntimeVersion").into(),
    ]
}

/// What is used of a quota, of limits or of everything else: `pods: 1/10, services: 0/5`.
fn quota(object: &Value, limits: bool) -> String {
    let used = &object["status"]["used"];
    let hard = object["spec"]["hard"].as_object().into_iter().flatten();
    let shown = |amount: &Value| match amount {
        Value::String(text) => text.clone(),
        Value::Null => "0".to_owned(),
        other => other.to_string(),
    };
    let parts: Vec<String> = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, most)| format!("{name}: {}/{}", shown(&used[name.as_str()]), shown(most)))
        .collect();
    parts.join(", ")
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
    fn endpoints_nodes_and_quotas() {
        let subset = json!({
            "addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 443}],
        });
        let cells = row(Kind::Endpoints, &json!({"subsets": [subset]}));
        assert_eq!(cells[1], "10.1.2.3:80,10.1.2.3:443,[fd00::1]:80 + 1 more...");
        let object = json!({
            "metadata": {"labels": {"node-role.kubernetes.io/edge": ""}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64"},
            },
        });
        let cells = row(Kind::Node, &object);
        assert_eq!((&cells[1], &cells[2]), (&json!("Ready,SchedulingDisabled"), &json!("edge")));
        assert_eq!((&cells[5], &cells[8]), (&json!("10.0.0.1"), &json!("6.1 (amd64)")));
        let quota = json!({"spec": {"hard": {"pods": "10", "limits.cpu": 2}}, "status": {"used": {"pods": "1"}}});
        let cells = row(Kind::ResourceQuota, &quota);
        assert_eq!((&cells[1], &cells[2]), (&json!("pods: 1/10"), &json!("limits.cpu: 0/2")));
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

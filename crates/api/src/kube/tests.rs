//! Defaults and checks of the built-in kinds, against what a real API server answers.

use serde_json::{Value, json};

use super::service::{Allocator, allocate};
use super::*;
use crate::{Object, Origin};

fn faults(kind: Kind, object: &Value) -> Vec<String> {
    let result = Object::decode(kind, "v1", object, Origin::Api);
    result.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn spec(kind: Kind, object: &Value) -> Spec {
    Object::decode(kind, "v1", object, Origin::Api).expect("valid").object.spec
}

fn update_faults(kind: Kind, old: &Value, new: &Value) -> Vec<String> {
    let errors = validate_update(&spec(kind, old), &spec(kind, new));
    errors.iter().map(ToString::to_string).collect()
}

/// Hands out 10.96.0.1, .2 … and 30000, 30001 …; `taken` is nobody's any more.
struct Counting {
    next: u16,
    taken: &'static str,
}

impl Allocator for Counting {
    fn cluster_ip(&mut self, asked: Option<&str>) -> Result<String, String> {
        match asked {
            Some(asked) if asked == self.taken => Err("provided IP is already allocated".into()),
            Some(asked) => Ok(asked.into()),
            None => {
                self.next += 1;
                Ok(format!("10.96.0.{}", self.next))
            }
        }
    }

    fn node_port(&mut self, asked: Option<u16>) -> Result<u16, String> {
        self.next += 1;
        Ok(asked.unwrap_or(30_000 + self.next))
    }
}

fn service(spec: impl Into<Value>) -> Value {
    let spec: Value = spec.into();
    let mut object = json!({"metadata": {"name": "d", "namespace": "default"}, "spec": spec});
    defaults(Kind::Service, &mut object);
    let mut allocator = Counting { next: 0, taken: "10.96.77.1" };
    allocate(&mut object, None, &mut allocator).expect("allocated");
    object["spec"].clone()
}

#[test]
fn service_defaults() {
    assert_eq!(
        service(json!({"ports": [{"port": 80}]})),
        json!({
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}],
            "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "type": "ClusterIP",
            "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        })
    );
    let headless = service(json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    assert_eq!(headless["clusterIPs"], json!(["None"]));
    let node_port =
        service(json!({"type": "NodePort", "ports": [{"port": 80, "targetPort": "web"}]}));
    assert_eq!(
        node_port["ports"],
        json!([{"protocol": "TCP", "port": 80, "targetPort": "web", "nodePort": 30_002}])
    );
    assert_eq!(node_port["externalTrafficPolicy"], "Cluster");
    let balancer = service(json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}],
    }));
    assert_eq!(balancer["allocateLoadBalancerNodePorts"], true);
    assert_eq!(balancer["healthCheckNodePort"], 30_003);
    assert_eq!(
        service(
            json!({"type": "ExternalName", "externalName": "x.example.com", "ports": [{"port": 80}]})
        ),
        json!({
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}], "type": "ExternalName",
            "sessionAffinity": "None", "externalName": "x.example.com",
        })
    );
}

#[test]
fn service_allocation_keeps_what_it_has() {
    let old = json!({"spec": {
        "type": "NodePort", "clusterIP": "10.96.9.9",
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 31_000}],
    }});
    let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
    defaults(Kind::Service, &mut new);
    let mut allocator = Counting { next: 0, taken: "10.96.77.1" };
    allocate(&mut new, Some(&old), &mut allocator).expect("allocated");
    assert_eq!(new["spec"]["clusterIP"], "10.96.9.9");
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 31_000);
    assert_eq!(new["spec"]["ports"][1]["nodePort"], 30_001);
    let mut taken = json!({"spec": {"clusterIP": "10.96.77.1", "ports": [{"port": 80}]}});
    defaults(Kind::Service, &mut taken);
    let errors = allocate(&mut taken, None, &mut allocator).expect_err("taken");
    assert_eq!(
        errors[0].to_string(),
        "spec.clusterIPs: Invalid value: [\"10.96.77.1\"]: failed to allocate IP 10.96.77.1: provided IP \
         is already allocated"
    );
}

#[test]
fn service_checks() {
    let faults =
        |spec: Value| faults(Kind::Service, &json!({"metadata": {"name": "d"}, "spec": spec}));
    assert_eq!(faults(json!({})), ["spec.ports: Required value"]);
    assert_eq!(
        faults(json!({"ports": [{"port": 80}, {"port": 81}]})),
        ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]
    );
    assert_eq!(
        faults(json!({"ports": [{"port": 99_999}]})),
        ["spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive"]
    );
    assert_eq!(faults(json!({"clusterIP": "None"})), [""; 0]);
    assert_eq!(faults(json!({"type": "ExternalName"})), ["spec.externalName: Required value"]);
    let service = |ip: &str| json!({"metadata": {"name": "d"}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    assert_eq!(
        update_faults(Kind::Service, &service("10.0.0.1"), &service("10.0.0.2")),
        ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]
    );
}

#[test]
fn secrets() {
    let mut object = json!({
        "metadata": {"name": "sd"}, "stringData": {"a": "hello"}, "data": {"b": "aGk="},
    });
    defaults(Kind::Secret, &mut object);
    assert_eq!(object["data"], json!({"a": "aGVsbG8=", "b": "aGk="}));
    assert_eq!(object["type"], "Opaque");
    assert!(object.get("stringData").is_none());

    let tls = json!({
        "metadata": {"name": "st"}, "type": "kubernetes.io/tls", "data": {"tls.crt": "aGk="},
    });
    assert_eq!(faults(Kind::Secret, &tls), ["data[tls.key]: Required value"]);
    let bad = json!({"metadata": {"name": "sb"}, "data": {"a": "not base64!"}});
    assert_eq!(faults(Kind::Secret, &bad), ["illegal base64 data at input byte 3"]);

    let with = |extra: Value| {
        let mut object =
            json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": "aGk="}});
        let fields = extra.as_object().into_iter().flatten();
        for (key, value) in fields {
            object[key] = value.clone();
        }
        object
    };
    assert_eq!(
        update_faults(Kind::Secret, &with(json!({})), &with(json!({"type": "other"}))),
        ["type: Invalid value: \"other\": field is immutable"]
    );
    let fixed = with(json!({"immutable": true}));
    assert_eq!(
        update_faults(Kind::Secret, &fixed, &with(json!({"immutable": true, "data": {}}))),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    let debug = format!("{:?}", spec(Kind::Secret, &with(json!({"stringData": {"k": "hush"}}))));
    assert!(!debug.contains("hush") && !debug.contains("104, 105"), "{debug}");
}

#[test]
fn config_maps_and_namespaces() {
    let bad = json!({"metadata": {"name": "c2"}, "data": {"bad key": "1"}});
    let faults = faults(Kind::ConfigMap, &bad);
    assert!(faults[0].starts_with("data[bad key]: Invalid value: \"bad key\": a valid config key"));
    let mut object = json!({"metadata": {"name": "nsd"}});
    defaults(Kind::Namespace, &mut object);
    assert_eq!(
        object,
        json!({
            "metadata": {"name": "nsd", "labels": {"kubernetes.io/metadata.name": "nsd"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        })
    );
}

#[test]
fn pods_and_deployments() {
    let container = json!({
        "name": "c", "image": "nginx", "resources": {}, "imagePullPolicy": "Always",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    });
    let mut pod = json!({
        "metadata": {"name": "pd"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        "status": {"podIP": "10.0.0.9"},
    });
    defaults(Kind::Pod, &mut pod);
    assert_eq!(pod["spec"]["containers"], json!([container]));
    assert_eq!(pod["spec"]["tolerations"][0]["tolerationSeconds"], 300);
    assert_eq!(
        pod["status"],
        json!({
            "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}], "phase": "Pending",
            "qosClass": "BestEffort",
        })
    );
    let mut object = json!({
        "metadata": {"name": "dd"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            },
        },
    });
    defaults(Kind::Deployment, &mut object);
    assert_eq!(
        object["spec"],
        json!({
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "containers": [container], "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "securityContext": {},
                "schedulerName": "default-scheduler",
            }},
            "strategy": {
                "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
            },
            "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        })
    );
    let mut other = object.clone();
    other["spec"]["selector"]["matchLabels"] = json!({"a": "other"});
    assert_eq!(
        faults(Kind::Deployment, &other),
        [
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template \
          `labels`"
        ]
    );
    other["spec"]["template"]["metadata"]["labels"] = json!({"a": "other"});
    assert_eq!(
        update_faults(Kind::Deployment, &object, &other),
        ["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"other\"}}: field is immutable"]
    );
    let empty = json!({"metadata": {"name": "p"}, "spec": {"containers": [{}]}});
    assert_eq!(
        faults(Kind::Pod, &empty),
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value",]
    );
    assert_eq!(image_policy("localhost:5000/a"), "Always");
    assert_eq!(image_policy("localhost:5000/a:v1"), "IfNotPresent");
    assert_eq!(image_policy("a@sha256:00"), "IfNotPresent");
}

fn image_policy(image: &str) -> Value {
    let mut pod = json!({"spec": {"containers": [{"image": image}]}});
    defaults(Kind::Pod, &mut pod);
    pod["spec"]["containers"][0]["imagePullPolicy"].clone()
}

#[test]
fn endpoint_slices_and_events() {
    let mut slice = json!({
        "metadata": {"name": "esd"}, "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["1.2.3.4"]}],
    });
    defaults(Kind::EndpointSlice, &mut slice);
    assert_eq!(slice["ports"], json!([{"name": "", "protocol": "TCP", "port": 80}]));
    assert_eq!(slice["endpoints"], json!([{"addresses": ["1.2.3.4"], "conditions": {}}]));
    slice["endpoints"][0]["addresses"] = json!(["::1"]);
    assert_eq!(
        faults(Kind::EndpointSlice, &slice),
        ["endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address"]
    );
    let mut written = json!({
        "apiVersion": "events.k8s.io/v1", "metadata": {"name": "ev.2", "namespace": "default"},
        "regarding": {"kind": "VirtualService", "namespace": "default"}, "note": "hi",
    });
    let Spec::Event(read) = spec(Kind::Event, &written) else { panic!("an event") };
    assert_eq!(
        (read.message.as_str(), read.involved_object.kind.as_str()),
        ("hi", "VirtualService")
    );
    event::from_view(&mut written);
    defaults(Kind::Event, &mut written);
    assert_eq!(written["eventTime"], Value::Null);
    assert_eq!(written["reportingInstance"], "");
}

#[test]
fn selectors_pick_by_labels() {
    let selector = |json: Value| serde_json::from_value::<LabelSelector>(json).expect("a selector");
    let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    assert!(selector(json!({})).matches(&labels));
    assert!(selector(json!({"matchLabels": {"a": "1"}})).matches(&labels));
    assert!(!selector(json!({"matchLabels": {"a": "2"}})).matches(&labels));
    let expression = |operator: &str, key: &str| {
        let requirement = json!({"key": key, "operator": operator, "values": ["1"]});
        selector(json!({"matchExpressions": [requirement]})).matches(&labels)
    };
    assert!(expression("In", "a") && !expression("In", "b"));
    assert!(!expression("NotIn", "a") && expression("NotIn", "b"));
    assert!(expression("Exists", "a") && expression("DoesNotExist", "b"));
}

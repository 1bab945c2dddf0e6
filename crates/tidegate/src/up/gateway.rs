//! The objects through which the running gateway shows itself to users of Istio: in its namespace a Service,
//! a Deployment and a Pod, the Pod whose log is Mixer's, and the ConfigMap with the mesh config. The process owns them; writes to them are refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::rest::{ADMIN_ANNOTATION, RUN_ANNOTATION};

use crate::cli::Labels;
use crate::run::pod::NODE;

/// Where Istio's own workloads live, and the gateway too unless it is said otherwise.
pub const NAMESPACE: &str = "istio-system";
/// The container whose log is the access log.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// The Pod that answers for Mixer, which Istio had until 1.4.
pub const MIXER_POD: &str = "istio-telemetry";
/// The container whose log is Mixer's.
pub const MIXER_CONTAINER: &str = "mixer";
/// The ConfigMap that holds the mesh config, under the key [`MESH_KEY`].
pub const MESH_CONFIG: &str = "istio";
/// Where the mesh config stands in its ConfigMap.
pub const MESH_KEY: &str = "mesh";
/// The Service port of the health endpoint.
const STATUS_PORT: u16 = 15021;

/// What is told about the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `--gateway-labels`.
    pub labels: Labels,
    /// The gateway's namespace, where its Secrets are.
    pub namespace: String,
    /// The text of `--mesh-config`; empty without one.
    pub mesh: String,
    /// Where clients on this machine reach it.
    pub address: IpAddr,
    /// The address that its ports are bound at: one, or every one.
    pub listen: IpAddr,
    /// Where the health endpoint listens.
    pub health_port: u16,
    /// Where clients on this machine reach the admin interface.
    pub admin: SocketAddr,
    /// Gateway ports and where each is bound.
    pub ports: BTreeMap<u16, u16>,
    /// Whether every worker serves what was there at the start.
    pub ready: bool,
    /// When the process started.
    pub started: Timestamp,
    /// When it last became ready, or ceased to be.
    pub turned: Timestamp,
}

impl Facts {
    /// Notes whether every worker serves what was there at the start.
    pub fn turn(&mut self, ready: bool, now: Timestamp) {
        if self.ready != ready {
            self.ready = ready;
            self.turned = now;
        }
    }

    /// `istio-ingressgateway`, or what the label `istio` says in place of `ingressgateway`.
    pub fn name(&self) -> String {
        self.labels.gateway_name()
    }

    /// `NAME.NAMESPACE`, by which it is told from all others.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.name(), self.namespace)
    }

    /// The objects, as JSON.
    pub fn objects(&self) -> Vec<(ObjectKey, Value)> {
        let name = self.name();
        let key = |kind, name: &str| ObjectKey::new(kind, self.namespace.as_str(), name);
        vec![
            (key(Kind::Service, &name), self.service(&name)),
            (key(Kind::Deployment, &name), self.deployment(&name)),
            (key(Kind::Pod, &name), self.pod(&name)),
            (key(Kind::Pod, MIXER_POD), self.mixer_pod()),
            (key(Kind::ConfigMap, MESH_CONFIG), self.mesh_config()),
        ]
    }

    /// The labels of the gateway's Pod: those it was given, and `app`.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.of_gateway()
    }

    fn service(&self, name: &str) -> Value {
        let mut ports = vec![service_port("status-port", STATUS_PORT, self.health_port)];
        for (&port, &bound) in &self.ports {
            let port_name = match port {
                80 => "http2".to_owned(),
                443 => "https".to_owned(),
                port => format!("tcp-{port}"),
            };
            ports.push(service_port(&port_name, port, bound));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(name),
            "spec": {
                "type": "LoadBalancer",
                "selector": self.labels(),
                "clusterIP": self.address,
                "clusterIPs": [self.address],
                "ipFamilies": [if self.address.is_ipv4() { "IPv4" } else { "IPv6" }],
                "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
                "externalTrafficPolicy": "Cluster",
                "allocateLoadBalancerNodePorts": true,
                "sessionAffinity": "None",
                "ports": ports,
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": self.address, "ipMode": "VIP" }] } },
        })
    }

    fn deployment(&self, name: &str) -> Value {
        let ready = i32::from(self.ready);
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(name),
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": self.labels() },
                "template": {
                    "metadata": { "labels": self.labels() },
                    "spec": { "containers": [self.container()] },
                },
            },
            "status": {
                "observedGeneration": 1,
                "replicas": 1,
                "updatedReplicas": 1,
                "readyReplicas": ready,
                "availableReplicas": ready,
                "unavailableReplicas": 1 - ready,
                "conditions": [self.condition("Available")],
            },
        })
    }

    fn pod(&self, name: &str) -> Value {
        let mut metadata = self.metadata(name);
        metadata["annotations"] = json!({
            "kubectl.kubernetes.io/default-container": PROXY_CONTAINER,
            ADMIN_ANNOTATION: self.admin.to_string(),
        });
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": { "containers": [self.container()], "hostNetwork": true },
            "status": self.pod_status(PROXY_CONTAINER),
        })
    }

    /// The Pod of this name by which a process shows the gateway in the API of another one.
    pub fn pod_elsewhere(&self, name: &str, process: &str) -> Value {
        let mut pod = self.pod(name);
        pod["metadata"]["annotations"][RUN_ANNOTATION] = process.into();
        pod["spec"]["nodeName"] = NODE.into();
        pod
    }

    fn mixer_pod(&self) -> Value {
        let mut metadata = self.metadata(MIXER_POD);
        metadata["labels"] =
            json!({ "app": "telemetry", "istio": "mixer", "istio-mixer-type": "telemetry" });
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": { "containers": [{ "name": MIXER_CONTAINER, "image": image() }] },
            "status": self.pod_status(MIXER_CONTAINER),
        })
    }

    fn mesh_config(&self) -> Value {
        let mut metadata = self.metadata(MESH_CONFIG);
        metadata["labels"] = json!({});
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": { MESH_KEY: self.mesh },
        })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels(),
            "creationTimestamp": seconds(self.started),
        })
    }

    fn container(&self) -> Value {
        let gateway = self.ports.values().map(|&bound| {
            json!({
                "containerPort": bound,
                "hostPort": bound,
                "hostIP": self.listen,
                "protocol": "TCP",
            })
        });
        let health =
            json!({ "containerPort": self.health_port, "protocol": "TCP", "name": "status-port" });
        json!({
            "name": PROXY_CONTAINER,
            "image": image(),
            "ports": std::iter::once(health).chain(gateway).collect::<Vec<_>>(),
            "readinessProbe": { "httpGet": { "path": "/healthz/ready", "port": self.health_port } },
        })
    }

    fn pod_status(&self, container: &str) -> Value {
        json!({
            "phase": "Running",
            "hostIP": self.address,
            "podIP": self.address,
            "podIPs": [{ "ip": self.address }],
            "startTime": seconds(self.started),
            "conditions": [self.condition("Ready"), self.condition("ContainersReady")],
            "containerStatuses": [{
                "name": container,
                "image": image(),
                "imageID": "",
                "ready": self.ready,
                "started": true,
                "restartCount": 0,
                "state": { "running": { "startedAt": seconds(self.started) } },
                "lastState": {},
            }],
        })
    }

    fn condition(&self, name: &str) -> Value {
        let status = if self.ready { "True" } else { "False" };
        json!({ "type": name, "status": status, "lastTransitionTime": seconds(self.turned) })
    }
}

fn service_port(name: &str, port: u16, bound: u16) -> Value {
    json!({
        "name": name,
        "protocol": "TCP",
        "port": port,
        "targetPort": bound,
        // Where a user of minikube or kind looks: the port of this machine.
        "nodePort": bound,
    })
}

fn image() -> String {
    format!("tidegate:{}", env!("CARGO_PKG_VERSION"))
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tidegate_api::{Object, Origin};

    use super::*;

    fn facts() -> Facts {
        Facts {
            labels: Labels(BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())])),
            namespace: NAMESPACE.to_owned(),
            mesh: "accessLogFile: /dev/stdout\n".to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            health_port: 15021,
            admin: (Ipv4Addr::LOCALHOST, 15000).into(),
            ports: BTreeMap::from([(80, 8080), (443, 8443), (9000, 9000)]),
            ready: true,
            started: Timestamp::UNIX_EPOCH,
            turned: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn conditions_say_since_when_and_agree_with_the_containers() {
        let mut facts = facts();
        let hour = |n: i64| Timestamp::from_second(n * 3600).expect("a time");
        for (ready, now, since) in [(true, 1, 0), (false, 2, 2), (false, 3, 2), (true, 4, 4)] {
            facts.turn(ready, hour(now));
            for (key, object) in facts.objects() {
                let status = &object["status"];
                for condition in status["conditions"].as_array().into_iter().flatten() {
                    assert_eq!(condition["lastTransitionTime"], seconds(hour(since)));
                    assert_eq!(condition["status"], if ready { "True" } else { "False" });
                }
                for container in status["containerStatuses"].as_array().into_iter().flatten() {
                    assert_eq!(container["ready"], ready, "{key}");
                }
            }
        }
    }

    #[test]
    fn the_service_shows_where_ports_are_bound() {
        let service = facts().service("istio-ingressgateway");
        let port = |name: &str| {
            let ports = service["spec"]["ports"].as_array().expect("ports");
            ports.iter().find(|port| port["name"] == name).expect("the port").clone()
        };
        assert_eq!(
            (&port("http2")["port"], &port("http2")["targetPort"]),
            (&80.into(), &8080.into())
        );
        assert_eq!(port("https")["nodePort"], 8443);
        assert_eq!(port("tcp-9000")["port"], 9000);
        assert_eq!(port("status-port")["port"], 15021);
        assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "127.0.0.1");
    }

    #[test]
    fn every_object_decodes_and_carries_the_labels_that_guides_select_by() {
        for (key, value) in facts().objects() {
            let decoded = Object::decode(key.kind, "v1", &value, Origin::Process);
            let object = decoded.expect("a valid object").object;
            assert_eq!(object.key, key);
            let (label, wanted) = match &*key.name {
                MIXER_POD => ("istio-mixer-type", Some("telemetry")),
                // It is the mesh's, whatever gateways there are.
                MESH_CONFIG => ("istio", None),
                _ => ("istio", Some("ingressgateway")),
            };
            assert_eq!(object.labels.get(label).map(String::as_str), wanted);
        }
    }

    #[test]
    fn other_labels_are_another_gateway() {
        let mut facts = facts();
        facts.labels.0.insert("istio".to_owned(), "egressgateway".to_owned());
        assert_eq!(facts.name(), "istio-egressgateway");
        assert_eq!(facts.labels()["app"], "istio-egressgateway");
    }
}

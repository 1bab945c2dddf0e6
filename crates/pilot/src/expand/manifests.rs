//! The manifests themselves.
//!
//! | what workloads send | on the gateway | from there |
//! |---|---|---|
//! | HTTP | port 80, by Host | to the same port, or in TLS by a subset of its own |
//! | HTTPS, TLS | port 443, by server name, passed through | to the same port |
//! | TCP | the same port, or one of its own where another has that | to the same port |
//!
//! A ServiceEntry with several ports of HTTP, or of TLS, keeps their numbers at the gateway, where nothing else tells them apart.
//!
//! In mutual TLS ports are the same, and all that workloads send is in TLS of the mesh up to the gateway, which takes that off: to
//! each host by its name, which workloads say as the server's name (SNI). What tells names to be said is a subset of the gateway's
//! Service, one for each host. Its DestinationRule is in that Service's namespace, as Istio looks there for workloads of all others.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_api::Object;
use tidegate_api::istio::ServiceEntry;
use tidegate_api::istio::service_entry::{Resolution, ServicePort};

use crate::model::visibility::visibility;

use super::ports::{Family, Ports};
use super::{
    API_VERSION, Front, GATEWAY_ANNOTATION, LongForm, MUTUAL_ANNOTATION, TLS_ANNOTATION, Wish,
    mutual,
};

/// The subset of a host that TLS is started with.
const SUBSET: &str = "originate-tls";
const HTTPS_PORT: u16 = 443;

pub(super) struct Writer<'a> {
    pub(super) object: &'a Object,
    pub(super) entry: &'a ServiceEntry,
    pub(super) wish: &'a Wish,
    pub(super) front: Option<&'a Front>,
    pub(super) ports: &'a Ports,
    /// The host of the gateway's Service.
    pub(super) host: String,
}

/// A port of the ServiceEntry on its way through the gateway.
struct Way<'a> {
    port: &'a ServicePort,
    family: Family,
    /// The gateway's port.
    gateway: u16,
    /// The port of the hosts that it is sent on to.
    onward: u16,
    /// Whether it is sent there in TLS that the gateway starts.
    in_tls: bool,
}

impl Writer<'_> {
    pub(super) fn write(&self, selector: &BTreeMap<String, String>) -> LongForm {
        let mut faults = Vec::new();
        let keeps_address = |host: &&String| !host.starts_with('*');
        if self.entry.resolution == Resolution::None
            && let Some(host) = self.entry.hosts.iter().find(keeps_address)
        {
            faults.push(format!(
                "with resolution NONE the address that the client dialled for {host} is kept, which the egress gateway does not \
                 know: write resolution: DNS, STATIC or DYNAMIC_DNS"
            ));
        }
        if !self.shown_to_gateway(&self.entry.export_to) {
            let namespace = &self.wish.gateway.namespace;
            faults.push(format!(
                "the egress gateway does not see this ServiceEntry: add {namespace} to exportTo"
            ));
        }
        let ways: Vec<Way<'_>> =
            self.entry.ports.iter().filter_map(|port| self.way(port, &mut faults)).collect();
        if self.wish.originates && !ways.iter().any(|way| way.in_tls) {
            faults.push(format!(
                "annotation {TLS_ANNOTATION} has no effect: no port here is of HTTP"
            ));
        }
        self.look_at_front(&ways, &mut faults);
        if ways.is_empty() {
            return LongForm { manifests: Vec::new(), faults };
        }
        let mut manifests = vec![self.gateway(&ways, selector)];
        manifests.extend(
            self.entry
                .hosts
                .iter()
                .enumerate()
                .map(|(n, host)| self.virtual_service(n, host, &ways)),
        );
        if ways.iter().any(|way| way.in_tls) {
            manifests.extend(
                self.entry.hosts.iter().enumerate().map(|(n, host)| self.destination_rule(n, host)),
            );
        }
        if self.wish.mutual {
            manifests.push(self.mutual_rule());
        }
        LongForm { manifests, faults }
    }

    fn way<'p>(&'p self, port: &'p ServicePort, faults: &mut Vec<String>) -> Option<Way<'p>> {
        let number = port.number.get();
        let Some(family) = Family::of(port) else {
            faults.push(format!(
                "port {number} does not go through the egress gateway: its protocol has to be HTTP, HTTP2, GRPC, HTTPS, TLS or TCP"
            ));
            return None;
        };
        if let (true, Family::Tls, Some(host)) = (self.wish.mutual, family, self.wildcard()) {
            faults.push(format!(
                "annotation {MUTUAL_ANNOTATION}: port {number} does not go through the egress gateway: which host of {host} is \
                 meant stands inside of the workload's own TLS, where the gateway does not look: name hosts, or leave the \
                 annotation out"
            ));
            return None;
        }
        let gateway = self.ports.of(self.entry, self.wish, port, family);
        let in_tls = self.wish.originates && family == Family::Http;
        let onward = if in_tls { self.tls_port(port, faults)? } else { number };
        Some(Way { port, family, gateway, onward, in_tls })
    }

    /// The port that is sent to in TLS for one of plain HTTP: itself where its endpoints' port is one for TLS, else the first
    /// one of HTTPS or TLS.
    fn tls_port(&self, port: &ServicePort, faults: &mut Vec<String>) -> Option<u16> {
        let number = port.number.get();
        if port.target_port.is_some() || number == HTTPS_PORT {
            return Some(number);
        }
        let mut others =
            self.entry.ports.iter().filter(|port| Family::of(port) == Some(Family::Tls));
        let other = others.next().map(|port| port.number.get());
        if other.is_none() {
            faults.push(format!(
                "annotation {TLS_ANNOTATION}: nothing says which port of the hosts speaks TLS: add targetPort: 443 to port {number}, \
                 or a port of protocol HTTPS"
            ));
        }
        other
    }

    /// What the gateway's Service lacks, where it is there.
    fn look_at_front(&self, ways: &[Way<'_>], faults: &mut Vec<String>) {
        let Some(front) = self.front else { return };
        for way in ways.iter().filter(|way| !front.ports.contains(&way.gateway)) {
            let (gateway, number) = (&self.wish.gateway, way.gateway);
            let own = way.port.number.get();
            let why = match way.family {
                Family::Tcp if own != number => ": others have its own number there",
                _ => "",
            };
            faults.push(format!(
                "annotation {GATEWAY_ANNOTATION}: {gateway} has no port {number}, by which port {own} reaches the gateway{why}; \
                 add it there"
            ));
        }
    }

    /// Name of an object that is written out, after those that every host has one of.
    fn name(&self, number: usize) -> String {
        let alone = self.entry.hosts.len() == 1;
        let count = if alone { String::new() } else { format!("-{number}") };
        format!("{}-via-{}{count}", self.object.name(), self.wish.gateway.name)
    }

    fn gateway_name(&self) -> String {
        format!("{}-via-{}", self.object.name(), self.wish.gateway.name)
    }

    fn wildcard(&self) -> Option<&String> {
        self.entry.hosts.iter().find(|host| host.starts_with('*'))
    }

    fn manifest(&self, kind: &str, name: &str, spec: &Value) -> Value {
        manifest(kind, self.object.namespace(), name, spec)
    }

    fn gateway(&self, ways: &[Way<'_>], selector: &BTreeMap<String, String>) -> Value {
        let server = |way: &Way<'_>| {
            let (protocol, tls) = match (way.family, self.wish.mutual) {
                (Family::Http, true) => ("HTTPS", Some("ISTIO_MUTUAL")),
                (Family::Tls | Family::Tcp, true) => ("TLS", Some("ISTIO_MUTUAL")),
                (Family::Http, false) => ("HTTP", None),
                (Family::Tls, false) => ("TLS", Some("PASSTHROUGH")),
                (Family::Tcp, false) => ("TCP", None),
            };
            let name = format!("{}-{}", protocol.to_ascii_lowercase(), way.gateway);
            let port = json!({ "number": way.gateway, "name": name, "protocol": protocol });
            let mut server = json!({ "port": port, "hosts": self.entry.hosts });
            if let Some(mode) = tls {
                server["tls"] = json!({ "mode": mode });
            }
            server
        };
        let servers: Vec<Value> = ways.iter().map(server).collect();
        self.manifest(
            "Gateway",
            &self.gateway_name(),
            &json!({ "selector": selector, "servers": servers }),
        )
    }

    /// From workloads to the gateway, and from there to one host.
    fn virtual_service(&self, number: usize, host: &str, ways: &[Way<'_>]) -> Value {
        let gateway = self.gateway_name();
        let mut rules: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for way in ways {
            let mut onward = json!({ "host": host, "port": { "number": way.onward } });
            if way.in_tls {
                onward["subset"] = SUBSET.into();
            }
            let mut there = json!({ "host": self.host, "port": { "number": way.gateway } });
            if self.wish.mutual {
                there["subset"] = mutual::subset(host).into();
            }
            let mut add = |family: Family, from: &str, port: u16, destination: Value| {
                let mut condition = json!({ "gateways": [from], "port": port });
                if family == Family::Tls {
                    condition["sniHosts"] = json!([host]);
                }
                let rule =
                    json!({ "match": [condition], "route": [{ "destination": destination }] });
                rules.entry(family.rules()).or_default().push(rule);
            };
            add(way.family, "mesh", way.port.number.get(), there);
            // The name that TLS of the mesh was for is gone with it.
            let arriving = match way.family {
                Family::Tls if self.wish.mutual => Family::Tcp,
                other => other,
            };
            add(arriving, &gateway, way.gateway, onward);
        }
        let mut spec = json!({ "hosts": [host], "gateways": ["mesh", gateway] });
        for (field, rules) in rules {
            spec[field] = rules.into();
        }
        self.visible(&mut spec);
        self.manifest("VirtualService", &self.name(number), &spec)
    }

    /// TLS to one host, for the subset that HTTP is sent to.
    fn destination_rule(&self, number: usize, host: &str) -> Value {
        let mut tls = json!({ "mode": "SIMPLE" });
        // Under a wildcard it is the host of each request.
        if !host.starts_with('*') {
            tls["sni"] = host.into();
        }
        let subset = json!({ "name": SUBSET, "trafficPolicy": { "tls": tls } });
        let mut spec = json!({ "host": host, "subsets": [subset] });
        self.visible(&mut spec);
        self.manifest("DestinationRule", &self.name(number), &spec)
    }

    /// Mutual TLS to the gateway: a subset for each host, by whose name the gateway is asked.
    fn mutual_rule(&self) -> Value {
        let subset = |host: &String| {
            let tls = json!({ "mode": "ISTIO_MUTUAL", "sni": mutual::server_name(host) });
            json!({ "name": mutual::subset(host), "trafficPolicy": { "tls": tls } })
        };
        let subsets: Vec<Value> = self.entry.hosts.iter().map(subset).collect();
        let mut spec = json!({ "host": self.host, "subsets": subsets });
        let own = self.object.namespace();
        let export_to = self.entry.export_to.iter();
        let export_to: Vec<&str> =
            export_to.map(|to| if to == "." { own } else { to.as_str() }).collect();
        if !export_to.is_empty() {
            spec["exportTo"] = export_to.into();
        }
        let gateway = &self.wish.gateway;
        // A namespace has no dot: no two ServiceEntries come to the same name.
        let name = format!("{}.{own}.via-{}", self.object.name(), gateway.name);
        manifest("DestinationRule", &gateway.namespace, &name, &spec)
    }

    /// Who sees the ServiceEntry sees what stands for it.
    fn visible(&self, spec: &mut Value) {
        if !self.entry.export_to.is_empty() {
            spec["exportTo"] = self.entry.export_to.clone().into();
        }
    }

    fn shown_to_gateway(&self, export_to: &[String]) -> bool {
        visibility(export_to, self.object.namespace(), &self.wish.gateway.namespace).is_some()
    }
}

fn manifest(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

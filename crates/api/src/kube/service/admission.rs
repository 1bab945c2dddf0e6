//! What happens to a Service before it is stored: defaults, addresses and ports, checks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Service, ServicePort, ServiceSpec, ServiceType};
use crate::error::FieldError;
use crate::kube::{PORT_RANGE, child, items, set_default};
use crate::metadata::validate_labels;
use crate::scalar::IntOrString;
use crate::validation::{Report, names};

/// Hands out what a Service needs and no other may have.
pub trait Allocator {
    /// A virtual address: the one that is asked for, or any that is free.
    ///
    /// # Errors
    /// Why that address cannot be had, such as `provided IP is already allocated`.
    fn cluster_ip(&mut self, asked: Option<&str>) -> Result<String, String>;

    /// A port of the nodes: the one that is asked for, or any that is free.
    ///
    /// # Errors
    /// Why that port cannot be had, such as `provided port is already allocated`.
    fn node_port(&mut self, asked: Option<u16>) -> Result<u16, String>;
}

/// Fills in what Kubernetes fills in without allocating anything.
pub(in crate::kube) fn defaults(object: &mut Value) {
    let spec = child(object, "spec");
    set_default(spec, "type", json!("ClusterIP"));
    set_default(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "ClientIP" {
        let client = child(child(spec, "sessionAffinityConfig"), "clientIP");
        set_default(client, "timeoutSeconds", json!(10_800));
    }
    for port in items(spec, "ports") {
        set_default(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        let unset =
            port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "";
        if unset && !number.is_null() {
            port["targetPort"] = number;
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        set_default(spec, "internalTrafficPolicy", json!("Cluster"));
        set_default(spec, "ipFamilies", json!(["IPv4"]));
        set_default(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
    if has_node_ports(&kind) {
        set_default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set_default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    set_default(child(object, "status"), "loadBalancer", json!({}));
}

fn has_node_ports(kind: &str) -> bool {
    matches!(kind, "NodePort" | "LoadBalancer")
}

/// Gives a Service, whose defaults are filled in, its virtual address and node ports. What `old`, the form
/// before a change, has already is kept where the new form says nothing.
///
/// # Errors
/// Each address or port that is asked for and cannot be had.
pub fn allocate(
    object: &mut Value,
    old: Option<&Value>,
    allocator: &mut dyn Allocator,
) -> Result<(), Vec<FieldError>> {
    let old = old.map_or(&Value::Null, |old| &old["spec"]);
    let spec = child(object, "spec");
    let mut errors = Vec::new();
    allocate_address(spec, old, allocator, &mut errors);
    allocate_node_ports(spec, old, allocator, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn allocate_address(
    spec: &mut Value,
    old: &Value,
    allocator: &mut dyn Allocator,
    errors: &mut Vec<FieldError>,
) {
    if spec["type"] == "ExternalName" {
        return;
    }
    let given = |spec: &Value| {
        let first = spec["clusterIPs"].get(0).and_then(Value::as_str);
        let address = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty()).or(first);
        address.map(str::to_owned)
    };
    let kept = given(old);
    let address = match given(spec).or_else(|| kept.clone()) {
        Some(address) if address == "None" || kept.as_ref() == Some(&address) => address,
        asked => match allocator.cluster_ip(asked.as_deref()) {
            Ok(address) => address,
            Err(reason) => {
                let message = match &asked {
                    Some(address) => format!("failed to allocate IP {address}: {reason}"),
                    None => format!("failed to allocate a serviceIP: {reason}"),
                };
                let shown = json!(asked.into_iter().collect::<Vec<_>>());
                errors.push(FieldError::invalid("spec.clusterIPs", shown, message));
                return;
            }
        },
    };
    spec["clusterIPs"] = json!([address]);
    spec["clusterIP"] = json!(address);
}

fn allocate_node_ports(
    spec: &mut Value,
    old: &Value,
    allocator: &mut dyn Allocator,
    errors: &mut Vec<FieldError>,
) {
    let wanted = has_node_ports(spec["type"].as_str().unwrap_or_default())
        && spec["allocateLoadBalancerNodePorts"] != false;
    let node_port = |port: &Value| port["nodePort"].as_u64().filter(|number| *number != 0);
    let before: Vec<(Value, Value, u64)> = old["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|port| Some((port["port"].clone(), port["protocol"].clone(), node_port(port)?)))
        .collect();
    for (at, port) in items(spec, "ports").enumerate() {
        let held = |number: u64| before.iter().any(|(_, _, held)| *held == number);
        let same =
            before.iter().find(|(p, proto, _)| *p == port["port"] && *proto == port["protocol"]);
        let asked = node_port(port).or(same.filter(|_| wanted).map(|(_, _, number)| *number));
        match asked {
            Some(number) if held(number) => port["nodePort"] = json!(number),
            None if !wanted => {}
            asked => {
                let number = asked.and_then(|number| u16::try_from(number).ok());
                match allocator.node_port(number) {
                    Ok(number) => port["nodePort"] = json!(number),
                    Err(reason) => {
                        let path = format!("spec.ports[{at}].nodePort");
                        errors.push(FieldError::invalid(path, asked, reason));
                    }
                }
            }
        }
    }
    let local = spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
    if local && spec["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 {
        let kept = old["healthCheckNodePort"].as_u64().filter(|number| *number != 0);
        match kept.map_or_else(|| allocator.node_port(None).map(u64::from), Ok) {
            Ok(number) => spec["healthCheckNodePort"] = json!(number),
            Err(reason) => {
                errors.push(FieldError::invalid("spec.healthCheckNodePort", 0, reason));
            }
        }
    }
}

impl Service {
    /// Checks ports, addresses and names.
    pub(crate) fn validate(&self, report: &mut Report) {
        report.field("spec", |report| self.spec.validate(report));
    }

    /// The virtual address never changes, as long as the service has one.
    pub(in crate::kube) fn validate_update(&self, old: &Service, report: &mut Report) {
        let aliases = |service: &Service| service.spec.kind == ServiceType::ExternalName;
        let (before, after) = (&old.spec.cluster_ip, &self.spec.cluster_ip);
        if !aliases(old) && !aliases(self) && !before.is_empty() && before != after {
            report.field("spec", |r| {
                r.field("clusterIPs[0]", |r| {
                    r.invalid(json!([after]), "may not change once set");
                });
            });
        }
    }
}

impl ServiceSpec {
    fn validate(&self, report: &mut Report) {
        let headless = self.cluster_ip == "None";
        let alias = self.kind == ServiceType::ExternalName;
        if self.ports.is_empty() && !headless && !alias {
            report.field("ports", |r| r.required(""));
        }
        self.validate_ports(report);
        validate_labels("selector", &self.selector, report);
        if alias {
            self.validate_alias(report);
        } else if !headless && !self.cluster_ip.is_empty() {
            report.field("clusterIPs[0]", |report| {
                if self.cluster_ip.parse::<IpAddr>().is_err() {
                    let message = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                    report.invalid(self.cluster_ip.as_str(), message);
                }
            });
        }
        let words: [(&str, &str, &[&str]); 3] = [
            ("sessionAffinity", &self.session_affinity, &["ClientIP", "None"]),
            ("externalTrafficPolicy", &self.external_traffic_policy, &["Cluster", "Local"]),
            ("internalTrafficPolicy", &self.internal_traffic_policy, &["Cluster", "Local"]),
        ];
        for (field, word, allowed) in words {
            if !word.is_empty() && !allowed.contains(&word) {
                report.field(field, |r| r.not_supported(word, allowed));
            }
        }
    }

    fn validate_alias(&self, report: &mut Report) {
        if !self.cluster_ip.is_empty() {
            let message = "may not be set for ExternalName services";
            report.field("clusterIPs[0]", |r| r.forbidden(message));
        }
        report.field("externalName", |report| match self.external_name.trim_end_matches('.') {
            "" => report.required(""),
            name => report.check(self.external_name.as_str(), names::dns_subdomain(name)),
        });
    }

    fn validate_ports(&self, report: &mut Report) {
        let needs_names = self.ports.len() > 1;
        let mut seen_names = BTreeSet::new();
        let mut seen_ports = Vec::new();
        report.each("ports", &self.ports, |report, port| {
            report.field("name", |report| match port.name.as_str() {
                "" if needs_names => report.required(""),
                "" => {}
                name => {
                    report.check(name, names::dns_label(name));
                    if !seen_names.insert(name) {
                        report.duplicate(name);
                    }
                }
            });
            port.validate(report);
            if seen_ports.contains(&(port.protocol, port.port)) {
                report.duplicate(json!({"port": port.port}));
            }
            seen_ports.push((port.protocol, port.port));
        });
    }
}

impl ServicePort {
    fn validate(&self, report: &mut Report) {
        let number = |report: &mut Report, field: &str, number: i32| {
            if !(1..=65_535).contains(&number) {
                report.field(field, |r| r.invalid(number, PORT_RANGE));
            }
        };
        number(report, "port", self.port);
        match &self.target_port {
            None => {}
            Some(IntOrString::Int(target)) => number(report, "targetPort", *target),
            Some(IntOrString::String(name)) => {
                report.field("targetPort", |r| {
                    r.check(name.as_str(), names::port_name(name));
                });
            }
        }
        if self.node_port != 0 {
            number(report, "nodePort", self.node_port);
        }
        if let Some(protocol) = &self.app_protocol {
            report.field("appProtocol", |r| {
                r.check(protocol.as_str(), names::qualified_name(protocol));
            });
        }
    }
}

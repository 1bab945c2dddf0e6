//! What a ServiceEntry may say.

use super::{Location, Resolution, ServiceEntry, WorkloadEntry};
use crate::Object;
use crate::istio::Protocol;
use crate::istio::host;
use crate::istio::rules::{self, Exporter, hosts};
use crate::metadata::validate_labels;
use crate::validation::Report;

const UNIX_PREFIX: &str = "unix://";

/// What may stand for the address of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// Addresses and Unix sockets.
    Fixed,
    /// Addresses, and names that are resolved.
    Resolved,
    /// Any of them: which service it is for is not known.
    Any,
}

impl ServiceEntry {
    /// Checks what the spec says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        self.validate_selector(report);
        self.validate_hosts(report);
        self.validate_addresses(report);
        self.validate_ports(object, report);
        match self.resolution {
            Resolution::None => {}
            Resolution::Static => {
                report.each("endpoints", &self.endpoints, |r, e| {
                    self.validate_endpoint(e, Addresses::Fixed, r);
                });
            }
            Resolution::Dns | Resolution::DnsRoundRobin => self.validate_dns(report),
            Resolution::DynamicDns => self.validate_dynamic_dns(object, report),
        }
        self.validate_host_is_told(report);
        rules::export_to(report, object.namespace(), &self.export_to, Exporter::ServiceEntry);
    }

    fn validate_selector(&self, report: &mut Report) {
        let Some(selector) = &self.workload_selector else {
            return;
        };
        report.field("workloadSelector", |report| {
            if selector.labels.is_empty() {
                report.advise("selects every workload of the namespace, as it names no labels");
            }
            if self.resolution == Resolution::None {
                report.advise("has no effect when resolution is NONE");
            }
            report.entries("labels", &selector.labels, |report, key, _| {
                if key.is_empty() {
                    report.invalid(key, "empty key is not supported in selector");
                }
                if key.contains('*') {
                    report.invalid(key, "wildcard is not supported in selector");
                }
            });
        });
    }

    fn validate_hosts(&self, report: &mut Report) {
        report.each("hosts", &self.hosts, |report, name| {
            match hosts::wildcard_domain(name) {
                // The schema has a rule against it.
                _ if name == "*" => {}
                Err(message) => report.invalid(name.as_str(), message),
                Ok(()) if self.resolution == Resolution::DynamicDns => {}
                Ok(()) => {
                    if let Err(message) = hosts::whole_wildcard(name) {
                        report.advise(message);
                    }
                }
            }
        });
    }

    fn validate_addresses(&self, report: &mut Report) {
        report.each("addresses", &self.addresses, |report, address| {
            report.check(address.as_str(), hosts::subnet(address));
        });
    }

    fn validate_ports(&self, object: &Object, report: &mut Report) {
        let unaddressed = self.addresses.is_empty() && !self.gets_an_address(object);
        report.each("ports", &self.ports, |report, port| {
            if !hosts::is_label(&port.name) {
                report.field("name", |r| r.invalid(port.name.as_str(), "must be a DNS label"));
            }
            if unaddressed && matches!(port.protocol, None | Some(Protocol::Tcp)) {
                report.advise(
                    "addresses are required for ports serving TCP (or unset) protocol when no address is \
                     allocated automatically",
                );
            }
        });
    }

    /// Whether Istio allocates an address of its own for the hosts.
    fn gets_an_address(&self, object: &Object) -> bool {
        let label = object.labels.get("networking.istio.io/enable-autoallocate-ip");
        let refused = label.is_some_and(|value| value.eq_ignore_ascii_case("false"));
        self.resolution != Resolution::None && !refused && self.addresses.is_empty()
    }

    fn validate_dns(&self, report: &mut Report) {
        if self.endpoints.is_empty() {
            report.each("hosts", &self.hosts, |report, name| {
                // What is no name at all has been told already.
                if name.len() > 1 && host::is_wildcard(name) {
                    let message = "a wildcard cannot be resolved: list endpoints, or use resolution \
                                   DYNAMIC_DNS or NONE";
                    report.invalid(name.as_str(), message);
                }
            });
        }
        report.each("endpoints", &self.endpoints, |r, e| {
            self.validate_endpoint(e, Addresses::Resolved, r);
        });
        let opaque = |protocol: Option<Protocol>| protocol.is_some_and(Protocol::is_tcp);
        let opaque_port = self.ports.iter().any(|port| opaque(port.protocol));
        if !self.addresses.is_empty() && self.hosts.len() > 1 && opaque_port {
            report.advise(
                "hosts share the address, and a port that is not HTTP cannot tell them apart",
            );
        }
    }

    fn validate_dynamic_dns(&self, object: &Object, report: &mut Report) {
        report.each("hosts", &self.hosts, |report, name| {
            if !host::is_wildcard(name) {
                report.invalid(
                    name.as_str(),
                    "host must be wildcarded for resolution mode DYNAMIC_DNS",
                );
            }
        });
        if !self.addresses.is_empty() {
            let message =
                "cannot be set for resolution type DYNAMIC_DNS: names lead to the addresses";
            report.field("addresses", |r| r.forbidden(message));
        }
        if !self.endpoints.is_empty() {
            let message =
                "cannot be set for resolution type DYNAMIC_DNS: names lead to the endpoints";
            report.field("endpoints", |r| r.forbidden(message));
        }
        report.each("ports", &self.ports, |report, port| {
            use Protocol::{Grpc, Http, Http2, Tls};
            if !matches!(port.protocol, Some(Http | Tls | Grpc | Http2)) {
                let shown = port.protocol.map_or("", Protocol::as_str);
                report.field("protocol", |r| {
                    r.not_supported(shown, &["HTTP", "TLS", "GRPC", "HTTP2"]);
                });
            }
        });
        let waypoint = object.labels.get("istio.io/use-waypoint");
        let uses_waypoint =
            waypoint.is_some_and(|w| !w.is_empty() && !w.eq_ignore_ascii_case("none"));
        if self.location == Location::MeshInternal && uses_waypoint {
            let message =
                "MESH_INTERNAL with resolution type DYNAMIC_DNS is not supported with waypoints";
            report.field("location", |r| r.invalid("MESH_INTERNAL", message));
        }
    }

    /// Several hosts can be told apart by Host header or SNI only, unless nothing is looked up at all.
    fn validate_host_is_told(&self, report: &mut Report) {
        if self.resolution == Resolution::None || self.hosts.len() < 2 {
            return;
        }
        let told = |p: Protocol| p.is_http() || p.is_tls();
        if self.ports.iter().any(|port| !port.protocol.is_some_and(told)) {
            report.wrong("multiple hosts provided with non-HTTP, non-TLS ports");
        }
    }

    fn validate_endpoint(
        &self,
        endpoint: &WorkloadEntry,
        addresses: Addresses,
        report: &mut Report,
    ) {
        endpoint.validate(addresses, report);
        for port in endpoint.ports.keys() {
            if !self.ports.iter().any(|defined| defined.name == *port) {
                let message = format!("endpoint port {port} is not defined by the service entry");
                report.field("ports", |r| r.wrong(message));
            }
        }
        let unix = endpoint.address.starts_with(UNIX_PREFIX);
        if unix && addresses == Addresses::Fixed && self.ports.len() != 1 {
            report.wrong("exactly 1 service port required for unix endpoints");
        }
    }
}

impl WorkloadEntry {
    /// Checks one endpoint.
    pub(crate) fn validate(&self, addresses: Addresses, report: &mut Report) {
        let names = addresses != Addresses::Fixed;
        report.field("address", |report| match self.address.strip_prefix(UNIX_PREFIX) {
            _ if self.address.is_empty() => {
                if !self.network.is_empty() {
                    report.advise("is unset: the network's gateway is used");
                }
            }
            Some(_) if addresses == Addresses::Resolved => {
                report.invalid(self.address.as_str(), "a Unix socket cannot be resolved by DNS");
            }
            Some(_) => {}
            None if hosts::is_ip(&self.address) => {}
            None if !names => {
                report.invalid(
                    self.address.as_str(),
                    "is not an IP address; names need resolution DNS",
                );
            }
            None => {
                if hosts::fqdn(&self.address).is_err() {
                    let message = "is not a valid FQDN or an IP address";
                    report.invalid(self.address.as_str(), message);
                }
            }
        });
        validate_labels("labels", &self.labels, report);
    }
}

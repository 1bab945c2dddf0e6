//! Endpoints of services: what a ServiceEntry lists, what EndpointSlices hold, and Pods.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use tidegate_api::istio::service_entry::WorkloadEntry;
use tidegate_api::kube::endpoint_slice::EndpointSlice;
use tidegate_api::kube::pod::Pod;

use super::service::{Port, Target};

/// One endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its share relative to the others.
    pub weight: u32,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address, or a name to resolve, and a port.
    Socket(String, u16),
    /// A Unix socket.
    Pipe(String),
}

/// The part of a Pod that endpoints are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// `status.podIP`.
    pub address: String,
    /// Labels that Services select by.
    pub labels: BTreeMap<String, String>,
    /// Named container ports.
    pub ports: BTreeMap<String, u16>,
}

impl PodAddress {
    /// The address of a Pod that takes traffic; `None` for one without an IP address, or not ready.
    #[must_use]
    pub fn of(pod: &Pod, labels: &BTreeMap<String, String>) -> Option<Self> {
        if !is_ip(&pod.status.pod_ip) || !pod.is_ready() {
            return None;
        }
        let ports = pod.spec.containers.iter().flat_map(|c| &c.ports).filter_map(|port| {
            let number = u16::try_from(port.container_port).ok()?;
            (!port.name.is_empty()).then(|| (port.name.clone(), number))
        });
        Some(Self {
            address: pod.status.pod_ip.clone(),
            labels: labels.clone(),
            ports: ports.collect(),
        })
    }

    /// The endpoint for a service port; `None` when the port goes by a name that the Pod does not have.
    #[must_use]
    pub fn endpoint(&self, port: &Port) -> Option<Endpoint> {
        let number = match &port.target {
            Target::Number(number) => *number,
            Target::Named(name) => *self.ports.get(name)?,
        };
        Some(Endpoint { address: Address::Socket(self.address.clone(), number), weight: 1 })
    }
}

/// The endpoint of a ServiceEntry's entry: its own port for the service port's name comes first, then the
/// service port's target.
#[must_use]
pub fn of_entry(entry: &WorkloadEntry, port: &Port) -> Option<Endpoint> {
    let weight = entry.weight.max(1);
    if let Some(path) = entry.address.strip_prefix("unix://") {
        return Some(Endpoint { address: Address::Pipe(path.to_owned()), weight });
    }
    let number = match (entry.ports.get(&port.name), &port.target) {
        (Some(own), _) => own.get(),
        (None, Target::Number(target)) => *target,
        (None, Target::Named(_)) => return None,
    };
    (!entry.address.is_empty())
        .then(|| Endpoint { address: Address::Socket(entry.address.clone(), number), weight })
}

/// The ready endpoints that slices hold for a service port, each once. Names (slices of type FQDN) are left
/// out: load assignments hold addresses.
#[must_use]
pub fn of_slices<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: &Port,
) -> Vec<Endpoint> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for slice in slices {
        let named = |p: &&_| slice_port_name(p) == port.name;
        let Some(number) = slice.ports.iter().find(named).and_then(|p| p.port) else { continue };
        for endpoint in slice.endpoints.iter().filter(|e| e.conditions.is_ready()) {
            // Several addresses of one endpoint are the same server.
            let Some(address) = endpoint.addresses.first().filter(|a| is_ip(a)) else { continue };
            let address = Address::Socket(address.clone(), number.get());
            if seen.insert(address.clone()) {
                all.push(Endpoint { address, weight: 1 });
            }
        }
    }
    all
}

fn is_ip(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok()
}

fn slice_port_name(port: &tidegate_api::kube::endpoint_slice::EndpointPort) -> &str {
    port.name.as_deref().unwrap_or_default()
}

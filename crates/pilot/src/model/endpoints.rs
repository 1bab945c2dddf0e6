//! Endpoints of services: what a ServiceEntry lists, what EndpointSlices hold, and Pods.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::istio::service_entry::WorkloadEntry;
use tidegate_api::kube::endpoint_slice::EndpointSlice;
use tidegate_api::kube::pod::Pod;

use super::service::{Port, Target};

/// Labels of a workload.
pub type Labels = Arc<BTreeMap<String, String>>;

/// One endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its share relative to the others.
    pub weight: u32,
    /// By which subsets choose.
    pub labels: Labels,
}

impl Endpoint {
    /// Whether it carries all these labels.
    #[must_use]
    pub fn carries(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// An EndpointSlice, with the labels of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// What it holds.
    pub spec: EndpointSlice,
    /// The labels of endpoints that name no Pod.
    pub labels: Labels,
}

impl Slice {
    /// The Pods of its own namespace that it names.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.spec.endpoints.iter().filter_map(pod_of)
    }
}

/// The Pod that an endpoint of a slice names.
fn pod_of(endpoint: &tidegate_api::kube::endpoint_slice::Endpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref()?;
    (target.kind == "Pod").then_some(&*target.name)
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
    /// `status.podIP`, if it takes traffic there.
    pub address: Option<String>,
    /// Labels that Services select by.
    pub labels: Labels,
    /// Named container ports.
    pub ports: BTreeMap<String, u16>,
}

impl PodAddress {
    /// What is known of a Pod. It takes no traffic without an IP address, or when it is not ready.
    #[must_use]
    pub fn of(pod: &Pod, labels: &BTreeMap<String, String>) -> Self {
        let serves = is_ip(&pod.status.pod_ip) && pod.is_ready();
        let ports = pod.spec.containers.iter().flat_map(|c| &c.ports).filter_map(|port| {
            let number = u16::try_from(port.container_port).ok()?;
            (!port.name.is_empty()).then(|| (port.name.clone(), number))
        });
        Self {
            address: serves.then(|| pod.status.pod_ip.clone()),
            labels: Arc::new(labels.clone()),
            ports: ports.collect(),
        }
    }

    /// The endpoint for a service port; `None` when it takes no traffic, or the port goes by a name that it does not
    /// have.
    #[must_use]
    pub fn endpoint(&self, port: &Port) -> Option<Endpoint> {
        let number = match &port.target {
            Target::Number(number) => *number,
            Target::Named(name) => *self.ports.get(name)?,
        };
        let address = Address::Socket(self.address.clone()?, number);
        Some(Endpoint { address, weight: 1, labels: Arc::clone(&self.labels) })
    }
}

/// The endpoint of a ServiceEntry's entry: its own port for the service port's name comes first, then the
/// service port's target.
#[must_use]
pub fn of_entry(entry: &WorkloadEntry, port: &Port) -> Option<Endpoint> {
    let at = |address| Endpoint {
        address,
        weight: entry.weight.max(1),
        labels: Arc::new(entry.labels.clone()),
    };
    if let Some(path) = entry.address.strip_prefix("unix://") {
        return Some(at(Address::Pipe(path.to_owned())));
    }
    let number = match (entry.ports.get(&port.name), &port.target) {
        (Some(own), _) => own.get(),
        (None, Target::Number(target)) => *target,
        (None, Target::Named(_)) => return None,
    };
    (!entry.address.is_empty()).then(|| at(Address::Socket(entry.address.clone(), number)))
}

/// The ready endpoints that slices hold for a service port, each once. Names (slices of type FQDN) are left
/// out: load assignments hold addresses. An endpoint has the labels of the Pod that it names, as `labels_of` knows
/// them, else those of its slice.
#[must_use]
pub fn of_slices<'a>(
    slices: impl Iterator<Item = &'a Slice>,
    port: &Port,
    labels_of: impl Fn(&str) -> Option<Labels>,
) -> Vec<Endpoint> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for Slice { spec: slice, labels } in slices {
        let named = |p: &&_| slice_port_name(p) == port.name;
        let Some(number) = slice.ports.iter().find(named).and_then(|p| p.port) else { continue };
        for endpoint in slice.endpoints.iter().filter(|e| e.conditions.is_ready()) {
            // Several addresses of one endpoint are the same server.
            let Some(address) = endpoint.addresses.first().filter(|a| is_ip(a)) else { continue };
            let address = Address::Socket(address.clone(), number.get());
            if seen.insert(address.clone()) {
                let labels = match pod_of(endpoint) {
                    Some(pod) => labels_of(pod).unwrap_or_default(),
                    None => Arc::clone(labels),
                };
                all.push(Endpoint { address, weight: 1, labels });
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

//! Endpoints of services: what a ServiceEntry lists, what EndpointSlices hold, and Pods.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::Object;
use tidegate_api::istio::service_entry::WorkloadEntry;
use tidegate_api::kube::endpoint_slice::EndpointSlice;
use tidegate_api::kube::pod::Pod;

use super::locality::Locality;
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
    /// Where it runs.
    pub locality: Arc<Locality>,
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
    /// Whether it would take traffic, if it had an address.
    pub is_ready: bool,
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
            is_ready: pod.is_ready(),
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
        let (labels, locality) = (Arc::clone(&self.labels), Locality::of_labels(&self.labels));
        Some(Endpoint { address, weight: 1, labels, locality })
    }
}

/// What is written of a WorkloadEntry, with the labels of the object itself before those of its spec, as in Istio.
#[must_use]
pub fn workload(object: &Object, spec: &WorkloadEntry) -> WorkloadEntry {
    let mut workload = spec.clone();
    workload.labels.extend(object.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    workload
}

/// Whether an address has to be resolved.
#[must_use]
pub fn is_name(address: &str) -> bool {
    !address.is_empty() && !address.starts_with(UNIX_PREFIX) && !is_ip(address)
}

/// How the address of a Unix socket begins.
const UNIX_PREFIX: &str = "unix://";
/// What the kernel takes of its path: 108 bytes with the zero at their end (unix(7)).
const MAX_PATH: usize = 107;

/// Why an entry is left out of the endpoints of a service, alone; `resolves` says whether the names of that are resolved.
#[must_use]
pub fn left_out(entry: &WorkloadEntry, resolves: bool) -> Option<String> {
    let address = &entry.address;
    if is_name(address) && !resolves {
        return Some(format!("{address} is a name, which resolution DNS would resolve"));
    }
    let path = address.strip_prefix(UNIX_PREFIX)?;
    if resolves {
        return Some(format!("{address} is a socket, which resolution STATIC would take"));
    }
    if path.len() > MAX_PATH {
        let len = path.len();
        return Some(format!("the path in {address} has {len} bytes: {MAX_PATH} are the most"));
    }
    path.contains('\0').then(|| format!("the path in {address:?} has a zero byte"))
}

/// The endpoint of a ServiceEntry's entry: its own port for the service port's name comes first, then the
/// service port's target. A target that goes by a name is the port of that name.
#[must_use]
pub fn of_entry(entry: &WorkloadEntry, port: &Port) -> Option<Endpoint> {
    let at = |address| Endpoint {
        address,
        weight: entry.weight.max(1),
        labels: Arc::new(entry.labels.clone()),
        locality: match entry.locality.as_str() {
            "" => Locality::of_labels(&entry.labels),
            locality => Arc::new(Locality::parse(locality)),
        },
    };
    if let Some(path) = entry.address.strip_prefix(UNIX_PREFIX) {
        return Some(at(Address::Pipe(path.to_owned())));
    }
    let number = match &port.target {
        Target::Number(target) => entry.ports.get(&port.name).map_or(*target, |own| own.get()),
        Target::Named(name) => entry.ports.get(name)?.get(),
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
                let locality = locality_in(endpoint, &labels);
                all.push(Endpoint { address, weight: 1, labels, locality });
            }
        }
    }
    all
}

/// Where an endpoint of a slice runs: its labels say, and its slice knows the zone.
fn locality_in(
    endpoint: &tidegate_api::kube::endpoint_slice::Endpoint,
    labels: &Labels,
) -> Arc<Locality> {
    let labelled = Locality::of_labels(labels);
    match &endpoint.zone {
        Some(zone) if labelled.zone.is_empty() => {
            let topology = Locality::of_labels(&endpoint.deprecated_topology);
            let region = [&labelled.region, &topology.region];
            let region = region.into_iter().find(|region| !region.is_empty());
            Arc::new(Locality {
                region: region.cloned().unwrap_or_default(),
                zone: zone.clone(),
                sub_zone: labelled.sub_zone.clone(),
            })
        }
        _ => labelled,
    }
}

fn is_ip(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok()
}

fn slice_port_name(port: &tidegate_api::kube::endpoint_slice::EndpointPort) -> &str {
    port.name.as_deref().unwrap_or_default()
}

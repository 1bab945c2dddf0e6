//! Services: what a destination host stands for. A ServiceEntry makes one per host, a Kubernetes Service
//! makes one.
//!
//! A Service of type ExternalName gets a cluster of its own name that resolves the external one; Istio sends
//! to the cluster of the external name instead, where a ServiceEntry defines it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_api::istio::Protocol;
use tidegate_api::istio::service_entry::{self as api, Location, Resolution, WorkloadEntry};
use tidegate_api::kube::TransportProtocol;
use tidegate_api::kube::service::{Service as KubeService, ServiceType};
use tidegate_api::scalar::IntOrString;
use tidegate_api::{Kind, Object, ObjectKey};

use super::age::Age;
use super::host::Host;
use super::subnet::Subnet;
use super::visibility::visibility;
use super::{names, protocol};
use crate::Options;

/// On a Kubernetes Service: the namespaces that see it, separated by commas.
const EXPORT_TO_ANNOTATION: &str = "networking.istio.io/exportTo";

/// On a ServiceEntry: whether its hosts get addresses.
const AUTO_ADDRESS_LABEL: &str = "networking.istio.io/enable-autoallocate-ip";

/// Why no gateway sends somewhere, and what to do.
const KEEPS_ADDRESS: &str = "resolution NONE keeps the address that a client dialled, which a gateway does not have; \
                             use DNS (DYNAMIC_DNS for a wildcard), or STATIC with endpoints";

/// Where servers of HTTPS listen.
const HTTPS_PORT: u16 = 443;

/// The address of a Service that has none of its own.
const HEADLESS: &str = "None";

/// One host of the registry, as one object defines it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The object that defines it.
    pub key: ObjectKey,
    /// Its place among definitions of the same host.
    pub age: Age,
    /// Its full host name, in lower case.
    pub host: Arc<str>,
    /// Whether it is outside the mesh.
    pub external: bool,
    /// Its ports.
    pub ports: Arc<[Port]>,
    /// Where clients reach it; nowhere in particular where it has only a name.
    pub addresses: Arc<[Subnet]>,
    /// Whether clients dial its endpoints themselves, as of a headless Service or with resolution NONE: a sidecar keeps the
    /// address that was dialled.
    pub direct: bool,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// Names of which its endpoints' certificates carry one, where it says so.
    pub certified: Arc<[String]>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The number that destinations name.
    pub number: u16,
    /// The name, which endpoints may map to a port of their own.
    pub name: String,
    /// What is spoken; `None` where nothing says.
    pub protocol: Option<Protocol>,
    /// The endpoints' port.
    pub target: Target,
}

/// The port of the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Number(u16),
    /// The container port of that name.
    Named(String),
}

/// Where the endpoints of a service come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// Names that the proxy resolves; `one_address` uses the first address of an answer only.
    Names {
        /// What is resolved.
        endpoints: Arc<[WorkloadEntry]>,
        /// Whether only the first address of an answer is used.
        one_address: bool,
    },
    /// Addresses that the object lists.
    Addresses(Arc<[WorkloadEntry]>),
    /// Pods and WorkloadEntries of its namespace with these labels. Where names are resolved, `names` is whether only the
    /// first address of an answer is used.
    Selected {
        /// The labels.
        labels: BTreeMap<String, String>,
        /// Set where the proxy resolves names.
        names: Option<bool>,
    },
    /// EndpointSlices that name the service; while there is none, Pods with these labels (if any). WorkloadEntries with these
    /// labels in any case.
    Slices(BTreeMap<String, String>),
    /// What clients ask for by name, within the host, which is a wildcard; the proxy resolves it. Not at every port:
    /// [`Service::is_asked`].
    Asked,
    /// Nowhere that a gateway could send to; the words say what would help.
    Nowhere(&'static str),
}

impl Service {
    /// Whether `exportTo` shows a ServiceEntry to the proxy.
    #[must_use]
    pub fn shows_entry(object: &Object, spec: &api::ServiceEntry, options: &Options) -> bool {
        visibility(&spec.export_to, object.namespace(), &options.namespace).is_some()
    }

    /// The services of a ServiceEntry, one per host.
    #[must_use]
    pub fn of_entry(object: &Object, spec: &api::ServiceEntry) -> Vec<Self> {
        let ports: Arc<[Port]> = spec.ports.iter().map(Port::of_entry).collect();
        let addresses: Arc<[Subnet]> = subnets(spec.addresses.iter());
        let listed: Arc<[WorkloadEntry]> = spec.endpoints.iter().cloned().collect();
        let certified: Arc<[String]> = spec.subject_alt_names.iter().cloned().collect();
        let of_host = |host: &String| Self {
            key: object.key.clone(),
            age: Age::of(object),
            host: host.to_ascii_lowercase().into(),
            external: spec.location == Location::MeshExternal,
            ports: Arc::clone(&ports),
            addresses: Arc::clone(&addresses),
            direct: spec.resolution == Resolution::None,
            discovery: entry_discovery(spec, host, &listed),
            certified: Arc::clone(&certified),
        };
        spec.hosts.iter().map(of_host).collect()
    }

    /// Whether a host of a ServiceEntry gets an address of its own, where the workload asks for names here.
    #[must_use]
    pub fn gets_address(&self, object: &Object) -> bool {
        let label = object.labels.get(AUTO_ADDRESS_LABEL);
        self.addresses.is_empty()
            && !self.direct
            && !self.host.starts_with('*')
            && !label.is_some_and(|value| value.eq_ignore_ascii_case("false"))
    }

    /// Whether its annotation shows a Kubernetes Service to the proxy.
    #[must_use]
    pub fn shows_kube(object: &Object, options: &Options) -> bool {
        let export_to: Vec<String> = object
            .annotations
            .get(EXPORT_TO_ANNOTATION)
            .map(|list| list.split(',').map(|e| e.trim().to_owned()).collect())
            .unwrap_or_default();
        visibility(&export_to, object.namespace(), &options.namespace).is_some()
    }

    /// The service of a Kubernetes Service.
    #[must_use]
    pub fn of_kube(object: &Object, service: &KubeService, options: &Options) -> Self {
        let (name, namespace) = (&*object.key.name, &*object.key.namespace);
        let spec = &service.spec;
        let external = spec.kind == ServiceType::ExternalName;
        let tcp = spec.ports.iter().filter(|p| p.protocol == TransportProtocol::Tcp);
        let discovery = if external {
            let alias = WorkloadEntry { address: spec.external_name.clone(), ..Default::default() };
            Discovery::Names { endpoints: Arc::new([alias]), one_address: false }
        } else {
            Discovery::Slices(spec.selector.clone())
        };
        Self {
            key: object.key.clone(),
            age: Age::of(object),
            host: names::service_host(name, namespace, &options.domain).into(),
            external,
            ports: tcp.filter_map(Port::of_kube).collect(),
            addresses: subnets(std::iter::once(&spec.cluster_ip).chain(&spec.cluster_ips)),
            direct: spec.cluster_ip == HEADLESS,
            discovery,
            certified: Arc::default(),
        }
    }

    /// The name that a Service of type ExternalName stands for.
    #[must_use]
    pub fn alias_of(&self) -> Option<&str> {
        match &self.discovery {
            Discovery::Names { endpoints, .. } if self.key.kind == Kind::Service => {
                endpoints.first().map(|alias| alias.address.as_str())
            }
            _ => None,
        }
    }

    /// Whether requests to a port of it go on in TLS that the client does not speak itself: of a Service of type ExternalName, on
    /// 443 where nothing says what is spoken there.
    #[must_use]
    pub fn starts_tls(&self, port: &Port) -> bool {
        port.number == HTTPS_PORT && port.protocol.is_none() && self.alias_of().is_some()
    }

    /// Its port of that number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|p| p.number == number)
    }

    /// Whether the proxy resolves what clients ask for at a port of it, so that no client picks the address. With `resolution: NONE`
    /// that takes a protocol that says a name, and a resource that names no addresses to pick among.
    #[must_use]
    pub fn is_asked(&self, port: &Port) -> bool {
        let named = |protocol: Protocol| {
            protocol.is_http() || (protocol.is_tls() && self.addresses.is_empty())
        };
        self.discovery == Discovery::Asked && (!self.direct || port.protocol.is_some_and(named))
    }

    /// Why no gateway sends to a port of it: only whoever dialled an address is sent there, and nobody dials one at a gateway.
    #[must_use]
    pub fn kept_address(&self, port: &Port) -> Option<&'static str> {
        match self.discovery {
            Discovery::Nowhere(help) => Some(help),
            Discovery::Asked if !self.is_asked(port) => Some(KEEPS_ADDRESS),
            _ => None,
        }
    }

    /// Where the proxy resolves names: whether it takes the first address of an answer only.
    #[must_use]
    pub fn resolved(&self) -> Option<bool> {
        match self.discovery {
            Discovery::Names { one_address, .. } => Some(one_address),
            Discovery::Selected { names, .. } => names,
            Discovery::Addresses(_)
            | Discovery::Slices(_)
            | Discovery::Asked
            | Discovery::Nowhere(_) => None,
        }
    }

    /// Whether workloads with these labels, of its own namespace, may be its endpoints.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        match &self.discovery {
            Discovery::Selected { labels: selector, .. } | Discovery::Slices(selector) => {
                !selector.is_empty() && selector.iter().all(|(k, v)| labels.get(k) == Some(v))
            }
            _ => false,
        }
    }
}

/// The addresses and networks of a list, each once; what is neither is left out.
fn subnets<'a>(written: impl Iterator<Item = &'a String>) -> Arc<[Subnet]> {
    let mut all: Vec<Subnet> = Vec::new();
    for subnet in written.filter_map(|text| Subnet::parse(text)) {
        if !all.contains(&subnet) {
            all.push(subnet);
        }
    }
    all.into()
}

fn entry_discovery(
    spec: &api::ServiceEntry,
    host: &str,
    listed: &Arc<[WorkloadEntry]>,
) -> Discovery {
    if let Some(selector) = &spec.workload_selector {
        let names = match spec.resolution {
            Resolution::Dns => Some(false),
            Resolution::DnsRoundRobin => Some(true),
            Resolution::None | Resolution::Static | Resolution::DynamicDns => None,
        };
        return Discovery::Selected { labels: selector.labels.clone(), names };
    }
    match spec.resolution {
        Resolution::Static => Discovery::Addresses(Arc::clone(listed)),
        Resolution::DynamicDns if Host::new(host).is_wildcard() => Discovery::Asked,
        Resolution::Dns | Resolution::DnsRoundRobin | Resolution::DynamicDns => {
            let endpoints = if listed.is_empty() {
                let itself = WorkloadEntry { address: host.to_owned(), ..Default::default() };
                Arc::new([itself])
            } else {
                Arc::clone(listed)
            };
            let one_address = spec.resolution == Resolution::DnsRoundRobin;
            Discovery::Names { endpoints, one_address }
        }
        Resolution::None if Host::new(host).is_wildcard() => Discovery::Asked,
        Resolution::None => Discovery::Nowhere(KEEPS_ADDRESS),
    }
}

impl Port {
    fn of_entry(port: &api::ServicePort) -> Self {
        Self {
            number: port.number.get(),
            name: port.name.clone(),
            protocol: port.protocol,
            target: Target::Number(port.target_port.unwrap_or(port.number).get()),
        }
    }

    /// `None` for a number that is no port, which the API refuses.
    fn of_kube(port: &tidegate_api::kube::service::ServicePort) -> Option<Self> {
        let number = u16::try_from(port.port).ok()?;
        let target = match &port.target_port {
            Some(IntOrString::Int(target)) if *target > 0 => {
                Target::Number(u16::try_from(*target).ok()?)
            }
            Some(IntOrString::String(name)) if !name.is_empty() => Target::Named(name.clone()),
            _ => Target::Number(number),
        };
        let protocol = protocol::of_service_port(number, &port.name, port.app_protocol.as_deref());
        Some(Self { number, name: port.name.clone(), protocol, target })
    }
}

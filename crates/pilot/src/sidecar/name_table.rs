//! What the names of hosts mean to a workload whose DNS queries come to its sidecar.
//!
//! It is what Istio tells its agents as a `NameTable` (`istio.networking.nds.v1`), host by host, and two things more: a Service of
//! type ExternalName is told as the alias that it is, and a Service that nobody gave an address leads to its endpoints. Elsewhere
//! the cluster's own DNS knows these; here there may be none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::Kind;

use super::Scope;
use crate::model::endpoints::Address;
use crate::model::registry::Registry;
use crate::model::service::Service;
use crate::model::subnet::Subnet;

/// A name, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// What it leads to.
    pub leads: Leads,
    /// Of names of Kubernetes: by what it may be called shorter.
    pub kubernetes: Option<Shortened>,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// These addresses, of families that the workload has.
    To(Vec<IpAddr>),
    /// Whatever another name leads to.
    Alias(String),
}

/// The parts of a name of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// The Service, or a Pod and its Service with a dot between.
    pub name: String,
    /// Their namespace.
    pub namespace: Arc<str>,
}

/// A name that means something else than before; nothing any more without an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    /// The name in full, in lower case; it may begin with `*.`.
    pub name: Arc<str>,
    /// What it means now.
    pub entry: Option<NameEntry>,
}

/// What the names of a host mean, by name.
pub type Names = BTreeMap<Arc<str>, NameEntry>;

impl NameEntry {
    /// Its shorter names for workloads of a namespace, as a client's search list would complete them.
    #[must_use]
    pub fn short(&self, namespace: &str) -> Vec<String> {
        let Some(Shortened { name, namespace: own }) = &self.kubernetes else { return Vec::new() };
        let mut short = vec![format!("{name}.{own}"), format!("{name}.{own}.svc")];
        short.extend((**own == *namespace).then(|| name.clone()));
        short
    }
}

/// What the names of a host mean: its own, and those of Pods behind it that have one. None where it is not seen, or leads
/// nowhere that is known.
#[must_use]
pub fn of(host: &Arc<str>, scope: &Scope<'_>) -> Names {
    let mut names = Names::new();
    let definitions = scope.registry.definitions(host);
    let seen: Vec<&Arc<Service>> = definitions
        .filter(|service| scope.egress().iter().any(|egress| egress.brings_in(service)))
        .collect();
    // What Kubernetes says of its own names comes before what ServiceEntries add.
    if let Some(service) = seen.iter().find(|service| service.key.kind == Kind::Service) {
        let namespace = Arc::clone(&service.key.namespace);
        let kubernetes = Some(Shortened { name: service.key.name.to_string(), namespace });
        let leads = of_service(service, scope);
        names.extend(leads.map(|leads| (Arc::clone(host), NameEntry { leads, kubernetes })));
        names.extend(pods(service, scope));
        return names;
    }
    let subnets = seen.iter().flat_map(|service| service.addresses.iter());
    let leads = to(subnets.filter_map(Subnet::single), scope);
    names.extend(leads.map(|leads| (Arc::clone(host), NameEntry { leads, kubernetes: None })));
    names
}

fn of_service(service: &Service, scope: &Scope<'_>) -> Option<Leads> {
    if let Some(target) = service.alias_of() {
        return match target.parse::<IpAddr>() {
            Ok(address) => to([address].into_iter(), scope),
            Err(_) => Some(Leads::Alias(target.to_ascii_lowercase())),
        };
    }
    let own = service.addresses.iter().filter_map(Subnet::single);
    to(own, scope).or_else(|| to(endpoints(service, scope.registry), scope))
}

/// The addresses of the endpoints of a service, whatever its port.
fn endpoints(service: &Service, registry: &Registry) -> impl Iterator<Item = IpAddr> {
    let endpoints = service.ports.iter().flat_map(|port| registry.endpoints(service, port));
    endpoints.filter_map(|endpoint| match endpoint.address {
        Address::Socket(address, _) => address.parse().ok(),
        Address::Pipe(_) => None,
    })
}

/// The Pods that have a name under that of their Service, as of a StatefulSet.
fn pods(service: &Service, scope: &Scope<'_>) -> Names {
    let mut by_name: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    let slices = scope.registry.slices_of(service);
    for endpoint in slices.flat_map(|slice| &slice.spec.endpoints) {
        let Some(name) = endpoint.hostname.as_deref().filter(|name| !name.is_empty()) else {
            continue;
        };
        if endpoint.conditions.is_ready() {
            let addresses =
                endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
            by_name.entry(name).or_default().extend(addresses);
        }
    }
    let named = by_name.into_iter().filter_map(|(pod, addresses)| {
        let full: Arc<str> = format!("{pod}.{}", service.host).into();
        // A host that is really called so is told as that.
        let free = scope.registry.definitions(&full).next().is_none();
        let leads = to(addresses.into_iter(), scope).filter(|_| free)?;
        let namespace = Arc::clone(&service.key.namespace);
        let name = format!("{pod}.{}", service.key.name);
        Some((full, NameEntry { leads, kubernetes: Some(Shortened { name, namespace }) }))
    });
    named.collect()
}

/// To addresses of families that the workload has, each once; to nothing where there is none.
fn to(addresses: impl Iterator<Item = IpAddr>, scope: &Scope<'_>) -> Option<Leads> {
    let families = scope.options.workload()?.loopbacks();
    let usable = addresses.filter(|address| {
        let of_family = |own: &IpAddr| own.is_ipv4() == address.is_ipv4();
        !address.is_unspecified() && families.iter().any(of_family)
    });
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    all.extend(usable.filter(|address| seen.insert(*address)));
    (!all.is_empty()).then_some(Leads::To(all))
}

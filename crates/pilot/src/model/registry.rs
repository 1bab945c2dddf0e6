//! The service registry: every host that a destination may name, and its endpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::istio::WorkloadEntry;
use tidegate_api::{Kind, ObjectKey};

use super::age::Age;
use super::endpoints::{self, Endpoint, PodAddress, Slice};
use super::service::{Discovery, Port, Service};

/// On an EndpointSlice: the Service that it belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Hosts by name. Every change answers with the hosts that it touches, so that nothing else is looked at.
#[derive(Debug, Default)]
pub struct Registry {
    hosts: HashMap<Arc<str>, BTreeMap<Order, Arc<Service>>>,
    services: HashMap<ObjectKey, Vec<Arc<Service>>>,
    slices: HashMap<ServiceName, BTreeMap<ObjectKey, Slice>>,
    slice_owners: HashMap<ObjectKey, ServiceName>,
    /// Slices by the Pods that their endpoints name.
    slices_of_pods: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Hosts that objects define and hide from the gateway.
    hidden: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    hides: HashMap<ObjectKey, Vec<Arc<Service>>>,
    /// Services that send to what clients ask for, with the objects that define them.
    asked: BTreeSet<(Arc<str>, ObjectKey)>,
}

/// Namespace and name of a Kubernetes Service.
pub type ServiceName = (Arc<str>, Arc<str>);

/// Place among definitions of a host: by age; the kind tells apart objects that share all else.
type Order = (Age, Kind);

#[derive(Debug, Default)]
struct Namespace {
    pods: BTreeMap<ObjectKey, PodAddress>,
    workloads: BTreeMap<ObjectKey, WorkloadEntry>,
    /// Objects whose services may select them.
    selecting: BTreeSet<ObjectKey>,
}

impl Registry {
    /// Replaces the services that an object defines, and answers the hosts that changed.
    pub fn set_services(&mut self, key: &ObjectKey, services: Vec<Service>) -> Vec<Arc<str>> {
        let before = self.services.remove(key).unwrap_or_default();
        if before.len() == services.len() && before.iter().zip(&services).all(|(a, b)| **a == *b) {
            if !before.is_empty() {
                self.services.insert(key.clone(), before);
            }
            return Vec::new();
        }
        before.iter().filter(|service| service.discovery == Discovery::Asked).for_each(|service| {
            self.asked.remove(&(Arc::clone(&service.host), key.clone()));
        });
        let asked = services.iter().filter(|service| service.discovery == Discovery::Asked);
        self.asked.extend(asked.map(|service| (Arc::clone(&service.host), key.clone())));
        let mut touched = BTreeSet::new();
        for service in before {
            if let Some(definitions) = self.hosts.get_mut(&service.host) {
                definitions.remove(&order(&service));
                if definitions.is_empty() {
                    self.hosts.remove(&service.host);
                }
            }
            touched.insert(Arc::clone(&service.host));
        }
        let services: Vec<Arc<Service>> = services.into_iter().map(Arc::new).collect();
        for service in &services {
            let definitions = self.hosts.entry(Arc::clone(&service.host)).or_default();
            definitions.insert(order(service), Arc::clone(service));
            touched.insert(Arc::clone(&service.host));
        }
        if services.is_empty() {
            self.leave(&key.namespace, |namespace| _ = namespace.selecting.remove(key));
        } else {
            let namespace = self.namespaces.entry(Arc::clone(&key.namespace)).or_default();
            namespace.selecting.insert(key.clone());
            self.services.insert(key.clone(), services);
        }
        touched.into_iter().collect()
    }

    /// Replaces the services that an object defines and hides, and answers the hosts that it hid and hides.
    pub fn set_hidden(&mut self, key: &ObjectKey, services: Vec<Service>) -> BTreeSet<Arc<str>> {
        let before = self.hides.remove(key).unwrap_or_default();
        for service in &before {
            if let Some(keys) = self.hidden.get_mut(&service.host) {
                keys.remove(key);
                if keys.is_empty() {
                    self.hidden.remove(&service.host);
                }
            }
        }
        let services: Vec<Arc<Service>> = services.into_iter().map(Arc::new).collect();
        for service in &services {
            self.hidden.entry(Arc::clone(&service.host)).or_default().insert(key.clone());
        }
        let both = before.iter().chain(&services);
        let touched = both.map(|service| Arc::clone(&service.host)).collect();
        if !services.is_empty() {
            self.hides.insert(key.clone(), services);
        }
        touched
    }

    /// The services that are hidden from the proxy, in no order.
    pub fn hidden_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.hides.values().flatten()
    }

    /// The objects that define a host and hide it from the gateway.
    pub fn hidden(&self, host: &str) -> impl Iterator<Item = &ObjectKey> {
        self.hidden.get(host).into_iter().flatten()
    }

    /// Takes something out of a namespace; one with nothing in it is forgotten.
    fn leave(&mut self, name: &str, take: impl FnOnce(&mut Namespace)) {
        let Some(namespace) = self.namespaces.get_mut(name) else { return };
        take(namespace);
        let Namespace { pods, workloads, selecting } = namespace;
        if pods.is_empty() && workloads.is_empty() && selecting.is_empty() {
            self.namespaces.remove(name);
        }
    }

    /// Replaces an EndpointSlice (`None`: it is gone) and answers the Services whose endpoints may differ.
    pub fn set_slice(
        &mut self,
        key: &ObjectKey,
        slice: Option<(ServiceName, Slice)>,
    ) -> Vec<ServiceName> {
        let mut touched = Vec::new();
        if let Some(owner) = self.slice_owners.remove(key) {
            if let Some(slices) = self.slices.get_mut(&owner) {
                for pod in slices.remove(key).iter().flat_map(|slice| pods(key, slice)) {
                    if let Some(naming) = self.slices_of_pods.get_mut(&pod) {
                        naming.remove(key);
                        if naming.is_empty() {
                            self.slices_of_pods.remove(&pod);
                        }
                    }
                }
                if slices.is_empty() {
                    self.slices.remove(&owner);
                }
            }
            touched.push(owner);
        }
        if let Some((owner, slice)) = slice {
            for pod in pods(key, &slice) {
                self.slices_of_pods.entry(pod).or_default().insert(key.clone());
            }
            self.slices.entry(owner.clone()).or_default().insert(key.clone(), slice);
            self.slice_owners.insert(key.clone(), owner.clone());
            if !touched.contains(&owner) {
                touched.push(owner);
            }
        }
        touched
    }

    /// Replaces a Pod (`None`: it is gone) and answers the hosts whose endpoints may differ.
    pub fn set_pod(&mut self, key: &ObjectKey, pod: Option<PodAddress>) -> Vec<Arc<str>> {
        let namespace = self.namespaces.get(&key.namespace);
        let before = namespace.and_then(|namespace| namespace.pods.get(key));
        if before == pod.as_ref() {
            return Vec::new();
        }
        let labels: Vec<_> =
            [before, pod.as_ref()].into_iter().flatten().map(|p| &p.labels).collect();
        let selecting = self.selecting(&key.namespace);
        let selecting = selecting.filter(|s| labels.iter().any(|labels| s.selects(labels)));
        let owners = self.slices_of_pods.get(key).into_iter().flatten();
        let owners = owners.filter_map(|slice| self.slice_owners.get(slice)).filter_map(|owner| {
            self.services.get(&ObjectKey::new(
                Kind::Service,
                Arc::clone(&owner.0),
                Arc::clone(&owner.1),
            ))
        });
        let touched: BTreeSet<Arc<str>> =
            selecting.chain(owners.flatten()).map(|s| Arc::clone(&s.host)).collect();
        match pod {
            Some(pod) => {
                let namespace = self.namespaces.entry(Arc::clone(&key.namespace)).or_default();
                namespace.pods.insert(key.clone(), pod);
            }
            None => self.leave(&key.namespace, |namespace| _ = namespace.pods.remove(key)),
        }
        touched.into_iter().collect()
    }

    /// Replaces a WorkloadEntry (`None`: it is gone) and answers the hosts whose endpoints may differ.
    pub fn set_workload(
        &mut self,
        key: &ObjectKey,
        workload: Option<WorkloadEntry>,
    ) -> Vec<Arc<str>> {
        let before = self.workload(key);
        if before == workload.as_ref() {
            return Vec::new();
        }
        let both: Vec<_> = before.into_iter().chain(&workload).map(|w| &w.labels).collect();
        let selecting = self.selecting(&key.namespace);
        let selecting = selecting.filter(|s| both.iter().any(|labels| s.selects(labels)));
        let touched: BTreeSet<Arc<str>> = selecting.map(|s| Arc::clone(&s.host)).collect();
        match workload {
            Some(workload) => {
                let namespace = self.namespaces.entry(Arc::clone(&key.namespace)).or_default();
                namespace.workloads.insert(key.clone(), workload);
            }
            None => self.leave(&key.namespace, |namespace| _ = namespace.workloads.remove(key)),
        }
        touched.into_iter().collect()
    }

    /// The services of a namespace that may select workloads.
    fn selecting(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        let selecting = self.namespaces.get(namespace).into_iter().flat_map(|n| &n.selecting);
        selecting.filter_map(|key| self.services.get(key)).flatten()
    }

    /// A WorkloadEntry, with the labels that it is selected by.
    #[must_use]
    pub fn workload(&self, key: &ObjectKey) -> Option<&WorkloadEntry> {
        self.namespaces.get(&key.namespace)?.workloads.get(key)
    }

    /// The services that a WorkloadEntry is selected by.
    pub fn selected_by(&self, key: &ObjectKey) -> impl Iterator<Item = &Arc<Service>> {
        let workload = self.workload(key);
        let selecting = self.selecting(&key.namespace);
        selecting.filter(move |s| workload.is_some_and(|workload| s.selects(&workload.labels)))
    }

    /// The WorkloadEntries that a service selects.
    pub fn workloads_of<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a WorkloadEntry)> {
        let namespace = self.namespaces.get(&service.key.namespace).into_iter();
        let workloads = namespace.flat_map(|namespace| &namespace.workloads);
        workloads.filter(|(_, workload)| service.selects(&workload.labels))
    }

    /// What a destination host stands for to a resource of `namespace`: a definition of that namespace
    /// before others, the oldest of each.
    #[must_use]
    pub fn find(&self, host: &str, namespace: &str) -> Option<&Arc<Service>> {
        let definitions = self.hosts.get(host)?;
        let own = definitions.values().find(|s| *s.key.namespace == *namespace);
        own.or_else(|| definitions.values().next())
    }

    /// Every host that there is, in no order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.hosts.keys()
    }

    /// Every definition of a host, the oldest first.
    pub fn definitions(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.hosts.get(host).into_iter().flat_map(BTreeMap::values)
    }

    /// The ports of a host, each with the oldest definition that has it.
    #[must_use]
    pub fn ports(&self, host: &str) -> BTreeMap<u16, (&Arc<Service>, &Port)> {
        ports_of(self.definitions(host))
    }

    /// The services that an object defines.
    #[must_use]
    pub fn services_of(&self, key: &ObjectKey) -> &[Arc<Service>] {
        self.services.get(key).map_or(&[], Vec::as_slice)
    }

    /// The hosts of which the proxy resolves what clients ask for; one for each object that defines it.
    pub fn asked(&self) -> impl Iterator<Item = &Arc<str>> {
        self.asked.iter().map(|(host, _)| host)
    }

    /// The endpoints of a service port.
    #[must_use]
    pub fn endpoints(&self, service: &Service, port: &Port) -> Vec<Endpoint> {
        match &service.discovery {
            Discovery::Names { endpoints, .. } | Discovery::Addresses(endpoints) => {
                let resolves = service.resolved().is_some();
                let taken = endpoints.iter().filter(|e| endpoints::left_out(e, resolves).is_none());
                taken.filter_map(|e| endpoints::of_entry(e, port)).collect()
            }
            Discovery::Selected { .. } => {
                self.pods(service, port).into_iter().chain(self.listed(service, port)).collect()
            }
            Discovery::Slices(_) => {
                let mut found = self.ready(service, port);
                found.extend(self.listed(service, port));
                found
            }
            Discovery::Asked | Discovery::Nowhere(_) => Vec::new(),
        }
    }

    /// The EndpointSlices that name a service.
    pub fn slices_of(&self, service: &Service) -> impl Iterator<Item = &Slice> {
        let name = (Arc::clone(&service.key.namespace), Arc::clone(&service.key.name));
        self.slices.get(&name).into_iter().flat_map(BTreeMap::values)
    }

    /// The Pods that a service selects, whether or not they take traffic.
    pub fn selected<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a PodAddress> {
        let namespace = self.namespaces.get(&service.key.namespace);
        let pods = namespace.into_iter().flat_map(|namespace| namespace.pods.values());
        pods.filter(|pod| service.selects(&pod.labels))
    }

    /// Those of its WorkloadEntries, but for what is told in their status.
    fn listed(&self, service: &Service, port: &Port) -> Vec<Endpoint> {
        let resolves = service.resolved().is_some();
        let listed = self.workloads_of(service);
        let listed = listed.filter(move |(_, w)| endpoints::left_out(w, resolves).is_none());
        listed.filter_map(|(_, workload)| endpoints::of_entry(workload, port)).collect()
    }

    /// Those of its EndpointSlices, or of Pods while there is none.
    fn ready(&self, service: &Service, port: &Port) -> Vec<Endpoint> {
        let name = (Arc::clone(&service.key.namespace), Arc::clone(&service.key.name));
        let Some(slices) = self.slices.get(&name) else { return self.pods(service, port) };
        let namespace = self.namespaces.get(&service.key.namespace);
        let labels_of = |pod: &str| {
            let key = ObjectKey::new(Kind::Pod, Arc::clone(&service.key.namespace), pod);
            Some(Arc::clone(&namespace?.pods.get(&key)?.labels))
        };
        endpoints::of_slices(slices.values(), port, labels_of)
    }

    fn pods(&self, service: &Service, port: &Port) -> Vec<Endpoint> {
        self.selected(service).filter_map(|pod| pod.endpoint(port)).collect()
    }
}

/// The Pods that a slice names.
fn pods<'a>(key: &'a ObjectKey, slice: &'a Slice) -> impl Iterator<Item = ObjectKey> + 'a {
    slice.pods().map(|pod| ObjectKey::new(Kind::Pod, Arc::clone(&key.namespace), pod))
}

fn order(service: &Service) -> Order {
    (service.age.clone(), service.key.kind)
}

/// The ports that definitions of a host have, each with the first that has it.
pub fn ports_of<'a>(
    definitions: impl IntoIterator<Item = &'a Arc<Service>>,
) -> BTreeMap<u16, (&'a Arc<Service>, &'a Port)> {
    let mut ports = BTreeMap::new();
    for service in definitions {
        for port in service.ports.iter() {
            ports.entry(port.number).or_insert((service, port));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_api::{Object, Origin, Spec};

    use super::*;
    use crate::Options;

    fn object(manifest: &Value) -> Object {
        let kind = if manifest["kind"] == "Pod" { Kind::Pod } else { Kind::Service };
        Object::decode(kind, "v1", manifest, Origin::Api).expect("a valid object").object
    }

    #[test]
    fn nothing_is_left_of_a_namespace_whose_objects_are_gone() {
        let metadata = json!({ "name": "a", "namespace": "n", "labels": { "app": "a" } });
        let service = object(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": { "selector": { "app": "a" }, "ports": [{ "port": 80 }] },
        }));
        let pod = object(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": { "containers": [{ "name": "a", "image": "a" }] },
            "status": { "podIP": "192.0.2.1", "conditions": [{ "type": "Ready", "status": "True" }] },
        }));
        let Spec::Pod(status) = &pod.spec else { panic!("a Pod") };
        let address = Some(PodAddress::of(status, &pod.labels));
        let Spec::Service(spec) = &service.spec else { panic!("a Service") };
        let services = vec![Service::of_kube(&service, spec, &Options::default())];

        let host: Arc<str> = "a.n.svc.cluster.local".into();
        let mut registry = Registry::default();
        for services_first in [true, false] {
            assert_eq!(registry.set_services(&service.key, services.clone()), [Arc::clone(&host)]);
            assert_eq!(registry.set_pod(&pod.key, address.clone()), [Arc::clone(&host)]);
            assert_eq!(registry.set_pod(&pod.key, address.clone()), [] as [Arc<str>; 0]);
            if services_first {
                registry.set_services(&service.key, Vec::new());
                registry.set_pod(&pod.key, None);
            } else {
                assert_eq!(registry.set_pod(&pod.key, None), [Arc::clone(&host)]);
                registry.set_services(&service.key, Vec::new());
            }
            assert!(registry.namespaces.is_empty(), "{registry:?}");
        }
    }
}

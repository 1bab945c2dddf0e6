//! Endpoints, which clients ask for still: of each Service the addresses that its traffic goes to, as the objects here say.
//!
//! They show what EndpointSlices say, or, of a Service that has none, the Pods that it selects: the rule by which a gateway finds
//! endpoints. Nothing is read from them, and they cannot be written. A cluster's controller tells of Pods alone, since it makes
//! the slices, too; here whoever runs the workloads writes them. Where somebody has written Endpoints of a Service's name, those stand,
//! and are told as slices where the Service has no selector ([`mirrored`]).

mod mirrored;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate_api::kube::pod::Pod;
use tidegate_api::kube::service::{Service, ServicePort, ServiceType};
use tidegate_api::kube::{ObjectReference, TransportProtocol};
use tidegate_api::scalar::IntOrString;
use tidegate_api::{Kind, Object, ObjectKey, Origin, Spec};

use super::Shutdown;
use crate::store::{Entry, Event, Expired, Push, Store, Watch};

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that says who made Endpoints.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Addresses that Endpoints name at most, and the annotation that says that there are more, as in Kubernetes.
const MOST: usize = 1_000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// Keeps Endpoints as the other objects are, until the server stops.
pub(super) async fn run(store: Store, mut shutdown: Shutdown) {
    loop {
        let mut watches = Watches::new(&store);
        let services = store.list(Kind::Service, None).entries;
        show(&store, services.iter().map(|service| service.key().clone()).collect()).await;
        loop {
            let events = tokio::select! {
                events = watches.next() => events,
                () = shutdown.stopped() => return,
            };
            // What was missed is found by looking at everything.
            let Ok(events) = events else { break };
            show(&store, concerned(&store, &events)).await;
        }
    }
}

/// What Endpoints are made of, and they themselves.
struct Watches {
    services: Watch,
    slices: Watch,
    pods: Watch,
    endpoints: Watch,
}

impl Watches {
    fn new(store: &Store) -> Self {
        let revision = store.revision();
        let of = |kind| store.watch(kind, revision);
        Self {
            services: of(Kind::Service),
            slices: of(Kind::EndpointSlice),
            pods: of(Kind::Pod),
            endpoints: of(Kind::Endpoints),
        }
    }

    async fn next(&mut self) -> Result<Vec<Arc<Event>>, Expired> {
        tokio::select! {
            events = self.services.next() => events,
            events = self.slices.next() => events,
            events = self.pods.next() => events,
            events = self.endpoints.next() => events,
        }
    }
}

/// The Services of which something has changed.
fn concerned(store: &Store, events: &[Arc<Event>]) -> BTreeSet<ObjectKey> {
    let mut concerned = BTreeSet::new();
    let mut pods = BTreeMap::<&str, Vec<&Entry>>::new();
    for form in events.iter().flat_map(|event| [&event.old, &event.new]).flatten() {
        let key = form.key();
        let service = |name: &str| ObjectKey::new(Kind::Service, Arc::clone(&key.namespace), name);
        match key.kind {
            Kind::EndpointSlice => concerned.extend(form.labels().get(SERVICE_NAME).map(service)),
            Kind::Pod => pods.entry(&*key.namespace).or_default().push(form),
            _ => {
                concerned.insert(service(&key.name));
            }
        }
    }
    for (namespace, pods) in pods {
        for entry in store.list(Kind::Service, Some(namespace)).entries {
            let Some(service) = Wanted::of(&entry) else { continue };
            if pods.iter().any(|pod| service.selects(pod)) {
                concerned.insert(entry.key().clone());
            }
        }
    }
    concerned
}

/// Shows the Endpoints of these Services as they are now.
async fn show(store: &Store, services: BTreeSet<ObjectKey>) {
    let namespaces: BTreeSet<&str> = services.iter().map(|service| &*service.namespace).collect();
    for namespace in namespaces {
        let around = Around::of(store, namespace);
        for service in services.iter().filter(|service| *service.namespace == *namespace) {
            let key = ObjectKey { kind: Kind::Endpoints, ..service.clone() };
            let shown = store.get(&key);
            let there = around.slices.get(&*service.name).map(Vec::as_slice).unwrap_or_default();
            mirror(store, service, shown.as_deref(), there).await;
            let foreign = shown.as_ref().is_some_and(|shown| *shown.origin() != Origin::Process);
            let service = store.get(service).filter(|_| !foreign);
            let service = service.as_deref().and_then(Wanted::of);
            let manifest = service.and_then(|service| around.endpoints(&key, &service));
            match manifest {
                Some(manifest) if !shown.is_some_and(|shown| says(&shown, &manifest)) => {
                    push(store, &key, manifest).await;
                }
                Some(_) => {}
                None => store.push(Push::Remove { key, origin: Origin::Process }).await,
            }
        }
    }
}

/// Has slices say what somebody's Endpoints say of a Service without a selector, and takes away those of before.
async fn mirror(
    store: &Store,
    service: &ObjectKey,
    endpoints: Option<&Entry>,
    there: &[Arc<Entry>],
) {
    let foreign = endpoints.filter(|endpoints| *endpoints.origin() != Origin::Process);
    let service = store.get(service);
    let service = service.as_deref().and_then(Wanted::of);
    let service = service.as_ref().and_then(Wanted::spec);
    let selects_none = service.is_some_and(|service| service.spec.selector.is_empty());
    let wanted = foreign.filter(|_| selects_none).map(mirrored::slices);
    let wanted = wanted.unwrap_or_default();
    for old in there.iter().filter(|slice| mirrored::is_mirror(slice)) {
        if wanted.iter().all(|(key, _)| key != old.key()) {
            let key = old.key().clone();
            store.push(Push::Remove { key, origin: Origin::Process }).await;
        }
    }
    for (key, manifest) in wanted {
        let before = store.get(&key);
        // What somebody has written under that name stays.
        let free = before.as_deref().is_none_or(mirrored::is_mirror);
        if free && !before.is_some_and(|before| mirrored::says(&before, &manifest)) {
            push(store, &key, manifest).await;
        }
    }
}

/// Whether what is shown is what it would be made as now.
fn says(shown: &Entry, manifest: &Map<String, Value>) -> bool {
    let shown = shown.json();
    shown.get("subsets") == manifest.get("subsets")
        && shown["metadata"].get("labels") == manifest["metadata"].get("labels")
}

async fn push(store: &Store, key: &ObjectKey, manifest: Map<String, Value>) {
    match tidegate_source::decode(key, &manifest, Origin::Process) {
        Ok(object) => {
            let created = store.get(key).and_then(|shown| Some(shown.decoded().ok()?.created));
            let created = created.unwrap_or_else(jiff::Timestamp::now);
            let object = Object { created, ..Object::clone(&object) };
            store.push(Push::Put { object: object.into(), manifest }).await;
        }
        Err(errors) => tracing::error!(%key, ?errors, "endpoints that were made do not decode"),
    }
}

/// A Service whose Endpoints are wanted.
struct Wanted {
    object: Arc<Object>,
}

impl Wanted {
    /// None where it has none: it is the name of something else.
    fn of(entry: &Entry) -> Option<Self> {
        let object = entry.decoded().ok()?;
        let service = Self { object };
        (service.spec()?.spec.kind != ServiceType::ExternalName).then_some(service)
    }

    fn spec(&self) -> Option<&Service> {
        match &self.object.spec {
            Spec::Service(service) => Some(service),
            _ => None,
        }
    }

    fn selects(&self, pod: &Entry) -> bool {
        let Some(service) = self.spec() else { return false };
        let mut selector = service.spec.selector.iter();
        !service.spec.selector.is_empty()
            && selector.all(|(key, value)| pod.labels().get(key) == Some(value))
    }

    /// Whether an address is of the family that comes first.
    fn has_family(&self, address: IpAddr) -> bool {
        let families = self.spec().map(|service| &service.spec.ip_families);
        match families.and_then(|families| families.first()).map(String::as_str) {
            Some("IPv4") => address.is_ipv4(),
            Some("IPv6") => address.is_ipv6(),
            _ => true,
        }
    }
}

/// What there is in a namespace.
struct Around {
    slices: BTreeMap<String, Vec<Arc<Entry>>>,
    pods: Vec<Arc<Entry>>,
}

impl Around {
    fn of(store: &Store, namespace: &str) -> Self {
        let mut slices = BTreeMap::<String, Vec<Arc<Entry>>>::new();
        for slice in store.list(Kind::EndpointSlice, Some(namespace)).entries {
            if let Some(service) = slice.labels().get(SERVICE_NAME).map(str::to_owned) {
                slices.entry(service).or_default().push(slice);
            }
        }
        Self { slices, pods: store.list(Kind::Pod, Some(namespace)).entries }
    }

    /// The Endpoints of a Service; none where nothing would say which they are.
    fn endpoints(&self, key: &ObjectKey, service: &Wanted) -> Option<Map<String, Value>> {
        let slices = self.slices.get(&*key.name);
        if slices.is_none() && service.spec()?.spec.selector.is_empty() {
            return None;
        }
        let mut subsets = Subsets::default();
        for slice in slices.into_iter().flatten() {
            subsets.add_slice(service, slice);
        }
        if slices.is_none() {
            for pod in self.pods.iter().filter(|pod| service.selects(pod)) {
                subsets.add_pod(service, pod);
            }
        }
        let (subsets, all) = subsets.into_json();
        let mut labels = service.object.labels.clone();
        labels.insert(MANAGED_BY.into(), "tidegate".into());
        let mut metadata =
            json!({ "name": *key.name, "namespace": *key.namespace, "labels": labels });
        if !all {
            metadata["annotations"] = json!({ OVER_CAPACITY: "truncated" });
        }
        let mut manifest = Map::from_iter([
            ("apiVersion".to_owned(), "v1".into()),
            ("kind".to_owned(), "Endpoints".into()),
            ("metadata".to_owned(), metadata),
        ]);
        if !subsets.is_empty() {
            manifest.insert("subsets".into(), subsets.into());
        }
        Some(manifest)
    }
}

/// Addresses, by the ports that they have in common.
#[derive(Default)]
struct Subsets(BTreeMap<Vec<Port>, Addresses>);

/// Addresses that take traffic, and those that do not yet, each in its order.
#[derive(Default)]
struct Addresses {
    ready: BTreeMap<IpAddr, Value>,
    others: BTreeMap<IpAddr, Value>,
}

/// A port: name, number, transport and what is spoken.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    name: String,
    number: i32,
    protocol: TransportProtocol,
    app_protocol: Option<String>,
}

impl Subsets {
    fn add_slice(&mut self, service: &Wanted, slice: &Entry) {
        let Ok(object) = slice.decoded() else { return };
        let Spec::EndpointSlice(slice) = &object.spec else { return };
        let ports = slice.ports.iter().filter_map(|port| {
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                number: i32::from(port.port?.get()),
                protocol: port.protocol,
                app_protocol: port.app_protocol.clone(),
            })
        });
        let addresses = self.0.entry(ports.collect()).or_default();
        for endpoint in &slice.endpoints {
            // All addresses of one stand for the same: Endpoints name the first.
            let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse().ok()) else {
                continue;
            };
            if !service.has_family(ip) {
                continue;
            }
            let mut address = json!({ "ip": ip });
            set(&mut address, "hostname", endpoint.hostname.as_deref());
            set(&mut address, "nodeName", endpoint.node_name.as_deref());
            if let Some(target) = &endpoint.target_ref {
                address["targetRef"] = reference(target);
            }
            addresses.add(ip, address, endpoint.conditions.is_ready());
        }
    }

    fn add_pod(&mut self, service: &Wanted, pod: &Entry) {
        let (Ok(object), Some(Service { spec, .. })) = (pod.decoded(), service.spec()) else {
            return;
        };
        let Spec::Pod(pod) = &object.spec else { return };
        let Ok(ip) = pod.status.pod_ip.parse() else { return };
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if ended || !service.has_family(ip) {
            return;
        }
        let ports = spec.ports.iter().filter_map(|port| {
            Some(Port {
                name: port.name.clone(),
                number: number_on(pod, port)?,
                protocol: port.protocol,
                app_protocol: port.app_protocol.clone(),
            })
        });
        let mut address = json!({ "ip": ip });
        set(&mut address, "nodeName", Some(&pod.spec.node_name));
        let key = &object.key;
        address["targetRef"] = json!({ "kind": "Pod", "namespace": *key.namespace, "name": *key.name, "uid": *object.uid });
        let ports: Vec<Port> = ports.collect();
        self.0.entry(ports).or_default().add(ip, address, pod.is_ready());
    }

    /// As JSON, and whether that is all of them.
    fn into_json(self) -> (Vec<Value>, bool) {
        let (mut left, mut all) = (MOST, true);
        let mut subsets = Vec::new();
        for (ports, addresses) in self.0 {
            let mut subset = json!({});
            for (field, addresses) in
                [("addresses", addresses.ready), ("notReadyAddresses", addresses.others)]
            {
                all &= addresses.len() <= left;
                let some: Vec<Value> = addresses.into_values().take(left).collect();
                left -= some.len();
                if !some.is_empty() {
                    subset[field] = some.into();
                }
            }
            if subset != json!({}) {
                subset["ports"] = ports.iter().map(Port::to_json).collect();
                subsets.push(subset);
            }
        }
        (subsets, all)
    }
}

impl Addresses {
    /// What takes traffic anywhere, takes it.
    fn add(&mut self, ip: IpAddr, address: Value, is_ready: bool) {
        if is_ready {
            self.others.remove(&ip);
            self.ready.insert(ip, address);
        } else if !self.ready.contains_key(&ip) {
            self.others.insert(ip, address);
        }
    }
}

impl Port {
    fn to_json(&self) -> Value {
        let mut port = json!({ "port": self.number, "protocol": self.protocol.name() });
        set(&mut port, "name", Some(&self.name));
        set(&mut port, "appProtocol", self.app_protocol.as_deref());
        port
    }
}

/// The number that a port of a Service has on a Pod; none where it goes by a name that the Pod does not have.
fn number_on(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
            let named = ports.find(|there| there.name == *name && there.protocol == port.protocol);
            named.map(|there| there.container_port)
        }
    }
}

/// Sets a field unless it is empty.
fn set(object: &mut Value, field: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        object[field] = text.into();
    }
}

fn reference(target: &ObjectReference) -> Value {
    let mut reference = json!({});
    set(&mut reference, "kind", Some(&target.kind));
    set(&mut reference, "namespace", Some(&target.namespace));
    set(&mut reference, "name", Some(&target.name));
    set(&mut reference, "uid", Some(&target.uid));
    reference
}

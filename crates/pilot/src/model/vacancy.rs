//! Why a service port, or a subset of it, has no endpoints, in the words of whoever wrote the objects, with what would help.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_api::istio::destination_rule::Subset;

use super::endpoints::Endpoint;
use super::registry::{Registry, SERVICE_NAME_LABEL};
use super::service::{Discovery, Port, Service, Target};

/// At most this many labels are told of.
const MOST_LABELS: usize = 8;

/// Why a service port has no endpoints.
#[must_use]
pub fn of_port(registry: &Registry, service: &Service, port: &Port) -> String {
    let (host, number) = (&service.host, port.number);
    let why = match &service.discovery {
        Discovery::Slices(selector) => of_slices(registry, service, port, selector),
        Discovery::Selected { labels, .. } => of_pods(registry, service, port, labels),
        Discovery::Names { endpoints, .. } | Discovery::Addresses(endpoints) => {
            match endpoints.is_empty() {
                true => format!("{} lists no endpoints", service.key),
                false => format!(
                    "none of the endpoints that {} lists has a port for it: their ports have to name {}",
                    service.key, port.name
                ),
            }
        }
        Discovery::Asked => "clients ask for its names".to_owned(),
        Discovery::Nowhere(help) => (*help).to_owned(),
    };
    format!("host {host} has no endpoint for port {number}: {why}")
}

fn of_slices(
    registry: &Registry,
    service: &Service,
    port: &Port,
    selector: &BTreeMap<String, String>,
) -> String {
    let slices = || registry.slices_of(service);
    let name = &service.key.name;
    if slices().next().is_none() {
        let label = format!("{SERVICE_NAME_LABEL}={name}");
        return match selector.is_empty() {
            true => format!(
                "there is no EndpointSlice with the label {label}, and {} selects no Pods",
                service.key
            ),
            false => format!(
                "there is no EndpointSlice with the label {label}; {}",
                of_pods(registry, service, port, selector)
            ),
        };
    }
    let all = || slices().flat_map(|slice| &slice.spec.endpoints);
    if all().next().is_none() {
        return "its EndpointSlices list none".to_owned();
    }
    let ready = all().filter(|endpoint| endpoint.conditions.is_ready()).count();
    if ready == 0 {
        return format!("none of the {} in its EndpointSlices is ready", all().count());
    }
    let ports = slices().flat_map(|slice| &slice.spec.ports);
    let ports: BTreeSet<&str> = ports.map(|port| port.name.as_deref().unwrap_or("")).collect();
    if ports.contains(&*port.name) {
        return "its EndpointSlices hold no address for it".to_owned();
    }
    let there: Vec<String> = ports.iter().map(|name| format!("{name:?}")).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    format!("its EndpointSlices have no port named {:?}, but {there}", port.name)
}

fn of_pods(
    registry: &Registry,
    service: &Service,
    port: &Port,
    selector: &BTreeMap<String, String>,
) -> String {
    let (mut selected, mut ready, mut nowhere) = (0, 0, 0);
    for pod in registry.selected(service) {
        selected += 1;
        ready += usize::from(pod.address.is_some());
        nowhere += usize::from(pod.is_ready && pod.address.is_none());
    }
    let namespace = &service.key.namespace;
    let workloads = registry.workloads_of(service).count();
    match (&port.target, selected, ready) {
        (_, 0, _) if workloads > 0 => {
            format!(
                "none of the {workloads} WorkloadEntries that it selects has an address and a port for it"
            )
        }
        (_, 0, _) => {
            format!("there is no Pod with {} in namespace {namespace}", labels(selector))
        }
        (_, selected, 0) if nowhere > 0 => format!(
            "none of the {selected} Pods that it selects has an IP address: as no kubelet is here to write it, give each its \
             status.podIP"
        ),
        (_, selected, 0) => format!("none of the {selected} Pods that it selects is ready"),
        (Target::Named(name), ..) => {
            format!("no Pod that it selects and that is ready has a port named {name}")
        }
        (Target::Number(_), ..) => "no Pod has an address for it".to_owned(),
    }
}

/// Why a subset has none of a service's endpoints, of which there are some.
#[must_use]
pub fn of_subset(service: &Service, subset: &Subset, endpoints: &[Endpoint]) -> String {
    let asked = labels(&subset.labels);
    let with_key = endpoints.iter().flat_map(|endpoint| {
        endpoint.labels.iter().filter(|(key, _)| subset.labels.contains_key(*key))
    });
    let mut there: BTreeSet<(&String, &String)> = with_key.collect();
    if there.is_empty() {
        there = endpoints.iter().flat_map(|endpoint| endpoint.labels.iter()).collect();
    }
    let shown = there.iter().take(MOST_LABELS).map(|(key, value)| format!("{key}={value}"));
    let shown: Vec<String> = shown.collect();
    let there = match there.len().saturating_sub(MOST_LABELS) {
        _ if there.is_empty() => "no labels".to_owned(),
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    };
    let whose = match service.discovery {
        Discovery::Slices(_) => "Pods, or the EndpointSlices that name none,",
        Discovery::Selected { .. } => "Pods and WorkloadEntries",
        _ => "the ServiceEntry's endpoints",
    };
    format!(
        "subset {} of host {} has no endpoint: it is those with {asked}, and the {} that there are have {there}; give {whose} \
         the labels of the subset, or change those",
        subset.name,
        service.host,
        endpoints.len()
    )
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if labels.is_empty() { "any labels".to_owned() } else { labels.join(",") }
}

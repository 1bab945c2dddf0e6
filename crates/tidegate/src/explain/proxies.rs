//! Which proxies objects are compiled for: a gateway as it shows itself, or a workload's sidecar.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::kube::service::ServicePort;
use tidegate_api::scalar::IntOrString;
use tidegate_api::{Object, Spec};
use tidegate_pilot::{GatewayService, Judge, Options, ProxyKind, Workload};

use crate::cli::Labels;
use crate::data_plane;

/// What any proxy of a namespace has.
#[must_use]
pub fn any(namespace: &str) -> Options {
    Options {
        judge: Judge(tidegate_proxy::config::would_take),
        namespace: namespace.to_owned(),
        system_roots: data_plane::system_roots(),
        ..Options::default()
    }
}

/// A gateway: of these labels, else of those of the one that shows itself among the objects; behind the Service that shows it.
#[must_use]
pub fn gateway(any: Options, labels: Option<&Labels>, objects: &[Arc<Object>]) -> Options {
    let namespace = any.namespace.clone();
    let shown = || shown_labels(&namespace, objects);
    let labels = labels.cloned().or_else(shown).unwrap_or_else(Labels::ingress);
    let mut options = Options { labels: labels.of_gateway(), ..any };
    let name = labels.gateway_name();
    let front = objects.iter().find(|o| (o.namespace(), o.name()) == (&*namespace, &name));
    if let Some(Spec::Service(service)) = front.map(|o| &o.spec) {
        let ports = service.spec.ports.iter().filter_map(port).collect();
        let host = format!("{name}.{namespace}.svc.{}", options.domain);
        options.services = vec![GatewayService { host, namespace, ports }];
    }
    options
}

/// The sidecar of a workload with these labels, which has this address if not that of its Pod.
#[must_use]
pub fn sidecar(
    any: Options,
    labels: BTreeMap<String, String>,
    address: Option<IpAddr>,
    objects: &[Arc<Object>],
) -> Options {
    let own = address.or_else(|| pod_address(&any.namespace, &labels, objects));
    let workload = Workload { addresses: own.into_iter().collect() };
    Options { proxy: ProxyKind::Sidecar(workload), labels, ..any }
}

/// A port of a Service, and where it is bound.
fn port(port: &ServicePort) -> Option<(u16, u16)> {
    let number = u16::try_from(port.port).ok()?;
    let target = match &port.target_port {
        Some(IntOrString::Int(target)) => u16::try_from(*target).ok()?,
        _ => number,
    };
    Some((number, target))
}

/// The labels of the one gateway whose Pod is among the objects; none where there are several to choose from.
fn shown_labels(namespace: &str, objects: &[Arc<Object>]) -> Option<Labels> {
    let mut gateways = objects.iter().filter(|object| {
        let app = object.labels.get("app").is_some_and(|app| *app == object.name());
        app && object.namespace() == namespace && matches!(object.spec, Spec::Pod(_))
    });
    let labels = &gateways.next()?.labels;
    gateways.next().is_none().then(|| Labels(labels.clone().into_iter().collect()))
}

/// The address of the first Pod of a namespace with these labels.
fn pod_address(
    namespace: &str,
    labels: &BTreeMap<String, String>,
    objects: &[Arc<Object>],
) -> Option<IpAddr> {
    let alike = |o: &&Arc<Object>| {
        let carries = labels.iter().all(|(name, value)| o.labels.get(name) == Some(value));
        !labels.is_empty() && o.namespace() == namespace && carries
    };
    let pods = objects.iter().filter_map(|object| match &object.spec {
        Spec::Pod(pod) => Some((object, pod)),
        _ => None,
    });
    let pods = pods.filter(|(object, _)| alike(object));
    let first = pods.min_by_key(|(object, _)| object.name().to_owned())?;
    first.1.status.pod_ip.parse().ok()
}

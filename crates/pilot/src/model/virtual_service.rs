//! VirtualServices with every name written out in full.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tidegate_api::istio::virtual_service as api;
use tidegate_api::istio::virtual_service::{
    Destination, HttpMatchRequest, HttpRoute, TcpRoute, TlsRoute,
};
use tidegate_api::{Object, ObjectKey};

use super::age::Age;
use super::host::Host;
use super::names;
use super::visibility::{Visibility, visibility};
use crate::Options;

/// A VirtualService with full host and gateway names.
#[derive(Clone, Debug)]
pub struct VirtualService {
    /// Which object it is.
    pub key: ObjectKey,
    /// Its place among VirtualServices of one gateway; `None` when `exportTo` hides it from this gateway,
    /// which then takes nothing from it.
    pub order: Option<Order>,
    /// The hosts that it routes.
    pub hosts: Vec<Host>,
    /// The gateways that it is bound to, as `NAMESPACE/NAME`; `mesh` is left out.
    pub gateways: Vec<Arc<str>>,
    /// Whether it is for sidecars too: then rules that no gateway applies may be theirs.
    pub in_mesh: bool,
    /// Rules for requests.
    pub http: Vec<HttpRoute>,
    /// Rules for TLS connections that are passed through.
    pub tls: Vec<TlsRoute>,
    /// Rules for TCP connections.
    pub tcp: Vec<TcpRoute>,
}

/// In which order VirtualServices of one gateway are applied: those kept to the gateway's namespace, those
/// that name it, those for everyone; each by age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    visibility: Visibility,
    age: Age,
}

/// Where a rule is being applied: the gateway it is reached through and that gateway's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// `NAMESPACE/NAME` of the Gateway.
    pub gateway: Arc<str>,
    /// The server's port as written, which `match.port` means.
    pub port: u16,
    /// Whether the port carries TLS.
    pub tls: bool,
}

impl VirtualService {
    /// The VirtualService as this gateway sees it.
    #[must_use]
    pub fn resolve(object: &Object, spec: &api::VirtualService, options: &Options) -> Self {
        let namespace = &*object.key.namespace;
        let visibility = visibility(&spec.export_to, namespace, &options.namespace);
        let host = |written: &str| names::full_host(written, namespace, &options.domain);
        let gateways = |list: &mut Vec<String>| {
            for gateway in list {
                *gateway = names::full_gateway(gateway, namespace);
            }
        };
        let (mut http, mut tls, mut tcp) = (spec.http.clone(), spec.tls.clone(), spec.tcp.clone());
        for rule in &mut http {
            rule.matches.iter_mut().for_each(|m| gateways(&mut m.gateways));
        }
        for rule in &mut tls {
            rule.matches.iter_mut().for_each(|m| gateways(&mut m.gateways));
        }
        for rule in &mut tcp {
            rule.matches.iter_mut().for_each(|m| gateways(&mut m.gateways));
        }
        for destination in destinations_mut(&mut http, &mut tls, &mut tcp) {
            destination.host = host(&destination.host).to_ascii_lowercase();
        }
        let mut bound: Vec<Arc<str>> = Vec::new();
        for gateway in spec.gateways.iter().filter(|g| *g != names::MESH) {
            let gateway = names::full_gateway(gateway, namespace).into();
            if !bound.contains(&gateway) {
                bound.push(gateway);
            }
        }
        Self {
            key: object.key.clone(),
            order: visibility.map(|visibility| Order { visibility, age: Age::of(object) }),
            hosts: spec.hosts.iter().map(|h| Host::new(&host(h))).collect(),
            gateways: bound,
            in_mesh: spec.gateways.is_empty() || spec.gateways.iter().any(|g| g == names::MESH),
            http,
            tls,
            tcp,
        }
    }

    /// Whether it is bound to a gateway.
    #[must_use]
    pub fn binds(&self, gateway: &str) -> bool {
        self.gateways.iter().any(|g| &**g == gateway)
    }

    /// Whether it has rules for connections.
    #[must_use]
    pub fn routes_connections(&self) -> bool {
        !self.tls.is_empty() || !self.tcp.is_empty()
    }

    /// Whether any of its rules for requests applies somewhere: only then does it claim hosts there.
    #[must_use]
    pub fn routes_requests(&self, place: &Place, options: &Options) -> bool {
        self.http.iter().any(|rule| {
            is_served(rule)
                && (rule.matches.is_empty()
                    || rule.matches.iter().any(|m| applies(m, place, options)))
        })
    }

    /// Every destination that it names, with the path of the field.
    pub fn destinations(&self) -> impl Iterator<Item = (String, &Destination)> {
        let http = self.http.iter().enumerate().flat_map(|(r, rule)| {
            rule.route.iter().enumerate().map(move |(d, destination)| {
                (format!("http[{r}].route[{d}].destination"), &destination.destination)
            })
        });
        let tls = self.tls.iter().enumerate().flat_map(|(r, rule)| {
            rule.route.iter().enumerate().map(move |(d, destination)| {
                (format!("tls[{r}].route[{d}].destination"), &destination.destination)
            })
        });
        let tcp = self.tcp.iter().enumerate().flat_map(|(r, rule)| {
            rule.route.iter().enumerate().map(move |(d, destination)| {
                (format!("tcp[{r}].route[{d}].destination"), &destination.destination)
            })
        });
        http.chain(tls).chain(tcp)
    }
}

/// Whether a rule says what happens to a request in terms that are served. A rule that delegates, or that
/// only limits requests of the mesh, is told in status and takes no requests.
#[must_use]
pub fn is_served(rule: &HttpRoute) -> bool {
    !rule.route.is_empty() || rule.redirect.is_some() || rule.direct_response.is_some()
}

/// Why a condition has no part in what happens at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHere<'c> {
    /// It is for another port.
    Port(u16),
    /// It is for other gateways.
    Gateways(&'c [String]),
    /// It is for callers with other labels.
    SourceLabels(&'c BTreeMap<String, String>),
    /// It is for callers of another namespace.
    SourceNamespace(&'c str),
}

impl fmt::Display for NotHere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port {port}"),
            Self::Gateways(gateways) => write!(f, "gateways {}", gateways.join(", ")),
            Self::SourceLabels(labels) => {
                let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "sourceLabels {}", labels.join(","))
            }
            Self::SourceNamespace(namespace) => write!(f, "sourceNamespace {namespace}"),
        }
    }
}

/// Whether a condition applies at a place: its port, and its gateways or the labels and namespace of the
/// gateway as the source of traffic.
#[must_use]
pub fn applies(condition: &HttpMatchRequest, place: &Place, options: &Options) -> bool {
    not_here(condition, place, options).is_none()
}

/// Why a condition does not apply at a place; `None` when it does.
#[must_use]
pub fn not_here<'c>(
    condition: &'c HttpMatchRequest,
    place: &Place,
    options: &Options,
) -> Option<NotHere<'c>> {
    if let Some(port) = condition.port.filter(|port| port.get() != place.port) {
        return Some(NotHere::Port(port.get()));
    }
    if !condition.gateways.is_empty() {
        let here = condition.gateways.iter().any(|g| **g == *place.gateway);
        return (!here).then_some(NotHere::Gateways(&condition.gateways));
    }
    let labelled = |(k, v): (&String, &String)| options.labels.get(k) == Some(v);
    if !condition.source_labels.iter().all(labelled) {
        return Some(NotHere::SourceLabels(&condition.source_labels));
    }
    let namespace = condition.source_namespace.as_str();
    let foreign = !namespace.is_empty() && namespace != options.namespace;
    foreign.then_some(NotHere::SourceNamespace(namespace))
}

/// Whether a condition on connections applies at a place; sources are not looked at on gateways.
#[must_use]
pub fn applies_to_connections(
    port: Option<tidegate_api::scalar::Port>,
    gateways: &[String],
    place: &Place,
) -> bool {
    port.is_none_or(|port| port.get() == place.port)
        && (gateways.is_empty() || gateways.iter().any(|g| **g == *place.gateway))
}

fn destinations_mut<'a>(
    http: &'a mut [HttpRoute],
    tls: &'a mut [TlsRoute],
    tcp: &'a mut [TcpRoute],
) -> impl Iterator<Item = &'a mut Destination> {
    let http = http.iter_mut().flat_map(|rule| {
        rule.route
            .iter_mut()
            .map(|d| &mut d.destination)
            .chain(rule.mirror.as_deref_mut())
            .chain(rule.mirrors.iter_mut().map(|m| &mut m.destination))
    });
    let tls = tls.iter_mut().flat_map(|r| r.route.iter_mut().map(|d| &mut d.destination));
    let tcp = tcp.iter_mut().flat_map(|r| r.route.iter_mut().map(|d| &mut d.destination));
    http.chain(tls).chain(tcp)
}

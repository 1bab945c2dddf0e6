//! VirtualServices with every name written out in full.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tidegate_api::istio::virtual_service as api;
use tidegate_api::istio::virtual_service::{
    Destination, HttpMatchRequest, HttpRoute, TcpRoute, TlsRoute,
};
use tidegate_api::{Kind, Object, ObjectKey};

use super::age::Age;
use super::gateway::Server;
use super::host::Host;
use super::names;
use super::rule::{self, Rule, Unmet};
use super::visibility::{Visibility, visibility};
use crate::Options;

/// On a VirtualService that Istio made from something else: from what.
const SEMANTICS_ANNOTATION: &str = "internal.istio.io/route-semantics";

/// A VirtualService with full host and gateway names.
#[derive(Clone, Debug)]
pub struct VirtualService {
    /// Which object it is.
    pub key: ObjectKey,
    /// Its place among VirtualServices of one gateway; `None` when `exportTo` hides it from this gateway,
    /// which then takes nothing from it.
    pub order: Option<Order>,
    /// The hosts that it routes; none for a delegate, whose rules apply where another leads to them.
    pub hosts: Vec<Host>,
    /// The gateways that it is bound to, as `NAMESPACE/NAME`; `mesh` is left out.
    pub gateways: Vec<Arc<str>>,
    /// Whether it is for sidecars too: then rules that no gateway applies may be theirs.
    pub in_mesh: bool,
    /// What routes it was made from, which decides how prefixes match.
    pub semantics: Semantics,
    /// Rules for requests, as they are written.
    pub http: Vec<Arc<HttpRoute>>,
    /// Rules for requests as they apply: those of delegates stand in place of the rules that lead to them.
    pub rules: Vec<Rule>,
    /// What keeps rules of delegates from applying.
    pub unmet: Vec<Unmet>,
    /// Rules for TLS connections that are passed through.
    pub tls: Vec<TlsRoute>,
    /// Rules for TCP connections.
    pub tcp: Vec<TcpRoute>,
    export_to: Vec<String>,
}

/// What a VirtualService was written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Semantics {
    /// As a VirtualService.
    #[default]
    Plain,
    /// As a route of the Gateway API: prefixes end at slashes, and a missing destination is answered 500.
    Gateway,
    /// As an Ingress: prefixes end at slashes.
    Ingress,
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
    /// Whether requests come to the same port over HTTP/3 as well.
    pub http3: bool,
}

impl Place {
    /// The place of a Gateway's server.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        Self {
            gateway: Arc::clone(&server.gateway),
            port: server.port,
            tls: server.tls.is_some(),
            http3: server.takes_http3(),
        }
    }
}

impl Order {
    /// Why a VirtualService comes before another of this place, as in "which is older".
    #[must_use]
    pub fn why_before(&self, other: &Self) -> &'static str {
        match self.visibility {
            own if own == other.visibility => self.age.why_before(&other.age),
            Visibility::Private => "is kept to the gateway's namespace by its exportTo",
            _ => "names the gateway's namespace in its exportTo",
        }
    }
}

impl VirtualService {
    /// The VirtualService as this gateway sees it, without rules of delegates.
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
        let http: Vec<_> = http.into_iter().map(Arc::new).collect();
        Self {
            key: object.key.clone(),
            semantics: match object.annotations.get(SEMANTICS_ANNOTATION).map(String::as_str) {
                Some("gateway") => Semantics::Gateway,
                Some("ingress") => Semantics::Ingress,
                _ => Semantics::Plain,
            },
            order: visibility.map(|visibility| Order { visibility, age: Age::of(object) }),
            hosts: spec.hosts.iter().map(|h| Host::new(&host(h))).collect(),
            gateways: bound,
            in_mesh: spec.gateways.is_empty() || spec.gateways.iter().any(|g| g == names::MESH),
            rules: own_rules(&object.key, &http),
            unmet: Vec::new(),
            http,
            tls,
            tcp,
            export_to: spec.export_to.clone(),
        }
    }

    /// The same with the rules of its delegates, which `delegate` finds.
    #[must_use]
    pub fn with_delegates<'a>(mut self, delegate: impl Fn(&ObjectKey) -> Option<&'a Self>) -> Self {
        if self.http.iter().any(|rule| rule.delegate.is_some()) {
            let own = |key: &ObjectKey| (*key == self.key).then_some(&self);
            (self.rules, self.unmet) = rule::apply(&self, |key| own(key).or_else(|| delegate(key)));
        }
        self
    }

    /// The VirtualServices that its rules delegate to, whether or not they exist; each once.
    pub fn delegates(&self) -> impl Iterator<Item = ObjectKey> {
        let all: BTreeSet<_> = self.http.iter().filter_map(|rule| self.delegate_of(rule)).collect();
        all.into_iter()
    }

    /// The VirtualService that one of its rules delegates to.
    pub(super) fn delegate_of(&self, rule: &HttpRoute) -> Option<ObjectKey> {
        let delegate = rule.delegate.as_ref()?;
        let namespace = match delegate.namespace.as_str() {
            "" => &*self.key.namespace,
            namespace => namespace,
        };
        Some(ObjectKey::new(Kind::VirtualService, namespace, delegate.name.as_str()))
    }

    /// Whether resources of a namespace may refer to it.
    #[must_use]
    pub fn is_exported_to(&self, namespace: &str) -> bool {
        visibility(&self.export_to, &self.key.namespace, namespace).is_some()
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
        self.rules.iter().filter(|rule| is_served(&rule.says, options)).any(|rule| {
            let mut conditions = rule.conditions();
            conditions.any(|(_, c)| c.is_none_or(|c| applies(c, place, options)))
        })
    }

    /// Whether sidecars apply it, where it is brought in.
    #[must_use]
    pub fn acts_in_mesh(&self) -> bool {
        self.in_mesh && !self.hosts.is_empty() && self.order.is_some()
    }

    /// Whether any of its rules only limits requests that have a way of their own.
    #[must_use]
    pub fn limits_requests(&self) -> bool {
        self.rules.iter().any(|rule| rule.says.keeps_default_route())
    }

    /// Every destination that it names, with the path of the field, and the object where that stands.
    pub fn destinations(&self) -> impl Iterator<Item = (&ObjectKey, String, &Destination)> {
        let http = self.rules.iter().flat_map(|rule| {
            rule.destinations().map(|(place, destination)| (&rule.key, place, destination))
        });
        let connections = self.connection_destinations();
        http.chain(connections.map(|(place, destination)| (&self.key, place, destination)))
    }

    /// Every destination of copies, likewise.
    pub fn mirrors(&self) -> impl Iterator<Item = (&ObjectKey, String, &Destination)> {
        self.rules.iter().flat_map(|rule| {
            rule.mirrors().map(|(place, destination)| (&rule.key, place, destination))
        })
    }

    /// Whether traffic may go to one of [`Self::destinations`]: its weight may be 0.
    #[must_use]
    pub fn sends_to(&self, destination: &Destination) -> bool {
        let routes = self.rules.iter().filter(|rule| rule.says.route.len() > 1);
        let mut routes = routes.flat_map(|rule| &rule.says.route);
        !routes.any(|route| {
            route.share() == 0 && std::ptr::eq(&raw const route.destination, destination)
        })
    }

    fn connection_destinations(&self) -> impl Iterator<Item = (String, &Destination)> {
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
        tls.chain(tcp)
    }
}

fn own_rules(key: &ObjectKey, http: &[Arc<HttpRoute>]) -> Vec<Rule> {
    let own = http.iter().enumerate().filter(|(_, rule)| rule.delegate.is_none());
    own.map(|(number, rule)| Rule::own(key, number, rule)).collect()
}

/// Whether a rule says what happens to a request in terms that are served. One that only limits requests does where these have
/// a way without it: in the mesh. At a gateway it takes none, which is told in status.
#[must_use]
pub fn is_served(rule: &HttpRoute, options: &Options) -> bool {
    !rule.route.is_empty()
        || rule.redirect.is_some()
        || rule.direct_response.is_some()
        || (options.workload().is_some() && rule.keeps_default_route())
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
    /// It asks for what no proxy can look at.
    Unfit,
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
            Self::Unfit => f.write_str("a query parameter that proxies cannot look for"),
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
    if !options.carries(&condition.source_labels) {
        return Some(NotHere::SourceLabels(&condition.source_labels));
    }
    let namespace = condition.source_namespace.as_str();
    if !namespace.is_empty() && namespace != options.namespace {
        return Some(NotHere::SourceNamespace(namespace));
    }
    condition.unfit().map(|_| NotHere::Unfit)
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

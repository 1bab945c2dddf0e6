//! What comes in to a workload: one entry per port that a service leads to, one for every other port, and those of which only a
//! PeerAuthentication speaks. All of them are filter chains of the one listener that inbound connections are redirected to.
//!
//! Which connections an entry takes follows from what is spoken on the port, and from what its PeerAuthentication takes from
//! peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::destination_rule::ConnectionPoolSettings;
use tidegate_api::istio::gateway::ServerTlsSettings;
use tidegate_api::istio::peer_authentication::MutualTlsMode;
use tidegate_api::istio::sidecar::{CaptureMode, IngressListener};
use tidegate_api::istio::{Protocol, Sidecar};

use super::{INBOUND_PORT, Scope, Spoken};
use crate::Workload;
use crate::model::endpoints::Address;
use crate::model::names;
use crate::model::peers::{Mode, Modes};
use crate::model::service::{Port, Service, Target};

/// The listener that inbound connections are redirected to.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";

/// Ports of the sidecar itself that are no workload's: its health, its statistics.
const STATIC_PORTS: [u16; 2] = [15021, 15090];

/// ALPN protocols of peers that carry requests in mutual TLS.
const MESH_REQUESTS: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// Those of peers that carry something else.
const MESH_BYTES: &[&str] = &["istio-peer-exchange", "istio"];
/// Those of any peer.
const MESH: &[&str] =
    &["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What the HTTP inspector says of requests in plain text.
const PLAIN_REQUESTS: &[&str] = &["http/1.1", "h2c"];

/// A port of the workload, or all those that nobody describes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The port that is dialled; `None` for every port that has no entry.
    pub port: Option<u16>,
    /// Who describes it; `None` where no object does.
    pub by: Option<Described>,
    /// What is spoken there.
    pub spoken: Spoken,
    /// What is taken from peers there.
    pub mode: Mode,
    /// The limits that a Sidecar sets, in place of those of the service.
    pub pool: Option<ConnectionPoolSettings>,
}

/// Who describes a port of the workload.
#[derive(Clone, Debug)]
pub enum Described {
    /// A service that leads there.
    Service(Local),
    /// A Sidecar.
    Sidecar(Ingress),
}

/// A port of the workload, as a Sidecar describes it.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// The Sidecar.
    pub key: ObjectKey,
    /// Which of its ingress listeners it is.
    pub position: usize,
    /// That listener.
    pub listener: Arc<IngressListener>,
}

/// A port of a service that leads to the workload.
#[derive(Clone, Debug)]
pub struct Local {
    /// The service.
    pub service: Arc<Service>,
    /// Its port.
    pub port: Port,
    /// The hosts of all services with a port that leads there, its own first.
    pub hosts: Vec<Arc<str>>,
}

/// Connections that an entry takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Whether they begin with a ClientHello.
    pub tls: bool,
    /// ALPN protocols of which they name one, or what the HTTP inspector found; any where there are none.
    pub protocols: &'static [&'static str],
    /// Whether TLS ends here, with the certificates of the mesh.
    pub terminates: bool,
    /// Whether they carry requests; else bytes.
    pub requests: bool,
}

const fn plain(protocols: &'static [&'static str], requests: bool) -> Way {
    Way { tls: false, protocols, terminates: false, requests }
}

const fn mutual(protocols: &'static [&'static str], requests: bool) -> Way {
    Way { tls: true, protocols, terminates: true, requests }
}

/// TLS of no concern to the sidecar.
const FOREIGN: Way = Way { tls: true, protocols: &[], terminates: false, requests: false };

/// The connections that are taken where this is spoken, in Istio's order.
#[must_use]
pub const fn ways(spoken: Spoken, mode: MutualTlsMode) -> &'static [Way] {
    use MutualTlsMode::{Disable, Permissive, Strict, Unset};
    match (spoken, mode) {
        (Spoken::Http, Strict) => const { &[mutual(&[], true)] },
        (Spoken::Http, Disable) => const { &[plain(&[], true)] },
        (Spoken::Http, Permissive | Unset) => const { &[mutual(MESH, true), plain(&[], true)] },
        (Spoken::Tcp { .. }, Strict) => const { &[mutual(&[], false)] },
        (Spoken::Tcp { .. }, Disable) => const { &[plain(&[], false)] },
        (Spoken::Tcp { .. }, Permissive | Unset) => {
            const { &[mutual(MESH, false), FOREIGN, plain(&[], false)] }
        }
        (Spoken::Auto, Strict) => const { &[mutual(MESH_REQUESTS, true), mutual(&[], false)] },
        (Spoken::Auto, Disable) => const { &[plain(PLAIN_REQUESTS, true), plain(&[], false)] },
        (Spoken::Auto, Permissive | Unset) => {
            const {
                &[
                    mutual(MESH_REQUESTS, true),
                    plain(PLAIN_REQUESTS, true),
                    mutual(MESH_BYTES, false),
                    plain(&[], false),
                    FOREIGN,
                ]
            }
        }
    }
}

impl Described {
    /// The object.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Service(local) => &local.service.key,
            Self::Sidecar(ingress) => &ingress.key,
        }
    }

    fn pool(&self) -> Option<&ConnectionPoolSettings> {
        match self {
            Self::Service(_) => None,
            Self::Sidecar(ingress) => ingress.listener.connection_pool.as_ref(),
        }
    }
}

impl Ingress {
    /// Where the workload listens; `None` for where the client dialled.
    #[must_use]
    pub fn endpoint(&self, workload: &Workload) -> Option<Address> {
        let written = self.listener.default_endpoint.as_str();
        if let Some(path) = written.strip_prefix("unix://") {
            return Some(Address::Pipe(path.into()));
        }
        let at: SocketAddr = written.parse().ok()?;
        let of_family =
            |all: &[IpAddr]| all.iter().find(|address| address.is_ipv4() == at.is_ipv4()).copied();
        let loopbacks = workload.loopbacks();
        let own = if at.ip().is_unspecified() { of_family(&workload.addresses) } else { None };
        let address = own.or_else(|| of_family(&loopbacks)).or(loopbacks.first().copied())?;
        Some(Address::Socket(address.to_string(), at.port()))
    }
}

impl Entry {
    /// The connections that it takes.
    #[must_use]
    pub fn ways(&self) -> &'static [Way] {
        match (self.own_tls(), self.spoken) {
            (None, spoken) => ways(spoken, self.mode.mode),
            (Some(_), Spoken::Http) => const { &[mutual(&[], true)] },
            (Some(_), Spoken::Tcp { .. } | Spoken::Auto) => const { &[mutual(&[], false)] },
        }
    }

    /// Whether it has a cluster of its own; else what it takes goes to wherever it was dialled.
    #[must_use]
    pub const fn is_described(&self) -> bool {
        self.by.is_some()
    }

    /// The service that leads there, if that describes it.
    #[must_use]
    pub const fn service(&self) -> Option<&Local> {
        match &self.by {
            Some(Described::Service(local)) => Some(local),
            Some(Described::Sidecar(_)) | None => None,
        }
    }

    /// The TLS that the Sidecar has end here, which nothing is taken from peers beside.
    #[must_use]
    pub fn own_tls(&self) -> Option<&ServerTlsSettings> {
        let Some(Described::Sidecar(ingress)) = &self.by else { return None };
        ingress
            .listener
            .tls
            .as_ref()
            .filter(|tls| self.mode.mode == MutualTlsMode::Disable && !tls.mode.is_passthrough())
    }

    /// The cluster that it sends to, which its route configuration is named after.
    #[must_use]
    pub fn cluster(&self) -> String {
        match self.port.filter(|_| self.is_described()) {
            Some(port) => names::inbound_cluster(port),
            None => names::INBOUND_PASSTHROUGH_CLUSTER.to_owned(),
        }
    }

    /// The number that its virtual host is named after: the service's own of the port, where there is one.
    #[must_use]
    pub fn number(&self) -> u16 {
        match &self.by {
            Some(Described::Service(local)) => local.port.number,
            Some(Described::Sidecar(_)) => self.port.unwrap_or_default(),
            None => 0,
        }
    }

    /// The protocol that is named for it.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        match self.by.as_ref()? {
            Described::Service(local) => local.port.protocol,
            Described::Sidecar(ingress) => Some(ingress.listener.port.protocol),
        }
    }

    /// The name of its filter chains, of which those for what nobody describes are told apart.
    #[must_use]
    pub fn chain(&self, way: Way, workload: &Workload) -> String {
        match self.port.zip(self.by.as_ref()) {
            Some((port, Described::Service(_))) => {
                names::listener(&workload.wildcard().to_string(), port)
            }
            Some((port, Described::Sidecar(ingress))) => {
                let bind = match (&*ingress.listener.bind, workload.addresses.first()) {
                    ("", Some(own)) => own.to_string(),
                    (bind, _) => bind.to_owned(),
                };
                names::listener(&bind, port)
            }
            None if way.requests => format!("{VIRTUAL_INBOUND}-catchall-http"),
            None => VIRTUAL_INBOUND.to_owned(),
        }
    }

    /// Where its port is really bound, as nothing is redirected that comes in to it (`captureMode: NONE`).
    #[must_use]
    pub fn bound(&self, workload: &Workload) -> Option<SocketAddr> {
        let Some(Described::Sidecar(ingress)) = &self.by else { return None };
        if ingress.listener.capture_mode != CaptureMode::None {
            return None;
        }
        let bind = match (&*ingress.listener.bind, workload.addresses.first()) {
            ("", Some(own)) => *own,
            (bind, _) => bind.parse().ok()?,
        };
        Some(SocketAddr::new(bind, self.port?))
    }

    /// The object that it was made for.
    #[must_use]
    pub fn owner(&self) -> Option<&ObjectKey> {
        self.by.as_ref().map(Described::key)
    }
}

/// The entries: what nobody describes first, then each port by its number.
#[must_use]
pub fn entries(scope: &Scope<'_>, modes: &Modes) -> Vec<Entry> {
    let Some(workload) = scope.options.workload() else { return Vec::new() };
    let sidecar = scope.sidecar.filter(|(_, sidecar)| !sidecar.ingress.is_empty());
    let described = match sidecar {
        Some((key, sidecar)) => by_sidecar(key, sidecar),
        None => described(scope, workload),
    };
    let everywhere =
        scope.sidecar.and_then(|(_, sidecar)| sidecar.inbound_connection_pool.as_ref());
    let undescribed = |port| Entry {
        port,
        by: None,
        pool: None,
        spoken: Spoken::Auto,
        mode: port.map_or(modes.elsewhere(), |port| modes.at(port)).clone(),
    };
    // TLS of its own makes a port an entry, although nobody describes what is behind it.
    let ports = modes.ports().filter(|port| !described.contains_key(port) && !is_own(*port));
    let mut entries: Vec<Entry> = vec![undescribed(None)];
    entries.extend(ports.map(|port| undescribed(Some(port))));
    entries.extend(described.into_iter().map(|(port, (by, spoken))| Entry {
        port: Some(port),
        pool: by.pool().or(everywhere).cloned(),
        by: Some(by),
        spoken,
        mode: modes.at(port).clone(),
    }));
    entries
}

/// The ports that a Sidecar describes; no service counts beside it.
fn by_sidecar(key: &ObjectKey, sidecar: &Sidecar) -> BTreeMap<u16, (Described, Spoken)> {
    let listeners = sidecar.ingress.iter().enumerate();
    let described = listeners.filter_map(|(position, listener)| {
        let number = listener.port.number?.get();
        let ends = listener.tls.as_ref().is_some_and(|tls| !tls.mode.is_passthrough());
        let spoken = match listener.port.protocol {
            Protocol::Https if ends => Spoken::Http,
            Protocol::Tls if ends => Spoken::Tcp { tls: false },
            protocol => Spoken::of(Some(protocol))?,
        };
        let listener = Arc::new(listener.clone());
        let ingress = Ingress { key: key.clone(), position, listener };
        let own = is_own(number) || STATIC_PORTS.contains(&number);
        (!own).then_some((number, (Described::Sidecar(ingress), spoken)))
    });
    described.collect()
}

/// The ports that services lead to. Where several lead to one, the oldest says what is spoken there.
fn described(scope: &Scope<'_>, workload: &Workload) -> BTreeMap<u16, (Described, Spoken)> {
    let registry = scope.registry;
    let services = registry.hosts().flat_map(|host| registry.definitions(host));
    // Whom an object is hidden from by `exportTo` decides who sends there, and not what leads to the workload.
    let services = services.chain(registry.hidden_services());
    let ports = services.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    let leading = ports.filter_map(|(service, port)| {
        let spoken = Spoken::on(port)?;
        let mut targets = targets(service, port, workload, scope);
        targets.retain(|target| !is_own(*target) && !STATIC_PORTS.contains(target));
        (!targets.is_empty()).then_some((service, port, spoken, targets))
    });
    let mut leading: Vec<_> = leading.collect();
    // Ports of one service stay in their order.
    leading.sort_by_key(|(service, ..)| (&service.age, &service.host));
    let mut described = BTreeMap::new();
    for (service, port, spoken, targets) in leading {
        for target in targets {
            let local =
                || Local { service: Arc::clone(service), port: port.clone(), hosts: Vec::new() };
            let (by, _) =
                described.entry(target).or_insert_with(|| (Described::Service(local()), spoken));
            if let Described::Service(Local { hosts, .. }) = by {
                hosts.push(Arc::clone(&service.host));
            }
        }
    }
    described
}

/// The ports of the workload that a port of a service leads to: those of its endpoints that are the workload's addresses;
/// where none is known, the service's target if it selects the workload by its labels.
fn targets(service: &Service, port: &Port, workload: &Workload, scope: &Scope<'_>) -> Vec<u16> {
    let registry = scope.registry;
    let endpoints = registry.endpoints(service, port).into_iter();
    let mut targets: Vec<u16> = endpoints
        .filter_map(|endpoint| match endpoint.address {
            Address::Socket(address, port) => {
                let own = address.parse().is_ok_and(|ip| workload.addresses.contains(&ip));
                own.then_some(port)
            }
            Address::Pipe(_) => None,
        })
        .collect();
    let options = scope.options;
    let selects = *service.key.namespace == *options.namespace && service.selects(&options.labels);
    if targets.is_empty() && selects {
        targets.extend(match &port.target {
            Target::Number(number) => Some(*number),
            // Pods with the workload's labels are as it is.
            Target::Named(name) => registry.selected(service).find_map(|pod| {
                let like = options.labels.iter().all(|(k, v)| pod.labels.get(k) == Some(v));
                pod.ports.get(name).copied().filter(|_| like)
            }),
        });
    }
    targets
}

/// Whether connections to a port are the sidecar's own, and would go round in a circle.
fn is_own(port: u16) -> bool {
    port == INBOUND_PORT || port == super::OUTBOUND_PORT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two ways of an entry take the same connections, and TLS of peers is looked into wherever plain text is taken, too.
    #[test]
    fn ways_are_told_apart() {
        use MutualTlsMode::{Disable, Permissive, Strict};
        for spoken in [Spoken::Http, Spoken::Auto, Spoken::Tcp { tls: true }] {
            for mode in [Strict, Permissive, Disable] {
                let ways = ways(spoken, mode);
                let asked: Vec<_> = ways
                    .iter()
                    .flat_map(|way| match way.protocols {
                        [] => vec![(way.tls, "")],
                        some => some.iter().map(|name| (way.tls, *name)).collect(),
                    })
                    .collect();
                let mut apart = asked.clone();
                apart.sort_unstable();
                apart.dedup();
                assert_eq!(apart.len(), asked.len(), "{spoken:?} {mode:?}: {ways:?}");
                assert_eq!(ways.iter().all(|way| way.terminates), mode == Strict);
                assert_eq!(ways.iter().any(|way| way.terminates), mode != Disable);
                assert!(ways.iter().all(|way| !way.terminates || way.tls));
                let of_requests = ways.iter().any(|way| way.requests);
                assert_eq!(of_requests, spoken.has_requests(), "{spoken:?} {mode:?}");
            }
        }
    }
}

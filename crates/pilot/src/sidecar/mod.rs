//! What the proxy beside a workload has: what it sees, and which listeners, filter chains and virtual hosts follow from that.
//!
//! Nothing here writes Envoy's messages (`compile::sidecar` does) or keeps state: a [`Scope`] is looked at anew whenever objects
//! change. Its parts stand for themselves, per port and per listener, so that they can become units of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::Options;
use crate::model::host::Host;
use crate::model::names;
use crate::model::registry::Registry;
use crate::model::service::{Port, Service};
use crate::model::virtual_service::{Place, VirtualService};

pub mod domains;
pub mod inbound;
pub mod listeners;
pub mod routes;

/// Port that outbound connections are redirected to.
pub const OUTBOUND_PORT: u16 = 15001;
/// Port that inbound connections are redirected to.
pub const INBOUND_PORT: u16 = 15006;

/// Ports of a host that is reached from here, each with the definition that has it.
pub type Ports<'a> = BTreeMap<u16, (&'a Arc<Service>, &'a Port)>;

/// What a sidecar sees.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The sidecar and its mesh.
    pub options: &'a Options,
    /// What destination hosts stand for.
    pub registry: &'a Registry,
    /// VirtualServices that act in the mesh, in the order in which they apply.
    rules: Vec<&'a VirtualService>,
    /// Their positions by the hosts that they write.
    by_host: HashMap<&'a Host, Vec<usize>>,
    /// Hosts that are reached, by name.
    hosts: BTreeMap<&'a str, Ports<'a>>,
    /// Other names of hosts: Services of type ExternalName that stand for them.
    aliases: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Scope<'a> {
    /// What a sidecar sees of these VirtualServices, in any order, and of the registry, which holds nothing that is hidden
    /// from it.
    #[must_use]
    pub fn new(
        options: &'a Options,
        registry: &'a Registry,
        services: impl Iterator<Item = &'a VirtualService>,
    ) -> Self {
        let seen = services.filter(|s| s.in_mesh && !s.hosts.is_empty() && s.order.is_some());
        let mut rules: Vec<&VirtualService> = seen.collect();
        rules.sort_by(|a, b| (&a.order, &a.key).cmp(&(&b.order, &b.key)));
        let mut by_host: HashMap<&Host, Vec<usize>> = HashMap::new();
        for (number, service) in rules.iter().enumerate() {
            service.hosts.iter().for_each(|host| by_host.entry(host).or_default().push(number));
        }
        let (mut hosts, mut aliases) = (BTreeMap::new(), BTreeMap::<&str, Vec<&str>>::new());
        for host in registry.hosts() {
            match alias(host, registry) {
                Some(of) => aliases.entry(of).or_default().push(host),
                None => _ = hosts.insert(&**host, registry.ports(host)),
            }
        }
        aliases.values_mut().for_each(|names| names.sort_unstable());
        Self { options, registry, rules, by_host, hosts, aliases }
    }

    /// The hosts that are reached, by name, with their ports.
    pub fn hosts(&self) -> impl Iterator<Item = (&'a str, &Ports<'a>)> {
        self.hosts.iter().map(|(host, ports)| (*host, ports))
    }

    /// The ports of a host that is reached.
    #[must_use]
    pub fn ports(&self, host: &str) -> Option<&Ports<'a>> {
        self.hosts.get(host)
    }

    /// Other names of a host.
    #[must_use]
    pub fn aliases(&self, host: &str) -> &[&'a str] {
        self.aliases.get(host).map_or(&[], Vec::as_slice)
    }

    /// The VirtualServices that act in the mesh, in the order in which they apply.
    #[must_use]
    pub fn rules(&self) -> &[&'a VirtualService] {
        &self.rules
    }

    /// The VirtualServices with a host that holds this one: those of the narrowest host first, each by its order.
    pub fn concerning(&self, host: &Host) -> impl Iterator<Item = &'a VirtualService> {
        let positions = host.patterns().filter_map(|pattern| self.by_host.get(&pattern));
        positions.flatten().map(|position| self.rules[*position])
    }

    /// The place of rules for a port.
    #[must_use]
    pub fn place(port: u16) -> Place {
        Place { gateway: names::MESH.into(), port, tls: false, http3: false }
    }

    /// Whether rules of a condition on connections act here.
    #[must_use]
    pub fn is_source(&self, labels: &BTreeMap<String, String>, namespace: &str) -> bool {
        self.options.carries(labels)
            && (namespace.is_empty() || namespace == self.options.namespace)
    }
}

/// The known host that a host is but another name of.
fn alias<'a>(host: &str, registry: &'a Registry) -> Option<&'a str> {
    let mut definitions = registry.definitions(host);
    let stands_for = definitions.next()?.alias_of()?.to_ascii_lowercase();
    let known = registry.definitions(&stands_for).next()?;
    (stands_for != host && known.alias_of().is_none()).then_some(&*known.host)
}

/// What is spoken on a port, as far as it decides who looks at connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Requests.
    Http,
    /// Bytes; with TLS around them or not.
    Tcp {
        /// Whether they begin with a ClientHello.
        tls: bool,
    },
    /// Whatever it turns out to be.
    Auto,
}

impl Spoken {
    /// What is spoken on a port; `None` for what no connection carries.
    #[must_use]
    pub fn on(port: &Port) -> Option<Self> {
        Some(match port.protocol {
            None => Self::Auto,
            Some(protocol) if protocol.is_http() => Self::Http,
            Some(protocol) if protocol.is_tcp() => Self::Tcp { tls: protocol.is_tls() },
            Some(_) => return None,
        })
    }

    /// Whether requests may be among it.
    #[must_use]
    pub fn has_requests(self) -> bool {
        matches!(self, Self::Http | Self::Auto)
    }
}

//! What is seen through one egress listener: the hosts that it brings in, and the rules for them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::istio::sidecar::{CaptureMode, EgressListener};
use tidegate_api::istio::{Protocol, Sidecar};

use super::Ports;
use super::imports::Imports;
use super::routes::TableName;
use crate::model::host::Host;
use crate::model::registry::{Registry, ports_of};
use crate::model::service::{Port, Service};
use crate::model::virtual_service::VirtualService;
use crate::{Options, OutboundPolicy};

/// What is seen through one egress listener of a Sidecar; without a Sidecar there is one, through which everything is seen.
#[derive(Debug)]
pub struct Egress<'a> {
    /// The sidecar and its mesh.
    pub options: &'a Options,
    /// What destination hosts stand for.
    pub registry: &'a Registry,
    /// Which connections it is about.
    pub place: Place<'a>,
    /// The address that is listened on in place of those of its hosts.
    pub bind: Option<IpAddr>,
    /// Whether that address is really bound; else connections have to be redirected.
    pub bound: bool,
    /// VirtualServices that act in the mesh, in the order in which they apply.
    rules: Vec<&'a VirtualService>,
    /// Their positions by the hosts that they write.
    by_host: HashMap<&'a Host, Vec<usize>>,
    /// Hosts that are reached, by name.
    hosts: BTreeMap<&'a str, Ports<'a>>,
    /// Which hosts it brings in; all without.
    imports: Option<Imports>,
    /// Other names of hosts: Services of type ExternalName that stand for them.
    aliases: BTreeMap<&'a str, Vec<&'a str>>,
}

/// Which connections an egress listener is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Those to every port of its hosts that no other listener has.
    Everywhere,
    /// Those to one port.
    Port {
        /// Its number.
        number: u16,
        /// What is spoken there, whatever the hosts say.
        protocol: Protocol,
    },
    /// Those to a Unix socket.
    Socket {
        /// `unix://` and the path.
        path: &'a str,
        /// What is spoken there.
        protocol: Protocol,
    },
}

impl Place<'_> {
    /// Whether requests name the ports of hosts, which its own says nothing of: it is a proxy to them.
    #[must_use]
    pub const fn is_proxy(&self) -> bool {
        matches!(self, Self::Socket { .. } | Self::Port { protocol: Protocol::HttpProxy, .. })
    }

    /// The Unix socket that it is about.
    #[must_use]
    pub const fn socket(&self) -> Option<&'_ str> {
        match self {
            Self::Socket { path, .. } => Some(path),
            Self::Everywhere | Self::Port { .. } => None,
        }
    }

    /// The one port of hosts that it is about.
    const fn port(&self) -> Option<u16> {
        match self {
            Self::Port { number, .. } if !self.is_proxy() => Some(*number),
            _ => None,
        }
    }
}

impl<'a> Egress<'a> {
    /// What is seen where no Sidecar says anything of it. Rules come in the order in which they apply.
    #[must_use]
    pub fn of_all(
        options: &'a Options,
        registry: &'a Registry,
        rules: Vec<&'a VirtualService>,
    ) -> Self {
        Self::seen(options, registry, Place::Everywhere, rules, |_| true)
    }

    /// What is seen through an egress listener of a Sidecar. Rules come in the order in which they apply.
    #[must_use]
    pub fn of(
        listener: &'a EgressListener,
        options: &'a Options,
        registry: &'a Registry,
        rules: &[&'a VirtualService],
    ) -> Self {
        let imports = Imports::new(&listener.hosts, &options.namespace);
        let place = match &listener.port {
            None => Place::Everywhere,
            Some(port) => match port.number {
                Some(number) => Place::Port { number: number.get(), protocol: port.protocol },
                None => Place::Socket { path: &listener.bind, protocol: port.protocol },
            },
        };
        let taken = rules.iter().copied().filter(|rules| imports.bring_in_rules(rules));
        let brings_in = |service: &Service| imports.bring_in(service);
        let seen = Self::seen(options, registry, place, taken.collect(), brings_in);
        let is_socket = place.socket().is_some();
        // Nothing can be redirected to a socket.
        let bound = is_socket || listener.capture_mode == CaptureMode::None;
        let loopback =
            options.workload().and_then(|workload| workload.loopbacks().first().copied());
        let loopback = loopback.filter(|_| bound && !is_socket);
        let bind = listener.bind.parse().ok().or(loopback);
        Self { bind, bound, imports: Some(imports), ..seen }
    }

    fn seen(
        options: &'a Options,
        registry: &'a Registry,
        place: Place<'a>,
        rules: Vec<&'a VirtualService>,
        brings_in: impl Fn(&Service) -> bool,
    ) -> Self {
        let mut by_host: HashMap<&Host, Vec<usize>> = HashMap::new();
        for (number, service) in rules.iter().enumerate() {
            service.hosts.iter().for_each(|host| by_host.entry(host).or_default().push(number));
        }
        let (mut hosts, mut aliases) = (Vec::new(), BTreeMap::<&str, Vec<&str>>::new());
        for host in registry.hosts() {
            let mut brought =
                registry.definitions(host).filter(|service| brings_in(service)).peekable();
            if brought.peek().is_none() {
                continue;
            }
            let mut ports = ports_of(brought);
            ports.retain(|number, _| place.port().is_none_or(|only| *number == only));
            if let Some(of) = alias(host, registry) {
                aliases.entry(of).or_default().push(host);
                // At a port that nobody says of the target, it is what it would be if nobody described that at all.
                let said = registry.ports(of);
                ports.retain(|number, _| !said.contains_key(number));
                if ports.is_empty() {
                    continue;
                }
            }
            hosts.push((&**host, ports));
        }
        let hosts = BTreeMap::from_iter(hosts);
        aliases.values_mut().for_each(|names| names.sort_unstable());
        let (bind, bound, imports) = (None, false, None);
        Self { options, registry, place, bind, bound, rules, by_host, hosts, imports, aliases }
    }

    /// What is done with what nobody describes. What dials the listener itself names no other address that it could go to.
    #[must_use]
    pub fn elsewhere(&self) -> OutboundPolicy {
        // As in Istio, a socket's route configuration says what the policy does; it leads nowhere, as nothing was dialled.
        let bound = self.bound && self.place.socket().is_none();
        match bound && self.options.egress_proxy.is_none() {
            true => OutboundPolicy::RegistryOnly,
            false => self.options.outbound_policy,
        }
    }

    /// Whether it brings in a host as an object defines it.
    #[must_use]
    pub fn brings_in(&self, service: &Service) -> bool {
        self.imports.as_ref().is_none_or(|imports| imports.bring_in(service))
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

    /// The ports of the services that are other names of hosts.
    pub fn all_aliases(&self) -> impl Iterator<Item = (&'a Arc<Service>, &'a Port)> {
        let definitions =
            self.aliases.values().flatten().map(|alias| self.registry.definitions(alias));
        let services = definitions.flatten();
        services.flat_map(|service| service.ports.iter().map(move |port| (service, port)))
    }

    /// The hosts that what goes through it may be sent to: those with a port that it is about, other names of hosts, and the
    /// destinations of its rules.
    pub(super) fn needs(&self) -> impl Iterator<Item = Arc<str>> {
        let own = self.hosts.values().filter_map(|ports| ports.values().next());
        let own = own.map(|(service, _)| Arc::clone(&service.host));
        let aliases = self.aliases.values().flatten().map(|alias| Arc::from(*alias));
        let ruled = self.rules.iter().flat_map(|rules| rules.destinations().chain(rules.mirrors()));
        own.chain(aliases).chain(ruled.map(|(_, _, to)| Arc::from(to.host.as_str())))
    }

    /// The VirtualServices that act in the mesh, in the order in which they apply.
    #[must_use]
    pub fn rules(&self) -> &[&'a VirtualService] {
        &self.rules
    }

    /// The VirtualServices with a host that holds this one: those of the narrowest host first, each by its order.
    pub fn concerning(&self, host: &str) -> impl Iterator<Item = &'a VirtualService> {
        // Where there are no rules, there is nothing to look up for each of many hosts.
        let host = (!self.rules.is_empty()).then(|| Host::new(host));
        let patterns = host.into_iter().flat_map(|host| host.patterns().collect::<Vec<_>>());
        let positions = patterns.filter_map(|pattern| self.by_host.get(&pattern));
        positions.flatten().map(|position| self.rules[*position])
    }

    /// Whether rules of a condition on connections act here.
    #[must_use]
    pub fn is_source(&self, labels: &BTreeMap<String, String>, namespace: &str) -> bool {
        self.options.carries(labels)
            && (namespace.is_empty() || namespace == self.options.namespace)
    }
}

/// What the egress listener for the requests of a route configuration brings in; `None` where no listener of the Sidecar is for these.
#[must_use]
pub fn imports_at(sidecar: &Sidecar, table: &TableName, options: &Options) -> Option<Imports> {
    let is_for = |listener: &&EgressListener| match (&listener.port, table) {
        (None, TableName::Socket(_)) => false,
        (None, TableName::Port(_) | TableName::Service(..)) => true,
        (Some(own), TableName::Port(port) | TableName::Service(_, port)) => {
            own.number.is_some_and(|number| number.get() == *port)
        }
        (Some(own), TableName::Socket(path)) => own.number.is_none() && *listener.bind == **path,
    };
    let listener = sidecar.egress.iter().find(is_for)?;
    Some(Imports::new(&listener.hosts, &options.namespace))
}

/// The known host that a host is but another name of.
fn alias<'a>(host: &str, registry: &'a Registry) -> Option<&'a str> {
    let mut definitions = registry.definitions(host);
    let stands_for = definitions.next()?.alias_of()?.to_ascii_lowercase();
    let known = registry.definitions(&stands_for).next()?;
    (stands_for != host && known.alias_of().is_none()).then_some(&*known.host)
}

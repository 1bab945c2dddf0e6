//! Virtual hosts of a sidecar: who answers for which names on a port.
//!
//! The oldest VirtualService of the narrowest host decides for a service, and no other is merged with it. A service without one is
//! sent to as it is. Hosts of VirtualServices that no service has count on port 80, and beside a service of the port.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::domains;
use super::{Egress, Scope, Spoken};
use crate::OutboundPolicy;
use crate::model::host::Host;
use crate::model::names;
use crate::model::service::Service;
use crate::model::virtual_service::VirtualService;

/// Port on which hosts count that no service has.
const DEFAULT_HTTP_PORT: u16 = 80;

/// Name of the virtual host for everything else, where that is sent on.
pub const ALLOW_ANY: &str = "allow_any";
/// Name of the virtual host for everything else, where that is sent to whom it asks for.
pub const ALLOW_ANY_DYNAMIC_DNS: &str = "allow_any_dynamic_dns";
/// Name of the virtual host for everything else, where that is refused.
pub const BLOCK_ALL: &str = "block_all";

/// Which requests a route configuration is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableName {
    /// Those of a port, whoever they are for.
    Port(u16),
    /// Those for one service, which has an address of its own.
    Service(Arc<str>, u16),
    /// Those that come through a Unix socket, which is named `unix://` and its path.
    Socket(Arc<str>),
}

/// The virtual hosts of a port, and who lost.
#[derive(Debug, Default)]
pub struct PortHosts {
    /// The virtual hosts, in the order in which they take their domains.
    pub hosts: Vec<VirtualHost>,
    /// VirtualServices that others come before.
    pub lost: Vec<Lost>,
}

/// One virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// The hosts of requests that it answers.
    pub domains: Vec<String>,
    /// The port that requests are for.
    pub port: u16,
    /// What it does with them.
    pub target: Target,
    /// The host that they are for, where they name it otherwise: a Service of type ExternalName that stands for it.
    pub called: Option<Arc<str>>,
}

/// Where requests go that no rule sends anywhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Onward {
    /// To their port of a service.
    Service(Arc<Service>),
    /// Nobody describes where: this is done with them.
    Elsewhere(OutboundPolicy),
}

/// What a virtual host does with requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// What the rules of a VirtualService say; those that only limit requests send them onward.
    Rules(ObjectKey, Onward),
    /// They go to the port of a service.
    Service(Arc<Service>),
    /// Nobody describes where they go: this is done with them.
    Elsewhere(OutboundPolicy),
}

/// A VirtualService that another one comes before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Who lost.
    pub loser: ObjectKey,
    /// The host.
    pub host: String,
    /// Who answers for it.
    pub winner: ObjectKey,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Service(host, port) => write!(f, "{host}:{port}"),
            Self::Socket(path) => f.write_str(path),
        }
    }
}

/// The virtual hosts of a port, but the one for everything else.
#[must_use]
pub fn hosts(egress: &Egress<'_>, port: u16) -> PortHosts {
    let mut found = PortHosts::default();
    let mut taken: HashMap<String, ObjectKey> = HashMap::new();
    let mut owned: BTreeSet<Arc<str>> = BTreeSet::new();
    for rules in egress.rules().iter().filter(|rules| acts(rules, port, egress)) {
        let Claims { services, others, lost } = claims(rules, port, egress);
        found.lost.extend(lost);
        let alone = port == DEFAULT_HTTP_PORT && !egress.place.is_proxy();
        if services.is_empty() && !alone {
            continue;
        }
        let mut take = |name: String, domains: Vec<String>, onward| match taken.get(&name) {
            Some(winner) => Some(winner.clone()),
            None => {
                taken.insert(name.clone(), rules.key.clone());
                let target = Target::Rules(rules.key.clone(), onward);
                found.hosts.push(VirtualHost { name, domains, port, target, called: None });
                None
            }
        };
        for host in others {
            let name = names::virtual_host(host.as_str(), port);
            let domains = vec![domains::bracketed(host.as_str())];
            if let Some(winner) = take(name, domains, Onward::Elsewhere(egress.elsewhere())) {
                let (loser, host) = (rules.key.clone(), host.to_string());
                found.lost.push(Lost { loser, host, winner });
            }
        }
        for service in services {
            let onward = Onward::Service(Arc::clone(service));
            take(
                names::virtual_host(&service.host, port),
                domains::of(service, egress).all,
                onward,
            );
            owned.insert(Arc::clone(&service.host));
        }
    }
    let free = at(egress, port)
        .filter(|(service, spoken)| spoken.has_requests() && !owned.contains(&service.host));
    found.hosts.extend(free.map(|(service, _)| VirtualHost {
        name: names::virtual_host(&service.host, port),
        domains: domains::of(service, egress).all,
        port,
        target: Target::Service(Arc::clone(service)),
        called: None,
    }));
    let renamed = found.hosts.iter().flat_map(|host| by_other_names(host, egress));
    let renamed: Vec<VirtualHost> = renamed.collect();
    found.hosts.extend(renamed);
    keep_apart(&mut found.hosts, egress, port);
    found
}

/// Those for requests that call the host of a virtual host by names which it need not know.
fn by_other_names(host: &VirtualHost, egress: &Egress<'_>) -> Vec<VirtualHost> {
    let (Target::Service(service) | Target::Rules(_, Onward::Service(service))) = &host.target
    else {
        return Vec::new();
    };
    let renamed = domains::foreign(service, egress).map(|(alias, domains)| VirtualHost {
        name: names::virtual_host_of_alias(alias, host.port),
        domains: domains.all,
        called: Some(Arc::clone(&service.host)),
        ..host.clone()
    });
    renamed.collect()
}

/// The virtual hosts of all ports, for requests that say in their Host which port they are for; none is [`DEFAULT_HTTP_PORT`].
fn of_every_port(egress: &Egress<'_>) -> PortHosts {
    let ports = egress.hosts().flat_map(|(_, ports)| ports.keys().copied());
    let ports: BTreeSet<u16> = ports.chain([DEFAULT_HTTP_PORT]).collect();
    let mut all = PortHosts::default();
    for port in ports {
        let PortHosts { mut hosts, lost } = hosts(egress, port);
        for host in &mut hosts {
            let plain = match port {
                DEFAULT_HTTP_PORT => host.domains.clone(),
                _ => Vec::new(),
            };
            host.domains.iter_mut().for_each(|domain| *domain = format!("{domain}:{port}"));
            host.domains.extend(plain);
        }
        all.hosts.extend(hosts);
        all.lost.extend(lost);
    }
    all
}

/// The virtual hosts of route configurations. Those of a port are laid out once, however many services of it have one of their own.
#[derive(Debug)]
pub struct Tables<'s, 'a> {
    scope: &'s Scope<'a>,
    of_services: HashMap<u16, OfServices>,
}

/// The virtual hosts of a port, as services with an address of their own take theirs.
#[derive(Debug, Default)]
struct OfServices {
    hosts: Vec<VirtualHost>,
    /// Which one answers for a name.
    by_domain: HashMap<String, usize>,
    /// Those for requests that call a host otherwise, by that host.
    renamed: HashMap<Arc<str>, Vec<usize>>,
}

impl OfServices {
    fn new(hosts: Vec<VirtualHost>) -> Self {
        let mut found = Self::default();
        for (number, host) in hosts.iter().enumerate() {
            for domain in &host.domains {
                found.by_domain.entry(domain.clone()).or_insert(number);
            }
            if let Some(called) = &host.called {
                found.renamed.entry(Arc::clone(called)).or_default().push(number);
            }
        }
        Self { hosts, ..found }
    }

    /// Those of one service, whatever requests that come to its address ask for.
    fn of(&self, host: &Arc<str>) -> Vec<VirtualHost> {
        let own = self.by_domain.get(&**host).copied();
        let renamed = self.renamed.get(host).into_iter().flatten().copied();
        let found = renamed.filter(|number| own != Some(*number)).map(|n| self.hosts[n].clone());
        let every =
            |own: usize| VirtualHost { domains: vec!["*".to_owned()], ..self.hosts[own].clone() };
        found.chain(own.map(every)).collect()
    }
}

impl<'s, 'a> Tables<'s, 'a> {
    /// Those that follow from what is seen.
    #[must_use]
    pub fn new(scope: &'s Scope<'a>) -> Self {
        Self { scope, of_services: HashMap::new() }
    }

    /// The virtual hosts of a route configuration.
    #[must_use]
    pub fn table(&mut self, name: &TableName) -> PortHosts {
        let Some(egress) = self.scope.egress_of(name) else { return PortHosts::default() };
        match name {
            TableName::Service(host, port) => {
                let of_services = self.of_services.entry(*port);
                let all =
                    of_services.or_insert_with(|| OfServices::new(hosts(egress, *port).hosts));
                // Who lost is told of the port.
                PortHosts { hosts: all.of(host), lost: Vec::new() }
            }
            TableName::Port(port) if !egress.place.is_proxy() => {
                let mut found = hosts(egress, *port);
                found.hosts.push(elsewhere(egress, *port));
                found
            }
            TableName::Port(_) | TableName::Socket(_) => {
                let mut found = of_every_port(egress);
                found.hosts.push(elsewhere(egress, DEFAULT_HTTP_PORT));
                found
            }
        }
    }
}

/// The name of the virtual host for everything that no object describes.
#[must_use]
pub fn elsewhere_name(policy: OutboundPolicy) -> &'static str {
    match policy {
        OutboundPolicy::AllowAny => ALLOW_ANY,
        OutboundPolicy::AllowAnyDynamicDns => ALLOW_ANY_DYNAMIC_DNS,
        OutboundPolicy::RegistryOnly => BLOCK_ALL,
    }
}

/// The virtual host for everything that no object describes.
fn elsewhere(egress: &Egress<'_>, port: u16) -> VirtualHost {
    let policy = egress.elsewhere();
    let name = elsewhere_name(policy);
    let (domains, target) = (vec!["*".to_owned()], Target::Elsewhere(policy));
    VirtualHost { name: name.to_owned(), domains, port, target, called: None }
}

/// Whether rules of a VirtualService apply to requests of this workload on a port.
fn acts(rules: &VirtualService, port: u16, egress: &Egress<'_>) -> bool {
    rules.routes_requests(&Scope::place(port), egress.options)
}

/// The services that have a port, by name.
fn at<'s, 'a>(
    egress: &'s Egress<'a>,
    port: u16,
) -> impl Iterator<Item = (&'a Arc<Service>, Spoken)> + use<'s, 'a> {
    egress.hosts().filter_map(move |(_, ports)| {
        let (service, port) = ports.get(&port)?;
        Some((*service, Spoken::on(port)?))
    })
}

/// What a VirtualService answers for on a port.
struct Claims<'a> {
    /// Services that are its own.
    services: Vec<&'a Arc<Service>>,
    /// Hosts that no service has there.
    others: Vec<Host>,
    lost: Vec<Lost>,
}

fn claims<'a>(rules: &VirtualService, port: u16, egress: &Egress<'a>) -> Claims<'a> {
    let mut claims = Claims { services: Vec::new(), others: Vec::new(), lost: Vec::new() };
    for host in &rules.hosts {
        let mut known = false;
        for (service, spoken) in within(host, port, egress) {
            known = true;
            let owner = egress.concerning(&service.host).find(|rules| acts(rules, port, egress));
            if owner.is_none_or(|owner| owner.key == rules.key) {
                if spoken.has_requests() && !claims.services.contains(&service) {
                    claims.services.push(service);
                }
            } else if let Some(owner) = owner.filter(|_| !host.is_wildcard()) {
                claims.lost.push(Lost {
                    loser: rules.key.clone(),
                    host: host.to_string(),
                    winner: owner.key.clone(),
                });
            }
        }
        if !known {
            claims.others.push(host.clone());
        }
    }
    claims
}

/// The services of a port whose names a host holds: of a name, that very one.
fn within<'a>(host: &Host, port: u16, egress: &Egress<'a>) -> Vec<(&'a Arc<Service>, Spoken)> {
    if host.is_wildcard() {
        return at(egress, port).filter(|(s, _)| Host::new(&s.host).is_within(host)).collect();
    }
    let found = egress.ports(host.as_str()).and_then(|ports| ports.get(&port));
    found.and_then(|(service, port)| Some((*service, Spoken::on(port)?))).into_iter().collect()
}

/// Leaves every domain to the virtual host that comes first; a short name of a service is left to whoever is really called so.
/// A virtual host without a domain goes.
fn keep_apart(hosts: &mut Vec<VirtualHost>, egress: &Egress<'_>, port: u16) {
    let short: HashMap<String, Vec<String>> = at(egress, port)
        .flat_map(|(service, _)| {
            let own =
                (names::virtual_host(&service.host, port), domains::shortened(service, egress));
            let foreign = domains::foreign(service, egress)
                .map(|(alias, domains)| (names::virtual_host_of_alias(alias, port), domains.short));
            foreign.chain([own]).filter(|(_, short)| !short.is_empty())
        })
        .collect();
    let is_full = |domain: &str| {
        let found = egress.ports(domain).and_then(|ports| ports.get(&port));
        found.is_some_and(|(_, port)| Spoken::on(port).is_some())
    };
    let mut taken: HashSet<String> = HashSet::new();
    hosts.retain_mut(|host| {
        let short = short.get(&host.name).map_or(&[][..], Vec::as_slice);
        host.domains.retain(|domain| {
            let borrowed = short.contains(domain) && is_full(domain);
            !borrowed && taken.insert(domain.to_ascii_lowercase())
        });
        !host.domains.is_empty()
    });
}

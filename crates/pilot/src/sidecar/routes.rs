//! Virtual hosts of a sidecar: who answers for which names on a port.
//!
//! The oldest VirtualService of the narrowest host decides for a service, and no other is merged with it. A service without one is
//! sent to as it is. Hosts of VirtualServices that no service has count on port 80, and beside a service of the port.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::domains::{self, Domains};
use super::{Scope, Spoken};
use crate::model::host::Host;
use crate::model::names;
use crate::model::service::Service;
use crate::model::virtual_service::VirtualService;

/// Port on which hosts count that no service has.
const DEFAULT_HTTP_PORT: u16 = 80;

/// Name of the virtual host for everything else, where that is sent on.
pub const ALLOW_ANY: &str = "allow_any";
/// Name of the virtual host for everything else, where that is refused.
pub const BLOCK_ALL: &str = "block_all";

/// Which requests a route configuration is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableName {
    /// Those of a port, whoever they are for.
    Port(u16),
    /// Those for one service, which has an address of its own.
    Service(Arc<str>, u16),
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
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// The hosts of requests that it answers.
    pub domains: Vec<String>,
    /// What it does with them.
    pub target: Target,
}

/// What a virtual host does with requests.
#[derive(Clone, Debug)]
pub enum Target {
    /// What the rules of a VirtualService say.
    Rules(ObjectKey),
    /// They go to the port of a service.
    Service(Arc<Service>),
    /// Nobody describes where they go.
    Elsewhere,
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
        }
    }
}

/// The virtual hosts of a port, but the one for everything else.
#[must_use]
pub fn hosts(scope: &Scope<'_>, port: u16) -> PortHosts {
    let mut found = PortHosts::default();
    let mut taken: HashMap<String, ObjectKey> = HashMap::new();
    let mut owned: BTreeSet<Arc<str>> = BTreeSet::new();
    for rules in scope.rules().iter().filter(|rules| acts(rules, port, scope)) {
        let Claims { services, others, lost } = claims(rules, port, scope);
        found.lost.extend(lost);
        if services.is_empty() && port != DEFAULT_HTTP_PORT {
            continue;
        }
        let mut take = |name: String, domains: Vec<String>| match taken.get(&name) {
            Some(winner) => Some(winner.clone()),
            None => {
                taken.insert(name.clone(), rules.key.clone());
                let target = Target::Rules(rules.key.clone());
                found.hosts.push(VirtualHost { name, domains, target });
                None
            }
        };
        for host in others {
            let name = names::virtual_host(host.as_str(), port);
            if let Some(winner) = take(name, vec![domains::bracketed(host.as_str())]) {
                let (loser, host) = (rules.key.clone(), host.to_string());
                found.lost.push(Lost { loser, host, winner });
            }
        }
        for service in services {
            take(names::virtual_host(&service.host, port), domains::of(service, scope).all);
            owned.insert(Arc::clone(&service.host));
        }
    }
    let free = at(scope, port)
        .filter(|(service, spoken)| spoken.has_requests() && !owned.contains(&service.host));
    found.hosts.extend(free.map(|(service, _)| VirtualHost {
        name: names::virtual_host(&service.host, port),
        domains: domains::of(service, scope).all,
        target: Target::Service(Arc::clone(service)),
    }));
    keep_apart(&mut found.hosts, scope, port);
    found
}

/// The virtual hosts of a route configuration.
#[must_use]
pub fn table(name: &TableName, scope: &Scope<'_>) -> PortHosts {
    match name {
        TableName::Port(port) => {
            let mut found = hosts(scope, *port);
            found.hosts.push(elsewhere(scope));
            found
        }
        TableName::Service(host, port) => {
            let mut found = hosts(scope, *port);
            found.hosts.retain(|known| known.domains.iter().any(|domain| **domain == **host));
            found.hosts.truncate(1);
            found.hosts.iter_mut().for_each(|host| host.domains = vec!["*".to_owned()]);
            found
        }
    }
}

/// The virtual host for everything that no object describes.
fn elsewhere(scope: &Scope<'_>) -> VirtualHost {
    let name = match scope.options.outbound_policy {
        crate::OutboundPolicy::AllowAny => ALLOW_ANY,
        crate::OutboundPolicy::RegistryOnly => BLOCK_ALL,
    };
    VirtualHost { name: name.to_owned(), domains: vec!["*".to_owned()], target: Target::Elsewhere }
}

/// Whether rules of a VirtualService apply to requests of this workload on a port.
fn acts(rules: &VirtualService, port: u16, scope: &Scope<'_>) -> bool {
    rules.routes_requests(&Scope::place(port), scope.options)
}

/// The services that have a port, by name.
fn at<'s, 'a>(
    scope: &'s Scope<'a>,
    port: u16,
) -> impl Iterator<Item = (&'a Arc<Service>, Spoken)> + use<'s, 'a> {
    scope.hosts().filter_map(move |(_, ports)| {
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

fn claims<'a>(rules: &VirtualService, port: u16, scope: &Scope<'a>) -> Claims<'a> {
    let mut claims = Claims { services: Vec::new(), others: Vec::new(), lost: Vec::new() };
    for host in &rules.hosts {
        let mut known = false;
        for (service, spoken) in within(host, port, scope) {
            known = true;
            let full = Host::new(&service.host);
            let owner = scope.concerning(&full).find(|rules| acts(rules, port, scope));
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
fn within<'a>(host: &Host, port: u16, scope: &Scope<'a>) -> Vec<(&'a Arc<Service>, Spoken)> {
    if host.is_wildcard() {
        return at(scope, port).filter(|(s, _)| Host::new(&s.host).is_within(host)).collect();
    }
    let found = scope.ports(host.as_str()).and_then(|ports| ports.get(&port));
    found.and_then(|(service, port)| Some((*service, Spoken::on(port)?))).into_iter().collect()
}

/// Leaves every domain to the virtual host that comes first; a short name of a service is left to whoever is really called so.
/// A virtual host without a domain goes.
fn keep_apart(hosts: &mut Vec<VirtualHost>, scope: &Scope<'_>, port: u16) {
    let full: BTreeSet<&str> = at(scope, port).map(|(service, _)| &*service.host).collect();
    let short: HashMap<String, Domains> = at(scope, port)
        .map(|(service, _)| (names::virtual_host(&service.host, port), domains::of(service, scope)))
        .collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    hosts.retain_mut(|host| {
        let short = short.get(&host.name).map_or(&[][..], |domains| &domains.short);
        host.domains.retain(|domain| {
            let borrowed = short.contains(domain) && full.contains(domain.as_str());
            !borrowed && taken.insert(domain.to_ascii_lowercase())
        });
        !host.domains.is_empty()
    });
}

//! Several Gateways on one port: who listens, who shares, who loses.
//!
//! The oldest server of an address and port decides what is spoken there. Later servers join it if they
//! can be told apart: HTTP by host, TLS by SNI. Istio joins by the spelled protocol and the bind address in
//! the same way; where it drops a server silently, the refusal here names the winner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::gateway::{Class, Server, ServerHost};
use super::host::Host;
use super::names;
use super::tls::{Credential, Terms};

mod https;

/// What one port of the gateway becomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortPlan {
    /// One listener per address.
    pub listeners: Vec<ListenerPlan>,
    /// Servers that got no place, and why.
    pub refused: Vec<Refusal>,
}

/// One listener and the servers that share it, the oldest first. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerPlan {
    /// `ADDRESS_PORT`.
    pub name: Arc<str>,
    /// Address to listen on.
    pub address: String,
    /// Port to listen on.
    pub port: u16,
    /// Its route configurations: one for plain HTTP, one per TLS terms for HTTPS that is terminated.
    pub routes: Vec<RoutePlan>,
    /// How connections are served that name no server: by the first whose certificate is there. They are closed where there
    /// is none, unless a server takes every name.
    pub nameless: Vec<NamelessPlan>,
    /// The servers that share it.
    pub servers: Vec<Arc<Server>>,
}

/// One route configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Its name.
    pub name: Arc<str>,
    /// The servers whose hosts it routes, the oldest first. Never empty.
    pub servers: Vec<Arc<Server>>,
    /// With TLS, the hosts that belong to these servers, each with its owner's terms: the oldest of the listener's
    /// servers that has a host owns it.
    pub owned: BTreeMap<Host, Arc<Terms>>,
    /// Hosts of the listener for which other TLS terms hold.
    pub misdirected: BTreeSet<Host>,
    /// Whether hosts of servers that demand a certificate of clients are answered only where one was verified,
    /// as connections without one come here.
    pub checks_certificates: bool,
}

/// How connections are served that name no server (SNI).
#[derive(Clone, Debug, PartialEq)]
pub struct NamelessPlan {
    /// What is agreed on.
    pub terms: Arc<Terms>,
    /// The name of the route configuration.
    pub routes: Arc<str>,
}

/// A server without a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The server.
    pub server: Arc<Server>,
    /// Why, with the winner's name.
    pub reason: String,
}

/// Merges the servers of one port, given oldest first. `address` is where servers without `bind` listen.
#[must_use]
pub fn merge<'a>(
    port: u16,
    servers: impl Iterator<Item = &'a Arc<Server>>,
    address: &str,
) -> PortPlan {
    let mut plan = PortPlan::default();
    let mut hosts_by_address: HashMap<String, HashMap<ServerHost, Arc<Server>>> = HashMap::new();
    for server in servers {
        let address = if server.bind.is_empty() { address } else { &server.bind };
        let known = hosts_by_address.entry(address.to_owned()).or_default();
        match place(&mut plan.listeners, known, server, address, port) {
            Ok(()) => {}
            Err(reason) => plan.refused.push(Refusal { server: Arc::clone(server), reason }),
        }
    }
    plan.listeners.iter_mut().for_each(ListenerPlan::route);
    plan
}

impl ListenerPlan {
    /// Lays out the route configurations, once all servers are known.
    fn route(&mut self) {
        let Some(first) = self.servers.first() else { return };
        if self.is_plain_http() {
            self.routes = vec![RoutePlan {
                name: names::http_routes(self.port, &first.bind).into(),
                servers: self.servers.clone(),
                owned: BTreeMap::new(),
                misdirected: BTreeSet::new(),
                checks_certificates: false,
            }];
        } else {
            (self.routes, self.nameless) = https::plan(self.port, &first.bind, &self.servers);
        }
    }

    /// How connections are served that name no server, given which credentials are `usable`.
    pub fn serving_nameless(&self, usable: impl Fn(&Credential) -> bool) -> Option<&NamelessPlan> {
        self.nameless.iter().find(|plan| plan.terms.identities.iter().all(&usable))
    }

    /// Whether it carries plain HTTP: one filter chain, whatever its servers are.
    #[must_use]
    pub fn is_plain_http(&self) -> bool {
        self.servers.first().is_some_and(|server| server.class() == Class::Http)
    }
}

fn place(
    listeners: &mut Vec<ListenerPlan>,
    known_hosts: &mut HashMap<ServerHost, Arc<Server>>,
    server: &Arc<Server>,
    address: &str,
    port: u16,
) -> Result<(), String> {
    let class = server.class();
    if class == Class::Tcp && server.protocol.is_tls() {
        return Err(format!("{} needs tls settings, such as mode PASSTHROUGH", server.protocol));
    }
    let at = port_in_words(server, port);
    let listener = listeners.iter_mut().find(|l| l.address == address);
    if let Some(first) = listener.as_ref().and_then(|l| l.servers.first()) {
        if first.class() != class {
            let (has, wants) = (first.protocol, server.protocol);
            let owner = owner(first);
            return Err(format!(
                "{at} carries {has} for {owner}, which is older; {wants} cannot share it"
            ));
        }
        if class == Class::Tcp {
            let owner = owner(first);
            return Err(format!(
                "{at} belongs to {owner}, which is older; TCP servers cannot share one"
            ));
        }
    }
    // Also for a redirect to https on plain HTTP, whose hosts Istio counts among those with TLS settings.
    if server.tls.is_some() {
        if let Some((host, holder)) = server.hosts.iter().find_map(|h| known_hosts.get_key_value(h))
        {
            let (host, owner) = (&host.host, owner(holder));
            return Err(format!("host {host} on {at} belongs to {owner}, which is older"));
        }
        known_hosts.extend(server.hosts.iter().map(|h| (h.clone(), Arc::clone(server))));
    }
    match listener {
        Some(listener) => listener.servers.push(Arc::clone(server)),
        None => listeners.push(ListenerPlan {
            name: names::listener(address, port).into(),
            address: address.to_owned(),
            port,
            routes: Vec::new(),
            nameless: Vec::new(),
            servers: vec![Arc::clone(server)],
        }),
    }
    Ok(())
}

/// The port that a server asks for, and the one that stands for it where that is another.
fn port_in_words(server: &Server, port: u16) -> String {
    match server.port {
        own if own == port => format!("port {port}"),
        own => format!("port {own} (port {port} of this machine)"),
    }
}

fn owner(server: &Server) -> String {
    format!("{} of Gateway {}", server.place(), server.gateway)
}

#[cfg(test)]
mod tests;

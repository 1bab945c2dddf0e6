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
    /// How connections are served that name no server; they are closed where there is none, unless a server takes every
    /// name on its own terms.
    pub nameless: Option<NamelessPlan>,
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
    /// as connections without one come here: how others are answered.
    pub uncertified: Option<Uncertified>,
}

/// How a request for a host of a server that demands a certificate is answered on a connection without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uncertified {
    /// 403: the connection names no server.
    Forbidden,
    /// 421 where the connection names another server, so that the client connects anew and is asked; else 403.
    Misdirected,
}

/// How connections are served that name no server (SNI).
#[derive(Clone, Debug, PartialEq)]
pub struct NamelessPlan {
    /// What is agreed on.
    pub terms: Arc<Terms>,
    /// The name of the route configuration.
    pub routes: Arc<str>,
    /// The server whose filter chain it is, where that is for every name: so also for connections that name a server which
    /// nobody else has. Where there is none the chain lets in nobody else.
    pub every: Option<Arc<Server>>,
    /// Servers for every name that lack a credential. Their chains would take these connections from whoever can serve them.
    pub lacking: Vec<Arc<Server>>,
}

impl NamelessPlan {
    /// Whether it is the plan of this server's filter chain.
    #[must_use]
    pub fn is_of(&self, server: &Arc<Server>) -> bool {
        self.every.as_ref().is_some_and(|every| Arc::ptr_eq(every, server))
    }

    /// Whether a server's own chain is left out for it.
    #[must_use]
    pub fn displaces(&self, server: &Arc<Server>) -> bool {
        self.lacking.iter().any(|lacking| Arc::ptr_eq(lacking, server))
    }
}

/// A server without a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The server.
    pub server: Arc<Server>,
    /// Why, with the winner's name.
    pub reason: String,
}

/// Merges the servers of one port, given oldest first. `address` is where servers without `bind` listen. What they route is
/// laid out later ([`PortPlan::lay_out`]): it takes the credentials that they name.
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
    plan
}

impl PortPlan {
    /// Lays out the route configurations, given which credentials are `usable`.
    pub fn lay_out(&mut self, usable: impl Fn(&Credential) -> bool) {
        for listener in &mut self.listeners {
            listener.route(&usable);
        }
    }
}

impl ListenerPlan {
    fn route(&mut self, usable: impl Fn(&Credential) -> bool) {
        let Some(first) = self.servers.first() else { return };
        if self.is_plain_http() {
            self.routes = vec![RoutePlan {
                name: names::http_routes(self.port, &first.bind).into(),
                servers: self.servers.clone(),
                owned: BTreeMap::new(),
                misdirected: BTreeSet::new(),
                uncertified: None,
            }];
        } else {
            (self.routes, self.nameless) =
                https::plan(self.port, &first.bind, &self.servers, usable);
        }
    }

    /// The names of what may be compiled from it: its own, and that of a listener for HTTP/3 beside it.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        let http3 = self.servers.iter().any(|server| server.takes_http3());
        let beside = http3.then(|| names::over_udp(&self.name).into());
        [Arc::clone(&self.name)].into_iter().chain(beside).collect()
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
            let owner = owner(first, server);
            return Err(format!("{at} carries {has} for {owner}; {wants} cannot share it"));
        }
        if class == Class::Tcp {
            let owner = owner(first, server);
            return Err(format!("{at} belongs to {owner}; TCP servers cannot share one"));
        }
    }
    // Also for a redirect to https on plain HTTP, whose hosts Istio counts among those with TLS settings.
    if server.tls.is_some() {
        if let Some((host, holder)) = server.hosts.iter().find_map(|h| known_hosts.get_key_value(h))
        {
            let (lost, owner) = (&host.host, owner(holder, server));
            let rest = server.names().filter(|name| *name != lost).map(Host::as_str);
            let rest = few(&rest.collect::<Vec<_>>());
            let rest = match rest.as_str() {
                "" => String::new(),
                rest => format!("; so the whole server is closed, also for {rest}"),
            };
            return Err(format!("host {lost} on {at} belongs to {owner}{rest}"));
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
            nameless: None,
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

/// Who goes before another, and why.
fn owner(first: &Server, later: &Server) -> String {
    let why = first.why_before(later);
    format!("{} of Gateway {}, which {why}", first.place(), first.gateway)
}

/// Some of many, for a message.
fn few(all: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;

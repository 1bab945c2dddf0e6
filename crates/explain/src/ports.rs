//! Which ports are open, by what number clients know them, and what is said of one that is not.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::{Kind, ObjectKey};
use tidegate_pilot::model::host::Host;
use tidegate_proxy::config::listener::Listener;
use tidegate_proxy::pipe::known;

use crate::World;
use crate::lost::without_port;
use crate::question::{Question, Security};

/// Names that are told in one line.
const MOST_NAMES: usize = 5;

impl World {
    /// Takes in which ports a running process has open: it alone knows what the system let it bind. Nothing where nobody says.
    #[must_use]
    pub fn with_open_ports(mut self, open: Option<BTreeSet<u16>>) -> Self {
        self.open = open;
        self
    }

    /// The ports that objects ask for, open or not.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.config.listeners.values().flat_map(|l| l.addresses()).map(|address| address.port())
    }

    /// Whether a listener's port is open, as far as is known.
    pub(crate) fn is_open(&self, listener: &Listener) -> bool {
        self.open.as_ref().is_none_or(|open| open.contains(&listener.address.port()))
    }

    /// The addresses at which a port is open.
    fn addresses_of(&self, port: u16) -> BTreeSet<IpAddr> {
        let listeners = self.open_listeners().filter_map(|listener| known(listener.address));
        listeners.filter(|address| address.port() == port).map(|address| address.ip()).collect()
    }

    /// What is said of an address and port on which nothing listens.
    pub(crate) fn not_open(&self, question: &Question) -> String {
        let port = question.port;
        let elsewhere = self.addresses_of(port);
        if let Some(address) = question.address.filter(|_| !elsewhere.is_empty()) {
            let elsewhere: Vec<String> = elsewhere.iter().map(ToString::to_string).collect();
            let (asked, open) = (self.called(port), elsewhere.join(", "));
            return format!("port {asked} is not open at address {address}, only at {open}");
        }
        let named = self.ports().any(|named| named == port);
        let asked = self.called(port);
        let but = if named { ", though a Gateway asks for it" } else { "" };
        let open: BTreeSet<u16> = self.open_listeners().map(|l| l.address.port()).collect();
        let open: Vec<String> = open.into_iter().map(|port| self.called(port)).collect();
        match open.as_slice() {
            [] if named => format!("port {asked} is not open{but}, and no other is"),
            [] => format!(
                "port {asked} is not open: no Gateway that is served here opens any{}",
                self.missing_gateways()
            ),
            [one] => format!("port {asked} is not open{but}; only {one} is"),
            [first @ .., last] => {
                format!("port {asked} is not open{but}; {} and {last} are", first.join(", "))
            }
        }
    }

    /// The Gateways that VirtualServices name and that are not there.
    fn missing_gateways(&self) -> String {
        let services = self.pilot.virtual_services();
        let named = services.flat_map(|service| &service.gateways);
        let known = |name: &str| {
            name.split_once('/').is_some_and(|(namespace, name)| {
                self.has(&ObjectKey::new(Kind::Gateway, namespace, name))
            })
        };
        let missing: BTreeSet<&str> =
            named.map(|name| &**name).filter(|name| !known(name)).collect();
        let missing: Vec<&str> = missing.into_iter().take(MOST_NAMES).collect();
        match missing.as_slice() {
            [] => String::new(),
            several => {
                let several = several.join(", ");
                format!("; VirtualServices name {several}, and no such Gateway is here")
            }
        }
    }

    /// The open port that comes closest: the one that was asked for, at another address; else one where the client's
    /// protocol is spoken, and that of the request's host first.
    pub(crate) fn nearest_port(&self, question: &Question) -> Option<String> {
        if let (Some(_), Some(at)) = (question.address, self.addresses_of(question.port).first()) {
            return Some(format!("address {at} would be taken (--address)"));
        }
        let host = Host::new(without_port(&question.host));
        let serves = |listener: &Listener| {
            let plan = self.pilot.listener_plan(&listener.name);
            let servers = plan.into_iter().flat_map(|plan| &plan.servers);
            servers.flat_map(|server| server.names()).any(|name| host.is_within(name))
        };
        let tls = question.security == Security::Tls;
        let fitting = self.open_listeners().filter(|listener| speaks_tls(listener) == tls);
        let nearest = fitting.min_by_key(|l| (!serves(l), l.address.port()))?;
        Some(format!("port {} would be taken", self.called(nearest.address.port())))
    }

    /// What is said of a redirect to TLS after which the client would find a closed port.
    pub(crate) fn note_unreachable(&self, location: &str) -> Option<String> {
        let authority = location.strip_prefix("https://")?.split('/').next()?;
        let port = authority.strip_prefix(without_port(authority))?.strip_prefix(':');
        let port = port.map_or(Some(443), |port| port.parse::<u16>().ok())?;
        let services = self.pilot.options().services.iter();
        let bound = services.filter_map(|s| s.ports.get(&port)).next().copied().unwrap_or(port);
        let open = self.open_listeners().any(|listener| listener.address.port() == bound);
        (!open).then(|| format!("port {port}, where the client is sent, is not open"))
    }

    /// Those that a port leads to.
    fn open_listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let ported = self.config.listeners.values().filter(|listener| listener.pipe.is_none());
        ported.filter(|listener| self.is_open(listener))
    }

    /// A port as clients know it: by its number at the gateway's Service, where that is another.
    fn called(&self, port: u16) -> String {
        let mut fronts = self.pilot.options().services.iter().flat_map(|service| &service.ports);
        match fronts.find(|(front, bound)| **bound == port && **front != port) {
            Some((front, _)) => format!("{front} (bound at {port})"),
            None => port.to_string(),
        }
    }
}

/// Whether connections have to begin with a TLS handshake.
fn speaks_tls(listener: &Listener) -> bool {
    let mut chains = listener.chains.chains.iter().chain(&listener.chains.default);
    listener.chains.needs_inspection || chains.any(|chain| chain.tls.is_some())
}

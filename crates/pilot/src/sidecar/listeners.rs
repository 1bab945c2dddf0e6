//! Listeners for what goes out of a workload: one per port for what is told apart by its Host header, one per address and port
//! for what has an address of its own.
//!
//! Services share a listener where their filter chains can be told apart; of two that cannot, the older has it. Where requests and
//! other bytes share one, connections are looked into.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::istio::virtual_service::RouteDestination;
use tidegate_api::{Kind, ObjectKey};

use super::domains;
use super::routes::TableName;
use super::{Egress, INBOUND_PORT, OUTBOUND_PORT, Place, Scope, Spoken};
use crate::compile::listener::RulePath;
use crate::model::auto_address;
use crate::model::endpoints::Address;
use crate::model::names;
use crate::model::protocol::SERVER_SPEAKS_FIRST;
use crate::model::service::{Port, Service};
use crate::model::subnet::Subnet;
use crate::model::virtual_service::{Place as RulePlace, VirtualService, applies_to_connections};
use crate::{Options, OutboundPolicy, Workload};

/// Where clients dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// An address and a port; the wildcard address for all that no listener has for itself.
    Port(IpAddr, u16),
    /// A Unix socket: `unix://` and its path.
    Socket(Arc<str>),
}

/// A listener and what it tells apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where clients dial.
    pub at: At,
    /// Whether that is really bound; else connections have to be redirected.
    pub bound: bool,
    /// What is done with connections that no chain asks for.
    pub elsewhere: OutboundPolicy,
    /// Its filter chains, the older first. No two ask for the same.
    pub chains: Vec<Chain>,
    /// Whether requests may be among what it carries.
    sniffs: bool,
}

/// The listeners for what goes out, and who has no part in them.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// The listeners, by where they are.
    pub listeners: BTreeMap<At, Listener>,
    /// Ports of services whose connections others have.
    pub beaten: Vec<Beaten>,
}

/// A port of a service whose connections another one has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Beaten {
    /// The object that defines the service.
    pub loser: ObjectKey,
    /// Its host.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
    /// The object that defines the other one.
    pub winner: ObjectKey,
    /// Which of them.
    pub lost: Lost,
}

/// Which connections another service has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// All to the port: nothing tells them from those of an older one.
    All,
    /// All through a Unix socket, likewise.
    Socket(Arc<str>),
    /// Requests that are dialled to this address of its own, as bytes: they are told apart by address, and requests by name.
    Address(IpAddr),
}

/// A filter chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// What it asks of connections.
    pub asks: Asks,
    /// What it does with them.
    pub to: To,
    /// The service that it was made for; nothing where it is for whatever an egress listener brings in.
    pub service: Option<ObjectKey>,
    /// The hosts by whose names the workload has to have been led to an address for it to be let out there; none where that makes no
    /// difference.
    pub led_by: Vec<Arc<str>>,
    /// Whether bytes go where they were dialled.
    as_dialled: bool,
}

/// What a filter chain asks of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asks {
    /// Server names; none for any.
    pub server_names: Vec<String>,
    /// Where clients dial; nothing for anywhere.
    pub subnets: Vec<Subnet>,
    /// Whether they have to begin with a request, in plain text.
    pub requests: bool,
}

/// What a filter chain does with connections.
#[derive(Clone, Debug, PartialEq)]
pub enum To {
    /// Requests are routed.
    Routes(TableName),
    /// Bytes go where a rule says.
    Rule {
        /// The VirtualService of the rule.
        rules: ObjectKey,
        /// The rule.
        path: RulePath,
        /// Its destinations.
        route: Vec<RouteDestination>,
    },
    /// Bytes go to a service.
    Service {
        /// Its host.
        host: Arc<str>,
        /// Its port.
        port: u16,
    },
}

impl Listener {
    /// `ADDRESS_PORT`; the port of a Unix socket is 0, as in Istio.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.at {
            At::Port(address, port) => names::listener(&address.to_string(), *port),
            At::Socket(path) => names::listener(path, 0),
        }
    }

    /// The port that clients dial; 0 where there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.at {
            At::Port(_, port) => port,
            At::Socket(_) => 0,
        }
    }

    /// The route configurations that it asks.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.chains.iter().filter_map(|chain| match &chain.to {
            To::Routes(name) => Some(name),
            To::Rule { .. } | To::Service { .. } => None,
        })
    }
}

impl Asks {
    /// Whether it takes every connection.
    #[must_use]
    pub fn nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what it takes says in its own bytes whom it is for.
    fn has_name(&self) -> bool {
        self.requests || !self.server_names.is_empty()
    }
}

/// The listeners for what goes out.
#[must_use]
pub fn outbound(scope: &Scope<'_>) -> Outbound {
    let mut all = Outbound::default();
    let Some(workload) = scope.options.workload() else { return all };
    for egress in scope.egress() {
        let own = through(egress, workload);
        for (place, listener) in own.listeners {
            // What is about one port comes before what is about all.
            all.listeners.entry(place).or_insert(listener);
        }
        all.beaten.extend(own.beaten);
    }
    all
}

/// The listeners for what goes out through an egress listener.
fn through(egress: &Egress<'_>, workload: &Workload) -> Outbound {
    let wildcard = workload.wildcard();
    let only = match egress.place {
        Place::Everywhere => None,
        Place::Socket { path, protocol } => {
            Some((protocol, At::Socket(path.into()), TableName::Socket(path.into())))
        }
        Place::Port { number, protocol } => {
            let at = At::Port(egress.bind.unwrap_or(wildcard), number);
            Some((protocol, at, TableName::Port(number)))
        }
    };
    let spoken_here = match only {
        None => None,
        Some((protocol, at, table)) => {
            let Some(spoken) = Spoken::of(Some(protocol)) else { return Outbound::default() };
            if spoken == Spoken::Http {
                let listeners = BTreeMap::from([(at.clone(), requests(at, table, egress))]);
                return Outbound { listeners, beaten: Vec::new() };
            }
            Some(spoken)
        }
    };
    // A Unix socket does not say which port it is for.
    let is_socket = egress.place.socket().is_some();
    let asked = |ports: &&super::Ports<'_>| !is_socket || ports.len() == 1;
    let hosts = egress.hosts().map(|(_, ports)| ports).filter(asked);
    let mut ports: Vec<(&Arc<Service>, &Port)> =
        hosts.flat_map(|ports| ports.values().copied()).collect();
    ports.sort_by(|(a, p), (b, q)| (&a.age, &a.host, p.number).cmp(&(&b.age, &b.host, q.number)));
    let heres = ports.into_iter().filter_map(|(service, port)| {
        let spoken = spoken_here.or_else(|| Spoken::on(port))?;
        let own = [OUTBOUND_PORT, INBOUND_PORT].contains(&port.number); // The sidecar's.
        (!own).then_some(Here { egress, service, port, spoken, wildcard })
    });
    let heres: Vec<Here<'_, '_>> = heres.collect();
    let (mut joined, mut lost) = (Joined::default(), Vec::new());
    for here in &heres {
        let (mut beaten, mut listens) = (None, false);
        for (at, subnet) in here.binds(workload.addresses.first()) {
            match joined.join(here.listener(at, subnet), here.told_apart()) {
                None => listens = true,
                winner => beaten = winner,
            }
        }
        lost.extend(beaten.filter(|_| !listens).map(|winner| here.beaten_by(winner)));
    }
    lost.extend(heres.iter().filter_map(|here| here.beaten_at_address(&joined)));
    // A workload that asks somebody else for names dials none of the addresses that were given here. It is led by the names in what
    // it sends, after all who really have no address. Bytes without a name are for whoever has the port only where it is expected to
    // ask elsewhere: they may be meant for anybody.
    for here in heres.iter().filter(|here| here.was_given_addresses()) {
        let mut anywhere = here.listener(At::Port(wildcard, here.port.number), None);
        anywhere.chains.retain(|chain| egress.options.asks_elsewhere || chain.asks.has_name());
        if !anywhere.chains.is_empty() {
            joined.join(anywhere, here.told_apart());
        }
    }
    Outbound { listeners: joined.listeners, beaten: lost }
}

/// A listener for the requests to whatever an egress listener brings in.
fn requests(at: At, table: TableName, egress: &Egress<'_>) -> Listener {
    // Nothing else comes through a Unix socket that is for requests.
    let sniffs = matches!(at, At::Port(..));
    let asks = Asks { requests: sniffs, ..Asks::default() };
    let to = To::Routes(table);
    let chain = Chain { asks, to, service: None, led_by: Vec::new(), as_dialled: false };
    let (bound, elsewhere) = (egress.bound, egress.elsewhere());
    Listener { at, bound, elsewhere, chains: vec![chain], sniffs }
}

/// A port of a service for which listeners are made.
#[derive(Clone, Copy)]
struct Here<'s, 'a> {
    egress: &'s Egress<'a>,
    service: &'a Arc<Service>,
    port: &'a Port,
    spoken: Spoken,
    wildcard: IpAddr,
}

impl<'a> Here<'_, 'a> {
    /// The addresses that are listened on, each with the network that clients dial if it is none itself.
    fn binds(&self, own: Option<&IpAddr>) -> Vec<(At, Option<Subnet>)> {
        let Self { egress, service, port, spoken, wildcard } = *self;
        let at = |address| At::Port(address, port.number);
        if let Some(path) = egress.place.socket() {
            return vec![(At::Socket(path.into()), None)];
        }
        if let Some(bind) = egress.bind {
            return vec![(at(bind), None)];
        }
        if spoken == Spoken::Http {
            return vec![(at(wildcard), None)]; // Told apart by name.
        }
        if !service.addresses.is_empty() {
            let bind = |subnet: &Subnet| match subnet.single() {
                Some(address) => (at(address), None),
                None => (at(wildcard), Some(*subnet)),
            };
            return service.addresses.iter().map(bind).collect();
        }
        let kube = service.key.kind == Kind::Service;
        let endpoints =
            if service.direct { egress.registry.endpoints(service, port) } else { Vec::new() };
        if !service.direct || (!kube && endpoints.is_empty()) {
            return vec![(at(wildcard), None)];
        }
        let dialled = endpoints.iter().filter_map(|endpoint| match &endpoint.address {
            // What a workload sends to itself does not pass here.
            Address::Socket(address, _) => address.parse().ok().filter(|ip| Some(ip) != own),
            Address::Pipe(_) => None,
        });
        dialled.map(|address| (at(address), None)).collect()
    }

    fn beaten_by(&self, winner: ObjectKey) -> Beaten {
        let Self { egress, service, port, .. } = *self;
        let (loser, host) = (service.key.clone(), Arc::clone(&service.host));
        let lost = egress.place.socket().map_or(Lost::All, |path| Lost::Socket(path.into()));
        Beaten { loser, host, port: port.number, winner, lost }
    }

    /// Who carries what is dialled to an address of its own as bytes, where that is to be requests.
    fn beaten_at_address(&self, joined: &Joined) -> Option<Beaten> {
        let Self { egress, service, port, spoken, .. } = *self;
        if spoken != Spoken::Http || egress.bind.is_some() {
            return None;
        }
        let bytes = |address: IpAddr| {
            let there = joined.listeners.get(&At::Port(address, port.number))?;
            let takes = there.chains.iter().any(|chain| chain.asks.requests);
            let winner = there.chains.iter().find_map(|chain| chain.service.clone());
            Some((address, winner.filter(|_| !takes)?))
        };
        let mut own = service.addresses.iter().filter_map(Subnet::single);
        let (address, winner) = own.find_map(bytes)?;
        Some(Beaten { lost: Lost::Address(address), ..self.beaten_by(winner) })
    }

    /// Whether all that it listens on is what the workload is told by its sidecar alone.
    fn was_given_addresses(&self) -> bool {
        let Self { egress, service, spoken, .. } = *self;
        let given = |subnet: &Subnet| subnet.single().is_some_and(auto_address::is_given);
        let all = !service.addresses.is_empty() && service.addresses.iter().all(given);
        let elsewhere = egress.bind.is_none() && egress.place.socket().is_none();
        all && elsewhere && spoken != Spoken::Http
    }

    /// Whether a listener there is for whoever has the port, whatever address was dialled.
    fn is_shared(&self, at: &At) -> bool {
        match at {
            At::Port(address, _) => *address == self.wildcard || self.egress.bind == Some(*address),
            At::Socket(_) => true,
        }
    }

    fn listener(&self, at: At, subnet: Option<Subnet>) -> Listener {
        let mut chains = match self.spoken {
            Spoken::Http => Vec::new(),
            Spoken::Tcp { tls: true } => self.tls(&at, subnet),
            // All bytes of a port are not for one name of many that lead outside.
            Spoken::Auto if self.service.starts_tls(self.port) => self.tls(&at, subnet),
            Spoken::Tcp { tls: false } | Spoken::Auto => self.tcp(subnet),
        };
        if self.is_anywhere(&at) {
            for chain in chains.iter_mut().filter(|chain| chain.asks.nothing()) {
                chain.led_by = vec![Arc::clone(&self.service.host)];
                chain.as_dialled = self.service.direct && matches!(chain.to, To::Service { .. });
            }
        }
        if self.spoken.has_requests() {
            let number = self.port.number;
            let table = match self.is_shared(&at) {
                true => TableName::Port(number),
                false => TableName::Service(Arc::clone(&self.service.host), number),
            };
            let asks = Asks { requests: true, ..Asks::default() };
            chains.push(self.chain(asks, To::Routes(table)));
        }
        Listener {
            at,
            bound: self.egress.bound,
            elsewhere: self.egress.elsewhere(),
            chains,
            sniffs: self.spoken.has_requests(),
        }
    }

    /// Whether bytes that say no name are its own by their port alone, and yet it is known which name led the workload where: what
    /// was dialled by another is let out nowhere then. In Istio a ServiceEntry without resolution opens its port to every address.
    fn is_anywhere(&self, at: &At) -> bool {
        let Egress { options, bind, .. } = self.egress;
        let knows = options.captures_dns && !options.asks_elsewhere;
        let outside = self.service.key.kind == Kind::ServiceEntry;
        let refuses = self.egress.elsewhere() == OutboundPolicy::RegistryOnly;
        let led = !self.egress.bound && bind.is_none();
        let everywhere = matches!(at, At::Port(address, _) if *address == self.wildcard);
        knows && outside && refuses && led && everywhere
    }

    /// What its chains take of what is spoken: what looks at connections whose clients may begin with anything takes all of them.
    fn told_apart(&self) -> Spoken {
        match self.service.starts_tls(self.port) {
            true => Spoken::Tcp { tls: true },
            false => self.spoken,
        }
    }

    fn chain(&self, asks: Asks, to: To) -> Chain {
        let service = Some(self.service.key.clone());
        Chain { asks, to, service, led_by: Vec::new(), as_dialled: false }
    }

    fn whole(self) -> To {
        To::Service { host: Arc::clone(&self.service.host), port: self.port.number }
    }

    /// The VirtualServices with a host that holds this service's, in the order in which they apply.
    fn rules(&self) -> Vec<&'a VirtualService> {
        let mut rules: Vec<_> = self.egress.concerning(&self.service.host).collect();
        rules.sort_by(|a, b| (&a.order, &a.key).cmp(&(&b.order, &b.key)));
        rules.dedup_by(|a, b| a.key == b.key);
        rules
    }

    fn place(&self) -> RulePlace {
        Scope::place(self.port.number)
    }

    /// One chain per condition of a TLS rule; where there is none, one for the service, by its name where no address tells it
    /// apart.
    fn tls(&self, at: &At, subnet: Option<Subnet>) -> Vec<Chain> {
        let place = self.place();
        let mut chains: Vec<Chain> = Vec::new();
        for rules in self.rules() {
            for (r, rule) in rules.tls.iter().enumerate().filter(|(_, r)| !r.route.is_empty()) {
                for (m, condition) in rule.matches.iter().enumerate() {
                    if !applies_to_connections(condition.port, &condition.gateways, &place)
                        || !self.is_source(&condition.source_labels, &condition.source_namespace)
                    {
                        continue;
                    }
                    let names = condition.sni_hosts.iter().map(|n| n.to_ascii_lowercase());
                    let asks = Asks {
                        server_names: names.collect(),
                        subnets: subnets(&condition.destination_subnets, subnet),
                        requests: false,
                    };
                    if !chains.iter().any(|chain| chain.asks == asks) {
                        let (key, path) = (rules.key.clone(), RulePath::Tls(r, m));
                        let to = To::Rule { rules: key, path, route: rule.route.clone() };
                        chains.push(self.chain(asks, to));
                    }
                }
            }
        }
        if chains.is_empty() {
            // Whom the proxy resolves is told by that name alone.
            let by_name = self.is_shared(at) || self.service.is_asked(self.port);
            let asks = Asks {
                server_names: if by_name { self.server_names() } else { Vec::new() },
                subnets: subnet.into_iter().collect(),
                requests: false,
            };
            chains.push(self.chain(asks, self.whole()));
        }
        chains
    }

    /// The names that clients ask for.
    fn server_names(&self) -> Vec<String> {
        let host = self.service.host.to_string();
        let Options { namespace, domain, .. } = self.egress.options;
        let short = match self.service.starts_tls(self.port) {
            true => domains::short(&host, namespace, domain),
            false => Vec::new(),
        };
        std::iter::once(host).chain(short).collect()
    }

    /// The chains of TCP rules up to the first that takes every connection, else one for the service behind them.
    fn tcp(&self, subnet: Option<Subnet>) -> Vec<Chain> {
        let place = self.place();
        let mut chains: Vec<Chain> = Vec::new();
        for rules in self.rules() {
            for (r, rule) in rules.tcp.iter().enumerate().filter(|(_, r)| !r.route.is_empty()) {
                let mut asked: Vec<Subnet> = Vec::new();
                let mut every = rule.matches.is_empty();
                for condition in &rule.matches {
                    if !applies_to_connections(condition.port, &condition.gateways, &place)
                        || !self.is_source(&condition.source_labels, &condition.source_namespace)
                    {
                        continue;
                    }
                    every |= condition.destination_subnets.is_empty();
                    asked.extend(subnets(&condition.destination_subnets, None));
                }
                if !every && asked.is_empty() {
                    continue;
                }
                let subnets = if every { subnet.into_iter().collect() } else { asked };
                let asks = Asks { subnets, ..Asks::default() };
                let (key, path) = (rules.key.clone(), RulePath::Tcp(r));
                let to = To::Rule { rules: key, path, route: rule.route.clone() };
                if !chains.iter().any(|chain| chain.asks == asks) {
                    chains.push(self.chain(asks, to));
                }
                if every {
                    return chains;
                }
            }
        }
        let asks = Asks { subnets: subnet.into_iter().collect(), ..Asks::default() };
        if !chains.iter().any(|chain| chain.asks == asks) {
            chains.push(self.chain(asks, self.whole()));
        }
        chains
    }

    fn is_source(&self, labels: &BTreeMap<String, String>, namespace: &str) -> bool {
        self.egress.is_source(labels, namespace)
    }
}

/// The networks that a condition names, else that of the service.
fn subnets(written: &[String], service: Option<Subnet>) -> Vec<Subnet> {
    if written.is_empty() {
        return service.into_iter().collect();
    }
    written.iter().filter_map(|subnet| Subnet::parse(subnet)).collect()
}

/// Listeners that services join one by one.
#[derive(Default)]
struct Joined {
    listeners: BTreeMap<At, Listener>,
    /// Of those that several share, which chain asks for what: a port can have thousands.
    asked: HashMap<At, HashMap<Asks, usize>>,
}

impl Joined {
    /// Enters a listener beside those that there are. Requests of all services of a port share a chain, and the older of two
    /// chains that ask for the same stays. Where servers speak first nobody may wait for clients, so that nothing else joins.
    /// Answers who has the connections where nothing of the new one is left.
    fn join(&mut self, new: Listener, spoken: Spoken) -> Option<ObjectKey> {
        let Some(old) = self.listeners.get_mut(&new.at) else {
            self.listeners.insert(new.at.clone(), new);
            return None;
        };
        if old.sniffs && spoken == Spoken::Auto {
            return None; // Its requests are among those of the port.
        }
        if old.sniffs != new.sniffs && SERVER_SPEAKS_FIRST.contains(&new.port()) {
            return old.chains.iter().find_map(|chain| chain.service.clone());
        }
        old.sniffs |= new.sniffs;
        let asked = self.asked.entry(new.at.clone()).or_insert_with(|| {
            let chains = old.chains.iter().enumerate();
            chains.map(|(number, chain)| (chain.asks.clone(), number)).collect()
        });
        let (mut winner, mut left) = (None, false);
        for chain in new.chains {
            let there = asked.get(&chain.asks).copied();
            if let Some(there) = there.map(|number| &mut old.chains[number])
                && there.as_dialled
                && chain.as_dialled
            {
                there.led_by.extend(chain.led_by);
                left = true;
                continue;
            }
            let there = there.map(|number| &old.chains[number]);
            match (there.map(|there| (&there.to, &there.service)), &chain.to) {
                (Some((To::Routes(_), _)), To::Routes(_)) => left = true,
                (Some((_, owner)), _) => winner = winner.or_else(|| owner.clone()),
                (None, _) => {
                    left = true;
                    asked.insert(chain.asks.clone(), old.chains.len());
                    old.chains.push(chain);
                }
            }
        }
        winner.filter(|_| !left)
    }
}

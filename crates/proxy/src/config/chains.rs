//! Which filter chain takes a connection.
//!
//! Envoy's rule: the criteria are looked at in a fixed order; for each one the most specific value that some
//! chain left in the running asks for wins, and what does not ask comes last. There is no way back: a chain
//! that loses on an early criterion does not return when a later one fails.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::listener::{FilterChain, FilterChains};

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// Where the client wanted to go: the original destination when it was restored, else our address.
    pub destination: SocketAddr,
    /// The client.
    pub source: SocketAddr,
    /// SNI, in any letter case.
    pub server_name: Option<&'a str>,
    /// Whether it begins with a ClientHello.
    pub tls: bool,
    /// ALPN protocols in the client's order.
    pub application_protocols: &'a [&'a [u8]],
}

/// What a chain asks of a connection (`FilterChainMatch`); an empty list asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCriteria {
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Destination networks.
    pub destination_nets: Vec<Net>,
    /// Server names: exact, or `*.suffix`.
    pub server_names: Vec<Box<str>>,
    /// Whether the connection must be TLS, or must not be.
    pub tls: Option<bool>,
    /// ALPN protocols.
    pub application_protocols: Vec<Box<[u8]>>,
    /// Networks of the peer.
    pub direct_source_nets: Vec<Net>,
    /// Whether the connection comes from this machine.
    pub local_source: Option<bool>,
    /// Networks of the client.
    pub source_nets: Vec<Net>,
    /// Ports of the client.
    pub source_ports: Vec<u16>,
}

impl ChainCriteria {
    /// Whether a connection must be looked at before it is known if the chain takes it. Envoy adds its TLS inspector then.
    #[must_use]
    pub fn need_inspection(&self) -> bool {
        let asks = !self.server_names.is_empty() || !self.application_protocols.is_empty();
        self.tls.unwrap_or(asks)
    }
}

/// A network: the first `len` bits of an address; the others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    address: IpAddr,
    len: u8,
}

impl Net {
    /// The network of `len` bits that an address is in; `len` is cut to what the family has.
    #[must_use]
    pub fn new(address: IpAddr, len: u8) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let len = len.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                Self { address: IpAddr::V4((u32::from(v4) & mask).into()), len }
            }
            IpAddr::V6(v6) => {
                let len = len.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                Self { address: IpAddr::V6((u128::from(v6) & mask).into()), len }
            }
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl Net {
    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether an address is in it; one of IPv4 that stands in IPv6 is taken as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && Self::new(address, self.len) == *self
    }
}

/// The criteria in the order in which they are looked at.
#[derive(Clone, Copy, Debug)]
enum Criterion {
    DestinationPort,
    DestinationNet,
    ServerName,
    Transport,
    ApplicationProtocol,
    DirectSourceNet,
    SourceType,
    SourceNet,
    SourcePort,
}

const ORDER: [Criterion; 9] = [
    Criterion::DestinationPort,
    Criterion::DestinationNet,
    Criterion::ServerName,
    Criterion::Transport,
    Criterion::ApplicationProtocol,
    Criterion::DirectSourceNet,
    Criterion::SourceType,
    Criterion::SourceNet,
    Criterion::SourcePort,
];

/// A value of one criterion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Any,
    Port(u16),
    Net(Net),
    Tls(bool),
    Local(bool),
    /// An ALPN protocol, an exact server name, or a suffix of server names that begins with a dot.
    Text(Box<[u8]>),
}

/// What a chain asks for that asks nothing.
const ANY: &[Key] = &[Key::Any];

/// Chains by their criteria: one level per criterion, in [`ORDER`].
#[derive(Debug, Default)]
pub struct Index {
    root: Node,
}

#[derive(Debug, Default)]
enum Node {
    #[default]
    Empty,
    /// All chains below ask nothing here.
    Any(Box<Node>),
    Keyed(Keyed),
    /// Place of the one chain here, which asks nothing more.
    Chain(usize),
}

/// The nodes of one criterion. Texts are apart so that they are looked up without an allocation.
#[derive(Debug, Default)]
struct Keyed {
    values: HashMap<Key, Node>,
    texts: HashMap<Box<[u8]>, Node>,
}

impl Index {
    /// Adds the chain at `place`; gives back the place of a chain that asks for exactly the same.
    pub(super) fn insert(&mut self, criteria: &ChainCriteria, place: usize) -> Result<(), usize> {
        let keys = ORDER.map(|criterion| criterion.keys_of_chain(criteria));
        self.root.insert(&keys, place)
    }

    fn find(&self, facts: &ConnectionFacts<'_>) -> Option<usize> {
        let mut node = &self.root;
        for criterion in ORDER {
            node = match node {
                Node::Any(next) => next,
                Node::Keyed(nodes) => criterion.descend(facts, nodes)?,
                Node::Chain(_) => break,
                Node::Empty => return None,
            };
        }
        if let Node::Chain(place) = node { Some(*place) } else { None }
    }
}

impl FilterChains {
    /// The chain that takes a connection; `None` when the connection is closed.
    #[must_use]
    pub fn find(&self, facts: &ConnectionFacts<'_>) -> Option<&Arc<FilterChain>> {
        self.index.find(facts).map_or(self.default.as_ref(), |place| self.chains.get(place))
    }
}

impl Node {
    fn insert(&mut self, keys: &[Cow<'static, [Key]>], place: usize) -> Result<(), usize> {
        let asks_more = keys.iter().any(|keys| **keys != *ANY);
        match self {
            Self::Empty if !asks_more => {
                *self = Self::Chain(place);
                return Ok(());
            }
            Self::Chain(there) if !asks_more => return Err(*there),
            _ => {}
        }
        let Some((here, below)) = keys.split_first() else { return Ok(()) };
        here.iter().try_for_each(|key| self.child(key).insert(below, place))
    }

    /// The node below `key`, made if need be.
    fn child(&mut self, key: &Key) -> &mut Self {
        if matches!(self, Self::Chain(_)) || matches!(self, Self::Empty) && *key == Key::Any {
            *self = Self::Any(Box::new(std::mem::take(self)));
        }
        if *key != Key::Any && !matches!(self, Self::Keyed(_)) {
            let mut nodes = Keyed::default();
            if let Self::Any(any) = std::mem::take(self) {
                nodes.values.insert(Key::Any, *any);
            }
            *self = Self::Keyed(nodes);
        }
        match self {
            Self::Any(any) => any,
            Self::Keyed(nodes) => match key {
                Key::Text(text) => nodes.texts.entry(text.clone()).or_default(),
                value => nodes.values.entry(value.clone()).or_default(),
            },
            // Both were replaced above.
            Self::Empty | Self::Chain(_) => self,
        }
    }
}

impl Criterion {
    /// The values that a chain asks for; [`Key::Any`] when it asks for none.
    fn keys_of_chain(self, criteria: &ChainCriteria) -> Cow<'static, [Key]> {
        let nets = |nets: &[Net]| nets.iter().map(|net| Key::Net(*net)).collect();
        let keys: Vec<_> = match self {
            Self::DestinationPort => criteria.destination_port.map(Key::Port).into_iter().collect(),
            Self::DestinationNet => nets(&criteria.destination_nets),
            Self::ServerName => {
                // `*.example.com` stands under `.example.com`, which is no host name.
                let fixed = |name: &str| name.strip_prefix('*').unwrap_or(name).as_bytes().into();
                criteria.server_names.iter().map(|name| Key::Text(fixed(name))).collect()
            }
            Self::Transport => criteria.tls.map(Key::Tls).into_iter().collect(),
            Self::ApplicationProtocol => {
                criteria.application_protocols.iter().map(|each| Key::Text(each.clone())).collect()
            }
            Self::DirectSourceNet => nets(&criteria.direct_source_nets),
            Self::SourceType => criteria.local_source.map(Key::Local).into_iter().collect(),
            Self::SourceNet => nets(&criteria.source_nets),
            Self::SourcePort => criteria.source_ports.iter().map(|port| Key::Port(*port)).collect(),
        };
        if keys.is_empty() { ANY.into() } else { keys.into() }
    }

    /// The node for the most specific value that fits the connection.
    fn descend<'n>(self, facts: &ConnectionFacts<'_>, nodes: &'n Keyed) -> Option<&'n Node> {
        let specific = match self {
            Self::DestinationPort => nodes.value(&Key::Port(facts.destination.port())),
            Self::DestinationNet => nodes.narrowest(facts.destination.ip()),
            Self::ServerName => facts.server_name.and_then(|name| nodes.closest_name(name)),
            Self::Transport => nodes.value(&Key::Tls(facts.tls)),
            Self::ApplicationProtocol => {
                facts.application_protocols.iter().find_map(|protocol| nodes.texts.get(*protocol))
            }
            Self::DirectSourceNet | Self::SourceNet => nodes.narrowest(facts.source.ip()),
            Self::SourceType => nodes.value(&Key::Local(is_local(facts))),
            Self::SourcePort => nodes.value(&Key::Port(facts.source.port())),
        };
        specific.or_else(|| nodes.value(&Key::Any))
    }
}

impl Keyed {
    fn value(&self, key: &Key) -> Option<&Node> {
        self.values.get(key)
    }

    fn narrowest(&self, address: IpAddr) -> Option<&Node> {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (0..=bits).rev().find_map(|len| self.value(&Key::Net(Net::new(address, len))))
    }

    /// The exact name, else the longest suffix that begins with a dot.
    fn closest_name(&self, name: &str) -> Option<&Node> {
        let name = name.to_ascii_lowercase().into_bytes();
        let dots = memchr::memchr_iter(b'.', &name).filter(|at| *at > 0 && at + 1 < name.len());
        std::iter::once(0).chain(dots).find_map(|start| self.texts.get(&name[start..]))
    }
}

/// Whether both ends are on this machine.
fn is_local(facts: &ConnectionFacts<'_>) -> bool {
    let source = facts.source.ip().to_canonical();
    source.is_loopback() || source == facts.destination.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use crate::config::listener::{NetworkFilter, TcpProxy};
    use crate::shares::Shares;
    use crate::upstream::ClusterSlot;

    use super::*;

    fn chains(criteria: &[(&str, ChainCriteria)], default: Option<&str>) -> FilterChains {
        let chain = |name: &str| {
            Arc::new(FilterChain {
                name: name.into(),
                rbac: Vec::new(),
                filter: NetworkFilter::Tcp(Arc::new(TcpProxy {
                    stat_prefix: "".into(),
                    clusters: Shares::only(Arc::new(ClusterSlot::empty(0, "c".into()))),
                    idle_timeout: None,
                    max_duration: None,
                    connect_attempts: 1,
                    sni_port: None,
                    log: None,
                })),
                tls: None,
                terms: None,
                denies: false,
                egress_port: None,
                bounded_by: None,
                led_by: None,
                discouraged: AtomicBool::new(false),
            })
        };
        let mut chains = FilterChains { default: default.map(chain), ..FilterChains::default() };
        for (place, (name, criteria)) in criteria.iter().enumerate() {
            chains.index.insert(criteria, place).expect("no two alike");
            chains.chains.push(chain(name));
        }
        chains
    }

    fn facts() -> ConnectionFacts<'static> {
        ConnectionFacts {
            destination: ([10, 0, 0, 1], 443).into(),
            source: ([192, 0, 2, 1], 5555).into(),
            server_name: None,
            tls: false,
            application_protocols: &[],
        }
    }

    fn found<'c>(chains: &'c FilterChains, facts: &ConnectionFacts<'_>) -> &'c str {
        chains.find(facts).map_or("none", |chain| &chain.name)
    }

    fn names(names: &[&str]) -> ChainCriteria {
        let server_names = names.iter().map(|name| (*name).into()).collect();
        ChainCriteria { server_names, ..ChainCriteria::default() }
    }

    #[test]
    fn server_names() {
        let chains = chains(
            &[
                ("exact", names(&["www.example.com", "example.org"])),
                ("wild", names(&["*.example.com"])),
                ("wilder", names(&["*.com"])),
                ("any", ChainCriteria::default()),
            ],
            None,
        );
        let cases = [
            (Some("www.example.com"), "exact"),
            (Some("WWW.Example.Com"), "exact"),
            (Some("example.org"), "exact"),
            (Some("a.b.example.com"), "wild"),
            (Some("example.com"), "wilder"),
            (Some("com"), "any"),
            (Some("example.com."), "any"),
            (Some("www.example.net"), "any"),
            (None, "any"),
        ];
        for (server_name, expected) in cases {
            let facts = ConnectionFacts { server_name, tls: true, ..facts() };
            assert_eq!(found(&chains, &facts), expected, "{server_name:?}");
        }
    }

    #[test]
    fn transport_and_application_protocols() {
        let alpn = |protocols: &[&str]| ChainCriteria {
            tls: Some(true),
            application_protocols: protocols.iter().map(|each| each.as_bytes().into()).collect(),
            ..ChainCriteria::default()
        };
        let chains = chains(
            &[
                ("h2", alpn(&["h2"])),
                ("http", alpn(&["http/1.0", "http/1.1"])),
                ("tls", alpn(&[])),
                ("raw", ChainCriteria { tls: Some(false), ..ChainCriteria::default() }),
            ],
            None,
        );
        let cases: &[(bool, &[&[u8]], &str)] = &[
            (true, &[b"h2", b"http/1.1"], "h2"),
            (true, &[b"http/1.1", b"h2"], "http"),
            (true, &[b"x", b"http/1.0"], "http"),
            (true, &[b"x"], "tls"),
            (true, &[], "tls"),
            (false, &[], "raw"),
        ];
        for (tls, application_protocols, expected) in cases {
            let facts = ConnectionFacts { tls: *tls, application_protocols, ..facts() };
            assert_eq!(found(&chains, &facts), *expected, "{application_protocols:?}");
        }
    }

    #[test]
    fn ports_and_networks() {
        let net = |a: u8, len| Net::new(IpAddr::from([10, a, 0, 0]), len);
        let any = ChainCriteria::default;
        let chains = chains(
            &[
                ("port", ChainCriteria { destination_port: Some(80), tls: Some(true), ..any() }),
                ("wide", ChainCriteria { destination_nets: vec![net(0, 8)], ..any() }),
                ("narrow", ChainCriteria { destination_nets: vec![net(1, 16)], ..any() }),
                (
                    "source",
                    ChainCriteria { source_nets: vec![net(9, 16)], source_ports: vec![7], ..any() },
                ),
                ("local", ChainCriteria { local_source: Some(true), ..any() }),
                ("peer", ChainCriteria { direct_source_nets: vec![net(7, 32)], ..any() }),
            ],
            Some("default"),
        );
        let to = |destination: ([u8; 4], u16)| ConnectionFacts {
            destination: destination.into(),
            ..facts()
        };
        let from = |source: ([u8; 4], u16)| ConnectionFacts {
            source: source.into(),
            ..to(([11, 0, 0, 1], 443))
        };
        let cases = [
            (ConnectionFacts { tls: true, ..to(([10, 0, 0, 1], 80)) }, "port"),
            // A chain asks for the port, so those that do not are out of the running.
            (to(([10, 0, 0, 1], 80)), "default"),
            (to(([10, 2, 0, 1], 443)), "wide"),
            (to(([10, 1, 2, 3], 443)), "narrow"),
            (from(([10, 9, 0, 1], 7)), "source"),
            (from(([10, 9, 0, 1], 8)), "default"),
            (from(([127, 0, 0, 1], 8)), "local"),
            (from(([11, 0, 0, 1], 8)), "local"),
            (from(([10, 7, 0, 0], 8)), "peer"),
            (from(([10, 7, 0, 1], 8)), "default"),
        ];
        for (facts, expected) in cases {
            assert_eq!(found(&chains, &facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_server_name_wins_before_the_transport_is_looked_at() {
        let tls = ChainCriteria { tls: Some(true), ..ChainCriteria::default() };
        let raw = ChainCriteria { tls: Some(false), ..names(&["a.b"]) };
        let chains = chains(&[("tls", tls), ("raw", raw)], Some("default"));
        let facts = ConnectionFacts { server_name: Some("a.b"), tls: true, ..facts() };
        assert_eq!(found(&chains, &facts), "default");
    }

    #[test]
    fn no_chain_without_default_and_no_two_alike() {
        assert_eq!(found(&FilterChains::default(), &facts()), "none");
        let mut index = Index::default();
        assert_eq!(index.insert(&names(&["a", "*.b"]), 0), Ok(()));
        assert_eq!(index.insert(&names(&["c", "*.b"]), 1), Err(0));
        assert_eq!(index.insert(&ChainCriteria::default(), 2), Ok(()));
        assert_eq!(index.insert(&ChainCriteria::default(), 3), Err(2));
    }

    #[test]
    fn chains_are_found_whichever_came_first() {
        let tls = |tls, criteria| ChainCriteria { tls: Some(tls), ..criteria };
        let all = [
            ("any", ChainCriteria::default()),
            ("a", names(&["a"])),
            ("a over tls", tls(true, names(&["a"]))),
            ("a from 7", ChainCriteria { source_ports: vec![7], ..names(&["a"]) }),
            ("a, port", ChainCriteria { destination_port: Some(80), ..names(&["a"]) }),
            ("tls", tls(true, ChainCriteria::default())),
        ];
        let at = |port, server_name, tls, source| ConnectionFacts {
            destination: ([10, 0, 0, 1], port).into(),
            source: ([192, 0, 2, 1], source).into(),
            server_name,
            tls,
            ..facts()
        };
        let cases = [
            (at(443, None, false, 1), "any"),
            (at(443, Some("b"), true, 1), "tls"),
            (at(443, Some("a"), true, 7), "a over tls"),
            (at(443, Some("a"), false, 7), "a from 7"),
            (at(443, Some("a"), false, 8), "a"),
            (at(80, Some("a"), false, 8), "a, port"),
            (at(80, Some("b"), false, 8), "none"),
        ];
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let mut shuffled = all.clone();
            rng.shuffle(&mut shuffled);
            let chains = chains(&shuffled, None);
            for (facts, expected) in &cases {
                assert_eq!(found(&chains, facts), *expected, "{facts:?} in {shuffled:?}");
            }
            let mut index = chains.index;
            for (place, (name, criteria)) in shuffled.iter().enumerate() {
                assert_eq!(index.insert(criteria, 99), Err(place), "{name}");
            }
        }
    }

    #[test]
    fn networks_forget_the_bits_behind_their_length() {
        let net = |text: &str, len| Net::new(text.parse().expect("an address"), len);
        assert_eq!(net("10.1.2.3", 8), net("10.0.0.0", 8));
        assert_eq!(net("10.1.2.3", 0), net("0.0.0.0", 0));
        assert_eq!(net("10.1.2.3", 99), net("10.1.2.3", 32));
        assert_eq!(net("fd00::1", 8), net("fd00::", 8));
        assert_eq!(net("::1", 0), net("::", 0));
    }
}

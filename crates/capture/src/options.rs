//! What is to be captured.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// What is captured and where it is led. The defaults are istio-iptables': nothing is captured but what a workload sends to
/// itself by an address that is not loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The port that connections of the workload are led to.
    pub outbound_port: u16,
    /// The port that connections to the workload are led to.
    pub inbound_port: u16,
    /// The port of the proxy itself that tunnels come in at: never captured.
    pub tunnel_port: u16,
    /// Users that the proxy runs as: what they send is not captured, or it would come back to the proxy for ever.
    pub uids: Vec<Name>,
    /// Groups that the proxy runs as.
    pub gids: Vec<Name>,
    /// How inbound connections are led to the proxy.
    pub mode: Mode,
    /// Inbound ports that are captured.
    pub inbound: Ports,
    /// Inbound ports that are not, where all others are.
    pub inbound_except: Vec<u16>,
    /// Addresses to which outbound connections are captured, whatever their port.
    pub outbound: Ranges,
    /// Addresses to which they are not; stronger than [`Self::outbound`] and [`Self::outbound_ports`].
    pub outbound_except: Ranges,
    /// Ports to which outbound connections are captured, whatever their address.
    pub outbound_ports: Vec<u16>,
    /// Ports to which they are not; strongest.
    pub outbound_ports_except: Vec<u16>,
    /// Users' groups whose outbound connections are captured.
    pub groups: Groups,
    /// Interfaces whose connections are never captured.
    pub interfaces_except: Vec<Name>,
    /// Interfaces of virtual machines: what comes in there is on its way out.
    pub rerouted_interfaces: Vec<Name>,
    /// Which DNS queries are led to the sidecar's resolver.
    pub dns: Dns,
    /// The port of the sidecar's resolver.
    pub dns_port: u16,
    /// Loopback addresses, to which nothing is captured.
    pub loopback: Ipv4Net,
    /// Whether packets that belong to no connection are dropped, rather than answered with a reset.
    pub drop_invalid: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            inbound_port: 15006,
            tunnel_port: 15008,
            uids: vec![Name::of_number(1337)],
            gids: vec![Name::of_number(1337)],
            mode: Mode::default(),
            inbound: Ports::default(),
            inbound_except: Vec::new(),
            outbound: Ranges::default(),
            outbound_except: Ranges::default(),
            outbound_ports: Vec::new(),
            outbound_ports_except: Vec::new(),
            groups: Groups::default(),
            interfaces_except: Vec::new(),
            rerouted_interfaces: Vec::new(),
            dns: Dns::default(),
            dns_port: 15053,
            loopback: Ipv4Net::new_assert([127, 0, 0, 1].into(), 32),
            drop_invalid: false,
        }
    }
}

/// How inbound connections are led to the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By another destination address: the workload sees the proxy's address as that of its client.
    #[default]
    Redirect,
    /// By a mark on their packets, with their addresses untouched.
    Tproxy {
        /// The mark, by which packets are routed to loopback.
        mark: u32,
    },
}

/// The mark that is used unless another is named.
const MARK: u32 = 1337;

impl FromStr for Mode {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "REDIRECT" => Ok(Self::Redirect),
            "TPROXY" => Ok(Self::Tproxy { mark: MARK }),
            _ => Err(Wrong::new(text, "no mode", "REDIRECT or TPROXY")),
        }
    }
}

/// Ports, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every port.
    All,
    /// These ports.
    Only(Vec<u16>),
}

impl Default for Ports {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl FromStr for Ports {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if is_wildcard(text) { Ok(Self::All) } else { list(text, port).map(Self::Only) }
    }
}

/// Ranges of addresses, of both families, or all addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// Every address.
    All,
    /// Addresses of these ranges.
    Only(Vec<IpNet>),
}

impl Default for Ranges {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl FromStr for Ranges {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if is_wildcard(text) { Ok(Self::All) } else { list(text, range).map(Self::Only) }
    }
}

impl Ranges {
    /// The ranges of one family.
    pub(crate) fn of(&self, family: Family) -> impl Iterator<Item = &IpNet> {
        self.named().iter().filter(move |range| Family::of(range.addr()) == family)
    }

    /// Whether a range begins with a loopback address.
    pub(crate) fn has_loopback(&self) -> bool {
        self.named().iter().any(|range| range.addr().is_loopback())
    }

    fn named(&self) -> &[IpNet] {
        match self {
            Self::All => &[],
            Self::Only(ranges) => ranges,
        }
    }
}

/// Users' groups whose outbound connections are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Every group but these.
    AllBut(Vec<Name>),
    /// These groups.
    Only(Vec<Name>),
}

impl Default for Groups {
    fn default() -> Self {
        Self::AllBut(Vec::new())
    }
}

/// Which DNS queries (port 53, UDP and TCP) are led to the sidecar's resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dns {
    /// None.
    #[default]
    None,
    /// Those to these servers: the ones of `/etc/resolv.conf`, so that what a resolver on the same machine asks is not led back.
    Servers(Vec<IpAddr>),
    /// All.
    All,
}

impl Dns {
    /// Whether queries to anybody are captured, in whichever family.
    pub(crate) fn is_captured(&self) -> bool {
        match self {
            Self::None => false,
            Self::Servers(servers) => !servers.is_empty(),
            Self::All => true,
        }
    }

    /// The servers of one family.
    pub(crate) fn servers(&self, family: Family) -> impl Iterator<Item = &IpAddr> {
        let servers: &[IpAddr] = if let Self::Servers(servers) = self { servers } else { &[] };
        servers.iter().filter(move |server| Family::of(**server) == family)
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A user or a group, by name or by number, or an interface: a word of a rule. It has nothing in it that would be another word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Box<str>);

/// Longer than any of them is on Linux.
const LONGEST_NAME: usize = 64;

impl Name {
    /// A user or a group by its number.
    pub fn of_number(number: u32) -> Self {
        Self(number.to_string().into())
    }
}

impl FromStr for Name {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-+@:$".contains(c);
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if !starts || text.len() > LONGEST_NAME || !text.chars().all(is_plain) {
            return Err(Wrong::new(
                text,
                "no name",
                "one word of letters, digits and any of _.-+@:$",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a value, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is {lack}: write {remedy}")]
pub struct Wrong {
    value: String,
    lack: &'static str,
    remedy: &'static str,
}

impl Wrong {
    fn new(value: &str, lack: &'static str, remedy: &'static str) -> Self {
        Self { value: value.to_owned(), lack, remedy }
    }
}

/// Reads a list with commas between its items, of which empty ones do not count.
///
/// # Errors
/// The first item that is wrong.
pub fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(read).collect()
}

/// Reads the number of a port.
///
/// # Errors
/// It is none.
pub fn port(text: &str) -> Result<u16, Wrong> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| Wrong::new(text, "no port", "a number from 1 to 65535"))
}

/// Reads a range of addresses; an address stands for itself.
///
/// # Errors
/// It is neither.
pub fn range(text: &str) -> Result<IpNet, Wrong> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| {
        Wrong::new(text, "no range of addresses", "one such as 10.0.0.0/8 or 2001:db8::/32")
    })
}

/// Reads ranges of addresses of which not all may be meant: were every address excepted, nothing would be captured.
///
/// # Errors
/// They are wrong, or all addresses.
pub fn some_ranges(text: &str) -> Result<Ranges, Wrong> {
    match text.parse()? {
        Ranges::All => Err(Wrong::new(
            text,
            "every address, with which nothing would be captured",
            "ranges such as 10.0.0.0/8,2001:db8::/32",
        )),
        ranges => Ok(ranges),
    }
}

fn is_wildcard(text: &str) -> bool {
    text.trim() == "*"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_wrong_items_are_told_with_what_would_be_right() {
        assert_eq!("6000, 7000,".parse(), Ok(Ports::Only(vec![6000, 7000])));
        assert_eq!(("*".parse(), "".parse()), (Ok(Ports::All), Ok(Ports::default())));
        assert_eq!(" * ".parse(), Ok(Ranges::All));
        let told = |wrong: Wrong| wrong.to_string();
        let wrong = "80,http".parse::<Ports>().map_err(told);
        assert_eq!(wrong, Err(r#""http" is no port: write a number from 1 to 65535"#.to_owned()));
        assert!("80,0".parse::<Ports>().is_err());
        let Ok(Ranges::Only(ranges)) = "10.0.0.1,127.0.0.1/8,2001:db8::/32".parse() else {
            panic!("ranges")
        };
        let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        assert_eq!(ranges, ["10.0.0.1/32", "127.0.0.1/8", "2001:db8::/32"]);
        for wrong in ["10.0.0.0/33", "10.0.0", "*,10.0.0.0/8", "a/8"] {
            assert!(wrong.parse::<Ranges>().is_err(), "{wrong}");
        }
        assert!("tproxy".parse::<Mode>().is_err());
    }

    #[test]
    fn a_name_is_one_word() {
        for name in ["1337", "istio-proxy", "0-500", "eth0.100", "cali+", "_apt"] {
            assert_eq!(name.parse::<Name>().map(|name| name.to_string()).as_deref(), Ok(name));
        }
        let long = "a".repeat(LONGEST_NAME + 1);
        for wrong in ["", "-j", "!", "a b", "a\nCOMMIT", "a\"b", "*", "a,b", "\u{e4}", &long] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}

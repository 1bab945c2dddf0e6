//! Asking for the addresses of a name: the table of hosts first, then the servers.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use thiserror::Error;
use tidegate_dns::{ResolvConf, Watched};

use super::hosts::Hosts;
use super::target::Name;
use crate::upstream::cluster::DnsFamily;

/// Why a name led to no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookupError {
    /// The text is neither a name nor an address.
    #[error("not a host name; look at the host in the cluster")]
    Invalid,
    /// The server answered NXDOMAIN.
    #[error("there is no such name")]
    NoSuchName,
    /// The name exists, without an address of the family asked for.
    #[error("the name has no address of the family asked for")]
    NoAddress,
    /// The server refused or failed.
    #[error("the DNS server answered {0}")]
    Refused(String),
    /// No server answered in time.
    #[error("no DNS server answered in time")]
    Timeout,
    /// There is no server to ask.
    #[error("no DNS server is known: {0} names none; name one there or with --dns-server")]
    NoServer(String),
    /// The server could not be reached or understood.
    #[error("the DNS server could not be asked: {0}")]
    Transport(String),
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

/// The addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Records {
    /// At least one, in the server's order.
    pub(super) addresses: Vec<IpAddr>,
    /// How long they are good for; zero when that is not known.
    pub(super) ttl: Duration,
}

/// The addresses of a name under a family policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
    /// The family that could not be looked up while the other could, where both are wanted.
    pub(super) failed: Option<(Family, LookupError)>,
}

/// Where addresses come from.
pub(super) trait Lookup: Send + Sync + 'static {
    /// The addresses that `name` has in `family`.
    fn records<'a>(&'a self, name: &'a Name, family: Family) -> Answering<'a>;
}

pub(super) type Answering<'a> =
    Pin<Box<dyn Future<Output = Result<Records, LookupError>> + Send + 'a>>;

impl LookupError {
    /// Whether it is an answer, and not the lack of one.
    pub(super) fn is_negative(&self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoAddress)
    }

    /// The more telling one of two.
    fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::NoAddress, _) => other,
            (Self::NoSuchName, other_error) if !other_error.is_negative() => other,
            _ => self,
        }
    }
}

/// Asks for the families that `policy` wants, in its order (Envoy's `dns_lookup_family`).
pub(super) async fn resolve(
    lookup: &dyn Lookup,
    name: &Name,
    policy: DnsFamily,
) -> Result<Answer, LookupError> {
    let (first, second) = match policy {
        DnsFamily::V4Only => return Ok(lookup.records(name, Family::V4).await?.into()),
        DnsFamily::V6Only => return Ok(lookup.records(name, Family::V6).await?.into()),
        DnsFamily::All => return resolve_both(lookup, name).await,
        DnsFamily::Auto => (Family::V6, Family::V4),
        DnsFamily::V4Preferred => (Family::V4, Family::V6),
    };
    let why = match lookup.records(name, first).await {
        Ok(records) => return Ok(records.into()),
        Err(why) => why,
    };
    match lookup.records(name, second).await {
        Ok(records) => Ok(records.into()),
        Err(error) => Err(error.or(why)),
    }
}

async fn resolve_both(lookup: &dyn Lookup, name: &Name) -> Result<Answer, LookupError> {
    let both = tokio::join!(lookup.records(name, Family::V4), lookup.records(name, Family::V6));
    let (records, failed) = match both {
        (Ok(mut v4), Ok(v6)) => {
            v4.addresses.extend(v6.addresses);
            v4.ttl = v4.ttl.min(v6.ttl);
            return Ok(v4.into());
        }
        (Err(v4), Err(v6)) => return Err(v4.or(v6)),
        (Ok(v4), Err(error)) => (v4, (Family::V6, error)),
        (Err(error), Ok(v6)) => (v6, (Family::V4, error)),
    };
    let failed = Some(failed).filter(|(_, error)| !error.is_negative());
    Ok(Answer { failed, ..records.into() })
}

impl From<Records> for Answer {
    fn from(records: Records) -> Self {
        Self { addresses: records.addresses, ttl: records.ttl, failed: None }
    }
}

/// The system's ways of finding addresses, or the servers given instead.
pub(super) struct System {
    servers: Vec<SocketAddr>,
    resolv_conf: Watched<Result<Servers, LookupError>>,
    hosts: Watched<Hosts>,
}

/// The servers to ask, in order.
struct Servers {
    clients: Vec<TokioResolver>,
    attempts: usize,
}

impl System {
    pub(super) fn new(servers: Vec<SocketAddr>, resolv_conf: PathBuf, hosts: PathBuf) -> Self {
        let (resolv_conf, hosts) = (Watched::new(resolv_conf), Watched::new(hosts));
        Self { servers, resolv_conf, hosts }
    }

    async fn ask(&self, name: &Name, family: Family) -> Result<Records, LookupError> {
        if let Some(addresses) = self.hosts.current(Hosts::parse).get(name.as_str()) {
            return from_hosts(addresses, family);
        }
        let servers = self.resolv_conf.current(|text| self.connect(text));
        let servers = (*servers).as_ref().map_err(Clone::clone)?;
        servers.ask(name.to_dns().ok_or(LookupError::Invalid)?, family).await
    }

    fn connect(&self, resolv_conf: &str) -> Result<Servers, LookupError> {
        let system = ResolvConf::parse(resolv_conf);
        let addresses = if self.servers.is_empty() { &system.servers } else { &self.servers };
        if addresses.is_empty() {
            return Err(LookupError::NoServer(self.resolv_conf.path().display().to_string()));
        }
        let clients = addresses.iter().map(|address| client(*address, &system));
        Ok(Servers { clients: clients.collect::<Result<_, _>>()?, attempts: system.attempts })
    }
}

impl Servers {
    /// Asks one server after the other until one knows, as the C library does: with a VPN they may
    /// well disagree, and their order is then the user's choice. A server that fails is no answer;
    /// one that says that there is no such name is.
    async fn ask(&self, name: DnsName, family: Family) -> Result<Records, LookupError> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let mut why = LookupError::Timeout;
        for client in (0..self.attempts).flat_map(|_| &self.clients) {
            // What is asked again is asked on purpose: when to ask is decided in `schedule`.
            client.clear_cache();
            match client.lookup(name.clone(), kind).await.map_err(classify) {
                Ok(answer) => return records(&answer),
                Err(error) if error.is_negative() => return Err(error),
                Err(error) if why == LookupError::Timeout => why = error,
                Err(_) => {}
            }
        }
        Err(why)
    }
}

/// A client of one server. The library can hold several, but gives all of them together one
/// timeout: a dead first one would use it up.
fn client(address: SocketAddr, system: &ResolvConf) -> Result<TokioResolver, LookupError> {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    let config = ResolverConfig::from_parts(None, system.search.clone(), vec![server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = system.timeout;
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(classify)
}

/// The addresses in an answer.
fn records(answer: &hickory_resolver::lookup::Lookup) -> Result<Records, LookupError> {
    let records = answer.answers();
    let addresses: Vec<IpAddr> = records.iter().filter_map(|r| r.data.ip_addr()).collect();
    if addresses.is_empty() {
        return Err(LookupError::NoAddress);
    }
    // The aliases on the way (CNAME) limit how long the addresses are good for, too.
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Ok(Records { addresses, ttl: Duration::from_secs(ttl.into()) })
}

impl Lookup for System {
    fn records<'a>(&'a self, name: &'a Name, family: Family) -> Answering<'a> {
        Box::pin(self.ask(name, family))
    }
}

/// A name in the table of hosts has the addresses there and no others.
fn from_hosts(addresses: &[IpAddr], family: Family) -> Result<Records, LookupError> {
    let wanted = |address: &IpAddr| address.is_ipv4() == (family == Family::V4);
    let addresses: Vec<IpAddr> = addresses.iter().copied().filter(wanted).collect();
    match addresses.is_empty() {
        true => Err(LookupError::NoAddress),
        false => Ok(Records { addresses, ttl: Duration::ZERO }),
    }
}

fn classify(error: NetError) -> LookupError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(answer)) => match answer.response_code {
            ResponseCode::NXDomain => LookupError::NoSuchName,
            ResponseCode::NoError => LookupError::NoAddress,
            code => LookupError::Refused(code.to_string()),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => LookupError::Refused(code.to_string()),
        NetError::Timeout => LookupError::Timeout,
        other => LookupError::Transport(other.to_string()),
    }
}

#[cfg(test)]
mod tests;

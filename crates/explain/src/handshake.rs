//! What the handshake of a connection comes to, who is let in, and why another server's host is answered 421.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tidegate_proxy::config::listener::{FilterChain, HttpManager, NetworkFilter};
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::rbac::Asked;
use tidegate_proxy::route::Route;
use tidegate_proxy::tls::handshake::Peer;
use tidegate_proxy::tls::identity::Leaf;
use tidegate_proxy::tls::validation::Mismatch;
use tidegate_proxy::tls::x509::{AltName, Certificate};
use tidegate_proxy::tls::{ServerTls, Settled, mismatch};

use crate::World;
use crate::answer::{Error, Source};
use crate::destination::words;
use crate::follow::{Connection, Refusal};
use crate::lost::without_port;
use crate::question::{Question, Security};
use tidegate_pilot::model::host::{Host, HostSet};
use tidegate_pilot::model::merge::RoutePlan;
use tidegate_pilot::origins::Origin;

/// Whether a filter chain and a client understand each other.
pub(crate) fn check(
    world: &World,
    chain: &FilterChain,
    question: &Question,
) -> Result<(), Refusal> {
    let Some(tls) = &chain.tls else {
        return match (&chain.filter, question.security) {
            (NetworkFilter::Http(_), Security::Tls) => {
                let reason =
                    "the port speaks plain HTTP, and the client begins with a TLS handshake";
                Err((Error::ProtocolError, Some(400), reason.to_owned()))
            }
            _ => Ok(()),
        };
    };
    if question.security == Security::Plain {
        let reason = "the port speaks TLS, and the client begins in plain text".to_owned();
        return Err((Error::TlsError, None, reason));
    }
    let configs = tls.configs().map_err(|not_ready| {
        let reason = format!("no handshake can be held: {}", world.not_ready(&not_ready));
        (Error::TlsError, None, reason)
    })?;
    if tls.demands_certificate() && !question.client_certificate {
        let reason = "the server demands a certificate of the client, and none is shown".to_owned();
        return Err((Error::MtlsError, None, reason));
    }
    if !question.client_certificate {
        return Ok(());
    }
    let refused = match question.client_chain.is_empty() {
        true => other_names(tls, question),
        false => configs.judge(&question.client_chain).err().map(|error| match mismatch(&error) {
            Some(Mismatch::Name) => name_mismatch(tls, question),
            Some(Mismatch::Pin) => {
                "the server demands one of certain certificates (verifyCertificateSpki, \
                                    verifyCertificateHash), and the client's is another"
                    .to_owned()
            }
            None => format!("the client's certificate is not accepted: {error}"),
        }),
    };
    refused.map_or(Ok(()), |reason| Err((Error::MtlsError, None, reason)))
}

/// Says what of the client's certificate was taken on trust, where the handshake looks at it.
pub(crate) fn unjudged(chain: &FilterChain, question: &Question) -> Option<String> {
    let configs = chain.tls.as_ref()?.configs().ok()?;
    let unseen = question.client_certificate && question.client_chain.is_empty();
    (unseen && configs.asks_certificate()).then(|| {
        "who issued the client's certificate, and its key, were not judged: --client-cert FILE has the certificate itself \
         looked at"
            .to_owned()
    })
}

/// Why a certificate of which only names are known is refused.
fn other_names(tls: &ServerTls, question: &Question) -> Option<String> {
    let asked = || tls.common.validation.here.iter().flat_map(|here| &here.names);
    let mut shown = question.client_names.iter();
    let fits = asked().next().is_none()
        || question.client_names.is_empty()
        || shown.any(|name| asked().any(|asked| asked.matches(&alt_name(name))));
    (!fits).then(|| name_mismatch(tls, question))
}

fn name_mismatch(tls: &ServerTls, question: &Question) -> String {
    let asked = tls.common.validation.here.iter().flat_map(|here| &here.names);
    let mut asked: Vec<String> = asked.map(|name| words(&name.text)).collect();
    asked.dedup();
    let shown = match names_of(question) {
        names if names.is_empty() => "has no names (SANs)".to_owned(),
        names => format!("is for {}", names.join(", ")),
    };
    format!("the server demands a certificate for {}, and the client's {shown}", asked.join(" or "))
}

/// Asks the network filters of a chain whether they let a connection in.
pub(crate) fn admit(
    chain: &FilterChain,
    question: &Question,
    connection: &Connection<'_>,
) -> Result<(), Refusal> {
    let asked = asked(question, connection, None);
    for filter in &chain.rbac {
        let Some(rules) = &filter.set.rules else { continue };
        if rules.judge(&asked).is_err() {
            let early = !filter.needs_handshake && filter.needs_server_name;
            return Err(match (&question.sni, early) {
                (Some(sni), true) => {
                    let reason =
                        format!("no server has the name {sni} that the ClientHello asks for");
                    (Error::NoFilterChain, None, reason)
                }
                _ => {
                    (Error::Denied, None, "a rule of the listener denies the connection".to_owned())
                }
            });
        }
    }
    Ok(())
}

/// Asks the filters of a connection manager whether they let a request through; `remote` is whom it is from.
pub(crate) fn authorize(
    manager: &HttpManager,
    route: Option<&Route>,
    (head, remote): (&RequestHead, IpAddr),
    question: &Question,
    connection: &Connection<'_>,
) -> Result<(), Refusal> {
    let asked = asked(question, connection, Some((head, remote)));
    for filter in &manager.rbac {
        let overridden = route.and_then(|route| route.filters.get(&filter.name));
        let Some(rules) = &overridden.unwrap_or(&filter.set).rules else { continue };
        if rules.judge(&asked).is_err() {
            let reason = match question.client_certificate {
                false => {
                    "the host is answered only to clients with a verified certificate".to_owned()
                }
                true if names_of(question).is_empty() && question.client_chain.is_empty() => "the host's server asks for a certificate with certain \
                     names (subjectAltNames), and none are known of the client's: --client-cert-san gives them"
                    .to_owned(),
                true => format!(
                    "the host's server asks for a certificate with other names (subjectAltNames) than {}",
                    names_of(question).join(", ")
                ),
            };
            return Err((Error::Denied, Some(403), reason));
        }
    }
    Ok(())
}

/// A name as it stands in a certificate: of the kind that it looks like.
fn alt_name(name: &str) -> AltName<'_> {
    match name.parse() {
        Ok(address) => AltName::Ip(address),
        Err(_) if name.contains(':') => AltName::Uri(name),
        Err(_) if name.contains('@') => AltName::Email(name),
        Err(_) => AltName::Dns(name),
    }
}

/// The names that the client's certificate carries, as far as they are known.
fn names_of(question: &Question) -> Vec<String> {
    let leaf = question.client_chain.first().and_then(|leaf| Certificate::parse(leaf));
    match leaf {
        Some(leaf) => leaf
            .alt_names()
            .map(|name| match name {
                AltName::Dns(name) | AltName::Email(name) | AltName::Uri(name) => name.to_owned(),
                AltName::Ip(address) => address.to_string(),
            })
            .collect(),
        None => question.client_names.clone(),
    }
}

fn asked<'a>(
    question: &'a Question,
    connection: &'a Connection<'_>,
    request: Option<(&'a RequestHead, IpAddr)>,
) -> Asked<'a> {
    let peer = World::client();
    let server_name = question.sni.as_deref().filter(|_| question.security == Security::Tls);
    let (head, remote) = request.unzip();
    Asked {
        peer,
        local: connection.local,
        server_name,
        tls: connection.settled.as_ref(),
        remote: remote.unwrap_or(peer.ip()),
        head,
    }
}

/// What the handshake settles, where TLS is terminated here: a client that has a certificate shows it when it is asked, and
/// it is verified.
pub(crate) fn settled(chain: &FilterChain, question: &Question) -> Option<Settled> {
    let tls = chain.tls.as_ref().filter(|_| question.security == Security::Tls)?;
    // What is asked of clients depends on the secrets that are there.
    let ready = tls.configs().is_ok();
    let shows = question.client_certificate && ready && tls.asks_certificate();
    let agreed = question.alpn.iter().map(String::as_bytes);
    let mut agreed = agreed.filter(|offered| tls.common.alpn.iter().any(|own| **own == **offered));
    Some(Settled {
        version: "TLSv1.3",
        cipher: "",
        server_name: question.sni.as_deref().map(Into::into),
        alpn: agreed.next().map(Into::into),
        resumed: false,
        peer: shows.then(|| peer(question)),
        local_uris: tls.local_uris(),
    })
}

/// The client's certificate: the one that is given, or one with the names that are.
fn peer(question: &Question) -> Peer {
    let chain = question.client_chain.iter().cloned().map(Into::into).collect();
    let leaf = question.client_chain.first().and_then(|leaf| Certificate::parse(leaf));
    let leaf = leaf.map_or_else(|| named(&question.client_names), |leaf| Leaf::of(&leaf));
    Peer { leaf, chain, verified: true, forwarded: OnceCell::new() }
}

/// A certificate of which only names are known.
fn named(names: &[String]) -> Leaf {
    let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
    for name in names {
        match alt_name(name) {
            AltName::Dns(name) => dns_names.push(name.into()),
            AltName::Uri(name) => uris.push(name.into()),
            AltName::Email(_) | AltName::Ip(_) => {}
        }
    }
    Leaf {
        serial: String::new(),
        subject: "CN=client".to_owned(),
        dns_names,
        uris,
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()),
    }
}

/// Whose terms hold for a client that names no server.
pub(crate) fn nameless(routes: &RoutePlan) -> String {
    if routes.checks_certificates {
        return "the client names no server: it is shown the certificate that all servers of the port share, and the \
                Host of each request decides; hosts of servers that demand a client certificate are answered only where \
                one was verified"
            .to_owned();
    }
    let whose = routes.servers.first().map_or_else(String::new, |server| {
        format!("{} of Gateway {}", server.place(), server.gateway)
    });
    format!(
        "the client names no server: the TLS terms of {whose} hold; hosts of servers with other terms are answered 421"
    )
}

impl World {
    /// The servers of a listener that a host belongs to, as places, where requests for it came to another: why
    /// they are answered 421.
    pub(crate) fn misdirected(&self, listener: &str, host: &str) -> Option<(String, Vec<Source>)> {
        let host = Host::new(without_port(host));
        let plan = self.pilot.listener_plan(listener)?;
        let all: HostSet = plan.servers.iter().flat_map(|s| s.names().cloned()).collect();
        let name = all.narrowest(&host)?;
        let owners = plan.servers.iter().filter(|server| server.names().any(|n| *n == name));
        let from: Vec<Source> = owners
            .map(|server| self.source(&Origin::new(server.key.clone(), server.place())))
            .collect();
        let note = format!(
            "host {host} belongs to a server with other TLS terms than this connection has (certificate, client \
             certificate or versions): the client is to connect anew, with {host} as server name"
        );
        Some((note, from))
    }
}

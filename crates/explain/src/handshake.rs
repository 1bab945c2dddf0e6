//! What the handshake of a connection comes to, who is let in, and why another server's host is answered 421.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tidegate_proxy::config::listener::{Codec, FilterChain, HttpManager, NetworkFilter};
use tidegate_proxy::http::{RequestHead, hello, settled_codec};
use tidegate_proxy::rbac::Asked;
use tidegate_proxy::route::Action;
use tidegate_proxy::tls::handshake::Peer;
use tidegate_proxy::tls::identity::Leaf;
use tidegate_proxy::tls::validation::Mismatch;
use tidegate_proxy::tls::x509::{AltName, Certificate};
use tidegate_proxy::tls::{ServerTls, Settled, in_words, mismatch};
use tidegate_proxy::upstream::wrong_tls::Mistake;

use tidegate_pilot::compile::authorization;
use tidegate_pilot::compile::rbac::CERTIFIED_OR_NAMELESS;

use crate::answer::{Answer, Error, Source};
use crate::destination::words;
use crate::example::Example;
use crate::filters::Stop;
use crate::follow::{Connection, Refusal};
use crate::lost::without_port;
use crate::question::{Protocol, Question, Security};
use crate::request::{self, shown};
use crate::{World, nearest};
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
            (NetworkFilter::Http(manager), Security::Tls) => {
                let plain =
                    "the port speaks plain HTTP, and the client begins with a TLS handshake";
                let reason = begun_here(manager, question).unwrap_or_else(|| plain.to_owned());
                Err((Error::ProtocolError, None, reason))
            }
            _ => Ok(()),
        };
    };
    if question.security == Security::Plain {
        let reason = "the port speaks TLS, and the client begins in plain text".to_owned();
        return Err((Error::TlsError, None, reason));
    }
    let configs = match tls.configs() {
        Ok(configs) => Some(configs),
        Err(not_ready) if world.presumes(&not_ready) => None,
        Err(not_ready) => {
            let reason = format!("no handshake can be held: {}", world.not_ready(&not_ready));
            return Err((Error::TlsError, None, reason));
        }
    };
    if tls.demands_certificate() && !question.client_certificate {
        let reason = "the server demands a certificate of the client, and none is shown".to_owned();
        return Err((Error::MtlsError, None, reason));
    }
    if !question.client_certificate {
        return Ok(());
    }
    let refused = match configs.filter(|_| !question.client_chain.is_empty()) {
        None => other_names(tls, question),
        Some(configs) => {
            configs.judge(&question.client_chain).err().map(|error| match mismatch(&error) {
                Some(Mismatch::Name) => name_mismatch(tls, question),
                Some(Mismatch::Pin) => {
                    "the server demands one of certain certificates (verifyCertificateSpki, \
                                    verifyCertificateHash), and the client's is another"
                        .to_owned()
                }
                None => format!("the client's certificate is not accepted: {}", in_words(&error)),
            })
        }
    };
    refused.map_or(Ok(()), |reason| Err((Error::MtlsError, None, reason)))
}

/// Why TLS of a client is refused where requests in plain text are read: the proxy begins it itself. `None` where it does not.
pub(crate) fn begun_here(manager: &HttpManager, question: &Question) -> Option<String> {
    let table = manager.routes.table();
    let route = hello::meant(&table, question.sni.as_deref()?, request::RANDOM)?;
    let Action::Forward(forward) = &route.action else { return None };
    let cluster = forward.targets.at(request::RANDOM).cluster.load()?;
    cluster.wrong_tls(Mistake::ClientAtRequests).map(|wrong| wrong.to_string())
}

/// The question, where what is spoken is known: as the handshake agrees, where the question leaves it open.
pub(crate) fn spoken(
    manager: &HttpManager,
    connection: &Connection<'_>,
    question: &Question,
) -> Question {
    let protocol = match (question.protocol, codec(manager, connection)) {
        (Protocol::Http, Some(Codec::Http2)) => Protocol::Http2,
        (Protocol::Http, _) => Protocol::Http1,
        (said, _) => said,
    };
    Question { protocol, ..question.clone() }
}

/// Whether a client speaks what its connection is read as.
pub(crate) fn understood(
    manager: &HttpManager,
    connection: &Connection<'_>,
    question: &Question,
) -> Result<(), Refusal> {
    let read_as = codec(manager, connection);
    let status = match (read_as, question.protocol) {
        (Some(Codec::Http2), Protocol::Http2) => return Ok(()),
        // What is no frame is answered by none.
        (Some(Codec::Http2), _) => None,
        (Some(Codec::Http1), Protocol::Http2) => Some(request::preface_refused()),
        (_, Protocol::Tcp) => Some(400),
        _ => return Ok(()),
    };
    let version = if read_as == Some(Codec::Http2) { "HTTP/2" } else { "HTTP/1.1" };
    let sent = match question.protocol {
        Protocol::Tcp => "bytes that are no HTTP reach a connection manager".to_owned(),
        Protocol::Http2 => "the client speaks HTTP/2".to_owned(),
        Protocol::Http | Protocol::Http1 => "the client speaks HTTP/1.1".to_owned(),
    };
    let agreed = connection.settled.as_ref().and_then(|settled| settled.alpn.as_deref());
    let reason = match (question.protocol, agreed) {
        (Protocol::Tcp, _) => sent,
        (_, Some(agreed)) if manager.codec == Codec::Auto => {
            format!("{sent}, and the handshake agreed on {version} (ALPN {})", shown(agreed))
        }
        _ => format!("{sent}, and only {version} is read here"),
    };
    Err((Error::ProtocolError, status, reason))
}

/// The version that a connection is read as whatever the client sends; `None` where that tells.
pub(crate) fn codec(manager: &HttpManager, connection: &Connection<'_>) -> Option<Codec> {
    let agreed = connection.settled.as_ref().and_then(|settled| settled.alpn.as_deref());
    settled_codec(manager.codec, agreed)
}

/// Says what of the client's certificate was taken on trust, where the handshake looks at it.
pub(crate) fn unjudged(world: &World, chain: &FilterChain, question: &Question) -> Option<String> {
    let configs = match chain.tls.as_ref()?.configs() {
        Ok(configs) => configs,
        Err(fault) => {
            let note = "the sidecar's certificate and the authorities of the mesh are taken to be there (--workload-certs \
                        gives them); who issued the client's certificate was not judged";
            return world.presumes(&fault).then(|| note.to_owned());
        }
    };
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
    let names = names_of(question);
    let mut shown = names.iter();
    let fits = asked().next().is_none()
        || (names.is_empty() && question.client_chain.is_empty())
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
    world: &World,
    chain: &FilterChain,
    question: &Question,
    connection: &Connection<'_>,
    answer: &mut Answer,
) -> Result<(), Refusal> {
    let asked = asked(question, connection, None);
    for filter in &chain.rbac {
        if *filter.stat_prefix == *authorization::STAT_PREFIX {
            let listener = &*connection.listener.name;
            let judged = world.judge(listener, &filter.set, (&asked, question), answer);
            judged.map_err(|reason| (Error::Denied, None, reason))?;
            continue;
        }
        let Some(rules) = &filter.set.rules else { continue };
        if rules.judge(&asked).is_err() {
            if *filter.stat_prefix == *CERTIFIED_OR_NAMELESS {
                let reason = "the server demands a certificate of clients that name a server, and none is shown";
                return Err((Error::MtlsError, None, reason.to_owned()));
            }
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

/// Why a host that is for certain clients only does not answer, and what it would take.
pub(crate) fn uncertified(question: &Question) -> Stop {
    let reason = match question.client_certificate {
        false => "the host is answered only to clients with a verified certificate".to_owned(),
        true if names_of(question).is_empty() && question.client_chain.is_empty() => "the host's server asks for a certificate with certain \
             names (subjectAltNames), and none are known of the client's: --client-cert-san gives them"
            .to_owned(),
        true => format!(
            "the host's server asks for a certificate with other names (subjectAltNames) than {}",
            names_of(question).join(", ")
        ),
    };
    Stop::Refused((Error::Denied, Some(403), reason), nearest::client(Error::Denied, question))
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
pub(crate) fn names_of(question: &Question) -> Vec<String> {
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

/// What rules are asked about.
pub(crate) fn asked<'a>(
    question: &'a Question,
    connection: &'a Connection<'_>,
    request: Option<(&'a RequestHead, IpAddr)>,
) -> Asked<'a> {
    let peer = connection.client;
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
pub(crate) fn settled(
    world: &World,
    chain: &FilterChain,
    question: &Question,
    example: &Example,
) -> Option<Settled> {
    let tls = chain.tls.as_ref().filter(|_| question.security == Security::Tls)?;
    // What is asked of clients depends on the secrets that are there.
    let configs = tls.configs();
    let held = configs.as_ref().map_or_else(|fault| world.presumes(fault), |_| true);
    let shows = question.client_certificate && held && tls.asks_certificate();
    let offered = |protocol: &[u8]| question.alpn.iter().any(|own| own.as_bytes() == protocol);
    Some(Settled {
        version: "TLSv1.3",
        cipher: "",
        server_name: question.sni.as_deref().map(Into::into),
        alpn: match &configs {
            Ok(configs) => configs.agreed(offered).map(Into::into),
            Err(_) => tls.common.alpn.iter().find(|own| held && offered(own)).cloned(),
        },
        resumed: false,
        peer: shows.then(|| peer(question, example.subject)),
        local_uris: tls.local_uris(),
    })
}

/// The client's certificate: the one that is given, or one with the names that are.
fn peer(question: &Question, subject: &str) -> Peer {
    let chain = question.client_chain.iter().cloned().map(Into::into).collect();
    let leaf = question.client_chain.first().and_then(|leaf| Certificate::parse(leaf));
    let leaf = leaf.map_or_else(|| named(&question.client_names, subject), |leaf| Leaf::of(&leaf));
    Peer { leaf, chain, verified: true, forwarded: OnceCell::new() }
}

/// A certificate of which only names are known.
fn named(names: &[String], subject: &str) -> Leaf {
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
        subject: subject.to_owned(),
        dns_names,
        uris,
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()),
    }
}

/// Whose terms hold for a client that names no server.
pub(crate) fn nameless(routes: &RoutePlan) -> String {
    if routes.uncertified.is_some() {
        return "the client names no server: it is shown the certificate that all open servers of the port share, and the \
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

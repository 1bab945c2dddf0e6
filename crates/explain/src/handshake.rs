//! What the handshake of a connection comes to, who is let in, and why another server's host is answered 421.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tidegate_proxy::config::listener::{FilterChain, HttpManager, NetworkFilter};
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::rbac::Asked;
use tidegate_proxy::route::Route;
use tidegate_proxy::tls::Settled;
use tidegate_proxy::tls::handshake::Peer;
use tidegate_proxy::tls::identity::Leaf;

use crate::World;
use crate::answer::{Error, Source};
use crate::follow::Refusal;
use crate::lost::without_port;
use crate::question::{Question, Security};
use tidegate_pilot::model::host::{Host, HostSet};
use tidegate_pilot::origins::Origin;

/// Whether a filter chain and a client understand each other.
pub(crate) fn check(chain: &FilterChain, question: &Question) -> Result<(), Refusal> {
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
    if let Err(not_ready) = tls.configs() {
        return Err((Error::TlsError, None, format!("no handshake can be held: {not_ready}")));
    }
    if tls.require_client_certificate && !question.client_certificate {
        let reason = "the server demands a certificate of the client, and none is shown".to_owned();
        return Err((Error::MtlsError, None, reason));
    }
    Ok(())
}

/// Asks the network filters of a chain whether they let a connection in.
pub(crate) fn admit(
    chain: &FilterChain,
    question: &Question,
    local: SocketAddr,
) -> Result<(), Refusal> {
    let settled = settled(question);
    let asked = asked(question, local, &settled, None);
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

/// Asks the filters of a connection manager whether they let a request through.
pub(crate) fn authorize(
    manager: &HttpManager,
    route: Option<&Route>,
    head: &RequestHead,
    question: &Question,
    local: SocketAddr,
) -> Result<(), Refusal> {
    let settled = settled(question);
    let asked = asked(question, local, &settled, Some(head));
    for filter in &manager.rbac {
        let overridden = route.and_then(|route| route.filters.get(&filter.name));
        let Some(rules) = &overridden.unwrap_or(&filter.set).rules else { continue };
        if let Err(denied) = rules.judge(&asked) {
            let reason = match question.client_certificate {
                false => {
                    "the host is answered only to clients with a verified certificate".to_owned()
                }
                true => format!("a rule denies it ({})", denied.0),
            };
            return Err((Error::Denied, Some(403), reason));
        }
    }
    Ok(())
}

fn asked<'a>(
    question: &'a Question,
    local: SocketAddr,
    settled: &'a Settled,
    head: Option<&'a RequestHead>,
) -> Asked<'a> {
    let peer = World::client();
    let tls = (question.security == Security::Tls).then_some(settled);
    let server_name = question.sni.as_deref().filter(|_| tls.is_some());
    Asked { peer, local, server_name, tls, remote: peer.ip(), head }
}

/// A handshake in which the client showed a certificate, if it has one: one that is verified, of nobody in particular.
fn settled(question: &Question) -> Settled {
    let leaf = Leaf {
        serial: String::new(),
        subject: "CN=client".to_owned(),
        dns_names: Vec::new(),
        uris: Vec::new(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()),
    };
    let peer = Peer { leaf, chain: Vec::new(), verified: true, forwarded: OnceCell::new() };
    Settled {
        version: "TLSv1.3",
        cipher: "",
        server_name: question.sni.as_deref().map(Into::into),
        alpn: None,
        resumed: false,
        peer: question.client_certificate.then_some(peer),
        local_uris: Vec::new(),
    }
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

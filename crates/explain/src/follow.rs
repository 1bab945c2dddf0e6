//! The way of a connection: listener, filter chain, and what the chain does with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tidegate_pilot::model::gateway::Server;
use tidegate_pilot::origins::{ChainOrigin, Origin};
use tidegate_proxy::config::chains::ConnectionFacts;
use tidegate_proxy::config::listener::{FilterChain, Listener, NetworkFilter};
use tidegate_proxy::tls::Settled;
use tidegate_proxy::upstream::ClusterSlot;
use tidegate_xds::ResourceType;

use crate::answer::{Answer, End, Error, Part, Source};
use crate::question::{Protocol, Question, Security};
use crate::{World, destination, handshake, lost, nearest, sidecar};

/// A connection that a filter chain serves.
pub(crate) struct Connection<'w> {
    pub(crate) listener: &'w Listener,
    pub(crate) origin: Option<ChainOrigin>,
    /// The address that the client dialled.
    pub(crate) local: SocketAddr,
    /// What the handshake settles, where TLS is terminated here.
    pub(crate) settled: Option<Settled>,
}

impl World {
    /// Where a connection, and the request on it, go.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Answer {
        let mut answer = Answer::default();
        if let Err((error, status, reason)) = self.follow(question, &mut answer) {
            answer.end = End::Refused { error, status, reason };
        }
        self.note_unread(&mut answer);
        answer
    }

    fn follow(&self, question: &Question, answer: &mut Answer) -> Result<(), Refusal> {
        let listener = match self.pilot.options().workload() {
            Some(_) => self.captured(question, answer)?,
            None => self.listener(question, answer)?,
        };
        let (chain, connection) = self.chain(listener, question, answer)?;
        handshake::admit(chain, question, &connection).inspect_err(|_| {
            answer.filter_chain = None;
            let behind = self.behind(ResourceType::Listener, &listener.name);
            let origins = behind.pilot.chain_origins(&listener.name);
            answer.nearest = nearest::server_name(&origins, question);
        })?;
        handshake::check(self, chain, question).inspect_err(|(error, ..)| {
            answer.nearest = nearest::client(*error, question);
        })?;
        answer.notes.extend(handshake::unjudged(chain, question));
        match &chain.filter {
            NetworkFilter::Tcp(proxy) => {
                let all: Vec<(&ClusterSlot, u32)> =
                    proxy.clusters.iter().map(|(slot, weight)| (&**slot, weight)).collect();
                self.destinations(&all, None, answer);
                destination::settle(answer, None, None);
                sidecar::note_elsewhere(answer);
                Ok(())
            }
            NetworkFilter::Http(manager) => {
                if question.protocol == Protocol::Tcp {
                    let reason = "bytes that are no HTTP reach a connection manager".to_owned();
                    return Err((Error::ProtocolError, Some(400), reason));
                }
                self.request(manager, &connection, question, answer)
            }
        }
    }

    /// The listener of an address and port: one of that very address before one of every address.
    fn listener(&self, question: &Question, answer: &mut Answer) -> Result<&Listener, Refusal> {
        let port = question.port;
        let fits = |listener: &&Arc<Listener>| {
            let ip = listener.address.ip();
            let here = question.address.is_none_or(|asked| asked == ip);
            listener.address.port() == port && (here || ip.is_unspecified())
        };
        let wildcard_last = |l: &&Arc<Listener>| match question.address {
            Some(_) => l.address.ip().is_unspecified(),
            None => !l.address.ip().is_unspecified(),
        };
        let found = self.config.listeners.values().filter(fits).min_by_key(wildcard_last);
        let Some(listener) = found else {
            answer.lost = lost::listeners(self, question);
            answer.lost.extend(lost::silent_gateways(self));
            answer.nearest = nearest::port(self, port);
            let reason = format!("nothing listens on port {port}");
            return Err((Error::NoListener, None, reason));
        };
        let from = self.servers(&listener.name);
        let name = listener.name.to_string();
        answer.listener = Some(Part { name, asks: String::new(), from });
        Ok(listener)
    }

    /// Where the servers of a listener stand.
    pub(crate) fn servers(&self, listener: &str) -> Vec<Source> {
        let behind = self.behind(ResourceType::Listener, listener);
        let plan = behind.pilot.listener_plan(listener);
        plan.map_or_else(Vec::new, |plan| behind.places(&plan.servers))
    }

    /// Where servers stand.
    pub(crate) fn places(&self, servers: &[Arc<Server>]) -> Vec<Source> {
        servers.iter().map(|s| self.source(&Origin::new(s.key.clone(), s.place()))).collect()
    }

    /// The filter chain that takes the connection.
    fn chain<'w>(
        &self,
        listener: &'w Listener,
        question: &Question,
        answer: &mut Answer,
    ) -> Result<(&'w FilterChain, Connection<'w>), Refusal> {
        let behind = self.behind(ResourceType::Listener, &listener.name);
        let origins = behind.pilot.chain_origins(&listener.name);
        let looks = listener.chains.needs_inspection;
        let tls = question.security != Security::Plain;
        let alpn: Vec<&[u8]> = match sidecar::sniffed(listener, question) {
            Some(found) => vec![found.as_bytes()],
            None if looks && tls => question.alpn.iter().map(String::as_bytes).collect(),
            None => Vec::new(),
        };
        let facts = ConnectionFacts {
            destination: destination(listener, question),
            source: Self::client(),
            // What nobody looks into, nobody sees.
            server_name: question.sni.as_deref().filter(|_| looks && tls),
            tls: looks && tls,
            application_protocols: &alpn,
        };
        let Some(chain) = listener.chains.find(&facts) else {
            answer.not_in_force.extend(self.refused_listener(&listener.name, None));
            answer.lost =
                lost::chains(behind, &listener.name, facts.destination, &origins, None, question);
            answer.lost.extend(lost::displaced(self, listener.address.port()));
            answer.nearest = nearest::server_name(&origins, question);
            let reason = match (tls, &question.sni) {
                (false, _) => {
                    "the connection is not TLS, and every filter chain asks for a server \
                               name"
                        .to_owned()
                }
                (true, None) => "the ClientHello names no server, and every filter chain asks for \
                                 one"
                .to_owned(),
                (true, Some(sni)) => format!("no filter chain takes server name {sni}"),
            };
            return Err((Error::NoFilterChain, None, reason));
        };
        let mut all = listener.chains.chains.iter().chain(&listener.chains.default);
        let number = all.position(|other| Arc::ptr_eq(other, chain));
        answer.not_in_force.extend(self.refused_listener(&listener.name, number));
        answer.not_in_force.extend(self.kept_of_chain(chain));
        answer.lost =
            lost::chains(behind, &listener.name, facts.destination, &origins, number, question);
        let origin = number.and_then(|number| origins.into_iter().nth(number));
        let mut part = behind.chain_part(chain, origin.as_ref());
        answer.lost.extend(lost::displaced(self, listener.address.port()));
        let default = listener.chains.default.iter().any(|default| Arc::ptr_eq(default, chain));
        if default && let Some(routes) = behind.pilot.nameless(&listener.name) {
            part.asks = "connections that name no server".to_owned();
            part.from = behind.places(&routes.servers);
            answer.notes.extend(question.sni.is_none().then(|| handshake::nameless(routes)));
        }
        answer.filter_chain = Some(part);
        let settled = handshake::settled(chain, question);
        Ok((chain, Connection { listener, origin, local: facts.destination, settled }))
    }

    fn chain_part(&self, chain: &FilterChain, origin: Option<&ChainOrigin>) -> Part {
        let mut from = Vec::new();
        let mut asks = "every connection".to_owned();
        if let Some(origin) = origin {
            from.extend(origin.objects().map(|o| self.source(&o)));
            if let Some(asked) = lost::asked(origin) {
                asks = asked;
            }
            if !origin.parts.is_empty() {
                asks = format!("{asks}, {}", lost::addresses(&origin.parts));
            }
        }
        Part { name: chain.name.to_string(), asks, from }
    }
}

/// Where a way ends: the kind of end, the status of the answer, the reason.
pub(crate) type Refusal = (Error, Option<u16>, String);

/// The address that the client dialled, as the listener sees it.
fn destination(listener: &Listener, question: &Question) -> SocketAddr {
    let ip = match (question.address, listener.address.ip()) {
        (Some(asked), _) => asked,
        (None, IpAddr::V4(any)) if any.is_unspecified() => Ipv4Addr::new(192, 0, 2, 2).into(),
        (None, own) => own,
    };
    SocketAddr::new(ip, question.port)
}

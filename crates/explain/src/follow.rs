//! The way of a connection: listener, filter chain, and what the chain does with it.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_pilot::model::gateway::Server;
use tidegate_pilot::origins::{ChainOrigin, Origin};
use tidegate_proxy::config::chains::ConnectionFacts;
use tidegate_proxy::config::listener::{FilterChain, Listener, NetworkFilter};
use tidegate_proxy::tls::Settled;
use tidegate_proxy::upstream::ClusterSlot;
use tidegate_xds::ResourceType;

use crate::answer::{Answer, End, Error, Part, Source};
use crate::example::{self, Example};
use crate::question::{Protocol, Question, Security};
use crate::{World, destination, handshake, lost, nearest, sidecar};

/// A connection that a filter chain serves.
pub(crate) struct Connection<'w> {
    pub(crate) listener: &'w Listener,
    pub(crate) origin: Option<ChainOrigin>,
    chain: &'w FilterChain,
    /// What stands for what the question does not say.
    pub(crate) example: &'static Example,
    /// The client's address.
    pub(crate) client: SocketAddr,
    /// The address that the client dialled.
    pub(crate) local: SocketAddr,
    /// What the handshake settles, where TLS is terminated here.
    pub(crate) settled: Option<Settled>,
}

impl Connection<'_> {
    /// The same with another example of what the question does not say.
    pub(crate) fn seen_by(
        &self,
        world: &World,
        example: &'static Example,
        question: &Question,
    ) -> Self {
        Self {
            listener: self.listener,
            origin: self.origin.clone(),
            chain: self.chain,
            example,
            client: example.client(question),
            local: example.dialled(self.listener, question),
            settled: handshake::settled(world, self.chain, question, example),
        }
    }
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
        let listener = match (&question.unix_socket, self.pilot.options().workload()) {
            (Some(path), _) => self.on_socket(path, answer)?,
            (None, Some(_)) => self.captured(question, answer)?,
            (None, None) => self.listener(question, answer)?,
        };
        let (chain, connection) = self.chain(listener, question, answer)?;
        handshake::admit(self, chain, question, &connection, answer).inspect_err(
            |(error, ..)| {
                if *error == Error::Denied {
                    return;
                }
                answer.filter_chain = None;
                let behind = self.behind(ResourceType::Listener, &listener.name);
                let origins = behind.pilot.chain_origins(&listener.name);
                answer.nearest = nearest::server_name(&origins, question);
            },
        )?;
        handshake::check(self, chain, question).inspect_err(|(error, ..)| {
            answer.nearest = nearest::client(*error, question);
        })?;
        answer.notes.extend(handshake::unjudged(self, chain, question));
        self.note_hidden(question, answer);
        match &chain.filter {
            NetworkFilter::Tcp(proxy) => {
                let all: Vec<(&ClusterSlot, u32)> =
                    proxy.clusters.iter().map(|(slot, weight)| (&**slot, weight)).collect();
                self.destinations(&all, None, answer);
                destination::settle(answer, None, None);
                self.note_elsewhere(question.port, answer);
                if chain.denies {
                    self.begun_here(listener, question)?;
                    self.note_denied(question, answer);
                }
                Ok(())
            }
            NetworkFilter::Http(manager) => {
                let question = &handshake::spoken(manager, &connection, question);
                handshake::understood(manager, &connection, question).inspect_err(|_| {
                    answer.nearest = nearest::version(manager, &connection, question);
                })?;
                self.request(manager, &connection, question, answer)
            }
        }
    }

    /// Says of TLS that may not go out why requests in plain text would, where the proxy begins TLS for them.
    fn begun_here(&self, listener: &Listener, question: &Question) -> Result<(), Refusal> {
        if question.security != Security::Tls {
            return Ok(());
        }
        let plain =
            Question { security: Security::Plain, protocol: Protocol::Http1, ..question.clone() };
        let Ok((chain, _)) = self.chain(listener, &plain, &mut Answer::default()) else {
            return Ok(());
        };
        match &chain.filter {
            NetworkFilter::Http(manager) => match handshake::begun_here(manager, question) {
                Some(reason) => Err((Error::ProtocolError, None, reason)),
                None => Ok(()),
            },
            NetworkFilter::Tcp(_) => Ok(()),
        }
    }

    /// The listener on a Unix socket.
    fn on_socket(&self, path: &str, answer: &mut Answer) -> Result<&Listener, Refusal> {
        let sockets = || {
            let all = self.config.listeners.values();
            all.filter_map(|listener| Some((listener, &*listener.pipe.as_ref()?.path)))
        };
        let Some((listener, _)) = sockets().find(|(_, own)| *own == path) else {
            let others: Vec<&str> = sockets().map(|(_, path)| path).collect();
            let others = match others.as_slice() {
                [] => "no listener is on a Unix socket".to_owned(),
                some => format!("there are {}", some.join(", ")),
            };
            let reason = format!("no listener is on the Unix socket {path}: {others}");
            return Err((Error::NoListener, None, reason));
        };
        let from = self.pilot.sidecar().map(|key| self.whole(key.clone()));
        answer.listener = Some(Part {
            name: listener.name.to_string(),
            asks: String::new(),
            from: from.into_iter().collect(),
        });
        Ok(listener)
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
        answer.listener = found.map(|listener| Part {
            name: listener.name.to_string(),
            asks: String::new(),
            from: self.listened_by(&listener.name),
        });
        found.map(|listener| &**listener).filter(|listener| self.is_open(listener)).ok_or_else(
            || {
                answer.lost = lost::listeners(self, question);
                answer.lost.extend(lost::silent_gateways(self, port));
                answer.lost.extend(lost::unfit(self, port, question));
                answer.nearest = self.nearest_port(question);
                (Error::NoListener, None, self.not_open(question))
            },
        )
    }

    /// Where the servers of a listener stand, and the patches that changed it.
    fn listened_by(&self, listener: &str) -> Vec<Source> {
        let behind = self.behind(ResourceType::Listener, listener);
        let patches = behind.pilot.patched_by(ResourceType::Listener, listener);
        let patches = patches.iter().map(|origin| behind.source(origin));
        self.servers(listener).into_iter().chain(patches).collect()
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
        let looks = listener.looks_for_tls(question.port);
        let tls = question.security != Security::Plain;
        let alpn: Vec<&[u8]> = match sidecar::sniffed(listener, question) {
            Some(found) => vec![found.as_bytes()],
            None if looks && tls => question.alpn.iter().map(String::as_bytes).collect(),
            None => Vec::new(),
        };
        let example = &example::SHOWN;
        let facts = ConnectionFacts {
            destination: example.dialled(listener, question),
            source: example.client(question),
            // What nobody looks into, nobody sees.
            server_name: question.sni.as_deref().filter(|_| looks && tls),
            tls: looks && tls,
            application_protocols: &alpn,
        };
        let Some(chain) = listener.chains.find(&facts) else {
            answer.not_in_force.extend(self.refused_listener(&listener.name, None));
            answer.lost =
                lost::chains(behind, &listener.name, facts.destination, &origins, None, question);
            answer.lost.extend(lost::displaced(self, listener.address.port(), question));
            answer.lost.extend(lost::unfit(self, listener.address.port(), question));
            answer.nearest = nearest::server_name(&origins, question);
            if let Some((reason, nearest)) = self.untaken(question) {
                answer.nearest = nearest;
                return Err((Error::NoFilterChain, None, reason));
            }
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
        answer.lost.extend(lost::displaced(self, listener.address.port(), question));
        let default = listener.chains.default.iter().any(|default| Arc::ptr_eq(default, chain));
        let server = origin.as_ref().and_then(|origin| origin.server.as_ref());
        let shared =
            server.is_some_and(|server| behind.pilot.is_for_nameless(&listener.name, server));
        if (default || shared)
            && let Some(routes) = behind.pilot.nameless(&listener.name)
        {
            if default {
                part.asks = "connections that name no server".to_owned();
                part.from = behind.places(&routes.servers);
            }
            answer.notes.extend(question.sni.is_none().then(|| handshake::nameless(routes)));
        }
        answer.filter_chain = Some(part);
        let settled = handshake::settled(self, chain, question, example);
        let local = facts.destination;
        let client = facts.source;
        Ok((chain, Connection { listener, origin, chain, example, client, local, settled }))
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

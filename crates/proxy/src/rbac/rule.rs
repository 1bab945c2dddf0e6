//! One condition on a request or a connection (`Permission`, `Principal`).

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::config::chains::Net;
use crate::http::RequestHead;
use crate::http::chain::Client;
use crate::metadata::MetadataTest;
use crate::pipe::{NOWHERE, known};
use crate::route::{HeaderCondition, TextMatch, without_query};
use crate::tls::Settled;
use crate::tls::handshake::Peer;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The peer.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Server name of its ClientHello.
    pub server_name: Option<&'a str>,
    /// What its handshake settled, when TLS is terminated here.
    pub tls: Option<&'a Settled>,
    /// The client behind trusted proxies; the peer where there is none to be trusted.
    pub remote: IpAddr,
    /// The request; `None` when a connection is judged.
    pub head: Option<&'a RequestHead>,
}

impl<'a> Asked<'a> {
    /// A connection of `client`, and a request on it.
    #[must_use]
    pub fn of(client: &'a Client, remote: IpAddr, head: Option<&'a RequestHead>) -> Self {
        Self {
            peer: client.peer,
            local: client.local,
            server_name: client.server_name.as_deref(),
            tls: client.tls.as_deref(),
            remote,
            head,
        }
    }
}

/// A condition. Permissions and principals differ in which of these they may be, not in how these are judged.
#[derive(Debug)]
pub enum Rule {
    /// Always holds.
    Any,
    /// All of them hold.
    All(Vec<Rule>),
    /// One of them holds.
    One(Vec<Rule>),
    /// It does not hold.
    Not(Box<Rule>),
    /// The request's header is as asked; never for a connection.
    Header(HeaderCondition),
    /// The request's path, without its query, is as asked; never for a connection.
    Path(TextMatch),
    /// The address that the client connected to.
    Destination(Net),
    /// Its port.
    DestinationPort(Range<u32>),
    /// The server that the ClientHello asks for; empty where it asks for none.
    ServerName(TextMatch),
    /// The connection uses TLS; with a test, and the client has shown a certificate that was verified and is for
    /// such a name: one of its URIs, one of its DNS names, or its subject.
    Authenticated(Option<TextMatch>),
    /// What filters have noted is as asked; of a connection nothing is ever noted.
    Noted(MetadataTest),
    /// The address of the peer.
    Peer(Net),
    /// The address of the client, see [`Asked::remote`].
    Remote(Net),
}

impl Rule {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::All(rules) => rules.iter().all(|rule| rule.holds(asked)),
            Self::One(rules) => rules.iter().any(|rule| rule.holds(asked)),
            Self::Not(rule) => !rule.holds(asked),
            Self::Header(condition) => asked.head.is_some_and(|head| condition.holds(head)),
            Self::Path(test) => {
                asked.head.is_some_and(|head| test.matches(without_query(head.path())))
            }
            Self::Destination(net) => known(asked.local).is_some_and(|at| net.contains(at.ip())),
            Self::DestinationPort(ports) => ports.contains(&u32::from(asked.local.port())),
            Self::ServerName(test) => {
                test.matches(asked.server_name.unwrap_or_default().as_bytes())
            }
            Self::Authenticated(None) => asked.tls.is_some(),
            Self::Authenticated(Some(test)) => {
                let peer = asked.tls.and_then(|tls| tls.peer.as_ref());
                peer.is_some_and(|peer| peer.verified && is_called(peer, test))
            }
            Self::Noted(test) => asked.head.is_some_and(|head| test.holds(&head.noted)),
            Self::Peer(net) => known(asked.peer).is_some_and(|at| net.contains(at.ip())),
            Self::Remote(net) => {
                let nowhere = asked.peer == NOWHERE && asked.remote == NOWHERE.ip();
                !nowhere && net.contains(asked.remote)
            }
        }
    }

    /// The numbers of the rules of a list that all have to hold and do not; 0 of another rule that does not hold.
    pub(super) fn unmet(&self, asked: &Asked<'_>) -> Vec<usize> {
        let parts = match self {
            Self::All(rules) => &rules[..],
            rule => std::slice::from_ref(rule),
        };
        let parts = parts.iter().enumerate().filter(|(_, rule)| !rule.holds(asked));
        parts.map(|(number, _)| number).collect()
    }

    /// Adds the networks that it asks for of the client.
    pub(super) fn networks(&self, found: &mut Vec<Net>) {
        match self {
            Self::Peer(net) | Self::Remote(net) => found.push(*net),
            Self::All(rules) | Self::One(rules) => {
                rules.iter().for_each(|rule| rule.networks(found));
            }
            Self::Not(rule) => rule.networks(found),
            _ => {}
        }
    }

    /// Whether it is as asked for, or has a rule in it that is.
    pub(super) fn has(&self, wanted: fn(&Self) -> bool) -> bool {
        wanted(self)
            || match self {
                Self::All(rules) | Self::One(rules) => rules.iter().any(|rule| rule.has(wanted)),
                Self::Not(rule) => rule.has(wanted),
                _ => false,
            }
    }
}

fn is_called(peer: &Peer, test: &TextMatch) -> bool {
    let mut names = peer.leaf.uris.iter().chain(&peer.leaf.dns_names);
    names.any(|name| test.matches(name.as_bytes())) || test.matches(peer.leaf.subject.as_bytes())
}

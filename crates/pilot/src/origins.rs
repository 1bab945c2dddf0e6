//! Where what is served comes from: for whoever explains a decision. Nothing here is kept: it is compiled
//! again when it is asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_envoy::v3::route::RouteMatch;

use crate::model::gateway::Server;
use crate::model::subnet::Part;

/// A part of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The object.
    pub key: ObjectKey,
    /// Path of the field, as Kubernetes writes it: `spec.http[0].match[1]`.
    pub path: String,
}

/// Where a virtual host comes from.
#[derive(Clone, Debug, Default)]
pub struct HostOrigins {
    /// What each route was made from, in the order of the routes; nothing for those that nobody wrote. Some of these may come
    /// after them all.
    pub routes: Vec<Option<RouteOrigin>>,
    /// Parts of the same VirtualServices that became no route here.
    pub left_out: Vec<LeftOut>,
    /// Those of them whose routes patches of EnvoyFilters took away, each with the patch.
    pub removed: Vec<(RouteOrigin, Origin)>,
}

impl HostOrigins {
    /// What a route was made from, by its number.
    #[must_use]
    pub fn route(&self, number: usize) -> Option<&RouteOrigin> {
        self.routes.get(number)?.as_ref()
    }
}

/// A rule, or one of its conditions, that became no route at a place.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Where it stands.
    pub origin: RouteOrigin,
    /// Why it became none, in words.
    pub reason: String,
    /// Where it would be one for another port, gateway or caller: what it asks for of them.
    pub elsewhere: Option<Elsewhere>,
}

/// What a rule for another port, gateway or caller asks for.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// Which port, gateways, labels or namespace, in words: `sourceLabels app=a`.
    pub asks: String,
    /// Which requests it takes there.
    pub matched: RouteMatch,
}

/// Where a route comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOrigin {
    /// The rule that leads to it, where it is a delegate's.
    pub root: Option<Origin>,
    /// The rule, or one of its conditions.
    pub rule: Origin,
    /// Where copies of its requests are asked for, in the order of the copies.
    pub mirrors: Vec<Origin>,
}

/// Where a filter chain comes from.
#[derive(Clone, Debug)]
pub struct ChainOrigin {
    /// The server; `None` where all servers of a listener share one chain, and in sidecars.
    pub server: Option<Arc<Server>>,
    /// In sidecars: the object of the service that it was made for.
    pub service: Option<ObjectKey>,
    /// Where what comes in to a workload is taken: the field of a PeerAuthentication that says which TLS is.
    pub peers: Option<Origin>,
    /// The rule that carries its connections, if one does.
    pub rule: Option<Origin>,
    /// The server names that it asks for; none where it takes every connection.
    pub names: BTreeSet<String>,
    /// The parts of the gateway's addresses that it takes; none where no rule of the listener tells them apart.
    pub parts: BTreeSet<Part>,
    /// The port that it asks for, of a listener that connections are redirected to.
    pub port: Option<u16>,
    /// What else it asks of connections, in words.
    pub asks: Vec<String>,
}

impl ChainOrigin {
    /// The objects that it was made from, the rule that decides last.
    pub fn objects(&self) -> impl Iterator<Item = Origin> + '_ {
        let server = self.server.iter().map(|s| Origin::new(s.key.clone(), s.place()));
        let service = self.service.iter();
        let service = service.map(|key| Origin { key: key.clone(), path: "spec".to_owned() });
        server.chain(service).chain(self.peers.clone()).chain(self.rule.clone())
    }
}

impl RouteOrigin {
    /// Its parts, the one that leads to the other first.
    pub fn parts(&self) -> impl Iterator<Item = &Origin> {
        self.root.iter().chain([&self.rule])
    }
}

impl Origin {
    /// A part of an object's spec.
    #[must_use]
    pub fn new(key: ObjectKey, path: impl std::fmt::Display) -> Self {
        Self { key, path: format!("spec.{path}") }
    }
}

//! Who has connections at a listener, and what is told to those who come later.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::listener::RulePath;
use crate::model::gateway::{Class, Server};
use crate::model::subnet::Part;
use crate::model::tls::Terms;
use crate::model::virtual_service::{Order, VirtualService};

/// Who has a server name or the connections of a server, and on which terms where the server terminates TLS.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) server: Arc<Server>,
    /// The rule, and the place of its VirtualService among others; none where it is the server itself.
    pub(super) rule: Option<(ObjectKey, RulePath, Option<Order>)>,
    pub(super) terms: Option<Arc<Terms>>,
    /// In which parts; everywhere where no rule tells addresses apart.
    pub(super) parts: BTreeSet<Part>,
}

/// A rule for connections, or a server, that lost some to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose.
    pub key: ObjectKey,
    /// Where it stands in its object.
    pub place: String,
    /// The rule; none where it is a server.
    pub rule: Option<RulePath>,
    /// The server names that it asks for; none where it takes every connection.
    pub names: BTreeSet<String>,
    /// Whether the other is a rule of the same object: then it is lost only if no server is left to the rule.
    pub own: bool,
    /// What is told: where, whose they are now, and why.
    pub told: String,
}

impl Holder {
    /// A server.
    pub(super) fn server(server: &Arc<Server>, parts: BTreeSet<Part>) -> Self {
        Self { server: Arc::clone(server), rule: None, terms: None, parts }
    }

    /// A rule at a server, in no part yet.
    pub(super) fn rule(server: &Arc<Server>, service: &VirtualService, path: RulePath) -> Self {
        let rule = Some((service.key.clone(), path, service.order.clone()));
        Self { rule, ..Self::server(server, BTreeSet::new()) }
    }

    /// The server names that its server has, where connections ask for one.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let named = self.server.class() == Class::Tls;
        let names = self.server.names().filter(|_| named).map(|host| host.as_str().to_owned());
        names.collect()
    }

    /// What is told to whoever comes later, of the object `to`, in which order it stands: whose the connections are, and why.
    pub(super) fn told(&self, to: &ObjectKey, order: Option<&Order>) -> String {
        let Some((key, path, first)) = &self.rule else {
            let of = if self.server.key == *to {
                String::new()
            } else {
                format!(" of {}", self.server.key)
            };
            return format!("belong to {}{of}, which comes first", self.server.place());
        };
        if key == to {
            return format!("belong to {path}, which comes first");
        }
        let why = match (first, order) {
            (Some(first), Some(order)) if first < order => first.why_before(order),
            _ => "has them at a server that comes first",
        };
        format!("belong to {path} of {key}, which {why}")
    }
}

impl Loss {
    /// What a rule lost to whoever holds it; nothing where it has it itself, by another server. `names` are the server names that
    /// it asks for, and `name` the one of them that is held, where that is told.
    pub(super) fn of(
        loser: &Holder,
        holder: &Holder,
        names: BTreeSet<String>,
        name: Option<&str>,
    ) -> Option<Self> {
        let (key, path, order) = loser.rule.as_ref()?;
        let own = holder.rule.as_ref().filter(|(winner, ..)| winner == key);
        if own.is_some_and(|(_, winner, _)| winner == path) {
            return None;
        }
        let whose = holder.told(key, order.as_ref());
        let port = loser.server.port;
        let of = match (name, names.first()) {
            (Some(name), _) => format!(" for {name}"),
            (None, Some(name)) if names.len() == 1 => format!(" for {name}"),
            (None, Some(name)) => format!(" for {name} and other names of the server"),
            (None, None) => String::new(),
        };
        Some(Self {
            key: key.clone(),
            place: path.to_string(),
            rule: Some(*path),
            names,
            own: own.is_some(),
            told: format!("{path}: connections{of} on port {port} {whose}"),
        })
    }
}

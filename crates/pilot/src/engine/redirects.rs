//! Hosts of a route configuration that one Gateway redirects to https while others would have them answered: who redirects,
//! and who loses the requests. As in Istio, one server with `tls.httpsRedirect` is enough for all who share the host.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tidegate_api::ObjectKey;

use super::route_table::Row;
use crate::model::gateway::Server;
use crate::model::host::Host;

/// What is lost at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// The oldest server that redirects the host by its name, or else one that does by a wider one, in words.
    pub(crate) winner: String,
    /// VirtualServices whose rules get no request in plain text, and Gateways whose servers pass none on.
    pub(crate) losers: BTreeSet<Loser>,
}

/// Who loses requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loser {
    pub(crate) key: ObjectKey,
    /// The server of a Gateway, in words; empty for a VirtualService.
    pub(crate) place: String,
}

/// The hosts at which anything is lost.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    by_host: BTreeMap<Host, Redirect>,
    hosts_of: HashMap<ObjectKey, BTreeSet<Host>>,
}

impl Redirect {
    /// What is lost at a host, if anything is: by VirtualServices that do not ask the same of any Gateway of theirs, and by
    /// other Gateways than those that redirect.
    pub(super) fn of(row: Row<'_>) -> Option<Self> {
        let asking = || row.claimants().filter(|(server, _)| server.redirects_to_https());
        let redirecting = || row.redirectors().chain(asking().map(|(server, _)| server));
        let winner = redirecting().next()?;
        let winning: HashSet<&str> = redirecting().map(|server| &*server.gateway).collect();
        let asked: HashSet<&ObjectKey> = asking().map(|(_, key)| key).collect();
        let loses = |server: &Server| !winning.contains(&*server.gateway);
        let mut losers = BTreeSet::new();
        for (_, key) in row.claimants().filter(|(s, key)| loses(s) && !asked.contains(key)) {
            losers.insert(Loser { key: key.clone(), place: String::new() });
        }
        let beside = row.beside().chain(row.claimants().map(|(server, _)| server));
        losers.extend(
            beside
                .filter(|server| loses(server))
                .map(|server| Loser { key: server.key.clone(), place: placed(server) }),
        );
        let winner = format!("{} of Gateway {}", placed(winner), winner.gateway);
        (!losers.is_empty()).then_some(Self { winner, losers })
    }
}

/// A server and its port, in words.
fn placed(server: &Server) -> String {
    format!("{} (port {})", server.place(), server.port)
}

impl Redirects {
    /// What is lost at a host.
    pub(crate) fn at(&self, host: &Host) -> Option<&Redirect> {
        self.by_host.get(host)
    }

    /// Replaces what is lost at a host; answers the objects of which something else is to be said than before.
    pub(crate) fn set(&mut self, host: &Host, now: Option<Redirect>) -> BTreeSet<ObjectKey> {
        if self.at(host) == now.as_ref() {
            return BTreeSet::new();
        }
        let keys = |redirect: Option<&Redirect>| -> BTreeSet<ObjectKey> {
            redirect.into_iter().flat_map(|r| &r.losers).map(|loser| loser.key.clone()).collect()
        };
        let (mut touched, losing) = (keys(self.at(host)), keys(now.as_ref()));
        match now {
            Some(now) => self.by_host.insert(host.clone(), now),
            None => self.by_host.remove(host),
        };
        for gone in touched.difference(&losing) {
            if let Some(hosts) = self.hosts_of.get_mut(gone) {
                hosts.remove(host);
                if hosts.is_empty() {
                    self.hosts_of.remove(gone);
                }
            }
        }
        for key in &losing {
            self.hosts_of.entry(key.clone()).or_default().insert(host.clone());
        }
        touched.extend(losing);
        touched
    }

    /// What an object loses: the host, its place there, and who redirects it.
    pub(crate) fn lost_by<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> impl Iterator<Item = (&'a Host, &'a str, &'a str)> {
        self.hosts_of.get(key).into_iter().flatten().flat_map(move |host| {
            let redirect = self.by_host.get(host).into_iter();
            redirect.flat_map(move |redirect| {
                let own = redirect.losers.iter().filter(move |loser| loser.key == *key);
                own.map(move |loser| (host, loser.place.as_str(), redirect.winner.as_str()))
            })
        })
    }

    /// Whether an object loses the requests for a host.
    pub(crate) fn takes(&self, host: &Host, key: &ObjectKey) -> bool {
        self.hosts_of.get(key).is_some_and(|hosts| hosts.contains(host))
    }
}

//! Chains that no listener has any more, but that still have connections: what these use stays until they have ended.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use crate::route::{Action, RouteTable};

use super::listener::{FilterChain, NetworkFilter};

/// The chains that are on their way out.
#[derive(Debug, Default)]
pub(super) struct Leaving(Vec<Weak<FilterChain>>);

impl Leaving {
    /// Adds chains, and forgets those that have ended.
    pub fn add(&mut self, chains: impl IntoIterator<Item = Arc<FilterChain>>) {
        self.0.retain(|chain| chain.strong_count() > 0);
        self.0.extend(chains.into_iter().map(|chain| Arc::downgrade(&chain)));
    }

    /// Names of the clusters that their connections may still ask for.
    pub fn clusters(&self) -> HashSet<Arc<str>> {
        let mut names = HashSet::new();
        let mut seen: HashSet<*const RouteTable> = HashSet::new();
        let chains: Vec<_> = self.0.iter().filter_map(Weak::upgrade).collect();
        for chain in &chains {
            match &chain.filter {
                NetworkFilter::Tcp(proxy) => {
                    names.extend(proxy.clusters.iter().map(|(slot, _)| Arc::clone(&slot.name)));
                }
                // Many chains have the same table.
                NetworkFilter::Http(manager) => manager.routes.look(|table| {
                    if seen.insert(Arc::as_ptr(table)) {
                        names.extend(clusters(table));
                    }
                }),
            }
        }
        names
    }
}

/// Names of the clusters that routes lead to, with those of copies.
fn clusters(table: &RouteTable) -> impl Iterator<Item = Arc<str>> {
    let routes = table.virtual_hosts().flat_map(|host| host.routes());
    let forwards = routes.filter_map(|route| match &route.action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::Direct(_) => None,
    });
    forwards.flat_map(|forward| {
        let targets = forward.targets.iter().map(|(target, _)| &target.cluster);
        let mirrors = forward.mirrors.all.iter().map(|mirror| &mirror.cluster);
        targets.chain(mirrors).map(|cluster| Arc::clone(&cluster.name))
    })
}

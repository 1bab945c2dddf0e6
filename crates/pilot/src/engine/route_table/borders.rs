//! Which hosts of a route configuration are served on which terms of TLS.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::model::gateway::Server;
use crate::model::host::{Host, HostSet};
use crate::model::merge::{RoutePlan, Uncertified};
use crate::model::tls::Terms;

/// Which hosts are answered at all, and which only to clients with a verified certificate. Without TLS there
/// are no such borders.
#[derive(Debug, Default)]
pub(super) struct Borders {
    /// Hosts of the table's servers.
    pub(super) inside: HostSet,
    /// The same, with their owners' terms.
    pub(super) owned: BTreeMap<Host, Arc<Terms>>,
    /// Hosts for which other TLS terms hold.
    pub(super) misdirected: BTreeSet<Host>,
    pub(super) outside: HostSet,
    /// Of the hosts inside, those whose server demands a certificate, where connections without one come too.
    pub(super) guarded: HashSet<Host>,
    /// How requests for those are answered without a certificate.
    pub(super) uncertified: Option<Uncertified>,
    /// Whether hosts inside are served on terms of several kinds.
    pub(super) mixed: bool,
}

impl Borders {
    /// Those of the servers of a route configuration.
    pub(super) fn of(plan: &RoutePlan) -> Self {
        let checked = plan.owned.iter().filter(|_| plan.uncertified.is_some());
        let demanding = checked.filter(|(_, owner)| owner.demands_certificate());
        Self {
            inside: plan.owned.keys().cloned().collect(),
            owned: plan.owned.clone(),
            misdirected: plan.misdirected.clone(),
            outside: plan.misdirected.iter().cloned().collect(),
            guarded: demanding.map(|(host, _)| host.clone()).collect(),
            uncertified: plan.uncertified,
            mixed: plan.uncertified.is_some(),
        }
    }

    /// Whether a host belongs to a server, or to one on the same terms: the oldest of those with the narrowest name for
    /// it. Without TLS there are no such borders.
    pub(super) fn admits(&self, host: &Host, server: &Server) -> bool {
        let Some(terms) = server.https_terms() else { return true };
        let Some(inside) = self.inside.narrowest(host) else { return false };
        let outside = self.outside.narrowest(host);
        !outside.is_some_and(|outside| outside.is_narrower_than(&inside))
            && self.owned.get(&inside) == Some(terms)
    }

    /// How clients without a certificate are answered, where the server that a host belongs to demands one.
    pub(super) fn guards(&self, host: &Host) -> Option<Uncertified> {
        let own = self.inside.narrowest(host)?;
        self.uncertified.filter(|_| self.guarded.contains(&own))
    }
}

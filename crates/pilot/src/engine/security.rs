//! Who may do what: AuthorizationPolicies into the filters of listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::istio::authorization_policy::Action;
use tidegate_api::{Kind, ObjectKey};
use tidegate_xds::{Resource, ResourceType};

use super::credentials::{Use, User};
use super::{Dirty, Pilot};
use crate::compile::tokens::Tokens;
use crate::compile::{authorization, claims, tokens};
use crate::model::authentication::TokenPolicy;
use crate::model::authorization::Policy;
use crate::model::peers::Mode;
use crate::model::virtual_service::VirtualService;
use crate::origins::Origin;
use crate::{Remark, UnfetchedKeys, status};

impl Pilot {
    /// Replaces an AuthorizationPolicy; `None`: it is gone.
    pub(super) fn set_policy(
        &mut self,
        key: &ObjectKey,
        policy: Option<Policy>,
        dirty: &mut Dirty,
    ) {
        if self.policies.set(key, policy) {
            dirty.policies = true;
        }
    }

    /// The policies that allow what they match, and hold at the gateway.
    pub fn allowing(&self) -> impl Iterator<Item = &ObjectKey> {
        let allows = |p: &&Policy| p.spec.action == Action::Allow && !p.dry_run;
        self.policies.here().filter(allows).map(|policy| &policy.key)
    }

    /// What is taken from peers at a port of the workload, and who says so.
    #[must_use]
    pub fn taken_from_peers(&self, port: u16) -> Mode {
        self.peers.modes().at(port).clone()
    }

    /// Whether everything is refused because an object cannot be read that may say who is let in.
    #[must_use]
    pub fn closed_by(&self, key: &ObjectKey) -> bool {
        self.policies.is_unreadable(key)
    }

    /// The rules that verify tokens at the gateway, in the order in which the proxy has them.
    #[must_use]
    pub fn token_rules(&self) -> Vec<Origin> {
        tokens::origins(&self.token_policies)
    }

    /// Notes that the newest form of an object cannot be read, if it is one that closes the gateway until it can.
    pub(super) fn set_unreadable(
        &mut self,
        key: &ObjectKey,
        selector: Option<&BTreeMap<String, String>>,
        dirty: &mut Dirty,
    ) {
        if key.kind == Kind::PeerAuthentication {
            return self.peers.set_unreadable(key, selector, &self.options);
        }
        let closes = match key.kind {
            Kind::AuthorizationPolicy => true,
            // One that was right before verifies tokens as before.
            Kind::RequestAuthentication => self.token_policies.get(key).is_none(),
            _ => false,
        };
        if !closes || !self.policies.set_unreadable(key, selector, &self.options) {
            return;
        }
        dirty.policies = true;
        if self.policies.is_unreadable(key) {
            let (key, message) = (key.clone(), status::CLOSED.to_owned());
            dirty.remarks.push(Remark { key, reason: "GatewayClosed", message });
        }
    }

    /// Replaces a RequestAuthentication; `None`: it is gone.
    pub(super) fn set_tokens(
        &mut self,
        key: &ObjectKey,
        policy: Option<TokenPolicy>,
        dirty: &mut Dirty,
    ) {
        dirty.tokens |= self.token_policies.set(key, policy);
        // It can be read now, or is gone.
        dirty.policies |= self.policies.set(key, None);
    }

    /// The issuers whose keys are where they say it themselves (OpenID discovery): whoever feeds the pilot asks them.
    #[must_use]
    pub fn issuers(&self) -> BTreeSet<Arc<str>> {
        self.tokens.issuers.clone()
    }

    /// Replaces what an issuer says of where its keys are.
    pub(super) fn set_discovered(
        &mut self,
        issuer: Arc<str>,
        keys: Result<String, String>,
        dirty: &mut Dirty,
    ) {
        dirty.tokens |= self.discovered.get(&issuer) != Some(&keys);
        self.discovered.insert(issuer, keys);
    }

    /// Replaces what the data plane cannot fetch.
    pub(super) fn set_unfetched(&mut self, keys: UnfetchedKeys, dirty: &mut Dirty) {
        let before = std::mem::replace(&mut self.unfetched, keys);
        let differs = |uri: &String| before.0.get(uri) != self.unfetched.0.get(uri);
        let touched = self.tokens.fetched.iter().filter(|(uri, _)| differs(uri));
        dirty.status.extend(touched.map(|(_, key)| key.clone()));
    }

    /// Compiles RequestAuthentications as [`Self::authorize`] does policies, also where hosts differ that keys are at.
    fn verify(&mut self, dirty: &mut Dirty) {
        if !std::mem::take(&mut dirty.tokens) && self.tokens.hosts.is_disjoint(&dirty.hosts) {
            return;
        }
        let now = tokens::compile(&self.token_policies, &self.discovered, &self.context());
        self.discovered.retain(|issuer, _| now.issuers.contains(issuer));
        if now == self.tokens {
            return;
        }
        if now.filter.is_some() != self.tokens.filter.is_some() {
            // Claims are known now, or no more.
            let services = self.index.virtual_services().filter(|service| asks_for_claims(service));
            dirty.status.extend(services.map(|service| service.key.clone()));
            dirty.status.extend(self.filters.speaking_to_filters().cloned());
        }
        let before = std::mem::replace(&mut self.tokens, now);
        let now = &self.tokens;
        // What an issuer says may mend a policy, or not.
        let differs = |key: &&ObjectKey| before.faults.get(*key) != now.faults.get(*key);
        let judged = before.faults.keys().chain(now.faults.keys());
        dirty.status.extend(judged.filter(differs).cloned());
        dirty.everything = true;
        if before.filter != now.filter {
            dirty.listeners.extend(self.listeners.names().map(Arc::clone));
        }
        for name in before.clusters.keys().filter(|name| !now.clusters.contains_key(*name)) {
            self.outbox.remove(ResourceType::Cluster, Arc::clone(name));
        }
        // EnvoyFilters do not reach them: how keys are fetched is nobody else's.
        for (name, keys) in &now.clusters {
            let cluster = Resource::encode(ResourceType::Cluster, Arc::clone(name), &keys.cluster);
            self.outbox.put(cluster);
        }
        let uses = |tokens: &Tokens| -> BTreeSet<Use> {
            let taken = tokens.credentials.iter().cloned();
            taken.map(|(credential, key)| (credential, User::Tokens(key))).collect()
        };
        dirty.credentials.extend(self.credentials.replace(&uses(&before), &uses(now)));
    }

    /// Compiles the policies, where one of them is different, and marks every listener if that makes a difference.
    pub(super) fn authorize(&mut self, dirty: &mut Dirty) {
        self.verify(dirty);
        if !std::mem::take(&mut dirty.policies) {
            return;
        }
        let now = authorization::compile(&self.policies, &self.options.trust_domains);
        if now != self.authorization {
            if now.requests.is_empty() != self.authorization.requests.is_empty() {
                dirty.status.extend(self.filters.speaking_to_filters().cloned());
            }
            self.authorization = now;
            dirty.everything = true;
            dirty.listeners.extend(self.listeners.names().map(Arc::clone));
        }
    }
}

/// Whether a rule of a VirtualService asks for claims of a JWT.
fn asks_for_claims(service: &VirtualService) -> bool {
    let mut conditions = service.http.iter().flat_map(|rule| &rule.matches);
    conditions.any(|condition| claims::asked(condition).next().is_some())
}

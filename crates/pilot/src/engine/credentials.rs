//! Who takes which credentials, and the secrets that bring them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::{ObjectKey, kube};
use tidegate_xds::{Resource, ResourceType};

use super::{Dirty, Pilot};
use crate::compile::secret;
use crate::model::credentials::Secrets;
use crate::model::tls::Credential;

/// Credentials by the listeners that take them.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    users: BTreeMap<Credential, BTreeSet<Arc<str>>>,
}

impl Credentials {
    pub(super) fn used(&mut self, credential: &Credential, listener: &Arc<str>) {
        self.users.entry(credential.clone()).or_default().insert(Arc::clone(listener));
    }

    pub(super) fn unused(&mut self, credential: &Credential, listener: &str) {
        if let Some(users) = self.users.get_mut(credential) {
            users.remove(listener);
            if users.is_empty() {
                self.users.remove(credential);
            }
        }
    }

    /// The credentials that may depend on a Secret.
    fn dependent<'a>(&'a self, secret: &'a str) -> impl Iterator<Item = &'a Credential> {
        self.users.keys().filter(move |credential| Secrets::depends(credential, secret))
    }

    /// Whether a secret of xDS is brought for any listener.
    fn brings(&self, name: &str) -> bool {
        self.users.keys().any(|credential| credential.to_string() == name)
    }
}

impl Pilot {
    /// Replaces a Secret; `None`: it is gone.
    pub(super) fn set_secret(
        &mut self,
        key: &ObjectKey,
        secret: Option<Arc<kube::Secret>>,
        dirty: &mut Dirty,
    ) {
        self.secrets.set(&key.namespace, &key.name, secret);
        dirty.credentials.extend(self.credentials.dependent(&key.name).cloned());
    }

    /// Puts the secret of a credential, or takes it away where nobody asks for it or nothing is there.
    pub(super) fn emit_credential(&mut self, credential: &Credential, dirty: &mut Dirty) {
        let gateways: BTreeSet<ObjectKey> = self.takers(credential).cloned().collect();
        dirty.status.extend(gateways);
        let name: Arc<str> = credential.to_string().into();
        if !self.credentials.brings(&name) {
            self.outbox.remove(ResourceType::Secret, name);
            return;
        }
        match self.secrets.find(credential) {
            Ok(found) => {
                let message = secret::secret(&name, found);
                self.outbox.put(Resource::encode(ResourceType::Secret, name, &message));
            }
            // What it held before serves on.
            Err(not_found) if not_found.broken => {}
            Err(_) => self.outbox.remove(ResourceType::Secret, name),
        }
    }

    /// The Gateways whose servers take a credential.
    fn takers(&self, credential: &Credential) -> impl Iterator<Item = &ObjectKey> {
        let listeners = self.credentials.users.get(credential).into_iter().flatten();
        let servers =
            listeners.filter_map(|name| self.listeners.plan(name)).flat_map(|plan| &plan.servers);
        let takes = move |terms: &Arc<crate::model::tls::Terms>| {
            terms.credentials().any(|taken| taken == credential)
        };
        servers.filter(move |s| s.terms().is_some_and(takes)).map(|server| &server.key)
    }

    /// The Gateways whose servers take a secret of xDS.
    pub(super) fn secret_owners(&self, name: &str) -> Vec<ObjectKey> {
        let named = self.credentials.users.keys().filter(|c| c.to_string() == name);
        let owners: BTreeSet<&ObjectKey> = named.flat_map(|c| self.takers(c)).collect();
        owners.into_iter().cloned().collect()
    }
}

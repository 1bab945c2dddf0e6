//! Who takes which credentials, and the secrets that bring them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tidegate_api::{Kind, ObjectKey, kube};
use tidegate_xds::{Resource, ResourceType};

use super::{Dirty, Pilot, index};
use crate::compile::secret;
use crate::model::credentials::Found;
use crate::model::tls::{AUTHORITIES_SUFFIX, Credential, Terms};
use crate::status::{Lack, SecretUse};
use crate::{Compiled, FaultySecret, Remark, Serves, status};

/// Credentials by those who take them.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    users: BTreeMap<Credential, BTreeSet<User>>,
    /// Those that the data plane was given; of twins one.
    brought: HashSet<Credential>,
    /// The Secrets that the authorities of some come from, though nothing names them.
    guessed: HashMap<Credential, Arc<str>>,
    /// What the data plane finds wrong with secrets.
    faulty: BTreeMap<Arc<str>, FaultySecret>,
}

/// Who takes a credential.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    /// A Gateway, for its servers at a listener.
    Gateway {
        /// The Gateway.
        key: ObjectKey,
        /// The listener.
        listener: Arc<str>,
    },
    /// A DestinationRule, for handshakes with destinations.
    Rule(ObjectKey),
    /// A RequestAuthentication, for handshakes with those who have the keys of issuers.
    Tokens(ObjectKey),
    /// A Sidecar, for handshakes with those who send to its workload.
    Sidecar(ObjectKey),
    /// A Service of type ExternalName, for handshakes with what it stands for.
    Alias(ObjectKey),
    /// A sidecar, for handshakes with the peers of its workload: no object names it.
    Peers {
        /// Whether nothing but mutual TLS is taken at one of its ports, so that it cannot do without.
        only: bool,
    },
}

impl User {
    const fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::Gateway { key, .. }
            | Self::Rule(key)
            | Self::Tokens(key)
            | Self::Sidecar(key)
            | Self::Alias(key) => Some(key),
            Self::Peers { .. } => None,
        }
    }
}

/// A credential, and who takes it.
pub(super) type Use = (Credential, User);

impl Credentials {
    /// Notes who takes which credentials in place of before; answers those that others take now, or nobody.
    pub(super) fn replace(
        &mut self,
        before: &BTreeSet<Use>,
        now: &BTreeSet<Use>,
    ) -> Vec<Credential> {
        for (credential, user) in before.difference(now) {
            if let Some(users) = self.users.get_mut(credential) {
                users.remove(user);
                if users.is_empty() {
                    self.users.remove(credential);
                }
            }
        }
        for (credential, user) in now.difference(before) {
            self.users.entry(credential.clone()).or_default().insert(user.clone());
        }
        before.symmetric_difference(now).map(|(credential, _)| credential.clone()).collect()
    }

    /// The credentials that name a Secret, or the one that it belongs to, without looking through all of them.
    fn concerning(&self, secret: &Arc<str>) -> Vec<Credential> {
        let owner = secret.strip_suffix(AUTHORITIES_SUFFIX).map(Arc::from);
        let names = [Some(Arc::clone(secret)), owner].into_iter().flatten();
        let authorities: Vec<Credential> = names
            .flat_map(|name| {
                [true, false]
                    .map(|named| Credential::Authorities { name: Arc::clone(&name), named })
            })
            .collect();
        let revoking = self.revoking().filter(|(_, inner)| authorities.contains(inner));
        let revoking: Vec<Credential> = revoking.map(|(whole, _)| whole.clone()).collect();
        let direct = std::iter::once(Credential::Pair(Arc::clone(secret))).chain(authorities);
        direct.filter(|credential| self.users.contains_key(credential)).chain(revoking).collect()
    }

    /// The credentials with a list of revoked certificates in a file, which are the last of all, each with its authorities.
    fn revoking(&self) -> impl Iterator<Item = (&Credential, &Credential)> {
        self.users.keys().rev().map_while(|credential| match credential {
            Credential::Revoking { authorities, .. } => Some((credential, &**authorities)),
            _ => None,
        })
    }

    /// The credentials whose content may come from a Secret: those that name it, and whatever has a list of its own.
    fn taking(&self, secret: &Arc<str>) -> impl Iterator<Item = Credential> {
        let named = self.concerning(secret).into_iter();
        let named = named.filter(|c| !matches!(c, Credential::Revoking { .. }));
        named.chain(self.revoking().map(|(_, authorities)| authorities.clone()))
    }

    /// Whether the data plane has all that handshakes on these terms take.
    pub(crate) fn complete(&self, terms: &Terms) -> bool {
        terms.credentials().all(|credential| self.usable(credential))
    }

    /// Whether the data plane has what a credential stands for, in a form that it took.
    pub(crate) fn usable(&self, credential: &Credential) -> bool {
        let serves = |faulty: &FaultySecret| faulty.serves != Serves::Nothing;
        self.has(credential) && self.faulty(credential).is_none_or(serves)
    }

    /// Whether an object takes a credential.
    pub(crate) fn is_taken_by(&self, key: &ObjectKey, credential: &Credential) -> bool {
        let users = self.users.get(credential).into_iter().flatten();
        users.filter_map(User::key).any(|taker| taker == key)
    }

    /// What the data plane finds wrong with a credential as it is now; `None` where it finds nothing.
    pub(crate) fn faulty(&self, credential: &Credential) -> Option<&FaultySecret> {
        if self.faulty.is_empty() {
            return None;
        }
        self.faulty.get(&*credential.to_string())
    }

    /// Whether the data plane has what a credential stands for, as far as compiling decides.
    pub(crate) fn has(&self, credential: &Credential) -> bool {
        let twin = || credential.twin().is_some_and(|twin| self.brought.contains(&twin));
        self.brought.contains(credential) || twin()
    }

    /// The credential behind a secret of xDS, if anybody takes it.
    pub(crate) fn named(&self, secret: &str) -> Option<Credential> {
        let taken = self.users.keys().find(|credential| credential.to_string() == secret)?;
        self.behind(taken)
    }

    /// The credential that fills the secret of xDS of this one; `None` where nobody takes it. Of two that share one, it is
    /// the one for which nothing is guessed: whoever names authorities gets those or none.
    pub(crate) fn behind(&self, credential: &Credential) -> Option<Credential> {
        both(credential).filter(|c| self.users.contains_key(c)).max()
    }
}

/// A credential, and the one that shares its secret of xDS.
fn both(credential: &Credential) -> impl Iterator<Item = Credential> {
    std::iter::once(credential.clone()).chain(credential.twin())
}

impl Pilot {
    /// Replaces a Secret; `None`: it is gone.
    pub(super) fn set_secret(
        &mut self,
        key: &ObjectKey,
        secret: Option<Arc<kube::Secret>>,
        dirty: &mut Dirty,
    ) {
        let was_there = self.secrets.has(key);
        let others = self.secrets.set(&key.namespace, &key.name, secret);
        if self.secrets.has(key) != was_there {
            let users = self.credentials.users.keys();
            let meant = users.filter(|taken| self.secrets.may_be_meant(&key.name, taken));
            for credential in meant.cloned().collect::<Vec<_>>() {
                self.mark_takers(&credential, dirty);
            }
        }
        let broken = self.taken_from(key).filter(|credential| {
            self.secrets.find(credential).is_err_and(|not_found| not_found.broken)
        });
        let withheld: BTreeSet<String> = broken.map(|credential| credential.to_string()).collect();
        dirty.withheld.extend(withheld.into_iter().map(Arc::from));
        dirty.credentials.extend(self.credentials.concerning(&key.name));
        if others {
            self.mark_guessed(dirty);
        }
    }

    /// Marks the credentials whose authorities nothing names, as another Secret may be meant now.
    fn mark_guessed(&self, dirty: &mut Dirty) {
        let users = self.credentials.users.keys();
        let guessed = users.filter(|credential| self.secrets.is_guessed(credential));
        dirty.credentials.extend(guessed.cloned());
    }

    /// Notes which Secrets an object names: they are taken where nothing is named no more.
    pub(super) fn set_named(
        &mut self,
        key: &ObjectKey,
        names: BTreeSet<Arc<str>>,
        dirty: &mut Dirty,
    ) {
        if self.secrets.set_named(key, names) {
            self.mark_guessed(dirty);
        }
    }

    /// Replaces what the data plane finds wrong with secrets.
    pub(super) fn set_faulty(
        &mut self,
        secrets: BTreeMap<Arc<str>, FaultySecret>,
        dirty: &mut Dirty,
    ) {
        let before = std::mem::replace(&mut self.credentials.faulty, secrets);
        let now = &self.credentials.faulty;
        let names = before.keys().chain(now.keys());
        let touched: HashSet<&str> =
            names.filter(|name| before.get(*name) != now.get(*name)).map(|name| &**name).collect();
        let users = self.credentials.users.keys();
        for credential in users.filter(|c| touched.contains(c.to_string().as_str())) {
            self.mark_takers(credential, dirty);
            dirty.ports.extend(self.ports_taking(credential));
        }
    }

    /// Brings the secrets of touched credentials up to date, and marks the ports that differ with whether these can be used:
    /// who names no server is served by those that can.
    pub(super) fn bring(&mut self, dirty: &mut Dirty, compiled: &mut Compiled) {
        for credential in std::mem::take(&mut dirty.credentials) {
            self.emit_credential(&credential, dirty);
            compiled.secrets += 1;
        }
    }

    /// Replaces what is known of a file.
    pub(super) fn set_file(
        &mut self,
        name: Arc<str>,
        content: Result<Arc<[u8]>, String>,
        dirty: &mut Dirty,
    ) {
        let users = self.credentials.users.keys();
        let reading = users.filter(|credential| self.secrets.files_of(credential).contains(&name));
        dirty.credentials.extend(reading.cloned());
        self.secrets.set_file(name, content);
    }

    /// The files that certificates, keys and authorities are in: whoever feeds the pilot reads and follows them.
    #[must_use]
    pub fn files(&self) -> BTreeSet<Arc<str>> {
        let users = self.credentials.users.keys();
        users.flat_map(|credential| self.secrets.files_of(credential)).collect()
    }

    /// Puts the secret of a credential, or takes it away where nobody asks for it or nothing is there.
    fn emit_credential(&mut self, credential: &Credential, dirty: &mut Dirty) {
        let sharing: Vec<Credential> = both(credential).collect();
        for credential in &sharing {
            self.mark_takers(credential, dirty);
        }
        let name: Arc<str> = credential.to_string().into();
        let behind = self.credentials.behind(credential);
        self.mark_guess(&sharing, behind.as_ref(), dirty);
        let found = match behind.as_ref().map(|behind| (behind, self.secrets.find(behind))) {
            Some((behind, Ok(found))) => Some((behind, found)),
            // What it held before serves on.
            Some((behind, Err(not_found)))
                if not_found.broken && self.credentials.brought.contains(behind) =>
            {
                return;
            }
            Some((_, Err(_))) | None => None,
        };
        if found.is_some() != self.credentials.has(credential) {
            dirty.ports.extend(sharing.iter().flat_map(|shared| self.ports_taking(shared)));
        }
        for shared in &sharing {
            self.credentials.brought.remove(shared);
        }
        match found {
            Some((behind, found)) => {
                self.credentials.brought.insert(behind.clone());
                if let Some(message) = secret::secret(&name, found) {
                    self.outbox.put(Resource::encode(ResourceType::Secret, name, &message));
                }
            }
            None => self.outbox.remove(ResourceType::Secret, name),
        }
    }

    /// Tells those who take a credential when its authorities come from another Secret than before, and nothing names
    /// either of them.
    fn mark_guess(
        &mut self,
        sharing: &[Credential],
        behind: Option<&Credential>,
        dirty: &mut Dirty,
    ) {
        let Some(behind) = behind.filter(|behind| behind.is_open()) else {
            for credential in sharing {
                self.credentials.guessed.remove(credential);
            }
            return;
        };
        match self.secrets.find(behind) {
            Ok(Found::Authorities { guessed: Some(now), .. }) => {
                let now = Arc::clone(now);
                let before = self.credentials.guessed.insert(behind.clone(), Arc::clone(&now));
                let Some(before) = before.filter(|before| *before != now) else { return };
                let message = format!(
                    "client certificates are verified against Secret {now} from now on, and no longer against Secret {before}: \
                     it is the only one with authorities in the gateway's namespace that nothing names; say which one is \
                     meant by tls.caCertCredentialName"
                );
                let takers: BTreeSet<&ObjectKey> = self.takers(behind).collect();
                dirty.remarks.extend(takers.into_iter().map(|key| Remark {
                    key: key.clone(),
                    reason: "AuthoritiesChanged",
                    message: message.clone(),
                }));
            }
            Ok(_) => {
                self.credentials.guessed.remove(behind);
            }
            // The one before is remembered: another may take its place later.
            Err(_) => {}
        }
    }

    /// Marks the status of those who take a credential, of those who go through them, and the Secret that it comes from.
    fn mark_takers(&self, credential: &Credential, dirty: &mut Dirty) {
        dirty.secrets.extend(self.secret_of(credential));
        dirty.lacking.insert(credential.clone());
        let takers: BTreeSet<&ObjectKey> = self.takers(credential).collect();
        for taker in takers {
            dirty.status.extend(self.index.naming(&index::gateway_name(taker)).cloned());
            let hosts = self.rules.get(taker).map(|rule| self.hosts_under(&rule.host));
            for host in hosts.into_iter().flatten() {
                let sending = self.index.referring_to(&host).map(|(service, _)| service.clone());
                dirty.status.extend(sending);
            }
            dirty.status.insert(taker.clone());
        }
    }

    /// The ports of which a listener takes a credential.
    fn ports_taking(&self, credential: &Credential) -> BTreeSet<u16> {
        let users = self.credentials.users.get(credential).into_iter().flatten();
        let ports = users.filter_map(|user| match user {
            User::Gateway { listener, .. } => Some(self.listeners.plan(listener)?.port),
            User::Rule(_)
            | User::Tokens(_)
            | User::Sidecar(_)
            | User::Alias(_)
            | User::Peers { .. } => None,
        });
        ports.collect()
    }

    /// The Gateways whose servers take a credential, and the DestinationRules and RequestAuthentications that do.
    fn takers(&self, credential: &Credential) -> impl Iterator<Item = &ObjectKey> {
        let users = self.credentials.users.get(credential).into_iter().flatten();
        users.filter_map(User::key)
    }

    /// Why the data plane does not have the secrets of these credentials, as far as it does not; `None` where nobody takes
    /// them.
    pub(super) fn lacking(
        &self,
        credentials: BTreeSet<Credential>,
    ) -> Vec<(Arc<str>, Option<String>)> {
        let lacking = credentials.into_iter().filter_map(|credential| {
            let name = credential.to_string().into();
            let Some(taken) = self.credentials.behind(&credential) else {
                return Some((name, None));
            };
            let lack = Lack::of(&taken, self.view())?;
            (lack.serves == Serves::Nothing).then_some((name, Some(lack.words)))
        });
        lacking.collect()
    }

    /// Whether connections fail for want of a secret of xDS; those of peers that may come without TLS do not.
    #[must_use]
    pub fn cannot_do_without(&self, name: &str) -> bool {
        let users = self.credentials.named(name).and_then(|one| self.credentials.users.get(&one));
        users.into_iter().flatten().any(|user| *user != User::Peers { only: false })
    }

    /// The Secrets that the content of a secret of xDS comes from.
    #[must_use]
    pub fn secret_sources(&self, name: &str) -> Vec<ObjectKey> {
        let named = self.credentials.named(name);
        named.and_then(|credential| self.secret_of(&credential)).into_iter().collect()
    }

    /// The Secret that the content of a credential comes from, or has to.
    fn secret_of(&self, credential: &Credential) -> Option<ObjectKey> {
        let source = self.secrets.source(credential)?;
        Some(ObjectKey::new(Kind::Secret, &**self.secrets.namespace(), &*source))
    }

    /// Whether an object is a Secret that lacks what somebody takes from it, so that what it held before serves on.
    #[must_use]
    pub fn is_broken(&self, key: &ObjectKey) -> bool {
        self.taken_from(key).any(|credential| {
            self.secrets.find(&credential).is_err_and(|not_found| not_found.broken)
        })
    }

    /// What an object is, as a Secret, to those who take it.
    #[must_use]
    pub fn secret_use(&self, key: &ObjectKey) -> SecretUse {
        let mut taken = self.taken_from(key).peekable();
        if taken.peek().is_none() {
            return SecretUse::Nobody;
        }
        let fault = taken.find_map(|credential| status::unusable(&credential, self.view()));
        fault.map_or(SecretUse::Usable, SecretUse::Unusable)
    }

    /// What is taken from an object, where that is a Secret.
    fn taken_from(&self, key: &ObjectKey) -> impl Iterator<Item = Credential> {
        let secret = key.kind == Kind::Secret && key.namespace == *self.secrets.namespace();
        let taken = secret.then(|| self.credentials.taking(&key.name)).into_iter().flatten();
        taken.filter(|credential| {
            self.secrets.source(credential).is_some_and(|source| source == key.name)
        })
    }

    /// The objects that take a secret of xDS.
    pub(super) fn secret_owners(&self, name: &str) -> Vec<ObjectKey> {
        let named = self.credentials.users.keys().filter(|c| c.to_string() == name);
        let owners: BTreeSet<&ObjectKey> = named.flat_map(|c| self.takers(c)).collect();
        owners.into_iter().cloned().collect()
    }
}

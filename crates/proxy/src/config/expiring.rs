//! Which certificates expire when, without a look at all of them for each verdict.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use tidegate_xds::{Doubtful, ResourceType};

use super::applier::CHAIN;
use crate::tls::secret::SecretSlot;

/// The certificates in slots, the first to expire first.
#[derive(Debug, Default)]
pub(super) struct Expiring {
    slots: BTreeMap<(SystemTime, Arc<str>), Weak<SecretSlot>>,
    by_name: HashMap<Arc<str>, SystemTime>,
}

impl Expiring {
    /// Notes what a slot was filled with, in place of what was known of it.
    pub fn note(&mut self, slot: &Arc<SecretSlot>) {
        if let Some(before) = self.by_name.remove(&slot.name) {
            self.slots.remove(&(before, Arc::clone(&slot.name)));
        }
        if let Some(expires) = slot.expires() {
            self.by_name.insert(Arc::clone(&slot.name), expires);
            self.slots.insert((expires, Arc::clone(&slot.name)), Arc::downgrade(slot));
        }
    }

    /// The certificates that are presented though they have expired by `now`.
    pub fn expired(&self, now: SystemTime) -> Vec<Doubtful> {
        let due = self.slots.iter().take_while(|((expires, _), _)| *expires < now);
        let expired = due.filter_map(|((_, name), slot)| {
            let reason = slot.upgrade()?.identity_at(now)?.expired(now)?;
            let (kind, name) = (ResourceType::Secret, Arc::clone(name));
            Some(Doubtful { kind, name, path: CHAIN.to_owned(), reason })
        });
        expired.collect()
    }

    /// When the next of them expires, after `now`.
    pub fn next(&self, now: SystemTime) -> Option<SystemTime> {
        let mut later = self.slots.range((now, Arc::from(""))..);
        later.find(|(_, slot)| slot.strong_count() > 0).map(|((expires, _), _)| *expires)
    }
}

//! ServiceEntries whose annotations stand for other objects ([`crate::expand`]): these are taken in as if somebody had written
//! them, and what is to be said of them is said of the ServiceEntry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tidegate_api::{Kind, Object, ObjectKey, Spec};

use super::{Dirty, Pilot};
use crate::Remark;
use crate::expand::{self, Claims, Front, GATEWAY_ANNOTATION, LongForm, Ports, Wish};
use crate::model::service::Discovery;
use crate::status::Account;

/// The ServiceEntries with such annotations.
#[derive(Debug, Default)]
pub(crate) struct ShortForms {
    entries: HashMap<ObjectKey, ShortForm>,
    /// The ServiceEntry that each object is written out of, whether or not it was taken in.
    written: HashMap<ObjectKey, ObjectKey>,
    /// The ServiceEntries that go by a gateway, by its Service.
    by_front: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Who has which ports of a gateway, by its Service.
    ports: BTreeMap<ObjectKey, PortsAt>,
}

/// The ports of a gateway.
#[derive(Debug, Default)]
struct PortsAt {
    claims: Claims,
    settled: BTreeMap<ObjectKey, Ports>,
}

impl PortsAt {
    /// Settles anew who has which; the ServiceEntries that have others than before.
    fn settle(&mut self, front: Option<&Front>) -> Vec<ObjectKey> {
        let before = std::mem::replace(&mut self.settled, self.claims.settle(front));
        let keys: BTreeSet<&ObjectKey> = before.keys().chain(self.settled.keys()).collect();
        let moved = keys.into_iter().filter(|key| before.get(*key) != self.settled.get(*key));
        moved.cloned().collect()
    }
}

#[derive(Debug)]
struct ShortForm {
    object: Arc<Object>,
    /// The Service of the gateway, where the annotations name one.
    front: Option<ObjectKey>,
    /// What it stands for.
    written: BTreeMap<ObjectKey, Value>,
    /// Which of that was taken in.
    taken: BTreeSet<ObjectKey>,
    /// What is wrong with it.
    faults: Vec<String>,
}

impl ShortForms {
    /// What is wrong with the annotations of an object.
    pub(crate) fn faults(&self, key: &ObjectKey) -> &[String] {
        self.entries.get(key).map_or(&[], |form| &form.faults)
    }

    /// The ServiceEntry that an object was written out of and taken in for.
    fn entry_of(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        let entry = self.written.get(key)?;
        self.entries.get(entry)?.taken.contains(key).then_some(entry)
    }

    /// Objects, with the ServiceEntry in the place of what was written out of it; each once.
    pub(super) fn owners(&self, keys: Vec<ObjectKey>) -> Vec<ObjectKey> {
        let mut owners = Vec::with_capacity(keys.len());
        for key in keys {
            let key = self.entry_of(&key).cloned().unwrap_or(key);
            if !owners.contains(&key) {
                owners.push(key);
            }
        }
        owners
    }

    /// Has what is to be told of objects told of the ServiceEntries that they were written out of.
    pub(super) fn tell_entries(&self, status: &mut BTreeSet<ObjectKey>) {
        if self.written.is_empty() {
            return;
        }
        let entries = status.iter().filter_map(|key| self.entry_of(key)).cloned();
        let entries: Vec<ObjectKey> = entries.collect();
        status.retain(|key| self.entry_of(key).is_none());
        status.extend(entries);
    }

    /// The same of what happened to them.
    pub(super) fn attribute(&self, remarks: &mut [Remark]) {
        for remark in remarks {
            if let Some(entry) = self.entry_of(&remark.key) {
                remark.message = in_words(&remark.key, &remark.message);
                remark.key = entry.clone();
            }
        }
    }

    /// Takes out what is known of a ServiceEntry.
    fn remove(&mut self, entry: &ObjectKey) -> Option<ShortForm> {
        let form = self.entries.remove(entry)?;
        for key in form.written.keys() {
            self.written.remove(key);
        }
        if let Some(front) = &form.front
            && let Some(entries) = self.by_front.get_mut(front)
        {
            entries.remove(entry);
            if entries.is_empty() {
                self.by_front.remove(front);
            }
        }
        Some(form)
    }

    fn insert(&mut self, entry: ObjectKey, form: ShortForm) {
        self.written.extend(form.written.keys().map(|key| (key.clone(), entry.clone())));
        if let Some(front) = &form.front {
            self.by_front.entry(front.clone()).or_default().insert(entry.clone());
        }
        self.entries.insert(entry, form);
    }
}

impl Pilot {
    /// The ServiceEntry whose annotations an object was written out of; nobody else wrote that object.
    #[must_use]
    pub fn written_out_of(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        self.short_forms.entry_of(key)
    }

    /// Settles what is written out, after an object was applied or deleted.
    pub(super) fn write_out(
        &mut self,
        key: &ObjectKey,
        object: Option<&Arc<Object>>,
        dirty: &mut Dirty,
    ) {
        match key.kind {
            Kind::ServiceEntry => self.settle_short_form(key, object, dirty),
            Kind::Service => {
                let front = self.front(key);
                if let Some(at) = self.short_forms.ports.get_mut(key) {
                    at.settle(front.as_ref());
                }
                let entries = self.short_forms.by_front.get(key).into_iter().flatten();
                for entry in entries.cloned().collect::<Vec<_>>() {
                    self.settle_again(&entry, dirty);
                }
            }
            Kind::Gateway | Kind::VirtualService | Kind::DestinationRule => {
                let Some(entry) = self.short_forms.written.get(key).cloned() else { return };
                // Who writes an object of that name means it, and not the one that is written out.
                if let Some(form) = self.short_forms.entries.get_mut(&entry) {
                    form.taken.remove(key);
                }
                self.settle_again(&entry, dirty);
            }
            _ => {}
        }
    }

    fn settle_again(&mut self, entry: &ObjectKey, dirty: &mut Dirty) {
        let form = self.short_forms.entries.get(entry);
        let object = form.map(|form| Arc::clone(&form.object));
        self.settle_short_form(entry, object.as_ref(), dirty);
    }

    /// Takes in what a ServiceEntry asks for, and gives up what it does not any more.
    fn settle_short_form(
        &mut self,
        entry: &ObjectKey,
        object: Option<&Arc<Object>>,
        dirty: &mut Dirty,
    ) {
        let before = self.short_forms.remove(entry);
        let moved = self.claim_ports(entry, before.as_ref(), object);
        let mut form = object.and_then(|object| self.short_form(object));
        if let Some(form) = &mut form {
            self.take_written(form, before.as_ref(), dirty);
        }
        let kept = form.as_ref().map(|form| &form.taken);
        let gone = before.iter().flat_map(|before| &before.taken);
        for key in gone.filter(|key| kept.is_none_or(|kept| !kept.contains(*key))) {
            self.delete(key, dirty);
        }
        if let Some(form) = form {
            dirty.status.insert(entry.clone());
            self.short_forms.insert(entry.clone(), form);
        }
        for other in moved.iter().filter(|other| *other != entry) {
            self.settle_again(other, dirty);
        }
    }

    /// Enters what a ServiceEntry wants of its gateway's ports; the ServiceEntries that have others for it.
    fn claim_ports(
        &mut self,
        entry: &ObjectKey,
        before: Option<&ShortForm>,
        object: Option<&Arc<Object>>,
    ) -> Vec<ObjectKey> {
        let wanted = object.and_then(|object| {
            let Spec::ServiceEntry(spec) = &object.spec else { return None };
            let wish = Wish::of(object, &self.options.domain)?.ok()?;
            Some((object, spec, wish))
        });
        let now = wanted.as_ref().map(|(_, _, wish)| wish.gateway.clone());
        let mut changed = BTreeSet::new();
        if let Some(left) = before.and_then(|before| before.front.as_ref())
            && Some(left) != now.as_ref()
            && let Some(at) = self.short_forms.ports.get_mut(left)
            && at.claims.leave(entry)
        {
            changed.insert(left.clone());
        }
        if let Some((object, spec, wish)) = wanted {
            let at = self.short_forms.ports.entry(wish.gateway.clone()).or_default();
            if at.claims.enter(object, spec, &wish) {
                changed.insert(wish.gateway);
            }
        }
        let mut moved = Vec::new();
        for gateway in changed {
            let front = self.front(&gateway);
            let Some(at) = self.short_forms.ports.get_mut(&gateway) else { continue };
            moved.extend(at.settle(front.as_ref()));
            if at.settled.is_empty() && at.claims.is_empty() {
                self.short_forms.ports.remove(&gateway);
            }
        }
        moved
    }

    /// Takes in what is written out and was not there as it is.
    fn take_written(
        &mut self,
        form: &mut ShortForm,
        before: Option<&ShortForm>,
        dirty: &mut Dirty,
    ) {
        let ShortForm { object: entry, written: manifests, taken, faults, .. } = form;
        for (key, manifest) in manifests {
            let old = before.filter(|before| before.taken.contains(key));
            if old.is_none() && self.generations.contains_key(key) {
                faults.push(format!("{key} is there by itself, and counts"));
                continue;
            }
            if old.and_then(|before| before.written.get(key)) != Some(manifest) {
                match written(entry, key.kind, manifest) {
                    Ok(object) => self.apply_object(&object, dirty),
                    Err(fault) => {
                        faults.push(in_words(key, &fault));
                        continue;
                    }
                }
            }
            taken.insert(key.clone());
        }
    }

    /// What a ServiceEntry stands for, with nothing of it taken in.
    fn short_form(&self, object: &Arc<Object>) -> Option<ShortForm> {
        let Spec::ServiceEntry(spec) = &object.spec else { return None };
        let domain = &self.options.domain;
        let (front, long) = match Wish::of(object, domain)? {
            Ok(wish) => {
                let front = self.front(&wish.gateway);
                let at = self.short_forms.ports.get(&wish.gateway);
                let ports = at.and_then(|at| at.settled.get(&object.key)).cloned();
                let ports = ports.unwrap_or_default();
                let long = expand::long_form(object, spec, &wish, front.as_ref(), &ports, domain);
                (Some(wish.gateway), long)
            }
            Err(fault) => (None, LongForm { manifests: Vec::new(), faults: vec![fault] }),
        };
        let mut faults = long.faults;
        let mut written = BTreeMap::new();
        for manifest in long.manifests {
            let key = expand::key_of(&manifest);
            match self.short_forms.written.get(&key) {
                Some(other) => faults.push(format!("{key} is what {other} stands for, too")),
                None => _ = written.insert(key, manifest),
            }
        }
        let (object, taken) = (Arc::clone(object), BTreeSet::new());
        Some(ShortForm { object, front, written, taken, faults })
    }

    /// The Service in front of a gateway, where it is there.
    fn front(&self, key: &ObjectKey) -> Option<Front> {
        let service = self.registry.services_of(key).first()?;
        let selector = match &service.discovery {
            Discovery::Slices(selector) => selector.clone(),
            _ => BTreeMap::new(),
        };
        Some(Front { selector, ports: service.ports.iter().map(|port| port.number).collect() })
    }

    /// What is to be said of an object, and of those that its annotations stand for.
    pub(super) fn account_with_long_form(&self, key: &ObjectKey) -> Option<Account> {
        let mut account = self.account(key)?;
        let Some(form) = self.short_forms.entries.get(key) else { return Some(account) };
        for (written, told) in form.taken.iter().filter_map(|key| Some((key, self.account(key)?))) {
            for fault in told.conditions.into_iter().filter(|condition| !condition.holds) {
                let message = in_words(written, &fault.message);
                let own = account.conditions.iter_mut().find(|own| own.kind == fault.kind);
                match own {
                    Some(own) if !own.holds => own.message = format!("{}; {message}", own.message),
                    Some(own) => {
                        (own.holds, own.reason, own.message) = (false, fault.reason, message);
                    }
                    None => account.conditions.push(crate::status::Condition { message, ..fault }),
                }
            }
        }
        Some(account)
    }
}

/// An object as a manifest says it, of the age and the place of the one that it was written out of.
fn written(entry: &Object, kind: Kind, manifest: &Value) -> Result<Object, String> {
    let (_, version) = expand::API_VERSION.split_once('/').unwrap_or_default();
    match Object::decode(kind, version, manifest, entry.origin.clone()) {
        Ok(decoded) => {
            let Object { generation, created, .. } = *entry;
            Ok(Object { generation, created, ..decoded.object })
        }
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(errors.join("; "))
        }
    }
}

/// What is said of an object that nobody wrote.
fn in_words(key: &ObjectKey, message: &str) -> String {
    format!("{key}, which annotation {GATEWAY_ANNOTATION} stands for: {message}")
}

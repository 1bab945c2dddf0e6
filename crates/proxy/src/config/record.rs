//! What is kept of every resource, for `/config_dump` and for verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tidegate_envoy::capability::Finding;
use tidegate_xds::{Rejection, Resource, ResourceType};

use super::refusal::Refusal;

/// What is known of a resource.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The form that is served; `None` while no form of it was good.
    pub served: Option<Served>,
    /// The form that was refused, if that is newer than the one that is served, or is served but for what is refused.
    pub refused: Option<Refused>,
}

impl Record {
    /// Whether what was refused is a part of the form that is served.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        let both = self.served.as_ref().zip(self.refused.as_ref());
        both.is_some_and(|(served, refused)| Arc::ptr_eq(&served.resource, &refused.resource))
    }
}

/// A form of a resource that is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Since when.
    pub since: SystemTime,
    /// Fields that it has but that have no effect here, and why.
    pub notices: Vec<Finding>,
}

/// A form of a resource that was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The resource.
    pub resource: Arc<Resource>,
    /// When it was refused.
    pub at: SystemTime,
    /// Why.
    pub refusals: Vec<Refusal>,
}

/// The records of all resources. Admin reads them while the applier writes.
#[derive(Debug, Default)]
pub struct Records(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<(ResourceType, Arc<str>), Arc<Record>>,
    refused: BTreeSet<(ResourceType, Arc<str>)>,
}

impl Records {
    /// The records of a type, by name.
    #[must_use]
    pub fn of(&self, kind: ResourceType) -> Vec<(Arc<str>, Arc<Record>)> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let first = (kind, Arc::from(""));
        let entries = inner.records.range(first..).take_while(|((found, _), _)| *found == kind);
        entries.map(|((_, name), record)| (Arc::clone(name), Arc::clone(record))).collect()
    }

    /// The record of a resource.
    #[must_use]
    pub fn get(&self, kind: ResourceType, name: &Arc<str>) -> Option<Arc<Record>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.records.get(&(kind, Arc::clone(name))).cloned()
    }

    /// Every refusal that stands.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let refused = inner
            .refused
            .iter()
            .filter_map(|key| Some(rejections(key.0, &key.1, inner.records.get(key)?)));
        refused.flatten().collect()
    }

    /// Whether this form is served and nothing newer was refused.
    pub(super) fn is_served(&self, resource: &Arc<Resource>) -> bool {
        self.get(resource.kind, &resource.name).is_some_and(|record| {
            record.refused.is_none()
                && record.served.as_ref().is_some_and(|served| served.resource == *resource)
        })
    }

    pub(super) fn serve(&self, resource: &Arc<Resource>, notices: Vec<Finding>) {
        let served = Served { resource: Arc::clone(resource), since: SystemTime::now(), notices };
        self.change(resource.kind, &resource.name, |_| Record {
            served: Some(served),
            refused: None,
        });
    }

    /// Serves a form if that is news. A newer form that was refused stays refused.
    pub(super) fn settle(&self, resource: &Arc<Resource>, notices: &[Finding]) {
        let is_known = self.get(resource.kind, &resource.name).is_some_and(|record| {
            let is = |other: &Arc<Resource>| Arc::ptr_eq(other, resource);
            let served = record.served.as_ref().is_some_and(|served| is(&served.resource));
            served && record.refused.as_ref().is_none_or(|refused| !is(&refused.resource))
        });
        if !is_known {
            self.serve(resource, notices.to_vec());
        }
    }

    pub(super) fn refuse(&self, resource: &Arc<Resource>, refusals: Vec<Refusal>) {
        let refused = Refused { resource: Arc::clone(resource), at: SystemTime::now(), refusals };
        self.change(resource.kind, &resource.name, |record| Record {
            served: record.served.clone(),
            refused: Some(refused),
        });
    }

    /// Refuses a form of which, and of those before, nothing is served.
    pub(super) fn close(&self, resource: &Arc<Resource>, refusals: Vec<Refusal>) {
        self.refuse(resource, refusals);
        self.change(resource.kind, &resource.name, |record| Record {
            served: None,
            refused: record.refused.clone(),
        });
    }

    pub(super) fn remove(&self, kind: ResourceType, name: &Arc<str>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, Arc::clone(name));
        inner.records.remove(&key);
        inner.refused.remove(&key);
    }

    fn change(&self, kind: ResourceType, name: &Arc<str>, change: impl FnOnce(&Record) -> Record) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, Arc::clone(name));
        let record = change(inner.records.get(&key).map_or(&Record::default(), |record| record));
        if record.refused.is_some() {
            inner.refused.insert(key.clone());
        } else {
            inner.refused.remove(&key);
        }
        inner.records.insert(key, Arc::new(record));
    }
}

/// The refusals of a record as a NACK names them.
pub(super) fn rejections(kind: ResourceType, name: &Arc<str>, record: &Record) -> Vec<Rejection> {
    let refusals = record.refused.as_ref().map_or(&[][..], |refused| &refused.refusals);
    let rejection = |refusal: &Refusal| Rejection {
        kind,
        name: Arc::clone(name),
        path: refusal.path.clone(),
        reason: refusal.reason.clone(),
        serves_on: record.served.is_some() && !record.is_partial(),
    };
    refusals.iter().map(rejection).collect()
}

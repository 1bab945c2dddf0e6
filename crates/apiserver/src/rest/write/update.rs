//! `PUT`: an object in place of the one that is there.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use tidegate_api::ObjectKey;

use super::admission::{Admitted, Source, examine};
use super::{Object, Writing, Written, metadata};
use crate::rest::ask::Ask;
use crate::rest::failure::{Cause, Failure};
use crate::rest::reply::Reply;
use crate::rest::router::Target;
use crate::rest::{Api, body, managed};
use crate::store::{Entry, Expect, generation};

pub(crate) async fn update(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let writing = Writing::new(api, target, ask, "UpdateOptions")?;
    writing.check_subresource()?;
    let mut written = body::object(ask, target.served.info.name)?;
    body::check_type(&mut written.value, &target.served, &ask.body)?;
    metadata::check_identity(&writing, &written.value)?;
    let key = writing.key(target.name.as_deref().unwrap_or_default());
    let attempt = || async {
        let old = writing.current(&key)?;
        writing.check_revision(&old, &written.value)?;
        let attempt = Attempt {
            old: &old,
            value: written.value.clone(),
            duplicates: &written.duplicates,
            source: Source::Whole,
        };
        writing.replace(attempt).await
    };
    let written = writing.in_turn(&key, attempt).await?;
    writing.reply(StatusCode::OK, &written)
}

/// One try to put a new form in place of an old one.
pub(super) struct Attempt<'a> {
    pub old: &'a Arc<Entry>,
    pub value: Value,
    pub duplicates: &'a [String],
    pub source: Source<'a>,
}

impl Writing<'_> {
    /// Of the parts of an object only `status` can be written.
    pub(super) fn check_subresource(&self) -> Result<(), Failure> {
        match self.target.subresource.as_deref() {
            None => Ok(()),
            Some("status") if self.target.served.info.status_subresource => Ok(()),
            // A client that finalizes a namespace finds that done.
            Some("finalize") => Err(Failure::method_not_allowed()),
            Some(_) => Err(Failure::page_not_found()),
        }
    }

    pub(super) fn current(&self, key: &ObjectKey) -> Result<Arc<Entry>, Failure> {
        self.api
            .store
            .get(key)
            .ok_or_else(|| Failure::not_found(self.target.served.info, &key.name))
    }

    fn check_revision(&self, old: &Entry, value: &Value) -> Result<(), Failure> {
        let info = self.target.served.info;
        let name = &*old.key().name;
        let given = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if given.is_empty() {
            if info.built_in {
                return Ok(());
            }
            let detail = "must be specified for an update";
            let cause = Cause::invalid("metadata.resourceVersion", &0.into(), detail);
            let title = crate::rest::failure::resource(info);
            return Err(Failure::invalid_as(&title, info.group, info.plural, name, vec![cause]));
        }
        if given.parse() != Ok(old.revision()) {
            return Err(Failure::modified(info, name));
        }
        let uid = value["metadata"]["uid"].as_str().unwrap_or_default();
        let record = old.json()["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        if !uid.is_empty() && uid != record {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({record}). The object \
                 might have been deleted and then recreated"
            );
            return Err(Failure::conflict(info, name, &why));
        }
        Ok(())
    }

    /// Puts a new form in place of the old one.
    pub(super) async fn replace(&self, attempt: Attempt<'_>) -> Result<Written, Failure> {
        let Attempt { old, mut value, duplicates, source } = attempt;
        let served = &self.target.served;
        let before = Value::Object(old.manifest(&served.api_version));
        let shown = served.present(before.clone());
        if self.target.subresource.is_some() {
            value = only_status(shown.clone(), &value);
        }
        metadata::for_update(&shown, &mut value);
        let services = self.api.services.lock(served.info.kind).await;
        let mut admitted = examine(self, value, duplicates, Some(old), source)?;
        if served.info.has_generation {
            generation::count(&before, &mut admitted.value);
        }
        managed::updated(&self.manager, served.info, &before, &mut admitted.value);
        let written = self.finish(old, &before, admitted).await;
        drop(services);
        written
    }

    /// The end of every write onto an old form, after `admitted` has become what is to be there. One that says
    /// what is there already changes nothing; the one that takes the last finalizer off an object that is being
    /// deleted removes it.
    pub(super) async fn finish(
        &self,
        old: &Arc<Entry>,
        before: &Value,
        admitted: Admitted,
    ) -> Result<Written, Failure> {
        self.check_finalizers(old, before, &admitted.value)?;
        if Value::Object(admitted.value.clone()) == *before {
            return Ok(Written {
                object: Object::Stored(Arc::clone(old)),
                warnings: admitted.warnings,
            });
        }
        let key = old.key().clone();
        let ends = old.terminating()
            && self.target.subresource.is_none()
            && key.kind != tidegate_api::Kind::Namespace
            && metadata::finalizers(&admitted.value.clone().into()).is_empty();
        if ends && !self.dry_run {
            let removed = self.api.store.remove(&key, Some(old.revision())).await;
            removed.map_err(|error| Failure::write(&error, &key))?;
            return Ok(Written::tried(admitted.value, admitted.warnings));
        }
        self.store(key, admitted, Expect::Revision(old.revision())).await
    }

    /// An object that is being deleted takes no further finalizers.
    fn check_finalizers(
        &self,
        old: &Entry,
        before: &Value,
        value: &serde_json::Map<String, Value>,
    ) -> Result<(), Failure> {
        if !old.terminating() {
            return Ok(());
        }
        let value = Value::Object(value.clone());
        let had = metadata::finalizers(before);
        let new: Vec<String> = metadata::finalizers(&value)
            .into_iter()
            .filter(|finalizer| !had.contains(finalizer))
            .map(|finalizer| format!("{finalizer:?}"))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        let cause = Cause::forbidden("metadata.finalizers", &detail);
        Err(Failure::invalid(self.target.served.info, &old.key().name, vec![cause]))
    }
}

/// The old object with nothing but the new one's status.
fn only_status(mut old: Value, new: &Value) -> Value {
    if let Some(map) = old.as_object_mut() {
        match new.get("status") {
            Some(status) => map.insert("status".into(), status.clone()),
            None => map.remove("status"),
        };
    }
    old
}

//! Server-side apply: a manager says what it wants of an object, and owns that.
//!
//! What it wanted before and does not want any more goes, unless somebody else owns it too. What another manager
//! owns with another value is a conflict, unless `force` takes it over.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value};
use tidegate_api::kinds::split_api_version;

use super::admission::Source;
use super::{Writing, Written, admission, metadata};
use crate::clock;
use crate::rest::body;
use crate::rest::failure::{Cause, Failure};
use crate::rest::managed::{self, Fields};
use crate::rest::reply::Reply;
use crate::store::{Entry, Expect, generation};

pub(super) async fn apply(writing: &Writing<'_>) -> Result<Reply, Failure> {
    let (ask, target) = (writing.ask, writing.target);
    if ask.query.get("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid_options("PatchOptions", vec![cause]));
    }
    let wanted = wanted(writing)?;
    let key = writing.key(target.name.as_deref().unwrap_or_default());
    let attempt = || async {
        Ok(match writing.api.store.get(&key) {
            None if target.subresource.is_some() => {
                return Err(Failure::not_found(target.served.info, &key.name));
            }
            None => (StatusCode::CREATED, writing.apply_new(wanted.clone()).await?),
            Some(old) => (StatusCode::OK, writing.apply_onto(&old, &wanted).await?),
        })
    };
    let (code, written) = writing.in_turn(&key, attempt).await?;
    writing.reply(code, &written)
}

/// The body, checked as far as it can be without the object.
fn wanted(writing: &Writing<'_>) -> Result<Value, Failure> {
    let served = &writing.target.served;
    let mut value = body::document(&writing.ask.body, served.info.name)?.value;
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind.is_empty() {
        let (group, version) = split_api_version(&api_version);
        return Err(Failure::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        )));
    }
    body::check_type(&mut value, served, &writing.ask.body)?;
    metadata::check_identity(writing, &value)?;
    if value["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    if let Some(metadata) = metadata::of(&mut value) {
        metadata.insert("name".into(), writing.target.name.clone().into());
        metadata.remove("creationTimestamp");
        if let Some(namespace) = &writing.target.namespace {
            metadata.insert("namespace".into(), namespace.as_str().into());
        }
    }
    // What a schema does not have cannot be owned, so unknown fields are refused whatever the policy.
    let unknown = tidegate_api::admit(
        served.info.kind,
        served.group,
        &mut value.clone(),
        tidegate_api::FieldValidation::Strict,
        None,
    );
    if let Err(errors) = unknown
        && let Some(error) = errors.iter().find(|e| e.reason == tidegate_api::Reason::Unknown)
    {
        return Err(Failure::internal(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): .{}: field not declared in schema",
            value["metadata"]["namespace"].as_str().unwrap_or_default(),
            writing.target.name.as_deref().unwrap_or_default(),
            served.api_version,
            served.info.name,
            error.path
        )));
    }
    Ok(value)
}

impl Writing<'_> {
    async fn apply_new(&self, wanted: Value) -> Result<Written, Failure> {
        let info = self.target.served.info;
        if let Some(uid) = wanted["metadata"]["uid"].as_str() {
            let name = self.target.name.as_deref().unwrap_or_default();
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Failure::conflict(info, name, &why));
        }
        let fields = Fields::of(info, &self.part(&wanted)?, false);
        let mut value = wanted;
        metadata::for_create(self, &mut value)?;
        let services = self.api.services.lock(info.kind).await;
        let mut admitted = admission::examine(self, value, &[], None, Source::Whole)?;
        managed::set_entries(&mut admitted.value, &[self.owner(fields)]);
        let name = admitted.value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let written = self.store(self.key(&name), admitted, Expect::Absent).await;
        drop(services);
        written.map_err(|mut failure| {
            // Another request has created it: this one is applied onto that.
            failure.overtaken |= failure.reason == "AlreadyExists";
            failure
        })
    }

    async fn apply_onto(&self, old: &Arc<Entry>, wanted: &Value) -> Result<Written, Failure> {
        let served = &self.target.served;
        let before = Value::Object(old.manifest(&served.api_version));
        let part = self.part(wanted)?;
        let fields = Fields::of(served.info, &part, false);
        let mut after = before.clone();
        managed::merge(served.info, &mut after, &part.into());
        let mut owners = managed::entries(&before);
        self.settle_conflicts(&before, &after, &fields, &mut owners)?;
        let revision = wanted["metadata"]["resourceVersion"].as_str();
        if revision.is_some_and(|revision| revision != old.revision().to_string()) {
            return Err(Failure::modified(served.info, &old.key().name));
        }
        drop_unwanted(&self.manager, &fields, &owners, &mut after);
        metadata::for_update(&before, &mut after);
        let services = self.api.services.lock(served.info.kind).await;
        let mut admitted = admission::examine(self, after, &[], Some(old), Source::Whole)?;
        if served.info.has_generation {
            generation::count(&before, &mut admitted.value);
        }
        match owners.iter_mut().find(|owner| owner.is_of(&self.manager, true)) {
            Some(mine) if mine.fields == fields && !changes(&before, &admitted.value) => {}
            Some(mine) => *mine = self.owner(fields),
            None => owners.push(self.owner(fields)),
        }
        managed::set_entries(&mut admitted.value, &owners);
        let written = self.finish(old, &before, admitted).await;
        drop(services);
        written
    }

    /// What of a body is applied: where `status` is a part with a path of its own, nothing else through that path, and all
    /// but it through the object's. Nobody comes to own what they could not have written.
    fn part(&self, wanted: &Value) -> Result<Map<String, Value>, Failure> {
        let Value::Object(wanted) = wanted else {
            return Err(Failure::bad_request("the body is not an object"));
        };
        let of_status = self.target.subresource.is_some();
        let apart = self.target.served.info.status_subresource;
        let is_here = |field: &str| match field {
            "status" => of_status || !apart,
            "apiVersion" | "kind" => true,
            _ => !of_status,
        };
        let fields = wanted.iter().filter(|(field, _)| is_here(field));
        Ok(fields.map(|(field, value)| (field.clone(), value.clone())).collect())
    }

    fn owner(&self, fields: Fields) -> managed::Entry {
        managed::Entry { manager: self.manager.clone(), applies: true, time: clock::now(), fields }
    }

    /// Fields that others own and that would change: a conflict, or theirs no longer.
    fn settle_conflicts(
        &self,
        before: &Value,
        after: &Value,
        fields: &Fields,
        owners: &mut [managed::Entry],
    ) -> Result<(), Failure> {
        let force = self.ask.query.flag("force");
        let mut conflicts = Vec::new();
        for owner in owners.iter_mut().filter(|owner| !owner.is_of(&self.manager, true)) {
            let theirs = fields.common(&owner.fields).leaves().changed(before, after);
            if theirs.is_empty() {
                continue;
            }
            if force {
                owner.fields = owner.fields.without(&theirs);
            } else {
                let who = described(owner);
                conflicts.extend(theirs.paths().into_iter().map(|path| (who.clone(), path)));
            }
        }
        match conflicts.is_empty() {
            true => Ok(()),
            false => Err(Failure::apply_conflicts(&conflicts)),
        }
    }
}

/// A manager as messages name it: quoted, with what tells it from others of its name.
fn described(owner: &managed::Entry) -> String {
    let manager = &owner.manager;
    let mut text = format!("{:?}", manager.name);
    if let Some(subresource) = &manager.subresource {
        text.push_str(&format!(" with subresource {subresource:?}"));
    }
    if !owner.applies {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}

/// Whether more than metadata has changed, or metadata that people set.
fn changes(before: &Value, after: &Map<String, Value>) -> bool {
    let stripped = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = metadata::of(&mut value) {
            metadata.remove("managedFields");
        }
        value
    };
    stripped(before) != stripped(&Value::Object(after.clone()))
}

/// Takes out what this manager applied before, does not apply now, and nobody else owns.
fn drop_unwanted(
    manager: &managed::Manager,
    fields: &Fields,
    owners: &[managed::Entry],
    after: &mut Value,
) {
    let Some(mine) = owners.iter().find(|owner| owner.is_of(manager, true)) else {
        return;
    };
    let others = owners.iter().filter(|owner| !owner.is_of(manager, true));
    let wanted = others.fold(fields.clone(), |wanted, other| wanted.union(&other.fields));
    mine.fields.beyond(&wanted).present_in(after).remove_from(after);
}

//! `DELETE`: an object, or all that a selector picks.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};
use tidegate_api::{Kind, ObjectKey};

use super::{Object, Writing, Written, metadata};
use crate::rest::ask::{Ask, dry_run};
use crate::rest::failure::{Cause, Failure};
use crate::rest::managed::Manager;
use crate::rest::reply::{self, Reply};
use crate::rest::router::Target;
use crate::rest::selector::Selector;
use crate::rest::{Api, body, present};
use crate::store::{Draft, Entry, Expect, Snapshot, Store, WriteError};

/// `DeleteOptions`, from body and query.
#[derive(Debug, Default)]
struct Options {
    dry_run: bool,
    uid: Option<String>,
    revision: Option<String>,
}

impl Options {
    fn parse(ask: &Ask) -> Result<Self, Failure> {
        let value = match ask.body.is_empty() {
            true => Value::Null,
            false => body::object(ask, "DeleteOptions")?.value,
        };
        let policy = value["propagationPolicy"].as_str().or(ask.query.get("propagationPolicy"));
        // Nothing here depends on another object: with every policy the object itself goes, at once.
        if let Some(policy) = policy
            && !matches!(policy, "Foreground" | "Background" | "Orphan")
        {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            let cause = Cause::unsupported("propagationPolicy", &policy.into(), &supported);
            return Err(Failure::invalid_options("DeleteOptions", vec![cause]));
        }
        let in_body: Vec<&str> =
            value["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            dry_run: dry_run(&in_body, "DeleteOptions")? || ask.dry_run("DeleteOptions")?,
            uid: text(&value["preconditions"]["uid"]),
            revision: text(&value["preconditions"]["resourceVersion"]),
        })
    }

    fn check(&self, entry: &Entry) -> Result<(), Failure> {
        let info = entry.key().kind.info();
        let name = &*entry.key().name;
        let uid = entry.json()["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        if let Some(wanted) = self.uid.as_ref().filter(|wanted| **wanted != uid) {
            let why = format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object \
                 might have been deleted and then recreated"
            );
            return Err(Failure::precondition(info, name, &why));
        }
        let revision = entry.revision().to_string();
        if let Some(wanted) = self.revision.as_ref().filter(|wanted| **wanted != revision) {
            let why = format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in \
                 record ({revision}). The object might have been modified"
            );
            return Err(Failure::precondition(info, name, &why));
        }
        Ok(())
    }
}

/// What a delete left.
enum Deleted {
    /// Nothing.
    Gone(Arc<Entry>),
    /// The object, waiting for its finalizers.
    Waiting(Object),
}

pub(crate) async fn delete(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    if target.subresource.is_some() {
        return Err(Failure::method_not_allowed());
    }
    let options = Options::parse(ask)?;
    let writing = writing(api, target, ask, options.dry_run)?;
    let key = writing.key(target.name.as_deref().unwrap_or_default());
    match writing.delete(&key, &options).await? {
        Deleted::Gone(entry) if !answers_with_object(key.kind) => {
            Ok(reply::json(StatusCode::OK, &success(&entry)))
        }
        Deleted::Gone(entry) => {
            writing.reply(StatusCode::OK, &without_warnings(Object::Stored(entry)))
        }
        Deleted::Waiting(object) => writing.reply(StatusCode::OK, &without_warnings(object)),
    }
}

/// Deletes what the selector picks; answers with what it was.
pub(crate) async fn delete_collection(
    api: &Api,
    target: &Target,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let served = &target.served;
    if !served.info.verbs.contains(&"deletecollection") {
        return Err(Failure::method_not_allowed());
    }
    if served.info.scope == tidegate_api::Scope::Namespaced && target.namespace.is_none() {
        return Err(Failure::page_not_found());
    }
    let options = Options::parse(ask)?;
    let selector = Selector::parse(&ask.query, served.info, served.version)?;
    let writing = writing(api, target, ask, options.dry_run)?;
    let mut snapshot = api.store.list(served.info.kind, target.namespace.as_deref());
    snapshot.entries.retain(|entry| selector.matches(entry));
    let mut warnings = Vec::new();
    for entry in &snapshot.entries {
        match writing.delete(entry.key(), &options).await {
            Ok(_) => {}
            // Another client was faster.
            Err(failure) if failure.code == StatusCode::NOT_FOUND => {}
            // Objects that are not the API's stay; the others go all the same.
            Err(failure) if failure.reason == "Forbidden" => warnings.push(failure.message),
            Err(failure) => return Err(failure),
        }
    }
    let list = Snapshot { revision: api.store.revision(), entries: snapshot.entries };
    let mut reply = present::list(target, ask, &list, &Map::new())?;
    reply::warn(&mut reply, &warnings);
    Ok(reply)
}

fn writing<'a>(
    api: &'a Api,
    target: &'a Target,
    ask: &'a Ask,
    dry_run: bool,
) -> Result<Writing<'a>, Failure> {
    Ok(Writing {
        api,
        target,
        ask,
        dry_run,
        policy: Default::default(),
        manager: Manager {
            name: ask.manager(),
            api_version: target.served.api_version.clone(),
            subresource: None,
        },
        answer: super::answer(ask)?,
    })
}

fn without_warnings(object: Object) -> Written {
    Written { object, warnings: Vec::new() }
}

/// Kubernetes answers some deletes with the object, others with a Status.
fn answers_with_object(kind: Kind) -> bool {
    matches!(kind, Kind::Service | Kind::Pod | Kind::Namespace)
}

fn success(entry: &Entry) -> Value {
    let info = entry.key().kind.info();
    let mut details = json!({
        "name": *entry.key().name,
        "kind": info.plural,
        "uid": entry.json()["metadata"]["uid"],
    });
    if !info.group.is_empty() {
        details["group"] = info.group.into();
    }
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}

/// Deletes an object together with its namespace: at once, or as soon as its finalizers let it.
pub(crate) async fn discard(store: &Store, entry: &Arc<Entry>) -> Result<(), WriteError> {
    if metadata::finalizers(&entry.json()).is_empty() {
        return store.remove(entry.key(), Some(entry.revision())).await.map(drop);
    }
    if entry.terminating() {
        return Ok(());
    }
    let mut value = entry.manifest("");
    metadata::mark_deleted(entry, &mut value);
    let draft = Draft { key: entry.key().clone(), value, decoded: entry.decoded() };
    store.put(draft, Expect::Revision(entry.revision())).await.map(drop)
}

impl Writing<'_> {
    async fn delete(&self, key: &ObjectKey, options: &Options) -> Result<Deleted, Failure> {
        let attempt = || async {
            let entry = self.current(key)?;
            self.check_deletable(&entry, options)?;
            let stays =
                key.kind == Kind::Namespace || !metadata::finalizers(&entry.json()).is_empty();
            let done = match stays {
                true => self.mark(&entry).await.map(Deleted::Waiting),
                false if self.dry_run => Ok(Deleted::Gone(entry)),
                false => {
                    self.api.store.remove(key, Some(entry.revision())).await.map(Deleted::Gone)
                }
            };
            done.map_err(|error| Failure::write(&error, key))
        };
        self.in_turn(key, attempt).await
    }

    fn check_deletable(&self, entry: &Entry, options: &Options) -> Result<(), Failure> {
        let key = entry.key();
        if *entry.origin() != tidegate_api::Origin::Api {
            return Err(Failure::write(&WriteError::ReadOnly(entry.origin().clone()), key));
        }
        options.check(entry)?;
        if key.kind == Kind::Namespace && self.api.store.is_permanent(&key.name) {
            let why = "this namespace may not be deleted";
            return Err(Failure::forbidden(key.kind.info(), &key.name, why));
        }
        Ok(())
    }

    /// Marks an object as being deleted; one that is marked already stays as it is.
    async fn mark(&self, entry: &Arc<Entry>) -> Result<Object, WriteError> {
        if entry.terminating() {
            return Ok(Object::Stored(Arc::clone(entry)));
        }
        let mut value = entry.manifest(&self.target.served.api_version);
        metadata::mark_deleted(entry, &mut value);
        if entry.key().kind == Kind::Namespace
            && let Some(Value::Object(status)) = value.get_mut("status")
        {
            status.insert("phase".into(), "Terminating".into());
        }
        if self.dry_run {
            return Ok(Object::Tried(value));
        }
        let draft = Draft { key: entry.key().clone(), value, decoded: entry.decoded() };
        let expect = Expect::Revision(entry.revision());
        self.api.store.put(draft, expect).await.map(Object::Stored)
    }
}

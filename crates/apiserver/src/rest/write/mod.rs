//! Writes: what comes in is checked, completed and compared with what is there, and then stored.

pub(crate) mod admission;
mod apply;
mod create;
mod delete;
mod empty;
mod metadata;
mod patch;
mod scale;
mod turns;
mod update;

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_api::{FieldValidation, ObjectKey};

use super::Api;
use super::ask::Ask;
use super::failure::{Cause, Failure};
use super::json;
use super::managed::Manager;
use super::negotiate::{Encoding, View, negotiate};
use super::present;
use super::reply::{self, Reply};
use super::router::Target;
use crate::store::{Draft, Entry, Expect};

use admission::Admitted;

pub(super) use create::create;
pub(super) use delete::{delete, delete_collection, discard};
pub(super) use patch::patch;
pub(super) use scale::{FORM as SCALE_FORM, SCALE, scale, scales};
pub(super) use turns::Turns;
pub(super) use update::update;

/// What all writes have in common.
pub(crate) struct Writing<'a> {
    pub api: &'a Api,
    pub target: &'a Target,
    pub ask: &'a Ask,
    pub dry_run: bool,
    pub policy: FieldValidation,
    pub manager: Manager,
    /// How the answer is to be given: settled before anything is written.
    pub answer: (Encoding, View),
}

impl<'a> Writing<'a> {
    fn new(api: &'a Api, target: &'a Target, ask: &'a Ask, options: &str) -> Result<Self, Failure> {
        Ok(Self {
            api,
            target,
            ask,
            dry_run: ask.dry_run(options)?,
            policy: field_validation(ask, options)?,
            manager: manager(target, ask, options)?,
            answer: answer(ask)?,
        })
    }

    fn key(&self, name: &str) -> ObjectKey {
        let namespace = self.target.namespace.as_deref().unwrap_or_default();
        ObjectKey::new(self.target.served.info.kind, namespace, name)
    }

    /// Stores what was admitted, or only shows it.
    async fn store(
        &self,
        key: ObjectKey,
        admitted: Admitted,
        expect: Expect,
    ) -> Result<Written, Failure> {
        let Admitted { value, decoded, warnings } = admitted;
        let bytes = json::size(&value);
        if bytes > MOST_STORED {
            return Err(Failure::too_large_to_store(bytes, MOST_STORED));
        }
        let refused = key.clone();
        let done = if self.dry_run {
            self.api.store.would_put(&key, expect).map(|()| Object::Tried(value))
        } else {
            let draft = Draft { key, value, decoded };
            self.api.store.put(draft, expect).await.map(Object::Stored)
        };
        match done {
            Ok(object) => Ok(Written { object, warnings }),
            Err(error) => Err(Failure::write(&error, &refused).with_warnings(warnings)),
        }
    }

    /// The answer: the object as it stands now.
    fn reply(&self, code: http::StatusCode, written: &Written) -> Result<Reply, Failure> {
        let (encoding, view) = self.answer;
        let mut reply = present::one(self.target, self.ask, &written.object, code, encoding, view)?;
        reply::warn(&mut reply, &written.warnings);
        Ok(reply)
    }
}

/// An object that a write leaves: stored, or only tried.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Stored(Arc<Entry>),
    Tried(Map<String, Value>),
}

/// What came of a write.
#[derive(Debug)]
struct Written {
    object: Object,
    warnings: Vec<String>,
}

impl Written {
    fn tried(value: Map<String, Value>, warnings: Vec<String>) -> Self {
        Self { object: Object::Tried(value), warnings }
    }
}

/// A write answers with one object, also to clients that would take a list of metadata.
fn answer(ask: &Ask) -> Result<(Encoding, View), Failure> {
    Ok(match negotiate(ask.accept().as_deref())? {
        (encoding, View::Metadata { .. }) => (encoding, View::Metadata { list: false }),
        whole_or_table => whole_or_table,
    })
}

fn field_validation(ask: &Ask, options: &str) -> Result<FieldValidation, Failure> {
    match ask.query.get("fieldValidation") {
        None | Some("Warn") => Ok(FieldValidation::Warn),
        Some("Strict") => Ok(FieldValidation::Strict),
        Some("Ignore") => Ok(FieldValidation::Ignore),
        Some(other) => {
            let supported = ["", "Ignore", "Strict", "Warn"];
            let cause = Cause::unsupported("fieldValidation", &other.into(), &supported);
            Err(Failure::invalid_options(options, vec![cause]))
        }
    }
}

/// Bytes of an object's JSON that are stored at most, as etcd takes: patches grow an object beyond what a request may bring, and
/// who reads it has bounds, too.
const MOST_STORED: usize = 1_536 << 10;

/// Bytes of a field manager's name.
const MANAGER_BYTES: usize = 128;

fn manager(target: &Target, ask: &Ask, options: &str) -> Result<Manager, Failure> {
    let name = ask.manager();
    if name.len() > MANAGER_BYTES {
        let cause = Cause {
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {MANAGER_BYTES} bytes"),
            field: "fieldManager".into(),
        };
        return Err(Failure::invalid_options(options, vec![cause]));
    }
    Ok(Manager {
        name,
        api_version: target.served.api_version.clone(),
        subresource: target.subresource.clone(),
    })
}

//! The custom kinds as CustomResourceDefinitions, which tools look for before they use a kind. They follow from the program:
//! they are made when they are asked for, are in no store, and cannot be written.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};
use tidegate_api::schema::openapi;
use tidegate_api::{KINDS, Kind, KindInfo, ObjectKey, Origin, Scope};

use super::ask::Ask;
use super::failure::Failure;
use super::router::{Target, Verb};
use super::{Api, body, table};
use crate::clock;
use crate::store::{Entry, Expired, Snapshot, uid_of};

const KIND: Kind = Kind::CustomResourceDefinition;

/// The revision of all of them, since they never change.
const REVISION: u64 = 1;

/// Since when the definitions are there: they come with the process.
static MADE: LazyLock<String> = LazyLock::new(clock::now);

/// Reads, of objects in the store and of definitions.
impl Api {
    /// One object.
    pub(super) fn object(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        match key.kind {
            KIND => custom().find(|info| *info.qualified_plural() == *key.name).map(entry),
            _ => self.store.get(key),
        }
    }

    /// The objects of a kind, in one namespace or in all.
    pub(super) fn objects(&self, kind: Kind, namespace: Option<&str>) -> Snapshot {
        match kind {
            KIND => definitions(self.store.revision()),
            _ => self.store.list(kind, namespace),
        }
    }

    /// The objects of a kind as they stood at a revision.
    pub(super) fn objects_at(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Snapshot, Expired> {
        match kind {
            KIND => Ok(definitions(revision)),
            _ => self.store.list_at(kind, namespace, revision),
        }
    }
}

fn custom() -> impl Iterator<Item = &'static KindInfo> {
    KINDS.iter().filter(|info| !info.built_in)
}

fn definitions(revision: u64) -> Snapshot {
    let mut entries: Vec<Arc<Entry>> = custom().map(entry).collect();
    entries.sort_by(|a, b| a.key().name.cmp(&b.key().name));
    Snapshot { revision, entries }
}

/// Why a definition is not written; nothing where it is read.
pub(super) fn refusal(target: &Target, verb: Verb, ask: &Ask) -> Option<Failure> {
    let info = target.served.info;
    if info.kind != KIND || matches!(verb, Verb::Get | Verb::List | Verb::Watch) {
        return None;
    }
    let written = body::object(ask, info.name).ok();
    let written = written.as_ref().and_then(|body| body.value["metadata"]["name"].as_str());
    let name = target.name.as_deref().or(written).unwrap_or_default();
    let known = custom().any(|info| info.qualified_plural() == name);
    // Installers go on where a definition is there already.
    if verb == Verb::Create && known {
        return Some(Failure::already_exists(info, name, false));
    }
    let why = "the kinds that are served follow from the program, and so do their definitions, which cannot be written";
    Some(Failure::forbidden(info, name, why))
}

fn entry(info: &KindInfo) -> Arc<Entry> {
    let key = ObjectKey::new(KIND, "", info.qualified_plural());
    let value = definition(info, &key);
    let decoded = tidegate_source::decode(&key, &value, Origin::Process);
    Arc::new(Entry::new(key, value, &decoded, Origin::Process, REVISION))
}

fn definition(info: &KindInfo, key: &ObjectKey) -> Map<String, Value> {
    let names = json!({
        "kind": info.name,
        "listKind": format!("{}List", info.name),
        "plural": info.plural,
        "singular": info.singular,
        "shortNames": info.short_names,
        "categories": info.categories,
    });
    let versions: Vec<Value> = info.versions.iter().map(|v| version(info, v)).collect();
    let scope = match info.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    let condition = |name: &str, reason: &str, message: &str| {
        json!({
            "type": name,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": *MADE,
        })
    };
    let value = json!({
        "kind": KIND.name(),
        "metadata": {
            "name": &*key.name,
            "uid": uid_of(key),
            "generation": 1,
            "creationTimestamp": *MADE,
        },
        "spec": {
            "group": info.group,
            "names": names,
            "scope": scope,
            "versions": versions,
            "conversion": { "strategy": "None" },
        },
        "status": {
            "acceptedNames": names,
            "storedVersions": [info.versions[0]],
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
        },
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn version(info: &KindInfo, name: &str) -> Value {
    let mut schema = openapi::object(info.kind, info.group);
    schema["properties"]["metadata"] = json!({ "type": "object" });
    let subresources = if info.status_subresource { json!({ "status": {} }) } else { json!({}) };
    json!({
        "name": name,
        "served": true,
        "storage": name == info.versions[0],
        "schema": { "openAPIV3Schema": schema },
        "subresources": subresources,
        "additionalPrinterColumns": table::printed(info.kind),
    })
}

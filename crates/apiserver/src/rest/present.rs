//! Objects and lists in the view and encoding that a client asked for.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::failure::Failure;
use super::negotiate::{Encoding, View, negotiate};
use super::reply::{self, Reply};
use super::router::Target;
use super::table::{Include, Tables, partial};
use super::write::Object;
use crate::store::{Entry, Snapshot};

/// One object.
pub(crate) fn one(
    target: &Target,
    ask: &Ask,
    object: &Object,
    code: StatusCode,
    encoding: Encoding,
    view: View,
) -> Result<Reply, Failure> {
    let served = &target.served;
    let manifest = |object: &Object| match object {
        Object::Stored(entry) => entry.manifest(&served.api_version),
        Object::Tried(map) => map.clone(),
    };
    let json = match (view, object) {
        (View::Whole, Object::Stored(entry)) => {
            let mut out = Vec::with_capacity(entry.size() + 64);
            served.write(entry, &mut out);
            out
        }
        (View::Whole, Object::Tried(_)) => bytes(&served.present(manifest(object).into())),
        (View::Table { version }, _) => {
            let include = Include::parse(&ask.query)?;
            bytes(&Tables { include, version }.single(served, manifest(object), true))
        }
        (View::Metadata { list: false }, _) => bytes(&partial(&manifest(object).into(), "v1")),
        (View::Metadata { list: true }, _) => {
            return Err(Failure::not_acceptable(
                "you requested PartialObjectMetadataList, but the requested object is not a list",
            ));
        }
    };
    Ok(reply::encoded(code, encoding, json))
}

/// A list; `paging` holds what of its metadata is about paging.
pub(crate) fn list(
    target: &Target,
    ask: &Ask,
    snapshot: &Snapshot,
    paging: &Map<String, Value>,
) -> Result<Reply, Failure> {
    let (encoding, view) = negotiate(ask.accept().as_deref())?;
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), snapshot.revision.to_string().into());
    metadata.extend(paging.clone());
    let metadata = Value::Object(metadata);
    let served = &target.served;
    let json = match view {
        View::Whole => whole_list(target, &snapshot.entries, &metadata),
        View::Table { version } => {
            let include = Include::parse(&ask.query)?;
            let tables = Tables { include, version };
            bytes(&tables.table(served, &snapshot.entries, &metadata, true))
        }
        View::Metadata { list: true } => {
            let items: Vec<Value> =
                snapshot.entries.iter().map(|entry| partial(&entry.json(), "v1")).collect();
            bytes(&json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            }))
        }
        View::Metadata { list: false } => {
            return Err(Failure::not_acceptable(
                "you requested PartialObjectMetadata, but the requested object is a list",
            ));
        }
    };
    Ok(reply::encoded(StatusCode::OK, encoding, json))
}

/// The stored texts one after the other: nothing is parsed.
fn whole_list(target: &Target, entries: &[Arc<Entry>], metadata: &Value) -> Vec<u8> {
    let served = &target.served;
    let head = format!(
        "{{\"apiVersion\":{:?},\"kind\":\"{}List\",\"metadata\":{metadata},\"items\":[",
        served.api_version, served.info.name
    );
    let size: usize = entries.iter().map(|entry| entry.size() + 64).sum();
    let mut out = Vec::with_capacity(head.len() + size + 2);
    out.extend_from_slice(head.as_bytes());
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        served.write(entry, &mut out);
    }
    out.extend_from_slice(b"]}");
    out
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

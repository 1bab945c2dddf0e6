//! Objects as rows of a table, which is what kubectl prints.

mod age;
mod cells;
mod columns;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::query::Query;
use super::served::Served;
use crate::store::Entry;

pub(crate) use columns::printed;
use columns::{Column, columns};

/// What a row holds besides its cells; `includeObject` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Metadata,
    Object,
    None,
}

impl Include {
    pub(crate) fn parse(query: &Query) -> Result<Self, Failure> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("Object") => Ok(Self::Object),
            Some("None") => Ok(Self::None),
            Some(other) => Err(Failure::bad_request(format!(
                "unrecognized includeObject value: {other:?}: Metadata, Object and None are known"
            ))),
        }
    }
}

/// How tables are made for one request.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub include: Include,
    /// Version of `meta.k8s.io`.
    pub version: &'static str,
}

impl Tables {
    /// A table of these objects. `metadata` is the list's; `headed` says whether columns are described, which a
    /// watch does only once.
    pub(crate) fn table(
        &self,
        served: &Served,
        entries: &[Arc<Entry>],
        metadata: &Value,
        headed: bool,
    ) -> Value {
        let now = Timestamp::now();
        let rows: Vec<Value> = entries
            .iter()
            .map(|entry| self.row(served, entry.manifest(&served.api_version), now))
            .collect();
        self.wrap(served, &rows, metadata, headed)
    }

    /// A table of one object that no entry holds (the last state of a deleted one).
    pub(crate) fn single(
        &self,
        served: &Served,
        object: Map<String, Value>,
        headed: bool,
    ) -> Value {
        let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
        let row = self.row(served, object, Timestamp::now());
        self.wrap(served, &[row], &metadata, headed)
    }

    fn wrap(&self, served: &Served, rows: &[Value], metadata: &Value, headed: bool) -> Value {
        let columns = match headed {
            true => columns(served.info.kind).iter().map(Column::definition).collect(),
            false => Value::Null,
        };
        json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{}", self.version),
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": rows,
        })
    }

    fn row(&self, served: &Served, object: Map<String, Value>, now: Timestamp) -> Value {
        let object = Value::Object(object);
        let cells = cells::cells(served.info.kind, &object, now);
        let mut row = json!({ "cells": cells });
        match self.include {
            Include::None => {}
            Include::Object => row["object"] = served.present(object),
            Include::Metadata => row["object"] = partial(&object, self.version),
        }
        row
    }
}

/// Only the metadata of an object.
pub(crate) fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

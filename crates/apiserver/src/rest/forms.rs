//! `/tidegate/forms`, which no other API server has: what a list of objects does not say of which form of them is in force.

use http::StatusCode;
use serde_json::{Value, json};

use super::reply::{self, Reply};
use crate::store::names::storage_version;
use crate::store::{Store, Unsettled};

/// Where it is.
pub const PATH: &str = "/tidegate/forms";

/// The objects of which the form that lists show is not known to be good, or is not the newest. Of each: `kind`,
/// `namespace` and `name`; `good`, the last form that proved good, where there is one; `errors`, what is wrong with a newer
/// form that its file has.
pub(crate) fn unsettled(store: &Store) -> Reply {
    let items: Vec<Value> = store.unsettled().iter().map(item).collect();
    reply::json(StatusCode::OK, &json!({ "kind": "FormList", "items": items }))
}

fn item(Unsettled { shown, good, errors }: &Unsettled) -> Value {
    let key = shown.key();
    let mut item = json!({
        "kind": key.kind.info().name,
        "namespace": &*key.namespace,
        "name": &*key.name,
    });
    if let Some(good) = good {
        item["good"] = good.manifest(&storage_version(key.kind)).into();
    }
    if !errors.is_empty() {
        item["errors"] = json!(errors);
    }
    item
}

//! Maps without entries, which Kubernetes does not keep in objects of built-in kinds (`omitempty` in Go): a patch that takes
//! away what is not there changes nothing.

use serde_json::{Map, Value};
use tidegate_api::schema::{Node, Schema};

/// Takes out the maps that have no entry. What is a struct, such as `emptyDir`, says something when it is empty, and stays.
pub(super) fn drop_maps(schema: &Schema, value: &mut Value) {
    match (&schema.node, value) {
        (Node::Object(object), Value::Object(map)) => map.retain(|name, value| {
            let Some(field) = object.fields.get(name) else { return true };
            drop_maps(&field.schema, value);
            let is_map = matches!(field.schema.node, Node::Map { .. });
            !(is_map && value.as_object().is_some_and(Map::is_empty))
        }),
        (Node::Array { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|entry| drop_maps(items, entry));
        }
        _ => {}
    }
}

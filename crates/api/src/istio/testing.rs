//! What the tests of each kind have in common.

use serde_json::{Value, json};

use crate::{Examined, Kind, Object, Origin};

/// Everything that is said about an object with this spec, in namespace `default`.
pub(crate) fn examine(kind: Kind, spec: &Value) -> Examined {
    let object = json!({"metadata": {"name": "x", "namespace": "default"}, "spec": spec});
    Object::examine(kind, "v1", &object, Origin::Api)
}

/// The faults of a spec.
pub(crate) fn faults(kind: Kind, spec: &Value) -> Vec<String> {
    examine(kind, spec).errors.iter().map(ToString::to_string).collect()
}

/// The warnings about a spec, which has no faults.
pub(crate) fn advice(kind: Kind, spec: &Value) -> Vec<String> {
    let examined = examine(kind, spec);
    assert_eq!(examined.errors, []);
    examined.warnings.iter().map(ToString::to_string).collect()
}

/// A copy with other values at some places, given as JSON pointers; what is missing on the way is made.
pub(crate) fn with(base: &Value, changes: &[(&str, Value)]) -> Value {
    let mut changed = base.clone();
    for (pointer, value) in changes {
        let mut place = &mut changed;
        for step in pointer.split('/').skip(1) {
            place = match step.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[step],
            };
        }
        *place = value.clone();
    }
    changed
}

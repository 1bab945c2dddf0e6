//! JSON patch, RFC 6902.

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde_json::Value;

use crate::rest::body::LIMIT;
use crate::rest::failure::Failure;
use crate::rest::json::{deeper_than, size};

/// At most this many operations in one patch, as Kubernetes allows.
const OPERATIONS: usize = 10_000;

/// Levels that an operation may nest a value at: what is read again from its text has at most 128.
const LEVELS: usize = 100;

/// Applies a patch as a whole or not at all.
pub(crate) fn apply(target: &mut Value, patch: &Value) -> Result<(), Failure> {
    let Value::Array(operations) = patch else {
        return Err(Failure::bad_request(
            "error decoding patch: a JSON patch is a list of operations",
        ));
    };
    if operations.len() > OPERATIONS {
        return Err(Failure::too_large(OPERATIONS));
    }
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    // On a copy: taking back what was done already is where the library gives up on some patches, by a panic.
    let (mut patched, mut moved) = (target.clone(), 0);
    for operation in &*patch {
        moved += check(&patched, operation)?;
        if moved > LIMIT {
            return Err(Failure::too_large(LIMIT));
        }
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(operation))
            .map_err(|error| Failure::patch_failed(&error.to_string()))?;
    }
    *target = patched;
    Ok(())
}

/// The bytes that an operation takes from elsewhere in the object: a few copies of copies make more than there is memory. A
/// value that it would nest too deep is refused, as nobody could read it again.
fn check(object: &Value, operation: &PatchOperation) -> Result<usize, Failure> {
    let (value, path, bytes) = match operation {
        PatchOperation::Add(add) => (&add.value, &add.path, 0),
        PatchOperation::Replace(replace) => (&replace.value, &replace.path, 0),
        PatchOperation::Copy(copy) => match found(object, &copy.from) {
            Some(value) => (value, &copy.path, size(value)),
            None => return Ok(0),
        },
        PatchOperation::Move(this) => match found(object, &this.from) {
            Some(value) => (value, &this.path, size(value)),
            None => return Ok(0),
        },
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(0),
    };
    let left = LEVELS.checked_sub(path.count());
    if left.is_none_or(|left| deeper_than(value, left)) {
        let why = format!("{path}: it would be nested deeper than {LEVELS} levels");
        return Err(Failure::patch_failed(&why));
    }
    Ok(bytes)
}

fn found<'a>(object: &'a Value, at: &Pointer) -> Option<&'a Value> {
    object.pointer(at.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations() {
        let mut target = json!({"labels": {"b": "2", "c": "3"}, "hosts": ["x"]});
        let patch = json!([
            {"op": "test", "path": "/labels/c", "value": "3"},
            {"op": "add", "path": "/hosts/-", "value": "y"},
            {"op": "remove", "path": "/labels/b"},
            {"op": "replace", "path": "/hosts/0", "value": "z"},
            {"op": "copy", "from": "/labels/c", "path": "/labels/d"},
            {"op": "move", "from": "/labels/d", "path": "/labels/a~1b"},
        ]);
        apply(&mut target, &patch).expect("applied");
        assert_eq!(target, json!({"labels": {"c": "3", "a/b": "3"}, "hosts": ["z", "y"]}));
    }

    #[test]
    fn what_is_copied_has_a_bound_in_bytes_and_in_depth() {
        let doubled = |times: usize| {
            let first = json!({"op": "add", "path": "/x", "value": ["y".repeat(1_000)]});
            let copy = json!({"op": "copy", "from": "/x", "path": "/x/-"});
            Value::Array([vec![first], vec![copy; times]].concat())
        };
        let mut target = json!({});
        apply(&mut target, &doubled(11)).expect("2 MiB in all");
        let refused = apply(&mut target, &doubled(26)).expect_err("as much as there is memory");
        assert_eq!(refused.code.as_u16(), 413);
        for (op, from) in [("copy", "/a"), ("move", "/a")] {
            let shell = json!({"op": "add", "path": "/b", "value": {"c": {}}});
            let into = json!({"op": op, "from": from, "path": "/b/c/d"});
            let back = json!({"op": "move", "from": "/b", "path": "/a"});
            let first = json!({"op": "add", "path": "/a", "value": {}});
            let rounds = vec![vec![shell, into, back]; 200].concat();
            let mut target = json!({});
            let patch = Value::Array([vec![first], rounds].concat());
            let refused = apply(&mut target, &patch).expect_err("too deep");
            assert_eq!(refused.code.as_u16(), 422, "{op}");
        }
    }

    #[test]
    fn a_failing_operation_fails_the_patch() {
        let before = json!({"a": 1});
        for (patch, code) in [
            (
                json!([{"op": "add", "path": "/b", "value": 1}, {"op": "test", "path": "/a", "value": 2}]),
                422,
            ),
            (json!([{"op": "remove", "path": "/nope"}]), 422),
            (
                json!([
                    {"op": "add", "path": "/b", "value": {}},
                    {"op": "move", "from": "/b", "path": "/b/c"},
                ]),
                422,
            ),
            (json!({"not": "a list"}), 400),
            (json!([{"op": "explode", "path": "/a"}]), 400),
        ] {
            let mut target = before.clone();
            let failure = apply(&mut target, &patch).expect_err("refused");
            assert_eq!(failure.code.as_u16(), code, "{patch}");
            assert_eq!(target, before);
        }
    }
}

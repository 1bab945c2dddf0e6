//! JSON patch, RFC 6902.

use serde_json::Value;

use crate::rest::failure::Failure;

/// At most this many operations in one patch, as Kubernetes allows.
const OPERATIONS: usize = 10_000;

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
    let mut patched = target.clone();
    json_patch::patch_unsafe(&mut patched, &patch)
        .map_err(|error| Failure::patch_failed(&error.to_string()))?;
    *target = patched;
    Ok(())
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

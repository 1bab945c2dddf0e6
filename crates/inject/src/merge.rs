//! Laying what a user wrote over what is injected, as Kubernetes' strategic merge patch does.

use serde_json::{Map, Value};

/// Lays one value over another: mappings key by key, lists of named things by their names, everything else as a whole.
pub(crate) fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                field(base, key, value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn field(base: &mut Map<String, Value>, key: &str, over: &Value) {
    let Some(below) = base.get_mut(key) else {
        base.insert(key.to_owned(), over.clone());
        return;
    };
    match (merge_key(key), below, over) {
        (Some(name), Value::Array(below), Value::Array(over)) => items(below, over, name),
        (_, below, over) => lay_over(below, over),
    }
}

fn items(below: &mut Vec<Value>, over: &[Value], name: &str) {
    for item in over {
        match below.iter_mut().find(|below| below.get(name) == item.get(name)) {
            Some(below) => lay_over(below, item),
            None => below.push(item.clone()),
        }
    }
}

/// What tells the items of a list apart, by the field that the list stands in (`patchMergeKey` in the types of Kubernetes).
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "env" | "sysctls" => Some("name"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn named_things_are_merged_and_others_replaced() {
        let mut base = json!({
            "args": ["a", "b"],
            "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
            "securityContext": { "runAsUser": 1337, "capabilities": { "drop": ["ALL"] } },
        });
        let over = json!({
            "args": ["c"],
            "env": [{ "name": "B", "value": "3" }, { "name": "C", "value": "4" }],
            "securityContext": { "runAsUser": 1 },
        });
        lay_over(&mut base, &over);
        let wanted = json!({
            "args": ["c"],
            "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "3" }, { "name": "C", "value": "4" }],
            "securityContext": { "runAsUser": 1, "capabilities": { "drop": ["ALL"] } },
        });
        assert_eq!(base, wanted);
    }
}

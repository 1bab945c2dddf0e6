//! Expectations that are wrong in one place: a runner that passes one of them does not look there.

use serde_json::Value;

/// The value with one part of it changed, for each part, with the part's path.
pub fn of(value: &Value) -> Vec<(String, Value)> {
    let other = |value: Value| vec![(String::new(), value)];
    match value {
        Value::Object(fields) => {
            let parts = fields.iter().map(|(name, part)| (name.clone(), part));
            within(parts, |name, part| {
                let mut whole = fields.clone();
                whole.insert(name.to_owned(), part);
                whole.into()
            })
        }
        Value::Array(items) => {
            let parts = items.iter().enumerate().map(|(n, part)| (n.to_string(), part));
            let mut changes = within(parts, |n, part| {
                let replaced = |(i, item): (usize, &Value)| match i.to_string() == n {
                    true => part.clone(),
                    false => item.clone(),
                };
                items.iter().enumerate().map(replaced).collect()
            });
            let longer = items.iter().cloned().chain([Value::from("other")]).collect();
            changes.push(("/+".to_owned(), longer));
            changes
        }
        Value::Bool(flag) => other((!flag).into()),
        Value::Number(number) => other((number.as_u64().unwrap_or_default() + 1).into()),
        Value::String(text) => other(format!("{text}-other").into()),
        Value::Null => other("other".into()),
    }
}

/// The changes of the parts, each put into the whole again.
fn within<'v>(
    parts: impl Iterator<Item = (String, &'v Value)>,
    whole: impl Fn(&str, Value) -> Value,
) -> Vec<(String, Value)> {
    let changes = parts.flat_map(|(name, part)| {
        let under = of(part).into_iter();
        let put = |(path, part)| (format!("/{name}{path}"), whole(&name, part));
        under.map(put).collect::<Vec<_>>()
    });
    changes.collect()
}

/// That a case passes, and fails with any part of what it expects changed.
#[track_caller]
pub fn all_fail(case: &Value, expect: &str, judge: impl Fn(&Value) -> Result<(), String>) {
    assert_eq!(judge(case), Ok(()), "{case:#}");
    for (path, changed) in of(&case[expect]) {
        let mut broken = case.clone();
        broken[expect] = changed;
        assert!(judge(&broken).is_err(), "{expect}{path} is not looked at");
    }
}

#[test]
fn every_part_is_changed_once() {
    let value = serde_json::json!({"a": {"b": true, "c": [1, "x"]}});
    let changes = of(&value);
    let paths: Vec<&str> = changes.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/a/b", "/a/c/0", "/a/c/1", "/a/c/+"]);
    assert_eq!(changes[0].1, serde_json::json!({"a": {"b": false, "c": [1, "x"]}}));
    assert_eq!(changes[2].1["a"]["c"], serde_json::json!([1, "x-other"]));
}

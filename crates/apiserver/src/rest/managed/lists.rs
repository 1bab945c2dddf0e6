//! Entries of lists, found by what tells them apart: a list is walked through once, however many are looked for.

use std::collections::HashMap;
use std::hash::Hash;

use serde_json::{Map, Value};

/// Sets of key fields by which one list is indexed: that of its kind, and those of older versions of it. Owners are a client's to
/// name, and each further set is another walk.
const KEY_SETS: usize = 4;

/// The values of the fields that tell an entry from others; none when it lacks one of them.
pub(super) fn keys_of<K: AsRef<str>>(entry: &Value, keys: &[K]) -> Option<Map<String, Value>> {
    let value = |key: &str| match entry.get(key) {
        Some(value) => Some(value.clone()),
        None => (key == "protocol").then(|| "TCP".into()),
    };
    keys.iter().map(AsRef::as_ref).map(|key| Some((key.to_owned(), value(key)?))).collect()
}

/// The places of entries, by what tells these apart.
type Places<K> = HashMap<K, Vec<usize>>;

/// Where the entries of a list are, by the steps of `fieldsV1` that name them: `k:{"port":80}`, `v:"x"`.
#[derive(Default)]
pub(super) struct Index {
    values: Option<Places<Value>>,
    keyed: HashMap<Vec<String>, Places<Map<String, Value>>>,
}

impl Index {
    /// The places of the entries that a step names: several, where an entry stands twice. The list is the same every time.
    pub(super) fn places(&mut self, list: &[Value], step: &str) -> &[usize] {
        self.find(list, step).map_or(&[], Vec::as_slice)
    }

    fn find(&mut self, list: &[Value], step: &str) -> Option<&Vec<usize>> {
        if let Some(value) = step.strip_prefix("v:") {
            let value: Value = serde_json::from_str(value).ok()?;
            let all = || by_identity(list.iter().cloned().map(Some));
            return self.values.get_or_insert_with(all).get(&value);
        }
        let keys: Map<String, Value> = serde_json::from_str(step.strip_prefix("k:")?).ok()?;
        let fields: Vec<String> = keys.keys().cloned().collect();
        if self.keyed.len() == KEY_SETS && !self.keyed.contains_key(&fields) {
            return None;
        }
        let all = |fields: &Vec<String>| by_identity(list.iter().map(|e| keys_of(e, fields)));
        self.keyed.entry(fields).or_insert_with_key(all).get(&keys)
    }
}

fn by_identity<I: Hash + Eq>(entries: impl Iterator<Item = Option<I>>) -> Places<I> {
    let mut places: Places<I> = HashMap::new();
    for (at, identity) in entries.enumerate() {
        if let Some(identity) = identity {
            places.entry(identity).or_default().push(at);
        }
    }
    places
}

/// A value that is gone into by steps.
pub(super) struct Inside<'a> {
    value: &'a Value,
    index: Index,
}

impl<'a> Inside<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        Self { value, index: Index::default() }
    }

    /// The value behind one step of a path.
    pub(super) fn step(&mut self, name: &str) -> Option<&'a Value> {
        if let Some(field) = name.strip_prefix("f:") {
            return self.value.get(field);
        }
        let list = self.value.as_array()?;
        list.get(*self.index.places(list, name).first()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_found_by_any_of_their_keys_and_by_value() {
        let list =
            json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}, "x", {"name": "a"}]);
        let list = list.as_array().expect("a list");
        let mut index = Index::default();
        for (step, places) in [
            ("k:{\"name\":\"a\"}", &[0, 3][..]),
            ("k:{\"port\":81}", &[1]),
            ("k:{ \"protocol\":\"TCP\", \"port\": 80 }", &[0]),
            ("k:{\"port\":80,\"protocol\":\"UDP\"}", &[]),
            ("v:\"x\"", &[2]),
            ("v:\"y\"", &[]),
            ("k:nonsense", &[]),
            ("nonsense", &[]),
        ] {
            assert_eq!(index.places(list, step), places, "{step}");
        }
        for fields in ["1", "2", "3", "4"] {
            let step = format!("k:{{\"{fields}\":0}}");
            assert!(index.places(list, &step).is_empty());
        }
        assert_eq!(index.keyed.len(), KEY_SETS, "owners cannot have a list walked through at will");
    }
}

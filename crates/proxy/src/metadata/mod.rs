//! Dynamic metadata: what filters have noted of a request, for filters and routes that come after them.
//!
//! | file | subject |
//! |---|---|
//! | `value.rs` | a value, and how it is read from JSON |
//! | `matcher.rs` | tests of what was noted (`MetadataMatcher`) |

mod matcher;
mod value;

pub use matcher::{MetadataTest, NumberTest, ValueTest};
pub use value::{Fields, Value};

use std::borrow::Cow;
use std::sync::Arc;

/// What was noted of one request. Nothing is allocated until something is.
#[derive(Clone, Debug, Default)]
pub struct Metadata(Vec<Note>);

#[derive(Clone, Debug)]
struct Note {
    /// The filter, by the name under which it notes.
    of: &'static str,
    key: Arc<str>,
    value: Value,
}

impl Metadata {
    /// Notes a value under a key of a filter's own. What it noted there before is forgotten.
    pub fn note(&mut self, of: &'static str, key: Arc<str>, value: Value) {
        match self.0.iter_mut().find(|note| note.of == of && note.key == key) {
            Some(note) => note.value = value,
            None => self.0.push(Note { of, key, value }),
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What was noted, by its path as formats write it: `FILTER:KEY:KEY`, or `FILTER` for all that the filter noted. `null` is nothing.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<Cow<'_, Value>> {
        let (of, keys) = path.split_once(':').unwrap_or((path, ""));
        if !keys.is_empty() {
            let keys: Vec<Box<str>> = keys.split(':').map(Into::into).collect();
            return self.get(of, &keys).filter(|value| **value != Value::Null).map(Cow::Borrowed);
        }
        let notes = self.0.iter().filter(|note| note.of == of);
        let fields: Vec<_> =
            notes.map(|note| (Box::from(&*note.key), note.value.clone())).collect();
        (!fields.is_empty()).then(|| Cow::Owned(Value::Map(Arc::new(Fields::new(fields)))))
    }

    /// What was noted by a filter at a path: a key of its own, and then the fields of what it noted there.
    #[must_use]
    pub fn get(&self, of: &str, path: &[Box<str>]) -> Option<&Value> {
        let (key, within) = path.split_first()?;
        let note = self.0.iter().find(|note| note.of == of && *note.key == **key)?;
        note.value.below(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_by_paths_of_formats() {
        let mut noted = Metadata::default();
        assert_eq!(noted.at("jwt"), None);
        let token = Fields::from_json(br#"{"sub": "me", "more": {"n": 5, "f": 0.5}}"#);
        noted.note("jwt", "payload".into(), Value::Map(token.expect("an object")));
        noted.note("jwt", "first".into(), Value::Bool(true));
        noted.note("other", "x".into(), Value::Null);
        for (path, json) in [
            ("jwt", Some(r#"{"first":true,"payload":{"more":{"f":0.5,"n":5},"sub":"me"}}"#)),
            ("jwt:payload:sub", Some(r#""me""#)),
            ("jwt:payload:more", Some(r#"{"f":0.5,"n":5}"#)),
            ("jwt:payload:more:n", Some("5")),
            ("other:x", None),
            ("jwt:none", None),
            ("none:x", None),
        ] {
            assert_eq!(noted.at(path).map(|value| value.to_string()).as_deref(), json, "{path}");
        }
    }
}

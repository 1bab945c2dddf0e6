//! Reading JSON bodies: which fields were given twice, and where the text is broken.

use std::cell::RefCell;
use std::{fmt, io};

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON text as a value, and what stands in it twice.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub value: Value,
    /// Paths of fields that were given more than once; the last one counts, as in Go.
    pub duplicates: Vec<String>,
}

/// Reports of one kind are cut off after this many: a body can hold a field a million times.
const REPORTED: usize = 32;

/// Parses one JSON text. Nesting is limited by `serde_json` (128 levels).
///
/// # Errors
///
/// What is wrong with the text, with line and column.
pub(crate) fn parse(text: &[u8]) -> Result<Parsed, serde_json::Error> {
    let found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed { found: &found }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Parsed { value, duplicates: found.duplicates.into_inner() })
}

/// Bytes of a value's JSON.
pub(crate) fn size(value: &impl Serialize) -> usize {
    let mut counted = Counted(0);
    // What is counted is never refused, and has no keys but texts.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a value has lists and objects in each other on more than so many levels.
pub(crate) fn deeper_than(value: &Value, levels: usize) -> bool {
    let inside = |value: &Value| deeper_than(value, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(inside),
        Value::Object(fields) => levels == 0 || fields.values().any(inside),
        _ => false,
    }
}

#[derive(Debug, Default)]
struct Found {
    path: RefCell<String>,
    duplicates: RefCell<Vec<String>>,
}

impl Found {
    /// Runs `inside` with the path extended, and takes the extension back.
    fn within<T>(&self, extend: impl FnOnce(&mut String), inside: impl FnOnce() -> T) -> T {
        let before = {
            let mut path = self.path.borrow_mut();
            let before = path.len();
            extend(&mut path);
            before
        };
        let result = inside();
        self.path.borrow_mut().truncate(before);
        result
    }

    fn duplicate(&self) {
        let mut duplicates = self.duplicates.borrow_mut();
        let path = self.path.borrow();
        if duplicates.len() < REPORTED && !duplicates.contains(&path) {
            duplicates.push(path.clone());
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    found: &'a Found,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let index = values.len();
            let next = self.found.within(
                |path| path.push_str(&format!("[{index}]")),
                || list.next_element_seed(self),
            );
            match next? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let extend = |path: &mut String| {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            };
            let value = self.found.within(extend, || {
                if values.contains_key(&key) {
                    self.found.duplicate();
                }
                map.next_value_seed(self)
            })?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_of_two_counts_and_both_are_reported() {
        let text =
            br#"{"spec":{"hosts":["a"],"hosts":["b"],"l":[{"x":1,"x":2}]},"n":1.5,"o":null}"#;
        let parsed = parse(text).expect("JSON");
        let expected = json!({"spec": {"hosts": ["b"], "l": [{"x": 2}]}, "n": 1.5, "o": null});
        assert_eq!(parsed.value, expected);
        assert_eq!(parsed.duplicates, ["spec.hosts", "spec.l[0].x"]);
    }

    #[test]
    fn keys_are_written_in_order_whatever_order_they_came_in() {
        let parsed = parse(br#"{"b":1,"a":2}"#).expect("JSON");
        assert_eq!(parsed.value.to_string(), r#"{"a":2,"b":1}"#);
    }

    #[test]
    fn faults_have_a_place() {
        for (text, place) in [
            ("{\"a\":", "line 1 column 5"),
            ("{\n\"a\": x}", "line 2 column 6"),
            ("{} {}", "line 1 column 4"),
            ("", "line 1 column 0"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.ends_with(place), "{error}");
        }
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        assert!(parse(deep.as_bytes()).is_err());
    }
}

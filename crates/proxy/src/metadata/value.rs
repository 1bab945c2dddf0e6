//! A value as `google.protobuf.Value` has them, and how it is read from JSON (RFC 8259).

use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// How deep values may nest in what is read.
const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// A number. Integers beyond 2^53 lose digits, as in Envoy.
    Number(f64),
    /// A text.
    Text(Box<str>),
    /// A list.
    List(Vec<Value>),
    /// An object, which may be shared.
    Map(Arc<Fields>),
}

/// The fields of an object, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(
    /// In the order of their names.
    Box<[(Box<str>, Value)]>,
);

impl Fields {
    /// Reads an object. Names that stand twice are refused: what readers make of them differs.
    ///
    /// # Errors
    /// It is no such JSON, or nests too deep.
    pub fn from_json(text: &[u8]) -> Result<Arc<Self>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Depth(MAX_DEPTH).deserialize(&mut reader)?;
        reader.end()?;
        match value {
            Value::Map(fields) => Ok(fields),
            _ => Err(de::Error::custom("an object is expected")),
        }
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The value at a path: of a name, and then of the fields below it.
    #[must_use]
    pub fn at(&self, path: &[Box<str>]) -> Option<&Value> {
        let (first, within) = path.split_first()?;
        self.get(first)?.below(within)
    }

    /// The fields, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The same, with another value where `change` makes one.
    #[must_use]
    pub fn with(&self, mut change: impl FnMut(&str, &Value) -> Option<Value>) -> Self {
        let changed = self.0.iter().map(|(name, value)| {
            (name.clone(), change(name, value).unwrap_or_else(|| value.clone()))
        });
        Self(changed.collect())
    }

    /// The fields of these names and values; of a name that stands twice the first counts.
    #[must_use]
    pub fn new(mut fields: Vec<(Box<str>, Value)>) -> Self {
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        fields.dedup_by(|(later, _), (first, _)| later == first);
        Self(fields.into())
    }
}

impl Value {
    /// The value at a path of fields below this one, which an empty path leads to.
    #[must_use]
    pub fn below(&self, path: &[Box<str>]) -> Option<&Self> {
        path.iter().try_fold(self, |value, name| match value {
            Self::Map(fields) => fields.get(name),
            _ => None,
        })
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// As JSON, fields in the order of their names.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            // Rust writes the shortest digits that mean the number, and none after the point of an integer.
            Self::Number(value) => value.fmt(f),
            Self::Text(text) => quoted(text, f),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    f.write_str(if at > 0 { "," } else { "" })?;
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Map(fields) => {
                f.write_str("{")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if at > 0 { "," } else { "" })?;
                    quoted(name, f)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

/// Reads a value that may have so many levels.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn below<E: de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("too many levels"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut fields: Vec<(Box<str>, Value)> = Vec::new();
        while let Some(name) = entries.next_key::<Box<str>>()? {
            fields.push((name, entries.next_value_seed(below)?));
        }
        let read = fields.len();
        let fields = Fields::new(fields);
        if fields.0.len() < read {
            return Err(de::Error::custom("a name stands twice"));
        }
        Ok(Value::Map(Arc::new(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        for (read, written) in [
            ("{}", "{}"),
            (
                r#" { "b" : 1.0 , "a":[null,true,"\u00e9\"\n",-2.5,1e3,{}] } "#,
                "{\"a\":[null,true,\"é\\\"\\n\",-2.5,1000,{}],\"b\":1}",
            ),
            (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709552000}"#),
        ] {
            let fields = Fields::from_json(read.as_bytes()).expect(read);
            assert_eq!(Value::Map(fields).to_string(), written);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let deep =
            |levels: usize| format!("{}{{}}{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert!(Fields::from_json(deep(MAX_DEPTH - 1).as_bytes()).is_ok());
        for wrong in [
            "",
            "[]",
            "1",
            "{",
            "{} x",
            "{'a':1}",
            "{a:1}",
            r#"{"a":1,}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"b":{"a":1,"\u0061":2}}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\u{1}\"}",
            &deep(MAX_DEPTH),
        ] {
            assert!(Fields::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(Fields::from_json(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn fields_are_found_by_name() {
        let fields = Fields::from_json(br#"{"b":2,"a":1,"ab":3}"#).expect("valid");
        assert_eq!(fields.get("ab"), Some(&Value::Number(3.0)));
        assert_eq!(fields.get("c"), None);
    }
}

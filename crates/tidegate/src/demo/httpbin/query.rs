//! `application/x-www-form-urlencoded`, as it stands in queries and in form bodies.

use serde_json::{Map, Value};

/// Decoded names and values, in the order in which they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes everything; what is no valid escape stands for itself, and bytes that are no UTF-8 are
    /// replaced.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first value of that name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// As httpbin.org shows it: sorted by name; a text when a name stands once, else a list.
    pub fn to_json(&self) -> Value {
        let mut names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        let value = |name: &str| {
            let mut values: Vec<Value> =
                self.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.into()).collect();
            if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
        };
        Value::Object(
            names.iter().map(|name| ((*name).to_owned(), value(name))).collect::<Map<_, _>>(),
        )
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => match escape(after) {
                Some(escaped) => {
                    bytes.push(escaped);
                    rest = &after[2..];
                }
                None => bytes.push(b'%'),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(after: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decodes_as_forms_do() {
        let query = Query::parse("b=2&a=1+%2b%zz&b=3&&c");
        assert_eq!(query.first("b"), Some("2"));
        assert_eq!(query.to_json(), json!({"a": "1 +%zz", "b": ["2", "3"], "c": ""}));
    }
}

//! What a request looked like, in httpbin.org's JSON.

use std::collections::BTreeMap;

use http::request::Parts;
use serde_json::{Map, Value, json};

use super::Seen;
use super::query::Query;

/// A request as it came in.
pub struct Sent<'a> {
    /// Method, URI, header fields.
    pub head: &'a Parts,
    /// The whole body.
    pub body: &'a [u8],
    /// The connection.
    pub seen: &'a Seen,
}

impl Sent<'_> {
    /// As `/get` shows it.
    pub fn without_body(&self) -> Value {
        json!({
            "args": self.args().to_json(),
            "headers": self.headers(),
            "origin": self.origin(),
            "url": self.url(),
        })
    }

    /// As `/post` shows it.
    pub fn with_body(&self) -> Value {
        let form = self.form();
        let data = if form.is_some() { Value::from("") } else { self.data() };
        json!({
            "args": self.args().to_json(),
            "data": data,
            "files": {},
            "form": form.unwrap_or_default().to_json(),
            "headers": self.headers(),
            "json": serde_json::from_slice::<Value>(self.body).unwrap_or(Value::Null),
            "origin": self.origin(),
            "url": self.url(),
        })
    }

    /// As `/anything` shows it: with the method.
    pub fn anything(&self) -> Value {
        let Value::Object(mut report) = self.with_body() else {
            return Value::Null;
        };
        report.insert("method".to_owned(), self.head.method.as_str().into());
        // Sorted, also where another crate makes maps keep their order of insertion.
        Value::Object(report.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    }

    /// The query, decoded.
    pub fn args(&self) -> Query {
        Query::parse(self.head.uri.query().unwrap_or_default())
    }

    /// Header fields by name: written `Like-This`, sorted, several values joined by commas.
    pub fn headers(&self) -> Value {
        let mut shown = BTreeMap::<String, String>::new();
        for (name, value) in &self.head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            shown
                .entry(capitalised(name.as_str()))
                .and_modify(|values| *values = format!("{values},{value}"))
                .or_insert_with(|| value.into_owned());
        }
        Value::Object(
            shown.into_iter().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>(),
        )
    }

    /// The first value of a header field, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Who sent it: what `x-forwarded-for` says, else the address of the connection.
    pub fn origin(&self) -> String {
        self.header("x-forwarded-for")
            .map_or_else(|| self.seen.peer.ip().to_string(), str::to_owned)
    }

    fn url(&self) -> String {
        let scheme = self.header("x-forwarded-proto").unwrap_or(self.seen.scheme);
        let host = self.header("host").unwrap_or(self.seen.name);
        let path = self.head.uri.path_and_query().map_or("/", |path| path.as_str());
        format!("{scheme}://{host}{path}")
    }

    fn form(&self) -> Option<Query> {
        let form = self.header("content-type")?.starts_with("application/x-www-form-urlencoded");
        let text = std::str::from_utf8(self.body).ok()?;
        form.then(|| Query::parse(text))
    }

    /// The body as text, or as a data URL when it is none.
    fn data(&self) -> Value {
        match std::str::from_utf8(self.body) {
            Ok(text) => text.into(),
            Err(_) => format!("data:application/octet-stream;base64,{}", base64(self.body)).into(),
        }
    }
}

/// A random UUID (RFC 9562, version 4).
pub fn uuid() -> String {
    let random = fastrand::u128(..);
    let version = (random & !(0xF << 76)) | (4 << 76);
    let variant = (version & !(0b11 << 62)) | (0b10 << 62);
    let hex = format!("{variant:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn capitalised(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_say_version_4() {
        let uuid = uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]));
    }

    #[test]
    fn names_are_written_as_httpbin_writes_them() {
        assert_eq!(capitalised("x-request-id"), "X-Request-Id");
        assert_eq!(capitalised("host"), "Host");
    }
}

//! Where tokens are looked for in a request, and how they are taken out of it.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::fault::Fault;
use crate::http::RequestHead;
use crate::route::parameters;

/// Most tokens of a request that are looked at: each of them costs a signature.
const MAX_TOKENS: usize = 16;

/// Places in a request.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    /// Headers, then query parameters, then cookies, each in the order of their names.
    places: Vec<Location>,
}

/// A place.
#[derive(Clone, Debug)]
pub struct Location {
    place: Place,
    /// Issuers of which tokens may stand there; an empty name stands for all.
    issuers: Vec<Box<str>>,
}

/// What of a request may hold a token. They are looked at in the opposite order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A header, and what stands before the token in it.
    Header {
        /// Its name, in lower case, and the prefix, as one text: what places are ordered by.
        key: Box<str>,
        /// How much of that is the name.
        name: usize,
    },
    /// A query parameter.
    Parameter(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// A token that was found.
#[derive(Debug)]
pub struct Found<'l> {
    /// Where.
    pub location: &'l Location,
    /// The token, or what stands in its place.
    pub text: Vec<u8>,
}

impl Place {
    /// A header of a name, and a prefix; both may be empty but for the name.
    #[must_use]
    pub fn header(name: &str, prefix: &str) -> Self {
        let key = name.to_ascii_lowercase() + prefix;
        Self::Header { key: key.into(), name: name.len() }
    }
}

impl Locations {
    /// Has tokens of an issuer looked for in a place.
    pub fn add(&mut self, place: Place, issuer: &str) {
        match self.places.binary_search_by(|known| known.place.cmp(&place)) {
            Ok(at) => self.places[at].issuers.push(issuer.into()),
            Err(at) => self.places.insert(at, Location { place, issuers: vec![issuer.into()] }),
        }
    }

    /// All places of some.
    #[must_use]
    pub fn all<'l>(some: impl IntoIterator<Item = &'l Self>) -> Self {
        let mut all = Self::default();
        for Location { place, issuers } in some.into_iter().flat_map(|some| &some.places) {
            for issuer in issuers {
                all.add(place.clone(), issuer);
            }
        }
        all
    }

    /// What is found in a request, in the order in which it is looked at.
    ///
    /// # Errors
    /// There is too much of it.
    pub fn find(&self, head: &RequestHead) -> Result<Vec<Found<'_>>, Fault> {
        let mut found = Vec::new();
        for location in &self.places {
            location.find(head, &mut |text| found.push(Found { location, text: text.to_vec() }));
            if found.len() > MAX_TOKENS {
                return Err(Fault::TooMany);
            }
        }
        found.reverse();
        Ok(found)
    }
}

impl Location {
    /// Whether tokens of this issuer may stand there.
    #[must_use]
    pub fn takes(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|known| known.is_empty() || **known == *issuer)
    }

    fn find(&self, head: &RequestHead, found: &mut dyn FnMut(&[u8])) {
        match &self.place {
            Place::Header { key, name } => {
                let (name, prefix) = key.split_at(*name);
                for line in head.headers.get_all(name.as_bytes()) {
                    if prefix.is_empty() {
                        found(line);
                    } else if let Some(at) = memmem::find(line, prefix.as_bytes()) {
                        found(token_after(line, at + prefix.len()));
                    }
                }
            }
            Place::Parameter(name) => {
                let mut parameters = parameters(head.path());
                let value = parameters.find(|(key, _)| *decoded(key) == *name.as_bytes());
                if let Some((_, value)) = value {
                    found(&decoded(value));
                }
            }
            Place::Cookie(name) => {
                if let Some(value) = cookie(head, name.as_bytes()) {
                    found(value);
                }
            }
        }
    }

    /// Takes the token out of the request. A cookie stays, as in Envoy.
    pub fn remove(&self, head: &mut RequestHead) {
        match &self.place {
            Place::Header { key, name } => {
                head.headers.remove(key[..*name].as_bytes());
            }
            Place::Parameter(name) => {
                if let Some(path) = without(head.path(), name.as_bytes()) {
                    head.set_path(&path);
                }
            }
            Place::Cookie(_) => {}
        }
    }
}

/// What of a line stands after a prefix, from where a token may begin.
fn token_after(line: &[u8], at: usize) -> &[u8] {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let rest = &line[at..];
    rest.iter().position(of_token).map_or(line, |start| &rest[start..])
}

/// The path without a query parameter, the others as they are; `None` if it has none of that name.
fn without(path: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let (before, query) = path.split_at(memchr(b'?', path)?);
    let mut left = before.to_vec();
    let (mut separator, mut removed) = (b'?', false);
    for parameter in query[1..].split(|byte| *byte == b'&') {
        let key = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
        if *decoded(key) == *name {
            removed = true;
            continue;
        }
        left.push(separator);
        left.extend_from_slice(parameter);
        separator = b'&';
    }
    removed.then_some(left)
}

/// With `%XX` decoded.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'%', text).is_none() {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out.into()
}

/// The first cookie of a name, without the quotes around it.
fn cookie<'h>(head: &'h RequestHead, name: &[u8]) -> Option<&'h [u8]> {
    let lines = head.headers.get_all(b"cookie");
    let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let value = pairs.find_map(|pair| {
        let (key, value) = pair.split_at(memchr(b'=', pair)?);
        (key.trim_ascii() == name).then(|| value[1..].trim_ascii())
    })?;
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(bare.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, lines: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_path(path.as_bytes());
        for (name, value) in lines {
            head.headers.append(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn found(places: &[Place], head: &RequestHead) -> Vec<String> {
        let mut locations = Locations::default();
        for place in places {
            locations.add(place.clone(), "i");
        }
        let found = locations.find(head).expect("few");
        found.into_iter().map(|found| String::from_utf8(found.text).expect("text")).collect()
    }

    #[test]
    fn in_headers() {
        let bearer = Place::header("Authorization", "Bearer ");
        for (line, expected) in [
            ("Bearer a.b", Some("a.b")),
            ("Bearer   a.b", Some("a.b")),
            ("Basic x, Bearer a.b", Some("a.b")),
            ("bearer a.b", None),
            ("Bearer ", Some("Bearer ")),
            ("Bearer !a b", Some("a b")),
        ] {
            let head = head("/", &[("authorization", line)]);
            let found = found(std::slice::from_ref(&bearer), &head);
            assert_eq!(found.first().map(String::as_str), expected, "{line}");
        }
        let head = head("/", &[("x-t", "1"), ("X-T", ""), ("authorization", "Bearer 2")]);
        let places = [Place::header("X-T", ""), bearer];
        assert_eq!(found(&places, &head), ["", "1", "2"]);
    }

    #[test]
    fn in_parameters_and_cookies() {
        let places = [Place::Parameter("t".into()), Place::Cookie("c".into())];
        let lines = [("cookie", "a=1; c=\"x\""), ("cookie", "c=y")];
        assert_eq!(found(&places, &head("/?a&t=%41b&t=2", &lines)), ["x", "Ab"]);
        assert_eq!(found(&places, &head("/t?tt=1", &[("cookie", "cc=1; c")])), [""; 0]);
        assert_eq!(found(&places, &head("/?%74=1%4", &[])), ["1%4"]);
    }

    #[test]
    fn too_many_are_not_looked_at() {
        let lines = vec![("x-t", "1"); MAX_TOKENS + 1];
        let mut locations = Locations::default();
        locations.add(Place::header("x-t", ""), "");
        assert_eq!(locations.find(&head("/", &lines)).map(|_| ()), Err(Fault::TooMany));
        assert!(locations.find(&head("/", &lines[1..])).is_ok());
    }

    #[test]
    fn places_know_their_issuers() {
        let (mut one, mut other) = (Locations::default(), Locations::default());
        one.add(Place::header("a", ""), "i");
        other.add(Place::header("A", ""), "j");
        other.add(Place::Cookie("c".into()), "");
        let all = Locations::all([&one, &other]);
        let takes = |at: usize| ["i", "j", "k"].map(|issuer| all.places[at].takes(issuer));
        assert_eq!(takes(0), [true, true, false]);
        assert_eq!(takes(1), [true, true, true]);
    }

    #[test]
    fn what_was_used_is_taken_out() {
        let at = |place| Location { place, issuers: Vec::new() };
        for (path, left) in [
            ("/p?t=1", "/p"),
            ("/p?a=%20&t=1&b", "/p?a=%20&b"),
            ("/p?t=1&t=2&%74", "/p"),
            ("/p?a", "/p?a"),
            ("/p", "/p"),
        ] {
            let mut head = head(path, &[]);
            at(Place::Parameter("t".into())).remove(&mut head);
            assert_eq!(String::from_utf8_lossy(head.path()), left, "{path}");
        }
        let mut head = head("/", &[("A", "1"), ("b", "2"), ("a", "3"), ("cookie", "c=1")]);
        at(Place::header("a", "x")).remove(&mut head);
        at(Place::Cookie("c".into())).remove(&mut head);
        assert_eq!(
            head.headers.iter().map(|line| line.1).collect::<Vec<_>>(),
            [&b"b"[..], b"cookie"]
        );
    }
}

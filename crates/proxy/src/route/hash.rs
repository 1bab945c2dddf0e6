//! What of a request chooses its endpoint where the cluster hashes (`RouteAction.hash_policy`).

use std::net::SocketAddr;

use xxhash_rust::xxh64::xxh64;

use crate::http::RequestHead;

use super::condition::{Field, parameter};
use super::pattern::Substitution;

/// One property of a request that is hashed.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// The property.
    pub of: HashOf,
    /// Whether those after it are left out once there is a hash.
    pub terminal: bool,
}

/// A property of a request.
#[derive(Clone, Debug)]
pub enum HashOf {
    /// A header, whose values may be changed before.
    Header(Field, Option<Substitution>),
    /// A cookie.
    Cookie(HashCookie),
    /// The client's address, without its port.
    SourceAddress,
    /// The first query parameter of that name, as it is written.
    Parameter(Box<[u8]>),
}

/// A cookie that is hashed.
#[derive(Clone, Debug)]
pub struct HashCookie {
    /// Its name.
    pub name: Box<str>,
    /// Where it is missing, it is made to live for so many seconds, or (0) for the session; `None` makes none.
    pub ttl: Option<u64>,
    /// Path of one that is made.
    pub path: Box<str>,
    /// Further attributes of one that is made; those without a value stand alone.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// The ends of the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client, as far as it is known through proxies in front.
    pub client: Option<SocketAddr>,
    /// Our own.
    pub local: SocketAddr,
}

/// The hash of a request; `None` when it has none of the properties. Cookies that are made are pushed to `made`, as
/// values of `set-cookie`.
#[must_use]
pub fn hash(
    policies: &[HashPolicy],
    head: &RequestHead,
    ends: Ends,
    made: &mut Vec<String>,
) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        if let Some(new) = policy.of.hash(head, ends, made) {
            // As in Envoy: turned, so that the same property twice does not cancel itself out.
            hash = Some(hash.unwrap_or_default().rotate_left(1) ^ new);
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

impl HashOf {
    fn hash(&self, head: &RequestHead, ends: Ends, made: &mut Vec<String>) -> Option<u64> {
        match self {
            Self::Header(field, rewrite) => header(field, rewrite.as_ref(), head),
            Self::Cookie(cookie) => cookie.hash(head, ends, made),
            Self::SourceAddress => {
                ends.client.map(|client| xxh64(client.ip().to_string().as_bytes(), 0))
            }
            Self::Parameter(name) => parameter(head.path(), name).map(|value| xxh64(value, 0)),
        }
    }
}

/// Several lines are hashed one after the other, whatever their order.
fn header(field: &Field, rewrite: Option<&Substitution>, head: &RequestHead) -> Option<u64> {
    let rewritten = |value: &[u8]| match rewrite {
        Some(rewrite) => rewrite.apply(value),
        None => value.to_vec(),
    };
    let mut values = field.values(head);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(match rewrite {
            Some(rewrite) => xxh64(&rewrite.apply(first), 0),
            None => xxh64(first, 0),
        });
    };
    let mut all: Vec<Vec<u8>> = [first, second].into_iter().chain(values).map(rewritten).collect();
    all.sort_unstable();
    Some(all.iter().fold(0, |hash, value| xxh64(value, hash)))
}

impl HashCookie {
    fn hash(&self, head: &RequestHead, ends: Ends, made: &mut Vec<String>) -> Option<u64> {
        let name = self.name.as_bytes();
        let lines = head.headers.get_all(b"cookie");
        let found = lines.flat_map(|line| line.split(|byte| *byte == b';')).find_map(|pair| {
            let (key, value) = pair.split_at(memchr::memchr(b'=', pair)?);
            (key.trim_ascii() == name).then(|| unquoted(value[1..].trim_ascii()))
        });
        if let Some(value) = found.filter(|value| !value.is_empty()) {
            return Some(xxh64(value, 0));
        }
        let ttl = self.ttl?;
        // The same for all requests of a connection, so that those which race agree.
        let client = ends.client?;
        let value = format!("{:016x}", xxh64(format!("{client}{}", ends.local).as_bytes(), 0));
        made.push(self.set_cookie(&value, ttl));
        Some(xxh64(value.as_bytes(), 0))
    }

    /// The value of `set-cookie` that makes the cookie.
    fn set_cookie(&self, value: &str, ttl: u64) -> String {
        let mut line = format!("{}=\"{value}\"", self.name);
        if ttl > 0 {
            line.push_str(&format!("; Max-Age={ttl}"));
        }
        if !self.path.is_empty() {
            line.push_str(&format!("; Path={}", self.path));
        }
        for (name, value) in &self.attributes {
            line.push_str("; ");
            line.push_str(name);
            if !value.is_empty() {
                line.push('=');
                line.push_str(value);
            }
        }
        // Always, as in Envoy, also where it is among the attributes: written twice it says the same (RFC 6265, section 5.2.6).
        line.push_str("; HttpOnly");
        line
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, headers: &[(&str, &str)]) -> RequestHead {
        RequestHead::get("", path, headers)
    }

    fn ends() -> Ends {
        let client = "192.0.2.1:5000".parse().ok();
        Ends { client, local: "192.0.2.2:80".parse().expect("an address") }
    }

    fn of(of: HashOf, head: &RequestHead) -> Option<u64> {
        hash(&[HashPolicy { of, terminal: false }], head, ends(), &mut Vec::new())
    }

    fn cookie(ttl: Option<u64>) -> HashCookie {
        HashCookie { name: "c".into(), ttl, path: "/p".into(), attributes: Vec::new() }
    }

    #[test]
    fn properties() {
        let xx = |text: &str| Some(xxh64(text.as_bytes(), 0));
        let head = head(
            "/p?q=1&q=2",
            &[
                ("X-A", "v"),
                ("x-b", "2"),
                ("x-b", "1"),
                ("Cookie", "d=1; c=\"two\""),
                ("cookie", "c=3"),
            ],
        );
        let header = |name: &str| HashOf::Header(Field::new(name), None);
        assert_eq!(of(header("x-a"), &head), xx("v"));
        assert_eq!(of(header("x-b"), &head), Some(xxh64(b"2", xxh64(b"1", 0))));
        assert_eq!(of(header("x-none"), &head), None);
        let suffix = Substitution::new("^v", "w").expect("valid");
        assert_eq!(of(HashOf::Header(Field::new("x-a"), Some(suffix)), &head), xx("w"));
        assert_eq!(of(HashOf::Parameter(b"q".as_slice().into()), &head), xx("1"));
        assert_eq!(of(HashOf::Parameter(b"none".as_slice().into()), &head), None);
        assert_eq!(of(HashOf::SourceAddress, &head), xx("192.0.2.1"));
        assert_eq!(of(HashOf::Cookie(cookie(None)), &head), xx("two"));
    }

    #[test]
    fn a_cookie_is_made_where_it_is_missing_and_has_a_life() {
        let (mut made, plain) = (Vec::new(), head("/", &[("cookie", "d=1")]));
        let of = |cookie: &HashCookie, made: &mut Vec<String>| {
            let policy = HashPolicy { of: HashOf::Cookie(cookie.clone()), terminal: false };
            hash(&[policy], &plain, ends(), made)
        };
        assert_eq!((of(&cookie(None), &mut made), made.len()), (None, 0));
        let mut long = cookie(Some(60));
        long.attributes = vec![("SameSite".into(), "Strict".into()), ("Secure".into(), "".into())];
        let value = format!("{:016x}", xxh64(b"192.0.2.1:5000192.0.2.2:80", 0));
        assert_eq!(of(&long, &mut made), Some(xxh64(value.as_bytes(), 0)));
        assert_eq!(
            made.pop().expect("a cookie"),
            format!("c=\"{value}\"; Max-Age=60; Path=/p; SameSite=Strict; Secure; HttpOnly")
        );
        let _ = of(&cookie(Some(0)), &mut made);
        assert_eq!(made.pop(), Some(format!("c=\"{value}\"; Path=/p; HttpOnly")));
        let mut given = cookie(Some(0));
        given.attributes = vec![("HttpOnly".into(), "".into()), ("Secure".into(), "".into())];
        let _ = of(&given, &mut made);
        assert_eq!(made, [format!("c=\"{value}\"; Path=/p; HttpOnly; Secure; HttpOnly")]);
    }

    #[test]
    fn several_add_up_until_a_terminal_one() {
        let head = head("/?q=v", &[("x-a", "v")]);
        let policy = |name: &str, terminal| HashPolicy {
            of: HashOf::Header(Field::new(name), None),
            terminal,
        };
        let hash = |policies: &[HashPolicy]| hash(policies, &head, ends(), &mut Vec::new());
        let one = xxh64(b"v", 0);
        assert_eq!(
            hash(&[policy("x-a", false), policy("x-a", false)]),
            Some(one.rotate_left(1) ^ one)
        );
        assert_eq!(hash(&[policy("x-none", true), policy("x-a", false)]), Some(one));
        assert_eq!(hash(&[policy("x-a", true), policy("x-a", false)]), Some(one));
        assert_eq!(hash(&[]), None);
    }
}

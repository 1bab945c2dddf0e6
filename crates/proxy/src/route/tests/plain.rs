//! Routes and requests as plain text, and the matcher that tries one route after the other.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;

use crate::http::RequestHead;

/// A route as a test writes it, and as the plain matcher reads it.
#[derive(Clone, Debug)]
pub(in crate::route) struct PlainRoute {
    pub(in crate::route) kind: Kind,
    pub(in crate::route) path: String,
    pub(in crate::route) ignore_case: bool,
    pub(in crate::route) tests: Vec<PlainTest>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::route) enum Kind {
    Prefix,
    Exact,
    Separated,
    Regex,
    Connect,
}

#[derive(Clone, Debug)]
pub(in crate::route) enum PlainTest {
    Header {
        name: String,
        value: PlainValue,
        invert: bool,
        absent_is_empty: bool,
    },
    Query {
        name: String,
        value: PlainValue,
    },
    Fraction(u32),
    Grpc,
    /// What no filter has noted, asked for or (`true`) not.
    Metadata(bool),
}

#[derive(Clone, Debug)]
pub(in crate::route) enum PlainValue {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    AnyCase(Box<PlainValue>),
    Regex(String),
    Range(i64, i64),
    Present(bool),
}

#[derive(Clone, Debug)]
pub(in crate::route) struct PlainRequest {
    pub(in crate::route) method: &'static str,
    pub(in crate::route) authority: String,
    pub(in crate::route) path: String,
    pub(in crate::route) headers: Vec<(String, String)>,
    pub(in crate::route) random: u64,
}

pub(in crate::route) fn full_match(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    let compile = || Regex::new(&format!("^(?:{pattern})$")).expect("a pattern of the generator");
    COMPILED.with_borrow_mut(|compiled| {
        compiled.entry(pattern.to_owned()).or_insert_with(compile).is_match(text)
    })
}

impl PlainValue {
    pub(in crate::route) fn accepts(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (Self::Exact(wanted), Some(value)) => value == wanted,
            (Self::Prefix(wanted), Some(value)) => value.starts_with(wanted),
            (Self::Suffix(wanted), Some(value)) => value.ends_with(wanted),
            (Self::Contains(wanted), Some(value)) => value.contains(wanted),
            (Self::AnyCase(wanted), Some(value)) => {
                wanted.lowered().accepts(Some(&value.to_lowercase()))
            }
            (Self::Regex(pattern), Some(value)) => full_match(pattern, value),
            (Self::Range(start, end), Some(value)) => {
                value.parse::<i64>().is_ok_and(|number| (*start..*end).contains(&number))
            }
        }
    }
}

impl PlainValue {
    fn lowered(&self) -> Self {
        match self {
            Self::Exact(text) => Self::Exact(text.to_lowercase()),
            Self::Prefix(text) => Self::Prefix(text.to_lowercase()),
            Self::Suffix(text) => Self::Suffix(text.to_lowercase()),
            Self::Contains(text) => Self::Contains(text.to_lowercase()),
            other => other.clone(),
        }
    }
}

impl PlainRequest {
    pub(in crate::route) fn header(&self, name: &str) -> Vec<&str> {
        match name {
            ":method" => vec![self.method],
            ":authority" => vec![&self.authority],
            ":path" => Some(&*self.path).filter(|path| !path.is_empty()).into_iter().collect(),
            name => {
                let lines = self.headers.iter().filter(|header| header.0 == name);
                lines.map(|header| header.1.as_str()).collect()
            }
        }
    }

    pub(in crate::route) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|pair| pair.0 == name).map(|pair| pair.1)
    }

    pub(in crate::route) fn head(&self) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_method(self.method.as_bytes());
        head.set_authority(self.authority.as_bytes());
        head.set_path(self.path.as_bytes());
        for (name, value) in &self.headers {
            head.headers.append(name.as_bytes(), value.as_bytes());
        }
        head
    }
}

impl PlainTest {
    pub(in crate::route) fn holds(&self, request: &PlainRequest) -> bool {
        match self {
            Self::Header { name, value, invert, absent_is_empty } => {
                let mut lines = request.header(name);
                if lines.is_empty() && *absent_is_empty {
                    lines.push("");
                }
                match value {
                    PlainValue::Present(wanted) => (lines.is_empty() != *wanted) != *invert,
                    _ if lines.is_empty() => false,
                    other => lines.iter().any(|line| other.accepts(Some(line))) != *invert,
                }
            }
            Self::Query { name, value } => value.accepts(request.parameter(name)),
            Self::Fraction(percent) => request.random % 100 < u64::from(*percent),
            Self::Grpc => {
                let kind = request.header("content-type").into_iter().next().unwrap_or_default();
                kind == "application/grpc" || kind.starts_with("application/grpc+")
            }
            Self::Metadata(invert) => *invert,
        }
    }
}

impl PlainRoute {
    pub(in crate::route) fn takes(&self, request: &PlainRequest) -> bool {
        let path = request.path.split('?').next().unwrap_or_default();
        let fold = |text: &str| {
            if self.ignore_case { text.to_lowercase() } else { text.to_owned() }
        };
        let by_path = match self.kind {
            Kind::Connect => request.method == "CONNECT",
            _ if request.path.is_empty() => false,
            Kind::Prefix => fold(path).starts_with(&fold(&self.path)),
            Kind::Exact => fold(path) == fold(&self.path),
            Kind::Separated => {
                let (path, prefix) = (fold(path), fold(&self.path));
                path == prefix || path.starts_with(&format!("{prefix}/"))
            }
            Kind::Regex => full_match(&self.path, path),
        };
        by_path && self.tests.iter().all(|test| test.holds(request))
    }
}

/// Envoy's order: exact, longest suffix, longest prefix, any.
pub(in crate::route) fn plain_domain<'d>(domains: &'d [String], host: &str) -> Option<&'d String> {
    let host = host.to_lowercase();
    let longest = |fits: &dyn Fn(&str) -> bool| {
        domains.iter().filter(|domain| fits(domain)).max_by_key(|domain| domain.len())
    };
    domains
        .iter()
        .find(|domain| **domain == host)
        .or_else(|| {
            longest(&|d| {
                d.len() > 1
                    && d.starts_with('*')
                    && host.len() >= d.len()
                    && host.ends_with(&d[1..])
            })
        })
        .or_else(|| {
            longest(&|d| {
                let fixed = d
                    .strip_suffix('*')
                    .filter(|fixed| !fixed.is_empty() && !fixed.starts_with('*'));
                fixed.is_some_and(|fixed| host.len() > fixed.len() && host.starts_with(fixed))
            })
        })
        .or_else(|| domains.iter().find(|domain| *domain == "*"))
}

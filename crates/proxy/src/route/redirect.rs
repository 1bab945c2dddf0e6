//! Redirects (`RedirectAction`, `require_tls`): where the client is sent.

use crate::http::{Known, RequestHead};

use super::matcher::without_query;
use super::pattern::Substitution;

/// A redirect.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// Status code of the answer.
    pub status: u16,
    /// Scheme; `None` for the request's.
    pub scheme: Option<Box<str>>,
    /// Host; `None` for the request's.
    pub host: Option<Box<str>>,
    /// Port; `None` for what the host says.
    pub port: Option<u16>,
    /// Path.
    pub path: RedirectPath,
    /// Whether the query is left out.
    pub strip_query: bool,
    /// Whether the request's host keeps a port that is its scheme's default (the redirect of
    /// `require_tls` keeps it, others drop it when the scheme changes).
    pub keep_default_port: bool,
}

/// The path of a redirect.
#[derive(Clone, Debug)]
pub enum RedirectPath {
    /// The request's.
    Keep,
    /// This one; with the request's query unless it has its own.
    Replace(Box<[u8]>),
    /// The request's, its first `matched` bytes replaced.
    Prefix {
        /// Bytes that the route matched; `None` for the whole path.
        matched: Option<usize>,
        /// What replaces them.
        with: Box<[u8]>,
    },
    /// The request's, with every match replaced.
    Regex(Substitution),
}

impl Redirect {
    /// The redirect of a virtual host that requires TLS: the same place, over `https`.
    #[must_use]
    pub fn to_tls() -> Self {
        Self {
            status: 301,
            scheme: Some("https".into()),
            host: None,
            port: None,
            path: RedirectPath::Keep,
            strip_query: false,
            keep_default_port: true,
        }
    }

    /// The value of `location`.
    #[must_use]
    pub fn location(&self, head: &RequestHead) -> Vec<u8> {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme.as_str());
        let mut out = Vec::with_capacity(64 + head.path().len());
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        match &self.host {
            Some(host) => out.extend_from_slice(host.as_bytes()),
            None => out.extend_from_slice(self.request_host(head, scheme)),
        }
        if let Some(port) = self.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        self.write_path(head.path(), &mut out);
        out
    }

    /// The request's host, without its port when another one is given or when it is the default of the
    /// scheme that is left.
    fn request_host<'h>(&self, head: &'h RequestHead, scheme: &str) -> &'h [u8] {
        let host = head.authority();
        let Some(colon) = port_start(host) else {
            return host;
        };
        let left = forwarded_scheme(head);
        let is_default = scheme.as_bytes() != left
            && matches!((left, &host[colon..]), (b"http", b":80") | (b"https", b":443"))
            && !self.keep_default_port;
        if self.port.is_some() || is_default { &host[..colon] } else { host }
    }

    fn write_path(&self, path: &[u8], out: &mut Vec<u8>) {
        let plain = without_query(path);
        let query = &path[plain.len()..];
        let start = out.len();
        let mut keep_query = !self.strip_query;
        match &self.path {
            RedirectPath::Keep => out.extend_from_slice(plain),
            RedirectPath::Replace(new) => {
                out.extend_from_slice(new);
                keep_query &= !new.contains(&b'?');
            }
            RedirectPath::Prefix { matched, with } => {
                out.extend_from_slice(with);
                let matched = matched.unwrap_or(plain.len()).min(plain.len());
                out.extend_from_slice(&plain[matched..]);
            }
            RedirectPath::Regex(substitution) => out.extend_from_slice(&substitution.apply(plain)),
        }
        if out.get(start) != Some(&b'/') {
            out.insert(start, b'/');
        }
        if keep_query {
            out.extend_from_slice(query);
        }
    }
}

/// Where the port of an authority begins, its colon included; a bare IPv6 address in brackets has none.
pub(super) fn port_start(authority: &[u8]) -> Option<usize> {
    let colon = memchr::memrchr(b':', authority)?;
    let bracket = memchr::memrchr(b']', authority);
    bracket.is_none_or(|bracket| bracket < colon).then_some(colon)
}

/// The scheme that the client used, as `x-forwarded-proto` tells it or else the connection.
pub(super) fn forwarded_scheme(head: &RequestHead) -> &[u8] {
    head.headers
        .get_known(Known::ForwardedProto)
        .filter(|scheme| !scheme.is_empty())
        .unwrap_or(head.scheme.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Redirect {
        Redirect { scheme: None, keep_default_port: false, ..Redirect::to_tls() }
    }

    fn https() -> Redirect {
        Redirect { keep_default_port: false, ..Redirect::to_tls() }
    }

    fn to(path: RedirectPath) -> Redirect {
        Redirect { path, ..plain() }
    }

    fn prefix(matched: Option<usize>, with: &str) -> RedirectPath {
        RedirectPath::Prefix { matched, with: with.as_bytes().into() }
    }

    #[test]
    fn locations() {
        let replace = |path: &str| RedirectPath::Replace(path.as_bytes().into());
        let regex = RedirectPath::Regex(Substitution::new("/a/(.*)", r"/b/\1").expect("valid"));
        let cases: Vec<(Redirect, &str, &str, &str)> = vec![
            (plain(), "h:80", "/p?q", "http://h:80/p?q"),
            (Redirect::to_tls(), "h:80", "/p?q", "https://h:80/p?q"),
            (https(), "h:80", "/p", "https://h/p"),
            (https(), "h:8080", "/p", "https://h:8080/p"),
            (https(), "[::1]:80", "/", "https://[::1]/"),
            (https(), "[::1]", "/", "https://[::1]/"),
            (Redirect { port: Some(8443), ..https() }, "h:8080", "/", "https://h:8443/"),
            (Redirect { host: Some("other".into()), ..plain() }, "h:80", "/p", "http://other/p"),
            (
                Redirect { host: Some("o".into()), port: Some(1), ..plain() },
                "h",
                "/p",
                "http://o:1/p",
            ),
            (Redirect { strip_query: true, ..plain() }, "h", "/p?q", "http://h/p"),
            (to(replace("/new")), "h", "/p?q", "http://h/new?q"),
            (to(replace("/new?own")), "h", "/p?q", "http://h/new?own"),
            (
                Redirect { strip_query: true, ..to(replace("/n?own")) },
                "h",
                "/p?q",
                "http://h/n?own",
            ),
            (Redirect { strip_query: true, ..to(replace("/n")) }, "h", "/p?q", "http://h/n"),
            (to(replace("new")), "h", "/p", "http://h/new"),
            (to(prefix(Some(2), "/z")), "h", "/p/x?q", "http://h/z/x?q"),
            (to(prefix(None, "/z")), "h", "/p/x?q", "http://h/z?q"),
            (to(regex), "h", "/a/c?q", "http://h/b/c?q"),
        ];
        for (redirect, host, path, expected) in cases {
            let head = RequestHead::get(host, path, &[]);
            let location = redirect.location(&head);
            assert_eq!(String::from_utf8_lossy(&location), expected, "{redirect:?}");
        }
    }

    #[test]
    fn the_forwarded_scheme_decides_which_port_is_the_default() {
        let head = RequestHead::get("h:443", "/", &[("x-forwarded-proto", "https")]);
        let redirect = Redirect { scheme: Some("http".into()), ..plain() };
        assert_eq!(redirect.location(&head), b"http://h/");
    }
}

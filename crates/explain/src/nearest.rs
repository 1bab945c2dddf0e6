//! The nearest miss: what would have to be different for something to take what nothing took.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_pilot::model::similar::edits;
use tidegate_pilot::origins::{ChainOrigin, HostOrigins, RouteOrigin};
use tidegate_proxy::config;
use tidegate_proxy::config::listener::{Codec, HttpManager};
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::route::{Mismatch, PathMatch, Route, RouteMatch, RouteTable, VirtualHost};

use crate::answer::Error;
use crate::follow::Connection;
use crate::lost::{self, without_port};
use crate::question::{Protocol, Question, Security};
use crate::request::{RANDOM, path_asked, shown};
use crate::{World, handshake, words};

/// More differences than these are no slip of the pen.
const MOST_EDITS: usize = 3;
/// More names than these are left to the list of candidates.
const MOST_NAMES: usize = 5;

/// The server name that comes closest; else those that there are.
pub(crate) fn server_name(origins: &[ChainOrigin], question: &Question) -> Option<String> {
    let names = || origins.iter().flat_map(|o| &o.names).map(String::as_str);
    let plain = question.security == Security::Plain;
    match question.sni.as_deref().filter(|_| !plain) {
        None if plain => {
            let name = names().next();
            name.map(|name| {
                format!("TLS with server name {name} would be taken (--tls --sni {name})")
            })
        }
        None => names().next().map(|name| format!("--sni {name} would be taken")),
        Some(asked) => match closest(names(), asked) {
            Some(name) => Some(format!("server name {name} would be taken")),
            None => all(names(), "server name"),
        },
    }
}

/// What a handshake, or a rule about who is let in, would have taken.
pub(crate) fn client(error: Error, question: &Question) -> Option<String> {
    let known = !question.client_chain.is_empty();
    let wanted = match (error, question.security) {
        // What is wrong with the certificate that was given stands in the reason.
        (Error::MtlsError | Error::Denied, Security::Tls) if known => return None,
        (Error::MtlsError | Error::Denied, Security::Tls) if question.client_certificate => {
            "a certificate with one of these names would be taken (--client-cert-san NAME)"
        }
        (Error::MtlsError | Error::Denied, Security::Tls) => {
            "a client with a certificate would be let in (--client-cert yes, or the file with it)"
        }
        (Error::TlsError, Security::Plain) => "TLS would be taken (--tls)",
        (Error::ProtocolError, Security::Tls) => "plain text would be taken (http://)",
        _ => return None,
    };
    Some(wanted.to_owned())
}

/// The version of HTTP that a connection is read as, where the client speaks another.
pub(crate) fn version(
    manager: &HttpManager,
    connection: &Connection<'_>,
    question: &Question,
) -> Option<String> {
    let wanted = match (question.protocol, handshake::codec(manager, connection)?) {
        (Protocol::Tcp, _) | (_, Codec::Auto) => return None,
        (_, Codec::Http2) => "HTTP/2 would be taken (--protocol http2)",
        (_, Codec::Http1) => "HTTP/1.1 would be taken (--protocol http)",
    };
    Some(wanted.to_owned())
}

/// The host that comes closest; else those that there are.
pub(crate) fn host(table: &RouteTable, authority: &[u8]) -> Option<String> {
    let asked = shown(authority);
    let domains = || table.virtual_hosts().flat_map(|h| &h.domains).map(|d| &**d);
    match closest(domains(), without_port(&asked)) {
        Some(domain) => Some(format!("host {domain} would be taken")),
        None => all(domains(), "host"),
    }
}

/// What there is, where it is no more than can be read at a glance.
fn all<'n>(names: impl Iterator<Item = &'n str>, what: &str) -> Option<String> {
    let names: BTreeSet<&str> = names.take(MOST_NAMES + 1).collect();
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [one] => Some(format!("the only {what} that is taken is {one}")),
        [] => None,
        several if several.len() > MOST_NAMES => None,
        several => Some(format!("the {what}s that are taken are {}", several.join(", "))),
    }
}

fn closest<'n>(names: impl Iterator<Item = &'n str>, asked: &str) -> Option<&'n str> {
    let near = names.map(|name| (distance(name, asked), name)).min()?;
    (near.0 <= MOST_EDITS).then_some(near.1)
}

/// Whether what was asked for may be a name with a slip of the pen.
pub(crate) fn is_close(name: &str, asked: &str) -> bool {
    let edits = distance(name, asked);
    // Of short names like `fl.example` and `vm.example` hardly anything would be left.
    edits == 0 || edits <= MOST_EDITS && 2 * edits <= without_shared_suffix(name, asked).len()
}

/// What was asked for without the last labels that a name has, too.
fn without_shared_suffix<'a>(name: &str, asked: &'a str) -> &'a str {
    let labels = name.rsplit('.').zip(asked.rsplit('.'));
    let shared = labels.take_while(|(own, asked)| own.eq_ignore_ascii_case(asked));
    let shared: usize = shared.map(|(label, _)| label.len() + 1).sum();
    asked.get(..asked.len().saturating_sub(shared)).unwrap_or_default()
}

/// How far a name is from what was asked for.
fn distance(name: &str, asked: &str) -> usize {
    let asked = asked.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        // Its own labels against as many of what was asked.
        Some(suffix) => {
            let tail = asked.split_once('.').map_or("", |(_, tail)| tail);
            edits(suffix, tail).min(edits(suffix, &asked))
        }
        None => edits(name, &asked),
    }
}

/// The rule that comes closest: one whose path fits before others, then the one with the fewest conditions
/// that fail, then the one whose path agrees for longest.
pub(crate) fn route(
    world: &World,
    host: &VirtualHost,
    origins: &HostOrigins,
    head: &RequestHead,
) -> Option<String> {
    let rules = candidates(host.routes(), origins);
    // A request without a path (CONNECT) fits no route that asks for one, whatever it would be.
    let rules = rules
        .filter(|rule| !head.path().is_empty() || matches!(rule.matcher.path, PathMatch::Connect));
    let best = rules.min_by_key(|rule| {
        let unmet = rule.unmet(head).len() - usize::from(!rule.path_fits(head));
        (!rule.path_fits(head), unmet, Reverse(agreement(&rule.matcher, head)))
    });
    best.map(|rule| rule.told(world, host, head))
}

/// The rule that would have gone before the route that took the request, number `taken`, if the request had one thing more,
/// where that is a route for everything and so may not be the one that was meant: one whose path fits before one whose path
/// agrees for longest.
pub(crate) fn before(
    world: &World,
    host: &VirtualHost,
    origins: &HostOrigins,
    taken: usize,
    head: &RequestHead,
) -> Option<String> {
    let (earlier, later) = host.routes().split_at_checked(taken)?;
    let takes_all = |route: &RouteMatch| route.conditions.is_empty() && is_every(&route.path);
    if !later.first().is_some_and(|route| takes_all(&route.matcher)) {
        return None;
    }
    let near = candidates(earlier, origins).filter(|rule| {
        let meant = match &rule.matcher.path {
            path if rule.path_fits(head) => !is_every(path),
            // Of a pattern nobody can say whether it was meant.
            PathMatch::Regex(_) => false,
            path => is_like(head.path(), path),
        };
        meant && rule.unmet(head).len() == 1
    });
    let key =
        |rule: &Candidate<'_>| (!rule.path_fits(head), Reverse(agreement(&rule.matcher, head)));
    near.min_by_key(key).map(|rule| rule.told(world, host, head))
}

/// A rule that did not take a request.
struct Candidate<'a> {
    /// Where it stands, where an object has it.
    origin: Option<&'a RouteOrigin>,
    /// Which requests it takes.
    matcher: Cow<'a, RouteMatch>,
    /// What it asks for of the place or the caller, where that is another.
    elsewhere: Option<&'a str>,
}

/// The rules behind routes, and those that are for other places or callers.
fn candidates<'a>(
    routes: &'a [Arc<Route>],
    origins: &'a HostOrigins,
) -> impl Iterator<Item = Candidate<'a>> {
    let routes = routes.iter().enumerate();
    let routes = routes.filter(|(number, route)| !lost::is_own(route, origins, *number));
    let here = routes.map(|(number, route)| Candidate {
        origin: origins.route(number),
        matcher: Cow::Borrowed(&route.matcher),
        elsewhere: None,
    });
    let elsewhere = origins.left_out.iter().filter_map(|left_out| {
        let asked = left_out.elsewhere.as_ref()?;
        Some(Candidate {
            origin: Some(&left_out.origin),
            matcher: Cow::Owned(config::matcher(&asked.matched)?),
            elsewhere: Some(&asked.asks),
        })
    });
    here.chain(elsewhere)
}

impl Candidate<'_> {
    fn path_fits(&self, head: &RequestHead) -> bool {
        !matches!(self.matcher.mismatch(head, RANDOM), Some(Mismatch::Path(_)))
    }

    /// What a request lacks for it, in words: the path first.
    fn unmet(&self, head: &RequestHead) -> Vec<String> {
        let path = (!self.path_fits(head)).then(|| path_asked(&self.matcher.path));
        let failing = self.matcher.conditions.iter().filter(|c| !c.holds(head, RANDOM));
        let elsewhere = self.elsewhere.map(str::to_owned);
        path.into_iter().chain(failing.map(words::condition)).chain(elsewhere).collect()
    }

    /// `http[1] (FILE:LINE) would take the request with …`
    fn told(&self, world: &World, host: &VirtualHost, head: &RequestHead) -> String {
        let place = self.origin.map(|RouteOrigin { rule, .. }| {
            let source = world.source(rule);
            match (&source.file, source.line) {
                (Some(file), Some(line)) => format!("{} ({file}:{line})", rule.path),
                _ => format!("{} of {}", rule.path, rule.key),
            }
        });
        let place = place.unwrap_or_else(|| format!("a route of {}", host.name));
        format!("{place} would take the request with {}", self.unmet(head).join(" and "))
    }
}

/// Whether every path is what is asked for.
fn is_every(path: &PathMatch) -> bool {
    match path {
        PathMatch::Prefix(text) | PathMatch::SeparatedPrefix(text) => text.len() <= 1,
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => false,
    }
}

/// For how many bytes the path agrees with what a route asks for.
fn agreement(matcher: &RouteMatch, head: &RequestHead) -> usize {
    wanted(&matcher.path).map_or(0, |wanted| common(wanted, head.path()))
}

/// Whether a path that is not what is asked for is something like it: half of that or more. Of a pattern nobody can say.
pub(crate) fn is_like(path: &[u8], asked: &PathMatch) -> bool {
    match (wanted(asked), asked) {
        (Some(wanted), _) => 2 * common(wanted, path) >= wanted.len() && common(wanted, path) > 1,
        (None, asked) => matches!(asked, PathMatch::Regex(_)),
    }
}

/// The text that a path has to have or to begin with.
fn wanted(asked: &PathMatch) -> Option<&[u8]> {
    match asked {
        PathMatch::Prefix(text) | PathMatch::Exact(text) | PathMatch::SeparatedPrefix(text) => {
            Some(text)
        }
        PathMatch::Regex(_) | PathMatch::Connect => None,
    }
}

fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_found_and_strangers_are_not() {
        let names = ["api.example.com", "*.shop.com"];
        let found = |asked| closest(names.into_iter(), asked);
        assert_eq!(found("api.exmaple.com"), Some("api.example.com"));
        assert_eq!(found("API.example.con"), Some("api.example.com"));
        assert_eq!(found("www.shop.org"), Some("*.shop.com"));
        assert_eq!(found("shop.com"), Some("*.shop.com"), "a wildcard needs a label");
        assert_eq!(found("unrelated.net"), None);
    }
}

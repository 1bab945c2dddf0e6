//! The nearest miss: what would have to be different for something to take what nothing took.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use tidegate_pilot::origins::{ChainOrigin, HostOrigins};
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::route::{Mismatch, PathMatch, Route, RouteTable, VirtualHost};

use crate::World;
use crate::answer::Error;
use crate::lost::without_port;
use crate::question::{Question, Security};
use crate::request::{path_asked, shown};

/// More differences than these are no slip of the pen.
const MOST_EDITS: usize = 3;
/// More names than these are left to the list of candidates.
const MOST_NAMES: usize = 5;

/// The port that comes closest, and the others.
pub(crate) fn port(world: &World, asked: u16) -> Option<String> {
    let fronts = world.pilot.options().services.iter();
    if let Some(bound) = fronts.filter_map(|s| s.ports.get(&asked)).next() {
        return Some(format!("port {asked} of the gateway's Service leads to port {bound}"));
    }
    let mut ports: Vec<u16> = world.config.listeners.values().map(|l| l.address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    match ports.as_slice() {
        [] => Some("no Gateway that is served here opens a port".to_owned()),
        [one] => Some(format!("port {one} is the only one that is open")),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            Some(format!("open are the ports {}", several.join(", ")))
        }
    }
}

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
    let asked = asked.to_ascii_lowercase();
    let distance = |name: &str| match name.strip_prefix("*.") {
        // Its own labels against as many of what was asked.
        Some(suffix) => {
            let tail = asked.split_once('.').map_or("", |(_, tail)| tail);
            edits(suffix, tail).min(edits(suffix, &asked))
        }
        None => edits(name, &asked),
    };
    let near = names.map(|name| (distance(name), name)).min()?;
    (near.0 <= MOST_EDITS).then_some(near.1)
}

/// How many characters are to be put, taken or changed (Levenshtein).
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (l, left) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], l + 1);
        for (r, right) in right.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[r + 1];
            row[r + 1] = change.min(diagonal + 1).min(row[r] + 1);
        }
    }
    row[right.len()]
}

/// The route that comes closest: one whose path fits before others, then the one with the fewest conditions
/// that fail, then the one whose path agrees for longest.
pub(crate) fn route(
    world: &World,
    host: &VirtualHost,
    origins: &HostOrigins,
    head: &RequestHead,
    random: u64,
) -> Option<String> {
    let routes = host.routes().iter().enumerate();
    // A request without a path (CONNECT) fits no route that asks for one, whatever it would be.
    let routes = routes.filter(|(_, route)| {
        !head.path().is_empty() || matches!(route.matcher.path, PathMatch::Connect)
    });
    let best = routes.min_by_key(|(_, route)| {
        let path_fits = !matches!(route.matcher.mismatch(head, random), Some(Mismatch::Path(_)));
        (!path_fits, failing(route, head, random).len(), Reverse(agreement(route, head)))
    });
    let (number, route) = best?;
    let mut wanted = failing(route, head, random);
    if let Some(Mismatch::Path(path)) = route.matcher.mismatch(head, random) {
        wanted.insert(0, path_asked(path));
    }
    let place = origins.routes.get(number).map(|o| {
        let o = &o.rule;
        let source = world.source(o);
        match (&source.file, source.line) {
            (Some(file), Some(line)) => format!("{} ({file}:{line})", o.path),
            _ => format!("{} of {}", o.path, o.key),
        }
    });
    let place = place.unwrap_or_else(|| format!("a route of {}", host.name));
    Some(format!("{place} would take the request with {}", wanted.join(" and ")))
}

fn failing(route: &Route, head: &RequestHead, random: u64) -> Vec<String> {
    let failing = route.matcher.conditions.iter().filter(|c| !c.holds(head, random));
    failing.map(ToString::to_string).collect()
}

/// For how many bytes the path agrees with what a route asks for.
fn agreement(route: &Route, head: &RequestHead) -> usize {
    let wanted = match &route.matcher.path {
        PathMatch::Prefix(text) | PathMatch::Exact(text) | PathMatch::SeparatedPrefix(text) => text,
        PathMatch::Regex(_) | PathMatch::Connect => return 0,
    };
    wanted.iter().zip(head.path()).take_while(|(a, b)| a == b).count()
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
        assert_eq!((edits("", "abc"), edits("kitten", "sitting")), (3, 3));
    }
}

//! What a route does with a request: forward it, redirect it or answer it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::filter::Overrides;
use crate::http::RequestHead;
use crate::shares::Shares;
use crate::upstream::ClusterSlot;

use super::condition::Field;
use super::grpc;
use super::hash::HashPolicy;
use super::matcher::{RouteMatch, without_query};
use super::mirror::Mirrors;
use super::mutation::Mutations;
use super::pattern::Substitution;
use super::rate_limit::RateLimits;
use super::redirect::Redirect;
use super::retry::RetryPolicy;
use super::template::Template;

/// A route, compiled.
#[derive(Debug)]
pub struct Route {
    /// Its name, for logs; empty when it has none.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub matcher: RouteMatch,
    /// What it does.
    pub action: Action,
    /// Changes to request headers: route, virtual host and route configuration, in the order in which
    /// they apply. Those of a weighted cluster come first; see [`Target::request_headers`].
    pub request_headers: Mutations,
    /// Changes to response headers, likewise.
    pub response_headers: Mutations,
    /// What stands in for the filters' own configuration.
    pub filters: Overrides,
}

impl Route {
    /// Whether it refuses what may not go out.
    pub(super) fn denies(&self) -> bool {
        matches!(&self.action, Action::Direct(direct) if direct.denies)
    }

    /// Whether it has anything that a new form goes on with.
    pub(super) fn counts_up(&self) -> bool {
        !self.filters.is_empty()
            || matches!(&self.action, Action::Forward(forward) if forward.targets.chooses())
    }

    /// Goes on with what the form before has counted up.
    pub(super) fn go_on(&self, before: &Self) {
        self.filters.go_on(&before.filters);
        if let (Action::Forward(now), Action::Forward(before)) = (&self.action, &before.action) {
            now.targets.go_on(&before.targets);
        }
    }
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// Sends the request to a cluster.
    Forward(Box<Forward>),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Answers at once.
    Direct(Direct),
}

/// A setting that a route may leave to what stands around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inherit<T> {
    /// As configured around the route.
    #[default]
    Inherited,
    /// The route's own.
    Own(T),
}

impl<T: Copy> Inherit<T> {
    /// The value in force, given the one around.
    #[must_use]
    pub fn or(self, around: T) -> T {
        match self {
            Self::Inherited => around,
            Self::Own(value) => value,
        }
    }
}

/// Forwarding to a cluster.
#[derive(Debug)]
pub struct Forward {
    /// Where to.
    pub targets: Shares<Target>,
    /// Status when the cluster does not exist (`cluster_not_found_response_code`): 503, 404 or 500.
    pub cluster_not_found: u16,
    /// What happens to the path.
    pub path: PathRewrite,
    /// What happens to the authority.
    pub host: HostRewrite,
    /// Whether a rewritten authority is kept in `x-forwarded-host`.
    pub append_forwarded_host: bool,
    /// Time from the end of the request to the end of the response; `None` for no limit. Default 15 s.
    pub timeout: Option<Duration>,
    /// Instead of `timeout` for gRPC calls: the time that the client gives the call counts, at most this one; own
    /// `None` for whatever the client says.
    pub max_grpc_timeout: Inherit<Option<Duration>>,
    /// Time without progress in either direction, instead of the listener's; own `None` for no limit.
    pub idle_timeout: Inherit<Option<Duration>>,
    /// Longest life of a stream, instead of the listener's; own `None` for no limit.
    pub max_stream_duration: Inherit<Option<Duration>>,
    /// Upgrades, in lower case, that the route allows or forbids whatever the listener says.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// What of the request chooses the endpoint where the cluster hashes.
    pub hash: Vec<HashPolicy>,
    /// When and how often a request is sent again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Most bytes of a request's content that are kept to be sent again.
    pub keep: u64,
    /// What limits know a request by.
    pub rate_limits: RateLimits,
    /// Copies to other clusters.
    pub mirrors: Mirrors,
}

/// One cluster that a route may choose.
#[derive(Debug)]
pub struct Target {
    /// The cluster.
    pub cluster: Arc<ClusterSlot>,
    /// Changes to request headers that apply before the route's own.
    pub request_headers: Mutations,
    /// Changes to response headers, likewise.
    pub response_headers: Mutations,
    /// Authority that replaces the request's when this cluster is chosen, before the route's own rewrite.
    pub host: Option<Box<str>>,
}

/// What happens to the path of a forwarded request. The query stays.
#[derive(Clone, Debug, Default)]
pub enum PathRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// Its first `matched` bytes are replaced.
    Prefix {
        /// Bytes that the route matched; `None` for the whole path.
        matched: Option<usize>,
        /// What replaces them.
        with: Box<[u8]>,
    },
    /// Every match is replaced.
    Regex(Substitution),
}

/// What happens to the authority of a forwarded request.
#[derive(Clone, Debug, Default)]
pub enum HostRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// Replaced.
    Literal(Box<str>),
    /// Replaced by the endpoint's host name, once it is chosen; see [`Forward::name_endpoint`].
    Endpoint,
    /// Replaced by the value of a header, when it is there.
    Header(Field),
    /// Replaced by the path after a substitution.
    Path(Substitution),
}

impl Forward {
    /// The time that a request has, and whether the endpoint is told so in `grpc-timeout`.
    #[must_use]
    pub fn time_for(&self, head: &RequestHead) -> (Option<Duration>, bool) {
        match self.max_grpc_timeout {
            Inherit::Own(most) if grpc::is_call(head) => {
                let asked = grpc::timeout(head).filter(|asked| !asked.is_zero());
                let time = match (asked, most) {
                    (Some(asked), Some(most)) => Some(asked.min(most)),
                    (one, other) => one.or(other),
                };
                (time, time.is_some())
            }
            _ => (self.timeout, false),
        }
    }

    /// What the route says of an upgrade; `None` when the listener decides.
    #[must_use]
    pub fn upgrade(&self, protocol: &[u8]) -> Option<bool> {
        let found = |(name, _): &&(Box<str>, bool)| name.as_bytes().eq_ignore_ascii_case(protocol);
        self.upgrades.iter().find(found).map(|(_, allowed)| *allowed)
    }

    /// Rewrites authority and path for `target`, after the header mutations, as Envoy does. `keep` is
    /// whether the authority before is told upstream in `x-envoy-original-host`; the path before is always
    /// remembered in the head.
    pub fn rewrite(&self, head: &mut RequestHead, target: &Target, keep: bool) {
        if let Some(host) = &target.host {
            head.set_authority(host.as_bytes());
        }
        match &self.host {
            HostRewrite::Keep | HostRewrite::Endpoint => {}
            HostRewrite::Literal(host) => self.rewrite_host_to(head, host.as_bytes(), keep),
            HostRewrite::Header(field) => {
                let host = field.values(head).next().unwrap_or_default().to_vec();
                self.rewrite_host_to(head, &host, keep);
            }
            HostRewrite::Path(substitution) => {
                let host = substitution.apply(without_query(head.path()));
                self.rewrite_host_to(head, &host, keep);
            }
        }
        if let Some(path) = self.path.apply(head.path()) {
            head.rewrite_path(&path);
        }
    }

    /// Replaces the authority by the name of the endpoint that was chosen, where the route says so (`auto_host_rewrite`).
    /// `keep` is as for [`Self::rewrite`].
    pub fn name_endpoint(&self, head: &mut RequestHead, name: &str, keep: bool) {
        if matches!(self.host, HostRewrite::Endpoint) && head.authority() != name.as_bytes() {
            self.rewrite_host_to(head, name.as_bytes(), keep);
        }
    }

    /// Replaces the authority, unless `host` is empty, and keeps the one before as configured.
    fn rewrite_host_to(&self, head: &mut RequestHead, host: &[u8], keep: bool) {
        if host.is_empty() {
            return;
        }
        let before = head.authority().to_vec();
        if self.append_forwarded_host && !before.is_empty() {
            append_forwarded_host(head, &before);
        }
        if keep {
            head.headers.set(b"x-envoy-original-host", &before);
        }
        head.set_authority(host);
    }
}

/// Adds to `x-forwarded-host`, one list whatever its lines, unless its last entry says the same.
fn append_forwarded_host(head: &mut RequestHead, host: &[u8]) {
    let name = b"x-forwarded-host";
    let lines: Vec<_> = head.headers.get_all(name).filter(|line| !line.is_empty()).collect();
    let mut list = lines.join(&b',');
    if !list.is_empty() {
        if list.rsplit(|byte| *byte == b',').next() == Some(host) {
            return;
        }
        list.push(b',');
    }
    list.extend_from_slice(host);
    head.headers.set(name, &list);
}

impl PathRewrite {
    /// The path after the rewrite; `None` when it stays as it is.
    #[must_use]
    pub fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        let plain = without_query(path);
        match self {
            Self::Keep => None,
            Self::Prefix { matched, with } => {
                let matched = matched.unwrap_or(plain.len()).min(path.len());
                Some([with, &path[matched..]].concat())
            }
            Self::Regex(substitution) => {
                let mut new = substitution.apply(plain);
                new.extend_from_slice(&path[plain.len()..]);
                Some(new)
            }
        }
    }
}

/// An answer that needs no upstream.
#[derive(Clone, Debug)]
pub struct Direct {
    /// Status code.
    pub status: u16,
    /// Body; `text/plain` unless a response header mutation says otherwise.
    pub body: Bytes,
    /// What makes the body of each request instead (`body_format`).
    pub format: Option<Template>,
    /// Whether it refuses what may not go out; see [`crate::egress`].
    pub denies: bool,
    /// What makes the body in place of all that for whoever asks for a tunnel (`CONNECT`).
    pub tunnel: Option<Template>,
    /// Where it refuses: what says which of all that is described counts.
    pub bounded_by: Option<Arc<str>>,
}

impl Direct {
    /// An answer with a body that is the same for everybody.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            body: body.into(),
            format: None,
            denies: false,
            tunnel: None,
            bounded_by: None,
        }
    }

    /// The value of `location`, which Envoy adds to direct answers of 201 and 3xx: the request's own URL.
    #[must_use]
    pub fn location(&self, head: &RequestHead) -> Option<Vec<u8>> {
        let wanted = self.status == 201 || (300..400).contains(&self.status);
        let same = Redirect { scheme: None, keep_default_port: false, ..Redirect::to_tls() };
        (wanted && !head.path().is_empty()).then(|| same.location(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target {
            cluster: Arc::new(ClusterSlot::empty(0, name.into())),
            request_headers: Mutations::default(),
            response_headers: Mutations::default(),
            host: None,
        }
    }

    fn forward(path: PathRewrite, host: HostRewrite) -> Forward {
        Forward {
            targets: Shares::only(target("c")),
            cluster_not_found: 503,
            path,
            host,
            append_forwarded_host: false,
            timeout: None,
            idle_timeout: Inherit::Inherited,
            max_grpc_timeout: Inherit::Inherited,
            max_stream_duration: Inherit::Inherited,
            upgrades: Vec::new(),
            hash: Vec::new(),
            retry: None,
            keep: 0,
            rate_limits: RateLimits::default(),
            mirrors: Mirrors::default(),
        }
    }

    #[test]
    fn a_grpc_call_has_the_clients_time_up_to_the_most() {
        let second = |n| Some(Duration::from_secs(n));
        let cases = [
            // the most, content type, grpc-timeout, the time and whether it is told
            (Inherit::Inherited, "application/grpc", Some("5S"), (second(7), false)),
            (Inherit::Own(second(3)), "text/plain", Some("5S"), (second(7), false)),
            (Inherit::Own(second(3)), "application/grpc", Some("5S"), (second(3), true)),
            (Inherit::Own(second(3)), "application/grpc+proto", Some("1S"), (second(1), true)),
            (Inherit::Own(second(3)), "application/grpc", None, (second(3), true)),
            (Inherit::Own(second(3)), "application/grpc", Some("0S"), (second(3), true)),
            (Inherit::Own(None), "application/grpc", Some("5S"), (second(5), true)),
            (Inherit::Own(None), "application/grpc", None, (None, false)),
        ];
        for (most, content_type, asked, wanted) in cases {
            let mut forward = forward(PathRewrite::Keep, HostRewrite::Keep);
            (forward.timeout, forward.max_grpc_timeout) = (second(7), most);
            let mut head = head("/");
            head.headers.append(b"content-type", content_type.as_bytes());
            if let Some(asked) = asked {
                head.headers.append(b"grpc-timeout", asked.as_bytes());
            }
            assert_eq!(forward.time_for(&head), wanted, "{most:?} {content_type} {asked:?}");
        }
    }

    fn head(path: &str) -> RequestHead {
        RequestHead::get("before", path, &[])
    }

    fn rewrite(forward: &Forward, head: &mut RequestHead) {
        forward.rewrite(head, forward.targets.at(0), true);
    }

    #[test]
    fn path_rewrites_keep_the_query() {
        let prefix =
            |matched, with: &str| PathRewrite::Prefix { matched, with: with.as_bytes().into() };
        let regex = PathRewrite::Regex(Substitution::new("^/a/(.+)", r"/\1").expect("valid"));
        let cases = [
            (PathRewrite::Keep, "/a?q", "/a?q"),
            (prefix(Some(4), "/"), "/api/users?q", "//users?q"),
            (prefix(Some(5), "/"), "/api/users?q", "/users?q"),
            (prefix(None, "/z"), "/api/users?q", "/z?q"),
            (regex, "/a/b?a/c", "/b?a/c"),
        ];
        for (rewrite_path, path, expected) in cases {
            let mut head = head(path);
            rewrite(&forward(rewrite_path, HostRewrite::Keep), &mut head);
            assert_eq!(String::from_utf8_lossy(head.path()), expected);
            assert_eq!(head.original_path().is_some(), path != expected, "{path}");
        }
    }

    #[test]
    fn the_endpoint_s_name_is_taken_where_the_route_says_so() {
        for (host, expected) in [(HostRewrite::Endpoint, "named"), (HostRewrite::Keep, "before")] {
            let forward = forward(PathRewrite::Keep, host);
            let mut head = head("/");
            // Another attempt may have another endpoint, and the same one leaves it.
            for _ in 0..2 {
                forward.name_endpoint(&mut head, "named", true);
                assert_eq!(head.authority(), expected.as_bytes());
                let kept = head.headers.get(b"x-envoy-original-host");
                assert_eq!(kept, (expected == "named").then_some(&b"before"[..]));
            }
        }
    }

    #[test]
    fn host_rewrites_and_what_they_keep() {
        let path = HostRewrite::Path(Substitution::new("^/([^/]+)/.*", r"\1").expect("valid"));
        let cases = [
            (HostRewrite::Keep, "before", false),
            (HostRewrite::Endpoint, "before", false),
            (HostRewrite::Literal("after".into()), "after", true),
            (HostRewrite::Header(Field::new("X-To")), "there", true),
            (HostRewrite::Header(Field::new("x-none")), "before", false),
            (path, "first", true),
        ];
        for (host, expected, kept) in cases {
            let mut head = head("/first/second");
            head.headers.append(b"x-to", b"there");
            rewrite(&forward(PathRewrite::Keep, host), &mut head);
            assert_eq!(head.authority(), expected.as_bytes());
            assert_eq!(head.headers.get(b"x-envoy-original-host").is_some(), kept, "{expected}");
        }
    }

    #[test]
    fn the_forwarded_host_is_a_list_without_repetition() {
        let mut forward = forward(PathRewrite::Keep, HostRewrite::Literal("after".into()));
        forward.append_forwarded_host = true;
        let cases: &[(&[&str], &str)] = &[
            (&[], "before"),
            (&["x"], "x,before"),
            (&["x,before"], "x,before"),
            (&["x, before"], "x, before,before"),
            (&["x", "", "y"], "x,y,before"),
        ];
        for (there, expected) in cases {
            let mut head = head("/");
            for line in *there {
                head.headers.append(b"X-Forwarded-Host", line.as_bytes());
            }
            rewrite(&forward, &mut head);
            assert_eq!(head.headers.get(b"x-forwarded-host"), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn upgrades_and_inherited_settings() {
        let mut forward = forward(PathRewrite::Keep, HostRewrite::Keep);
        forward.upgrades.push(("websocket".into(), false));
        assert_eq!(forward.upgrade(b"WebSocket"), Some(false));
        assert_eq!(forward.upgrade(b"h2c"), None);
        assert_eq!(Inherit::Inherited.or(5), 5);
        assert_eq!(Inherit::Own(3).or(5), 3);
    }

    #[test]
    fn direct_answers_with_a_location() {
        for (status, expected) in
            [(200, None), (201, Some("http://before/p")), (302, Some("http://before/p"))]
        {
            let direct = Direct::new(status, "");
            assert_eq!(direct.location(&head("/p")).as_deref(), expected.map(str::as_bytes));
        }
    }
}

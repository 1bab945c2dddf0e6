//! Cross-origin requests (the CORS protocol of the Fetch standard): who may read answers from elsewhere.
//!
//! The filter itself does nothing: routes, virtual hosts and the route configuration say what holds, each field by itself,
//! the most specific level first. Preflights are answered here; to other answers the filter adds who may read them.

use std::borrow::Cow;

use crate::accesslog::ResponseFlags;
use crate::http::RequestHead;
use crate::http::local::LocalReply;
use crate::random::Random;
use crate::route::{Action, Fraction, Route, TextMatch};
use crate::stats::{CorsStats, Stats};

use super::{AnswerChange, Override, Passing, Step};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";

/// What one level says of cross-origin requests; what it does not say, the levels around it do. Texts are empty where they
/// say nothing.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    /// Origins that may ask.
    pub origins: Vec<TextMatch>,
    /// Methods that they may use; `*` for the one that they ask for.
    pub methods: Box<str>,
    /// Headers that they may send; `*` for those that they ask for.
    pub headers: Box<str>,
    /// Headers of answers that they may read.
    pub expose: Box<str>,
    /// For how many seconds they may remember all that.
    pub max_age: Box<str>,
    /// Whether they may send credentials.
    pub credentials: Option<bool>,
    /// Whether they may reach into private networks when they ask to.
    pub private_network: Option<bool>,
    /// Whether preflights from other origins are routed like other requests, which is the default, or answered too.
    pub forward_unmatched: Option<bool>,
    /// For which share of requests it holds; `None` for all. No other level is asked.
    pub enabled: Option<Fraction>,
    /// For which share of the others it only counts; `None` for none.
    pub shadow: Option<Fraction>,
}

impl CorsPolicy {
    /// This, and what the level around says where this says nothing.
    #[must_use]
    pub fn within(&self, around: &Self) -> Self {
        let text = |pick: fn(&Self) -> &Box<str>| {
            let own = pick(self);
            (if own.is_empty() { pick(around) } else { own }).clone()
        };
        Self {
            origins: if self.origins.is_empty() { &around.origins } else { &self.origins }.clone(),
            methods: text(|policy| &policy.methods),
            headers: text(|policy| &policy.headers),
            expose: text(|policy| &policy.expose),
            max_age: text(|policy| &policy.max_age),
            credentials: self.credentials.or(around.credentials),
            private_network: self.private_network.or(around.private_network),
            forward_unmatched: self.forward_unmatched.or(around.forward_unmatched),
            enabled: self.enabled,
            shadow: self.shadow,
        }
    }

    /// Whether requests from an origin are let in.
    #[must_use]
    pub fn allows(&self, origin: &[u8]) -> bool {
        // As in Envoy, who lets `*` in lets everybody in.
        self.origins.iter().any(|allowed| allowed.matches(b"*") || allowed.matches(origin))
    }

    /// Whether it holds for a request, or only counts it; `None` where it does neither.
    fn mode(&self, random: &Random) -> Option<Mode> {
        let hit = |share: Fraction| share.takes(random);
        if self.enabled.is_none_or(hit) {
            return Some(Mode::Enforced);
        }
        self.shadow.is_some_and(hit).then_some(Mode::Shadow)
    }

    /// What is added to the answers that an origin which is let in gets.
    pub fn tells(&self, origin: &[u8]) -> impl Iterator<Item = AnswerChange> {
        let expose = (!self.expose.is_empty()).then(|| {
            let exposed = self.expose.as_bytes().to_vec();
            AnswerChange::Set("access-control-expose-headers", exposed.into())
        });
        let credentials = (self.credentials == Some(true))
            .then(|| AnswerChange::Set(ALLOW_CREDENTIALS, b"true".into()));
        let origin = AnswerChange::Set(ALLOW_ORIGIN, origin.to_vec().into());
        expose.into_iter().chain(credentials).chain([origin])
    }

    /// The answer to a preflight from an origin that is let in or not; `None` of what goes on.
    #[must_use]
    pub fn answers(&self, head: &RequestHead, origin: &[u8], allowed: bool) -> Option<LocalReply> {
        let answered = allowed || self.forward_unmatched == Some(false);
        let preflight = preflight(head).filter(|_| answered);
        preflight.map(|_| self.answer(head, origin, allowed))
    }

    fn answer(&self, head: &RequestHead, origin: &[u8], allowed: bool) -> LocalReply {
        let mut reply = LocalReply::new(200, "", ResponseFlags::NONE, "cors_response");
        let mut say = |name, value: &[u8]| reply.headers.push((name, value.to_vec().into()));
        let asked = |name: &[u8]| head.headers.get(name).unwrap_or_default();
        let or_asked = |own: &str, name: &[u8]| match own {
            "*" => asked(name).to_vec(),
            own => own.as_bytes().to_vec(),
        };
        if allowed {
            say(ALLOW_ORIGIN, origin);
        }
        if self.credentials == Some(true) {
            say(ALLOW_CREDENTIALS, b"true");
        }
        if !self.methods.is_empty() {
            let methods = or_asked(&self.methods, b"access-control-request-method");
            say("access-control-allow-methods", &methods);
        }
        if !self.headers.is_empty() {
            let headers = or_asked(&self.headers, b"access-control-request-headers");
            say("access-control-allow-headers", &headers);
        }
        if !self.max_age.is_empty() {
            say("access-control-max-age", self.max_age.as_bytes());
        }
        let private = asked(b"access-control-request-private-network") == b"true";
        if private && self.private_network == Some(true) {
            say("access-control-allow-private-network", b"true");
        }
        reply
    }
}

enum Mode {
    Enforced,
    Shadow,
}

/// The method that a preflight asks about; `None` of other requests.
#[must_use]
pub fn preflight(head: &RequestHead) -> Option<&[u8]> {
    let asked = head.headers.get(b"access-control-request-method");
    asked.filter(|asked| !asked.is_empty() && head.is_method("OPTIONS"))
}

/// Where a request comes from; empty where it does not say. Several lines are one list, which is no origin.
#[must_use]
pub fn origin(head: &RequestHead) -> Cow<'_, [u8]> {
    let mut lines = head.headers.get_all(b"origin");
    let first = lines.next().unwrap_or_default();
    lines.fold(first.into(), |list, line| [&*list, line].join(&b',').into())
}

/// What holds for requests on a route. Only routes that forward are asked, as in Envoy.
pub(super) fn policy<'a>(
    own: Option<&'a Override>,
    route: Option<&Route>,
) -> Option<&'a CorsPolicy> {
    let forwards = route.is_some_and(|route| matches!(route.action, Action::Forward(_)));
    match own {
        Some(Override::Cors(policy)) if forwards => Some(policy),
        _ => None,
    }
}

/// Puts a request through.
pub(super) fn pass(
    own: Option<&Override>,
    request: &mut Passing<'_>,
    stats: &Stats<CorsStats>,
) -> Step {
    let Some(policy) = policy(own, request.route) else { return Step::Pass };
    let Some(mode) = policy.mode(request.random) else { return Step::Pass };
    let head = &*request.head;
    let origin = &*origin(head);
    if origin.is_empty() {
        return Step::Pass;
    }
    let allowed = policy.allows(origin);
    if allowed {
        stats.origin_valid.inc();
    } else {
        stats.origin_invalid.inc();
    }
    if matches!(mode, Mode::Shadow) {
        return Step::Pass;
    }
    if allowed {
        policy.tells(origin).for_each(|change| request.trail.change(change));
    }
    policy.answers(head, origin, allowed).map_or(Step::Pass, Step::Respond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(origins: &[&str]) -> CorsPolicy {
        let exact = |origin: &&str| TextMatch::Exact(origin.as_bytes().into());
        CorsPolicy { origins: origins.iter().map(exact).collect(), ..CorsPolicy::default() }
    }

    #[test]
    fn origins_are_matched_whole_and_a_star_lets_all_in() {
        let some = policy(&["https://a.example", "https://b.example"]);
        assert!(some.allows(b"https://b.example"));
        assert!(!some.allows(b"https://b.example.evil"));
        assert!(!policy(&[]).allows(b"https://a.example"));
        assert!(policy(&["*"]).allows(b"https://a.example"));
    }

    #[test]
    fn several_origins_are_one_list() {
        let mut head = RequestHead::default();
        assert_eq!(&*origin(&head), b"");
        for (line, all) in [("a", "a"), ("b", "a,b"), ("c", "a,b,c")] {
            head.headers.append(b"Origin", line.as_bytes());
            assert_eq!(&*origin(&head), all.as_bytes());
        }
    }

    #[test]
    fn levels_add_what_the_more_specific_one_leaves_open() {
        let inner = CorsPolicy { methods: "GET".into(), ..policy(&["https://in.example"]) };
        let outer = CorsPolicy {
            methods: "PUT".into(),
            max_age: "5".into(),
            credentials: Some(true),
            enabled: Some(Fraction::NONE),
            ..policy(&["https://out.example"])
        };
        let both = inner.within(&outer);
        assert_eq!((&*both.methods, &*both.max_age, both.credentials), ("GET", "5", Some(true)));
        assert!(both.allows(b"https://in.example") && !both.allows(b"https://out.example"));
        assert!(both.enabled.is_none(), "whether it holds at all is the inner level's matter");
        assert!(policy(&[]).within(&outer).allows(b"https://out.example"));
    }

    #[test]
    fn preflights_are_options_that_ask_about_a_method() {
        let head = |method: &str, asked: Option<&str>| {
            let mut head = RequestHead::default();
            head.set_method(method.as_bytes());
            if let Some(asked) = asked {
                head.headers.append(b"Access-Control-Request-Method", asked.as_bytes());
            }
            head
        };
        assert_eq!(preflight(&head("OPTIONS", Some("PUT"))), Some(&b"PUT"[..]));
        for (method, asked) in [("OPTIONS", None), ("OPTIONS", Some("")), ("GET", Some("PUT"))] {
            assert_eq!(preflight(&head(method, asked)), None, "{method} {asked:?}");
        }
    }
}

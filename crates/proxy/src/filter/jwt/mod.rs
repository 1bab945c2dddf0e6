//! The filter that verifies JSON Web Tokens (`envoy.filters.http.jwt_authn`).
//!
//! It is compiled once: who issues tokens, where they are looked for, and which of them a request needs. Judging is pure and
//! synchronous; what verified tokens say is noted for the filters after it, and in headers for the endpoint.
//!
//! | file | subject |
//! |---|---|
//! | `token.rs` | tokens as they are read |
//! | `keys.rs` | the keys that verify them |
//! | `locations.rs` | where in a request they are |
//! | `judge.rs` | which of them a request needs, and whether they do |
//! | `remote/` | keys that are fetched |
//! | `cache.rs` | those that were verified before |
//! | `fault.rs` | why one does not do |
//!
//! Stricter than Envoy: a header into which a provider writes never holds what the client sent, also where the provider has
//! no token in the request; of several tokens where one may be missing, each must be good.

mod cache;
mod fault;
pub mod fuzzing;
mod judge;
mod keys;
mod locations;
pub mod remote;
mod token;

pub use fault::Fault;
pub use judge::Judged;
pub use keys::KeySet;
pub use locations::{Locations, Place};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::cache::TokenCache;
use self::remote::{FetchedKeys, KeySource};
use super::{Ended, Hold, Override, Passing, Step, cors};
use crate::accesslog::ResponseFlags;
use crate::http::RequestHead;
use crate::http::local::LocalReply;
use crate::route::{RouteMatch, TextMatch};
use crate::stats::{JwtStats, Scope, Stats};

/// The name under which the filter notes what tokens say.
pub const NAME: &str = "envoy.filters.http.jwt_authn";

/// The longest part of a path that an answer repeats.
const MAX_REALM_PATH: usize = 256;

/// The filter.
#[derive(Debug)]
pub struct Jwt {
    /// Who issues tokens, in the order of their names.
    pub providers: Vec<Provider>,
    /// Where tokens of any of them are.
    pub everywhere: Locations,
    /// What requests need: the first rule that matches counts.
    pub rules: Vec<Rule>,
    /// Requirements that routes name.
    pub named: BTreeMap<Box<str>, Requirement>,
    /// Whether a CORS preflight needs nothing: browsers send no tokens with it.
    pub bypass_preflight: bool,
    /// Whether answers do not say what is wrong.
    pub silent: bool,
    /// What the names of its counters have after `jwt_authn.`.
    pub stat_prefix: Box<str>,
}

/// What requests need.
#[derive(Debug)]
pub struct Rule {
    /// Which requests.
    pub of: RouteMatch,
    /// What they need.
    pub needs: Requirement,
}

/// What a request needs.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Nothing; tokens are not looked at.
    Nothing,
    /// A good token of a provider, by its number, for one of the audiences, or (`None`) the provider's own ones.
    Of(usize, Option<Audiences>),
    /// One of these; with `spare`, or what that says.
    Any(Vec<Requirement>, Option<Spare>),
    /// All of these.
    All(Vec<Requirement>),
    /// No token at all, or as that says, with all tokens of all providers looked at.
    Spared(Spare),
}

/// What does when no token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// That there is none.
    Missing,
    /// Anything.
    Failed,
}

/// Who issues tokens.
#[derive(Debug)]
pub struct Provider {
    /// What `iss` must be; empty when anything will do.
    pub issuer: Box<str>,
    /// Whom its tokens must be for.
    pub audiences: Audiences,
    /// Whom they may be about.
    pub subjects: Option<TextMatch>,
    /// How much time may be left to them; `None` when they need not expire.
    pub longest: Option<Duration>,
    /// How far clocks may differ, seconds.
    pub skew: u64,
    /// The keys that verify them.
    pub keys: Keys,
    /// Where its tokens are.
    pub locations: Locations,
    /// What becomes of a verified token.
    pub uses: Uses,
    /// How many verified tokens a worker keeps, and how long they may be.
    pub cache: (usize, usize),
}

/// The keys of a provider.
#[derive(Clone, Debug)]
pub enum Keys {
    /// None that can be used.
    None,
    /// Keys of the configuration.
    Here(Arc<KeySet>),
    /// Keys that are fetched.
    Fetched(FetchedKeys),
}

/// What becomes of a verified token.
#[derive(Debug, Default)]
pub struct Uses {
    /// Whether it goes on to the endpoint.
    pub forward: bool,
    /// The header that its payload goes to the endpoint in, in base64url.
    pub payload_header: Option<Box<str>>,
    /// Whether that is padded.
    pub padded: bool,
    /// Headers that claims go to the endpoint in, and where in the payload these are.
    pub claim_headers: Vec<(Box<str>, Vec<Box<str>>)>,
    /// The key under which its payload is noted.
    pub payload_note: Option<Arc<str>>,
    /// The key under which its header is noted.
    pub header_note: Option<Arc<str>>,
    /// Claims that are noted as lists of the words in them.
    pub lists: Vec<Box<str>>,
    /// Whether the request is routed again with what was noted.
    pub reroutes: bool,
}

/// Whom tokens must be for; empty for anybody.
#[derive(Clone, Debug, Default)]
pub struct Audiences(Vec<Box<str>>);

impl Audiences {
    /// One of these.
    #[must_use]
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| bare(name).into()).collect())
    }

    fn take(&self, audiences: &[Box<str>]) -> bool {
        self.0.is_empty()
            || audiences.iter().any(|name| self.0.iter().any(|known| **known == *bare(name)))
    }
}

/// An audience without its scheme and a slash at its end, which do not count, as in Envoy.
fn bare(name: &str) -> &str {
    let rest = name.strip_prefix("http://").or_else(|| name.strip_prefix("https://"));
    let rest = rest.unwrap_or(name);
    rest.strip_suffix('/').unwrap_or(rest)
}

/// What a route says instead of the filter's rules.
#[derive(Clone, Debug)]
pub enum OnRoute {
    /// Tokens are not looked at.
    Off,
    /// A requirement of the filter, by its name.
    Needs(Box<str>),
}

/// The filter as one worker runs it.
#[derive(Debug)]
pub struct RunningJwt {
    jwt: Arc<Jwt>,
    counts: Stats<JwtStats>,
    /// One for each provider.
    caches: Vec<RefCell<TokenCache>>,
}

impl Jwt {
    /// The filter in the worker of `scope`, in the connection manager with a prefix of statistics.
    #[must_use]
    pub fn run(self: &Arc<Self>, scope: &Scope, manager: &str) -> RunningJwt {
        let cache = |provider: &Provider| TokenCache::new(provider.cache.0, provider.cache.1);
        RunningJwt {
            counts: scope.jwt(manager, &self.stat_prefix),
            caches: self.providers.iter().map(|provider| RefCell::new(cache(provider))).collect(),
            jwt: Arc::clone(self),
        }
    }

    /// What a request needs.
    ///
    /// # Errors
    /// Its route names what the filter does not have.
    pub fn needs(&self, head: &RequestHead, own: Option<&OnRoute>) -> Result<&Requirement, String> {
        match own {
            Some(OnRoute::Off) => Ok(&Requirement::Nothing),
            Some(OnRoute::Needs(name)) => self.named.get(name).ok_or_else(|| {
                let names: Vec<&str> = self.named.keys().map(|name| &**name).collect();
                format!("Wrong requirement_name: {name}. It should be one of [{}]", names.join(","))
            }),
            None => {
                // No part of requests is chosen by chance here.
                let rule = self.rules.iter().find(|rule| rule.of.matches(head, 0));
                Ok(rule.map_or(&Requirement::Nothing, |rule| &rule.needs))
            }
        }
    }

    /// Whether a request is the question of a browser whether it may send another one.
    #[must_use]
    pub fn is_spared(&self, head: &RequestHead) -> bool {
        self.bypass_preflight && cors::preflight(head).is_some() && !cors::origin(head).is_empty()
    }

    fn refuse(&self, head: &RequestHead, fault: Fault) -> LocalReply {
        let words = fault.to_string();
        let mut reply = LocalReply::new(fault.status(), "", ResponseFlags::NONE, "");
        reply.details = details(&words).into();
        if self.silent {
            return reply;
        }
        let error = if fault == Fault::Missing { "" } else { ", error=\"invalid_token\"" };
        let mut challenge = b"Bearer realm=\"".to_vec();
        challenge.extend(realm(head));
        challenge.extend_from_slice(b"\"");
        challenge.extend_from_slice(error.as_bytes());
        reply.headers.push(("www-authenticate", challenge.into()));
        reply.body = words.into_bytes().into();
        reply
    }

    fn misled(&self, why: &str) -> LocalReply {
        let mut reply = LocalReply::new(403, "", ResponseFlags::NONE, "");
        reply.details = details(why).into();
        if !self.silent {
            reply.body = format!("Failed JWT authentication: {why}").into_bytes().into();
        }
        reply
    }
}

/// A field of a log line ends at white space.
fn details(words: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", words.replace(' ', "_"))
}

/// What was asked for, as a quoted text may say it (RFC 9110, section 5.6.4).
fn realm(head: &RequestHead) -> impl Iterator<Item = u8> {
    let scheme = head.headers.get(b"x-forwarded-proto").unwrap_or(head.scheme.as_str().as_bytes());
    let path = head.path();
    let path = &path[..path.len().min(MAX_REALM_PATH)];
    let whole = [scheme, b"://", head.authority(), path].concat();
    whole.into_iter().filter(|byte| !matches!(byte, b'"' | b'\\'))
}

impl RunningJwt {
    /// Puts a request through.
    pub fn pass(&self, request: &mut Passing<'_>, own: Option<&Override>) -> Step {
        if self.jwt.is_spared(request.head) {
            self.counts.cors_preflight_bypassed.inc();
            self.counts.allowed.inc();
            return Step::Pass;
        }
        self.judge(request, own, true)
    }

    /// Puts a request through that has waited for keys. Where its time has run out it waits for no others.
    pub fn resume(&self, request: &mut Passing<'_>, own: Option<&Override>, with: Ended) -> Step {
        self.judge(request, own, with == Ended::Early)
    }

    fn judge(&self, request: &mut Passing<'_>, own: Option<&Override>, may_wait: bool) -> Step {
        let jwt = &*self.jwt;
        let own = match own {
            Some(Override::Jwt(own)) => Some(own),
            _ => None,
        };
        let needs = match jwt.needs(request.head, own) {
            Ok(needs) => needs,
            Err(why) => {
                self.counts.denied.inc();
                return Step::Answer(jwt.misled(&why));
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let judged = jwt.judge(needs, request.head, now, Some(&self.caches));
        if may_wait && let Some(waiting) = judged.awaits.as_ref().and_then(KeySource::wait) {
            return Step::Hold(Hold {
                time: waiting.longest(),
                flags: ResponseFlags::NONE,
                sooner: Some(waiting),
            });
        }
        self.counts.jwt_cache_hit.add(judged.cache_hits);
        self.counts.jwt_cache_miss.add(judged.cache_misses);
        for (key, value) in judged.noted {
            request.head.noted.note(NAME, key, value);
        }
        match judged.verdict {
            Ok(()) => {
                self.counts.allowed.inc();
                if judged.reroute { Step::Reroute } else { Step::Pass }
            }
            Err(fault) => {
                self.counts.denied.inc();
                Step::Answer(jwt.refuse(request.head, fault))
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Whether a request has the tokens that it needs.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::Guard;
use tokio::time::Instant;

use super::cache::TokenCache;
use super::fault::Fault;
use super::keys::KeySet;
use super::locations::{Found, Locations};
use super::remote::{Current, FetchedKeys, KeySource};
use super::token::Token;
use super::{Audiences, Jwt, Keys, Provider, Requirement, Spare};
use crate::http::RequestHead;
use crate::metadata::{Fields, Value};

/// What was judged of a request.
#[derive(Debug)]
pub struct Judged {
    /// Whether it goes on.
    pub verdict: Result<(), Fault>,
    /// The keys that have to be fetched before that can be told; the verdict is that they could not be. The request is as it
    /// was, then, to be judged again.
    pub awaits: Option<Arc<KeySource>>,
    /// What verified tokens say, by the keys under which that is to be noted.
    pub noted: Vec<(Arc<str>, Value)>,
    /// Whether it is to be routed again.
    pub reroute: bool,
    /// Tokens that were verified before.
    pub cache_hits: u64,
    /// … that were not.
    pub cache_misses: u64,
}

/// A request that is being judged.
struct Case<'c> {
    jwt: &'c Jwt,
    head: &'c mut RequestHead,
    now: u64,
    /// The moment at which keys must hold.
    moment: Option<Instant>,
    caches: Option<&'c [RefCell<TokenCache>]>,
    judged: Judged,
}

/// Why a request, or a token, does not do.
enum Stop {
    Fault(Fault),
    /// It cannot be told yet: the keys of this provider have to be fetched.
    Awaits(usize),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The keys of a provider at a moment.
enum KeysNow<'k> {
    None,
    Here(&'k Arc<KeySet>),
    Fetched(Guard<Option<Arc<Current>>>, Instant),
}

impl KeysNow<'_> {
    fn set(&self) -> Option<&Arc<KeySet>> {
        match self {
            Self::None => None,
            Self::Here(keys) => Some(keys),
            Self::Fetched(current, moment) => current.as_ref()?.keys(*moment),
        }
    }
}

impl Jwt {
    /// Judges a request at a moment, in seconds since 1970, and does with its tokens what is to be done. Without caches every
    /// token is verified.
    pub fn judge(
        &self,
        needs: &Requirement,
        head: &mut RequestHead,
        now: u64,
        caches: Option<&[RefCell<TokenCache>]>,
    ) -> Judged {
        let (noted, reroute, cache_hits, cache_misses) = Default::default();
        let judged =
            Judged { verdict: Ok(()), awaits: None, noted, reroute, cache_hits, cache_misses };
        if matches!(needs, Requirement::Nothing) {
            return judged;
        }
        let moment = self.sources().next().map(|_| Instant::now());
        let lacks = |at| self.sources().any(|keys| !keys.source().has_keys(at));
        // Tokens that are used leave the request, which may have to be judged again.
        let before = moment.filter(|at| lacks(*at)).map(|_| head.clone());
        let mut case = Case { jwt: self, head, now, moment, caches, judged };
        case.cleanse();
        let met = case.meets(needs);
        let mut judged = case.judged;
        match met {
            Ok(()) => {}
            Err(Stop::Fault(fault)) => judged.verdict = Err(fault),
            Err(Stop::Awaits(provider)) => {
                judged.verdict = Err(Fault::Fetch);
                let keys = self.providers.get(provider).and_then(Provider::fetched);
                judged.awaits = keys.map(|keys| Arc::clone(keys.source()));
                if let Some(before) = before {
                    *head = before;
                }
            }
        }
        judged
    }

    /// The keys that are fetched.
    fn sources(&self) -> impl Iterator<Item = &FetchedKeys> {
        self.providers.iter().filter_map(Provider::fetched)
    }
}

impl Provider {
    fn fetched(&self) -> Option<&FetchedKeys> {
        match &self.keys {
            Keys::Fetched(keys) => Some(keys),
            Keys::None | Keys::Here(_) => None,
        }
    }
}

impl Case<'_> {
    /// Takes what the client sent in headers that providers write out of the request.
    fn cleanse(&mut self) {
        for Provider { uses, .. } in &self.jwt.providers {
            for (name, _) in &uses.claim_headers {
                self.head.headers.remove(name.as_bytes());
            }
            if let Some(name) = &uses.payload_header {
                self.head.headers.remove(name.as_bytes());
            }
        }
    }

    fn meets(&mut self, needs: &Requirement) -> Result<(), Stop> {
        match needs {
            Requirement::Nothing => Ok(()),
            Requirement::Of(provider, audiences) => {
                let jwt = self.jwt;
                let of = jwt.providers.get(*provider).ok_or(Fault::Issuer)?;
                let audiences = audiences.as_ref().unwrap_or(&of.audiences);
                self.all_tokens(&of.locations, Some((*provider, audiences)), None)
            }
            Requirement::All(parts) => parts.iter().try_for_each(|part| self.meets(part)),
            Requirement::Any(parts, spare) => {
                let (mut why, mut awaits) = (Fault::Missing, None);
                for part in parts {
                    match self.meets(part) {
                        Ok(()) => return Ok(()),
                        Err(Stop::Fault(fault)) => why = weightier(why, fault),
                        Err(Stop::Awaits(provider)) => awaits = awaits.or(Some(provider)),
                    }
                }
                match (awaits, spare) {
                    (Some(provider), _) => Err(Stop::Awaits(provider)),
                    (None, Some(Spare::Failed)) => Ok(()),
                    (None, Some(Spare::Missing)) if why == Fault::Missing => Ok(()),
                    _ => Err(why.into()),
                }
            }
            Requirement::Spared(spare) => {
                let jwt = self.jwt;
                self.all_tokens(&jwt.everywhere, None, Some(*spare))
            }
        }
    }

    /// Judges all tokens in some places: each must be good, as an endpoint may look at any of them.
    fn all_tokens(
        &mut self,
        places: &Locations,
        of: Option<(usize, &Audiences)>,
        spare: Option<Spare>,
    ) -> Result<(), Stop> {
        let judge = |case: &mut Self| {
            let found = places.find(case.head)?;
            if found.is_empty() && spare.is_none() {
                return Err(Stop::Fault(Fault::Missing));
            }
            for found in &found {
                match case.token(found, of) {
                    Err(Stop::Fault(_)) if spare == Some(Spare::Failed) => {}
                    judged => judged?,
                }
            }
            Ok(())
        };
        match judge(self) {
            Err(Stop::Fault(_)) if spare == Some(Spare::Failed) => Ok(()),
            judged => judged,
        }
    }

    /// Judges one token, and uses it if it is good.
    fn token(&mut self, found: &Found<'_>, of: Option<(usize, &Audiences)>) -> Result<(), Stop> {
        let jwt = self.jwt;
        let known = of.and_then(|(number, _)| self.known(number, &found.text));
        let verified = known.is_some();
        let token = match known {
            Some(token) => token,
            None => Arc::new(Token::parse(&found.text)?),
        };
        if !found.location.takes(&token.issuer) {
            return Err(Stop::Fault(Fault::Issuer));
        }
        let number = match of {
            Some((number, _)) => number,
            None => self.provider_of(&token.issuer).ok_or(Fault::Issuer)?,
        };
        let provider = jwt.providers.get(number).ok_or(Fault::Issuer)?;
        let audiences = of.map_or(&provider.audiences, |(_, audiences)| audiences);
        self.admissible(&token, provider, audiences)?;
        if !verified {
            let keys = self.keys(provider);
            let lacking = || match provider.fetched() {
                Some(_) => Stop::Awaits(number),
                None => Stop::Fault(Fault::NoKeys),
            };
            let keys = keys.set().ok_or_else(lacking)?;
            keys.verify(&token, &found.text)?;
            if let (Some(caches), Some(_)) = (self.caches, of)
                && let Some(cache) = caches.get(number)
            {
                cache.borrow_mut().insert(&found.text, &token);
            }
        }
        self.use_token(&token, provider, found);
        Ok(())
    }

    /// The token, if this worker has verified it with the keys that the provider has now.
    fn known(&mut self, provider: usize, text: &[u8]) -> Option<Arc<Token>> {
        let keys = self.keys(self.jwt.providers.get(provider)?);
        let cache = self.caches?.get(provider)?;
        let known = keys.set().and_then(|keys| cache.borrow_mut().get(text, keys));
        match known {
            Some(_) => self.judged.cache_hits += 1,
            None => self.judged.cache_misses += 1,
        }
        known
    }

    /// The keys of a provider now, of which a token makes use.
    fn keys<'p>(&self, provider: &'p Provider) -> KeysNow<'p> {
        match (&provider.keys, self.moment) {
            (Keys::Here(keys), _) => KeysNow::Here(keys),
            (Keys::Fetched(keys), Some(moment)) => {
                keys.source().note_use();
                KeysNow::Fetched(keys.source().current(), moment)
            }
            (Keys::None, _) | (Keys::Fetched(_), None) => KeysNow::None,
        }
    }

    /// The provider of an issuer's tokens, else the first that takes those of all.
    fn provider_of(&self, issuer: &str) -> Option<usize> {
        let find = |issuer: &str| {
            let mut providers = self.jwt.providers.iter();
            providers.position(|provider| *provider.issuer == *issuer)
        };
        find(issuer).or_else(|| find(""))
    }

    /// Whether a token may be used now, and here, if it is genuine.
    fn admissible(
        &self,
        token: &Token,
        provider: &Provider,
        audiences: &Audiences,
    ) -> Result<(), Fault> {
        if let Some(subjects) = &provider.subjects
            && !subjects.matches(token.subject.as_bytes())
        {
            return Err(Fault::Verification);
        }
        let now = self.now;
        if token.not_before.is_some_and(|start| now.saturating_add(provider.skew) < start) {
            return Err(Fault::NotYetValid);
        }
        if token.expires.is_some_and(|end| now > end.saturating_add(provider.skew)) {
            return Err(Fault::Expired);
        }
        if let Some(longest) = provider.longest {
            let left = token.expires.map(|end| end.saturating_sub(now));
            if left.is_none_or(|left| left >= longest.as_secs()) {
                return Err(Fault::Verification);
            }
        }
        if audiences.take(&token.audiences) { Ok(()) } else { Err(Fault::Audience) }
    }

    /// Tells the endpoint, the filters that follow and the routes what a verified token says.
    fn use_token(&mut self, token: &Token, provider: &Provider, found: &Found<'_>) {
        let uses = &provider.uses;
        if let Some(name) = &uses.payload_header {
            let mut text = token.written_payload.trim_end_matches('=').to_owned();
            while uses.padded && !text.len().is_multiple_of(4) {
                text.push('=');
            }
            self.head.headers.append(name.as_bytes(), text.as_bytes());
        }
        let mut told = false;
        for (name, path) in &uses.claim_headers {
            if let Some(text) = token.payload.at(path).and_then(as_header) {
                self.head.headers.append(name.as_bytes(), text.as_bytes());
                told = true;
            }
        }
        if !uses.forward {
            found.location.remove(self.head);
        }
        if let Some(key) = &uses.header_note {
            self.judged.noted.push((Arc::clone(key), Value::Map(Arc::clone(&token.header))));
        }
        if let Some(key) = &uses.payload_note {
            let payload = token.noted.get_or_init(|| with_lists(&token.payload, &uses.lists));
            self.judged.noted.push((Arc::clone(key), Value::Map(Arc::clone(payload))));
        }
        self.judged.reroute |= uses.reroutes && (told || uses.payload_note.is_some());
    }
}

/// Which of two faults tells more: that a token is missing, or somebody else's, tells least.
fn weightier(before: Fault, now: Fault) -> Fault {
    let light = |fault| matches!(fault, Fault::Missing | Fault::Issuer);
    if !light(now) || before == Fault::Missing { now } else { before }
}

/// A claim as a header has it; lists and objects as base64 of their JSON. `None` for what is empty, and for what would
/// end the line.
fn as_header(claim: &Value) -> Option<String> {
    use base64::Engine as _;
    let text = match claim {
        Value::Text(text) => text.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number)
            if *number < 0.0 || *number >= u64::MAX as f64 || number.fract() != 0.0 =>
        {
            format!("{number:.6}")
        }
        Value::Number(number) => (*number as u64).to_string(),
        Value::List(_) | Value::Map(_) => {
            base64::engine::general_purpose::STANDARD.encode(claim.to_string())
        }
        Value::Null => return None,
    };
    let fit =
        !text.is_empty() && !text.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f);
    fit.then_some(text)
}

/// The payload with some claims as lists of the words in them.
fn with_lists(payload: &Arc<Fields>, lists: &[Box<str>]) -> Arc<Fields> {
    let is_list = |name: &str| lists.iter().any(|list| **list == *name);
    if !payload.iter().any(|(name, value)| value.as_text().is_some() && is_list(name)) {
        return Arc::clone(payload);
    }
    let words = |text: &str| {
        let words = text.split(' ').filter(|word| !word.is_empty());
        Value::List(words.map(|word| Value::Text(word.into())).collect())
    };
    Arc::new(payload.with(|name, value| value.as_text().filter(|_| is_list(name)).map(words)))
}

//! What AuthorizationPolicies make of a request or a connection: which of them denies it, which allows it, and why those
//! that would allow something else do not allow this.

use std::net::SocketAddr;

use tidegate_api::istio::AuthorizationPolicy;
use tidegate_api::{Kind, ObjectKey, Spec};
use tidegate_pilot::compile::authorization::{self, Asks};
use tidegate_pilot::origins::Origin;
use tidegate_proxy::filter::jwt;
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::rbac::{Action, Asked, Policy, RuleSet, Rules};
use tidegate_xds::ResourceType;

use crate::World;
use crate::answer::{Answer, Judged};
use crate::question::Question;
use crate::request::shown;

impl World {
    /// Tells what policies of a listener make of something.
    ///
    /// # Errors
    /// Why they do not let it pass, in words.
    pub(crate) fn judge(
        &self,
        listener: &str,
        set: &RuleSet,
        (asked, question): (&Asked<'_>, &Question),
        answer: &mut Answer,
    ) -> Result<(), String> {
        let behind = self.behind(ResourceType::Listener, listener);
        let told = |verdict: &'static str, policy: &str| Judged {
            verdict,
            unmet: Vec::new(),
            from: authorization::origin(policy).iter().map(|o| behind.source(o)).collect(),
        };
        if let Some(rules) = &set.shadow
            && let Some(policy) = rules.matching(asked)
        {
            let verdict = match rules.action() {
                Action::Allow => "would allow it, and is only tried out",
                Action::Deny => "would deny it, and is only tried out",
                Action::Log => "notes it",
            };
            answer.policies.push(told(verdict, policy));
        }
        let Some(rules) = &set.rules else { return Ok(()) };
        let matching = rules.matching(asked);
        let verdict = match rules.action() {
            Action::Allow => "allows it",
            Action::Deny => "denies it",
            Action::Log => "notes it",
        };
        answer.policies.extend(matching.map(|policy| told(verdict, policy)));
        if question.client_address.is_none() {
            answer.notes.extend(address_decides(rules, asked));
        }
        match (rules.action(), matching) {
            (Action::Deny, Some(policy)) => Err(match authorization::origin(policy) {
                Some(Origin { key, .. }) if behind.pilot().closed_by(&key) => format!(
                    "{key} cannot be read, and what it asks for is not known: until it is right or gone everything is refused"
                ),
                Some(origin) => format!("{} denies it", origin.key),
                None => format!("the policy {policy} denies it"),
            }),
            (Action::Allow, None) => {
                let others = behind.pilot().allowing();
                answer.policies.extend(others.map(|key| behind.unmet(key, rules, asked)));
                answer.lost.extend(behind.elsewhere());
                Err("no AuthorizationPolicy allows it".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Why a policy that allows does not allow something.
    fn unmet(&self, key: &ObjectKey, rules: &Rules, asked: &Asked<'_>) -> Judged {
        let from = vec![self.whole(key.clone())];
        let Some(Spec::AuthorizationPolicy(spec)) = self.object(key).map(|object| &object.spec)
        else {
            return Judged { verdict: "allows something else", unmet: Vec::new(), from };
        };
        if spec.rules.is_empty() {
            return Judged { verdict: "allows nothing: it has no rules", unmet: Vec::new(), from };
        }
        let own = rules.policies().filter_map(|policy| {
            let origin =
                authorization::origin(policy.name()).filter(|origin| origin.key == *key)?;
            let number =
                origin.path.strip_prefix("spec.rules[")?.strip_suffix(']')?.parse().ok()?;
            Some(self.unmet_rule((key, spec, number), policy, asked))
        });
        let mut unmet: Vec<String> = own.flatten().collect();
        let standing = self.pilot.standing(key);
        unmet.extend(standing.and_then(|standing| standing.fault.clone()));
        Judged { verdict: "allows something else", unmet, from }
    }

    /// The conditions of one rule that do not hold.
    fn unmet_rule(
        &self,
        (key, spec, number): (&ObjectKey, &AuthorizationPolicy, usize),
        policy: &Policy,
        asked: &Asked<'_>,
    ) -> Vec<String> {
        let of_requests = asked.head.is_some();
        let Some(conditions) = authorization::conditions(key, spec, number, of_requests) else {
            return Vec::new();
        };
        let mut unmet: Vec<String> = Vec::new();
        let [permissions, principals] = policy.unmet(asked);
        for (failing, asks) in
            [(permissions, &conditions.permissions), (principals, &conditions.principals)]
        {
            // One of them is enough.
            if failing.iter().any(Vec::is_empty) {
                continue;
            }
            for (failing, asks) in failing.iter().zip(asks) {
                let failing = failing.iter().filter_map(|number| asks.get(*number));
                for asks in failing {
                    let words = self.failing(key, asks, asked);
                    if !unmet.contains(&words) {
                        unmet.push(words);
                    }
                }
            }
        }
        unmet
    }

    fn failing(&self, key: &ObjectKey, asks: &Asks, asked: &Asked<'_>) -> String {
        let Asks { path, what, values } = asks;
        let line = self.source(&Origin::new(key.clone(), path)).line;
        let line = line.map_or_else(String::new, |line| format!(" (line {line})"));
        let field = path.rsplit('.').next().unwrap_or(path);
        let none = if field.starts_with("not") { "none of " } else { "" };
        let of = if field.ends_with("alues") { format!("{what} ") } else { String::new() };
        format!("{path}{line} asks for {of}{none}{}; {}", values.join(" or "), has(what, asked))
    }

    /// Policies that are for other workloads, and would allow something if they were for this one.
    fn elsewhere(&self) -> Vec<crate::answer::Lost> {
        use tidegate_pilot::status::{Force, Standing};
        let lost = self.keys(Kind::AuthorizationPolicy).filter_map(|key| {
            let Some(Standing { force: Force::Nothing { message, .. }, .. }) =
                self.pilot.standing(key)
            else {
                return None;
            };
            Some(crate::answer::Lost::object(self.whole(key.clone()), message.clone()))
        });
        lost.collect()
    }
}

/// Says where the client's address decides, which the question does not say: some other would be judged otherwise.
fn address_decides(rules: &Rules, asked: &Asked<'_>) -> Option<String> {
    let own = asked.peer.ip();
    let passes = rules.judge(asked).is_ok();
    let networks = rules.networks().into_iter();
    let other = networks.map(|net| net.address()).find(|address| {
        let peer = SocketAddr::new(*address, asked.peer.port());
        // What a header says of the client stays.
        let remote = if asked.remote == own { *address } else { asked.remote };
        rules.judge(&Asked { peer, remote, ..*asked }).is_ok() != passes
    })?;
    let becomes = if passes { "refused" } else { "let through" };
    Some(format!(
        "the client's address decides: it is taken to be {own}, as none is given; from {other} it would be {becomes} here \
         (--client-address {other})"
    ))
}

/// What a request or a connection has of what a condition looks at.
fn has(what: &str, asked: &Asked<'_>) -> String {
    let bare = what.strip_prefix("not").unwrap_or(what);
    let mut letters = bare.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    let bare: String = first.into_iter().chain(letters).collect();
    let of = |pick: fn(&RequestHead) -> String| asked.head.map(pick);
    let found = match bare.as_str() {
        "methods" => of(|head| format!("the method is {}", shown(head.method()))),
        "hosts" => of(|head| format!("the host is {}", shown(head.authority()))),
        "paths" => of(|head| {
            let path = shown(head.path());
            format!("the path is {}", path.split(['?', '#']).next().unwrap_or_default())
        }),
        "ports" | "destination.port" => Some(format!("the port is {}", asked.local.port())),
        "destination.ip" => Some(format!("the address is {}", asked.local.ip())),
        "ipBlocks" | "source.ip" => Some(format!("the peer's address is {}", asked.peer.ip())),
        "remoteIpBlocks" | "remote.ip" => Some(format!("the client's address is {}", asked.remote)),
        "connection.sni" => Some(match asked.server_name {
            Some(name) => format!("the server name is {name}"),
            None => "no server name is asked for".to_owned(),
        }),
        "requestPrincipals" => Some(principal(asked)),
        token if token.starts_with("request.auth.") => Some(principal(asked)),
        header if header.starts_with("request.headers[") => {
            let name = header.trim_start_matches("request.headers[").trim_end_matches(']');
            asked.head.map(|head| match head.headers.get(name.to_ascii_lowercase().as_bytes()) {
                Some(value) => format!("the request has {}", shown(value)),
                None => "the request has none".to_owned(),
            })
        }
        _ => Some(certificate(asked)),
    };
    found.unwrap_or_else(|| "a connection has nothing of the kind".to_owned())
}

/// Whose token was verified.
fn principal(asked: &Asked<'_>) -> String {
    let claim = |name: &str| {
        let path = ["payload", name].map(Box::from);
        asked.head?.noted.get(jwt::NAME, &path)?.as_text().map(str::to_owned)
    };
    match (claim("iss"), claim("sub")) {
        (None, None) => "the request has no verified token".to_owned(),
        (issuer, subject) => {
            let (issuer, subject) = (issuer.unwrap_or_default(), subject.unwrap_or_default());
            format!("its verified token is of {issuer}/{subject}, and says otherwise")
        }
    }
}

/// Whose certificate was verified.
fn certificate(asked: &Asked<'_>) -> String {
    let peer = asked.tls.and_then(|tls| tls.peer.as_ref()).filter(|peer| peer.verified);
    match peer {
        None => "the client shows no verified certificate".to_owned(),
        Some(peer) => {
            let names = peer.leaf.uris.iter().chain(&peer.leaf.dns_names);
            let names: Vec<&str> = names.map(|name| &**name).collect();
            format!("the client's certificate is for {}", names.join(", "))
        }
    }
}

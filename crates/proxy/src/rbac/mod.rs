//! Role-based access control: who may do what.
//!
//! Rules are compiled when a resource is applied. Judging is pure, synchronous and allocates nothing. The filters
//! of both levels share it: [`HttpRbac`] judges requests, [`NetworkRbac`] connections.
//!
//! | file | subject |
//! |---|---|
//! | `rule.rs` | one condition on a request or a connection |
//!
//! Stricter than Envoy: a principal name is compared with certificates that were verified only.

mod rule;

pub use rule::{Asked, Rule};

use std::sync::Arc;

use crate::config::chains::Net;
use crate::metadata::{Metadata, Value};
use crate::stats::{RbacShadowStats, RbacStats, Scope, Stats};

/// What policies do with what they match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Only what a policy matches passes.
    Allow,
    /// What a policy matches does not pass.
    Deny,
    /// Everything passes, and what a policy matches is noted.
    Log,
}

/// A policy: it matches if one of its permissions and one of its principals hold.
#[derive(Debug)]
pub struct Policy {
    name: Box<str>,
    /// What a denial by it is called in logs.
    details: Arc<str>,
    permissions: Vec<Rule>,
    principals: Vec<Rule>,
}

/// Policies, and what they do.
#[derive(Debug)]
pub struct Rules {
    action: Action,
    /// In the order of their names.
    policies: Vec<Policy>,
    /// What a denial without a policy is called.
    unmatched: Arc<str>,
}

/// Rules that are enforced, and others that are only counted.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// Enforced; without them everything passes and nothing is counted.
    pub rules: Option<Rules>,
    /// Counted as if they were enforced.
    pub shadow: Option<Rules>,
}

/// The HTTP filter.
#[derive(Debug)]
pub struct HttpRbac {
    /// Its rules, where no route says otherwise.
    pub set: RuleSet,
    /// What the names of its counters are prefixed with: enforced, then shadow.
    pub stat_prefixes: [Box<str>; 2],
}

/// The network filter.
#[derive(Debug)]
pub struct NetworkRbac {
    /// Its rules.
    pub set: RuleSet,
    /// Whether they look at what only a handshake tells.
    pub needs_handshake: bool,
    /// Whether they look at the server name.
    pub needs_server_name: bool,
    /// What the names of its counters begin with.
    pub stat_prefix: Box<str>,
    /// What those of its shadow rules have in addition.
    pub shadow_stat_prefix: Box<str>,
}

/// What one worker counts of a filter, and notes of requests.
#[derive(Clone, Debug)]
pub struct Counts {
    enforced: Stats<RbacStats>,
    shadow: Stats<RbacShadowStats>,
    /// The worker's own, as each note counts a reference.
    hint: Arc<str>,
}

/// Under which name filters note what is nobody's own, as in Envoy.
const COMMON: &str = "envoy.common";
/// The key of whether a policy of the action LOG matches.
const HINT: &str = "access_log_hint";

impl Counts {
    /// Those of an HTTP filter in the connection manager of this prefix.
    #[must_use]
    pub fn of_http(scope: &Scope, manager: &str, filter: &HttpRbac) -> Self {
        let [enforced, shadow] = &filter.stat_prefixes;
        Self {
            enforced: scope.http_rbac(manager, enforced),
            shadow: scope.http_rbac_shadow(manager, shadow),
            hint: HINT.into(),
        }
    }

    /// Those of a network filter.
    #[must_use]
    pub fn of_network(scope: &Scope, filter: &NetworkRbac) -> Self {
        Self {
            enforced: scope.network_rbac(&filter.stat_prefix),
            shadow: scope.network_rbac_shadow(&filter.stat_prefix, &filter.shadow_stat_prefix),
            hint: HINT.into(),
        }
    }

    /// Notes of a request whether a policy of the action LOG matches it, for filters and routes that come after.
    pub fn note(&self, of: &mut Metadata, matches: bool) {
        of.note(COMMON, Arc::clone(&self.hint), Value::Bool(matches));
    }
}

/// Something was denied; why, as Envoy's response code details write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(pub Arc<str>);

impl Policy {
    /// A policy of a name.
    #[must_use]
    pub fn new(name: &str, permissions: Vec<Rule>, principals: Vec<Rule>) -> Self {
        // A field of a log line ends at white space.
        let shown = name.replace([' ', '\t', '\n', '\r', '\x0b', '\x0c'], "_");
        Self { name: name.into(), details: details(&shown), permissions, principals }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What keeps it from matching: of each of its permissions, and of each of its principals, the numbers of the parts that
    /// do not hold. One without such parts holds.
    #[must_use]
    pub fn unmet(&self, asked: &Asked<'_>) -> [Vec<Vec<usize>>; 2] {
        [&self.permissions, &self.principals]
            .map(|rules| rules.iter().map(|rule| rule.unmet(asked)).collect())
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        let one = |rules: &[Rule]| rules.iter().any(|rule| rule.holds(asked));
        one(&self.permissions) && one(&self.principals)
    }
}

fn details(policy: &str) -> Arc<str> {
    format!("rbac_access_denied_matched_policy[{policy}]").into()
}

impl Rules {
    /// Rules; policies are looked at in the order of their names.
    #[must_use]
    pub fn new(action: Action, policies: Vec<Policy>) -> Self {
        Self { action, policies, unmatched: details("none") }
    }

    /// Whether it passes.
    ///
    /// # Errors
    /// It does not.
    pub fn judge(&self, asked: &Asked<'_>) -> Result<(), Denied> {
        match self.action {
            Action::Log => Ok(()),
            Action::Allow => match self.first(asked) {
                Some(_) => Ok(()),
                None => Err(Denied(Arc::clone(&self.unmatched))),
            },
            Action::Deny => match self.first(asked) {
                Some(policy) => Err(Denied(Arc::clone(&policy.details))),
                None => Ok(()),
            },
        }
    }

    fn first(&self, asked: &Asked<'_>) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.matches(asked))
    }

    /// What becomes of what a policy matches.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The name of the first policy that matches.
    #[must_use]
    pub fn matching(&self, asked: &Asked<'_>) -> Option<&str> {
        self.first(asked).map(|policy| &*policy.name)
    }

    /// The policies, in the order of their names.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }

    /// The networks that rules ask for of the address of the peer or the client.
    #[must_use]
    pub fn networks(&self) -> Vec<Net> {
        let mut networks = Vec::new();
        for policy in &self.policies {
            for rule in policy.permissions.iter().chain(&policy.principals) {
                rule.networks(&mut networks);
            }
        }
        networks
    }

    /// Whether some rule is as asked for, or has one in it that is.
    fn has(&self, wanted: fn(&Rule) -> bool) -> bool {
        let rules = |policy: &Policy| {
            policy.permissions.iter().chain(&policy.principals).any(|rule| rule.has(wanted))
        };
        self.policies.iter().any(rules)
    }
}

impl RuleSet {
    /// Whether it passes the rules that are enforced; and where their action is LOG, whether one matches.
    ///
    /// # Errors
    /// It does not.
    pub fn judge(&self, asked: &Asked<'_>, counts: &Counts) -> Result<Option<bool>, Denied> {
        if let Some(rules) = &self.shadow {
            let Counts { shadow, .. } = counts;
            let passes = rules.judge(asked).is_ok();
            (if passes { &shadow.allowed } else { &shadow.denied }).inc();
        }
        let Some(rules) = &self.rules else { return Ok(None) };
        let verdict = rules.judge(asked);
        let Counts { enforced, .. } = counts;
        (if verdict.is_ok() { &enforced.allowed } else { &enforced.denied }).inc();
        let logs = (rules.action == Action::Log).then(|| rules.first(asked).is_some());
        if logs == Some(true) {
            enforced.logged.inc();
        }
        verdict.map(|()| logs)
    }

    /// Whether a rule looks at what only a handshake tells.
    #[must_use]
    pub fn needs_handshake(&self) -> bool {
        self.has(|rule| matches!(rule, Rule::Authenticated(_)))
    }

    /// Whether a rule looks at the server name.
    #[must_use]
    pub fn needs_server_name(&self) -> bool {
        self.has(|rule| matches!(rule, Rule::ServerName(_)))
    }

    fn has(&self, wanted: fn(&Rule) -> bool) -> bool {
        self.rules.iter().chain(&self.shadow).any(|rules| rules.has(wanted))
    }
}

#[cfg(test)]
mod tests;

//! AuthorizationPolicies as filters of role-based access control, as Istio writes them.
//!
//! One filter per action, in the order in which actions are asked: CUSTOM, AUDIT, DENY, ALLOW; each rule is a policy of
//! its own, whose name leads back to the object ([`origin`]). Requests and connections have filters of their own.
//!
//! What cannot be compiled closes: a rule that allows is left out, and one that denies asks for less and so denies more.
//! So it is with what only requests have, where connections are judged. CUSTOM refuses what its rules match, as long as
//! nobody can be asked.

mod aliases;
mod rule;

use std::collections::BTreeMap;

use tidegate_api::istio::AuthorizationPolicy;
use tidegate_api::istio::authorization_policy::Action;
use tidegate_api::{Kind, ObjectKey};
use tidegate_envoy::any;
use tidegate_envoy::v3::hcm::HttpFilter;
use tidegate_envoy::v3::http_rbac::Rbac as HttpRbac;
use tidegate_envoy::v3::listener::{Filter, filter};
use tidegate_envoy::v3::network_rbac::Rbac as NetworkRbac;
use tidegate_envoy::v3::rbac::{self, Permission, Principal, Rbac};

pub use self::rule::{Asks, Conditions};

use self::rule::{Level, Term};
use crate::compile::http_filter;
use crate::model::authorization::{Policies, Policy};
use crate::origins::Origin;

/// The filters for requests.
pub const HTTP_FILTER: &str = "envoy.filters.http.rbac";
/// What the counters of the filters for connections begin with.
pub const STAT_PREFIX: &str = "tcp.";

/// What the filters of policies that are tried out count with, as in Istio.
const ALLOW_SHADOW_PREFIX: &str = "istio_dry_run_allow_";
const DENY_SHADOW_PREFIX: &str = "istio_dry_run_deny_";

/// What the AuthorizationPolicies of a gateway come to.
#[derive(Debug, Default, PartialEq)]
pub struct Authorization {
    /// What judges requests.
    pub requests: Vec<HttpFilter>,
    /// What judges connections that carry no requests to look at.
    pub connections: Vec<Filter>,
    /// What of policies is not in force as it is written, in words.
    pub faults: BTreeMap<ObjectKey, Vec<String>>,
}

/// Rules of one action, on their way into one filter.
struct Rules {
    enforced: Option<Rbac>,
    shadow: Option<Rbac>,
}

/// Compiles all policies that hold.
#[must_use]
pub fn compile(policies: &Policies, domains: &[String]) -> Authorization {
    let mut compiled = Authorization::default();
    for action in [Action::Custom, Action::Audit, Action::Deny, Action::Allow] {
        for level in [Level::Requests, Level::Connections] {
            let Some(rules) = of_action(action, level, policies, domains, &mut compiled.faults)
            else {
                continue;
            };
            match level {
                Level::Requests => compiled.requests.push(rules.for_requests()),
                Level::Connections => compiled.connections.push(rules.for_connections()),
            }
        }
    }
    compiled
}

/// The conditions that a rule of a policy was compiled from, for requests or for connections; `None` where it is left out.
#[must_use]
pub fn conditions(
    key: &ObjectKey,
    spec: &AuthorizationPolicy,
    number: usize,
    of_requests: bool,
) -> Option<Conditions> {
    let level = if of_requests { Level::Requests } else { Level::Connections };
    let rule = spec.rules.get(number)?;
    // How often a name is asked for is no part of that.
    let place = (&*key.namespace, &[][..]);
    let compiled = rule::compile(rule, number, level, spec.action, place, &mut Vec::new())?;
    Some(compiled.1)
}

/// The place that a policy of our filters comes from, by the name of the policy: a rule, or a whole object.
#[must_use]
pub fn origin(policy: &str) -> Option<Origin> {
    let (_, rest) = policy.split_once("ns[")?;
    let (namespace, rest) = rest.split_once("]-")?;
    let (kind, rest) = rest.split_once('[')?;
    let kind = match kind {
        "policy" => Kind::AuthorizationPolicy,
        "tokens" => Kind::RequestAuthentication,
        _ => return None,
    };
    let (name, rest) = rest.split_once(']')?;
    let key = ObjectKey::new(kind, namespace, name);
    let rule = rest.strip_prefix("-rule[").and_then(|rest| rest.split(']').next());
    let path = rule.map_or_else(|| "spec".to_owned(), |rule| format!("spec.rules[{rule}]"));
    Some(Origin { key, path })
}

fn of_action(
    action: Action,
    level: Level,
    policies: &Policies,
    domains: &[String],
    faults: &mut BTreeMap<ObjectKey, Vec<String>>,
) -> Option<Rules> {
    let mut rules = Rules { enforced: None, shadow: None };
    if action == Action::Deny {
        for key in policies.unreadable() {
            let name = match key.kind {
                Kind::RequestAuthentication => {
                    format!("ns[{}]-tokens[{}]-unreadable", key.namespace, key.name)
                }
                _ => format!("{}-unreadable", prefix(key)),
            };
            let everything = policy(vec![Permission::any()], vec![Principal::any()]);
            add(rules.enforced.get_or_insert_with(|| none(action)), name, everything);
        }
    }
    for policy in policies.here().filter(|policy| policy.spec.action == action) {
        let place = if policy.dry_run { &mut rules.shadow } else { &mut rules.enforced };
        let place = place.get_or_insert_with(|| none(action));
        for (name, compiled) in of_policy(policy, level, domains, faults) {
            add(place, name, compiled);
        }
    }
    (rules.enforced.is_some() || rules.shadow.is_some()).then_some(rules)
}

/// The rules of a policy by their names; without rules, one that never matches.
fn of_policy(
    policy: &Policy,
    level: Level,
    domains: &[String],
    faults: &mut BTreeMap<ObjectKey, Vec<String>>,
) -> Vec<(String, rbac::Policy)> {
    let Policy { key, spec, .. } = policy;
    let before = match (spec.action, &spec.provider) {
        (Action::Custom, Some(provider)) => format!("istio-ext-authz-{}-", provider.name),
        _ => String::new(),
    };
    let after = if spec.action == Action::Custom { "-deny-due-to-bad-CUSTOM-action" } else { "" };
    let name = |number: usize| format!("{before}{}-rule[{number}]{after}", prefix(key));
    if spec.rules.is_empty() {
        let never = self::policy(
            vec![Permission::not(Permission::any())],
            vec![Principal::not(Principal::any())],
        );
        return vec![(name(0), never)];
    }
    let mut found = Vec::new();
    let rules = spec.rules.iter().enumerate();
    let compiled = rules.filter_map(|(number, rule)| {
        let (action, place) = (spec.action, (&*key.namespace, domains));
        let (compiled, _) = rule::compile(rule, number, level, action, place, &mut found)?;
        Some((name(number), compiled))
    });
    let compiled = compiled.collect();
    // What connections lack is no fault of a rule for requests.
    if level == Level::Requests && !found.is_empty() {
        faults.insert(key.clone(), found);
    }
    compiled
}

fn prefix(key: &ObjectKey) -> String {
    format!("ns[{}]-policy[{}]", key.namespace, key.name)
}

fn policy(permissions: Vec<Permission>, principals: Vec<Principal>) -> rbac::Policy {
    rbac::Policy { permissions, principals, ..rbac::Policy::default() }
}

fn none(action: Action) -> Rbac {
    let action = match action {
        Action::Allow => rbac::rbac::Action::Allow,
        Action::Deny | Action::Custom => rbac::rbac::Action::Deny,
        Action::Audit => rbac::rbac::Action::Log,
    };
    Rbac { action: action.into(), ..Rbac::default() }
}

fn add(rules: &mut Rbac, name: String, policy: rbac::Policy) {
    rules.policies.insert(name, policy);
}

impl Rules {
    fn shadow_prefix(&self) -> String {
        let prefix = match self.shadow.as_ref().map(Rbac::action) {
            Some(rbac::rbac::Action::Allow) => ALLOW_SHADOW_PREFIX,
            Some(rbac::rbac::Action::Deny) => DENY_SHADOW_PREFIX,
            Some(rbac::rbac::Action::Log) | None => "",
        };
        prefix.to_owned()
    }

    fn for_requests(self) -> HttpFilter {
        let filter = HttpRbac {
            shadow_rules_stat_prefix: self.shadow_prefix(),
            rules: self.enforced,
            shadow_rules: self.shadow,
            ..HttpRbac::default()
        };
        http_filter(HTTP_FILTER, &filter)
    }

    fn for_connections(self) -> Filter {
        let filter = NetworkRbac {
            shadow_rules_stat_prefix: self.shadow_prefix(),
            rules: self.enforced,
            shadow_rules: self.shadow,
            stat_prefix: STAT_PREFIX.to_owned(),
            ..NetworkRbac::default()
        };
        Filter {
            name: "envoy.filters.network.rbac".to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(any(&filter))),
        }
    }
}

#[cfg(test)]
mod tests;

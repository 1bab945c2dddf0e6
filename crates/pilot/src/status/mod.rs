//! What is told of each object: conditions.
//!
//! `Reconciled` says that the object was compiled without fault, `ResolvedRefs` that everything it names
//! exists. The third condition, `Programmed`, is told by whoever publishes, out of each object's [`Standing`] and
//! of what workers serve (see [`crate::Output::applied`]).
//!
//! Of an object that other proxies serve there are no conditions; its standing says why.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;

use crate::compile::authorization::Authorization;
use crate::compile::tokens::Tokens;
use crate::engine::{
    Credentials, Index, Listeners, Patches, Problem, RouteTable, Shadows, ShortForms, Sidecar,
    Vacant,
};
use crate::model::authentication::TokenPolicy;
use crate::model::authorization::{Policies, Policy};
use crate::model::credentials::Secrets;
use crate::model::destination_rule::{Rule, Rules};
use crate::model::envoy_filter::EnvoyFilters;
use crate::model::merge::PortPlan;
use crate::model::registry::Registry;
use crate::{Options, UnfetchedKeys};

mod credentials;
mod delegate;
mod destination_rule;
mod envoy_filter;
mod gateway;
mod in_mesh;
mod reach;
mod redirected;
mod security;
mod service_entry;
mod standing;
mod unserved;
mod virtual_service;
mod workload_entry;

pub(crate) use credentials::unusable;
pub use credentials::{Lack, SecretUse, part_of_secret};
pub(crate) use destination_rule::outranked;
pub(crate) use gateway::open as open_servers;
pub(crate) use in_mesh::account as account_in_mesh;
pub(crate) use security::CLOSED;
pub use standing::{Force, PROGRAMMED, SERVED, Standing, is_elsewhere};
pub(crate) use unserved::idle;
pub(crate) use virtual_service::{absent, missed};

/// At most this many faults stand in one message; the rest is counted.
const MAX_FAULTS: usize = 8;

/// The reason of a condition where the last form of an object was refused as a whole.
pub const INVALID: &str = "Invalid";

/// What stands before all that is said of an object whose newest form was refused.
const OLDER: &str = "of its last good form: ";

/// The reason of `Reconciled` where an object acts as it is written, and that is insecure.
pub const INSECURE: &str = "Insecure";

/// The reason of `ResolvedRefs` where a certificate, its key or authorities are there and cannot be used.
const INVALID_CERTIFICATE: &str = "InvalidCertificateRef";

/// New conditions of an object, all of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Which object.
    pub key: ObjectKey,
    /// `metadata.generation` of the newest form, also where it is refused: what `Reconciled` speaks of (`observedGeneration`).
    pub generation: i64,
    /// That of the form which counts, the last good one: what all other conditions speak of.
    pub in_force: i64,
    /// The conditions; none when the object does not concern this gateway any more.
    pub conditions: Vec<Condition>,
}

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which condition.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word of CamelCase.
    pub reason: &'static str,
    /// Why, in words; empty when it simply holds, and advice where there is some.
    pub message: String,
}

/// The conditions that pilot writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionKind {
    /// The object was compiled without fault.
    Reconciled,
    /// Everything that the object names exists.
    ResolvedRefs,
}

impl ConditionKind {
    /// The condition's `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reconciled => "Reconciled",
            Self::ResolvedRefs => "ResolvedRefs",
        }
    }
}

/// Everything that status is read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) options: &'a Options,
    /// Objects whose last form was refused.
    pub(crate) problems: &'a HashMap<ObjectKey, Problem>,
    pub(crate) index: &'a Index,
    pub(crate) registry: &'a Registry,
    pub(crate) rules: &'a Rules,
    pub(crate) policies: &'a Policies,
    pub(crate) tokens: &'a Tokens,
    pub(crate) unfetched: &'a UnfetchedKeys,
    pub(crate) authorization: &'a Authorization,
    pub(crate) ports: &'a BTreeMap<u16, PortPlan>,
    pub(crate) listeners: &'a Listeners,
    pub(crate) tables: &'a BTreeMap<Arc<str>, RouteTable>,
    pub(crate) shadows: &'a Shadows,
    /// What [`idle`] found, by object.
    pub(crate) idle: &'a HashMap<ObjectKey, Vec<(&'static str, String)>>,
    /// Clusters without endpoints, by host.
    pub(crate) vacant: &'a HashMap<Arc<str>, Vacant>,
    pub(crate) secrets: &'a Secrets,
    pub(crate) credentials: &'a Credentials,
    pub(crate) filters: &'a EnvoyFilters,
    pub(crate) patches: &'a Patches,
    pub(crate) short_forms: &'a ShortForms,
    /// What the proxy has, where it is a workload's.
    pub(crate) sidecar: &'a Sidecar,
}

/// An object's own part of its status.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    Gateway,
    VirtualService,
    ServiceEntry,
    DestinationRule(&'a Rule),
    EnvoyFilter,
    WorkloadEntry,
    AuthorizationPolicy(&'a Policy),
    RequestAuthentication(&'a TokenPolicy),
    PeerAuthentication,
    Sidecar,
}

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its conditions; none when other proxies serve it.
    pub(crate) conditions: Vec<Condition>,
    /// How far it is in force.
    pub(crate) standing: Standing,
}

/// What is to be said of an object as it stands; nothing of one that is gone.
pub(crate) fn account(
    key: &ObjectKey,
    subject: Option<Subject<'_>>,
    problem: Option<&Problem>,
    view: View<'_>,
) -> Option<Account> {
    let Some(subject) = subject else {
        return problem.map(|problem| problem.account(security::of_unreadable(key, view)));
    };
    let mut findings = match subject {
        Subject::Gateway => gateway::findings(key, view),
        Subject::VirtualService => virtual_service::findings(key, view),
        Subject::ServiceEntry => service_entry::findings(key, view),
        Subject::EnvoyFilter => envoy_filter::findings(key, view),
        Subject::DestinationRule(rule) => destination_rule::findings(rule, view),
        Subject::WorkloadEntry => Some(workload_entry::findings(key, view)),
        Subject::AuthorizationPolicy(policy) => security::authorization_policy(policy, view),
        Subject::RequestAuthentication(policy) => security::request_authentication(policy, view),
        // They are for other proxies.
        Subject::PeerAuthentication | Subject::Sidecar => None,
    };
    let force = standing::force(key, subject, findings.as_ref(), view);
    if let Some(findings) = &mut findings {
        for (reason, words) in view.idle.get(key).into_iter().flatten() {
            findings.fault(reason, words.clone());
        }
    }
    let faults = findings.as_ref().map(Findings::not_in_force).filter(|f| !f.is_empty());
    let mut standing = Standing { force, fault: faults };
    let served = findings.is_some();
    let mut conditions = findings.map(Findings::conditions).unwrap_or_default();
    if let Some(problem) = problem {
        conditions.retain(|c| c.kind != ConditionKind::Reconciled);
        // What else is said is not about the form that people look at.
        let texts = conditions.iter_mut().filter(|c| !c.holds).map(|c| &mut c.message);
        for text in texts.chain(standing.force.message_mut()).chain(&mut standing.fault) {
            text.insert_str(0, OLDER);
        }
        let rest = if served { "the last good form serves on" } else { "" };
        conditions.insert(0, problem.condition(rest));
    }
    Some(Account { conditions, standing })
}

impl Problem {
    /// What is to be said of an object that never had a good form; `rest` is what follows from it, in words.
    fn account(&self, rest: &str) -> Account {
        let force = Force::nothing(INVALID, join(&self.errors));
        let standing = Standing { force, fault: None };
        Account { conditions: vec![self.condition(rest)], standing }
    }

    /// `rest` is what follows from it, in words.
    fn condition(&self, rest: &str) -> Condition {
        let rest = if rest.is_empty() { String::new() } else { format!("; {rest}") };
        Condition {
            kind: ConditionKind::Reconciled,
            holds: false,
            reason: INVALID,
            message: format!("{}{rest}", join(&self.errors)),
        }
    }
}

/// What is wrong with an object.
#[derive(Debug, Default)]
struct Findings {
    /// Faults of the object itself: why it is not (wholly) in force.
    faults: Vec<(&'static str, String)>,
    /// What it names and nobody has.
    missing: Vec<String>,
    /// What it names and is there, in a form that cannot be used.
    broken: Vec<String>,
    /// Keys that it names and that cannot be fetched.
    unfetched: Vec<String>,
    /// What it names and is there, without endpoints.
    vacant: Vec<String>,
    /// What would better be written otherwise, though it acts.
    advice: Vec<String>,
    /// Whether it acts and, as some of the advice says, lets anybody in whom nobody meant.
    insecure: bool,
    /// What is not in force, or not in the form that is there now, for want of something that it names.
    closed: Vec<String>,
}

impl Findings {
    /// A fault that several listeners or places find is told once.
    fn fault(&mut self, reason: &'static str, message: String) {
        if !self.faults.iter().any(|(_, told)| *told == message) {
            self.faults.push((reason, message));
        }
    }

    /// What it names that nobody has, nobody can use or nobody stands behind: why, in one word and in words.
    fn unresolved(&self) -> Option<(&'static str, String)> {
        let all = self.missing.iter().chain(&self.broken).chain(&self.unfetched);
        let all = all.chain(&self.vacant);
        let all: Vec<String> = all.cloned().collect();
        let reason = match (self.missing.is_empty(), self.broken.is_empty()) {
            (false, _) => "RefNotFound",
            (true, false) => INVALID_CERTIFICATE,
            (true, true) if !self.unfetched.is_empty() => "KeysNotFetched",
            (true, true) => "NoEndpoints",
        };
        (!all.is_empty()).then(|| (reason, join(&all)))
    }

    fn conditions(self) -> Vec<Condition> {
        let unresolved = self.unresolved();
        let usual = if self.insecure { INSECURE } else { "Reconciled" };
        let reason = self.faults.first().map_or(usual, |(reason, _)| reason);
        let holds = self.faults.is_empty();
        let faults = self.faults.into_iter().map(|(_, message)| message);
        // What is insecure is told whatever else there is.
        let words: Vec<String> = faults.chain(self.advice).collect();
        vec![
            Condition { kind: ConditionKind::Reconciled, holds, reason, message: join(&words) },
            Condition {
                kind: ConditionKind::ResolvedRefs,
                holds: unresolved.is_none(),
                reason: unresolved.as_ref().map_or("ResolvedRefs", |(reason, _)| reason),
                message: unresolved.map_or_else(String::new, |(_, message)| message),
            },
        ]
    }
}

fn join(faults: &[String]) -> String {
    list(faults, "; ")
}

/// The first of several, with how many more there are.
fn list(all: &[String], separator: &str) -> String {
    let shown = all.iter().take(MAX_FAULTS).map(String::as_str).collect::<Vec<_>>().join(separator);
    match all.len().saturating_sub(MAX_FAULTS) {
        0 => shown,
        more => format!("{shown}{separator}and {more} more"),
    }
}

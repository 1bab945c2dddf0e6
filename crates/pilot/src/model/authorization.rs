//! AuthorizationPolicies: which of them hold at the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::istio::AuthorizationPolicy;
use tidegate_api::istio::authorization_policy::is_dry_run;
use tidegate_api::istio::policy::{PolicySelector, TargetReference};
use tidegate_api::{Object, ObjectKey};

use super::target::names_proxy;
use crate::Options;

/// An AuthorizationPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The object.
    pub key: ObjectKey,
    /// What it says.
    pub spec: Arc<AuthorizationPolicy>,
    /// Whether it is only tried out: counted, and not enforced.
    pub dry_run: bool,
    /// Whether it holds at the gateway.
    pub reach: Reach,
}

/// Whether a policy of the security API holds at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does.
    Here,
    /// It is about workloads of another namespace.
    Namespace,
    /// It is about workloads with other labels.
    Labels,
    /// It is about resources that it names (`targetRefs`).
    Targets,
}

impl Reach {
    /// How far a policy of a namespace reaches: those of the gateway's namespace and of the root namespace hold, for the
    /// workloads that they select; those that name `targets` for these alone.
    #[must_use]
    pub fn of(
        namespace: &str,
        selector: Option<&PolicySelector>,
        targets: &[&TargetReference],
        options: &Options,
    ) -> Self {
        let named = targets.iter().map(|t| [&*t.group, &*t.kind, &*t.namespace, &*t.name]);
        match () {
            () if !targets.is_empty() && names_proxy(namespace, named, options) => Self::Here,
            () if !targets.is_empty() => Self::Targets,
            () if !concerns(namespace, options) => Self::Namespace,
            () if selector.is_none_or(|s| options.carries(&s.match_labels)) => Self::Here,
            () => Self::Labels,
        }
    }
}

/// The resources that a policy is about: `targetRefs`, and `targetRef` where there are none.
pub(super) fn targets<'a>(
    one: Option<&'a TargetReference>,
    many: &'a [TargetReference],
) -> impl Iterator<Item = &'a TargetReference> {
    many.iter().chain(one.filter(|_| many.is_empty()))
}

/// Whether policies of a namespace may hold at the gateway.
fn concerns(namespace: &str, options: &Options) -> bool {
    namespace == options.root_namespace || namespace == options.namespace
}

impl Policy {
    /// An object, as it holds at the gateway.
    #[must_use]
    pub fn new(object: &Object, spec: &AuthorizationPolicy, options: &Options) -> Self {
        let targets: Vec<_> = targets(spec.target_ref.as_ref(), &spec.target_refs).collect();
        let reach = Reach::of(object.namespace(), spec.selector.as_ref(), &targets, options);
        Self {
            key: object.key.clone(),
            spec: Arc::new(spec.clone()),
            dry_run: is_dry_run(object),
            reach,
        }
    }
}

/// All policies.
#[derive(Debug, Default)]
pub struct Policies {
    all: BTreeMap<ObjectKey, Policy>,
    /// Policies that might hold at the gateway and of which there never was a good form: what they ask for is not known.
    unreadable: BTreeSet<ObjectKey>,
}

impl Policies {
    /// Replaces a policy; `None`: it is gone. Answers whether what holds at the gateway may differ.
    pub fn set(&mut self, key: &ObjectKey, policy: Option<Policy>) -> bool {
        let unreadable = self.unreadable.remove(key);
        let after = policy.as_ref().is_some_and(|policy| policy.reach == Reach::Here);
        let before = match policy {
            Some(policy) => self.all.insert(key.clone(), policy),
            None => self.all.remove(key),
        };
        unreadable || after || before.is_some_and(|policy| policy.reach == Reach::Here)
    }

    /// Notes that the newest form of a policy cannot be read but for its selector; one that had a good form keeps it, and one
    /// that is plainly about others is none of ours. Answers whether what holds at the gateway differs.
    pub fn set_unreadable(
        &mut self,
        key: &ObjectKey,
        selector: Option<&BTreeMap<String, String>>,
        options: &Options,
    ) -> bool {
        let ours = concerns(&key.namespace, options)
            && selector.is_none_or(|labels| options.carries(labels));
        if ours && !self.all.contains_key(key) {
            self.unreadable.insert(key.clone())
        } else {
            self.unreadable.remove(key)
        }
    }

    /// A policy.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Policy> {
        self.all.get(key)
    }

    /// Whether everything is refused because this policy cannot be read.
    #[must_use]
    pub fn is_unreadable(&self, key: &ObjectKey) -> bool {
        self.unreadable.contains(key)
    }

    /// The policies that hold at the gateway.
    pub fn here(&self) -> impl Iterator<Item = &Policy> {
        self.all.values().filter(|policy| policy.reach == Reach::Here)
    }

    /// The policies that would hold at the gateway if they could be read.
    pub fn unreadable(&self) -> impl Iterator<Item = &ObjectKey> {
        self.unreadable.iter()
    }
}

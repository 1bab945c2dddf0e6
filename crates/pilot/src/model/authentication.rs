//! RequestAuthentications: which of them hold at the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_api::istio::RequestAuthentication;
use tidegate_api::{Object, ObjectKey};

use super::authorization::{Reach, targets};
use crate::Options;

/// A RequestAuthentication.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenPolicy {
    /// The object.
    pub key: ObjectKey,
    /// What it says.
    pub spec: Arc<RequestAuthentication>,
    /// Whether it holds at the gateway.
    pub reach: Reach,
}

impl TokenPolicy {
    /// An object, as it holds at the gateway.
    #[must_use]
    pub fn new(object: &Object, spec: &RequestAuthentication, options: &Options) -> Self {
        let targets: Vec<_> = targets(spec.target_ref.as_ref(), &spec.target_refs).collect();
        let reach = Reach::of(object.namespace(), spec.selector.as_ref(), &targets, options);
        Self { key: object.key.clone(), spec: Arc::new(spec.clone()), reach }
    }
}

/// All RequestAuthentications.
#[derive(Debug, Default)]
pub struct TokenPolicies(BTreeMap<ObjectKey, TokenPolicy>);

impl TokenPolicies {
    /// Replaces one; `None`: it is gone. Answers whether what holds at the gateway may differ.
    pub fn set(&mut self, key: &ObjectKey, policy: Option<TokenPolicy>) -> bool {
        let after = policy.as_ref().is_some_and(|policy| policy.reach == Reach::Here);
        let before = match policy {
            Some(policy) => self.0.insert(key.clone(), policy),
            None => self.0.remove(key),
        };
        after || before.is_some_and(|policy| policy.reach == Reach::Here)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&TokenPolicy> {
        self.0.get(key)
    }

    /// Those that hold at the gateway.
    pub fn here(&self) -> impl Iterator<Item = &TokenPolicy> {
        self.0.values().filter(|policy| policy.reach == Reach::Here)
    }
}

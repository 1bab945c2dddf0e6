//! What the process has found out about an object: its status conditions.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::ObjectKey;

use super::changes::Told;
use super::writer::Staged;
use crate::clock;

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`: `Reconciled`, `ResolvedRefs`, `Programmed`.
    pub name: &'static str,
    /// Whether it holds; unknown when absent.
    pub holds: Option<bool>,
    /// One word that says why.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// `observedGeneration`: `metadata.generation` of the form that it is about.
    pub generation: i64,
}

/// What a status becomes from what it is; nothing where it stays.
type Change = Box<dyn Fn(&Value) -> Option<Value> + Send>;

/// What is found out about an object.
pub(super) struct Verdict {
    pub key: ObjectKey,
    pub change: Change,
}

impl Verdict {
    /// Conditions, beside those of others.
    pub(super) fn conditions(key: ObjectKey, conditions: Vec<Condition>) -> Self {
        let change = move |status: &Value| {
            let mut list = status["conditions"].as_array().cloned().unwrap_or_default();
            set_among(&mut list, &conditions);
            let mut status = status.clone();
            status["conditions"] = list.into();
            Some(status)
        };
        Self { key, change: Box::new(change) }
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Changes the status of an object.
pub(super) fn stage(staged: &mut Staged<'_>, verdict: &Verdict) {
    let Some(entry) = staged.get(&verdict.key) else { return };
    let Value::Object(mut value) = entry.json() else { return };
    let status = value.entry("status").or_insert_with(|| json!({}));
    if !status.is_object() {
        return;
    }
    let Some(new) = (verdict.change)(status) else { return };
    *status = new;
    if entry.same_content(&value) {
        return;
    }
    match staged.next_revision() {
        Some(revision) => {
            let entry = Arc::new(entry.with_value(value, revision));
            staged.set(&verdict.key, Some(entry), revision, Told::Nothing);
        }
        None => tracing::warn!(key = ?verdict.key, "status not updated: the disk takes no writes"),
    }
}

/// Sets conditions in a list of them (`status.conditions`), leaving others alone. `lastTransitionTime` moves only when a condition
/// turns.
pub fn set_among(list: &mut Vec<Value>, conditions: &[Condition]) {
    for condition in conditions {
        let holds = match condition.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let place = list.iter().position(|old| old["type"] == condition.name);
        let since = place
            .map(|at| &list[at])
            .filter(|old| old["status"] == holds)
            .and_then(|old| old["lastTransitionTime"].as_str())
            .map_or_else(clock::now, str::to_owned);
        let new = json!({
            "type": condition.name,
            "status": holds,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": since,
            "observedGeneration": condition.generation,
        });
        match place {
            Some(at) => list[at] = new,
            None => list.push(new),
        }
    }
}

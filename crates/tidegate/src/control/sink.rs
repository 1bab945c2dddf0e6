//! Where it goes what is found out about objects.

use std::sync::Arc;

use serde_json::Value;
use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Condition, Note, Store, Tone};
use tidegate_pilot::status;
use tokio::sync::{Notify, mpsc};

use super::{Update, verdicts};

/// Takes what is found out about objects.
pub trait Sink: Clone + Send + 'static {
    /// Whether notes stand in the program's own log, so that it need not be told what it has said already.
    const IS_LOG: bool;

    /// Writes an update of one object.
    fn write(&self, key: ObjectKey, update: Update) -> impl Future<Output = ()> + Send;
}

/// The store of the embedded API: status, events and last good forms of what the gateway of this process serves.
#[derive(Clone, Debug)]
pub struct ToStore {
    store: Store,
    /// The name of its entry in a status.
    gateway: Arc<str>,
}

impl ToStore {
    /// What the gateway of this name finds out.
    pub fn new(store: Store, gateway: &str) -> Self {
        Self { store, gateway: gateway.into() }
    }

    async fn say(&self, key: &ObjectKey, conditions: Vec<Condition>) {
        // What another gateway has found out of an object that is for it stays.
        let theirs = || {
            let object = self.store.get(key).map(|entry| entry.json());
            object.is_some_and(|object| {
                is_applied(&object)
                    && object["status"][verdicts::GATEWAYS][&*self.gateway].is_null()
            })
        };
        if conditions.is_empty() || is_elsewhere(&conditions) && theirs() {
            return;
        }
        let gateway = Arc::clone(&self.gateway);
        let change = move |status: &Value| {
            let verdicts = verdicts::news(status, &gateway, &conditions)?;
            Some(verdicts.within(status, &gateway))
        };
        self.store.change_status(key, change).await;
    }
}

impl Sink for ToStore {
    const IS_LOG: bool = false;

    async fn write(&self, key: ObjectKey, update: Update) {
        // Whoever reads that a form is served may write the next one at once: which one to go back to is known by then.
        if let Some(resource_version) = update.good {
            self.store.confirm(&key, resource_version).await;
        }
        self.say(&key, update.conditions).await;
        for note in update.notes {
            self.store.record_event(note).await;
        }
    }
}

/// Whether conditions are those of an object that is for others than this proxy.
pub(super) fn is_elsewhere(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| status::is_elsewhere(&condition.reason))
}

/// Whether the status of an object is one that somebody has applied through an API.
fn is_applied(object: &Value) -> bool {
    managers(object).next().is_some()
}

/// Who has applied the status of an object, through the path that it has of its own: what stands in a manifest is no status.
pub(super) fn managers(object: &Value) -> impl Iterator<Item = &str> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let of_status = |entry: &&Value| {
        entry["operation"] == "Apply"
            && entry["subresource"] == "status"
            && entry["fieldsV1"].get("f:status").is_some()
    };
    entries.filter(of_status).filter_map(|entry| entry["manager"].as_str())
}

/// The program's own log, where objects have nowhere to keep a status: what would be an event is a line.
#[derive(Clone, Debug, Default)]
pub struct InWords {
    /// Who is told of the workload's Pod.
    pub pod: Option<Told>,
}

/// Who is told what is said of one object, in place of the log.
#[derive(Clone, Debug)]
pub struct Told {
    /// The object.
    pub about: ObjectKey,
    /// Whoever shows it.
    pub notes: mpsc::Sender<Note>,
    /// Notified when it is deleted.
    pub gone: Arc<Notify>,
}

impl Sink for InWords {
    const IS_LOG: bool = true;

    async fn write(&self, key: ObjectKey, update: Update) {
        let told = self.pod.as_ref().filter(|told| told.about == key);
        for note in update.notes {
            let Note { about, tone, reason, message } = &note;
            match (told, tone) {
                // Who is too slow misses some of it.
                (Some(told), _) => drop(told.notes.try_send(note)),
                (None, Tone::Normal) => tracing::info!("{about}: {reason}: {message}"),
                (None, Tone::Warning) => tracing::warn!("{about}: {reason}: {message}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_whose_who_applied_it_to_the_status() {
        let entry = |manager: &str, operation: &str, fields: &str, subresource: Option<&str>| {
            let mut entry = json!({"manager": manager, "operation": operation});
            entry["fieldsV1"] = json!({fields: {"f:conditions": {}}});
            if let Some(subresource) = subresource {
                entry["subresource"] = subresource.into();
            }
            entry
        };
        let mut entries = vec![
            entry("kubectl", "Apply", "f:status", None),
            entry("kubectl", "Update", "f:status", Some("status")),
            entry("kubectl", "Apply", "f:spec", None),
        ];
        let object = |entries: &[Value]| json!({"metadata": {"managedFields": entries}});
        assert!(!is_applied(&object(&entries)), "an object that was exported and applied again");
        entries.push(entry("gateway", "Apply", "f:status", Some("status")));
        assert_eq!(managers(&object(&entries)).collect::<Vec<_>>(), ["gateway"]);
    }
}

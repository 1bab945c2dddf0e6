//! Where it goes what is found out about objects.

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Note, Store, Tone};

use super::Update;

/// Takes what is found out about objects.
pub trait Sink: Clone + Send + 'static {
    /// Whether notes stand in the program's own log, so that it need not be told what it has said already.
    const IS_LOG: bool;

    /// Writes an update of one object.
    fn write(&self, key: ObjectKey, update: Update) -> impl Future<Output = ()> + Send;
}

/// Status, events and last good forms, in the store of the embedded API.
impl Sink for Store {
    const IS_LOG: bool = false;

    async fn write(&self, key: ObjectKey, update: Update) {
        // Whoever reads that a form is served may write the next one at once: which one to go back to is known by then.
        if let Some(resource_version) = update.good {
            self.confirm(&key, resource_version).await;
        }
        if !update.conditions.is_empty() {
            self.set_status(&key, update.conditions).await;
        }
        for note in update.notes {
            self.record_event(note).await;
        }
    }
}

/// The program's own log, where objects have nowhere to keep a status: what would be an event is a line.
#[derive(Clone, Copy, Debug)]
pub struct InWords;

impl Sink for InWords {
    const IS_LOG: bool = true;

    async fn write(&self, _: ObjectKey, update: Update) {
        for Note { about, tone, reason, message } in update.notes {
            match tone {
                Tone::Normal => tracing::info!("{about}: {reason}: {message}"),
                Tone::Warning => tracing::warn!("{about}: {reason}: {message}"),
            }
        }
    }
}

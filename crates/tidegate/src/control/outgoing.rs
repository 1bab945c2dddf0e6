//! What the control loop has found out about objects, on its way to a [`Sink`].
//!
//! The loop must not wait for a disk, so it leaves what it has to say here; a task on the control runtime
//! writes it. Of one object only the latest is kept: what waits is bounded by the number of objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Condition, Note};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Sink;

/// Writes under way at a time: enough to share transactions, few enough to leave room for clients'.
const AT_ONCE: usize = 64;
/// Events kept per object while the sink is slow; later ones say more.
const MOST_NOTES: usize = 8;

/// What is to be written about one object.
#[derive(Debug, Default)]
pub struct Update {
    /// Whether an object of the name went before the rest was found out, of another one.
    pub gone: bool,
    /// Conditions that changed.
    pub conditions: Vec<Condition>,
    /// What to say as events.
    pub notes: Vec<Note>,
    /// `metadata.resourceVersion` of a form that proved good.
    pub good: Option<u64>,
}

impl Update {
    fn absorb(&mut self, newer: Self) {
        if newer.gone {
            *self = newer;
            return;
        }
        for condition in newer.conditions {
            self.conditions.retain(|older| older.name != condition.name);
            self.conditions.push(condition);
        }
        self.add_notes(newer.notes);
        self.good = newer.good.or(self.good);
    }

    fn add_notes(&mut self, notes: Vec<Note>) {
        self.notes.extend(notes);
        self.notes.drain(..self.notes.len().saturating_sub(MOST_NOTES));
    }
}

/// The way to the writing task. Clones lead to the same task.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    queue: Arc<Queue>,
    /// Whether the sink is the program's own log.
    is_log: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<BTreeMap<ObjectKey, Update>>,
    ready: Notify,
}

impl Outgoing {
    /// Whether what is left here goes to the program's own log.
    pub fn is_log(&self) -> bool {
        self.is_log
    }

    /// Starts the writing task. Needs a runtime, with which the task ends.
    pub fn start<S: Sink>(sink: S) -> Self {
        let outgoing = Self { queue: Arc::default(), is_log: S::IS_LOG };
        tokio::spawn(outgoing.clone().write_to(sink));
        outgoing
    }

    /// Leaves something to be written. Never waits.
    pub fn push(&self, key: ObjectKey, update: Update) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key).or_default().absorb(update);
        drop(waiting);
        self.queue.ready.notify_one();
    }

    /// Leaves it to be noted that the form of an object with this `metadata.resourceVersion` is good. Never waits.
    pub fn confirm(&self, key: ObjectKey, resource_version: u64) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key).or_default().good = Some(resource_version);
        drop(waiting);
        self.queue.ready.notify_one();
    }

    /// Leaves an event to be recorded. Never waits.
    pub fn note(&self, note: Note) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(note.about.clone()).or_default().add_notes(vec![note]);
        drop(waiting);
        self.queue.ready.notify_one();
    }

    /// Drops what was left about an object that is gone: another one of the name has nothing to do with it.
    pub fn forget(&self, key: &ObjectKey) {
        self.push(key.clone(), Update { gone: true, ..Update::default() });
    }

    /// Leaves an event to be recorded that the program's own log has told already. Never waits.
    pub fn note_logged(&self, note: Note) {
        if !self.is_log {
            self.note(note);
        }
    }

    async fn write_to<S: Sink>(self, sink: S) {
        loop {
            self.queue.ready.notified().await;
            let mut writes = JoinSet::new();
            for (key, update) in self.take() {
                if writes.len() == AT_ONCE {
                    writes.join_next().await;
                }
                let sink = sink.clone();
                writes.spawn(async move { sink.write(key, update).await });
            }
            // What is said of an object later is written later.
            while writes.join_next().await.is_some() {}
        }
    }

    fn take(&self) -> BTreeMap<ObjectKey, Update> {
        std::mem::take(&mut *self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;

    use super::*;

    #[test]
    fn what_was_found_out_about_a_deleted_object_is_not_said_of_the_next() {
        let key = |name| ObjectKey::new(Kind::Gateway, "default", name);
        let outgoing = Outgoing::default();
        for name in ["a", "b"] {
            outgoing.push(key(name), Update { good: Some(7), ..Update::default() });
        }
        outgoing.forget(&key("a"));
        outgoing.push(key("a"), Update::default());
        let left = outgoing.take();
        assert_eq!((left[&key("a")].good, left[&key("b")].good), (None, Some(7)));
    }

    /// What is told of as a sink.
    #[derive(Clone)]
    struct Told<const LOG: bool>(tokio::sync::mpsc::UnboundedSender<String>);

    impl<const LOG: bool> Sink for Told<LOG> {
        const IS_LOG: bool = LOG;

        async fn write(&self, _: ObjectKey, update: Update) {
            for note in update.notes {
                let _ = self.0.send(note.message);
            }
        }
    }

    #[tokio::test]
    async fn the_log_is_not_told_again_what_it_has_said() {
        let note = |message: &str| Note {
            about: ObjectKey::new(Kind::Gateway, "default", "a"),
            tone: tidegate_apiserver::store::Tone::Warning,
            reason: "Broken".to_owned(),
            message: message.to_owned(),
        };
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (log, api) = (Outgoing::start(Told::<true>(sender.clone())), Told::<false>(sender));
        for outgoing in [log, Outgoing::start(api)] {
            outgoing.note_logged(note("in the log"));
            outgoing.note(note("news"));
            assert_ne!(told.recv().await.as_deref(), None);
        }
        // Of the first sink there was one note; of the second there is one more.
        assert_eq!(told.recv().await.as_deref(), Some("news"));
        assert!(told.try_recv().is_err());
    }
}

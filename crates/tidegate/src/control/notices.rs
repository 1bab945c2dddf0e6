//! Which conditions become events, and when.
//!
//! Objects that belong together come and go one after the other, so that a reference may lead nowhere for a moment. Only
//! what stays false is worth an event, and that it holds again only where somebody was told that it did not. A form that
//! cannot be read is told at once, since no other object mends it. Pure bookkeeping: time is given.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Condition, Note, Tone};
use tidegate_pilot::status::INVALID;
use tokio::time::Instant;

/// How long a condition has to be false before it is told: what one `kubectl apply` or `delete` takes.
pub const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What is known of the false conditions of each object.
#[derive(Debug, Default)]
pub struct Notices {
    /// Conditions by name. Of those that hold there is nothing to keep.
    lost: HashMap<ObjectKey, BTreeMap<&'static str, Lost>>,
    /// Objects with something to be told, by when it has settled.
    due: BTreeMap<Instant, Vec<ObjectKey>>,
}

/// A condition that is false.
#[derive(Debug)]
struct Lost {
    reason: String,
    message: String,
    /// When it is to be told; nothing once it has been.
    due: Option<Instant>,
    /// Whether an earlier reason was told.
    told: bool,
}

impl Notices {
    /// Takes in the conditions of an object; what is to be said at once.
    pub fn heard(&mut self, now: Instant, key: &ObjectKey, conditions: &[Condition]) -> Vec<Note> {
        let mut notes = Vec::new();
        let lost = self.lost.entry(key.clone()).or_default();
        for condition in conditions {
            if condition.holds != Some(false) {
                let told = lost.remove(condition.name).is_some_and(|lost| lost.told);
                if told && condition.holds == Some(true) {
                    let message = format!("{} holds again", condition.name);
                    notes.push(note(key, Tone::Normal, condition.reason.clone(), message));
                }
                continue;
            }
            let before = lost.get(condition.name);
            if before
                .is_some_and(|b| b.reason == condition.reason && b.message == condition.message)
            {
                continue;
            }
            let told = before.is_some_and(|before| before.told);
            let (reason, message) = (condition.reason.clone(), condition.message.clone());
            // Two conditions may be false for one reason, which is told with the first.
            if lost.iter().any(|(name, other)| *name != condition.name && other.reason == reason) {
                lost.insert(condition.name, Lost { reason, message, due: None, told });
                continue;
            }
            if reason == INVALID {
                notes.push(note(key, Tone::Warning, reason.clone(), message.clone()));
                lost.insert(condition.name, Lost { reason, message, due: None, told: true });
                continue;
            }
            // What changes its words while it settles has been false as long as before.
            let due = before.and_then(|before| before.due).unwrap_or_else(|| {
                let due = now + SETTLED_AFTER;
                self.due.entry(due).or_default().push(key.clone());
                due
            });
            lost.insert(condition.name, Lost { reason, message, due: Some(due), told });
        }
        if lost.is_empty() {
            self.lost.remove(key);
        }
        notes
    }

    /// An object is gone, and what was to be said of it.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.lost.remove(key);
    }

    /// When something will have settled next.
    pub fn next(&self) -> Option<Instant> {
        self.due.keys().next().copied()
    }

    /// What has settled by now.
    pub fn settled(&mut self, now: Instant) -> Vec<Note> {
        let mut notes = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|first| *first.key() <= now) {
            for key in first.remove() {
                let lost = self.lost.get_mut(&key).into_iter().flat_map(BTreeMap::values_mut);
                for lost in lost.filter(|lost| lost.due.is_some_and(|due| due <= now)) {
                    (lost.due, lost.told) = (None, true);
                    let (reason, message) = (lost.reason.clone(), lost.message.clone());
                    notes.push(note(&key, Tone::Warning, reason, message));
                }
            }
        }
        notes
    }
}

fn note(about: &ObjectKey, tone: Tone, reason: String, message: String) -> Note {
    Note { about: about.clone(), tone, reason, message }
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::Gateway, "default", "g")
    }

    fn condition(holds: bool, message: &str) -> Vec<Condition> {
        let reason = if holds { "Reconciled" } else { "NoRoute" };
        vec![Condition {
            name: "Reconciled",
            holds: Some(holds),
            reason: reason.to_owned(),
            message: message.to_owned(),
            generation: 1,
        }]
    }

    fn words(notes: Vec<Note>) -> Vec<String> {
        notes.into_iter().map(|note| format!("{:?} {}", note.tone, note.message)).collect()
    }

    #[test]
    fn what_passes_is_not_told_and_neither_is_its_end() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        assert!(notices.heard(start, &key(), &condition(false, "closed")).is_empty());
        assert!(notices.settled(start + SETTLED_AFTER - MOMENT).is_empty());
        assert!(notices.heard(start + SETTLED_AFTER, &key(), &condition(true, "")).is_empty());
        assert!(notices.settled(start + 2 * SETTLED_AFTER).is_empty());
        assert_eq!((notices.next(), notices.lost.len()), (None, 0), "nothing is kept");
    }

    #[test]
    fn what_stays_is_told_once_and_so_is_its_end() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        notices.heard(start, &key(), &condition(false, "closed"));
        // Other words do not put it off.
        notices.heard(start + MOMENT, &key(), &condition(false, "still closed"));
        assert_eq!(notices.next(), Some(start + SETTLED_AFTER));
        assert_eq!(words(notices.settled(start + SETTLED_AFTER)), ["Warning still closed"]);
        let later = start + 2 * SETTLED_AFTER;
        assert!(notices.heard(later, &key(), &condition(false, "still closed")).is_empty());
        assert_eq!(notices.next(), None, "it was told");

        // Another reason is told as well, and the end once, even while that is settling.
        notices.heard(later, &key(), &condition(false, "taken"));
        let end = notices.heard(later + MOMENT, &key(), &condition(true, ""));
        assert_eq!(words(end), ["Normal Reconciled holds again"]);
        assert!(notices.heard(later + MOMENT, &key(), &condition(true, "")).is_empty());
        assert!(notices.settled(later + SETTLED_AFTER).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_told_at_once_and_a_shared_reason_once() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        let mut both = [condition(false, "line 3"), condition(false, "line 3")].concat();
        both[1].name = "Programmed";
        both.iter_mut().for_each(|condition| condition.reason = INVALID.to_owned());
        assert_eq!(words(notices.heard(start, &key(), &both)), ["Warning line 3"]);
        assert_eq!(notices.next(), None);
        both.iter_mut().for_each(|condition| condition.holds = Some(true));
        let end = notices.heard(start, &key(), &both);
        assert_eq!(words(end), ["Normal Reconciled holds again"]);
    }

    #[test]
    fn what_is_gone_is_not_told_of() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        notices.heard(start, &key(), &condition(false, "closed"));
        notices.forget(&key());
        assert!(notices.settled(start + SETTLED_AFTER).is_empty());
    }
}

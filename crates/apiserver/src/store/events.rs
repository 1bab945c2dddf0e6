//! Events: what the process has to say about an object, in words, as `kubectl describe` shows them.
//!
//! The same thing said again raises the count of the event that said it first. Events older than an hour go,
//! and the oldest go when there are too many, also those that another process of this program has written through the API. Events
//! of other clients are theirs and stay.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tidegate_api::{Kind, ObjectKey, Origin};

use super::Entry;
use super::changes::Told;
use super::names::{self, DEFAULT_NAMESPACE};
use super::writer::Staged;
use crate::clock;

/// At most this many events of the process's own are kept.
const KEPT: usize = 2_000;
/// For how long an event is kept after it was last said.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Bytes of an event's message, as in Kubernetes.
const MESSAGE_BYTES: usize = 1_024;
/// Who says it.
const COMPONENT: &str = "tidegate";

/// Whether an event tells of something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something to be said about an object.
#[derive(Clone, Debug)]
pub struct Note {
    /// The object.
    pub about: ObjectKey,
    /// Whether it is bad news.
    pub tone: Tone,
    /// One word in camel case.
    pub reason: String,
    /// A sentence: place, reason, remedy.
    pub message: String,
}

impl Note {
    /// The Event that says it for the first time, of an object with this `metadata.uid`. The same thing said of the same object has
    /// the same name.
    #[must_use]
    pub fn event(&self, uid: Option<&str>) -> Value {
        let key = event_key(self, uid);
        let now = clock::whole_seconds(Timestamp::now());
        let mut involved = json!({
            "kind": self.about.kind.name(),
            "apiVersion": names::storage_version(self.about.kind),
            "name": *self.about.name,
        });
        if !self.about.namespace.is_empty() {
            involved["namespace"] = (*self.about.namespace).into();
        }
        if let Some(uid) = uid {
            involved["uid"] = uid.into();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": *key.name, "namespace": *key.namespace },
            "involvedObject": involved,
            "type": match self.tone { Tone::Normal => "Normal", Tone::Warning => "Warning" },
            "reason": self.reason,
            "message": shortened(&self.message),
            "source": { "component": COMPONENT },
            "reportingComponent": COMPONENT,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "eventTime": null,
            "count": 1,
        })
    }
}

/// The process's own events, the one that was said last at the back.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    order: VecDeque<(ObjectKey, Timestamp)>,
    /// Those that the batch under way removes, oldest first: they stay when it fails.
    pruned: Vec<(ObjectKey, Timestamp)>,
}

impl Recorded {
    /// Takes over the events that the disk held.
    pub(super) fn load<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Self {
        let mut order: Vec<(ObjectKey, Timestamp)> = entries
            .filter(|entry| entry.key().kind == Kind::Event)
            .filter_map(|entry| {
                let json = entry.json();
                let last = json["lastTimestamp"].as_str()?.parse().ok()?;
                is_ours(&json).then(|| (entry.key().clone(), last))
            })
            .collect();
        order.sort_by_key(|(_, last)| *last);
        Self { order: order.into(), pruned: Vec::new() }
    }

    pub(super) fn stage(&mut self, staged: &mut Staged<'_>, note: &Note) {
        let now = Timestamp::now();
        let about = staged.get(&note.about);
        let uid = about.as_deref().map(|about| about.json()["metadata"]["uid"].clone());
        let uid = uid.as_ref().and_then(Value::as_str);
        let key = event_key(note, uid);
        let value = match staged.get(&key) {
            Some(event) => said_again(&event, now),
            None => said_first(note, about.as_deref(), uid, now),
        };
        let Some(revision) = staged.next_revision() else { return };
        let decoded = tidegate_source::decode(&key, &value, Origin::Api);
        let entry = Entry::new(key.clone(), value, &decoded, Origin::Api, revision);
        staged.set(&key, Some(Arc::new(entry)), revision, Told::Nothing);
        self.keep(staged, key, now);
    }

    /// A client has written an object: an event of another process of this program is kept for as long as one of ours.
    pub(super) fn written(&mut self, staged: &mut Staged<'_>, entry: &Entry) {
        if entry.key().kind == Kind::Event && is_ours(&entry.json()) {
            self.keep(staged, entry.key().clone(), Timestamp::now());
        }
    }

    fn keep(&mut self, staged: &mut Staged<'_>, key: ObjectKey, now: Timestamp) {
        self.order.retain(|(old, _)| *old != key);
        self.order.push_back((key, now));
        self.prune(staged, now);
    }

    fn prune(&mut self, staged: &mut Staged<'_>, now: Timestamp) {
        while let Some((key, last)) = self.order.front() {
            if self.order.len() <= KEPT && now.duration_since(*last) < LIFETIME {
                return;
            }
            let Some(revision) = staged.next_revision() else { return };
            if staged.get(key).is_some() {
                staged.set(key, None, revision, Told::Nothing);
            }
            self.pruned.extend(self.order.pop_front());
        }
    }

    /// The batch under way is in force.
    pub(super) fn settle(&mut self) {
        self.pruned.clear();
    }

    /// The batch under way came to nothing: what it removed is there still.
    pub(super) fn take_back(&mut self) {
        for event in self.pruned.drain(..).rev() {
            self.order.push_front(event);
        }
    }
}

fn is_ours(event: &Value) -> bool {
    event["source"]["component"] == COMPONENT
}

fn event_key(note: &Note, uid: Option<&str>) -> ObjectKey {
    let mut hasher = DefaultHasher::new();
    (note.about.kind, uid, note.tone, &note.reason, &note.message).hash(&mut hasher);
    let namespace = match &*note.about.namespace {
        "" => DEFAULT_NAMESPACE.into(),
        _ => Arc::clone(&note.about.namespace),
    };
    ObjectKey {
        kind: Kind::Event,
        namespace,
        name: format!("{}.{:016x}", note.about.name, hasher.finish()).into(),
    }
}

fn said_again(event: &Entry, now: Timestamp) -> Map<String, Value> {
    let mut value = event.manifest("v1");
    let count = value.get("count").and_then(Value::as_u64).unwrap_or(1);
    value.insert("count".into(), (count + 1).into());
    value.insert("lastTimestamp".into(), clock::whole_seconds(now).into());
    value
}

/// What there is room for of a message: whole words, and a sign that there was more.
fn shortened(message: &str) -> Cow<'_, str> {
    const MORE: &str = " …";
    if message.len() <= MESSAGE_BYTES {
        return message.into();
    }
    // The space after the last word that has room is within reach, too.
    let reach = message.floor_char_boundary(MESSAGE_BYTES - MORE.len() + 1);
    let room = message.floor_char_boundary(MESSAGE_BYTES - MORE.len());
    let words = message[..reach].rfind(' ').filter(|end| *end > room / 2).unwrap_or(room);
    format!("{}{MORE}", message[..words].trim_end()).into()
}

fn said_first(
    note: &Note,
    about: Option<&Entry>,
    uid: Option<&str>,
    now: Timestamp,
) -> Map<String, Value> {
    let mut event = note.event(uid);
    event["metadata"]["uid"] = crate::ids::random_uid().into();
    event["metadata"]["creationTimestamp"] = clock::whole_seconds(now).into();
    if let Some(about) = about {
        event["involvedObject"]["resourceVersion"] = about.revision().to_string().into();
    }
    match event {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_end_with_a_whole_word() {
        assert_eq!(shortened("all of it"), "all of it");
        let full = "x".repeat(MESSAGE_BYTES);
        assert_eq!(shortened(&full), full);

        let cut =
            shortened(&format!("{} http[3].match", "a".repeat(MESSAGE_BYTES - 10))).into_owned();
        assert_eq!(cut, format!("{} …", "a".repeat(MESSAGE_BYTES - 10)));
        // A word that just has room stays.
        let fits = "a".repeat(MESSAGE_BYTES - " …".len());
        assert_eq!(shortened(&format!("b {} c d e", &fits[2..])), format!("b {} …", &fits[2..]));
        let long = "x".repeat(2 * MESSAGE_BYTES);
        for endless in [format!("one {long}"), long, "ü".repeat(MESSAGE_BYTES)] {
            let cut = shortened(&endless);
            assert!(cut.len() <= MESSAGE_BYTES && cut.len() > MESSAGE_BYTES - 5, "{}", cut.len());
            assert!(cut.ends_with(" …"));
        }
    }
}

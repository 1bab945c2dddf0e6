//! What is found out about objects, written to the API server that they come from: conditions by server-side apply, and events.
//!
//! Of several processes the one writes that leads. All keep what they know of conditions, so that whoever takes over writes what
//! differs from what is there, and no more. Nothing is written that says what is there already: no write begets another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_api::{KindInfo, ObjectKey, Scope};
use tidegate_apiserver::store::{Condition, Note};
use tidegate_pilot::status;
use tidegate_source::cluster::{self, Ask, Client};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::sink::{is_elsewhere, managers};
use super::verdicts::{self, Verdicts};
use super::{Sink, Update, until};
use crate::events::{self, Allowance};

/// Objects that are written at a time: a server has others to serve.
const AT_ONCE: usize = 8;
/// Events kept per object while the server is slow; later ones say more.
const MOST_NOTES: usize = 8;
/// What is kept of events while another leads: for longer than it takes to take over from one that is gone, and so many at most.
const MISSED_FOR: Duration = Duration::from_secs(30);
const MOST_MISSED: usize = 256;
/// The first wait after a failure, and the longest: each is twice the one before.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Status and events of the objects of an API server. Clones lead to the same task.
#[derive(Clone, Debug)]
pub struct ToCluster(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    /// The field manager.
    manager: String,
    leads: watch::Receiver<bool>,
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Objects of which something is known, as long as they are there.
    known: BTreeMap<ObjectKey, Known>,
    /// Those of which something may have to be written.
    due: BTreeSet<ObjectKey>,
    /// Those that could not be written, and are tried again after a while.
    later: BTreeSet<ObjectKey>,
    /// Events of the last while in which another led, which may be gone without having written them.
    missed: VecDeque<(Instant, Note)>,
    /// What was told of what went wrong: once, until all goes well.
    fault: Option<String>,
}

/// What is known of an object.
#[derive(Clone, Debug, Default)]
struct Known {
    conditions: Vec<Condition>,
    notes: Vec<Said>,
    allowance: Option<Allowance>,
}

/// An event that is to be written.
#[derive(Clone, Debug)]
struct Said {
    note: Note,
    /// Whether another may have written it: then it is not counted again.
    told: bool,
}

impl Sink for ToCluster {
    const IS_LOG: bool = false;

    async fn write(&self, key: ObjectKey, update: Update) {
        let leads = *self.0.leads.borrow();
        self.0.state().take_in(key, update, leads);
        self.0.ready.notify_one();
    }
}

impl State {
    fn take_in(&mut self, key: ObjectKey, update: Update, leads: bool) {
        if update.gone {
            self.known.remove(&key);
            self.due.remove(&key);
            self.later.remove(&key);
            self.missed.retain(|(_, note)| note.about != key);
        }
        let info = key.kind.info();
        // What Kubernetes builds in has a status of its own.
        let conditions =
            if info.status_subresource && !info.built_in { update.conditions } else { Vec::new() };
        // What is for others is no news of theirs.
        let mut notes = update.notes;
        notes.retain(|note| !status::is_elsewhere(&note.reason));
        let now = Instant::now();
        if !leads {
            // Who leads tells them: what happens here happens to him, too.
            self.missed.extend(std::mem::take(&mut notes).into_iter().map(|note| (now, note)));
            self.forget_missed(now);
        }
        if conditions.is_empty() && notes.is_empty() {
            return;
        }
        let known = self.known.entry(key.clone()).or_default();
        for condition in conditions {
            known.conditions.retain(|older| older.name != condition.name);
            known.conditions.push(condition);
        }
        known.add(notes.into_iter().map(|note| Said { note, told: false }), now);
        self.due.insert(key);
    }

    fn forget_missed(&mut self, now: Instant) {
        let long = |(since, _): &(Instant, Note)| now.duration_since(*since) > MISSED_FOR;
        while self.missed.len() > MOST_MISSED || self.missed.front().is_some_and(long) {
            self.missed.pop_front();
        }
    }

    /// Everything may have to be written: nobody else does from now on.
    fn take_over(&mut self, now: Instant) {
        self.forget_missed(now);
        for (_, note) in std::mem::take(&mut self.missed) {
            let known = self.known.entry(note.about.clone()).or_default();
            known.add([Said { note, told: true }], now);
        }
        self.due = self.known.keys().cloned().collect();
        self.later.clear();
    }

    /// What is to be looked at now.
    fn take_due(&mut self) -> Vec<(ObjectKey, Known)> {
        let due = std::mem::take(&mut self.due);
        let taken = due.into_iter().filter_map(|key| {
            let known = self.known.get_mut(&key)?;
            let notes = std::mem::take(&mut known.notes);
            Some((key, Known { notes, ..known.clone() }))
        });
        taken.collect()
    }

    /// It could not be written, and will have to be.
    fn put_off(&mut self, key: ObjectKey, notes: Vec<Said>) {
        let Some(known) = self.known.get_mut(&key) else { return };
        let newer = std::mem::replace(&mut known.notes, notes);
        known.notes.extend(newer);
        known.notes.drain(..known.notes.len().saturating_sub(MOST_NOTES));
        self.later.insert(key);
    }

    /// The while is over.
    fn try_again(&mut self) {
        let mut later = std::mem::take(&mut self.later);
        self.due.append(&mut later);
    }
}

impl Known {
    fn add(&mut self, notes: impl IntoIterator<Item = Said>, now: Instant) {
        let allowance = &mut self.allowance;
        let may = |_: &Said| allowance.get_or_insert_with(|| Allowance::new(now)).take(now);
        self.notes.extend(notes.into_iter().filter(may));
        self.notes.drain(..self.notes.len().saturating_sub(MOST_NOTES));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ToCluster {
    /// Starts to write as `manager` while it `leads`. Needs a runtime, with which it ends.
    pub fn start(client: Client, manager: String, leads: watch::Receiver<bool>) -> Self {
        let (state, ready) = (Mutex::default(), Notify::new());
        let this = Self(Arc::new(Shared { client, manager, leads: leads.clone(), state, ready }));
        tokio::spawn(this.clone().run(leads));
        this
    }

    async fn run(self, mut leads: watch::Receiver<bool>) {
        while leads.wait_for(|leads| *leads).await.is_ok() {
            self.0.state().take_over(Instant::now());
            // What is under way when somebody else leads is given up at once.
            tokio::select! {
                never = self.write_on() => never,
                _ = leads.wait_for(|leads| !*leads) => {}
            }
        }
    }

    async fn write_on(&self) {
        let (mut wait, mut retry) = (FIRST, None);
        loop {
            if retry.is_some_and(|at| at <= Instant::now()) {
                self.0.state().try_again();
                retry = None;
            }
            let due = self.0.state().take_due();
            if due.is_empty() {
                tokio::select! {
                    () = self.0.ready.notified() => {}
                    () = until(retry) => {}
                }
                continue;
            }
            self.write_all(due).await;
            let mut state = self.0.state();
            if state.later.is_empty() {
                (wait, retry, state.fault) = (FIRST, None, None);
            } else if retry.is_none() {
                // What fails holds up nothing else.
                retry = Some(Instant::now() + wait);
                wait = (wait * 2).min(LONGEST);
            }
        }
    }

    /// Writes all of them, few at a time.
    async fn write_all(&self, due: Vec<(ObjectKey, Known)>) {
        let mut writes = JoinSet::new();
        for (key, known) in due {
            if writes.len() == AT_ONCE {
                writes.join_next().await;
            }
            writes.spawn(self.clone().write(key, known));
        }
        while writes.join_next().await.is_some() {}
    }

    async fn write(self, key: ObjectKey, known: Known) {
        let Known { conditions, mut notes, .. } = known;
        let Err(why) = self.try_write(&key, &conditions, &mut notes).await else { return };
        let mut state = self.0.state();
        if let Some(why) = why.filter(|why| state.fault.as_ref() != Some(why)) {
            tracing::warn!("what is found out about objects waits to be written: {key}: {why}");
            state.fault = Some(why);
        }
        state.put_off(key, notes);
    }

    /// Writes what differs; notes that were written are taken out. Why it could not: nothing is to be said where somebody has
    /// changed the object at the same time.
    async fn try_write(
        &self,
        key: &ObjectKey,
        conditions: &[Condition],
        notes: &mut Vec<Said>,
    ) -> Result<(), Option<String>> {
        let Some((version, object)) = self.read(key).await? else { return Ok(()) };
        if let Some(verdicts) = self.news(&object, conditions) {
            self.apply(key, version, &object, verdicts).await?;
        }
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        while let Some(Said { note, told }) = notes.first() {
            let client = &self.0.client;
            let written = match told {
                true => events::create(client, uid, note).await.map(drop),
                false => events::write(client, uid, note).await,
            };
            written.map_err(|why| why.to_string())?;
            notes.remove(0);
        }
        Ok(())
    }

    /// The object as it is, in the first of its versions that is served; nothing if it is gone.
    async fn read(&self, key: &ObjectKey) -> Result<Option<(&'static str, Value)>, String> {
        for &version in key.kind.info().versions {
            let path = path(key, version);
            let answer = self.0.client.send(Ask::new(Method::GET, &path)).await?;
            match answer.status {
                status if status.is_success() => return Ok(Some((version, answer.body))),
                _ if answer.not_served() => {}
                StatusCode::NOT_FOUND => return Ok(None),
                _ => return Err(answer.refusal()),
            }
        }
        Ok(None)
    }

    /// The object's status with these conditions, where that is something new, and ours to say.
    fn news(&self, object: &Value, conditions: &[Condition]) -> Option<Verdicts> {
        let ours = || managers(object).any(|manager| manager == self.0.manager);
        if conditions.is_empty() || is_elsewhere(conditions) && !ours() {
            return None;
        }
        verdicts::news(&object["status"], &self.0.manager, conditions)
    }

    /// Applies them. The list of conditions is one value for Istio's kinds, so that others' stay in it; nobody's are lost, as only the
    /// form that was read may be replaced.
    async fn apply(
        &self,
        key: &ObjectKey,
        version: &str,
        object: &Value,
        verdicts: Verdicts,
    ) -> Result<(), Option<String>> {
        let (info, metadata) = (key.kind.info(), &object["metadata"]);
        let manager = &self.0.manager;
        let mut status = json!({ "conditions": verdicts.conditions });
        if let Some(own) = verdicts.own {
            status[verdicts::GATEWAYS] = json!({ manager: own });
        }
        let body = json!({
            "apiVersion": KindInfo::api_version(info.group, version),
            "kind": info.name,
            "metadata": {
                "name": *key.name,
                "namespace": *key.namespace,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "status": status,
        });
        let path = format!("{}/status?fieldManager={manager}&force=true", path(key, version));
        let ask = Ask::new(Method::PATCH, &path)
            .with("application/apply-patch+yaml", body.to_string().into_bytes());
        let answer = self.0.client.send(ask).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Ok(()),
            StatusCode::CONFLICT => Err(None),
            _ => Err(Some(answer.refusal())),
        }
    }
}

fn path(key: &ObjectKey, version: &str) -> String {
    let info = key.kind.info();
    let namespace = (info.scope == Scope::Namespaced).then_some(&*key.namespace);
    cluster::path((info.group, version), info.plural, namespace, Some(&key.name))
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;
    use tidegate_apiserver::store::Tone;

    use super::*;

    fn update(reason: &str) -> Update {
        let condition = Condition {
            name: "Programmed",
            holds: Some(true),
            reason: reason.to_owned(),
            message: String::new(),
            generation: 1,
        };
        let note = Note {
            about: key(),
            tone: Tone::Warning,
            reason: reason.to_owned(),
            message: String::new(),
        };
        Update { conditions: vec![condition], notes: vec![note], ..Update::default() }
    }

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::Gateway, "default", "a")
    }

    #[test]
    fn events_of_the_last_while_are_told_by_whoever_takes_over() {
        let now = Instant::now();
        let mut state = State::default();
        state.take_in(key(), update("Served"), false);
        state.take_over(now);
        let due = state.take_due();
        assert!(matches!(&due[..], [(_, known)] if known.notes.len() == 1 && known.notes[0].told));
        assert!(state.missed.is_empty());
        state.take_over(now);
        let due = state.take_due();
        assert!(matches!(&due[..], [(_, known)] if known.notes.is_empty()), "they are told once");
        // What is long ago the one before has told.
        state.take_in(key(), update("Refused"), false);
        state.take_over(now + MISSED_FOR + Duration::from_secs(60));
        assert!(state.take_due()[0].1.notes.is_empty());
        // What is gone is no news, and there is a bound.
        state.take_in(key(), update("Refused"), false);
        state.take_in(key(), Update { gone: true, ..Update::default() }, false);
        assert!(state.missed.is_empty());
        (0..2 * MOST_MISSED).for_each(|_| state.take_in(key(), update("Refused"), false));
        assert_eq!(state.missed.len(), MOST_MISSED);
    }

    #[test]
    fn who_does_not_lead_keeps_conditions_and_tells_no_events() {
        let mut state = State::default();
        state.take_in(key(), update("Served"), false);
        state.take_in(key(), update("Refused"), false);
        let due = state.take_due();
        assert!(matches!(&due[..], [(_, known)] if known.notes.is_empty()));
        assert_eq!(due[0].1.conditions.len(), 1);
        assert_eq!(due[0].1.conditions[0].reason, "Refused");
        assert!(state.take_due().is_empty());
        // Another object of the name begins anew.
        let gone = Update { gone: true, ..Update::default() };
        state.take_in(key(), gone, false);
        assert!(state.known.is_empty() && state.due.is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_kept_up_to_a_bound() {
        let mut state = State::default();
        for _ in 0..3 * MOST_NOTES {
            state.take_in(key(), update("Served"), true);
        }
        let due = state.take_due();
        assert_eq!(due[0].1.notes.len(), MOST_NOTES);
        state.take_in(key(), update("News"), true);
        state.put_off(key(), due[0].1.notes.clone());
        state.try_again();
        let due = state.take_due();
        let last = due[0].1.notes.last().map(|said| said.note.reason.as_str());
        assert_eq!((due[0].1.notes.len(), last), (MOST_NOTES, Some("News")));
        // What is gone is not written any more.
        state.take_in(key(), Update { gone: true, ..Update::default() }, true);
        state.put_off(key(), Vec::new());
        state.try_again();
        assert!(state.take_due().is_empty());
    }

    #[test]
    fn no_events_tell_that_an_object_is_for_others() {
        let mut state = State::default();
        state.take_in(key(), update("NotSelected"), true);
        assert!(matches!(&state.take_due()[..], [(_, known)] if known.notes.is_empty()));
    }

    #[test]
    fn pods_and_services_have_a_status_of_their_own() {
        let mut state = State::default();
        let pod = ObjectKey::new(Kind::Pod, "default", "a");
        state.take_in(pod, update("Served"), false);
        assert!(state.take_due().is_empty());
    }
}

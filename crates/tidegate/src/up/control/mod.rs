//! The control loop: objects in, resources out, status back.
//!
//! It runs on a thread of its own, since compiling is work: neither the API nor a worker waits for it. Nothing
//! is published before all objects are known, so that the first thing that workers serve is whole.

mod faults;
mod outgoing;
mod programmed;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::thread;

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Changes, Condition, Note, Store, Tone};
use tidegate_pilot::status::{ConditionKind, StatusUpdate};
use tidegate_pilot::{Input, Options, Pilot};
use tidegate_source::Change;
use tidegate_xds::{Snapshot, Verdicts};
use tokio::sync::{oneshot, watch};

use self::faults::Faults;
pub use self::outgoing::Outgoing;
use self::outgoing::Update;
use self::programmed::{Programmed, Told};
use crate::ended::{self, Ended};

/// Changes compiled in one step: enough to make bursts cheap, few enough to keep each step short.
const BATCH: usize = 1024;

/// Starts the loop on a thread of its own, which ends with the process. `start` is told the snapshot generation that holds everything
/// there was at the start.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn start(
    store: &Store,
    snapshot: Snapshot,
    options: Options,
    outgoing: Outgoing,
    start: oneshot::Sender<u64>,
) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let control = Control {
        changes: store.changes(),
        verdicts: snapshot.verdicts(),
        pilot: Pilot::new(options),
        snapshot,
        programmed: Programmed::default(),
        faults: Faults::default(),
        outgoing,
    };
    let (alive, ended) = ended::pair();
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(control.run(start));
        drop(alive);
    })?;
    Ok(ended)
}

struct Control {
    changes: Changes,
    verdicts: watch::Receiver<Verdicts>,
    pilot: Pilot,
    snapshot: Snapshot,
    programmed: Programmed,
    faults: Faults,
    outgoing: Outgoing,
}

impl Control {
    async fn run(mut self, start: oneshot::Sender<u64>) {
        let first = self.everything().await;
        // Nobody waits for it when the process is ending already.
        let _ = start.send(self.apply(first));
        loop {
            tokio::select! {
                change = self.changes.next() => {
                    let batch = self.batch(change);
                    self.apply(batch);
                }
                heard = self.verdicts.changed() => match heard {
                    Ok(()) => self.hear(),
                    Err(_) => return,
                },
            }
        }
    }

    /// All objects that are there at the start.
    async fn everything(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            match self.changes.next().await {
                Change::Synced => return changes,
                change => changes.push(change),
            }
        }
    }

    /// A change, and those that came with it.
    fn batch(&mut self, first: Change) -> Vec<Change> {
        let mut batch = vec![first];
        // What stands in the place of a deleted object comes with it: nothing is off in between.
        while (batch.len() < BATCH || matches!(batch.last(), Some(Change::Delete(_))))
            && let Some(change) = self.changes.try_next()
        {
            batch.push(change);
        }
        batch
    }

    /// Compiles a batch and publishes what came out; the snapshot generation that holds it.
    fn apply(&mut self, batch: Vec<Change>) -> u64 {
        let mut versions = HashMap::new();
        for change in &batch {
            match change {
                Change::Apply(object) => {
                    versions.insert(object.key.clone(), object.resource_version);
                }
                Change::Delete(key) => {
                    self.programmed.forget(key);
                    self.outgoing.forget(key);
                    self.faults.forget(key);
                }
                Change::Invalid { .. } | Change::Synced => {}
            }
        }
        let output = self.pilot.apply(batch.into_iter().filter_map(input));
        let generation = self.snapshot.publish(output.change);
        let mut applied: BTreeMap<ObjectKey, i64> = output.applied.into_iter().collect();
        for status in output.status {
            if self.faults.note(&status) {
                applied.insert(status.key.clone(), status.generation);
            }
            let version = versions.get(&status.key).copied();
            self.outgoing.push(status.key.clone(), update(status, version));
        }
        self.programmed.applied(generation, applied.into_iter().collect());
        // What changes nothing for the proxy is served already, and no verdict will say so again.
        self.hear();
        generation
    }

    fn hear(&mut self) {
        let verdicts = self.verdicts.borrow_and_update();
        let told = self.programmed.heard(&verdicts, |kind, name| self.pilot.owners(kind, name));
        drop(verdicts);
        for told in told {
            let update = programmed(&told, self.faults.of(&told.key));
            self.outgoing.push(told.key, update);
        }
    }
}

fn input(change: Change) -> Option<Input> {
    match change {
        Change::Apply(object) => Some(Input::Apply(object)),
        Change::Delete(key) => Some(Input::Delete(key)),
        Change::Invalid { key, generation, errors } => {
            Some(Input::Invalid { key, generation, errors })
        }
        Change::Synced => None,
    }
}

/// What pilot says of an object; `version` is the form that it was given just now, if any.
fn update(status: StatusUpdate, version: Option<u64>) -> Update {
    let reconciled =
        |c: &tidegate_pilot::status::Condition| c.kind == ConditionKind::Reconciled && c.holds;
    let good = version.filter(|_| status.conditions.iter().any(reconciled));
    let about = status.key;
    let notes = status.events.into_iter().map(|event| Note {
        about: about.clone(),
        tone: if event.warning { Tone::Warning } else { Tone::Normal },
        reason: event.reason.to_owned(),
        message: event.message,
    });
    let notes = notes.collect();
    let conditions = status.conditions.into_iter().map(|condition| Condition {
        name: condition.kind.as_str(),
        holds: Some(condition.holds),
        reason: condition.reason.to_owned(),
        message: condition.message,
    });
    let mut conditions: Vec<Condition> = conditions.collect();
    if conditions.is_empty() {
        conditions = ["Reconciled", "ResolvedRefs", "Programmed"].map(not_served_here).into();
    }
    Update { generation: status.generation, conditions, notes, good }
}

/// The gateway served the object and does not any more: its labels or the object's selector changed.
fn not_served_here(name: &'static str) -> Condition {
    let message = "no gateway of this process serves the object any more".to_owned();
    Condition { name, holds: None, reason: "NotSelected".to_owned(), message }
}

/// The condition `Programmed`, and an event when the proxy refuses.
fn programmed(told: &Told, fault: Option<&str>) -> Update {
    let (reason, message) = match (&told.refusal, fault) {
        (Some(refusal), _) => ("Refused", refusal.clone()),
        (None, Some(fault)) => ("NotReconciled", format!("not in force as it is written: {fault}")),
        (None, None) => ("Served", "every worker serves it".to_owned()),
    };
    let note = told.refusal.is_some().then(|| Note {
        about: told.key.clone(),
        tone: Tone::Warning,
        reason: reason.to_owned(),
        message: message.clone(),
    });
    let condition = Condition {
        name: "Programmed",
        holds: Some(reason == "Served"),
        reason: reason.to_owned(),
        message,
    };
    Update {
        generation: told.generation,
        conditions: vec![condition],
        notes: note.into_iter().collect(),
        good: None,
    }
}

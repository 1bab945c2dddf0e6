//! The control loop: objects in, resources out, status back.
//!
//! It runs on a thread of its own, since compiling is work: neither the API nor a worker waits for it. Nothing
//! is published before all objects are known, so that the first thing that workers serve is whole.

mod conditions;
mod confirmed;
mod notices;
mod outgoing;
mod programmed;
mod secrets;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread;

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Changes, Note, Store, Tone};
use tidegate_pilot::status::{Force, Standing};
use tidegate_pilot::{Input, Options, Pilot, RefusedSecret, Remark};
use tidegate_source::{Change, NamedFiles};
use tidegate_xds::{ResourceType, Snapshot, Verdicts};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::confirmed::Confirmed;
use self::notices::Notices;
pub use self::outgoing::Outgoing;
use self::outgoing::Update;
use self::programmed::Programmed;
use self::secrets::Unusable;
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let control = Control {
        changes: store.changes(),
        verdicts: snapshot.verdicts(),
        pilot: Pilot::new(options),
        snapshot,
        programmed: Programmed::default(),
        confirmed: Confirmed::default(),
        refused: BTreeMap::new(),
        unusable: Unusable::default(),
        notices: Notices::default(),
        files: NamedFiles::default(),
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
    confirmed: Confirmed,
    /// The secrets that the proxy refuses.
    refused: BTreeMap<Arc<str>, RefusedSecret>,
    unusable: Unusable,
    notices: Notices,
    /// Certificates, keys and authorities that objects name.
    files: NamedFiles,
    outgoing: Outgoing,
}

impl Control {
    async fn run(mut self, start: oneshot::Sender<u64>) {
        let (first, later) = self.everything().await;
        let mut generation = self.apply(first);
        if !later.is_empty() {
            // What refuses a later form has to have the one before.
            self.served(generation).await;
            generation = self.apply(later);
        }
        // Nobody waits for it when the process is ending already.
        let _ = start.send(generation);
        loop {
            let due = self.notices.next();
            tokio::select! {
                () = until(due) => self.settle(),
                () = self.files.due() => {
                    self.read();
                }
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

    /// All objects that are there at the start; where there is a last good form and a later one, the latter apart.
    async fn everything(&mut self) -> (Vec<Change>, Vec<Change>) {
        let (mut first, mut later) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        loop {
            match self.changes.next().await {
                Change::Synced => return (first, later),
                Change::Apply(object) if !seen.insert(object.key.clone()) => {
                    later.push(Change::Apply(object));
                }
                change => first.push(change),
            }
        }
    }

    /// Waits until every worker serves a generation.
    async fn served(&mut self, generation: u64) {
        while self.verdicts.borrow().served().is_none_or(|served| served < generation) {
            if self.verdicts.changed().await.is_err() {
                return;
            }
        }
        self.hear();
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
                    self.confirmed.forget(key);
                    self.notices.forget(key);
                    self.unusable.forget(key);
                    self.outgoing.forget(key);
                }
                Change::Invalid { .. } | Change::Synced => {}
            }
        }
        let generation = self.compile(batch.into_iter().filter_map(input).collect(), versions);
        self.files.follow(&self.pilot.files());
        self.read().unwrap_or(generation)
    }

    /// Reads files that objects name, where they are new or different; the generation that holds what came out of it.
    fn read(&mut self) -> Option<u64> {
        let news = self.files.look();
        let inputs = news.into_iter().map(|(name, content)| Input::File { name, content });
        let inputs: Vec<Input> = inputs.collect();
        (!inputs.is_empty()).then(|| self.compile(inputs, HashMap::new()))
    }

    /// Compiles inputs, publishes what came out, and tells what is to be said; the snapshot generation.
    fn compile(&mut self, inputs: Vec<Input>, versions: HashMap<ObjectKey, u64>) -> u64 {
        let output = self.pilot.apply(inputs);
        self.look_at_secrets(output.secrets);
        let generation = self.snapshot.publish(output.change);
        for status in output.status {
            let standing = self.pilot.standing(&status.key);
            let key = status.key.clone();
            let update = conditions::compiled(status, standing);
            leave(&mut self.notices, &self.outgoing, key, update);
        }
        for Remark { key, reason, message } in output.remarks {
            tracing::warn!(object = %key, reason, "{message}");
            let reason = reason.to_owned();
            self.outgoing.note(Note { about: key, tone: Tone::Warning, reason, message });
        }
        self.programmed.applied(generation, output.applied);
        self.confirmed.applied(generation, versions);
        // What changes nothing for the proxy is served already, and no verdict will say so again.
        self.hear();
        generation
    }

    fn hear(&mut self) {
        let verdicts = self.verdicts.borrow_and_update();
        let refused = RefusedSecret::among(verdicts.rejections().map(|(_, rejection)| rejection));
        if refused != self.refused {
            drop(verdicts);
            self.refused.clone_from(&refused);
            // It hears what else there is when it has compiled that.
            self.compile(vec![Input::Refused(refused)], HashMap::new());
            return;
        }
        let told = self.programmed.heard(&verdicts, &self.pilot);
        let served = verdicts.served();
        drop(verdicts);
        let unfit = |key: &ObjectKey| self.programmed.is_unfit(key) || self.pilot.is_broken(key);
        for (key, version) in self.confirmed.heard(served, unfit) {
            self.outgoing.confirm(key, version);
        }
        for told in told {
            if let Some(standing) = self.pilot.standing(&told.key) {
                let closed = self.closed(standing);
                let key = told.key.clone();
                let update = conditions::programmed(told, standing, closed);
                leave(&mut self.notices, &self.outgoing, key, update);
            }
        }
    }

    /// Notes which of these Secrets cannot be used, and what is to be said about it.
    fn look_at_secrets(&mut self, secrets: BTreeSet<ObjectKey>) {
        for (key, condition) in self.unusable.look(secrets, |key| self.pilot.secret_use(key)) {
            for note in self.notices.heard(Instant::now(), &key, &[condition]) {
                self.outgoing.note(note);
            }
        }
    }

    /// Tells what has been false for long enough.
    fn settle(&mut self) {
        for note in self.notices.settled(Instant::now()) {
            self.outgoing.note(note);
        }
    }

    /// Why no listener is open that an object acts through, with the names of its Gateways.
    fn closed(&self, standing: &Standing) -> Option<String> {
        let Force::Through(listeners) = &standing.force else { return None };
        let (listener, refusal) = self.programmed.closed(listeners)?;
        let gateways = programmed::Origins::owners(&self.pilot, ResourceType::Listener, listener);
        let names = gateways.iter().map(|key| format!("{}/{}", key.namespace, key.name));
        let names: Vec<String> = names.collect();
        Some(format!("Gateway {} is not programmed: {refusal}", names.join(", ")))
    }
}

/// Leaves an update to be written, with what is to be said about it at once.
fn leave(notices: &mut Notices, outgoing: &Outgoing, key: ObjectKey, mut update: Update) {
    update.notes = notices.heard(Instant::now(), &key, &update.conditions);
    outgoing.push(key, update);
}

/// Waits for a moment; forever where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
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

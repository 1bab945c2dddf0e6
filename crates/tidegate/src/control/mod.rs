//! The control loop: objects in, resources out, and what is found out about objects back.
//!
//! Objects come from a [`Feed`], and a [`Sink`] takes what is said of them: the store of the embedded API is both; an API
//! server is told by whoever of several processes leads ([`ToCluster`]); where there is none, the log is ([`InWords`]).
//!
//! It runs on a thread of its own, since compiling is work: neither the API nor a worker waits for it. Nothing
//! is published before all objects are known, so that the first thing that workers serve is whole.

mod awaited;
mod cluster;
mod conditions;
mod confirmed;
pub mod departed;
mod feed;
mod incidents;
mod lacks;
mod names;
mod notices;
mod outgoing;
mod programmed;
mod secrets;
mod sink;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread;

use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::store::{Condition, Note, Tone};
use tidegate_pilot::status::{Force, Standing};
use tidegate_pilot::{FaultySecret, Input, Options, Pilot, Remark, UnfetchedKeys};
use tidegate_proxy::upstream::incident::Incident;
use tidegate_proxy::view::View;
use tidegate_source::{Change, Issuers, NamedFiles};
use tidegate_xds::{ResourceType, Snapshot, Verdicts};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::awaited::Awaited;
pub use self::cluster::ToCluster;
use self::conditions::Closed;
use self::confirmed::Confirmed;
pub use self::feed::Feed;
use self::lacks::Lacks;
pub use self::names::Names;
use self::notices::Notices;
pub use self::outgoing::{Outgoing, Update};
use self::programmed::Programmed;
use self::secrets::Unusable;
pub use self::sink::{InWords, Sink, ToStore, Told};
use crate::ended::{self, Ended};

/// Changes compiled in one step: enough to make bursts cheap, few enough to keep each step short.
const BATCH: usize = 1024;

/// What the loop is connected with, beside its feed.
pub struct Neighbours {
    /// What is compiled goes there, and comes back as verdicts.
    pub snapshot: Snapshot,
    /// What is found out about objects goes there.
    pub outgoing: Outgoing,
    /// What the data plane shows.
    pub view: Arc<View>,
    /// What happens to endpoints, and to their names.
    pub incidents: mpsc::UnboundedReceiver<Incident>,
    /// The table that a workload's queries are answered from.
    pub names: Option<Names>,
    /// The Pod of the workload, where what happens to that is told as events of it.
    pub pod: Option<Told>,
}

/// Starts the loop on a thread of its own, which ends with the process. `start` is told the snapshot generation that holds everything
/// there was at the start.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn start(
    feed: impl Feed,
    options: Options,
    neighbours: Neighbours,
    start: oneshot::Sender<u64>,
) -> io::Result<Ended> {
    let Neighbours { snapshot, outgoing, view, incidents, names, pod } = neighbours;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let control = Control {
        issuers: Issuers::new(Arc::clone(&options.system_roots)),
        feed,
        verdicts: snapshot.verdicts(),
        pilot: Pilot::new(options),
        snapshot,
        programmed: Programmed::default(),
        awaited: Awaited::default(),
        confirmed: Confirmed::default(),
        faulty: BTreeMap::new(),
        unfetched: UnfetchedKeys::default(),
        unusable: Unusable::default(),
        notices: Notices::default(),
        lacks: Lacks::default(),
        files: NamedFiles::default(),
        outgoing,
        view,
        incidents,
        names,
        pod,
    };
    let (alive, ended) = ended::pair();
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(control.run(start));
        drop(alive);
    })?;
    Ok(ended)
}

struct Control<F> {
    feed: F,
    verdicts: watch::Receiver<Verdicts>,
    pilot: Pilot,
    snapshot: Snapshot,
    programmed: Programmed,
    awaited: Awaited,
    confirmed: Confirmed,
    /// What the proxy finds wrong with secrets.
    faulty: BTreeMap<Arc<str>, FaultySecret>,
    /// The keys of tokens that it cannot fetch.
    unfetched: UnfetchedKeys,
    unusable: Unusable,
    notices: Notices,
    /// Secrets that a workload's connections need, and that are not there.
    lacks: Lacks,
    /// Certificates, keys and authorities that objects name.
    files: NamedFiles,
    /// Issuers of tokens that say where their keys are.
    issuers: Issuers,
    outgoing: Outgoing,
    /// Where it is counted what the proxy was not given.
    view: Arc<View>,
    /// What happens to endpoints, and to their names.
    incidents: mpsc::UnboundedReceiver<Incident>,
    /// The table that a workload's queries are answered from.
    names: Option<Names>,
    pod: Option<Told>,
}

impl<F: Feed> Control<F> {
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
            let due = self.notices.next().into_iter().chain(self.lacks.next()).min();
            tokio::select! {
                () = until(due) => self.settle(),
                () = self.files.due() => {
                    self.read();
                }
                (issuer, keys) = self.issuers.next() => {
                    self.compile(vec![Input::Discovered { issuer, keys }], HashMap::new());
                    self.follow();
                }
                change = self.feed.next() => {
                    let batch = self.batch(change);
                    self.apply(batch);
                }
                Some(incident) = self.incidents.recv() => {
                    self.tell_of(&incident);
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
            match self.feed.next().await {
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
            && let Some(change) = self.feed.try_next()
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
                    self.awaited.forget(key);
                    self.notices.forget(key);
                    self.unusable.forget(key);
                    self.outgoing.forget(key);
                    if let Some(pod) = self.pod.as_ref().filter(|pod| pod.about == *key) {
                        pod.gone.notify_one();
                    }
                }
                Change::Invalid { .. } | Change::Synced => {}
            }
        }
        let generation = self.compile(batch.into_iter().filter_map(input).collect(), versions);
        self.follow().unwrap_or(generation)
    }

    /// Follows the files and issuers that objects name now; the generation that holds what is known of them already.
    fn follow(&mut self) -> Option<u64> {
        self.files.follow(&self.pilot.files());
        self.issuers.follow(&self.pilot.issuers());
        self.read()
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
        // Why a secret is not there is known before a handshake needs it.
        self.tell_lacks(&output.lacking);
        self.view.learn_lacks(output.lacking);
        let generation = self.snapshot.publish(output.change);
        if let Some(names) = &mut self.names {
            names.compiled(generation, output.names);
        }
        output.withheld.iter().for_each(|secret| self.view.count_withheld(secret));
        self.look_at_secrets(output.secrets, generation);
        for status in output.status {
            let standing = self.pilot.standing(&status.key);
            let key = status.key.clone();
            let mut update = conditions::compiled(status, standing);
            update.conditions = self.awaited.found(generation, &key, update.conditions);
            leave(&mut self.notices, &self.outgoing, key, update);
        }
        for Remark { key, reason, message } in output.remarks {
            tracing::warn!(object = %key, reason, "{message}");
            let reason = reason.to_owned();
            self.outgoing.note_logged(Note { about: key, tone: Tone::Warning, reason, message });
        }
        self.programmed.applied(generation, output.applied);
        self.confirmed.applied(generation, versions);
        // What changes nothing for the proxy is served already, and no verdict will say so again.
        self.hear();
        generation
    }

    fn hear(&mut self) {
        let verdicts = self.verdicts.borrow_and_update();
        let rejected = verdicts.rejections().map(|(_, rejection)| rejection);
        let faulty = FaultySecret::among(rejected, verdicts.doubtful());
        let unfetched = UnfetchedKeys::among(verdicts.unfetched());
        if faulty != self.faulty || unfetched != self.unfetched {
            drop(verdicts);
            self.faulty.clone_from(&faulty);
            self.unfetched.clone_from(&unfetched);
            // It hears what else there is when it has compiled that.
            let inputs = vec![Input::Faulty(faulty), Input::Unfetched(unfetched)];
            self.compile(inputs, HashMap::new());
            return;
        }
        let told = self.programmed.heard(&verdicts, &self.pilot);
        let served = verdicts.served();
        drop(verdicts);
        if let Some(names) = &mut self.names {
            names.heard(served);
        }
        for (key, condition) in self.awaited.served(served) {
            self.tell(key, condition);
        }
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

    /// Notes which of these Secrets cannot be used, as of a snapshot generation, and what is to be said about it.
    fn look_at_secrets(&mut self, secrets: BTreeSet<ObjectKey>, snapshot: u64) {
        for (key, condition) in self.unusable.look(secrets, |key| self.pilot.secret_use(key)) {
            for condition in self.awaited.found(snapshot, &key, vec![condition]) {
                self.tell(key.clone(), condition);
            }
        }
    }

    /// Tells a condition of an object: of Secrets, which have no status, by events alone.
    fn tell(&mut self, key: ObjectKey, condition: Condition) {
        if key.kind == Kind::Secret {
            for note in self.notices.heard(Instant::now(), &key, &[condition]) {
                self.outgoing.note(note);
            }
            return;
        }
        let update = Update { conditions: vec![condition], ..Update::default() };
        leave(&mut self.notices, &self.outgoing, key, update);
    }

    /// Tells what the proxy has found: the objects that it comes from, and the workload's Pod, if somebody shows that.
    fn tell_of(&self, incident: &Incident) {
        for note in incidents::notes(incident, &self.pilot) {
            match incident {
                Incident::Endpoint(_) | Incident::Tls(_) => self.outgoing.note_logged(note),
                Incident::Name(_) | Incident::Egress(_) => self.outgoing.note(note),
            }
        }
        let of_pod = self.pod.as_ref().and_then(|pod| incidents::note(incident, pod.about.clone()));
        of_pod.into_iter().for_each(|note| self.outgoing.note(note));
    }

    /// Takes in why secrets are not there, which is a sidecar's to tell by its log: a gateway's objects have it in their status.
    fn tell_lacks(&mut self, lacking: &[(Arc<str>, Option<String>)]) {
        if self.outgoing.is_log() {
            let needed = |secret: &str| self.pilot.cannot_do_without(secret);
            for secret in self.lacks.learn(Instant::now(), lacking, needed) {
                tracing::info!(%secret, "what connections need of it is there again");
            }
        }
    }

    /// Tells what has been false for long enough.
    fn settle(&mut self) {
        for why in self.lacks.settled(Instant::now()) {
            tracing::warn!("{}", lacks::in_words(&why));
        }
        for note in self.notices.settled(Instant::now()) {
            self.outgoing.note(note);
        }
    }

    /// Which listeners are not open that an object acts through, and why, with the names of their Gateways.
    fn closed(&self, standing: &Standing) -> Option<Closed> {
        let Force::Through(listeners) = &standing.force else { return None };
        let closed = self.programmed.closed(listeners);
        let told = |(listener, refusal): &(&Arc<str>, &str)| {
            let gateways =
                programmed::Origins::owners(&self.pilot, ResourceType::Listener, listener);
            let names = gateways.iter().map(|key| format!("{}/{}", key.namespace, key.name));
            (names.collect::<Vec<_>>().join(", "), refusal.to_string())
        };
        if closed.len() == listeners.len() {
            let (names, refusal) = told(closed.first()?);
            return Some(Closed::All(format!("Gateway {names} is not programmed: {refusal}")));
        }
        let some = closed.iter().map(told).map(|(names, why)| format!("Gateway {names}: {why}"));
        let some = some.collect::<Vec<_>>().join("; ");
        (!some.is_empty()).then_some(Closed::Some(some))
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
        Change::Invalid { key, generation, errors, selector } => {
            Some(Input::Invalid { key, generation, errors, selector })
        }
        Change::Synced => None,
    }
}

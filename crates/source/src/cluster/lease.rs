//! Which of several processes does what only one may do: whoever holds a Lease (`coordination.k8s.io/v1`), by the rules of
//! client-go's leader election, so that both understand each other.
//!
//! Clocks do not matter. Whether a holder is gone is judged by how long its record has not changed here, never by the times in
//! it; and a holder that could not renew ceases to be one sooner than anybody else may take its place.

use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::client::{Answer, Ask, Client};

const API_VERSION: &str = "coordination.k8s.io/v1";

/// How long things take. Those of client-go by default.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long others wait after the last sign of the holder before they take the Lease.
    pub lasts: Duration,
    /// How long a holder that cannot renew goes on as one: shorter than `lasts`.
    pub renew_within: Duration,
    /// How often it is renewed, or tried for.
    pub every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            every: Duration::from_secs(2),
        }
    }
}

/// A Lease, and who tries for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where the Lease is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who tries: no two processes have the same.
    pub identity: String,
    /// How long things take.
    pub timing: Timing,
}

/// Tries for a Lease, and renews it when it has it, until this is dropped.
#[derive(Debug)]
pub struct Election {
    leads: watch::Receiver<bool>,
    /// Asks for the end, in which the Lease is given back.
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Election {
    /// Starts to try. Needs a runtime.
    #[must_use]
    pub fn start(client: Client, candidate: Candidate) -> Self {
        let (sender, leads) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let run = Run { client, candidate, seen: None, leads: sender, fault: None };
        Self { leads, stop: Some(stop), task: tokio::spawn(run.until(stopped)) }
    }

    /// Whether this process holds the Lease, now and from here on.
    #[must_use]
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Gives the Lease back, if it is held, so that others need not wait.
    pub async fn end(mut self) {
        if let Some(stop) = self.stop.take() {
            // One that has ended by itself has nothing to give back.
            let _ = stop.send(());
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A record as it was seen.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    /// `metadata.resourceVersion`, which a write has to name.
    version: String,
    spec: Value,
}

/// The last record that was seen.
#[derive(Debug)]
struct Seen {
    record: Record,
    /// Since when it has been as it is.
    since: Instant,
}

impl Record {
    fn of(lease: &Value) -> Self {
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        Self { version: version.to_owned(), spec: lease["spec"].clone() }
    }

    fn holder(&self) -> &str {
        self.spec["holderIdentity"].as_str().unwrap_or_default()
    }

    fn transitions(&self) -> i64 {
        self.spec["leaseTransitions"].as_i64().unwrap_or_default()
    }
}

impl Seen {
    /// Takes in a record that was read at a moment; what others have changed beside it is no sign of its holder.
    fn look(before: Option<Self>, record: Record, now: Instant) -> Self {
        match before {
            Some(before) if before.record.spec == record.spec => {
                Self { record, since: before.since }
            }
            _ => Self { record, since: now },
        }
    }

    /// Whether somebody may take it: it is theirs, nobody's, or its holder has given no sign for as long as it said that it lasts.
    fn may_take(&self, identity: &str, usual: Duration, now: Instant) -> bool {
        let holder = self.record.holder();
        let lasts = self.record.spec["leaseDurationSeconds"].as_u64();
        let lasts = lasts.map_or(usual, Duration::from_secs);
        holder.is_empty() || holder == identity || now.duration_since(self.since) >= lasts
    }
}

struct Run {
    client: Client,
    candidate: Candidate,
    seen: Option<Seen>,
    leads: watch::Sender<bool>,
    /// What was told of what went wrong: once, until it goes well.
    fault: Option<String>,
}

impl Run {
    async fn until(mut self, mut stopped: oneshot::Receiver<()>) {
        tokio::select! {
            () = self.run() => {}
            // Also when whoever started it is gone.
            _ = &mut stopped => {}
        }
        let led = self.leads.send_replace(false);
        if led {
            let end = Instant::now() + self.candidate.timing.every;
            // Who is left waiting for it waits no longer than for one that has died.
            let _ = timeout_at(end, self.give_back()).await;
        }
    }

    async fn run(&mut self) {
        loop {
            let Some(since) = self.win().await else {
                sleep(self.pause()).await;
                continue;
            };
            let Candidate { namespace, name, .. } = &self.candidate;
            tracing::info!(
                "this process holds Lease {namespace}/{name}: it writes status and events"
            );
            self.leads.send_replace(true);
            self.keep(since).await;
            self.leads.send_replace(false);
            let Candidate { namespace, name, .. } = &self.candidate;
            tracing::warn!("Lease {namespace}/{name} is lost: this process writes no more");
        }
    }

    /// Tries once; since when the Lease is held, if it is.
    async fn win(&mut self) -> Option<Instant> {
        let began = Instant::now();
        let won = timeout_at(began + self.candidate.timing.renew_within, self.attempt()).await;
        match won.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(won) => {
                self.fault = None;
                won.then_some(began)
            }
            Err(why) => {
                self.fails(why);
                None
            }
        }
    }

    /// Renews until that does not succeed in time, or somebody else holds it.
    async fn keep(&mut self, mut renewed: Instant) {
        loop {
            let deadline = renewed + self.candidate.timing.renew_within;
            sleep_until(deadline.min(Instant::now() + self.pause())).await;
            let began = Instant::now();
            if began >= deadline {
                return;
            }
            match timeout_at(deadline, self.attempt()).await {
                Ok(Ok(true)) => {
                    renewed = began;
                    self.fault = None;
                }
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(why)) => self.fails(why),
            }
        }
    }

    /// Takes the Lease, or renews it; false where somebody else holds it.
    async fn attempt(&mut self) -> Result<bool, String> {
        let path = self.path();
        let answer = self.client.send(Ask::new(Method::GET, &path)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let body = self.lease(&self.spec(0, None), None);
            let all = path.rsplit_once('/').map_or(&*path, |(all, _)| all);
            return self.write(Method::POST, all, &body).await;
        }
        if !answer.status.is_success() {
            return Err(said(&answer));
        }
        let seen = Seen::look(self.seen.take(), Record::of(&answer.body), Instant::now());
        let identity = &self.candidate.identity;
        let may = seen.may_take(identity, self.candidate.timing.lasts, Instant::now());
        let Seen { record, .. } = self.seen.insert(seen);
        if !may {
            return Ok(false);
        }
        let own = record.holder() == identity;
        let transitions = record.transitions() + i64::from(!own);
        let acquired = own.then(|| record.spec["acquireTime"].clone());
        let version = record.version.clone();
        let body = self.lease(&self.spec(transitions, acquired), Some(&version));
        self.write(Method::PUT, &path, &body).await
    }

    /// Writes a record; false where somebody else was faster.
    async fn write(&mut self, method: Method, path: &str, lease: &Value) -> Result<bool, String> {
        let ask = Ask::new(method, path).with("application/json", lease.to_string().into_bytes());
        let answer = self.client.send(ask).await?;
        if answer.status.is_success() {
            let record = Record::of(&answer.body);
            self.seen = Some(Seen { record, since: Instant::now() });
            return Ok(true);
        }
        match answer.status {
            // Read again before it is tried again: a holder that is not renewed by then is one no more.
            StatusCode::CONFLICT if *self.leads.borrow() => Err(said(&answer)),
            StatusCode::CONFLICT => Ok(false),
            _ => Err(said(&answer)),
        }
    }

    /// Leaves the Lease to nobody.
    async fn give_back(&mut self) {
        let Some(Seen { record, .. }) = self.seen.take() else { return };
        let mut spec = self.spec(record.transitions(), Some(record.spec["acquireTime"].clone()));
        spec["holderIdentity"] = "".into();
        spec["leaseDurationSeconds"] = 1.into();
        let lease = self.lease(&spec, Some(&record.version));
        // It is given back at the latest when it has run out.
        let _ = self.write(Method::PUT, &self.path(), &lease).await;
    }

    fn path(&self) -> String {
        let Candidate { namespace, name, .. } = &self.candidate;
        format!("/apis/{API_VERSION}/namespaces/{namespace}/leases/{name}")
    }

    fn lease(&self, spec: &Value, version: Option<&str>) -> Value {
        let Candidate { namespace, name, .. } = &self.candidate;
        let mut metadata = json!({ "name": name, "namespace": namespace });
        if let Some(version) = version {
            metadata["resourceVersion"] = version.into();
        }
        json!({ "apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec })
    }

    fn spec(&self, transitions: i64, acquired: Option<Value>) -> Value {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        json!({
            "holderIdentity": self.candidate.identity,
            "leaseDurationSeconds": self.candidate.timing.lasts.as_secs(),
            "acquireTime": acquired.unwrap_or_else(|| now.as_str().into()),
            "renewTime": now,
            "leaseTransitions": transitions,
        })
    }

    fn fails(&mut self, why: String) {
        if self.fault.as_ref() != Some(&why) {
            let Candidate { namespace, name, .. } = &self.candidate;
            tracing::warn!("Lease {namespace}/{name}, whose holder writes status: {why}");
            self.fault = Some(why);
        }
    }

    /// The time to the next attempt; up to a fifth more, so that not all try at once.
    fn pause(&self) -> Duration {
        self.candidate.timing.every.mul_f64(1.0 + fastrand::f64() / 5.0)
    }
}

/// What a server says that refuses something.
fn said(answer: &Answer) -> String {
    let right = match answer.status {
        StatusCode::FORBIDDEN => " (it takes the right to get, create and update it)",
        _ => "",
    };
    answer.refusal() + right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, renewed: u32) -> Record {
        let spec =
            json!({ "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed });
        Record { version: "1".to_owned(), spec }
    }

    #[test]
    fn a_holder_is_gone_when_its_record_has_not_changed_for_long_enough() {
        let (start, lasts) = (Instant::now(), Duration::from_secs(15));
        // Whatever the time in it says: it may be of another clock.
        let mut seen = Seen::look(None, record("other", 0), start);
        assert!(!seen.may_take("me", lasts, start), "it may have been renewed just now");
        assert!(seen.may_take("other", lasts, start));
        let almost = start + lasts - Duration::from_millis(1);
        assert!(!seen.may_take("me", lasts, almost));
        seen = Seen::look(Some(seen), record("other", 1), almost);
        assert!(!seen.may_take("me", lasts, start + lasts), "it has given a sign");
        // What somebody writes beside it is none.
        let beside = Record { version: "2".to_owned(), ..record("other", 1) };
        seen = Seen::look(Some(seen), beside, start + lasts);
        assert_eq!(seen.record.version, "2");
        assert!(seen.may_take("me", lasts, almost + lasts));
    }

    #[test]
    fn what_nobody_holds_is_taken_at_once() {
        let now = Instant::now();
        let lasts = Duration::from_secs(15);
        assert!(Seen::look(None, record("", 0), now).may_take("me", lasts, now));
        let empty = Record { version: "1".to_owned(), spec: Value::Null };
        assert!(Seen::look(None, empty, now).may_take("me", lasts, now));
    }
}

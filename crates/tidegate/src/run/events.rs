//! Events of a run's Pod: what the workload was denied.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tidegate_apiserver::store::Note;
use tidegate_source::cluster::{Ask, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pod::reason;

/// Events that may be written at once, as Kubernetes' own clients have it: a workload may ask for ever other names.
const BURST: u32 = 25;
/// How long it takes until one more may be.
const EVERY: Duration = Duration::from_mins(5);

/// Writes what is said of a Pod with this `metadata.uid`, until nobody says anything any more. The log has said it already, so that
/// what is not written is no loss.
pub async fn write(client: &Client, uid: &str, mut notes: mpsc::Receiver<Note>) {
    let mut allowance = Allowance { left: BURST, since: Instant::now() };
    while let Some(note) = notes.recv().await {
        if !allowance.take(Instant::now()) {
            continue;
        }
        if let Err(why) = write_one(client, uid, &note).await {
            tracing::debug!("an event of this command's Pod is not written: {why}");
        }
    }
}

/// Writes an event, or counts it where it is there.
async fn write_one(client: &Client, uid: &str, note: &Note) -> Result<(), String> {
    let event = note.event(Some(uid));
    let text = |name: &str| event["metadata"][name].as_str().unwrap_or_default().to_owned();
    let all = format!("/api/v1/namespaces/{}/events", text("namespace"));
    let body = event.to_string().into_bytes();
    let create = Ask::new(Method::POST, &all).with("application/json", body);
    let mut answer = client.send(create).await?;
    if answer.status == StatusCode::CONFLICT {
        let path = format!("{all}/{}", text("name"));
        let there = client.send(Ask::new(Method::GET, &path)).await?;
        let count = there.body["count"].as_u64().unwrap_or(1).saturating_add(1);
        let again = json!({ "count": count, "lastTimestamp": event["lastTimestamp"] });
        let body = again.to_string().into_bytes();
        let patch = Ask::new(Method::PATCH, &path).with("application/merge-patch+json", body);
        answer = client.send(patch).await?;
    }
    if answer.status.is_success() { Ok(()) } else { Err(reason(&answer)) }
}

/// How many events may still be written.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// Since when it has not grown.
    since: Instant,
}

impl Allowance {
    /// Whether one more may be.
    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.duration_since(self.since) >= EVERY {
            self.left += 1;
            self.since += EVERY;
        }
        if self.left == BURST {
            self.since = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_written_and_then_one_after_the_other() {
        let start = Instant::now();
        let mut allowance = Allowance { left: BURST, since: start };
        assert!((0..BURST).all(|_| allowance.take(start + EVERY / 2)));
        assert!(!allowance.take(start + EVERY));
        assert!(allowance.take(start + EVERY / 2 + EVERY));
        assert!(!allowance.take(start + EVERY / 2 + EVERY));
        let later = start + 100 * EVERY;
        assert!((0..BURST).all(|_| allowance.take(later)));
        assert!(!allowance.take(later));
    }
}

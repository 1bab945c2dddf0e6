//! Events written through an API server: what is said of an object, in words.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tidegate_apiserver::store::Note;
use tidegate_source::cluster::{Ask, Client};
use tokio::time::Instant;

/// Events of one object that may be written at once, as Kubernetes' own clients have it: somebody may give cause for ever other ones.
const BURST: u32 = 25;
/// How long it takes until one more may be.
const EVERY: Duration = Duration::from_mins(5);

/// Writes an event of an object with this `metadata.uid`, or counts it where it is there.
///
/// # Errors
/// The server does not answer, or refuses it: in words.
pub async fn write(client: &Client, uid: &str, note: &Note) -> Result<(), String> {
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
    if answer.status.is_success() { Ok(()) } else { Err(answer.refusal()) }
}

/// How many events of one object may still be written.
#[derive(Clone, Debug)]
pub struct Allowance {
    left: u32,
    /// Since when it has not grown.
    since: Instant,
}

impl Allowance {
    /// A whole one, as of a moment.
    pub fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Whether one more may be.
    pub fn take(&mut self, now: Instant) -> bool {
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
        let mut allowance = Allowance::new(start);
        assert!((0..BURST).all(|_| allowance.take(start + EVERY / 2)));
        assert!(!allowance.take(start + EVERY));
        assert!(allowance.take(start + EVERY / 2 + EVERY));
        assert!(!allowance.take(start + EVERY / 2 + EVERY));
        let later = start + 100 * EVERY;
        assert!((0..BURST).all(|_| allowance.take(later)));
        assert!(!allowance.take(later));
    }
}

//! Events of a run's Pod: what the workload was denied.

use tidegate_apiserver::store::Note;
use tidegate_source::cluster::Client;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::events::{self, Allowance};

/// Writes what is said of a Pod with this `metadata.uid`, until nobody says anything any more. The log has said it already, so that
/// what is not written is no loss.
pub async fn write(client: &Client, uid: &str, mut notes: mpsc::Receiver<Note>) {
    let mut allowance = Allowance::new(Instant::now());
    while let Some(note) = notes.recv().await {
        if !allowance.take(Instant::now()) {
            continue;
        }
        if let Err(why) = events::write(client, uid, &note).await {
            tracing::debug!("an event of this command's Pod is not written: {why}");
        }
    }
}

//! What was not let out: the list is handed in whenever it changes, and from time to time, so that an API which was started anew
//! has it, too.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_apiserver::rest::EGRESS_ENTRIES;
use tidegate_proxy::admin::State;
use tidegate_proxy::egress::Denied;
use tidegate_proxy::view::View;
use tidegate_source::cluster::Client;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::{HandingIn, Offer, PAUSE, offer};

/// How often a list is handed in that has not changed.
const AGAIN: Duration = Duration::from_secs(30);

impl HandingIn {
    /// Starts to hand in what a proxy refuses; `path` is where the API takes the list.
    pub fn refusals(client: Client, path: String, view: &Arc<View>) -> Self {
        let view = Arc::clone(view);
        Self::start(|ended| hand_in(client, path, view, ended))
    }
}

async fn hand_in(client: Client, path: String, view: Arc<View>, mut ended: oneshot::Receiver<()>) {
    let mut news = view.refusals();
    let mut is_ending = false;
    loop {
        news.borrow_and_update();
        let list = list(view.denied(), view.registry().unlisted());
        let body = list.to_string().into_bytes();
        let again = match offer(&client, &path, "application/json", body).await {
            Offer::Taken => AGAIN,
            Offer::NotNow(why) => {
                tracing::debug!("what was refused waits to be handed in: {why}");
                PAUSE
            }
            Offer::Never(why) => {
                tracing::info!("what is refused is listed by this process alone: {why}");
                return;
            }
        };
        if is_ending {
            return;
        }
        tokio::select! {
            () = due(&mut news, again) => {}
            _ = &mut ended => is_ending = true,
        }
    }
}

/// Waits until the list is to be handed in again: not at once, as there may be many refusals.
async fn due(news: &mut watch::Receiver<()>, again: Duration) {
    sleep(PAUSE).await;
    let changed = async {
        if news.changed().await.is_err() {
            // Whoever refused is gone; what is left is handed in at the end.
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = changed => {}
        () = sleep(again.saturating_sub(PAUSE)) => {}
    }
}

/// The latest refusals, as many as an API takes of one process, in the form of `/egress/denied`.
fn list(mut denied: Vec<Denied>, unlisted: u64) -> Value {
    let older = denied.split_off(denied.len().min(EGRESS_ENTRIES));
    let unlisted = older.iter().map(|entry| entry.count).fold(unlisted, u64::saturating_add);
    json!({ "denied": denied.iter().map(Denied::json).collect::<Vec<_>>(), "unlisted": unlisted })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tidegate_proxy::egress::Asked;

    use super::*;

    #[test]
    fn the_latest_are_handed_in_and_the_others_counted() {
        let denied = |number: usize| Denied {
            asked: Asked::Http,
            at_gateway: false,
            bounded_by: None,
            host: Some(format!("{number}.example").into()),
            destination: ([192, 0, 2, 1], 80).into(),
            source: [10, 0, 0, 7].into(),
            count: 2,
            first: SystemTime::UNIX_EPOCH,
            last: SystemTime::UNIX_EPOCH,
        };
        let list = list((0..EGRESS_ENTRIES + 3).map(denied).collect(), 1);
        let hosts = list["denied"].as_array().expect("entries");
        assert_eq!((hosts.len(), &hosts[0]["host"]), (EGRESS_ENTRIES, &"0.example".into()));
        assert_eq!(list["unlisted"], 7);
    }
}

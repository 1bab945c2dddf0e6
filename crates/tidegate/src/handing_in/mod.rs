//! What the sidecar of a workload hands in to the API that shows the workload's Pod: lines of its log, and what it refused.
//!
//! | file | what it holds |
//! |---|---|
//! | `log.rs` | the access log, as the log of the Pod's container |
//! | `refusals.rs` | the list of what was not let out |

mod log;
mod refusals;

use std::future::Future;
use std::time::Duration;

use http::{Method, StatusCode};
use tidegate_source::cluster::{Ask, Client};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long it takes until an API that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it may take to hand in what is left at the end.
const LAST: Duration = Duration::from_secs(2);

/// Hands something in until it is ended.
#[derive(Debug)]
pub struct HandingIn {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl HandingIn {
    /// Starts to hand in, by work that hears of the end and does then what is left. Needs a runtime.
    fn start<F>(work: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (end, ended) = oneshot::channel();
        Self { end, task: tokio::spawn(work(ended)) }
    }

    /// Hands in what is left, and ends.
    pub async fn end(mut self) {
        // A task that has given up needs not be told.
        let _ = self.end.send(());
        if timeout(LAST, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// What an API makes of what it is handed.
enum Offer {
    Taken,
    /// It does not answer, or has no room: later it may. In words.
    NotNow(String),
    /// It takes none: a cluster's, which knows no such thing, or one whose Pod is gone. In words.
    Never(String),
}

/// Offers something to the API, at a path that takes it.
async fn offer(client: &Client, path: &str, media_type: &'static str, body: Vec<u8>) -> Offer {
    let answer = match client.send(Ask::new(Method::POST, path).with(media_type, body)).await {
        Ok(answer) => answer,
        Err(why) => return Offer::NotNow(why),
    };
    match answer.status {
        status if status.is_success() => Offer::Taken,
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Offer::NotNow(answer.refusal())
        }
        _ => Offer::Never(answer.refusal()),
    }
}

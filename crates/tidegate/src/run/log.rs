//! The log of a run's Pod: lines of the access log are handed in to the API as they are written.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tidegate_proxy::accesslog::{Format, Logs, ReadOptions, Reader};
use tidegate_source::cluster::{Ask, Client};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Bytes that are handed in at once, while lines are there.
const PIECE: usize = 64 << 10;
/// How long it takes until an API that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the last lines may take.
const LAST: Duration = Duration::from_secs(2);

/// Hands lines in until it is ended.
#[derive(Debug)]
pub struct HandingIn {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl HandingIn {
    /// Starts to hand in what the logs have, and will have, in a format; `path` is where the API takes lines.
    pub fn start(client: Client, path: String, logs: &Arc<Logs>, format: Format) -> Self {
        let options = ReadOptions { follow: true, ..ReadOptions::default() };
        let reader = logs.read(Arc::new(format), options);
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(hand_in(client, path, reader, ended));
        Self { end, task }
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

async fn hand_in(
    client: Client,
    path: String,
    mut reader: Reader,
    mut ended: oneshot::Receiver<()>,
) {
    let mut is_ending = false;
    // The first piece is empty: from then on there is a log, also while it has no line.
    let mut piece = Vec::new();
    loop {
        match offer(&client, &path, &piece).await {
            Offer::Taken => piece.clear(),
            Offer::NotNow => {
                sleep(PAUSE).await;
                continue;
            }
            Offer::Never => return,
        }
        if !is_ending {
            tokio::select! {
                biased;
                line = reader.next() => match line {
                    Some(line) => add(&mut piece, &line.text),
                    None => is_ending = true,
                },
                _ = &mut ended => is_ending = true,
            }
        }
        collect(&mut reader, &mut piece).await;
        if is_ending && piece.is_empty() {
            return;
        }
    }
}

/// Adds the lines that are there already.
async fn collect(reader: &mut Reader, piece: &mut Vec<u8>) {
    while piece.len() < PIECE {
        tokio::select! {
            biased;
            Some(line) = reader.next() => add(piece, &line.text),
            () = ready(()) => return,
        }
    }
}

fn add(piece: &mut Vec<u8>, line: &[u8]) {
    piece.extend_from_slice(line);
    piece.push(b'\n');
}

/// What an API makes of lines.
enum Offer {
    Taken,
    /// It does not answer, or has no room: later it may.
    NotNow,
    /// It takes none: a cluster's, whose nodes read logs themselves, or one whose Pod is gone.
    Never,
}

async fn offer(client: &Client, path: &str, lines: &[u8]) -> Offer {
    let ask = Ask::new(Method::POST, path).with("text/plain", lines.to_vec());
    let answer = match client.send(ask).await {
        Ok(answer) => answer,
        Err(why) => {
            tracing::debug!("lines of the log wait: {why}");
            return Offer::NotNow;
        }
    };
    match answer.status {
        status if status.is_success() => Offer::Taken,
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            tracing::debug!("lines of the log wait: {}", answer.refusal());
            Offer::NotNow
        }
        _ => {
            tracing::info!("the Pod of this command has no log: {}", answer.refusal());
            Offer::Never
        }
    }
}

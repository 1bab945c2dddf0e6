//! The log of a run's Pod: lines of the access log, as they are written.

use std::future::ready;
use std::sync::Arc;

use tidegate_proxy::accesslog::{Format, Logs, ReadOptions, Reader};
use tidegate_source::cluster::Client;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{HandingIn, Offer, PAUSE, offer};

/// Bytes that are handed in at once, while lines are there.
const PIECE: usize = 64 << 10;

impl HandingIn {
    /// Starts to hand in what the logs have, and will have, in a format; `path` is where the API takes lines.
    pub fn log(client: Client, path: String, logs: &Arc<Logs>, format: Format) -> Self {
        let options = ReadOptions { follow: true, ..ReadOptions::default() };
        let reader = logs.read(Arc::new(format), options);
        Self::start(|ended| hand_in(client, path, reader, ended))
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
        match offer(&client, &path, "text/plain", piece.clone()).await {
            Offer::Taken => piece.clear(),
            Offer::NotNow(why) => {
                tracing::debug!("lines of the log wait: {why}");
                sleep(PAUSE).await;
                continue;
            }
            Offer::Never(why) => {
                tracing::info!("the Pod of this command has no log: {why}");
                return;
            }
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

//! Manifests from `-f`: pushed into the store as a second, read-only source.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::thread;

use jiff::Timestamp;
use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::store::{Push, Store};
use tidegate_source::{Batch, FileChange, Files};
use tokio::sync::oneshot;

use crate::failure::{Failure, Outcome};
use crate::terminal;

/// Reads everything that is there, and goes on following it, on a thread of its own. Safe to cancel by what ends
/// the process.
///
/// # Errors
/// The system gives no means to watch files, or no thread.
pub async fn follow(paths: Vec<PathBuf>, store: Store) -> Outcome<()> {
    if paths.is_empty() {
        // What files of an earlier start held is not asked for any more.
        let gone = store.kept().into_iter().map(|(key, origin)| Push::Remove { key, origin });
        store.push_all(gone).await;
        return Ok(());
    }
    let mut files = Files::new(paths, age(&store))
        .map_err(|error| Failure::new(format!("manifests cannot be watched: {error}")))?
        .holding(store.kept());
    let failed = |error: io::Error| Failure::new(format!("no thread to follow manifests: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (entered, everything) = oneshot::channel();
    let following = async move {
        enter(&store, files.next().await).await;
        // Who waited may have been told to end meanwhile.
        let _ = entered.send(());
        loop {
            let batch = files.next().await;
            enter(&store, batch).await;
        }
    };
    // The first look, too: a file system that is slow to answer must not keep signals from being heard.
    let thread = thread::Builder::new().name("files".to_owned());
    thread.spawn(move || runtime.block_on(following)).map_err(failed)?;
    everything.await.map_err(|_| Failure::new("manifests could not be read: a defect of Tidegate"))
}

/// The age of all objects in files: that of the store itself. So they are older than every object of the API,
/// and stay so across restarts.
fn age(store: &Store) -> Timestamp {
    let namespace = store.get(&ObjectKey::cluster(Kind::Namespace, "default"));
    let object = namespace.and_then(|entry| entry.decoded().ok());
    object.map_or(Timestamp::UNIX_EPOCH, |object| object.created)
}

async fn enter(store: &Store, batch: Batch) {
    let color = io::stderr().is_terminal();
    for finding in batch.findings {
        // It says itself how bad it is, and shows the lines.
        terminal::say(finding.render(color).trim_end());
    }
    store.push_all(batch.changes.into_iter().map(push)).await;
}

fn push(change: FileChange) -> Push {
    match change {
        FileChange::Put { object, manifest } => Push::Put { object, manifest },
        FileChange::Remove { key, origin } => Push::Remove { key, origin },
        FileChange::Invalid { key, origin, errors, selector } => {
            Push::Invalid { key, origin, errors, selector }
        }
    }
}

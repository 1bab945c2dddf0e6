//! The end of a namespace: what is in it goes first.

use std::time::Duration;

use tidegate_api::{Kind, Origin, Scope};
use tokio::time::sleep;

use super::Shutdown;
use crate::store::{Store, WriteError};

/// How long to wait before a namespace whose objects wait for their finalizers is looked at again.
const PATIENCE: Duration = Duration::from_millis(250);
/// The longest wait while the disk takes no writes: each try in vain is logged.
const LONGEST: Duration = Duration::from_secs(60);

/// Empties and removes namespaces that are being deleted, until the server stops. Deletions that a restart
/// interrupted are taken up again.
pub(super) async fn run(store: Store, mut shutdown: Shutdown) {
    let mut watch = store.watch(Kind::Namespace, store.revision());
    let mut pause = PATIENCE;
    loop {
        let mut left = Left::Nothing;
        for entry in store.list(Kind::Namespace, None).entries {
            if entry.terminating() {
                left = left.max(end(&store, &entry.key().name).await);
            }
        }
        pause = match left {
            Left::Refused => (pause * 2).min(LONGEST),
            Left::Nothing | Left::Held => PATIENCE,
        };
        tokio::select! {
            events = watch.next() => {
                if events.is_err() {
                    watch = store.watch(Kind::Namespace, store.revision());
                }
            }
            () = sleep(pause), if left > Left::Nothing => {}
            () = shutdown.stopped() => return,
        }
    }
}

/// What is left of a namespace that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    /// Objects that wait for their finalizers.
    Held,
    /// What the disk would not let go.
    Refused,
}

/// Deletes what is in a namespace, then the namespace.
async fn end(store: &Store, namespace: &str) -> Left {
    // Events last: what is deleted before may still be spoken of.
    let (events, others): (Vec<Kind>, Vec<Kind>) = Kind::all()
        .filter(|kind| kind.info().scope == Scope::Namespaced)
        .partition(|kind| *kind == Kind::Event);
    for kind in others.into_iter().chain(events) {
        for entry in store.list(kind, Some(namespace)).entries {
            if *entry.origin() != Origin::Api {
                continue;
            }
            match super::write::discard(store, &entry).await {
                Ok(()) | Err(WriteError::NotFound | WriteError::Conflict { .. }) => {}
                // The next one would be refused as well.
                Err(WriteError::Storage { .. }) => return Left::Refused,
                Err(error) => {
                    tracing::warn!(%namespace, key = %entry.key(), %error, "not deleted with its namespace yet");
                }
            }
        }
    }
    match store.remove_namespace(namespace).await {
        Ok(_) | Err(WriteError::NotFound | WriteError::Closed) => Left::Nothing,
        Err(WriteError::Storage { .. }) => Left::Refused,
        Err(_) => Left::Held,
    }
}

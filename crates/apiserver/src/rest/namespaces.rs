//! The end of a namespace: what is in it goes first.

use std::time::Duration;

use tidegate_api::{Kind, Origin, Scope};
use tokio::time::sleep;

use super::Shutdown;
use crate::store::{Store, WriteError};

/// Namespaces that cannot be deleted.
pub(crate) fn is_permanent(name: &str) -> bool {
    matches!(name, "default" | "istio-system")
}

/// How long to wait before a namespace whose objects wait for their finalizers is looked at again.
const PATIENCE: Duration = Duration::from_millis(250);

/// Empties and removes namespaces that are being deleted, until the server stops. Deletions that a restart
/// interrupted are taken up again.
pub(super) async fn run(store: Store, mut shutdown: Shutdown) {
    let mut watch = store.watch(Kind::Namespace, store.revision());
    loop {
        let mut waiting = false;
        for entry in store.list(Kind::Namespace, None).entries {
            if entry.terminating() {
                waiting |= !end(&store, &entry.key().name).await;
            }
        }
        tokio::select! {
            events = watch.next() => {
                if events.is_err() {
                    watch = store.watch(Kind::Namespace, store.revision());
                }
            }
            () = sleep(PATIENCE), if waiting => {}
            () = shutdown.stopped() => return,
        }
    }
}

/// Deletes what is in a namespace, then the namespace. False when something in it stays for now.
async fn end(store: &Store, namespace: &str) -> bool {
    // Events last: what is deleted before may still be spoken of.
    let (events, others): (Vec<Kind>, Vec<Kind>) = Kind::all()
        .filter(|kind| kind.info().scope == Scope::Namespaced)
        .partition(|kind| *kind == Kind::Event);
    for kind in others.into_iter().chain(events) {
        for entry in store.list(kind, Some(namespace)).entries {
            if *entry.origin() != Origin::Api {
                continue;
            }
            if let Err(error) = super::write::discard(store, &entry).await
                && !matches!(error, WriteError::NotFound | WriteError::Conflict { .. })
            {
                tracing::warn!(%namespace, key = %entry.key(), %error, "not deleted with its namespace yet");
            }
        }
    }
    matches!(
        store.remove_namespace(namespace).await,
        Ok(_) | Err(WriteError::NotFound | WriteError::Closed)
    )
}

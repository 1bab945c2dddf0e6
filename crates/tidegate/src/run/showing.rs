//! That a command is shown as a Pod for as long as it runs, also where somebody deletes that Pod, and what is told of it there.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tidegate_apiserver::store::Note;
use tidegate_proxy::accesslog::Format;
use tidegate_proxy::view::View;
use tidegate_source::cluster::Access;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::pod::Shown;
use crate::handing_in::HandingIn;
use crate::sidecar::Workload;

/// How long an API may take to create or delete the Pod of a command.
const API: Duration = Duration::from_secs(10);

/// How the command is shown in an API.
pub struct Show {
    /// The API.
    pub access: Access,
    /// What the Pod is of.
    pub workload: Workload,
    /// The name of the program.
    pub command: String,
    /// What lines of its log look like.
    pub format: Format,
}

/// A command that is shown.
pub struct Showing {
    show: Show,
    view: Arc<View>,
    shown: Shown,
    handing_in: [HandingIn; 2],
}

impl Show {
    /// Shows it, with the log of a proxy and what that refuses. Without a Pod the command runs all the same, and it is told why there
    /// is none.
    pub async fn begin(self, view: &Arc<View>) -> Option<Showing> {
        let shown = self.create().await?;
        let handing_in = shown.hand_in(view, self.format.clone());
        Some(Showing { show: self, view: Arc::clone(view), shown, handing_in })
    }

    async fn create(&self) -> Option<Shown> {
        let Workload { namespace, name, .. } = &self.workload;
        let created = timeout(API, Shown::create(&self.access, &self.workload, &self.command));
        let why = match created.await {
            Ok(Ok(shown)) => return Some(shown),
            Ok(Err(why)) => why,
            Err(_) => format!("the API did not answer in {API:?}"),
        };
        tracing::warn!("no Pod {namespace}/{name} shows this command: {why}");
        None
    }
}

impl Showing {
    /// Writes what is said of the Pod as Events of it, and shows the command again when that Pod is deleted: as a kubelet does with the
    /// mirrors of Pods that it was not given by an API. Has no end.
    pub async fn keep(&mut self, notes: &mut mpsc::Receiver<Note>, gone: &Notify) -> Infallible {
        loop {
            let told = async {
                self.shown.tell(notes).await;
                // Nobody says anything any more.
                pending::<()>().await;
            };
            tokio::select! {
                () = told => {}
                () = gone.notified() => {}
            }
            if self.shown.is_there().await {
                // It was another Pod of the name, of before.
                continue;
            }
            let Some(shown) = self.show.create().await else { return pending().await };
            let Workload { namespace, name, .. } = &self.show.workload;
            tracing::warn!(
                "Pod {namespace}/{name} was deleted, and is shown again: its command runs; who is to end it ends tidegate run"
            );
            // What was handed in before went with its Pod.
            self.handing_in = shown.hand_in(&self.view, self.show.format.clone());
            self.shown = shown;
        }
    }

    /// Hands in what is left, and deletes the Pod.
    pub async fn end(self) {
        for one in self.handing_in {
            one.end().await;
        }
        if timeout(API, self.shown.remove()).await.is_err() {
            tracing::warn!(
                "the Pod of this command is left behind: the API did not answer in {API:?}"
            );
        }
    }
}

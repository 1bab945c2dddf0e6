//! That a gateway on the API of another Tidegate is shown there as a Pod for as long as it runs, with its log: `kubectl logs` and
//! `tidegate proxy-status` go by that.
//!
//! In a cluster it is a Pod already; and one that runs beside a cluster is nothing that this could run.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use tidegate_proxy::accesslog::Format;
use tidegate_proxy::view::View;
use tidegate_source::cluster::{Ask, Client};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::gateway::Facts;
use crate::handing_in::HandingIn;
use crate::run::pod::{self, Shown};

/// Gateways of one name that are shown side by side.
const MOST: usize = 16;
/// How often it is looked whether the Pod is still there.
const EVERY: Duration = Duration::from_secs(5);
/// How long it may take to take it away.
const API: Duration = Duration::from_secs(5);

/// How the gateway is shown.
pub struct Show {
    /// The API.
    pub client: Client,
    /// What there is to show.
    pub facts: Facts,
    /// Whose log it is.
    pub view: Arc<View>,
    /// What lines of it look like.
    pub format: Format,
}

/// A gateway that is shown, from when it is ready.
pub struct Showing {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Showing {
    /// Takes the Pod away.
    pub async fn end(mut self) {
        // Where nothing is shown nobody listens.
        let _ = self.end.send(());
        if timeout(API, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the Pod of this gateway is left behind: the API does not answer");
        }
    }
}

impl Show {
    /// Starts to show it. Needs a runtime.
    pub fn start(mut self, ready: watch::Receiver<bool>) -> Showing {
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut shown = None;
            tokio::select! {
                () = self.keep(ready, &mut shown) => {}
                _ = ended => {}
            }
            if let Some((shown, log)) = shown {
                log.end().await;
                shown.remove().await;
            }
        });
        Showing { end, task }
    }

    async fn keep(
        &mut self,
        mut ready: watch::Receiver<bool>,
        shown: &mut Option<(Shown, HandingIn)>,
    ) {
        if ready.wait_for(|ready| *ready).await.is_err() || !self.is_ours().await {
            return;
        }
        self.facts.turn(true, Timestamp::now());
        let mut told = None;
        loop {
            let there = match shown {
                Some((shown, _)) => shown.is_there().await,
                None => false,
            };
            if !there {
                match self.create().await {
                    Ok(created) => *shown = Some(created),
                    Err(why) if told.as_ref() != Some(&why) => {
                        let name = self.facts.full_name();
                        tracing::warn!("no Pod shows the gateway {name} in the API: {why}");
                        told = Some(why);
                    }
                    Err(_) => {}
                }
            }
            sleep(EVERY).await;
        }
    }

    /// Whether the API is another Tidegate's. Kubernetes' own is compiled by Go's compiler, and says so.
    async fn is_ours(&self) -> bool {
        loop {
            match self.client.send(Ask::new(Method::GET, "/version")).await {
                Ok(answer) => return answer.body["compiler"] == "rustc",
                Err(_) => sleep(EVERY).await,
            }
        }
    }

    /// Creates the Pod: of the gateway's name, or where another process has that, of the next one that is free.
    async fn create(&self) -> Result<(Shown, HandingIn), String> {
        let (name, own) = (self.facts.name(), pod::own());
        for number in 1..=MOST {
            let name = if number == 1 { name.clone() } else { format!("{name}-{number}") };
            let pod = self.facts.pod_elsewhere(&name, &own);
            match Shown::show(self.client.clone(), &pod).await? {
                Ok(shown) => {
                    let log = shown.hand_in_log(&self.view, self.format.clone());
                    return Ok((shown, log));
                }
                Err(answer) if answer.status == StatusCode::CONFLICT => {}
                Err(answer) => return Err(answer.refusal()),
            }
        }
        Err(format!("there are {MOST} of that name already"))
    }
}

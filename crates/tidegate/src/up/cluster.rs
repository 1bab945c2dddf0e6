//! `tidegate up --kubeconfig`: a gateway whose objects an API server has, a cluster's or that of another process.
//!
//! Nothing is kept here: what was read last serves on while the server cannot be reached, for as long as this process lives.

use tidegate_source::Cluster;
use tidegate_source::cluster::{Access, AccessError, Options};
use tokio::sync::watch;

use super::gateway;
use super::greeting::{Attached, Listening};
use super::ground::Ground;
use crate::cli::UpArgs;
use crate::control::{InWords, Outgoing};
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use crate::terminal;

/// Serves until a signal ends it.
///
/// # Errors
/// It cannot start, or it was told to end before connections had finished.
pub async fn serve(args: UpArgs) -> Outcome<()> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    let given = args.kubeconfig.as_ref().and_then(|file| file.as_deref());
    let access = Access::find(given, args.context.as_deref(), None).map_err(|e| failure(&e))?;
    let ground = Ground::prepare(&args, None)?;
    // A server that does not answer may come; a kubeconfig that says nothing good will not.
    let client = access.client().await.map_err(|error| failure(&error))?;
    let namespace = match (&args.namespace, access.is_of_pod()) {
        (Some(namespace), _) => namespace.clone(),
        (None, true) => client.namespace().to_owned(),
        (None, false) => gateway::NAMESPACE.to_owned(),
    };
    let running = ground.start(&args, &namespace, args.connect_to.clone())?;
    terminal::say(Attached {
        gateway: format!("{}.{namespace}", running.facts.name()),
        objects: access.to_string(),
        listening: Listening::of(&running),
    });
    tokio::spawn(tell_ready(running.data_plane.ready.clone()));
    let objects = Cluster::follow(access, &Options::of_workload(&namespace));
    let serving = running.follow(objects, Outgoing::start(InWords::default()))?;
    serving.until_told(&mut signals, async {}).await
}

/// Says once that everything there was at the start is served.
async fn tell_ready(mut ready: watch::Receiver<bool>) {
    if ready.wait_for(|ready| *ready).await.is_ok() {
        tracing::info!("all objects are read, and every worker serves them");
    }
}

fn failure(error: &AccessError) -> Failure {
    Failure::new(error.to_string()).or(error.remedy)
}

//! `tidegate up --kubeconfig`: a gateway whose objects an API server has, a cluster's or that of another process.
//!
//! Nothing is kept here: what was read last serves on while the server cannot be reached, for as long as this process lives.
//! Of several processes one holds a Lease, and writes status and events.

use std::sync::Arc;

use tidegate_source::Cluster;
use tidegate_source::cluster::{Access, Candidate, Election, Options, Timing};
use tokio::sync::watch;

use super::gateway;
use super::greeting::{Attached, Listening};
use super::ground::Ground;
use super::showing::Show;
use crate::api;
use crate::cli::UpArgs;
use crate::control::{InWords, Outgoing, ToCluster};
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
    let access =
        Access::find(given, args.context.as_deref(), None).map_err(|e| api::failure(&e))?;
    let ground = Ground::prepare(&args, None)?;
    // A server that does not answer may come; a kubeconfig that says nothing good will not.
    let client = access.client().await.map_err(|error| api::failure(&error))?;
    let namespace = match (&args.namespace, access.is_of_pod()) {
        (Some(namespace), _) => namespace.clone(),
        (None, true) => client.namespace().to_owned(),
        (None, false) => gateway::NAMESPACE.to_owned(),
    };
    let running = ground.start(&args, &namespace, args.connect_to.clone())?;
    terminal::say(Attached {
        gateway: running.facts.full_name(),
        objects: access.to_string(),
        listening: Listening::of(&running),
    });
    tokio::spawn(tell_ready(running.data_plane.ready.clone()));
    let name = running.facts.name();
    let objects = Cluster::follow(access, &Options::of_workload(&namespace));
    if args.no_status {
        let serving = running.follow(objects, Outgoing::start(InWords::default()))?;
        return serving.until_told(&mut signals, async {}).await;
    }
    let client = objects.client();
    let candidate = Candidate {
        name: format!("{name}-status"),
        identity: identity(),
        timing: Timing::default(),
        namespace: namespace.clone(),
    };
    let election = Election::start(client.clone(), candidate);
    // The same for all replicas of a gateway, and another for each gateway.
    let manager = running.facts.full_name();
    let sink = ToCluster::start(client.clone(), manager, election.leads());
    let show = Show {
        client,
        facts: running.facts.clone(),
        view: Arc::clone(&running.data_plane.view),
        format: args.access_log_format.compiled(),
    };
    let showing = show.start(running.data_plane.ready.clone());
    let serving = running.follow(objects, Outgoing::start(sink))?;
    let finish = async {
        showing.end().await;
        election.end().await;
    };
    serving.until_told(&mut signals, finish).await
}

/// Who this process is: in a Pod its name, and something that the next process there does not have.
fn identity() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    format!("{machine}_{:016x}", fastrand::u64(..))
}

/// Says once that everything there was at the start is served.
async fn tell_ready(mut ready: watch::Receiver<bool>) {
    if ready.wait_for(|ready| *ready).await.is_ok() {
        tracing::info!("all objects are read, and every worker serves them");
    }
}

//! `tidegate proxy -c` beside `envoy -c`: one bootstrap, the same requests byte for byte, the same scripted
//! origins. Status, headers, bodies, the fate of the connection and what the origin received are compared, as lines of text.
//!
//! Whatever differs stands in [`differences`] with its reason; a difference that is listed and does not
//! occur fails the test as well.
//!
//! `DIFFERENTIAL=methods cargo test …` runs the cases whose name starts so, and prints what both sides did.

mod bootstrap;
mod capture;
mod case;
mod cases;
mod client;
mod client_cert;
mod cookies;
mod counters;
mod cuts;
mod differences;
mod frames;
mod http2;
mod keys;
mod noted;
mod origin;
mod outlier;
mod overflow;
mod pilot;
mod proxy_header;
mod scripts;
mod sharing;
mod sides;
mod sockets;
mod spent;
mod warming;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_testing::HeldPort;
use tidegate_testing::tools::Tool;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use bootstrap::{Origins, Pipes, bootstrap};
use case::Client;
use differences::Differences;
use origin::Stage;
use scripts::{OWN, Own};
use sides::{Listeners, Side};

/// Cases that run at the same time.
const ABREAST: usize = 24;
/// Longest wait for requests that come beside the client's.
const LATE: Duration = Duration::from_secs(5);
/// How often a case that differs is looked at again.
const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tidegate_does_what_envoy_does() {
    let Some(program) = Tool::Envoy.need() else { return };
    let only = std::env::var("DIFFERENTIAL").ok();
    let mut cases = cases::all();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    if let Some(only) = &only {
        cases.retain(|case| case.name.starts_with(only));
    }
    let stage = Stage::new(cases);
    let refused = HeldPort::any();
    let http1 = origin::start(Arc::clone(&stage)).await;
    let http2 = http2::start(Arc::clone(&stage)).await;
    let directory = tempfile::tempdir().expect("a directory for sockets");
    let origins = Origins {
        http1,
        http2,
        pipes: Pipes {
            http1: origin::behind_pipe(&directory.path().join("1"), http1),
            http2: origin::behind_pipe(&directory.path().join("2"), http2),
            refused: directory.path().join("nobody").display().to_string(),
        },
        refused: refused.address,
        numbered: origin::start_numbered(5).await,
        own: own().await,
    };
    let bootstrap = bootstrap(&origins);
    let tidegate = Side::tidegate(&bootstrap).await;
    let envoy = Side::envoy(&program, &bootstrap).await;
    // One after the other: what the origins receive is then the one side's.
    let every: Vec<usize> = (0..stage.cases.len()).collect();
    let mut theirs = play(&stage, &envoy.listeners, &every).await;
    let mut ours = play(&stage, &tidegate.listeners, &every).await;
    // While cases run abreast, chance decides which pooled connection a request gets, and another case's
    // origin may be closing it just then. What differs is looked at again, alone.
    for _ in 0..ROUNDS {
        let settled =
            |id: &usize| differences::is_settled(&stage.cases[*id].name, &theirs[*id], &ours[*id]);
        let again: Vec<usize> = every.iter().copied().filter(|id| !settled(id)).collect();
        for id in again {
            theirs[id] = play(&stage, &envoy.listeners, &[id]).await.remove(0);
            ours[id] = play(&stage, &tidegate.listeners, &[id]).await.remove(0);
        }
    }
    let mut differences = Differences::new();
    for (case, (theirs, ours)) in stage.cases.iter().zip(theirs.iter().zip(&ours)) {
        if only.is_some() {
            eprintln!("== {}\n{}", case.name, theirs.join("\n"));
            if theirs != ours {
                eprintln!("-- tidegate\n{}", ours.join("\n"));
            }
        }
        differences.see(&case.name, theirs, ours);
    }
    let report = differences.report(only.is_some());
    assert!(report.is_empty(), "{} cases\n{report}", stage.cases.len());
}

/// Starts the origins that cases have for themselves.
async fn own() -> Vec<(&'static str, bool, SocketAddr)> {
    let mut own = Vec::new();
    for &(name, kind) in OWN {
        own.push(match kind {
            Own::Stale => (name, false, origin::start_stale().await),
            Own::Frames(script) => (name, true, frames::start(script, false).await),
            Own::Early(script) => (name, true, frames::start(script, true).await),
        });
    }
    own
}

/// Runs cases against one side; returns what was seen at both ends, case by case.
async fn play(stage: &Arc<Stage>, listeners: &Listeners, ids: &[usize]) -> Vec<Vec<String>> {
    let mut running = JoinSet::new();
    let places = Arc::new(Semaphore::new(ABREAST));
    for (place, &id) in ids.iter().enumerate() {
        let (stage, places) = (Arc::clone(stage), Arc::clone(&places));
        let listener = stage.cases[id].listener;
        let address = *listeners.get(listener).unwrap_or_else(|| panic!("no listener {listener}"));
        running.spawn(async move {
            let _turn = places.acquire().await;
            let mut seen = match &stage.cases[id].client {
                Client::Http1(steps) => client::run(address, id, steps).await,
                Client::Http2(request) => http2::run(address, id, request).await,
                Client::Frames(frames) => frames::run(address, frames).await,
            };
            stage.all_requests(id, LATE).await;
            let port = format!(":{}", address.port());
            let received = stage.take(id);
            seen.extend(received.into_iter().map(|line| line.replace(&port, ":(port)")));
            (place, seen)
        });
    }
    let mut all = vec![Vec::new(); ids.len()];
    while let Some(done) = running.join_next().await {
        let (place, seen) = done.expect("a case's task");
        all[place] = seen;
    }
    all
}

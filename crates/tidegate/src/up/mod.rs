//! `tidegate up`: API, control loop and data plane wired into one process.
//!
//! ```text
//! store ──changes──► control ──publish──► snapshot ──updates──► data plane ──► workers
//!   ▲                   │                     ▲                     │
//!   └── status, events ─┘◄──── verdicts ──────┴─────────────────────┘
//! ```
//!
//! | file | what it connects |
//! |---|---|
//! | `ground.rs`, `ports.rs` | the machine: ports settled before anything starts |
//! | `crate::api_server` | the store in its folder, the API over it |
//! | `crate::files` | manifests → store |
//! | `crate::control` | store → pilot → snapshot, and status back |
//! | `portrait.rs`, `gateway.rs` | the running gateway → objects that show it |
//! | `about.rs` | the running gateway → what admin tells of it |
//! | `logs.rs` | access log → `kubectl logs` |
//! | `greeting.rs` | all of it → the terminal |
//! | `cluster.rs` | with `--kubeconfig`: the same without an API and a store of its own, on objects of an API server |
//! | `showing.rs` | that such a gateway is shown in that API, where it is Tidegate's |
//!
//! DNS and admin share the control runtime, on the main thread; the API has two threads, and the control loop, the data plane's
//! own control side, the files and the demo have one each, so that none of them delays another or a request.

mod about;
mod cluster;
mod containers;
mod exec;
pub mod gateway;
mod greeting;
mod ground;
mod portrait;
mod ports;
mod showing;

use std::path::Path;
use std::sync::Arc;

use tidegate_apiserver::rest::Handle as ApiHandle;

use self::containers::GatewayContainers;
use self::greeting::{Greeting, Listening};
use self::ground::{Ground, Running};
use self::portrait::Portrait;
use crate::api_server::{self, Kept};
use crate::cli::UpArgs;
use crate::control::{Outgoing, ToStore, departed};
use crate::demo::Demo;
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use crate::terminal;

/// Runs until a signal ends it.
///
/// # Errors
/// It cannot start, or it was told to end before connections had finished.
pub fn run(args: UpArgs) -> Outcome<()> {
    args.log_level.start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    if args.kubeconfig.is_some() {
        return runtime.block_on(cluster::serve(args));
    }
    let api = api_server::threads()?;
    let kept = Kept::open(&args.api, api.handle().clone(), false)?;
    let prepared = Ground::prepare(&args, Some(args.api.api_listen)).and_then(|ground| {
        let demo = args.demo.then(|| start_demo(&kept.data_dir)).transpose()?;
        Ok((ground, demo))
    });
    match prepared {
        Ok((ground, demo)) => runtime.block_on(serve(args, kept, ground, demo)),
        Err(failure) => {
            runtime.block_on(kept.store.close());
            Err(failure)
        }
    }
}

fn start_demo(data_dir: &Path) -> Outcome<Demo> {
    Demo::start(data_dir).map_err(|error| {
        Failure::new(format!("the demo's origins: {error}")).or("leave out --demo")
    })
}

async fn serve(args: UpArgs, kept: Kept, ground: Ground, demo: Option<Demo>) -> Outcome<()> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    // What the command line says goes before what the demo says.
    let mut connect_to = args.connect_to.clone();
    connect_to.extend(demo.iter().flat_map(Demo::connect_to));
    let running = ground.start(&args, gateway::NAMESPACE, connect_to)?;
    if !kept.take_in(&args.api.files, &mut signals).await? {
        return Ok(());
    }
    let store = &kept.store;
    let Running { facts, data_plane, options, .. } = &running;
    let portrait = Portrait::new(store, data_plane, running.verdicts(), facts, options).await;
    tokio::spawn(portrait.keep());
    // Only now: nobody may be told that the gateway itself is not there.
    let api = start_api(&args, &kept, &running, &facts.name()).await?;
    running.surroundings.add(api.local_addr(), "the API of this process (--api-listen)");
    let greeting = Greeting {
        kubeconfig: api.kubeconfig().to_owned(),
        api: api.local_addr(),
        listening: Listening::of(&running),
        demo_ca: demo.map(|demo| demo.ca_bundle),
    };
    let name = running.facts.full_name();
    let outgoing = Outgoing::start(ToStore::new(store.clone(), &name));
    tokio::spawn(departed::forget(store.clone(), name));
    let finish = async {
        api.shutdown().await;
        store.close().await;
    };
    let serving = running.follow(store.changes(), outgoing)?;
    terminal::say(greeting);
    serving.until_told(&mut signals, finish).await
}

async fn start_api(
    args: &UpArgs,
    kept: &Kept,
    running: &Running,
    gateway: &str,
) -> Outcome<ApiHandle> {
    let logs = Arc::clone(running.data_plane.view.logs());
    let admin = Arc::clone(&running.admin);
    let text = args.access_log_format.compiled();
    let containers = GatewayContainers::new(logs, admin, gateway, text);
    kept.serve(&args.api, Arc::new(containers)).await
}

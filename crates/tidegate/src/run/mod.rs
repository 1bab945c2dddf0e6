//! `tidegate run`: a captured workload without a container.
//!
//! One process. What carries traffic (listeners, workers) has its threads in the command's network namespace and as the user whose
//! connections are not captured; what follows files, looks up names and answers the terminal stays in this one.
//!
//! | file | what it holds |
//! |---|---|
//! | `network.rs` | the namespace: addresses, routes, and what leads out of it |
//! | `claim.rs` | what is made outside of the namespace, written down so that the next start can remove it |
//! | `pod.rs` | the Pod by which the command shows itself in an API |
//! | `showing.rs` | that it does so for as long as it runs |
//! | `command.rs` | the command: as whom it runs, its signals, its status |

mod claim;
mod command;
mod network;
pub mod pod;
mod showing;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidegate_api::{Kind, ObjectKey};
use tokio::sync::{Notify, mpsc};

use self::command::{Command, Ended, Signals};
use self::network::Network;
use self::showing::Show;
use crate::cli::{LogLevel, RunArgs};
use crate::control::Told;
use crate::failure::{Failure, Outcome, both};
use crate::sidecar::{Identity, PROXY, Plan, Sidecar, Source, Status, Workload, become_of, dns};
use crate::{capture, events, listen, terminal};

/// The status when it was not the command that failed, as `env` and `docker run` have it.
const FAILED: u8 = 125;
/// How long connections may take to finish that outlive the command.
const GRACE: Duration = Duration::from_secs(1);

/// Runs a command to its end; its status.
pub fn run(args: RunArgs) -> ExitCode {
    match try_run(args) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            terminal::say(failure);
            ExitCode::from(FAILED)
        }
    }
}

fn try_run(args: RunArgs) -> Outcome<u8> {
    args.proxy.log_level.clone().unwrap_or_else(LogLevel::warn).start();
    let command = Command::new(&args.command)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("a network of its own can be made for the command by root alone")
            .or("sudo tidegate run …: the command itself runs as you"));
    }
    if command.is_of(PROXY) {
        return Err(Failure::new(format!(
            "user {} is let through by rules of capture: it is the sidecar's",
            PROXY.uid
        ))
        .or("call sudo as another user"));
    }
    args.access_log.check()?;
    let source = Source::of(&args.proxy)?;
    let network = Network::new(args.network, !args.no_forwarding)?;
    let captured = args.capture();
    network.inside(|| capture::apply(&captured, capture::Choice::Auto))??;
    // Two commands of a name are two workloads.
    let name = format!("{}-{}", command.name(), std::process::id());
    let workload = Workload::new(&args.proxy, &name, network.addresses().to_vec());
    let show = source.access().cloned().map(|access| Show {
        access,
        workload: workload.clone(),
        command: command.name().to_owned(),
        format: args.proxy.access_log_format.compiled(),
    });
    let ((admin, health), status) = network.inside(|| {
        let admin = listen::bind(SocketAddr::from(([127, 0, 0, 1], 15000)), "admin");
        let ours = both(admin, listen::bind(workload.any(15021), "health"));
        both(ours, Status::bind(&workload, [None; 2]))
    })??;
    let identity = Identity::new(None, args.proxy.mode());
    let queries = dns::captured(&workload);
    let answering = network.inside(|| {
        become_of(identity)
            .map_err(|error| Failure::new(format!("cannot answer names: {error}")))?;
        dns::bind(&queries)
    })??;
    let plan = Plan::new(args.proxy, source, workload, &args.access_log, [admin, health])?;
    // Somebody waits for the command.
    let plan = plan.answering(Some(answering), true).telling(status).impatient();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    runtime.block_on(serve(plan, command, (&network, identity), show))
}

async fn serve(
    plan: Plan,
    command: Command,
    (network, identity): (&Network, Identity),
    show: Option<Show>,
) -> Outcome<u8> {
    let mut signals = Signals::listen()?;
    let launch = |start: crate::sidecar::StartThreads| {
        // Threads are in the namespace, and of the user, of the one that starts them.
        let started = network.inside(|| {
            become_of(identity)?;
            start()
        });
        started.map_err(|failure| std::io::Error::other(failure.to_string()))?
    };
    let (sender, mut notes) = mpsc::channel(events::WAITING);
    let gone = Arc::new(Notify::new());
    let told = show.as_ref().map(|Show { workload: Workload { namespace, name, .. }, .. }| Told {
        about: ObjectKey::new(Kind::Pod, namespace.as_str(), name.as_str()),
        notes: sender,
        gone: Arc::clone(&gone),
    });
    let sidecar = tokio::select! {
        sidecar = plan.shown(told).start(launch) => sidecar?,
        signal = signals.next() => return Ok(Ended::by(signal).status()),
    };
    let showing = match show {
        Some(show) => show.begin(&sidecar.data_plane.view).await,
        None => None,
    };
    let Some(mut showing) = showing else {
        return Ok(beside(sidecar, command, network, &mut signals).await?.status());
    };
    let ended = tokio::select! {
        ended = beside(sidecar, command, network, &mut signals) => ended,
        never = showing.keep(&mut notes, &gone) => match never {},
    };
    showing.end().await;
    Ok(ended?.status())
}

/// Runs the command while the sidecar serves.
async fn beside(
    mut sidecar: Sidecar,
    command: Command,
    network: &Network,
    signals: &mut Signals,
) -> Outcome<Ended> {
    let mut running = match network.inside(|| command.start())? {
        Ok(running) => running,
        Err(ended) => return Ok(ended),
    };
    let ended = loop {
        tokio::select! {
            ended = running.ended() => break Ok(ended),
            signal = signals.next() => running.pass_on(signal),
            failure = sidecar.broken() => {
                // Its connections would lead nowhere from now on.
                running.kill();
                break Err(failure);
            }
        }
    };
    if ended.is_ok() {
        sidecar.data_plane.drain(GRACE).await;
    }
    ended
}

/// The last part of a path, as a name.
fn base_name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

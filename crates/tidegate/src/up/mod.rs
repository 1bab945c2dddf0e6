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
//! | `ports.rs`, `data_dir.rs` | the machine: ports settled, state's place made, before anything starts |
//! | `crate::files` | manifests → store |
//! | `crate::control` | store → pilot → snapshot, and status back |
//! | `portrait.rs`, `gateway.rs` | the running gateway → objects that show it |
//! | `about.rs` | the running gateway → what admin tells of it |
//! | `logs.rs` | access log → `kubectl logs` |
//! | `greeting.rs` | all of it → the terminal |
//!
//! The API, DNS and admin share the control runtime, on the main thread; the control loop, the data plane's own
//! control side, the files and the demo have a thread each, so that none of them delays another or a request.

mod about;
pub mod data_dir;
pub mod gateway;
mod greeting;
mod logs;
mod portrait;
mod ports;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tidegate_apiserver::rest::{Handle as ApiHandle, Options as ApiOptions, Server, StartError};
use tidegate_apiserver::store::{Options as StoreOptions, Store};
use tidegate_proxy::surroundings::Surroundings;
use tidegate_proxy::upstream::dns::DnsConfig;
use tidegate_proxy::upstream::incident;
use tidegate_proxy::view::About;
use tidegate_xds::Snapshot;
use tokio::sync::{mpsc, oneshot};

use self::gateway::Facts;
use self::greeting::Greeting;
use self::logs::PodLogs;
use self::portrait::Portrait;
use self::ports::{GATEWAY_LISTEN, Ports};
use crate::cli::UpArgs;
use crate::control::{self, Neighbours, Outgoing};
use crate::data_plane::{self, DataPlane};
use crate::demo::Demo;
use crate::failure::{Failure, Outcome, both};
use crate::signals::Signals;
use crate::{admin, files, lifecycle, listen, mesh, terminal};

/// The port that load balancers probe.
const HEALTH_PORT: u16 = 15021;

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
    let data_dir = data_dir::prepare(args.data_dir.as_deref())?;
    // Before any port: a second process over the same folder would find the first one's ports taken, and hear
    // of them instead of it.
    let store = Store::open(&data_dir, StoreOptions::default())
        .map_err(|error| Failure::new(error.to_string()).or("--data-dir DIR"))?;
    match Ground::prepare(&args, data_dir, store.clone()) {
        Ok(ground) => runtime.block_on(serve(args, ground)),
        Err(failure) => {
            runtime.block_on(store.close());
            Err(failure)
        }
    }
}

/// What has to be had before anything can start: each a reason to say so and stop.
struct Ground {
    data_dir: PathBuf,
    ports: Ports,
    admin: TcpListener,
    health: TcpListener,
    store: Store,
    demo: Option<Demo>,
    mesh: Option<mesh::Config>,
}

impl Ground {
    fn prepare(args: &UpArgs, data_dir: PathBuf, store: Store) -> Outcome<Self> {
        let health = match args.health_listen {
            Some(address) => (address, "--health-listen"),
            None => (SocketAddr::new(args.gateway_listen, HEALTH_PORT), GATEWAY_LISTEN),
        };
        // All of them are looked at before one is told: whoever has to move one port, moves them at once.
        let ports = Ports::settle(args.gateway_listen, args.port_map.as_ref());
        let health = listen::bind_at(health.0, "--health-listen", health.1);
        let admin = listen::bind(args.admin_listen, "--admin-listen");
        // The API binds for itself, later.
        let api = listen::bind(args.api_listen, "--api-listen").map(drop);
        let (((ports, health), admin), ()) = both(both(both(ports, health), admin), api)?;
        args.access_log.check()?;
        let mesh = args.mesh_config.as_deref().map(mesh::read).transpose()?;
        let demo = match args.demo {
            true => Some(start_demo(&data_dir)?),
            false => None,
        };
        Ok(Self { data_dir, ports, admin, health, store, demo, mesh })
    }
}

fn start_demo(data_dir: &Path) -> Outcome<Demo> {
    Demo::start(data_dir).map_err(|error| {
        Failure::new(format!("the demo's origins: {error}")).or("leave out --demo")
    })
}

async fn serve(args: UpArgs, ground: Ground) -> Outcome<()> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    let Ground { data_dir, ports, admin, health, store, demo, mesh } = ground;
    let addresses = [listen::local(&admin)?, listen::local(&health)?];
    let facts = facts(&args, &ports, addresses, mesh.as_ref());

    let snapshot = Snapshot::new();
    let (started, start) = oneshot::channel();
    let workers = args.workers.unwrap_or_else(data_plane::cores);
    let about = about::about(&facts, workers, addresses[0])
        .map_err(|error| Failure::new(format!("the gateway cannot show itself: {error}")))?;
    let dns = dns(&args, demo.as_ref());
    let surroundings = ports.surroundings();
    surroundings.add(addresses[0], "the admin interface of this process (--admin-listen)");
    surroundings.add(addresses[1], "the health endpoint of this process (--health-listen)");
    let others = surroundings.clone();
    let (incidents, happened) = mpsc::unbounded_channel();
    let mut data_plane =
        start_data_plane(workers, dns, about, others, incidents, &snapshot, start)?;
    admin::serve(&data_plane.view, Some(admin), Some(health))?;

    tokio::select! {
        followed = files::follow(args.files.clone(), store.clone()) => followed?,
        signal = signals.end() => {
            tracing::info!("{signal}: ended before manifests were read");
            store.close().await;
            return Ok(());
        }
    }
    let mut options = pilot_options(&args, &ports, &facts);
    mesh::apply(mesh.as_ref(), &mut options)?;
    let portrait = Portrait::new(&store, &data_plane, snapshot.verdicts(), &facts, &options).await;
    tokio::spawn(portrait.keep());
    // Only now: nobody may be told that what files hold, or the gateway itself, is not there.
    let api = start_api(&args, &data_dir, &store, &data_plane, &facts.name()).await?;
    surroundings.add(api.local_addr(), "the API of this process (--api-listen)");
    let outgoing = Outgoing::start(store.clone());
    let view = Arc::clone(&data_plane.view);
    let neighbours =
        Neighbours { snapshot, outgoing, view, incidents: happened, names: None, pod: None };
    let mut control = control::start(store.changes(), options, neighbours, started)
        .map_err(|error| Failure::new(format!("the control loop does not start: {error}")))?;

    terminal::say(greet(&api, addresses, &ports, demo));
    let finish = async {
        api.shutdown().await;
        store.close().await;
    };
    let view = Arc::clone(&data_plane.view);
    tokio::select! {
        outcome = lifecycle::serve(&mut data_plane, &mut signals, finish) => outcome,
        () = control.wait() => {
            view.flush_logs().await;
            Err(Failure::new("the control loop has ended by itself: a defect of Tidegate")
                .or("start it again; the log above may say why"))
        }
    }
}

fn facts(
    args: &UpArgs,
    ports: &Ports,
    [admin, health]: [SocketAddr; 2],
    mesh: Option<&mesh::Config>,
) -> Facts {
    let started = Timestamp::now();
    Facts {
        labels: args.gateway_labels.clone(),
        mesh: mesh.map(|config| config.text.clone()).unwrap_or_default(),
        address: ports.reachable(),
        listen: ports.listen(),
        health_port: health.port(),
        admin: SocketAddr::new(ports::reachable(admin.ip()), admin.port()),
        ports: ports.iter().collect(),
        ready: false,
        started,
        turned: started,
    }
}

fn dns(args: &UpArgs, demo: Option<&Demo>) -> DnsConfig {
    // What the command line says goes before what the demo says.
    let mut connect_to = args.connect_to.clone();
    connect_to.extend(demo.into_iter().flat_map(Demo::connect_to));
    DnsConfig { servers: args.dns_server.clone(), connect_to, ..DnsConfig::default() }
}

fn start_data_plane(
    workers: NonZeroUsize,
    dns: DnsConfig,
    about: About,
    surroundings: Surroundings,
    incidents: incident::Listener,
    snapshot: &Snapshot,
    start: oneshot::Receiver<u64>,
) -> Outcome<DataPlane> {
    let logs = tidegate_proxy::accesslog::Options::default();
    let incidents = Some(incidents);
    let names = tidegate_proxy::egress::Names::default();
    let options =
        tidegate_proxy::Options { workers, dns, logs, about, surroundings, incidents, names };
    let words = data_plane::secret_words(gateway::NAMESPACE);
    DataPlane::start(options, tokio::runtime::Handle::current(), snapshot, start, words)
        .map_err(|error| Failure::new(format!("the data plane does not start: {error}")))
}

async fn start_api(
    args: &UpArgs,
    data_dir: &Path,
    store: &Store,
    data_plane: &DataPlane,
    gateway: &str,
) -> Outcome<ApiHandle> {
    let logs = Arc::clone(data_plane.view.logs());
    let logs = PodLogs::new(logs, gateway, args.access_log_format.compiled());
    let options = ApiOptions::new(args.api_listen, data_dir.to_owned());
    Server::start(options, store.clone(), Arc::new(logs)).await.map_err(|error| match error {
        StartError::Listen { address, source } => {
            listen::flag_refused(address, "--api-listen", &source)
        }
        StartError::Credentials(reason) => Failure::new(reason),
    })
}

fn pilot_options(args: &UpArgs, ports: &Ports, facts: &Facts) -> tidegate_pilot::Options {
    let service = tidegate_pilot::GatewayService {
        host: format!("{}.{}.svc.cluster.local", facts.name(), gateway::NAMESPACE),
        namespace: gateway::NAMESPACE.to_owned(),
        ports: ports.iter().collect::<BTreeMap<_, _>>(),
    };
    tidegate_pilot::Options {
        labels: facts.labels(),
        namespace: gateway::NAMESPACE.to_owned(),
        address: args.gateway_listen,
        services: vec![service],
        lowest_port: ports.lowest(),
        system_roots: data_plane::system_roots(),
        workload_certificates: args.workload_certs.as_deref().map(mesh::folder),
        access_log: Some(args.access_log.compiled(&args.access_log_format)),
        judge: tidegate_pilot::Judge(tidegate_proxy::config::would_take),
        ..tidegate_pilot::Options::default()
    }
}

fn greet(
    api: &ApiHandle,
    [admin, health]: [SocketAddr; 2],
    ports: &Ports,
    demo: Option<Demo>,
) -> Greeting {
    Greeting {
        kubeconfig: api.kubeconfig().to_owned(),
        api: api.local_addr(),
        admin,
        health,
        listen: ports.listen(),
        reachable: ports.reachable(),
        ports: ports.iter().collect(),
        demo_ca: demo.map(|demo| demo.ca_bundle),
    }
}

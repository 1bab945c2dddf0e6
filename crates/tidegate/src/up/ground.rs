//! What has to be had before anything can start, and what is started on it whatever objects come from.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;

use jiff::Timestamp;
use tidegate_pilot::{GatewayService, Judge, Options};
use tidegate_proxy::admin::Admin;
use tidegate_proxy::surroundings::Surroundings;
use tidegate_proxy::upstream::dns::{ConnectTo, DnsConfig};
use tidegate_proxy::upstream::incident::Incident;
use tidegate_proxy::view::About;
use tidegate_xds::{Snapshot, Verdicts};
use tokio::sync::{mpsc, oneshot, watch};

use super::gateway::Facts;
use super::ports::{self, GATEWAY_LISTEN, Ports};
use crate::cli::UpArgs;
use crate::control::{self, Feed, Neighbours, Outgoing};
use crate::data_plane::{self, DataPlane};
use crate::ended::Ended;
use crate::failure::{Failure, Outcome, both};
use crate::signals::Signals;
use crate::{addresses, admin, lifecycle, listen, mesh};

/// The port that load balancers probe.
const HEALTH_PORT: u16 = 15021;

/// Ports that are bound, and what was read: each a reason to say so and stop.
pub struct Ground {
    ports: Ports,
    admin: TcpListener,
    health: TcpListener,
    mesh: Option<mesh::Config>,
}

impl Ground {
    /// Binds what flags say; `api` is where an API will listen, if one will.
    ///
    /// # Errors
    /// Ports that are taken or forbidden, all of them, or a file that cannot be read or written.
    pub fn prepare(args: &UpArgs, api: Option<SocketAddr>) -> Outcome<Self> {
        let health = match args.health_listen {
            Some(address) => (address, "--health-listen"),
            None => (SocketAddr::new(args.gateway_listen, HEALTH_PORT), GATEWAY_LISTEN),
        };
        // All of them are looked at before one is told: whoever has to move one port, moves them at once.
        let ports = Ports::settle(args.gateway_listen, args.port_map.as_ref());
        let health = listen::bind_at(health.0, "--health-listen", health.1);
        let admin = listen::bind(args.admin_listen, "--admin-listen");
        // The API binds for itself, later.
        let free = |address| listen::bind(address, "--api-listen").map(drop);
        let api = api.map_or(Ok(()), free);
        let (((ports, health), admin), ()) = both(both(both(ports, health), admin), api)?;
        args.access_log.check()?;
        let mesh = args.mesh_config.as_deref().map(mesh::read).transpose()?;
        Ok(Self { ports, admin, health, mesh })
    }

    /// Starts the data plane, which has nothing to serve yet, of a gateway in a namespace. Needs a runtime, on which names are
    /// looked up and the admin interface answers.
    ///
    /// # Errors
    /// A thread cannot be made, or the mesh config says what cannot be done.
    pub fn start(
        self,
        args: &UpArgs,
        namespace: &str,
        connect_to: Vec<ConnectTo>,
    ) -> Outcome<Running> {
        let Self { ports, admin, health, mesh } = self;
        let addresses = [listen::local(&admin)?, listen::local(&health)?];
        let facts = facts(args, namespace, &ports, addresses, mesh.as_ref());
        let mut options = pilot_options(args, &ports, &facts);
        mesh::apply(mesh.as_ref(), &mut options)?;
        let surroundings = ports.surroundings();
        surroundings.add(addresses[0], "the admin interface of this process (--admin-listen)");
        surroundings.add(addresses[1], "the health endpoint of this process (--health-listen)");
        let servers = args.dns_server.clone();
        let dns = DnsConfig { servers, connect_to, ..DnsConfig::default() };
        let workers = args.workers.unwrap_or_else(data_plane::cores);
        let (incidents, happened) = mpsc::unbounded_channel();
        let proxy = tidegate_proxy::Options {
            workers,
            dns,
            logs: tidegate_proxy::accesslog::Options::default(),
            about: about(&facts, workers, addresses[0])?,
            surroundings: surroundings.clone(),
            incidents: Some(incidents),
            dns_proxy: None,
        };
        let snapshot = Snapshot::new();
        let (started, start) = oneshot::channel();
        let words = data_plane::secret_words(namespace);
        let runtime = tokio::runtime::Handle::current();
        let data_plane = DataPlane::start(proxy, runtime, &snapshot, start, words)
            .map_err(|error| Failure::new(format!("the data plane does not start: {error}")))?;
        let admin = admin::serve(&data_plane.view, Some(admin), Some(health))?;
        let told = Told { snapshot, happened, started };
        Ok(Running { ports, addresses, admin, facts, surroundings, data_plane, options, told })
    }
}

/// A gateway that runs, and has nothing to serve yet.
pub struct Running {
    /// Held until the process ends.
    pub ports: Ports,
    /// Where the admin interface and the health endpoint listen.
    pub addresses: [SocketAddr; 2],
    /// The admin interface itself.
    pub admin: Arc<Admin>,
    /// What is told of it.
    pub facts: Facts,
    /// What else listens on this machine.
    pub surroundings: Surroundings,
    /// What carries traffic.
    pub data_plane: DataPlane,
    /// How objects are compiled for it.
    pub options: Options,
    told: Told,
}

/// What control loop and data plane tell each other.
struct Told {
    snapshot: Snapshot,
    happened: mpsc::UnboundedReceiver<Incident>,
    started: oneshot::Sender<u64>,
}

impl Running {
    /// What workers say of what they were given.
    pub fn verdicts(&self) -> watch::Receiver<Verdicts> {
        self.told.snapshot.verdicts()
    }

    /// Starts the control loop on these objects.
    ///
    /// # Errors
    /// Its thread cannot be made.
    pub fn follow(self, objects: impl Feed, outgoing: Outgoing) -> Outcome<Serving> {
        let Told { snapshot, happened: incidents, started } = self.told;
        let view = Arc::clone(&self.data_plane.view);
        let neighbours = Neighbours { snapshot, outgoing, view, incidents, names: None, pod: None };
        let control = control::start(objects, self.options, neighbours, started)
            .map_err(|error| Failure::new(format!("the control loop does not start: {error}")))?;
        Ok(Serving { data_plane: self.data_plane, control, _ports: self.ports })
    }
}

/// A gateway that serves what objects say.
pub struct Serving {
    data_plane: DataPlane,
    control: Ended,
    _ports: Ports,
}

impl Serving {
    /// Serves until it is told to end, lets connections finish then, and does `finish`.
    ///
    /// # Errors
    /// It was told twice, or a part of it ended by itself.
    pub async fn until_told(
        mut self,
        signals: &mut Signals,
        finish: impl Future<Output = ()>,
    ) -> Outcome<()> {
        let view = Arc::clone(&self.data_plane.view);
        tokio::select! {
            outcome = lifecycle::serve(&mut self.data_plane, signals, finish) => outcome,
            () = self.control.wait() => {
                view.flush_logs().await;
                Err(Failure::new("the control loop has ended by itself: a defect of Tidegate")
                    .or("start it again; the log above may say why"))
            }
        }
    }
}

fn about(facts: &Facts, workers: NonZeroUsize, admin: SocketAddr) -> Outcome<About> {
    super::about::about(facts, workers, admin)
        .map_err(|error| Failure::new(format!("the gateway cannot show itself: {error}")))
}

fn facts(
    args: &UpArgs,
    namespace: &str,
    ports: &Ports,
    [admin, health]: [SocketAddr; 2],
    mesh: Option<&mesh::Config>,
) -> Facts {
    let started = Timestamp::now();
    Facts {
        labels: args.gateway_labels.clone(),
        namespace: namespace.to_owned(),
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

fn pilot_options(args: &UpArgs, ports: &Ports, facts: &Facts) -> Options {
    let service = GatewayService {
        host: format!("{}.{}.svc.cluster.local", facts.name(), facts.namespace),
        namespace: facts.namespace.clone(),
        ports: ports.iter().collect::<BTreeMap<_, _>>(),
    };
    Options {
        labels: facts.labels(),
        namespace: facts.namespace.clone(),
        address: args.gateway_listen,
        // Without them names are looked up in IPv4 alone.
        addresses: addresses::own().unwrap_or_default(),
        services: vec![service],
        lowest_port: ports.lowest(),
        system_roots: data_plane::system_roots(),
        workload_certificates: args.workload_certs.as_deref().map(mesh::folder),
        access_log: Some(args.access_log.compiled(&args.access_log_format)),
        judge: Judge(tidegate_proxy::config::would_take),
        ..Options::default()
    }
}

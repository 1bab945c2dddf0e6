//! `tidegate sidecar`: the control loop and the data plane of one workload, whose connections are captured.
//!
//! ```text
//! manifests ─► store (in memory) ─┬─changes─► control ─publish─► snapshot ─► data plane: 15001, 15006
//! an API server ──────────────────┘              └─ what is found out about objects ─► the log
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `workload.rs` | for whom it is: what pilot and the admin interface are told of the workload |
//! | `objects.rs` | where objects come from, and what the workload's Pod says |
//! | `dns.rs` | what answers the workload's DNS queries |
//! | `status.rs` | what kubelets and Prometheus ask |
//! | `identity.rs` | the user that it runs as, so that its own connections are not captured |

pub mod dns;
mod identity;
mod objects;
mod status;
mod workload;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_api::{Kind, ObjectKey};
use tidegate_capture::Mode;
use tidegate_dns::{DnsProxy, Server};
use tidegate_pilot::sidecar::{INBOUND_PORT, OUTBOUND_PORT};
use tidegate_pilot::{Interception, OutboundPolicy};
use tidegate_proxy::surroundings::Surroundings;
use tidegate_proxy::upstream::dns::DnsConfig;
use tidegate_source::cluster::Client;
use tidegate_xds::Snapshot;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use self::identity::{Identity, PROXY, become_of};
pub use self::objects::Source;
use self::objects::{Known, Said};
pub use self::status::Status;
pub use self::workload::Workload;
use crate::cli::{AccessLogFile, LogLevel, ProxyFlags, SidecarArgs};
use crate::control::{self, InWords, Names, Neighbours, Outgoing, Told};
use crate::data_plane::{self, DataPlane};
use crate::ended::Ended;
use crate::failure::{Failure, Outcome, both};
use crate::handing_in::HandingIn;
use crate::signals::Signals;
use crate::{about, addresses, admin, events, lifecycle, listen, mesh};

/// The port that kubelets probe.
const HEALTH_PORT: u16 = 15021;

/// Runs until a signal ends it.
///
/// # Errors
/// It cannot start, or it was told to end before connections had finished.
pub fn run(args: SidecarArgs) -> Outcome<()> {
    args.proxy.log_level.clone().unwrap_or_else(LogLevel::info).start();
    let source = Source::of(&args.proxy)?;
    let said = Said {
        pod: args.proxy.pod.is_some(),
        labels: args.proxy.labels.is_some(),
        addresses: !args.address.is_empty(),
        interception: args.proxy.interception_mode.is_some(),
    };
    let machine = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let workload = Workload::new(&args.proxy, &machine, own_addresses(&args.address)?);
    let health = args.health_listen.unwrap_or_else(|| workload.any(HEALTH_PORT));
    let admin = listen::bind(args.admin_listen, "--admin-listen");
    let health = listen::bind(health, "--health-listen");
    let status = Status::bind(&workload, [args.status_listen, args.metrics_listen]);
    let ours = both(both(admin, health), status);
    let (((admin, health), status), ()) = both(ours, free_ports(workload.any(0).ip()))?;
    let queries = dns::wanted(&args.dns_listen, &workload)?;
    if args.redirect_dns && queries.is_none() {
        let why = "--redirect-dns: queries are led here, and --dns-listen off answers none";
        return Err(Failure::new(why).or("one of the two"));
    }
    let identity = Identity::new(args.run_as, args.proxy.mode());
    let plan = Plan::new(args.proxy, source, workload, &args.access_log, [admin, health])?;
    // No thread has been started yet, and those that will be are all of this user.
    identity::take(identity)?;
    plan.check(identity)?;
    let plan = plan.answering(queries.as_deref().map(dns::bind).transpose()?, args.redirect_dns);
    let plan = plan.telling(status.probing()?);
    args.access_log.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        // Not before: what another user sends may be captured.
        let plan = plan.complete(said).await?;
        let mut signals = Signals::listen()
            .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
        tokio::select! {
            sidecar = plan.start(|start| start()) => sidecar?.serve(&mut signals).await,
            signal = signals.end() => {
                tracing::info!("{signal}: ended before everything was read");
                Ok(())
            }
        }
    })
}

/// What a workload is dialled at: what was said, or the addresses of this machine.
///
/// # Errors
/// There is none but loopback.
pub fn own_addresses(said: &[IpAddr]) -> Outcome<Vec<IpAddr>> {
    if !said.is_empty() {
        return Ok(said.to_vec());
    }
    let failed = |why: String| Failure::new(why).or("--address ADDRESS, the workload's own");
    let own = addresses::own()
        .map_err(|error| failed(format!("the addresses of this machine: {error}")))?;
    match own.is_empty() {
        true => Err(failed("this machine has no address but loopback".to_owned())),
        false => Ok(own),
    }
}

/// Finds out early whether the ports that captured connections come to are somebody else's.
fn free_ports(any: IpAddr) -> Outcome<()> {
    let free = |port| {
        let other =
            "a network namespace of its own for each workload: rules of capture lead to this port";
        let place = "the port of captured connections";
        let at = SocketAddr::new(any, port);
        listen::bind_or(at, (place, "--address"), other.to_owned()).map(drop)
    };
    both(free(OUTBOUND_PORT), free(INBOUND_PORT)).map(|_| ())
}

/// Everything that a sidecar is started with.
pub struct Plan {
    workload: Workload,
    source: Source,
    certificates: Option<PathBuf>,
    options: tidegate_pilot::Options,
    dns: DnsConfig,
    workers: NonZeroUsize,
    admin: TcpListener,
    health: TcpListener,
    /// What is told beside these.
    status: Option<Status>,
    /// Answers the workload's queries, where these are captured.
    names: Option<(Server, Arc<DnsProxy>)>,
    /// Who is told what is said of the workload's Pod.
    pod: Option<Told>,
    /// Where an API takes the list of what is refused, of a Pod that somebody else shows.
    refusals: Option<(Client, String)>,
    /// Whether the start waits for an API that refuses what is to be read.
    is_patient: bool,
}

/// Starts the threads that carry traffic.
pub type StartThreads = Box<dyn FnOnce() -> io::Result<DataPlane> + Send>;

impl Plan {
    /// A plan for a workload, as flags say. `listeners` are bound: the admin interface and the health endpoint.
    ///
    /// # Errors
    /// The mesh config cannot be read.
    pub fn new(
        flags: ProxyFlags,
        source: Source,
        workload: Workload,
        access_log: &AccessLogFile,
        [admin, health]: [TcpListener; 2],
    ) -> Outcome<Self> {
        let mut options = workload.pilot_options();
        options.workload_certificates = flags.workload_certs.as_deref().map(mesh::folder);
        options.access_log = Some(access_log.compiled(&flags.access_log_format));
        options.interception = match flags.mode() {
            Mode::Redirect => Interception::Redirect,
            Mode::Tproxy { mark } => Interception::Tproxy { mark },
        };
        let mesh = flags.mesh_config.as_deref().map(mesh::read).transpose()?;
        mesh::apply(mesh.as_ref(), &mut options)?;
        let (servers, connect_to) = (flags.dns_server, flags.connect_to);
        Ok(Self {
            workload,
            source,
            certificates: flags.workload_certs,
            options,
            dns: DnsConfig { servers, connect_to, ..DnsConfig::default() },
            workers: flags.workers.unwrap_or_else(data_plane::cores),
            admin,
            health,
            status: None,
            names: None,
            pod: None,
            refusals: None,
            is_patient: true,
        })
    }

    /// Has the workload's Pod say what flags do not, and what happens to the workload be written as Events of it. Needs a
    /// runtime, on which these are written.
    ///
    /// # Errors
    /// The API has no such Pod, or does not answer; or the Pod is captured in another way.
    async fn complete(mut self, said: Said) -> Outcome<Self> {
        let known = self.source.complete(&mut self.workload, said).await?;
        self.workload.describe_to(&mut self.options);
        let Workload { namespace, name, .. } = &self.workload;
        let about = ObjectKey::new(Kind::Pod, namespace.as_str(), name.as_str());
        let told = known.map(|Known { client, uid }| {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/egress?uid={uid}");
            self.refusals = Some((client.clone(), path));
            let (notes, mut said) = mpsc::channel(events::WAITING);
            tokio::spawn(async move { events::write_all(&client, &uid, &mut said).await });
            Told { about, notes, gone: Arc::default() }
        });
        Ok(self.shown(told))
    }

    /// The same, where the workload's queries come to this server, `all` of them or some: hosts without an address have one of
    /// their own then.
    pub fn answering(mut self, server: Option<Server>, all: bool) -> Self {
        self.options.captures_dns = server.is_some();
        self.options.asks_elsewhere = !all;
        self.names = server.map(|server| (server, dns::proxy(&self.dns)));
        self
    }

    /// The same, with the ports that kubelets and Prometheus ask.
    pub fn telling(self, status: Status) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The same, where somebody shows the workload as a Pod.
    pub fn shown(self, pod: Option<Told>) -> Self {
        Self { pod, ..self }
    }

    /// The same, but for an API that refuses what is to be read: that ends the start.
    pub fn impatient(self) -> Self {
        Self { is_patient: false, ..self }
    }

    /// Looks whether the user that it runs as may read what it is to follow.
    ///
    /// # Errors
    /// It may not.
    fn check(&self, identity: Identity) -> Outcome<()> {
        let key = self.certificates.iter().map(|folder| folder.join("key.pem"));
        let key: Vec<PathBuf> = key.collect();
        let mut paths = self.source.files().iter().chain(&key).map(PathBuf::as_path);
        paths.try_for_each(|path: &Path| identity::readable(path, identity))
    }

    /// Starts it. `launch` has the threads started that carry traffic. Needs a runtime, on which names are looked up and the admin
    /// interface answers. Done when everything that manifests hold is served, as far as it can be.
    ///
    /// # Errors
    /// A thread cannot be made, or manifests cannot be watched; or the API refuses what is to be read, and nobody is to wait for that.
    pub async fn start(
        self,
        launch: impl FnOnce(StartThreads) -> io::Result<DataPlane>,
    ) -> Outcome<Sidecar> {
        let at = listen::local(&self.admin)?;
        let surroundings = surroundings(at, listen::local(&self.health)?);
        if let Some([status, metrics]) = self.status.as_ref().map(Status::places).transpose()? {
            surroundings.add(status, "the status port of this process (--status-listen)");
            surroundings.add(metrics, "the metrics of this process (--metrics-listen)");
        }
        let about = about::of_node(self.workload.node(), self.workers, at)
            .map_err(|error| Failure::new(format!("the sidecar cannot show itself: {error}")))?;
        let (incidents, happened) = mpsc::unbounded_channel();
        let options = tidegate_proxy::Options {
            workers: self.workers,
            dns: self.dns,
            logs: tidegate_proxy::accesslog::Options::default(),
            about,
            surroundings,
            incidents: Some(incidents),
            dns_proxy: self.names.as_ref().map(|(_, dns)| Arc::clone(dns)),
        };
        let snapshot = Snapshot::new();
        let (started, start) = oneshot::channel();
        let words = data_plane::secret_words(&self.workload.namespace);
        let (names, served) = (Handle::current(), snapshot.clone());
        let threads = Box::new(move || DataPlane::start(options, names, &served, start, words));
        let mut data_plane = launch(threads)
            .map_err(|error| Failure::new(format!("the data plane does not start: {error}")))?;
        let interface = admin::serve(&data_plane.view, Some(self.admin), Some(self.health))?;
        if let Some(status) = self.status {
            status.serve(&interface, &data_plane.view, &self.workload);
        }
        let objects = self.source.follow(&self.workload.namespace).await?;
        let refused = objects.refused(&self.workload.namespace);
        let policy = self.options.outbound_policy;
        let pod = self.pod.clone();
        let outgoing = Outgoing::start(InWords { pod: self.pod });
        let view = Arc::clone(&data_plane.view);
        let (server, dns) = self.names.unzip();
        let names =
            dns.as_ref().map(|dns| Names::new(Arc::clone(dns), self.workload.namespace.clone()));
        let neighbours = Neighbours { snapshot, outgoing, view, incidents: happened, names, pod };
        let control = control::start(objects, self.options, neighbours, started)
            .map_err(|error| Failure::new(format!("the control loop does not start: {error}")))?;
        // A data plane that has ended is told by whoever serves.
        tokio::select! {
            _ = data_plane.ready.wait_for(|ready| *ready) => {}
            refused = refused, if !self.is_patient => return Err(refused),
        }
        let mut answering = JoinSet::new();
        let mut queries = String::new();
        if let (Some(server), Some(dns)) = (server, dns) {
            queries = dns::told(&server);
            answering.spawn(dns::serve(server, dns));
        }
        tracing::info!("{}", greeting(&self.workload, policy, at, &queries));
        let handing_in =
            self.refusals.map(|(to, path)| HandingIn::refusals(to, path, &data_plane.view));
        Ok(Sidecar { data_plane, control, handing_in, _answering: answering })
    }
}

/// A sidecar that serves.
pub struct Sidecar {
    /// What carries traffic.
    pub data_plane: DataPlane,
    control: Ended,
    /// Tells the API what is refused.
    handing_in: Option<HandingIn>,
    /// Answers the workload's queries.
    _answering: JoinSet<()>,
}

impl Sidecar {
    /// Serves until it is told to end, and lets connections finish then.
    ///
    /// # Errors
    /// It was told twice, or a part of it ended by itself.
    pub async fn serve(mut self, signals: &mut Signals) -> Outcome<()> {
        let view = Arc::clone(&self.data_plane.view);
        let handing_in = self.handing_in.take();
        let last = async {
            if let Some(handing_in) = handing_in {
                handing_in.end().await;
            }
        };
        tokio::select! {
            outcome = lifecycle::serve(&mut self.data_plane, signals, last) => outcome,
            () = self.control.wait() => {
                view.flush_logs().await;
                Err(ended("control loop"))
            }
        }
    }

    /// Waits for a part of it to end by itself, which none should. Safe to cancel.
    pub async fn broken(&mut self) -> Failure {
        tokio::select! {
            () = self.data_plane.ended.wait() => ended("data plane"),
            () = self.control.wait() => ended("control loop"),
        }
    }
}

fn ended(part: &str) -> Failure {
    Failure::new(format!("the {part} has ended by itself: a defect of Tidegate"))
        .or("start it again; the log above may say why")
}

fn surroundings(admin: SocketAddr, health: SocketAddr) -> Surroundings {
    let surroundings = Surroundings::new(|port| {
        format!("have no Sidecar listen on {port} in this network namespace")
    });
    surroundings.add(admin, "the admin interface of this process (--admin-listen)");
    surroundings.add(health, "the health endpoint of this process (--health-listen)");
    surroundings
}

fn greeting(
    workload: &Workload,
    policy: OutboundPolicy,
    admin: SocketAddr,
    queries: &str,
) -> String {
    let elsewhere = match policy {
        OutboundPolicy::RegistryOnly => "is refused (REGISTRY_ONLY)",
        OutboundPolicy::AllowAny => "goes where it was dialled (ALLOW_ANY)",
        OutboundPolicy::AllowAnyDynamicDns => {
            "goes to the host that requests ask for, else where it was dialled (ALLOW_ANY_DYNAMIC_DNS)"
        }
    };
    format!(
        "sidecar of {workload} serves: outbound at port {OUTBOUND_PORT}, inbound at {INBOUND_PORT}, {queries}admin at http://{admin}; \
         what no object describes {elsewhere}"
    )
}

/// Every address of the family of `own`.
const fn unspecified(own: IpAddr) -> IpAddr {
    match own {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

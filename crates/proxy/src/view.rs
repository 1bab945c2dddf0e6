//! What is told of a running proxy: the state behind the admin interface.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::Value as Json;
use tidegate_xds::ResourceType;
use tokio::sync::{mpsc, watch};

use crate::accesslog::Logs;
use crate::admin::{self, Accepted, Drain, Lifecycle, Origin, Rejected, State, Thresholds};
use crate::config::{Config, Record, Records};
use crate::egress::{Denied, Register};
use crate::ledger::Ledger;
use crate::remote::Remote;
use crate::stats::Registry;
use crate::tls::Lacks;
use crate::tls::inventory::Inventory;
use crate::upstream::cluster::{Discovery, Place};
use crate::upstream::outlier::Outlier;
use crate::upstream::{Cluster, Endpoint};

/// How long writing out access logs may take at the end.
pub const FLUSH: Duration = Duration::from_secs(5);

/// What the admin interface tells of the process.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Version of the program.
    pub version: String,
    /// `envoy.config.core.v3.Node` as JSON; `Null` without one.
    pub node: Json,
    /// What the program was started with, by option.
    pub options: Json,
    /// An encoded `envoy.config.bootstrap.v3.Bootstrap`.
    pub bootstrap: Bytes,
    /// Whether resources come from the bootstrap alone.
    pub is_static: bool,
}

/// What the admin interface asks of whoever owns the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Let listeners close.
    Drain(Drain),
    /// End the process as SIGTERM does.
    Quit,
}

/// The state of a proxy, readable from anywhere.
#[derive(Debug)]
pub struct View {
    about: About,
    started: SystemTime,
    registry: Arc<Registry>,
    logs: Arc<Logs>,
    records: Arc<Records>,
    ledger: Arc<Ledger>,
    refused: Arc<Register>,
    /// Why secrets are not there.
    lacks: Lacks,
    config: ArcSwap<Config>,
    listening: ArcSwap<Vec<admin::Listener>>,
    /// Listeners that are good and not open, and why.
    unbound: ArcSwap<HashMap<Arc<str>, String>>,
    served: AtomicBool,
    serves_initial: AtomicBool,
    draining: AtomicBool,
    requests: OnceLock<mpsc::UnboundedSender<Request>>,
}

impl View {
    pub(crate) fn new(
        about: About,
        registry: Arc<Registry>,
        logs: Arc<Logs>,
        records: Arc<Records>,
        (ledger, refused): (Arc<Ledger>, Arc<Register>),
        lacks: Lacks,
    ) -> Arc<Self> {
        Arc::new(Self {
            about,
            started: SystemTime::now(),
            registry,
            logs,
            records,
            ledger,
            refused,
            lacks,
            config: ArcSwap::default(),
            listening: ArcSwap::default(),
            unbound: ArcSwap::default(),
            served: AtomicBool::new(false),
            serves_initial: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            requests: OnceLock::new(),
        })
    }

    /// Counts a form of a secret that whoever feeds the proxy did not give it, as it lacks what is needed: as one that was
    /// refused.
    pub fn count_withheld(&self, secret: &Arc<str>) {
        self.ledger.secrets(&[(Arc::clone(secret), false)], &[]);
    }

    /// Takes from whoever feeds the proxy why secrets are not there, which handshakes that need them then say; `None` where
    /// nobody needs them any more.
    pub fn learn_lacks(&self, news: impl IntoIterator<Item = (Arc<str>, Option<String>)>) {
        self.lacks.learn(news);
    }

    /// Tells that more was refused ([`State::denied`]).
    #[must_use]
    pub fn refusals(&self) -> watch::Receiver<()> {
        self.refused.news()
    }

    /// The counts.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The access logs.
    #[must_use]
    pub fn logs(&self) -> &Arc<Logs> {
        &self.logs
    }

    /// What is served.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// What the admin interface asks for from now on; only the first caller gets it.
    pub fn requests(&self) -> Option<mpsc::UnboundedReceiver<Request>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.requests.set(sender).ok().map(|()| receiver)
    }

    /// Says that every worker serves the configuration that was present at start.
    pub fn set_serves_initial(&self) {
        if !self.serves_initial.swap(true, Ordering::AcqRel) {
            let took = self.started.elapsed().unwrap_or_default();
            let server = self.registry.control().server();
            server.initialization_time_ms.record(took.as_millis() as u64);
        }
    }

    /// Writes out what was recorded for access logs, as far as that is done in [`FLUSH`]: a pipe that nobody
    /// reads must not keep the process.
    pub async fn flush_logs(&self) {
        if tokio::time::timeout(FLUSH, self.logs.flush()).await.is_err() {
            tracing::warn!("access logs were not written out within {FLUSH:?}: their end is lost");
        }
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Shows what is served, which listeners are open, and why others are not.
    pub(crate) fn serve(
        &self,
        config: Arc<Config>,
        listening: HashMap<Arc<str>, Vec<Remote>>,
        mut unbound: HashMap<Arc<str>, String>,
    ) {
        // One of which an earlier form is open stands as that.
        unbound.retain(|name, _| !listening.contains_key(name));
        let mut listeners: Vec<_> = listening
            .into_iter()
            .map(|(name, addresses)| admin::Listener { name, addresses })
            .collect();
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        self.config.store(config);
        self.listening.store(Arc::new(listeners));
        self.unbound.store(Arc::new(unbound));
        self.served.store(true, Ordering::Release);
    }

    fn ask(&self, request: Request) {
        if let Some(requests) = self.requests.get() {
            // Whoever is gone already is ending the process.
            let _ = requests.send(request);
        }
    }

    fn resource(&self, name: Arc<str>, record: &Record) -> admin::Resource {
        let version = |version: u64| format!("{version:016x}");
        admin::Resource {
            name,
            origin: if self.about.is_static { Origin::Static } else { Origin::Dynamic },
            accepted: record.served.as_ref().map(|served| Accepted {
                version: version(served.resource.version),
                updated: served.since,
                bytes: served.resource.bytes.clone(),
            }),
            rejected: record.refused.as_ref().map(|refused| Rejected {
                version: version(refused.resource.version),
                attempted: refused.at,
                reason: refused
                    .refusals
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; "),
                bytes: refused.resource.bytes.clone(),
            }),
            warming: false,
        }
    }

    fn cluster(&self, cluster: &Cluster) -> admin::Cluster {
        let limits = cluster.limits;
        let alias = (cluster.stat_name != cluster.name).then(|| Arc::clone(&cluster.stat_name));
        let eds_service = match &cluster.discovery {
            Discovery::Eds(service) => Some(Arc::clone(service)),
            _ => None,
        };
        admin::Cluster {
            name: Arc::clone(&cluster.name),
            alias,
            eds_service,
            added_via_api: !self.about.is_static,
            default_priority: Thresholds {
                max_connections: limits.connections,
                max_pending_requests: limits.pending_requests,
                max_requests: limits.requests,
                max_retries: limits.retries,
            },
            high_priority: Thresholds::default(),
            outlier: cluster.outlier.as_ref().map(Outlier::rates),
            endpoints: match cluster.discovery {
                Discovery::Dialled { .. } => {
                    let (all, place) = (cluster.originals().all(), Arc::default());
                    all.iter().map(|original| endpoint((original, &place))).collect()
                }
                Discovery::Asked(_) => {
                    let (all, place) = (cluster.names().endpoints(), Arc::default());
                    all.iter().map(|asked| endpoint((asked, &place))).collect()
                }
                _ => cluster.endpoints.load().with_places().map(endpoint).collect(),
            },
        }
    }
}

fn endpoint((endpoint, place): (&Arc<Endpoint>, &Arc<Place>)) -> admin::Endpoint {
    admin::Endpoint {
        address: endpoint.address.clone(),
        hostname: endpoint.hostname.as_deref().unwrap_or_default().to_owned(),
        health: admin::Health {
            failed_outlier: endpoint.monitor.is_ejected(),
            ..admin::Health::default()
        },
        success_rates: endpoint.monitor.success_rates(),
        weight: endpoint.weight,
        locality: place.locality.clone(),
        priority: place.priority,
    }
}

/// A resource as it is, or as one whose good form serves nobody: a listener that could not be opened, which Envoy shows as an
/// error, too.
fn not_open(resource: admin::Resource, why: Option<&String>) -> admin::Resource {
    let Some((why, accepted)) = why.zip(resource.accepted.as_ref()) else { return resource };
    let Accepted { version, updated, bytes } = accepted.clone();
    let rejected = Rejected { version, attempted: updated, reason: why.clone(), bytes };
    admin::Resource { accepted: None, rejected: Some(rejected), ..resource }
}

impl State for View {
    fn lifecycle(&self) -> Lifecycle {
        if self.draining.load(Ordering::Acquire) {
            Lifecycle::Draining
        } else if self.serves_initial.load(Ordering::Acquire) {
            Lifecycle::Live
        } else if self.served.load(Ordering::Acquire) {
            Lifecycle::Initializing
        } else {
            Lifecycle::PreInitializing
        }
    }

    fn serves_initial_configuration(&self) -> bool {
        self.serves_initial.load(Ordering::Acquire)
    }

    fn about(&self) -> admin::About {
        admin::About {
            version: self.about.version.clone(),
            started: self.started,
            node: self.about.node.clone(),
            options: self.about.options.clone(),
        }
    }

    fn bootstrap(&self) -> Bytes {
        self.about.bootstrap.clone()
    }

    fn resources(&self, kind: ResourceType) -> Vec<admin::Resource> {
        let records = self.records.of(kind);
        let unbound = self.unbound.load();
        let shown = records.into_iter().map(|(name, record)| {
            let why = unbound.get(&name).filter(|_| kind == ResourceType::Listener);
            not_open(self.resource(name, &record), why)
        });
        shown.collect()
    }

    fn refresh_stats(&self) {
        self.ledger.refresh();
        self.ledger.certificates(&self.config.load());
    }

    fn clusters(&self) -> Vec<admin::Cluster> {
        let config = self.config.load();
        config.clusters.values().map(|cluster| self.cluster(cluster)).collect()
    }

    fn listeners(&self) -> Vec<admin::Listener> {
        self.listening.load().to_vec()
    }

    fn certificates(&self) -> Vec<Inventory> {
        self.config.load().certificates().map(|(_, _, inventory)| inventory).collect()
    }

    fn denied(&self) -> Vec<Denied> {
        self.refused.denied()
    }

    fn drain_listeners(&self, drain: Drain) {
        self.ask(Request::Drain(drain));
    }

    fn reopen_logs(&self) {
        self.logs.reopen();
    }

    fn quit(&self) {
        self.ask(Request::Quit);
    }
}

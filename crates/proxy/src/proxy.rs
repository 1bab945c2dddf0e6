//! The proxy as a whole: configuration applied to workers, and what is told of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use tidegate_dns::DnsProxy;
use tidegate_envoy::json;
use tidegate_xds::{Rejection, ResourceType, Update, Verdict};
use tokio::runtime::Handle;

use crate::accesslog::{self, Logs};
use crate::config::listener::Listener;
use crate::config::{Applied, Applier, Notice};
use crate::egress;
use crate::filter::jwt::remote::Follower;
use crate::ledger::Ledger;
use crate::sds;
use crate::stats::Registry;
use crate::surroundings::Surroundings;
use crate::tls::Lacks;
use crate::upstream::discovery::Discovery;
use crate::upstream::dns::{DnsConfig, Resolver};
use crate::upstream::fault::Told;
use crate::upstream::incident;
use crate::upstream::outlier::Watch;
use crate::view::{About, View};
use crate::worker::Fleet;

/// How a proxy is set up.
#[derive(Debug)]
pub struct Options {
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Where names are looked up.
    pub dns: DnsConfig,
    /// What is kept of the access logs.
    pub logs: accesslog::Options,
    /// What the admin interface tells of the process.
    pub about: About,
    /// What else the process has open, and how its listeners get other ports.
    pub surroundings: Surroundings,
    /// Who is told of endpoints that are ejected or return, of names that lead nowhere, and of egress that is denied.
    pub incidents: Option<incident::Listener>,
    /// What answers the workload's DNS queries, where they come here: which name led it to an address is told of egress that is
    /// denied, and queries are counted.
    pub dns_proxy: Option<Arc<DnsProxy>>,
}

/// A running proxy, seen from the control side. Dropping it ends the workers.
#[derive(Debug)]
pub struct Proxy {
    applier: Applier,
    discovery: Discovery,
    watch: Watch,
    fleet: Fleet,
    ledger: Arc<Ledger>,
    view: Arc<View>,
    /// The listeners that accept no more, whatever is configured.
    drained: Option<Drained>,
    /// Listeners whose address could not be bound, and why.
    unbound: BTreeMap<Arc<str>, (Arc<Listener>, Rejection)>,
    /// The refusals that stood when they were told last.
    told: HashSet<Rejection>,
    surroundings: Surroundings,
    /// Servers that secrets are asked for at.
    servers: sds::Follower,
    /// Those that cannot be asked now, and why.
    lost: BTreeMap<Arc<str>, Told>,
    /// Keys of tokens that are fetched.
    keys: Follower,
}

/// Listeners by direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All of them.
    All,
    /// Those whose `traffic_direction` is `INBOUND`.
    Inbound,
}

impl Drained {
    fn covers(self, listener: &Listener) -> bool {
        self == Self::All || listener.inbound
    }
}

/// What is heard besides updates.
#[derive(Debug)]
pub enum News {
    /// Of a server of secrets.
    Secrets(sds::News),
    /// Keys of tokens cannot be fetched, or can again.
    Keys,
}

/// What an update came to.
#[derive(Debug)]
pub struct Outcome {
    /// What to report: every worker serves this now.
    pub verdict: Verdict,
    /// Refusals that are news: those that stood before, for the same reason, are left out.
    pub rejected: Vec<Rejection>,
    /// Fields of this update that have no effect here.
    pub notices: Vec<Notice>,
    /// What is served although somebody should do something about it.
    pub warnings: Vec<Notice>,
}

impl Proxy {
    /// Starts the workers; nothing is served yet. Names are resolved on `control`.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(options: Options, control: Handle) -> io::Result<Self> {
        let registry = Registry::new(options.workers.get());
        let logs = Logs::start(&registry, options.logs)?;
        let (office, refused) = (egress::Office::new(), Arc::<egress::Register>::default());
        let names = options.dns_proxy.as_ref().map(egress::Names::of_dns).unwrap_or_default();
        let fleet = Fleet::start(&registry, &logs, &office.post(names.clone()))?;
        options.dns_proxy.into_iter().for_each(|proxy| registry.show(proxy));
        let told = options.incidents.clone();
        control.spawn(office.keep(Arc::clone(&refused), names, registry.control().egress(), told));
        let ledger = Arc::new(Ledger::new(registry.control(), registry.workers()));
        ledger.workers_started();
        let dns = registry.control().dns();
        let resolver = Resolver::new(options.dns, dns, control.clone());
        let lacks = Lacks::default();
        let applier = Applier::new(Some(Arc::clone(&logs))).explaining(lacks.clone());
        let records = Arc::clone(applier.records());
        let node = json::from_json(&options.about.node).unwrap_or_default();
        let servers = sds::Follower::new(control.clone(), node);
        let keys = Follower::new(control.clone(), registry.control());
        let books = (Arc::clone(&ledger), refused);
        let view = View::new(options.about, registry, logs, records, books, lacks);
        let watch = Watch::start(&control, options.incidents.clone());
        let discovery = Discovery::new(resolver, control, options.incidents);
        let unbound = BTreeMap::new();
        let (drained, told, surroundings) = (None, HashSet::new(), options.surroundings);
        let lost = BTreeMap::new();
        Ok(Self {
            applier,
            discovery,
            watch,
            fleet,
            ledger,
            view,
            drained,
            unbound,
            told,
            surroundings,
            servers,
            lost,
            keys,
        })
    }

    /// What is told of the proxy: admin, stats, logs.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The resolver of the process.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        self.discovery.resolver()
    }

    /// Applies an update; done when every worker serves it. What is wrong takes down itself alone.
    pub async fn apply(&mut self, update: &Update) -> Outcome {
        let applied = self.applier.apply(update);
        let (notices, warnings) = self.carry_out(applied);
        self.retry();
        self.fleet.sync().await;
        self.show();
        self.let_go();
        let verdict = self.verdict();
        let rejected = self.news_of(&verdict);
        Outcome { verdict, rejected, notices, warnings }
    }

    /// The refusals that did not stand when this was asked last.
    fn news_of(&mut self, verdict: &Verdict) -> Vec<Rejection> {
        let standing: HashSet<Rejection> = verdict.rejected.iter().cloned().collect();
        let told = std::mem::replace(&mut self.told, standing);
        let new = verdict.rejected.iter().filter(|rejection| !told.contains(rejection));
        new.cloned().collect()
    }

    /// Asks servers of secrets for what is needed now, and fetches the keys that are.
    fn follow_servers(&mut self) {
        self.keys.follow(&self.applier.key_sources());
        let mut gone = Vec::new();
        let wanted = self.applier.wanted(&mut gone);
        self.ledger.secrets(&[], &gone);
        self.lost.retain(|server, _| wanted.contains_key(server));
        self.servers.follow(wanted);
    }

    /// Waits for what is heard next of a server of secrets or of keys, to be given to [`Proxy::hear`]. Safe to cancel.
    pub async fn news(&mut self) -> News {
        tokio::select! {
            news = self.servers.news() => News::Secrets(news),
            () = self.keys.news() => News::Keys,
        }
    }

    /// Takes what was heard of a server of secrets or of keys. A secret counts from the next handshake on; one that is wrong,
    /// or does not come, leaves the one before.
    pub fn hear(&mut self, news: News) -> Outcome {
        let warnings = match news {
            // The verdict has it.
            News::Keys => Vec::new(),
            News::Secrets(sds::News::Came { server, secrets, verdict }) => {
                self.lost.remove(&server);
                let delivered = self.applier.deliver(&server, &secrets);
                self.ledger.secrets(&delivered.secrets, &[]);
                let faults = delivered.faults.join("; ");
                let judged = if faults.is_empty() { Ok(()) } else { Err(faults) };
                // A stream that has ended meanwhile needs no answer.
                let _ = verdict.send(judged);
                delivered.warnings
            }
            News::Secrets(sds::News::Lost { server, why }) => {
                let words = why.to_string();
                let news = match self.lost.entry(Arc::clone(&server)) {
                    Entry::Occupied(mut told) => told.get_mut().hear(why),
                    Entry::Vacant(none) => {
                        none.insert(Told::new(why));
                        true
                    }
                };
                if news {
                    tracing::warn!("secrets of {server} cannot be asked for: {words}");
                }
                Vec::new()
            }
        };
        let verdict = self.verdict();
        let rejected = self.news_of(&verdict);
        Outcome { verdict, rejected, notices: Vec::new(), warnings }
    }

    /// Whether an earlier form of what was refused serves.
    fn serves_on(&self, rejection: &Rejection) -> bool {
        let Rejection { kind, name, .. } = rejection;
        let record = self.applier.records().get(*kind, name);
        match kind {
            // A form that is good, but whose address is not to be had, serves nobody.
            ResourceType::Listener => {
                self.fleet.serves(name) && !record.is_some_and(|record| record.is_partial())
            }
            _ => record.is_some_and(|record| record.served.is_some()),
        }
    }

    /// Whether something that was removed is still there for connections that use it: then [`Self::let_go`] is to be
    /// called from time to time.
    #[must_use]
    pub fn has_leaving(&self) -> bool {
        self.applier.has_leaving()
    }

    /// Takes away what was removed and nothing uses any more.
    pub fn let_go(&mut self) {
        self.applier.let_go();
        // What has gone points to no secret and no keys any more.
        self.follow_servers();
    }

    /// Tries again to bind what could not be bound; tells whether something changed.
    pub async fn rebind(&mut self) -> bool {
        let before = self.unbound.len();
        self.retry();
        if self.unbound.len() == before {
            return false;
        }
        self.fleet.sync().await;
        self.show();
        true
    }

    /// Lets the admin interface see what is served, and which listeners are open.
    fn show(&self) {
        let unbound = self.unbound.iter();
        let unbound = unbound.map(|(name, (_, why))| (Arc::clone(name), why.reason.clone()));
        let config = Arc::clone(self.applier.config());
        let listening = self.fleet.addresses();
        let listening = listening.map(|(name, addresses)| (Arc::clone(name), addresses));
        self.view.serve(config, listening.collect(), unbound.collect());
    }

    /// Every refusal that stands, with the generation that is served.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.applier.verdict();
        let missing =
            self.lost.iter().flat_map(|(server, told)| self.applier.missing(server, told.words()));
        verdict.rejected.extend(missing);
        verdict.rejected.extend(self.unbound.values().map(|(_, rejection)| rejection.clone()));
        for rejection in &mut verdict.rejected {
            rejection.serves_on = self.serves_on(rejection);
        }
        verdict
    }

    /// When a certificate will have expired next: then there is another [`Self::verdict`].
    #[must_use]
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.applier.next_expiry()
    }

    /// The addresses that are listened on, by listener.
    pub fn addresses(&self) -> impl Iterator<Item = (&Arc<str>, SocketAddr)> {
        self.fleet.bound().map(|(name, address)| (name, *address))
    }

    /// Tells clients of these listeners to go: a connection closes after its next answer. The listeners
    /// accept as before.
    pub fn discourage(&self, which: Drained) {
        for listener in self.listeners(which) {
            for chain in listener.chains.chains.iter().chain(&listener.chains.default) {
                chain.discouraged.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Closes these listeners for good, also those that are configured later. Their connections go on.
    pub async fn close_listeners(&mut self, which: Drained) {
        if self.drained != Some(Drained::All) {
            self.drained = Some(which);
        }
        for listener in self.listeners(which) {
            if self.fleet.close(&listener.name) {
                self.ledger.stopped();
            }
        }
        self.fleet.sync().await;
        self.show();
    }

    fn listeners(&self, which: Drained) -> Vec<Arc<Listener>> {
        let all = self.applier.config().listeners.values();
        all.filter(|listener| which.covers(listener)).cloned().collect()
    }

    /// Stops accepting and lets connections finish, for at most `grace`; true when all did. Then access
    /// logs are written out, as far as they are in [`crate::view::FLUSH`].
    pub async fn drain(&mut self, grace: Duration) -> bool {
        self.view.set_draining();
        let all = self.fleet.drain(grace).await;
        self.view.flush_logs().await;
        all
    }

    fn carry_out(&mut self, applied: Applied) -> (Vec<Notice>, Vec<Notice>) {
        self.ledger.clusters(&applied.clusters);
        self.ledger.secrets(&applied.secrets, &applied.secrets_removed);
        for cluster in &applied.clusters.put {
            self.watch.follow(cluster);
            self.discovery.follow(cluster);
        }
        for name in &applied.clusters.removed {
            self.watch.forget(name);
            self.discovery.forget(name);
        }
        for name in &applied.listeners.removed {
            self.unbound.remove(name);
            self.fleet.stop(name);
            self.ledger.removed(name);
        }
        for listener in &applied.listeners.put {
            self.bind(listener);
        }
        (applied.notices, applied.warnings)
    }

    fn bind(&mut self, listener: &Arc<Listener>) {
        let new = !self.fleet.serves(&listener.name);
        if new && self.drained.is_some_and(|which| which.covers(listener)) {
            return self.leave_unbound(listener, DRAINED.to_owned());
        }
        match self.fleet.serve(listener) {
            Ok(how) => {
                self.ledger.served(listener, how);
                self.unbound.remove(&listener.name);
            }
            Err((address, error)) => {
                if !self.unbound.contains_key(&listener.name) {
                    self.ledger.not_served();
                }
                let why = self.surroundings.why_unbound(&address, &error, self.fleet.bound());
                self.leave_unbound(listener, why);
            }
        }
    }

    fn leave_unbound(&mut self, listener: &Arc<Listener>, reason: String) {
        let name = Arc::clone(&listener.name);
        let path = "address".to_owned();
        let kind = ResourceType::Listener;
        let rejection = Rejection { kind, name: Arc::clone(&name), path, reason, serves_on: false };
        self.unbound.insert(name, (Arc::clone(listener), rejection));
    }

    fn retry(&mut self) {
        let waiting: Vec<_> = self.unbound.values().map(|(listener, _)| listener.clone()).collect();
        for listener in &waiting {
            self.bind(listener);
        }
    }
}

/// Why a listener that comes after `/drain_listeners` is not opened.
const DRAINED: &str = "listeners were drained by the admin interface; they open again when the process is started again";

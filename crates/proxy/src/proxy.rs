//! The proxy as a whole: configuration applied to workers, and what is told of it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::{Rejection, ResourceType, Update, Verdict};
use tokio::runtime::Handle;

use crate::accesslog::{self, Logs};
use crate::config::listener::Listener;
use crate::config::{Applied, Applier, Notice};
use crate::stats::Registry;
use crate::upstream::discovery::Discovery;
use crate::upstream::dns::{DnsConfig, Resolver};
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
}

/// A running proxy, seen from the control side. Dropping it ends the workers.
#[derive(Debug)]
pub struct Proxy {
    applier: Applier,
    discovery: Discovery,
    fleet: Fleet,
    view: Arc<View>,
    /// Listeners whose address could not be bound, and why.
    unbound: BTreeMap<Arc<str>, (Arc<Listener>, Rejection)>,
}

/// What an update came to.
#[derive(Debug)]
pub struct Outcome {
    /// What to report: every worker serves this now.
    pub verdict: Verdict,
    /// Resources of this update that were refused.
    pub rejected: Vec<Rejection>,
    /// Fields of this update that have no effect here.
    pub notices: Vec<Notice>,
}

impl Proxy {
    /// Starts the workers; nothing is served yet. Names are resolved on `control`.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(options: Options, control: Handle) -> io::Result<Self> {
        let registry = Registry::new(options.workers.get());
        let logs = Logs::start(&registry, options.logs)?;
        let fleet = Fleet::start(&registry, &logs)?;
        let resolver = Resolver::new(options.dns, control.clone());
        let applier = Applier::new(Some(Arc::clone(&logs)));
        let records = Arc::clone(applier.records());
        let view = View::new(options.about, registry, logs, records);
        let discovery = Discovery::new(resolver, control);
        Ok(Self { applier, discovery, fleet, view, unbound: BTreeMap::new() })
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
        let (mut rejected, notices) = self.carry_out(applied);
        rejected.extend(self.retry());
        self.fleet.sync().await;
        self.view.serve(Arc::clone(self.applier.config()), self.fleet.addresses());
        Outcome { verdict: self.verdict(), rejected, notices }
    }

    /// Tries again to bind what could not be bound; tells whether something changed.
    pub async fn rebind(&mut self) -> bool {
        let before = self.unbound.len();
        self.retry();
        if self.unbound.len() == before {
            return false;
        }
        self.fleet.sync().await;
        self.view.serve(Arc::clone(self.applier.config()), self.fleet.addresses());
        true
    }

    /// Every refusal that stands, with the generation that is served.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.applier.verdict();
        verdict.rejected.extend(self.unbound.values().map(|(_, rejection)| rejection.clone()));
        verdict
    }

    /// The addresses that are listened on, by listener.
    pub fn addresses(&self) -> impl Iterator<Item = (&Arc<str>, SocketAddr)> {
        self.fleet.addresses().iter().map(|(name, address)| (name, *address))
    }

    /// Stops accepting and lets connections finish, for at most `grace`; true when all did. Then access
    /// logs are written out.
    pub async fn drain(&mut self, grace: Duration) -> bool {
        self.view.set_draining();
        let all = self.fleet.drain(grace).await;
        self.view.logs().flush().await;
        all
    }

    fn carry_out(&mut self, applied: Applied) -> (Vec<Rejection>, Vec<Notice>) {
        for cluster in &applied.clusters.put {
            self.discovery.follow(cluster);
        }
        for name in &applied.clusters.removed {
            self.discovery.forget(name);
        }
        for name in &applied.listeners.removed {
            self.unbound.remove(name);
            self.fleet.stop(name);
        }
        let mut rejected = applied.rejected;
        for listener in &applied.listeners.put {
            rejected.extend(self.bind(listener));
        }
        (rejected, applied.notices)
    }

    fn bind(&mut self, listener: &Arc<Listener>) -> Option<Rejection> {
        match self.fleet.serve(listener) {
            Ok(_) => {
                self.unbound.remove(&listener.name);
                None
            }
            Err(error) => {
                let rejection = Rejection {
                    kind: ResourceType::Listener,
                    name: Arc::clone(&listener.name),
                    path: "address".to_owned(),
                    reason: why_unbound(listener.address, &error),
                };
                let entry = (Arc::clone(listener), rejection.clone());
                self.unbound.insert(Arc::clone(&listener.name), entry);
                Some(rejection)
            }
        }
    }

    fn retry(&mut self) -> Vec<Rejection> {
        let waiting: Vec<_> = self.unbound.values().map(|(listener, _)| listener.clone()).collect();
        waiting.iter().filter_map(|listener| self.bind(listener)).collect()
    }
}

fn why_unbound(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "cannot listen on {address}: another process has the port; stop it, or map the port to another one"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "cannot listen on {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE; map the port to a higher one"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("cannot listen on {address}: this machine does not have that address")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

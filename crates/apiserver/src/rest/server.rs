//! The server: where it listens, whom it serves, how it stops.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_api::{Kind, Object, Origin};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Context};
use super::credentials::{CredentialError, Credentials};
use super::limits::Limits;
use super::logs::Containers;
use super::users::Users;
use super::{Api, Shutdown, endpoints, namespaces};
use crate::store::{Push, Store};

/// How long connections may take to end once the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait after the system refused a connection (no descriptors left, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The address of the Service that stands for this server.
const SERVICE_ADDRESS: &str = "10.96.0.1";

/// How the API is served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the certificate authority, the token and the kubeconfig are kept.
    pub data_dir: PathBuf,
    /// What clients may take of the server.
    pub limits: Limits,
    /// A file of tokens of further users, as Kubernetes' static token file.
    pub token_file: Option<PathBuf>,
    /// Nothing but this API runs in the process: others act on the objects, and which kinds they serve is not known here.
    pub alone: bool,
}

impl Options {
    /// Listens on `listen` and keeps its files in `data_dir`.
    #[must_use]
    pub fn new(listen: SocketAddr, data_dir: PathBuf) -> Self {
        Self { listen, data_dir, limits: Limits::default(), token_file: None, alone: false }
    }

    /// Whether others than this machine may be let in as it says: only with tokens that were given to them on purpose.
    ///
    /// # Errors
    ///
    /// [`StartError::NoTokens`] where they may not.
    pub fn check(&self) -> Result<(), StartError> {
        match self.token_file {
            None if !self.listen.ip().to_canonical().is_loopback() => {
                Err(StartError::NoTokens { address: self.listen })
            }
            _ => Ok(()),
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another with --api-listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The address can be reached from elsewhere, and nobody was given a token on purpose.
    #[error(
        "the API at {address} can be reached from other machines: name who may use it with --api-token-file, or \
         listen on loopback alone"
    )]
    NoTokens {
        /// The address.
        address: SocketAddr,
    },
    /// The credentials could not be made or read.
    #[error("{0}")]
    Credentials(String),
}

impl From<CredentialError> for StartError {
    fn from(error: CredentialError) -> Self {
        Self::Credentials(error.to_string())
    }
}

/// Serves a [`Store`] to Kubernetes clients.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Starts serving, on the runtime that this is called in; the kubeconfig has been written when this returns.
    /// The store then shows the server as the Service `kubernetes`, too, and what Endpoints Services have.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(
        options: Options,
        store: Store,
        containers: Arc<dyn Containers>,
    ) -> Result<Handle, StartError> {
        options.check()?;
        let refused = |source| StartError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let credentials = Credentials::prepare(&options.data_dir, address.ip())?;
        let kubeconfig = options.data_dir.join("kubeconfig");
        credentials.write_kubeconfig(&kubeconfig, address)?;
        if let Some(push) = own_service(address) {
            store.push(push).await;
        }
        let limits = options.limits;
        let users = Users::new(credentials.token, options.token_file.as_deref(), limits.requests)
            .map_err(StartError::Credentials)?;
        let (stop, shutdown) = Shutdown::new();
        let api = Api::new(store.clone(), containers, limits.watches, shutdown.clone());
        let api = Api { alone: options.alone, ..api };
        let tidying = tokio::spawn(Arc::clone(&api.handed_in).run(store.clone(), shutdown.clone()));
        let context =
            Arc::new(Context { api, users, acceptor: TlsAcceptor::from(credentials.tls), limits });
        let serving = tokio::spawn(accept(listener, context, shutdown.clone()));
        let ending = tokio::spawn(namespaces::run(store.clone(), shutdown.clone()));
        let showing = tokio::spawn(endpoints::run(store, shutdown));
        Ok(Handle { address, kubeconfig, stop, tasks: vec![serving, ending, showing, tidying] })
    }
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    kubeconfig: PathBuf,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Handle {
    /// Where the server listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The kubeconfig that leads to the server.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Stops serving: no further requests, watches end, requests under way are answered first.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // A task that panicked has nothing left to finish.
            let _ = task.await;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn accept(listener: TcpListener, context: Arc<Context>, mut shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(context.limits.connections));
    let mut running = JoinSet::new();
    loop {
        // The places outlive this loop, so there is always one to wait for.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = running.join_next() => continue,
            () = shutdown.stopped() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (context, shutdown) = (Arc::clone(&context), shutdown.clone());
                running.spawn(async move {
                    connection::serve(context, stream, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the API could not take a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = timeout(DRAIN, async { while running.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::debug!("connections to the API were cut off");
    }
}

/// The Service `default/kubernetes`, which every cluster has.
fn own_service(address: SocketAddr) -> Option<Push> {
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": SERVICE_ADDRESS,
            "clusterIPs": [SERVICE_ADDRESS],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port() }],
        },
        "status": { "loadBalancer": {} },
    });
    let decoded = Object::decode(Kind::Service, "v1", &manifest, Origin::Process);
    match (decoded, manifest) {
        (Ok(decoded), Value::Object(manifest)) => {
            let mut object = decoded.object;
            object.created = jiff::Timestamp::now();
            Some(Push::Put { object: object.into(), manifest })
        }
        (decoded, _) => {
            tracing::error!(?decoded, "the server's own Service does not decode");
            None
        }
    }
}

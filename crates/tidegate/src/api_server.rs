//! `tidegate api`: the API alone, for gateways and sidecars that are processes of their own; and how `tidegate up` starts it
//! beside its gateway.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_apiserver::rest::{self, Options, Server, StartError};
use tidegate_apiserver::store::{Options as StoreOptions, Store};
use tidegate_apiserver::{Containers, NoContainers};
use tokio::runtime::{Handle, Runtime};

use crate::cli::{ApiArgs, ApiFlags};
use crate::failure::{Failure, Outcome};
use crate::signals::{Signal, Signals};
use crate::{data_dir, files, listen, terminal};

/// Serves until a signal ends it.
///
/// # Errors
/// It cannot start, or it was told twice to end.
pub fn run(args: &ApiArgs) -> Outcome<()> {
    args.log_level.start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let api = threads()?;
    let kept = Kept::open(&args.api, api.handle().clone(), true)?;
    runtime.block_on(serve(&args.api, kept))
}

async fn serve(flags: &ApiFlags, kept: Kept) -> Outcome<()> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    if !kept.take_in(&flags.files, &mut signals).await? {
        return Ok(());
    }
    let api = kept.serve(flags, Arc::new(NoContainers)).await?;
    terminal::say(Greeting { kubeconfig: api.kubeconfig(), api: api.local_addr() });
    let signal = loop {
        match signals.next().await {
            // There is no access log that could be opened anew.
            Signal::User1 => {}
            signal => break signal,
        }
    };
    tracing::info!("{signal}: requests are finished, watches ended; a second signal ends at once");
    let in_order = async {
        api.shutdown().await;
        kept.store.close().await;
    };
    tokio::select! {
        () = in_order => Ok(()),
        signal = signals.end() => {
            Err(Failure::new(format!("{signal}: ended before everything had finished")))
        }
    }
}

/// What the API alone runs on: a request that takes long, as of a long object, holds up nothing else that the process does; nor
/// other requests, as there are two threads.
///
/// # Errors
/// The threads cannot be made.
pub fn threads() -> Outcome<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("api")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no threads for the API: {error}")))
}

/// The store of an API, and the folder that it is in.
pub struct Kept {
    /// The folder, as an absolute path.
    pub data_dir: PathBuf,
    /// The store.
    pub store: Store,
    threads: Handle,
    alone: bool,
}

impl Kept {
    /// Opens what there is, or makes it, to be served on these [`threads`]; `alone` when nothing else runs in the process, which
    /// then shows no gateway. To be done before any port is bound: a second process over the same folder would find the first
    /// one's ports taken, and hear of them instead of it.
    ///
    /// # Errors
    /// The API may not be served as the flags say, the folder cannot be had, another process has it, or its content cannot
    /// be read.
    pub fn open(flags: &ApiFlags, threads: Handle, alone: bool) -> Outcome<Self> {
        let data_dir = data_dir::prepare(flags.data_dir.as_deref())?;
        options(flags, &data_dir).check().map_err(not_served)?;
        let mut kept = StoreOptions::default();
        if alone {
            kept.system_namespace = None;
        }
        let store = Store::open(&data_dir, kept)
            .map_err(|error| Failure::new(error.to_string()).or("--data-dir DIR"))?;
        Ok(Self { data_dir, store, threads, alone })
    }

    /// Takes manifests in, and goes on following them. `false`: a signal came before they were read, and the store is closed.
    ///
    /// # Errors
    /// They cannot be watched.
    pub async fn take_in(&self, paths: &[PathBuf], signals: &mut Signals) -> Outcome<bool> {
        tokio::select! {
            followed = files::follow(paths.to_owned(), self.store.clone()) => followed.map(|()| true),
            signal = signals.end() => {
                tracing::info!("{signal}: ended before manifests were read");
                self.store.close().await;
                Ok(false)
            }
        }
    }

    /// Starts to serve it. Only when manifests have been taken in: nobody may be
    /// told that what they hold is not there.
    ///
    /// # Errors
    /// The address or the credentials cannot be had.
    pub async fn serve(
        &self,
        flags: &ApiFlags,
        containers: Arc<dyn Containers>,
    ) -> Outcome<rest::Handle> {
        let mut options = options(flags, &self.data_dir);
        options.alone = self.alone;
        let starting = Server::start(options, self.store.clone(), containers);
        let started = self.threads.spawn(starting).await;
        let started =
            started.map_err(|_| Failure::new("the API has ended: a defect of Tidegate"))?;
        started.map_err(not_served)
    }
}

fn options(flags: &ApiFlags, data_dir: &Path) -> Options {
    let mut options = Options::new(flags.api_listen, data_dir.to_owned());
    options.token_file.clone_from(&flags.api_token_file);
    options.limits.requests = flags.api_request_rate;
    options
}

fn not_served(error: StartError) -> Failure {
    match error {
        StartError::Listen { address, source } => {
            listen::flag_refused(address, "--api-listen", &source)
        }
        StartError::NoTokens { address } => {
            let what = format!(
                "--api-listen {address} can be reached from other machines, and no users of these are named"
            );
            let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
            Failure::new(what)
                .or("--api-token-file FILE, with a line TOKEN,USER,UID,\"GROUPS\" for each")
                .or(format!("--api-listen {local}"))
        }
        StartError::Credentials(reason) => Failure::new(reason),
    }
}

/// What the terminal shows once it listens.
struct Greeting<'a> {
    kubeconfig: &'a Path,
    api: SocketAddr,
}

impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kubeconfig = terminal::quoted(self.kubeconfig);
        writeln!(
            f,
            "\nTidegate {} serves its API at https://{}.",
            env!("CARGO_PKG_VERSION"),
            self.api
        )?;
        writeln!(f, "\nTo use kubectl, and to start a gateway in a namespace of it\n")?;
        writeln!(f, "  export KUBECONFIG={kubeconfig}")?;
        writeln!(f, "  kubectl create namespace istio-system")?;
        writeln!(f, "  tidegate up --kubeconfig {kubeconfig}")
    }
}

//! `tidegate proxy`: the data plane alone, on an Envoy bootstrap.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::Value;
use tidegate_proxy::admin::State as _;
use tidegate_proxy::config::Bootstrap;
use tidegate_proxy::surroundings::Surroundings;
use tidegate_proxy::upstream::dns::DnsConfig;
use tidegate_proxy::view::{About, View};
use tidegate_xds::{Change, Resource, Snapshot};
use tokio::sync::oneshot;

use crate::about::options;
use crate::cli::ProxyArgs;
use crate::data_plane::{self, DataPlane};
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use crate::{admin, lifecycle, listen};

/// Runs until a signal ends it.
///
/// # Errors
/// The file cannot be read or asks for what the proxy does not do, or it was told to end before connections
/// had finished.
pub fn run(args: &ProxyArgs) -> Outcome<()> {
    args.log_level.start();
    let bootstrap = load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    runtime.block_on(serve(args, bootstrap))
}

/// Reads the file, and says of every field that cannot be served where it stands and why.
fn load(path: &Path) -> Outcome<Bootstrap> {
    let place = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| Failure::new(format!("{place}: {error}")))?;
    let value = parse(path, &text)?;
    Bootstrap::load(&value).map_err(|error| {
        let refusals = error.refusals.iter().map(|refusal| format!("\n  {refusal}"));
        let failure =
            Failure::new(format!("{place} cannot be served:{}", refusals.collect::<String>()));
        match error.unsupported {
            true => failure.or("docs/data-plane.md, for what is served"),
            false => failure,
        }
    })
}

/// YAML, of which JSON is a part.
fn parse(path: &Path, text: &str) -> Outcome<Value> {
    let place = path.display().to_string();
    let mut documents = tidegate_yaml::parse(text).into_iter();
    match (documents.next(), documents.next()) {
        (Some(Ok(document)), None) => Ok(document.to_json()),
        (Some(Err(fault)), _) => Err(Failure::in_yaml(&fault, &place, text)),
        (None, _) => Err(Failure::new(format!("{place} is empty"))),
        (Some(Ok(_)), Some(_)) => Err(Failure::new(format!("{place} holds several documents"))),
    }
}

async fn serve(args: &ProxyArgs, bootstrap: Bootstrap) -> Outcome<()> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    let admin = bootstrap.admin.map(bind_admin).transpose()?;
    for notice in &bootstrap.notices {
        tracing::info!("{}: {}", notice.path, notice.reason);
    }

    let snapshot = Snapshot::new();
    let upsert: Vec<Resource> =
        bootstrap.update.upsert.iter().map(|r| Resource::clone(r)).collect();
    let generation = snapshot.publish(Change { upsert, remove: Vec::new() });
    let (started, start) = oneshot::channel();
    let _ = started.send(generation);
    let workers = args.workers.unwrap_or_else(data_plane::cores);
    let options = tidegate_proxy::Options {
        workers,
        dns: DnsConfig { servers: args.dns_server.clone(), ..DnsConfig::default() },
        logs: tidegate_proxy::accesslog::Options::default(),
        about: about(&bootstrap, workers, &args.config),
        surroundings: surroundings(admin.as_ref()),
        incidents: None,
        dns_proxy: None,
    };
    let mut data_plane = DataPlane::start(
        options,
        tokio::runtime::Handle::current(),
        &snapshot,
        start,
        Box::new(|name, path| format!("Secret {name}: {path}")),
    )
    .map_err(|error| Failure::new(format!("the data plane does not start: {error}")))?;
    let admin_at = admin.as_ref().and_then(|admin| admin.local_addr().ok());
    admin::serve(&data_plane.view, admin, None)?;
    all_served(&snapshot, generation, &bootstrap, &args.config).await?;
    tracing::info!("serving {}{}", args.config.display(), places(&data_plane.view, admin_at));
    lifecycle::serve(&mut data_plane, &mut signals, async {}).await
}

/// Where it is served: each listener, and the admin interface.
fn places(view: &View, admin: Option<SocketAddr>) -> String {
    let listeners = view.listeners();
    let listeners = listeners.iter().flat_map(|listener| {
        listener.addresses.iter().map(|address| format!(", {} at {address}", listener.name))
    });
    let admin = admin.map(|address| format!(", admin at http://{address}"));
    listeners.chain(admin).collect()
}

/// The bootstrap's admin interface.
fn bind_admin(address: SocketAddr) -> Outcome<TcpListener> {
    let ip = address.ip();
    let other = format!(
        "admin: {{address: {{socket_address: {{address: \"{ip}\", port_value: 0}}}}}} in the file, for any free port"
    );
    listen::bind_or(address, ("admin.address", "admin.address"), other)
}

/// What the process has open beside the listeners of the file.
fn surroundings(admin: Option<&TcpListener>) -> Surroundings {
    let remedy = "give the listener another port_value in the file";
    let surroundings = Surroundings::new(|_| remedy.to_owned());
    if let Some(address) = admin.and_then(|admin| admin.local_addr().ok()) {
        surroundings.add(address, "the admin interface of this process (admin.address)");
    }
    surroundings
}

fn about(bootstrap: &Bootstrap, workers: NonZeroUsize, config: &Path) -> About {
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: serde_json::json!({ "id": bootstrap.node_id, "cluster": bootstrap.node_cluster }),
        options: options(workers, Some(config)),
        bootstrap: bootstrap.bytes.clone().into(),
        is_static: true,
    }
}

/// Waits until the file is served; a file of which a part is refused is refused as a whole.
async fn all_served(
    snapshot: &Snapshot,
    generation: u64,
    bootstrap: &Bootstrap,
    path: &Path,
) -> Outcome<()> {
    let mut verdicts = snapshot.verdicts();
    let served = verdicts.wait_for(|all| all.served().is_some_and(|now| now >= generation)).await;
    let Ok(verdicts) = served else {
        return Err(Failure::new("the data plane has ended by itself: a defect of Tidegate"));
    };
    // Secrets of servers come, and are missed, later.
    let own = verdicts.rejections().filter(|(_, rejection)| bootstrap.has(rejection));
    let refusals: Vec<String> =
        own.map(|(_, rejection)| format!("\n  {}", bootstrap.place(rejection))).collect();
    match refusals.as_slice() {
        [] => Ok(()),
        all => Err(Failure::new(format!("{} cannot be served:{}", path.display(), all.concat()))),
    }
}

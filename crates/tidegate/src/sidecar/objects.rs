//! Where a sidecar's objects come from: manifests, or an API server.

use std::future::{Future, pending};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use tidegate_api::kube::Pod;
use tidegate_api::{FieldError, Kind, Object, Origin, Spec};
use tidegate_apiserver::store::{Changes, Options as StoreOptions, Store};
use tidegate_source::cluster::{Access, Ask, Client, Health, Options};
use tidegate_source::{Change, Cluster};

use super::Workload;
use crate::api;
use crate::cli::AccessArgs;
use crate::cli::ProxyFlags;
use crate::control::Feed;
use crate::failure::{Failure, Outcome};
use crate::files;

/// The time that reading a kubeconfig may take.
const CHECK: Duration = Duration::from_secs(10);

/// Where objects come from.
pub enum Source {
    /// Manifests, which are followed.
    Manifests(Vec<PathBuf>),
    /// An API server.
    Api(Access),
}

impl Source {
    /// As flags say.
    ///
    /// # Errors
    /// They name no manifests, and there is no kubeconfig, or one that names no server.
    pub fn of(flags: &ProxyFlags) -> Outcome<Self> {
        if !flags.files.is_empty() {
            return Ok(Self::Manifests(flags.files.clone()));
        }
        let args =
            AccessArgs { kubeconfig: flags.kubeconfig.clone(), context: flags.context.clone() };
        let instead = |wrong: Failure| wrong.or("-f PATH, to serve manifests");
        let access = api::access(&args).map_err(instead)?;
        // A server that does not answer may come; a kubeconfig that says nothing good will not.
        let checked = async { access.check().await.map_err(|error| api::failure(&error)) };
        api::wait(CHECK, checked).map_err(instead)?;
        Ok(Self::Api(access))
    }

    /// The API server that they come from, if they do.
    pub fn access(&self) -> Option<&Access> {
        match self {
            Self::Manifests(_) => None,
            Self::Api(access) => Some(access),
        }
    }

    /// Files that are read now and later.
    pub fn files(&self) -> &[PathBuf] {
        match self {
            Self::Manifests(paths) => paths,
            Self::Api(access) => access.files(),
        }
    }

    /// Starts to follow them for a workload of a namespace; of manifests, everything is there when this returns.
    ///
    /// # Errors
    /// Manifests cannot be watched, or objects not be kept.
    pub async fn follow(self, namespace: &str) -> Outcome<Objects> {
        match self {
            Self::Manifests(paths) => {
                let store = Store::in_memory(StoreOptions::default())
                    .map_err(|error| Failure::new(format!("objects cannot be kept: {error}")))?;
                files::follow(paths, store.clone()).await?;
                Ok(Objects::Manifests { changes: store.changes(), _store: store })
            }
            Self::Api(access) => {
                tracing::info!("objects come from the API of {access}");
                Ok(Objects::Api(Cluster::follow(access, &Options::of_workload(namespace))))
            }
        }
    }
}

/// Objects as they are followed.
pub enum Objects {
    /// Of manifests.
    Manifests {
        /// What happens to them.
        changes: Changes,
        /// Where they are.
        _store: Store,
    },
    /// Of an API server.
    Api(Cluster),
}

impl Objects {
    /// Waits for an API that refuses what a workload of a namespace reads.
    pub fn refused(&self, namespace: &str) -> impl Future<Output = Failure> + use<> {
        let health = match self {
            Self::Manifests { .. } => None,
            Self::Api(cluster) => Some(cluster.health()),
        };
        let rights = format!(
            "credentials with the rights of a workload: those of group tidegate:proxy:{namespace} in the API of tidegate up, in a \
             cluster to list and watch what resources are (Secrets of namespace {namespace})"
        );
        async move {
            let Some(mut health) = health else { return pending().await };
            loop {
                if let Health::Lost { refused: true, why, .. } = &*health.borrow_and_update() {
                    return Failure::new(&**why)
                        .or(rights)
                        .or("--kubeconfig FILE, and --context NAME, of another user");
                }
                if health.changed().await.is_err() {
                    return pending().await;
                }
            }
        }
    }
}

impl Feed for Objects {
    async fn next(&mut self) -> Change {
        match self {
            Self::Manifests { changes, .. } => changes.next().await,
            Self::Api(cluster) => cluster.next().await,
        }
    }

    fn try_next(&mut self) -> Option<Change> {
        match self {
            Self::Manifests { changes, .. } => changes.try_next(),
            Self::Api(cluster) => cluster.try_next(),
        }
    }
}

/// The annotation that says how a Pod's inbound connections are led to its sidecar.
pub const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";

/// What flags say of a workload, so that its Pod is not asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// The name of its Pod.
    pub pod: bool,
    /// Its labels.
    pub labels: bool,
    /// Its addresses.
    pub addresses: bool,
    /// How what comes in is led to the sidecar.
    pub interception: bool,
}

/// A Pod that an API has, which somebody else shows there.
pub struct Known {
    /// The API.
    pub client: Client,
    /// Its `metadata.uid`.
    pub uid: String,
}

impl Source {
    /// Has the workload's Pod say what flags do not, and gives that back, where there is one: without an API server, or a name,
    /// there is none to ask for.
    ///
    /// # Errors
    /// The API has no such Pod, or does not answer; or the Pod is captured in another way than the sidecar is started for.
    pub async fn complete(&self, workload: &mut Workload, said: Said) -> Outcome<Option<Known>> {
        let (Self::Api(access), true) = (self, said.pod) else { return Ok(None) };
        let Workload { namespace, name, .. } = &*workload;
        let failed = |why: String| Failure::new(format!("Pod {namespace}/{name}: {why}"));
        let client = access.client().await.map_err(|error| api::failure(&error))?;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let answer = client.send(Ask::new(Method::GET, &path)).await.map_err(failed)?;
        if answer.status == StatusCode::NOT_FOUND && said.labels {
            return Ok(None);
        }
        if answer.status == StatusCode::FORBIDDEN && said.labels {
            tracing::warn!(
                "{access}: this service account may not get Pod {namespace}/{name}: no Events are written of it"
            );
            return Ok(None);
        }
        if !answer.status.is_success() {
            let why = answer.body["message"].as_str().unwrap_or_default();
            return Err(failed(format!("{access} answers {}: {why}", answer.status.as_u16()))
                .or("--labels KEY=VALUE, of a workload that has no Pod")
                .or("-n NAMESPACE"));
        }
        let mode = answer.body["metadata"]["annotations"][INTERCEPTION_MODE].as_str();
        // It is too late for another user and other rights.
        if mode == Some("TPROXY") && !said.interception {
            let why = format!("{INTERCEPTION_MODE} is TPROXY, and this sidecar is for REDIRECT");
            return Err(failed(why)
                .or("--interception-mode TPROXY")
                .or("--interception-mode REDIRECT, where capture apply has it so"));
        }
        let pod = Object::decode(Kind::Pod, "v1", &answer.body, Origin::Api);
        let words = |errors: &[FieldError]| errors.iter().map(ToString::to_string).collect();
        let Object { labels, spec, .. } = pod.map_err(|e| failed(words(&e)))?.object;
        if !said.labels {
            workload.labels = labels;
        }
        if let (false, Spec::Pod(pod)) = (said.addresses, &spec) {
            let of_pod = addresses(pod);
            workload.addresses =
                if of_pod.is_empty() { workload.addresses.clone() } else { of_pod };
        }
        if let Some(account) = answer.body["spec"]["serviceAccountName"].as_str() {
            account.clone_into(&mut workload.service_account);
        }
        let uid = answer.body["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Known { client, uid }))
    }
}

/// The addresses of a Pod.
fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let several = pod.status.pod_ips.iter().map(|one| one.ip.as_str());
    let all = several.chain([pod.status.pod_ip.as_str()]);
    let mut found: Vec<IpAddr> = Vec::new();
    for address in all.filter_map(|text| text.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

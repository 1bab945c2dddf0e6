//! Kubernetes' REST surface: one table of kinds, one set of verbs.
//!
//! A request is [`ask::Ask`]ed, [`router`] says what its path names, and one file per verb answers: [`read`] from
//! the store's memory, [`write`] through its writer. What a kind needs of its own beyond the table of kinds is an
//! exhaustive match in [`table`] (columns, cells) and [`selector`] (fields), and in [`tidegate_api::kube`]
//! (defaults, checks).
//!
//! Absent, on purpose or for now: protobuf answers (clients that prefer them take JSON), `attach` and `port-forward`,
//! OpenAPI v2 (only an empty document), admission webhooks. Definitions of kinds are read alone ([`crds`]).

mod ask;
mod body;
mod connection;
mod crds;
mod credentials;
mod discovery;
mod endpoints;
mod failure;
mod forms;
pub mod fuzzing;
mod handed_in;
mod json;
mod limits;
mod logs;
mod managed;
mod metrics;
mod namespaces;
mod negotiate;
mod openapi;
mod patch;
mod patience;
mod present;
mod protobuf;
mod query;
mod read;
mod refusals;
mod reply;
mod reviews;
mod router;
mod selector;
mod served;
mod server;
mod services;
mod sessions;
mod table;
mod under_way;
mod users;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use crate::store::Store;

use ask::Ask;
use failure::Failure;
use handed_in::HandedIn;
use reply::Reply;
use router::{Route, Target, Verb};
use users::{Right, User};

pub use forms::PATH as FORMS_PATH;
pub use limits::Limits;
pub use logs::{CommandOutput, ContainerCommand, Containers, LogLines, LogOptions, NoContainers};
pub use refusals::{MOST_ENTRIES as EGRESS_ENTRIES, PATH as EGRESS_PATH};
pub use server::{Handle, Options, Server, StartError};
pub use sessions::{ADMIN_ANNOTATION, RUN_ANNOTATION};

/// What `/version` says: kubectl and its relatives choose what they do by it. The last version whose kubectl is
/// known to work with this surface.
const VERSION: (&str, &str, &str) = ("1", "32", "v1.32.5");

/// Everything that answers requests.
pub(crate) struct Api {
    store: Store,
    containers: Arc<dyn Containers>,
    handed_in: Arc<HandedIn>,
    refusals: refusals::Refusals,
    services: services::Services,
    turns: write::Turns,
    /// See [`Options::alone`].
    alone: bool,
    /// Places for watches, and how many there are in all.
    watches: Arc<Semaphore>,
    most_watches: usize,
    requests: metrics::Requests,
    /// What watches have in common.
    lines: Arc<read::Lines>,
    shutdown: Shutdown,
}

/// Tells when the server stops.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the server stops. Cancel safe.
    pub(crate) async fn stopped(&mut self) {
        // An error means that the server is gone.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

impl Api {
    pub(crate) fn new(
        store: Store,
        containers: Arc<dyn Containers>,
        watches: usize,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            store,
            containers,
            handed_in: Arc::default(),
            refusals: refusals::Refusals::default(),
            services: services::Services::default(),
            turns: write::Turns::default(),
            alone: false,
            watches: Arc::new(Semaphore::new(watches)),
            most_watches: watches,
            requests: metrics::Requests::default(),
            lines: Arc::default(),
            shutdown,
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, ask: &Ask) -> Reply {
        let acting = match ask.acting() {
            Ok(acting) => acting,
            Err(failure) => return reply::failure(&failure),
        };
        match self.try_answer(acting.as_ref().unwrap_or(ask)).await {
            Ok(reply) => reply,
            Err(failure) => reply::failure(&failure),
        }
    }

    async fn try_answer(&self, ask: &Ask) -> Result<Reply, Failure> {
        match router::route(&ask.path)? {
            Route::Resource(target) => self.resource(&target, ask).await,
            Route::Review { group, resource } => reviews::review(&resource, &group, ask),
            route => {
                // Kubernetes takes deletes of discovery for reads; nothing is lost by refusing them.
                if !matches!(ask.method, Method::GET | Method::HEAD) {
                    return Err(Failure::method_not_allowed());
                }
                match route {
                    Route::Forms => {
                        let rules = ask.user.as_ref().is_some_and(|user| user.rules());
                        let unsettled = || forms::unsettled(&self.store);
                        rules.then(unsettled).ok_or_else(Failure::page_not_found)
                    }
                    Route::Egress => refusals::all(self, ask),
                    Route::Metrics => metrics::answer(self, ask),
                    route => fixed(&route, ask),
                }
            }
        }
    }

    async fn resource(&self, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
        let verb = target.verb(&ask.method, ask.query.flag("watch"))?;
        let answer = self.do_with(target, verb, ask).await;
        let code = answer.as_ref().map_or_else(|failure| failure.code, Reply::status);
        self.requests.count(target, verb, code);
        answer
    }

    async fn do_with(&self, target: &Target, verb: Verb, ask: &Ask) -> Result<Reply, Failure> {
        check_access(target, verb, ask)?;
        if target.served.info.kind == tidegate_api::Kind::Pod {
            match (target.subresource.as_deref(), verb) {
                (Some("log"), Verb::Get) => return logs::log(self, target, ask),
                (Some("log"), Verb::Create) => return logs::hand_in(self, target, ask),
                (Some("egress"), Verb::Create) => return refusals::hand_in(self, target, ask),
                _ => {}
            }
        }
        if let Some(answer) = sessions::answer(self, target, ask) {
            return answer;
        }
        if let Some(refusal) = crds::refusal(target, verb, ask) {
            return Err(refusal);
        }
        if let Some(answer) = write::scale(self, target, ask, verb).await {
            return answer;
        }
        if let Some(refusal) = tokens(target) {
            return Err(refusal);
        }
        match verb {
            Verb::Get => read::get(self, target, ask),
            Verb::List => read::list(self, target, ask),
            Verb::Watch => read::watch(self, target, ask),
            Verb::Create => write::create(self, target, ask).await,
            Verb::Update => write::update(self, target, ask).await,
            Verb::Patch => write::patch(self, target, ask).await,
            Verb::Delete => write::delete(self, target, ask).await,
            Verb::DeleteCollection => write::delete_collection(self, target, ask).await,
        }
    }
}

/// Why no token is made for a ServiceAccount; nothing where none is asked for.
fn tokens(target: &Target) -> Option<Failure> {
    let info = target.served.info;
    let asked = info.kind == tidegate_api::Kind::ServiceAccount
        && target.subresource.as_deref() == Some("token");
    let why = "nobody is let in by a token of a ServiceAccount here, and so none is made: users and their tokens are \
               named by --api-token-file";
    asked.then(|| Failure::forbidden(info, target.name.as_deref().unwrap_or_default(), why))
}

/// Answers that do not depend on any object.
fn fixed(route: &Route, ask: &Ask) -> Result<Reply, Failure> {
    match route {
        Route::Root => {
            let groups = discovery::group_names();
            let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
            for group in groups {
                paths.push(format!("/apis/{group}"));
                let versions = discovery::versions(group).into_iter();
                paths.extend(versions.map(|version| format!("/apis/{group}/{version}")));
            }
            paths.extend(
                [
                    "/healthz",
                    "/livez",
                    "/metrics",
                    "/openapi/v3",
                    "/readyz",
                    refusals::PATH,
                    forms::PATH,
                    "/version",
                ]
                .map(str::to_owned),
            );
            Ok(reply::json(StatusCode::OK, &json!({ "paths": paths })))
        }
        Route::Version => Ok(reply::json(
            StatusCode::OK,
            &json!({
                "major": VERSION.0,
                "minor": VERSION.1,
                "gitVersion": VERSION.2,
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": "none",
                "compiler": "rustc",
                "platform": format!("{}/{}", std::env::consts::OS, architecture()),
            }),
        )),
        Route::Health => Ok(reply::text(StatusCode::OK, health(ask))),
        Route::CoreVersions => discovery::core_versions(ask),
        Route::Groups => discovery::groups(ask),
        Route::Group(name) => discovery::group(name),
        Route::Resources { group, version } => discovery::resources(group, version),
        Route::OldOpenApi => Ok(openapi::version_two(ask)),
        Route::OpenApiIndex => Ok(openapi::index(ask)),
        Route::OpenApi(path) => openapi::get(path, ask.query.get("hash")),
        Route::Forms
        | Route::Egress
        | Route::Metrics
        | Route::Resource(_)
        | Route::Review { .. } => Err(Failure::page_not_found()),
    }
}

/// The processor, as Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A server that answers is well: the store was read before it started.
fn health(ask: &Ask) -> String {
    let check = ask.path.trim_matches('/').split('/').next().unwrap_or_default().to_owned();
    match ask.query.has("verbose") {
        true => format!("[+]ping ok\n[+]store ok\n{check} check passed\n"),
        false => "ok".into(),
    }
}

/// Checks that whoever asks may do this.
fn check_access(target: &Target, verb: Verb, ask: &Ask) -> Result<(), Failure> {
    let right = Right {
        verb,
        info: target.served.info,
        subresource: target.subresource.as_deref(),
        namespace: target.namespace.as_deref(),
    };
    let may = |user: &User| user.may(&right);
    let user = match ask.user.as_deref() {
        Some(user) if may(user) => return Ok(()),
        Some(user) => &user.name,
        None => "system:anonymous",
    };
    let info = target.served.info;
    let verb = verb.name();
    let place = match &target.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".into(),
    };
    let why = format!(
        "User {user:?} cannot {verb} resource {:?} in API group {:?} {place}",
        info.plural, target.served.group
    );
    Err(Failure::denied(info, target.name.as_deref(), &why))
}

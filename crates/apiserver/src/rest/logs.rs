//! `pods/<name>/log`: lines that the process keeps for the pods that show it, and those that are handed in for others.
//!
//! A POST there, which Kubernetes does not have, hands lines in: text, in place of what a node would read from a container.

use std::future::{Future, ready};
use std::pin::Pin;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tokio::sync::mpsc;

use super::Api;
use super::ask::Ask;
use super::failure::Failure;
use super::handed_in::uid_of;
use super::reply::{self, PIECES_AHEAD, Reply};
use super::router::Target;
use super::sessions::RUN_ANNOTATION;

/// The container of a Pod of `tidegate run` whose log its sidecar hands in.
const RUN_SIDECAR: &str = "istio-proxy";

/// Which lines of a container's log are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// At most this many lines from the end of what there is; everything when absent.
    pub tail: Option<usize>,
    /// Only lines written since then.
    pub since: Option<Timestamp>,
    /// Whether lines written later follow, until the reader goes.
    pub follow: bool,
    /// Whether each line starts with the time at which it was written.
    pub timestamps: bool,
    /// Whether the log of the container's run before this one is meant.
    pub previous: bool,
}

/// Lines of a log, one after the other.
pub trait LogLines: Send {
    /// The next line, without its end; none when there are no more. Cancel safe.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>>;
}

/// What this process knows of the containers of the pods that it shows.
pub trait Containers: Send + Sync {
    /// The log of a container; none when this process keeps none for it.
    fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: &LogOptions,
    ) -> Option<Box<dyn LogLines>>;

    /// A command in a container, which takes no time and changes nothing, and is run once it is known that its output can be
    /// told; none when nothing is run in it.
    fn command<'a>(
        &'a self,
        namespace: &str,
        pod: &str,
        container: &str,
        words: &'a [String],
    ) -> Option<ContainerCommand<'a>>;
}

/// A command that is yet to be run.
pub type ContainerCommand<'a> = Box<dyn FnOnce() -> CommandOutput + Send + 'a>;

/// What a command wrote, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its standard output.
    pub stdout: Bytes,
    /// Its standard error.
    pub stderr: Bytes,
    /// Its exit status; 0 is success.
    pub status: u8,
}

/// None: for processes that show no pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoContainers;

impl Containers for NoContainers {
    fn logs(&self, _: &str, _: &str, _: &str, _: &LogOptions) -> Option<Box<dyn LogLines>> {
        None
    }

    fn command<'a>(
        &'a self,
        _: &str,
        _: &str,
        _: &str,
        _: &'a [String],
    ) -> Option<ContainerCommand<'a>> {
        None
    }
}

/// Bytes that are collected before they are sent on, while lines are there at once.
const PIECE: usize = 16 << 10;

/// Answers with lines of a container's log.
pub(crate) fn log(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let container = Container::named(api, target, ask)?;
    let Container { namespace, pod, uid, name, .. } = &container;
    let options = options(ask)?;
    if options.previous {
        return Err(Failure::bad_request(format!(
            "previous terminated container {name:?} in pod {pod:?} not found"
        )));
    }
    let own = api.containers.logs(namespace, pod, name, &options);
    let handed_in = || api.handed_in.read(uid, name, &options);
    let lines = own.or_else(handed_in).or_else(|| container.elsewhere(&options));
    let lines = lines.ok_or_else(|| {
        Failure::bad_request(format!(
            "container {name:?} in pod {pod:?} is not run by this process, which keeps no log of it"
        ))
    })?;
    let limit = number(ask, "limitBytes")?;
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    let mut shutdown = api.shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = copy(lines, pieces, limit) => {}
            () = shutdown.stopped() => {}
        }
    });
    Ok(reply::stream("text/plain", receiver))
}

/// Takes lines of a container that another process runs. `uid` says of which Pod, where another one may have its name by now.
pub(crate) fn hand_in(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let Container { namespace, pod, uid, name, .. } = &Container::named(api, target, ask)?;
    let info = Kind::Pod.info();
    if let Some(asked) = ask.query.get("uid").filter(|asked| asked != uid) {
        let why =
            format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
        return Err(Failure::precondition(info, pod, &why));
    }
    if api
        .containers
        .logs(namespace, pod, name, &LogOptions { tail: Some(0), ..LogOptions::default() })
        .is_some()
    {
        let why = format!("the log of container {name:?} is kept by this process itself");
        return Err(Failure::forbidden(info, pod, &why));
    }
    let log = api.handed_in.open(uid, name).ok_or_else(|| {
        Failure::too_many_requests(
            "as many logs are handed in as there is room for; delete Pods whose processes are gone",
        )
    })?;
    log.add(&ask.body, Timestamp::now());
    let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" });
    Ok(reply::json(StatusCode::OK, &done))
}

/// A container that a request is about.
pub(super) struct Container {
    pub namespace: String,
    pub pod: String,
    /// The Pod's.
    uid: String,
    pub name: String,
    /// Whether it is that of a command which `tidegate run` has started.
    is_command: bool,
}

impl Container {
    pub(super) fn named(api: &Api, target: &Target, ask: &Ask) -> Result<Self, Failure> {
        let namespace = target.namespace.clone().unwrap_or_default();
        let pod = target.name.clone().unwrap_or_default();
        let key = ObjectKey::new(Kind::Pod, namespace.as_str(), pod.as_str());
        let entry =
            api.store.get(&key).ok_or_else(|| Failure::not_found(Kind::Pod.info(), &pod))?;
        let manifest = entry.json();
        let name = container(&manifest, &pod, ask.query.get("container"))?;
        let is_run = manifest["metadata"]["annotations"][RUN_ANNOTATION].is_string();
        let is_command = is_run && name != RUN_SIDECAR;
        Ok(Self { namespace, uid: uid_of(&entry), pod, name, is_command })
    }

    /// Where a command's output is that goes to the terminal of `tidegate run`: the log of its container says so, so that all
    /// containers' logs can be asked for at once.
    fn elsewhere(&self, options: &LogOptions) -> Option<Box<dyn LogLines>> {
        let Self { pod, .. } = self;
        let line = format!(
            "what the command of pod {pod} writes goes to the terminal of tidegate run; the log of its sidecar: kubectl logs {pod} -c {RUN_SIDECAR}"
        );
        let line = (options.tail != Some(0)).then(|| Bytes::from(line));
        self.is_command.then(|| -> Box<dyn LogLines> { Box::new(OneLine(line)) })
    }
}

/// A log of one line.
struct OneLine(Option<Bytes>);

impl LogLines for OneLine {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(ready(self.0.take()))
    }
}

/// The container that is meant: the only one, or the one that is named.
fn container(pod: &Value, name: &str, asked: Option<&str>) -> Result<String, Failure> {
    let all: Vec<&str> = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str())
        .collect();
    match (asked, all.as_slice()) {
        (Some(asked), all) if all.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => {
            Err(Failure::bad_request(format!("container {asked} is not valid for pod {name}")))
        }
        (None, [one]) => Ok((*one).to_owned()),
        (None, []) => Err(Failure::bad_request(format!("pod {name} has no containers"))),
        (None, several) => Err(Failure::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            several.join(" ")
        ))),
    }
}

fn options(ask: &Ask) -> Result<LogOptions, Failure> {
    let seconds = number(ask, "sinceSeconds")?;
    let since = match ask.query.get("sinceTime") {
        Some(text) => Some(text.parse().map_err(|_| invalid("sinceTime", text))?),
        None => seconds.and_then(|seconds| {
            let span = jiff::SignedDuration::from_secs(i64::try_from(seconds).ok()?);
            Timestamp::now().checked_sub(span).ok()
        }),
    };
    Ok(LogOptions {
        tail: number(ask, "tailLines")?,
        since,
        follow: ask.query.flag("follow"),
        timestamps: ask.query.flag("timestamps"),
        previous: ask.query.flag("previous"),
    })
}

fn number(ask: &Ask, name: &str) -> Result<Option<usize>, Failure> {
    ask.query.get(name).map(|text| text.parse().map_err(|_| invalid(name, text))).transpose()
}

fn invalid(name: &str, text: &str) -> Failure {
    Failure::bad_request(format!("{name}: Invalid value: {text:?}"))
}

/// Sends lines on, several at once while they are there, until either side ends.
async fn copy(mut lines: Box<dyn LogLines>, pieces: mpsc::Sender<Bytes>, limit: Option<usize>) {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut piece = Vec::new();
    loop {
        let next = tokio::select! {
            // What has been collected goes out as soon as no further line is there.
            biased;
            next = lines.next() => next,
            () = ready(()), if !piece.is_empty() => {
                if pieces.send(std::mem::take(&mut piece).into()).await.is_err() {
                    return;
                }
                continue;
            }
            () = pieces.closed() => return,
        };
        let Some(line) = next else { break };
        let start = piece.len();
        piece.extend_from_slice(&line);
        piece.push(b'\n');
        let added = piece.len() - start;
        if added >= left {
            piece.truncate(start + left);
            break;
        }
        left -= added;
        if piece.len() >= PIECE && pieces.send(std::mem::take(&mut piece).into()).await.is_err() {
            return;
        }
    }
    if !piece.is_empty() {
        // Nobody may be there any more to read the end.
        let _ = pieces.send(piece.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let one = json!({"spec": {"containers": [{"name": "a"}]}});
        let message = |result: Result<String, Failure>| result.map_err(|failure| failure.message);
        assert_eq!(message(container(&one, "p", None)), Ok("a".into()));
        assert_eq!(message(container(&pod, "p", Some("b"))), Ok("b".into()));
        assert_eq!(
            message(container(&pod, "p", None)),
            Err("a container name must be specified for pod p, choose one of: [a b]".into())
        );
        assert_eq!(
            message(container(&pod, "p", Some("x"))),
            Err("container x is not valid for pod p".into())
        );
    }
}

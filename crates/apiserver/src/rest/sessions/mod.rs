//! `pods/<name>/exec`, `attach`, `portforward` and `ephemeralcontainers`. Sessions with a pod take a node that runs it, and there is none; what a
//! process shows of itself as a Pod answers `exec` with the few commands that it knows ([`Containers::command`]).
//!
//! [`Containers::command`]: super::Containers::command

mod socket;

use tidegate_api::{Kind, ObjectKey, Origin};

use super::Api;
use super::ask::Ask;
use super::failure::Failure;
use super::logs::Container;
use super::reply::Reply;
use super::router::Target;

pub(crate) use socket::{Session, serve};

/// The annotation of a Pod by which a process shows itself: where its admin interface listens, as `ADDRESS:PORT`. It
/// counts on Pods that are the process's own ([`crate::store::is_own`]).
pub const ADMIN_ANNOTATION: &str = "tidegate.dev/admin";

/// The annotation of a Pod that stands for a command of `tidegate run`: which process runs that, as `MACHINE/NUMBER`.
pub const RUN_ANNOTATION: &str = "tidegate.dev/run";

/// What a request for a session is answered with; nothing where none is asked for.
pub(crate) fn answer(api: &Api, target: &Target, ask: &Ask) -> Option<Result<Reply, Failure>> {
    let refused = match target.subresource.as_deref()? {
        "exec" => "no command can be run in",
        "attach" => "nothing can be attached to",
        "portforward" => "no port can be forwarded to",
        "ephemeralcontainers" => "no container can be added to",
        _ => return None,
    };
    if target.served.info.kind != Kind::Pod {
        return None;
    }
    let words = ask.query.all("command").map(str::to_owned).collect::<Vec<_>>();
    let command = match (target.subresource.as_deref(), words.is_empty()) {
        (Some("exec"), false) => Container::named(api, target, ask).map(|container| {
            let Container { namespace, pod, name, .. } = &container;
            api.containers.command(namespace, pod, name, &words)
        }),
        _ => Ok(None),
    };
    Some(match command {
        Ok(Some(command)) => socket::open(ask, command),
        Ok(None) => Err(refusal(api, target, refused)),
        Err(failure) => Err(failure),
    })
}

/// Why there is no such session.
fn refusal(api: &Api, target: &Target, refused: &str) -> Failure {
    let name = target.name.as_deref().unwrap_or_default();
    let key = ObjectKey::new(Kind::Pod, target.namespace.as_deref().unwrap_or_default(), name);
    let Some(pod) = api.store.get(&key) else {
        return Failure::not_found(Kind::Pod.info(), name);
    };
    let is_own = *pod.origin() == Origin::Process;
    let pod = pod.json();
    let annotation = |key: &str| pod["metadata"]["annotations"][key].as_str();
    let admin = annotation(ADMIN_ANNOTATION);
    let process = annotation(RUN_ANNOTATION).and_then(|process| process.rsplit_once('/'));
    let why = match (admin, process) {
        (Some(admin), _) if is_own => format!(
            "it is a process of its machine, without a container. Its ports are open there; its admin interface is at \
             http://{admin}, which tidegate proxy-config asks (or curl: /config_dump, /clusters, /stats)"
        ),
        (Some(admin), Some((machine, number))) => format!(
            "it is a gateway (process {number} of machine {machine}), without a container. Its admin interface is at http://{admin} there, which \
             tidegate proxy-config asks (or curl: /config_dump, /clusters, /stats)"
        ),
        (None, Some((machine, number))) => format!(
            "it is a command of tidegate run (process {number} of machine {machine}), without a container. Its sidecar's admin interface is in \
             the command's own network: curl localhost:15000/config_dump from the command itself, or as root of that machine nsenter \
             --net=/proc/NUMBER/ns/net curl localhost:15000/config_dump with the number of the command. Its log: kubectl logs {name} -c \
             istio-proxy; what it was denied: tidegate egress denied --pod {name}"
        ),
        (_, None) => "nothing here runs pods, this one only says where endpoints are".to_owned(),
    };
    Failure::bad_request(format!("{refused} pod {name}: {why}"))
}

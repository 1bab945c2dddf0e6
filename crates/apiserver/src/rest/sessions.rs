//! `pods/<name>/exec`, `attach` and `portforward`: sessions with a pod take a node that runs it, and there is none.

use tidegate_api::{Kind, ObjectKey, Origin};

use super::Api;
use super::failure::Failure;
use super::router::Target;

/// The annotation of a Pod by which a process shows itself: where its admin interface listens, as `ADDRESS:PORT`. It
/// counts on Pods that are the process's own ([`crate::store::is_own`]).
pub const ADMIN_ANNOTATION: &str = "tidegate.dev/admin";

/// Why there is no such session; nothing where none is asked for.
pub(crate) fn refusal(api: &Api, target: &Target) -> Option<Failure> {
    let refused = match target.subresource.as_deref()? {
        "exec" => "no command can be run in",
        "attach" => "nothing can be attached to",
        "portforward" => "no port can be forwarded to",
        _ => return None,
    };
    if target.served.info.kind != Kind::Pod {
        return None;
    }
    let name = target.name.as_deref()?;
    let key = ObjectKey::new(Kind::Pod, target.namespace.as_deref().unwrap_or_default(), name);
    let Some(pod) = api.store.get(&key) else {
        return Some(Failure::not_found(Kind::Pod.info(), name));
    };
    let own = (*pod.origin() == Origin::Process).then(|| pod.json());
    let admin =
        own.as_ref().and_then(|pod| pod["metadata"]["annotations"][ADMIN_ANNOTATION].as_str());
    let why = match admin {
        Some(admin) => format!(
            "it is a process of its machine, without a container. Its ports are open there; its admin interface is at \
             http://{admin}, which tidegate proxy-config asks (or curl: /config_dump, /clusters, /stats)"
        ),
        None => "nothing here runs pods, this one only says where endpoints are".to_owned(),
    };
    Some(Failure::bad_request(format!("{refused} pod {name}: {why}")))
}

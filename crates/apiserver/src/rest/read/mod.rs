//! Reads: one object, a list, a watch.

mod lines;
mod list;
mod watch;

pub(crate) use lines::Lines;
pub(crate) use list::list;
pub(crate) use watch::watch;

use http::StatusCode;
use tidegate_api::ObjectKey;

use super::Api;
use super::ask::Ask;
use super::failure::Failure;
use super::negotiate::negotiate;
use super::present;
use super::reply::Reply;
use super::router::Target;
use super::write::Object;

/// One object; its status is shown as the whole object.
pub(crate) fn get(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let info = target.served.info;
    let name = target.name.as_deref().unwrap_or_default();
    match target.subresource.as_deref() {
        None => {}
        Some("status") if info.status_subresource => {}
        // Whoever serves custom kinds says so of the object.
        Some(_) if !info.built_in => return Err(Failure::not_found(info, name)),
        Some(_) => return Err(Failure::page_not_found()),
    }
    let (encoding, view) = negotiate(ask.accept().as_deref())?;
    if let Some(asked) = revision(ask)?
        && asked > api.store.revision()
    {
        return Err(Failure::too_large_revision(asked, api.store.revision()));
    }
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let entry = api
        .object(&ObjectKey::new(info.kind, namespace, name))
        .ok_or_else(|| Failure::not_found(info, name))?;
    present::one(target, ask, &Object::Stored(entry), StatusCode::OK, encoding, view)
}

/// The `resourceVersion` parameter; 0 and none are the same here, since every read sees the latest.
fn revision(ask: &Ask) -> Result<Option<u64>, Failure> {
    let Some(text) = ask.query.get("resourceVersion") else {
        return Ok(None);
    };
    let revision: u64 = text.parse().map_err(|_| {
        Failure::bad_request(format!("invalid resource version: {}", unparsed(text)))
    })?;
    Ok(Some(revision).filter(|revision| *revision > 0))
}

/// What is wrong with a revision, in the words that Kubernetes' clients know.
fn unparsed(text: &str) -> String {
    format!(
        "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
    )
}

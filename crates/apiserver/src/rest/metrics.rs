//! `/metrics`: what was asked, and what is kept, in the text that Prometheus reads. Names and labels are those of Kubernetes' own API
//! server, so that its dashboards read them; what it does not have begins with `tidegate_`.
//!
//! Counted are requests for objects. Those that are refused at the door (who asks is not known, or asks too much) never get here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use tidegate_api::{Kind, KindInfo};

use super::Api;
use super::ask::Ask;
use super::failure::Failure;
use super::reply::{self, Reply};
use super::router::{Target, Verb};

/// What was asked: verb, group, plural and status, of each of which there are few.
type Asked = (&'static str, &'static str, &'static str, u16);

/// How often it was.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<BTreeMap<Asked, u64>>);

impl Requests {
    pub(super) fn count(&self, target: &Target, verb: Verb, code: StatusCode) {
        let KindInfo { group, plural, .. } = target.served.info;
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((name(verb), group, plural, code.as_u16())).or_default() += 1;
    }

    fn write(&self, text: &mut String) {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((verb, group, resource, code), count) in &*requests {
            let labels =
                format!("verb={verb:?},group={group:?},resource={resource:?},code=\"{code}\"");
            // Writing to text does not fail, here as below.
            let _ = writeln!(text, "apiserver_request_total{{{labels}}} {count}");
        }
    }
}

/// The answer, for who may read everything but Secrets.
pub(super) fn answer(api: &Api, ask: &Ask) -> Result<Reply, Failure> {
    match &ask.user {
        Some(user) if user.looks() => Ok(reply::text(StatusCode::OK, text(api))),
        user => {
            let name = user.as_ref().map_or("system:anonymous", |user| &user.name);
            Err(Failure::denied_path(name, &ask.path))
        }
    }
}

fn text(api: &Api) -> String {
    let mut text = String::new();
    head(
        &mut text,
        "apiserver_request_total",
        "counter",
        "Requests for objects, by their answers.",
    );
    api.requests.write(&mut text);
    head(&mut text, "apiserver_longrunning_requests", "gauge", "Watches that run.");
    let watches = api.most_watches - api.watches.available_permits();
    let _ = writeln!(text, "apiserver_longrunning_requests{{verb=\"WATCH\"}} {watches}");
    let kept: Vec<(String, usize, usize)> = Kind::all()
        .map(|kind| {
            let entries = api.store.list(kind, None).entries;
            let bytes = entries.iter().map(|entry| entry.size()).sum();
            (resource(kind.info()), entries.len(), bytes)
        })
        .collect();
    head(&mut text, "apiserver_storage_objects", "gauge", "Objects that are kept.");
    for (resource, objects, _) in &kept {
        let _ = writeln!(text, "apiserver_storage_objects{{resource={resource:?}}} {objects}");
    }
    head(
        &mut text,
        "tidegate_storage_bytes",
        "gauge",
        "Bytes of JSON of the objects that are kept.",
    );
    for (resource, _, bytes) in &kept {
        let _ = writeln!(text, "tidegate_storage_bytes{{resource={resource:?}}} {bytes}");
    }
    head(&mut text, "tidegate_storage_revision", "counter", "The newest resourceVersion.");
    let _ = writeln!(text, "tidegate_storage_revision {}", api.store.revision());
    text
}

fn head(text: &mut String, name: &str, sort: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {sort}\n");
}

/// As Kubernetes' metrics name a kind: `virtualservices.networking.istio.io`.
fn resource(info: &KindInfo) -> String {
    match info.group {
        "" => info.plural.to_owned(),
        group => format!("{}.{group}", info.plural),
    }
}

/// As Kubernetes' metrics name a verb.
fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

//! The sub-resource `scale`: how many pods are wanted of a template, in one form for all kinds that have one.

use http::StatusCode;
use serde_json::{Value, json};
use tidegate_api::{Kind, KindInfo};

use super::admission::Source;
use super::update::Attempt;
use super::{Object, Writing, Written};
use crate::rest::ask::Ask;
use crate::rest::failure::{Cause, Failure};
use crate::rest::patch::{PatchType, json as json_patch, merge};
use crate::rest::reply::{self, Reply};
use crate::rest::router::{Target, Verb};
use crate::rest::{Api, body};
use crate::store::Entry;

/// The name of the sub-resource.
pub(crate) const SCALE: &str = "scale";

/// Group, version and kind of its form.
pub(crate) const FORM: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

/// Media types of patches to it.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Whether objects of a kind can be scaled.
pub(crate) fn scales(info: &KindInfo) -> bool {
    matches!(info.kind, Kind::Deployment | Kind::StatefulSet | Kind::ReplicaSet)
}

/// Answers what is asked of a scale; nothing where none is meant.
pub(crate) async fn scale(
    api: &Api,
    target: &Target,
    ask: &Ask,
    verb: Verb,
) -> Option<Result<Reply, Failure>> {
    if target.subresource.as_deref() != Some(SCALE) || !scales(target.served.info) {
        return None;
    }
    Some(match verb {
        Verb::Get => read(api, target, ask),
        Verb::Update => write(api, target, ask, "UpdateOptions").await,
        Verb::Patch => write(api, target, ask, "PatchOptions").await,
        _ => Err(Failure::method_not_allowed()),
    })
}

fn read(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let whole = Target { subresource: None, ..target.clone() };
    let writing = Writing::new(api, &whole, ask, "GetOptions")?;
    let entry = writing.current(&writing.key(target.name.as_deref().unwrap_or_default()))?;
    Ok(reply::json(StatusCode::OK, &of(&entry.json())))
}

/// Only the number of replicas is written: what else a body says is the server's.
async fn write(api: &Api, target: &Target, ask: &Ask, options: &str) -> Result<Reply, Failure> {
    let whole = Target { subresource: None, ..target.clone() };
    let mut writing = Writing::new(api, &whole, ask, options)?;
    writing.manager.subresource = Some(SCALE.to_owned());
    let key = writing.key(target.name.as_deref().unwrap_or_default());
    let attempt = || async {
        let old = writing.current(&key)?;
        let wanted = wanted(ask, &old, options)?;
        let replicas = replicas(target, &wanted)?;
        let revision = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !revision.is_empty() && revision.parse() != Ok(old.revision()) {
            return Err(Failure::modified(target.served.info, &key.name));
        }
        let mut value = Value::Object(old.manifest(&target.served.api_version));
        value["spec"]["replicas"] = replicas.into();
        let attempt = Attempt { old: &old, value, duplicates: &[], source: Source::Whole };
        writing.replace(attempt).await
    };
    let Written { object, warnings } = writing.in_turn(&key, attempt).await?;
    let object = match object {
        Object::Stored(entry) => entry.json(),
        Object::Tried(map) => map.into(),
    };
    let mut reply = reply::json(StatusCode::OK, &of(&object));
    reply::warn(&mut reply, &warnings);
    Ok(reply)
}

/// The scale that a request leaves.
fn wanted(ask: &Ask, old: &Entry, options: &str) -> Result<Value, Failure> {
    if options == "UpdateOptions" {
        return Ok(body::object(ask, FORM.2)?.value);
    }
    let kind = PatchType::of(ask.content_type().unwrap_or_default(), true);
    let patch = body::patch(&ask.body)?.value;
    let mut scale = of(&old.json());
    match kind {
        // There is no list in it, so that both mean the same.
        Ok(PatchType::Merge | PatchType::Strategic) => merge::apply(&mut scale, &patch),
        Ok(PatchType::Json) => json_patch::apply(&mut scale, &patch)?,
        Ok(PatchType::Apply) | Err(_) => return Err(Failure::unsupported_media_type(PATCHES)),
    }
    Ok(scale)
}

/// The number of replicas that a scale wants; none means 0, as for Kubernetes.
fn replicas(target: &Target, scale: &Value) -> Result<i32, Failure> {
    let written = scale["spec"].get("replicas").unwrap_or(&Value::Null);
    let number = if written.is_null() { Some(0) } else { written.as_i64() };
    let number = number.and_then(|number| i32::try_from(number).ok());
    number.filter(|number| *number >= 0).ok_or_else(|| {
        let name = target.name.as_deref().unwrap_or_default();
        let detail = "must be a whole number, 0 or more";
        let cause = Cause::invalid("spec.replicas", written, detail);
        Failure::invalid_as(FORM.2, FORM.0, FORM.2, name, vec![cause])
    })
}

/// The scale of an object.
fn of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": FORM.2,
        "apiVersion": format!("{}/{}", FORM.0, FORM.1),
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": { "replicas": object["status"]["replicas"].as_i64().unwrap_or_default() },
    });
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = selector(&object["spec"]["selector"]);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// A selector of pods in one line, as `kubectl get -l` takes it.
fn selector(selector: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", text(value)));
    let condition = |condition: &Value| {
        let key = text(&condition["key"]);
        let values: Vec<String> =
            condition["values"].as_array().into_iter().flatten().map(text).collect();
        let among = |word: &str| format!("{key} {word} ({})", values.join(","));
        match condition["operator"].as_str() {
            Some("In") => among("in"),
            Some("NotIn") => among("notin"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.clone(),
        }
    };
    let conditions = selector["matchExpressions"].as_array().into_iter().flatten().map(condition);
    labels.chain(conditions).collect::<Vec<_>>().join(",")
}

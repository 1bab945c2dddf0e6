//! From what a client wrote to what is stored: unknown fields, shape, defaults, addresses, meaning.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_api::istio::policy;
use tidegate_api::{
    FieldError, FieldValidation, Kind, Object, ObjectKey, Origin, Reason, admit, kube, schema,
    shortened,
};

use super::{Writing, empty, metadata};
use crate::rest::failure::{Cause, Failure};
use crate::store::{Decoded, Entry, SOURCE_ANNOTATION};

/// An object that may be stored.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// With `apiVersion` of the view through which it was written.
    pub value: Map<String, Value>,
    pub decoded: Decoded,
    pub warnings: Vec<String>,
}

/// How a body was written, which decides how its faults are told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// The whole object.
    Whole,
    /// A patch to the object; the value to show.
    Patch(&'a Value),
}

/// Checks and completes an object. `old` is the form that it replaces.
///
/// A custom object that keeps the rules of its schema is admitted even if what it says is wrong: it is stored, as
/// on any API server, its status tells what is wrong, and its last good form serves on. Its writer is warned.
pub(crate) fn examine(
    writing: &Writing<'_>,
    value: Value,
    duplicates: &[String],
    old: Option<&Entry>,
    source: Source<'_>,
) -> Result<Admitted, Failure> {
    let mut warnings = duplicate_fields(writing, duplicates)?;
    match admitted(writing, value, old, source, &mut warnings) {
        Ok((value, decoded)) => Ok(Admitted { value, decoded, warnings }),
        Err(failure) => Err(failure.with_warnings(warnings)),
    }
}

fn admitted(
    writing: &Writing<'_>,
    mut value: Value,
    old: Option<&Entry>,
    source: Source<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Map<String, Value>, Decoded), Failure> {
    let served = &writing.target.served;
    let info = served.info;
    let before = old.filter(|_| schema::of(info.kind).ruled).map(Entry::json);
    let told = admit(info.kind, served.group, &mut value, writing.policy, before.as_ref())
        .map_err(|errors| refuse(writing, &value, errors, source))?;
    warnings.extend(told.iter().map(ToString::to_string));
    refuse_source(&value, old).map_err(|error| refuse(writing, &value, vec![error], source))?;
    warn_about_finalizers(&value, warnings);
    metadata::drop_empty(&mut value);
    if info.built_in {
        empty::drop_maps(schema::of_view(info.kind, served.group), &mut value);
    }
    served.store(&mut value);
    keep_status(writing, &mut value, old);
    kube::defaults(info.kind, &mut value);
    if info.kind == Kind::Service {
        let services = &writing.api.services;
        services
            .allocate(&writing.api.store, &mut value, old)
            .map_err(|errors| refuse(writing, &value, errors, source))?;
    }
    let decoded = decode(writing, &value, source, warnings)?;
    check_changes(writing, &value, &decoded, old)?;
    warn_about_kind(writing, &value, old, warnings);
    match value {
        Value::Object(value) => Ok((value, decoded)),
        _ => Err(Failure::bad_request("the body is not an object")),
    }
}

/// Finds out what the object says. A built-in one that says something wrong is refused; a custom one has kept the rules of its
/// schema by now, but for what was stored before there was the rule and stays as it is.
fn decode(
    writing: &Writing<'_>,
    value: &Value,
    source: Source<'_>,
    warnings: &mut Vec<String>,
) -> Result<Decoded, Failure> {
    let served = &writing.target.served;
    let info = served.info;
    let view = stored_view(served, value);
    let examined = Object::examine(info.kind, info.versions[0], &view, Origin::Api);
    for warning in examined.warnings.iter().map(ToString::to_string) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    match examined.object {
        Some(object) if examined.errors.is_empty() => Ok(Ok(Arc::new(object))),
        _ if info.built_in => Err(refuse(writing, value, examined.errors, source)),
        _ => {
            let errors: Arc<[String]> = examined.errors.iter().map(ToString::to_string).collect();
            let told = |error: &String| format!("accepted, but not in effect: {error}");
            warnings.extend(errors.iter().map(told));
            warnings.extend(what_follows(writing, value));
            Ok(Err(errors))
        }
    }
}

/// What it means for traffic that a policy of the security API is wrong.
fn what_follows(writing: &Writing<'_>, value: &Value) -> Option<String> {
    let kind = writing.target.served.info.kind;
    if !matches!(kind, Kind::AuthorizationPolicy | Kind::RequestAuthentication) {
        return None;
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    if writing.api.store.has_good_form(&writing.key(name)) {
        return Some("its last good form stays in force".to_owned());
    }
    let whom = match policy::selected(kind, value) {
        Some(labels) if !labels.is_empty() => {
            let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("gateways with the labels {}", labels.join(","))
        }
        _ => "all gateways that it may be about".to_owned(),
    };
    Some(format!(
        "{whom} refuse every request and connection until it is right or deleted: its status says whether this one is such a \
         gateway"
    ))
}

/// Where an object comes from is the server's to say: who reads it takes a Pod that is the process's own for the process. What is
/// read-only is refused as such, with its place.
fn refuse_source(value: &Value, old: Option<&Entry>) -> Result<(), FieldError> {
    let read_only = old.is_some_and(|old| *old.origin() != Origin::Api);
    if read_only || value["metadata"]["annotations"].get(SOURCE_ANNOTATION).is_none() {
        return Ok(());
    }
    let why = "the server says by it that an object comes from a file or is the process's own: leave it out";
    let path = format!("metadata.annotations[{SOURCE_ANNOTATION}]");
    Err(FieldError::new(path, Reason::Forbidden, why))
}

/// Two writers that mean different things by one name would take each other's finalizers off.
fn warn_about_finalizers(value: &Value, warnings: &mut Vec<String>) {
    const OWN: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];
    for name in metadata::finalizers(value) {
        if !name.contains('/') && !OWN.contains(&name) {
            warnings.push(format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name to avoid accidental \
                 conflicts with other finalizer writers"
            ));
        }
    }
}

/// What stands twice is refused, told or ignored, as unknown fields are.
fn duplicate_fields(writing: &Writing<'_>, paths: &[String]) -> Result<Vec<String>, Failure> {
    let told: Vec<String> = paths.iter().map(|path| format!("duplicate field {path:?}")).collect();
    match writing.policy {
        FieldValidation::Strict if !told.is_empty() => Err(strict(writing, &told.join(", "))),
        FieldValidation::Warn => Ok(told),
        _ => Ok(Vec::new()),
    }
}

/// The view that decoding expects: the stored one.
fn stored_view(served: &crate::rest::served::Served, value: &Value) -> Value {
    let mut value = value.clone();
    let info = served.info;
    let api_version = tidegate_api::KindInfo::api_version(info.group, info.versions[0]);
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
    }
    value
}

/// The main path leaves `status` alone, the sub-resource everything else. A Pod's status is kept when it is
/// created, unlike in Kubernetes: no kubelet is here to write its address.
fn keep_status(writing: &Writing<'_>, value: &mut Value, old: Option<&Entry>) {
    let info = writing.target.served.info;
    let through_main = writing.target.subresource.is_none();
    if !info.status_subresource || !through_main {
        return;
    }
    let Some(map) = value.as_object_mut() else { return };
    match old {
        Some(old) => match old.json().get("status") {
            Some(status) => map.insert("status".into(), status.clone()),
            None => map.remove("status"),
        },
        None if info.kind == Kind::Pod => None,
        None => map.remove("status"),
    };
}

fn check_changes(
    writing: &Writing<'_>,
    value: &Value,
    decoded: &Decoded,
    old: Option<&Entry>,
) -> Result<(), Failure> {
    let (Some(old), Ok(new)) = (old, decoded) else {
        return Ok(());
    };
    if let Ok(before) = old.decoded() {
        let errors = kube::validate_update(&before.spec, &new.spec);
        if !errors.is_empty() {
            return Err(refuse(writing, value, errors, Source::Whole));
        }
    }
    Ok(())
}

/// What people should know about objects that Kubernetes or Istio would act on, and nothing here does.
fn warn_about_kind(
    writing: &Writing<'_>,
    value: &Value,
    old: Option<&Entry>,
    warnings: &mut Vec<String>,
) {
    let info = writing.target.served.info;
    if old.is_some() || writing.target.subresource.is_some() {
        return;
    }
    if info.kind == Kind::Endpoints {
        let words = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
        warnings.push(words.to_owned());
    }
    // One that says where it is stands for something that runs.
    if info.kind == Kind::Pod && value["status"]["podIP"].is_null() {
        let words =
            "this Pod is stored, but nothing here runs it: tidegate run runs a command as a Pod";
        warnings.push(words.to_owned());
    }
    // Of a Service that selects no Pods they are told as EndpointSlices.
    let mirrored = || {
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let service = ObjectKey { kind: Kind::Service, ..writing.key(name) };
        let service = writing.api.store.get(&service).map(|service| service.json());
        service
            .is_none_or(|service| service["spec"]["selector"].as_object().is_none_or(Map::is_empty))
    };
    if info.kind == Kind::Endpoints && mirrored() {
        return;
    }
    // Of what Kubernetes builds in, it is known that a mesh's gateways do not run it, whoever they are.
    let idle = info.idle.filter(|_| info.built_in || !writing.api.alone);
    warnings.extend(idle.map(|why| format!("this {} is stored, but {why}", info.name)));
}

fn strict(writing: &Writing<'_>, told: &str) -> Failure {
    undecodable(writing, &format!("strict decoding error: {told}"))
}

fn undecodable(writing: &Writing<'_>, why: &str) -> Failure {
    let served = &writing.target.served;
    Failure::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {kind}: {why}",
        served.version,
        kind = served.info.name
    ))
}

/// The answer to faults, in the form that Kubernetes gives them.
pub(crate) fn refuse(
    writing: &Writing<'_>,
    value: &Value,
    errors: Vec<FieldError>,
    source: Source<'_>,
) -> Failure {
    let unknown = errors.iter().any(|error| error.reason == Reason::Unknown);
    let undecoded = errors.iter().any(|error| error.reason == Reason::Undecodable);
    if unknown || undecoded {
        let told: Vec<String> = errors.iter().map(FieldError::cause).collect();
        let told = told.join(", ");
        if matches!(source, Source::Patch(_)) && !writing.target.served.info.built_in {
            return misfits(writing, value, errors);
        }
        let why = if unknown { format!("strict decoding error: {told}") } else { told };
        return match source {
            Source::Whole => undecodable(writing, &why),
            Source::Patch(patch) => patch_refused(patch, &why),
        };
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let causes = errors
        .into_iter()
        .map(|error| Cause {
            reason: error.reason.as_str(),
            message: error.cause(),
            field: error.path,
        })
        .collect();
    Failure::invalid(writing.target.served.info, name, causes)
}

/// Fields that a patch brings and that do not fit: as faults of the object, since kubectl puts the whole patch before whatever
/// else is said, and a reader looks for the field. (Kubernetes calls the object that comes of the patch an invalid patch, and
/// prints it.)
fn misfits(writing: &Writing<'_>, value: &Value, errors: Vec<FieldError>) -> Failure {
    let info = writing.target.served.info;
    let causes = errors.into_iter().map(|error| {
        let message = match error.reason {
            Reason::Unknown => format!(
                "unknown field; kubectl explain {} lists the fields there",
                explained(info.singular, &error.path)
            ),
            _ => error.cause(),
        };
        Cause { reason: error.reason.as_str(), message, field: error.path }
    });
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    Failure::invalid(info, name, causes.collect())
}

/// What a field stands in, as `kubectl explain` takes it: `virtualservice.spec.http` for `spec.http[0].routes`.
fn explained(singular: &str, path: &str) -> String {
    let (parent, _) = path.rsplit_once('.').unwrap_or_default();
    let steps = parent.split('.').filter(|step| !step.is_empty());
    let names = steps.map(|step| step.split_once('[').map_or(step, |(name, _)| name));
    std::iter::once(singular).chain(names).collect::<Vec<_>>().join(".")
}

/// A patch that makes an object of a built-in kind undecodable is an invalid patch, not a bad request.
fn patch_refused(patch: &Value, why: &str) -> Failure {
    let shown = shortened(go_syntax(patch));
    let cause = Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {shown:?}: {why}"),
        field: "patch".into(),
    };
    Failure::invalid_as("", "", "", "", vec![cause])
}

/// A value as Go prints it: `map[a:1 b:[x y]]`.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", go_syntax(value))).collect();
            format!("map[{}]", parts.join(" "))
        }
        Value::Array(list) => {
            let parts: Vec<String> = list.iter().map(go_syntax).collect();
            format!("[{}]", parts.join(" "))
        }
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".into(),
        other => other.to_string(),
    }
}

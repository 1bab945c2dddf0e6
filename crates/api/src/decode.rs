//! From JSON to a typed object.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admission::unknown_field;
use crate::error::{FieldError, Reason, Warning};
use crate::istio::service_entry::Addresses;
use crate::kinds::split_api_version;
use crate::metadata::ObjectMeta;
use crate::schema::rules;
use crate::schema::walk::{Mode, walk};
use crate::validation::Report;
use crate::{Kind, Object, ObjectKey, Origin, Spec, istio, kube, schema};

/// An object, and what is worth telling about how it was written.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object.
    pub object: Object,
    /// Unknown fields that were dropped, dialects that were read, values that have no effect.
    pub warnings: Vec<Warning>,
}

/// Everything that can be said about an object as it was written.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The object, if its shape is right; it may still say something wrong.
    pub object: Option<Object>,
    /// Every fault that was found: in the shape first, else in what it says.
    pub errors: Vec<FieldError>,
    /// As [`Decoded::warnings`], also about an object that is refused.
    pub warnings: Vec<Warning>,
}

impl Object {
    /// Reads an object of `kind`, written in the form that `version` has, and validates it. Dialects and
    /// protobuf's spellings are normalised on the way; `value` itself stays as it is.
    ///
    /// # Errors
    /// Every fault that was found: in the shape of the object first, else in what it says.
    pub fn decode(
        kind: Kind,
        version: &str,
        value: &Value,
        origin: Origin,
    ) -> Result<Decoded, Vec<FieldError>> {
        match Object::examine(kind, version, value, origin) {
            Examined { object: Some(object), errors, warnings } if errors.is_empty() => {
                Ok(Decoded { object, warnings })
            }
            Examined { errors, .. } => Err(errors),
        }
    }

    /// As [`Object::decode`], but tells warnings about a wrong object too.
    pub fn examine(kind: Kind, version: &str, value: &Value, origin: Origin) -> Examined {
        let mut examined = Examined { object: None, errors: Vec::new(), warnings: Vec::new() };
        if !kind.info().group_versions().any(|(_, served)| served == version) {
            let served: Vec<&str> = kind.info().group_versions().map(|(_, v)| v).collect();
            examined.errors.push(FieldError::not_supported("apiVersion", version, &served));
            return examined;
        }
        let value = normalise(kind, value, &mut examined);
        if !examined.errors.is_empty() {
            return examined;
        }
        let object = match typed_object(kind, &value, origin) {
            Ok(object) => object,
            Err(error) => {
                examined.errors.push(error);
                return examined;
            }
        };
        let mut report = Report::new();
        if let Ok(metadata) = metadata(&value) {
            report.field("metadata", |report| metadata.validate(kind, report));
        }
        validate(&object, &mut report);
        if let Err(error) = validate_opaque(kind, &value, &mut report) {
            examined.errors.push(error);
            return examined;
        }
        let (errors, warnings) = report.into_parts();
        examined.errors = rules::check(schema::of(kind), &value, None);
        examined.errors.extend(errors);
        examined.warnings.extend(warnings);
        examined.object = Some(object);
        examined
    }
}

/// The object in the stored view and with today's names, ready for our types.
fn normalise(kind: Kind, value: &Value, examined: &mut Examined) -> Value {
    let info = kind.info();
    let mut value = value.clone();
    let (group, _) = split_api_version(value["apiVersion"].as_str().unwrap_or_default());
    if kind == Kind::Event && group == "events.k8s.io" {
        kube::event::from_view(&mut value);
    }
    // An Istio object without spec is one with an empty spec, except where the schema wants it.
    if let (false, Some(map)) = (info.built_in, value.as_object_mut()) {
        let given = map.get("spec").is_some_and(|spec| !spec.is_null());
        if !given && !schema::needs_spec(kind) {
            map.insert("spec".to_owned(), json!({}));
        }
    }
    let found = walk(schema::of(kind), info.built_in, Mode::Decode, &mut value);
    examined.errors = found.errors;
    examined.warnings =
        found.unknown.into_iter().map(unknown_field).chain(found.dialects).collect();
    value
}

fn typed_object(kind: Kind, value: &Value, origin: Origin) -> Result<Object, FieldError> {
    let metadata = metadata(value)?;
    // kubectl's copy of the whole object: nothing here reads it, and it would double what an object takes. The map is
    // made anew, as one that was emptied keeps its memory.
    let copy = |key: &str| key == "kubectl.kubernetes.io/last-applied-configuration";
    let annotations = metadata.annotations.into_iter().filter(|(key, _)| !copy(key)).collect();
    let created = metadata.creation_timestamp.and_then(|text| text.parse().ok());
    Ok(Object {
        key: ObjectKey::new(kind, metadata.namespace, metadata.name),
        uid: metadata.uid.into(),
        resource_version: metadata.resource_version.parse().unwrap_or(0),
        generation: metadata.generation,
        created: created.unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        labels: metadata.labels,
        annotations,
        origin,
        unknown: Vec::new(),
        spec: typed_spec(kind, value)?,
    })
}

/// The metadata of an object; empty where it has none.
pub(crate) fn metadata(value: &Value) -> Result<ObjectMeta, FieldError> {
    match value.get("metadata") {
        Some(metadata) if !metadata.is_null() => typed("metadata", metadata),
        _ => Ok(ObjectMeta::default()),
    }
}

fn typed_spec(kind: Kind, value: &Value) -> Result<Spec, FieldError> {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    Ok(match kind {
        Kind::Gateway => Spec::Gateway(typed("spec", spec)?),
        Kind::VirtualService => {
            let mut spec: Box<istio::VirtualService> = typed("spec", spec)?;
            for retries in spec.http.iter_mut().filter_map(|rule| rule.retries.as_mut()) {
                retries.fold_status_codes();
            }
            Spec::VirtualService(spec)
        }
        Kind::DestinationRule => Spec::DestinationRule(typed("spec", spec)?),
        Kind::ServiceEntry => Spec::ServiceEntry(typed("spec", spec)?),
        Kind::WorkloadEntry => Spec::WorkloadEntry(typed("spec", spec)?),
        Kind::Sidecar => Spec::Sidecar(typed("spec", spec)?),
        Kind::AuthorizationPolicy => Spec::AuthorizationPolicy(typed("spec", spec)?),
        Kind::RequestAuthentication => Spec::RequestAuthentication(typed("spec", spec)?),
        Kind::PeerAuthentication => Spec::PeerAuthentication(typed("spec", spec)?),
        Kind::EnvoyFilter => Spec::EnvoyFilter(typed("spec", spec)?),
        Kind::Namespace => Spec::Namespace(typed("", value)?),
        Kind::Service => Spec::Service(typed("", value)?),
        Kind::EndpointSlice => Spec::EndpointSlice(typed("", value)?),
        Kind::Secret => Spec::Secret(typed("", value)?),
        Kind::ConfigMap => Spec::ConfigMap(typed("", value)?),
        Kind::Pod => Spec::Pod(typed("", value)?),
        Kind::Deployment => Spec::Deployment(typed("", value)?),
        Kind::DaemonSet | Kind::StatefulSet | Kind::ReplicaSet => Spec::PodSet(typed("", value)?),
        Kind::Event => Spec::Event(typed("", value)?),
        Kind::WorkloadGroup
        | Kind::ProxyConfig
        | Kind::Telemetry
        | Kind::WasmPlugin
        | Kind::TrafficExtension
        | Kind::GatewayClass
        | Kind::KubernetesGateway
        | Kind::ListenerSet
        | Kind::HTTPRoute
        | Kind::GRPCRoute
        | Kind::TCPRoute
        | Kind::TLSRoute
        | Kind::UDPRoute
        | Kind::BackendTLSPolicy
        | Kind::ReferenceGrant
        | Kind::Endpoints
        | Kind::ServiceAccount
        | Kind::Node
        | Kind::ResourceQuota
        | Kind::LimitRange
        | Kind::CustomResourceDefinition
        | Kind::Lease => Spec::Opaque,
    })
}

fn typed<T: DeserializeOwned>(place: &str, value: &Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let path = match (place, inner.as_str()) {
            (place, ".") => place.to_owned(),
            ("", inner) => inner.to_owned(),
            (place, inner) => format!("{place}.{inner}"),
        };
        FieldError::new(path, Reason::Invalid, error.inner().to_string())
    })
}

/// The rules of each kind, on top of its shape.
fn validate(object: &Object, report: &mut Report) {
    match &object.spec {
        Spec::Gateway(spec) => report.field("spec", |r| spec.validate(object, r)),
        Spec::VirtualService(spec) => report.field("spec", |r| spec.validate(object, r)),
        Spec::DestinationRule(spec) => report.field("spec", |r| spec.validate(object, r)),
        Spec::ServiceEntry(spec) => report.field("spec", |r| spec.validate(object, r)),
        Spec::WorkloadEntry(spec) => report.field("spec", |r| spec.validate(Addresses::Any, r)),
        Spec::Sidecar(spec) => report.field("spec", |r| spec.validate(object, r)),
        Spec::AuthorizationPolicy(spec) => spec.validate(object, report),
        Spec::RequestAuthentication(spec) => spec.validate(object, report),
        Spec::PeerAuthentication(spec) => spec.validate(object, report),
        Spec::EnvoyFilter(spec) => report.field("spec", |r| spec.validate(r)),
        Spec::Namespace(_) | Spec::Opaque => {}
        Spec::Event(event) => event.validate(object.namespace(), report),
        Spec::Service(service) => service.validate(report),
        Spec::EndpointSlice(slice) => slice.validate(report),
        Spec::Secret(secret) => secret.validate(report),
        Spec::ConfigMap(map) => map.validate(report),
        Spec::Pod(pod) => report.field("spec", |r| pod.spec.validate(r)),
        Spec::Deployment(deployment) => report.field("spec", |r| deployment.spec.validate(r)),
        Spec::PodSet(set) => set.validate(report),
    }
}

/// The same, of kinds of which nothing is kept here but that they are there.
fn validate_opaque(kind: Kind, value: &Value, report: &mut Report) -> Result<(), FieldError> {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    match kind {
        Kind::Telemetry => {
            let spec: istio::Telemetry = typed("spec", spec)?;
            report.field("spec", |r| spec.validate(r));
        }
        Kind::ProxyConfig => {
            let spec: istio::ProxyConfig = typed("spec", spec)?;
            report.field("spec", |r| spec.validate(r));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;

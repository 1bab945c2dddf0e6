//! Refusals, in the form that every Kubernetes client reads: a `Status` object.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use tidegate_api::{KindInfo, ObjectKey};

use crate::store::{Expired, WriteError};

/// Which field is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired` …
    pub reason: &'static str,
    /// What is wrong with it, as in `Invalid value: "x": must be a number`.
    pub message: String,
    /// Path of the field.
    pub field: String,
}

impl Cause {
    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        let colon = if detail.is_empty() { "" } else { ": " };
        Self {
            reason: "FieldValueRequired",
            message: format!("Required value{colon}{detail}"),
            field: field.into(),
        }
    }

    pub(crate) fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {detail}"),
            field: field.into(),
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {detail}"),
            field: field.into(),
        }
    }

    pub(crate) fn unsupported(field: &str, value: &Value, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        Self {
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {value}: supported values: {}", quoted.join(", ")),
            field: field.into(),
        }
    }
}

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub code: StatusCode,
    /// A word that clients switch on; empty when Kubernetes gives none.
    pub reason: &'static str,
    pub message: String,
    details: Option<Box<Value>>,
    /// `metadata.continue`: how to go on with an expired list.
    pub resume: Option<String>,
    pub retry_after: Option<u32>,
    /// What is to be told beside the refusal.
    pub warnings: Vec<String>,
    /// Answered as plain text, as Kubernetes does for paths that it does not know.
    pub plain: bool,
    /// Another write came between reading the object and storing it: the same may succeed on top of that one.
    pub overtaken: bool,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            resume: None,
            retry_after: None,
            warnings: Vec::new(),
            plain: false,
            overtaken: false,
        }
    }

    /// The same, with warnings beside it.
    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    // === Requests that make no sense ===

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn page_not_found() -> Self {
        let mut failure = Self::new(StatusCode::NOT_FOUND, "", "404 page not found\n");
        failure.plain = true;
        failure
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
            .with_details(json!({}))
    }

    pub(crate) fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(crate) fn too_large_to_store(bytes: usize, limit: usize) -> Self {
        let message = format!(
            "Request entity too large: the object would take {bytes} bytes, and the limit of one is {limit}"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(crate) fn head_too_large(limit: usize) -> Self {
        let message = format!(
            "Request head too large: its path, query and header fields are to have at most {limit} bytes"
        );
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "", message)
    }

    pub(crate) fn too_many_requests(message: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
            .with_details(json!({ "retryAfterSeconds": 1 }));
        failure.retry_after = Some(1);
        failure
    }

    /// A user asks more often than is allowed; there is room again after `wait`.
    pub(crate) fn too_fast(wait: Duration) -> Self {
        // In whole seconds, and no sooner.
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let message = "Too many requests, please try again later: the server allows each user a number of them a \
            second (--api-request-rate).";
        let mut failure =
            Self::too_many_requests(message).with_details(json!({ "retryAfterSeconds": seconds }));
        failure.retry_after = Some(seconds);
        failure
    }

    /// An error without a reason of its own: Kubernetes answers some malformed requests so.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    // === Objects ===

    pub(crate) fn not_found(info: &KindInfo, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource(info));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(about(info, name))
    }

    /// A kind of Kubernetes' own that there is none of here.
    pub(crate) fn not_served(group: &str, plural: &str, why: &str) -> Self {
        let message = format!("{plural}.{group} are not served: {why}");
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(crate) fn already_exists(info: &KindInfo, name: &str, terminating: bool) -> Self {
        let prefix = if terminating { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} {name:?} already exists", resource(info));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).with_details(about(info, name))
    }

    pub(crate) fn modified(info: &KindInfo, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(info, name, why)
    }

    pub(crate) fn conflict(info: &KindInfo, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource(info));
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(about(info, name))
    }

    /// A delete whose precondition does not hold names the kind, not the resource.
    pub(crate) fn precondition(info: &KindInfo, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind_and_group(info));
        let mut details = about(info, name);
        details["kind"] = info.name.into();
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(details)
    }

    /// Several managers claim the same fields of an object: each manager as messages name it, and the field.
    pub(crate) fn apply_conflicts(conflicts: &[(String, String)]) -> Self {
        let list: Vec<String> = conflicts
            .iter()
            .map(|(manager, field)| format!("conflict with {manager}: {field}"))
            .collect();
        let (noun, list) = match list.as_slice() {
            [one] => ("conflict", one.clone()),
            many => ("conflicts", format!("\n- {}", many.join("\n- "))),
        };
        let separator = if conflicts.len() == 1 { " " } else { "" };
        let message = format!("Apply failed with {} {noun}:{separator}{list}", conflicts.len());
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {manager}"),
                    "field": field,
                })
            })
            .collect();
        Self::new(StatusCode::CONFLICT, "Conflict", message)
            .with_details(json!({ "causes": causes }))
    }

    pub(crate) fn forbidden(info: &KindInfo, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource(info));
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(about(info, name))
    }

    /// A user may not ask at a path that names no object.
    pub(crate) fn denied_path(user: &str, path: &str) -> Self {
        let message = format!("forbidden: User {user:?} cannot get path {path:?}");
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// A user may not act as another.
    pub(crate) fn cannot_impersonate(user: &str, other: &str) -> Self {
        let why = format!(
            "users {other:?} is forbidden: User {user:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
        );
        let details = json!({ "name": other, "kind": "users" });
        Self::new(StatusCode::FORBIDDEN, "Forbidden", why).with_details(details)
    }

    /// A user may not do that.
    pub(crate) fn denied(info: &KindInfo, name: Option<&str>, why: &str) -> Self {
        match name {
            Some(name) => Self::forbidden(info, name, why),
            None => {
                let message = format!("{} is forbidden: {why}", resource(info));
                let mut details = json!({ "kind": info.plural });
                if !info.group.is_empty() {
                    details["group"] = info.group.into();
                }
                Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details)
            }
        }
    }

    pub(crate) fn namespace_terminating(info: &KindInfo, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut failure = Self::forbidden(info, name, &why);
        if let Some(details) = &mut failure.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        failure
    }

    pub(crate) fn invalid(info: &KindInfo, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_as(&kind_and_group(info), info.group, info.name, name, causes)
    }

    /// Invalid options of a request, as `CreateOptions.meta.k8s.io`.
    pub(crate) fn invalid_options(kind: &str, causes: Vec<Cause>) -> Self {
        let title = format!("{kind}.meta.k8s.io");
        Self::invalid_as(&title, "meta.k8s.io", kind, "", causes)
    }

    /// An invalid object, under names of the caller's choosing.
    pub(crate) fn invalid_as(
        title: &str,
        group: &str,
        kind: &str,
        name: &str,
        causes: Vec<Cause>,
    ) -> Self {
        let told: Vec<String> = causes
            .iter()
            .map(|cause| match cause.field.as_str() {
                "" => cause.message.clone(),
                field => format!("{field}: {}", cause.message),
            })
            .collect();
        let told = match told.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut details = Map::new();
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details.insert(key.into(), value.into());
            }
        }
        let causes: Vec<Value> = causes
            .into_iter()
            .map(|c| json!({ "reason": c.reason, "message": c.message, "field": c.field }))
            .collect();
        details.insert("causes".into(), causes.into());
        let message = format!("{title} {name:?} is invalid: {told}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(details.into())
    }

    /// A JSON patch that cannot be carried out.
    pub(crate) fn patch_failed(why: &str) -> Self {
        let message =
            format!("the server rejected our request due to an error in our request: {why}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(json!({}))
    }

    // === Time and place ===

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    pub(crate) fn too_large_revision(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut failure =
            Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_details(json!({
                "causes": [{
                    "reason": "ResourceVersionTooLarge",
                    "message": "Too large resource version",
                }],
                "retryAfterSeconds": 1,
            }));
        failure.retry_after = Some(1);
        failure
    }

    /// What the store's refusal means for a request about `key`.
    pub(crate) fn write(error: &WriteError, key: &ObjectKey) -> Self {
        let info = key.kind.info();
        let name = &*key.name;
        match error {
            WriteError::AlreadyExists { terminating } => {
                Self::already_exists(info, name, *terminating)
            }
            WriteError::NotFound => Self::not_found(info, name),
            WriteError::Conflict { .. } => Self { overtaken: true, ..Self::modified(info, name) },
            WriteError::ReadOnly(_) => Self::forbidden(info, name, &error.to_string()),
            WriteError::NoNamespace => {
                Self::not_found(tidegate_api::Kind::Namespace.info(), &key.namespace)
            }
            WriteError::NamespaceTerminating => {
                Self::namespace_terminating(info, name, &key.namespace)
            }
            WriteError::NotEmpty => Self::conflict(info, name, "it still holds objects"),
            WriteError::Storage { full, .. } => {
                let remedy =
                    if *full { ": the disk is full, free some space and try again" } else { "" };
                let code = if *full {
                    StatusCode::INSUFFICIENT_STORAGE
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                };
                Self::new(code, "InternalError", format!("{error}{remedy}"))
            }
            WriteError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", error.to_string())
            }
        }
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code.as_u16(),
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = (**details).clone();
        }
        if let Some(resume) = &self.resume {
            status["metadata"]["continue"] = resume.as_str().into();
        }
        status
    }
}

impl From<Expired> for Failure {
    fn from(error: Expired) -> Self {
        Self::expired(error.to_string())
    }
}

/// `virtualservices.networking.istio.io`; core resources stand alone.
pub(crate) fn resource(info: &KindInfo) -> String {
    join(info.plural, info.group)
}

/// `VirtualService.networking.istio.io`; core kinds stand alone.
fn kind_and_group(info: &KindInfo) -> String {
    join(info.name, info.group)
}

fn join(name: &str, group: &str) -> String {
    if group.is_empty() { name.into() } else { format!("{name}.{group}") }
}

fn about(info: &KindInfo, name: &str) -> Value {
    let mut details = json!({ "name": name, "kind": info.plural });
    if !info.group.is_empty() {
        details["group"] = info.group.into();
    }
    details
}

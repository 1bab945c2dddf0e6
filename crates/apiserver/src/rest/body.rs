//! Request bodies as JSON values, whatever they were written in.

use serde_json::Value;

use super::ask::Ask;
use super::failure::Failure;
use super::{json, protobuf, yaml};

/// Bytes of a request body, as Kubernetes allows.
pub(crate) const LIMIT: usize = 3 << 20;

const ACCEPTED: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// A body and what stands in it twice.
#[derive(Debug)]
pub(crate) struct Written {
    pub value: Value,
    pub duplicates: Vec<String>,
}

/// Reads a body in the form that its `Content-Type` names; none means JSON. `expected` is the kind that the path
/// takes, for messages.
pub(crate) fn object(ask: &Ask, expected: &str) -> Result<Written, Failure> {
    let media = ask.content_type().unwrap_or("application/json");
    match media.split(';').next().unwrap_or_default().trim() {
        "application/json" => text(&ask.body, expected),
        "application/yaml" | "application/x-yaml" => document(&ask.body, expected),
        "application/vnd.kubernetes.protobuf" => {
            let value = protobuf::decode(&ask.body).map_err(Failure::bad_request)?;
            Ok(Written { value, duplicates: Vec::new() })
        }
        _ => Err(Failure::unsupported_media_type(ACCEPTED)),
    }
}

/// A JSON body, of whatever content type.
pub(crate) fn text(body: &[u8], expected: &str) -> Result<Written, Failure> {
    match json::parse(body) {
        Ok(parsed) => Ok(Written { value: parsed.value, duplicates: parsed.duplicates }),
        Err(error) => Err(unreadable(
            body,
            expected,
            &format!("couldn't get version/kind; json parse error: {}", told(&error)),
        )),
    }
}

/// The body of a patch.
pub(crate) fn patch(body: &[u8]) -> Result<Written, Failure> {
    match json::parse(body) {
        Ok(parsed) => Ok(Written { value: parsed.value, duplicates: parsed.duplicates }),
        Err(error) => Err(Failure::bad_request(format!("error decoding patch: {}", told(&error)))),
    }
}

/// A YAML body of one document; JSON is YAML too.
pub(crate) fn document(body: &[u8], expected: &str) -> Result<Written, Failure> {
    match yaml::read(body) {
        Ok(value) => Ok(Written { value, duplicates: Vec::new() }),
        Err(error) => Err(unreadable(body, expected, &format!("yaml parse error: {error}"))),
    }
}

/// Go says "unexpected end of JSON input"; clients and people know the phrase.
fn told(error: &serde_json::Error) -> String {
    if error.is_eof() {
        format!("unexpected end of JSON input at line {} column {}", error.line(), error.column())
    } else {
        error.to_string()
    }
}

/// How much of a body a message shows.
const SHOWN: usize = 64;

fn unreadable(body: &[u8], expected: &str, reason: &str) -> Failure {
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    let shown = match body.len() {
        0 => "<empty>".to_owned(),
        n if n > SHOWN => format!("{text} ..."),
        _ => text.into_owned(),
    };
    Failure::bad_request(format!(
        "the object provided is unrecognized (must be of type {expected}): {reason} ({shown})"
    ))
}

/// Checks that a body is of the kind and version that the path takes. A body of one of Kubernetes' own kinds may
/// leave both out, as those of some client libraries do.
pub(crate) fn check_type(
    value: &mut Value,
    served: &super::served::Served,
    body: &[u8],
) -> Result<(), Failure> {
    use super::failure::Cause;
    if served.info.built_in
        && let Some(fields) = value.as_object_mut()
    {
        for (field, meant) in [("apiVersion", &*served.api_version), ("kind", served.info.name)] {
            let said = fields.entry(field).or_insert_with(|| meant.into());
            if said.as_str() == Some("") {
                *said = meant.into();
            }
        }
    }
    let text = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
    let Some(kind) = text("kind") else {
        let shown = String::from_utf8_lossy(&body[..body.len().min(1_024)]);
        let reason = format!("Object 'Kind' is missing in '{shown}'");
        return Err(unreadable(body, served.info.name, &reason));
    };
    let api_version = text("apiVersion").unwrap_or_default();
    if api_version != served.api_version {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            served.api_version
        )));
    }
    if kind == served.info.name {
        return Ok(());
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let detail = format!("must be {}", served.info.name);
    let cause = Cause::invalid("kind", &kind.into(), &detail);
    let title = match served.group {
        "" => kind.to_owned(),
        group => format!("{kind}.{group}"),
    };
    Err(Failure::invalid_as(&title, served.group, kind, name, vec![cause]))
}

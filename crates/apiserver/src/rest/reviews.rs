//! Questions in the form of objects: may I, and who am I. Whoever has the token may do everything.

use http::StatusCode;
use serde_json::{Value, json};

use super::ask::Ask;
use super::body;
use super::failure::Failure;
use super::reply::{self, Reply};
use crate::clock;

/// The one user there is.
pub(crate) const USER: &str = "admin";

pub(crate) fn review(resource: &str, group: &str, ask: &Ask) -> Result<Reply, Failure> {
    if ask.method != http::Method::POST {
        return Err(Failure::method_not_allowed());
    }
    let spec = body::object(ask, "a review")?.value["spec"].take();
    let (kind, spec, status) = match resource {
        "selfsubjectaccessreviews" => {
            ("SelfSubjectAccessReview", Some(spec), json!({ "allowed": true }))
        }
        "selfsubjectrulesreviews" => ("SelfSubjectRulesReview", Some(json!({})), rules()),
        _ => ("SelfSubjectReview", None, user()),
    };
    let mut answer = json!({
        "kind": kind,
        "apiVersion": format!("{group}/v1"),
        "metadata": { "creationTimestamp": clock::now() },
        "status": status,
    });
    if let Some(spec) = spec {
        answer["spec"] = spec;
    }
    Ok(reply::json(StatusCode::CREATED, &answer))
}

fn user() -> Value {
    json!({ "userInfo": {
        "username": USER,
        "groups": ["system:masters", "system:authenticated"],
    } })
}

fn rules() -> Value {
    json!({
        "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
        "incomplete": false,
    })
}

//! Questions in the form of objects: may I, and who am I.

use http::StatusCode;
use serde_json::{Value, json};

use super::ask::Ask;
use super::body;
use super::failure::Failure;
use super::reply::{self, Reply};
use super::router::Verb;
use super::users::User;
use crate::clock;

pub(crate) fn review(resource: &str, group: &str, ask: &Ask) -> Result<Reply, Failure> {
    if ask.method != http::Method::POST {
        return Err(Failure::method_not_allowed());
    }
    let spec = body::object(ask, "a review")?.value["spec"].take();
    let asks = ask.user.as_deref().ok_or_else(Failure::unauthorized)?;
    let (kind, spec, status) = match resource {
        "selfsubjectaccessreviews" => {
            let status = json!({ "allowed": allowed(asks, &spec) });
            ("SelfSubjectAccessReview", Some(spec), status)
        }
        "selfsubjectrulesreviews" => ("SelfSubjectRulesReview", Some(json!({})), rules(asks)),
        _ => ("SelfSubjectReview", None, user(asks)),
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

/// Whether somebody may do what a review names; what is no resource of a kind may be read by all.
fn allowed(user: &User, spec: &Value) -> bool {
    let asked = &spec["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    if user.rules() {
        return true;
    }
    let Some(info) = tidegate_api::kinds::by_plural(text("group"), text("resource")) else {
        return spec["nonResourceAttributes"]["verb"] == "get";
    };
    let part = Some(text("subresource")).filter(|part| !part.is_empty());
    Verb::named(text("verb")).is_some_and(|verb| user.may(verb, info, part))
}

fn user(user: &User) -> Value {
    let groups: Vec<&str> =
        user.groups.iter().map(String::as_str).chain(["system:authenticated"]).collect();
    json!({ "userInfo": { "username": user.name, "groups": groups } })
}

fn rules(user: &User) -> Value {
    json!({
        "resourceRules": [{ "verbs": user.verbs(), "apiGroups": ["*"], "resources": ["*"] }],
        "nonResourceRules": [{ "verbs": if user.rules() { ["*"] } else { ["get"] }, "nonResourceURLs": ["*"] }],
        "incomplete": false,
    })
}

//! Questions in the form of objects: may I, and who am I.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use tidegate_api::KINDS;

use super::ask::Ask;
use super::body;
use super::discovery::subresources;
use super::failure::Failure;
use super::reply::{self, Reply};
use super::router::{REVIEWS, Verb};
use super::users::{Right, User};
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
        "selfsubjectrulesreviews" => {
            let namespace = spec["namespace"].as_str().filter(|namespace| !namespace.is_empty());
            ("SelfSubjectRulesReview", Some(json!({})), rules(asks, namespace))
        }
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

/// Whether somebody may do what a review names. All may ask for reviews, and read what is no resource of a kind.
fn allowed(user: &User, spec: &Value) -> bool {
    let asked = &spec["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    if user.rules() {
        return true;
    }
    if REVIEWS
        .iter()
        .any(|(group, plural, _)| (*group, *plural) == (text("group"), text("resource")))
    {
        return text("verb") == "create";
    }
    let Some(info) = tidegate_api::kinds::by_plural(text("group"), text("resource")) else {
        return spec["nonResourceAttributes"]["verb"] == "get";
    };
    let part = Some(text("subresource")).filter(|part| !part.is_empty());
    let namespace = Some(text("namespace")).filter(|namespace| !namespace.is_empty());
    let right = |verb| Right { verb, info, subresource: part, namespace };
    Verb::named(text("verb")).is_some_and(|verb| user.may(&right(verb)))
}

fn user(user: &User) -> Value {
    let groups: Vec<&str> =
        user.groups.iter().map(String::as_str).chain(["system:authenticated"]).collect();
    json!({ "userInfo": { "username": user.name, "groups": groups } })
}

/// What somebody may do in a namespace, resource by resource; whoever may do everything is told so in a word.
fn rules(user: &User, namespace: Option<&str>) -> Value {
    let rule = |verbs: &[&str], group: &str, resources: &[String]| json!({ "verbs": verbs, "apiGroups": [group], "resources": resources });
    let rules: Vec<Value> = match user.rules() {
        true => vec![rule(&["*"], "*", &["*".to_owned()])],
        false => granted(user, namespace)
            .iter()
            .map(|((group, verbs), resources)| rule(verbs, group, resources))
            .collect(),
    };
    json!({
        "resourceRules": rules,
        "nonResourceRules": [{ "verbs": if user.rules() { ["*"] } else { ["get"] }, "nonResourceURLs": ["*"] }],
        "incomplete": false,
    })
}

/// The resources of each group with which somebody may do the same.
fn granted(
    user: &User,
    namespace: Option<&str>,
) -> BTreeMap<(&'static str, Vec<&'static str>), Vec<String>> {
    let mut granted: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let mut grant = |group, verbs: Vec<&'static str>, resource: String| {
        let resources = granted.entry((group, verbs)).or_default();
        // Versions of a kind are one resource.
        if !resources.contains(&resource) {
            resources.push(resource);
        }
    };
    for info in KINDS {
        let may = |verbs: &[&'static str], part| -> Vec<&'static str> {
            let right = |verb| Right { verb, info, subresource: part, namespace };
            let of_theirs =
                |verb: &&str| Verb::named(verb).is_some_and(|verb| user.may(&right(verb)));
            verbs.iter().copied().filter(of_theirs).collect()
        };
        for (group, _) in info.group_versions() {
            grant(group, may(info.verbs, None), info.plural.to_owned());
            for part in subresources(info) {
                let name = format!("{}/{}", info.plural, part.name);
                grant(group, may(part.verbs, Some(part.name)), name);
            }
        }
    }
    for (group, plural, _) in REVIEWS {
        grant(group, vec!["create"], (*plural).to_owned());
    }
    granted.retain(|(_, verbs), _| !verbs.is_empty());
    granted
}

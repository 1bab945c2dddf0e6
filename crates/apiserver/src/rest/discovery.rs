//! What is served: groups, versions and resources, at once or list by list.
//!
//! Groups come in the order of the table of kinds, since the first group that has a name is what kubectl takes a
//! bare name for: `kubectl get gateway` means Istio's.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::{StatusCode, header};
use serde_json::{Value, json};
use tidegate_api::{KINDS, KindInfo, Scope};

use super::ask::Ask;
use super::failure::Failure;
use super::negotiate::{DiscoveryForm, negotiate_discovery};
use super::reply::{self, Reply};
use super::router::REVIEWS;
use super::write;

/// `/api`.
pub(crate) fn core_versions(ask: &Ask) -> Result<Reply, Failure> {
    match negotiate_discovery(ask.accept().as_deref())? {
        DiscoveryForm::Aggregated(form) => Ok(aggregated(form, &[""], ask)),
        DiscoveryForm::Plain => Ok(reply::json(
            StatusCode::OK,
            &json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [],
            }),
        )),
    }
}

/// `/apis`.
pub(crate) fn groups(ask: &Ask) -> Result<Reply, Failure> {
    let names = group_names();
    match negotiate_discovery(ask.accept().as_deref())? {
        DiscoveryForm::Aggregated(form) => Ok(aggregated(form, &names, ask)),
        DiscoveryForm::Plain => {
            let groups: Vec<Value> = names.iter().map(|name| group_json(name)).collect();
            let list = json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups });
            Ok(reply::json(StatusCode::OK, &list))
        }
    }
}

/// `/apis/<group>`.
pub(crate) fn group(name: &str) -> Result<Reply, Failure> {
    if !group_names().contains(&name) {
        return Err(Failure::page_not_found());
    }
    let mut group = group_json(name);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Ok(reply::json(StatusCode::OK, &group))
}

/// `/api/v1`, `/apis/<group>/<version>`.
pub(crate) fn resources(group: &str, version: &str) -> Result<Reply, Failure> {
    if !versions(group).contains(&version) {
        return Err(Failure::page_not_found());
    }
    let mut resources = Vec::new();
    for info in served(group, version) {
        let namespaced = info.scope == Scope::Namespaced;
        let mut resource = json!({
            "name": info.plural,
            "singularName": info.singular,
            "namespaced": namespaced,
            "kind": info.name,
            "verbs": info.verbs,
        });
        if !info.short_names.is_empty() {
            resource["shortNames"] = json!(info.short_names);
        }
        if !info.categories.is_empty() {
            resource["categories"] = json!(info.categories);
        }
        resources.push(resource);
        for part in subresources(info) {
            let mut resource = json!({
                "name": format!("{}/{}", info.plural, part.name),
                "singularName": "",
                "namespaced": namespaced,
                "kind": info.name,
                "verbs": part.verbs,
            });
            if let Some((group, version, kind)) = part.form {
                resource["kind"] = kind.into();
                // As with the kinds themselves: of the core group they are left out.
                if !version.is_empty() {
                    resource["group"] = group.into();
                    resource["version"] = version.into();
                }
            }
            resources.push(resource);
        }
    }
    for (_, plural, kind) in reviews(group) {
        resources.push(json!({
            "name": plural,
            "singularName": kind.to_lowercase(),
            "namespaced": false,
            "kind": kind,
            "verbs": ["create"],
        }));
    }
    let list = json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": KindInfo::api_version(group, version),
        "resources": resources,
    });
    Ok(reply::json(StatusCode::OK, &list))
}

/// Every group but the core one, in the order in which names are looked for.
pub(crate) fn group_names() -> Vec<&'static str> {
    let kinds = KINDS.iter().flat_map(|info| info.group_versions().map(|(group, _)| group));
    let mut names = Vec::new();
    for name in kinds.chain(REVIEWS.iter().map(|(group, ..)| *group)) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The versions of a group, the preferred one first.
pub(crate) fn versions(group: &str) -> Vec<&'static str> {
    let kinds = KINDS.iter().flat_map(KindInfo::group_versions);
    let mut versions = Vec::new();
    for (_, version) in kinds.filter(|(g, _)| *g == group) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    if versions.is_empty() && reviews(group).next().is_some() {
        versions.push("v1");
    }
    versions
}

/// The kinds that a version of a group serves.
pub(crate) fn served(group: &str, version: &str) -> impl Iterator<Item = &'static KindInfo> {
    KINDS.iter().filter(move |info| info.serves(group, version))
}

fn reviews(
    group: &str,
) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    REVIEWS.iter().filter(move |(g, ..)| *g == group)
}

/// A part of objects that has a path of its own.
pub(crate) struct Part {
    pub name: &'static str,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
    /// Group, version and kind of its form, where that is not the object's; group and version are empty in the core group.
    form: Option<(&'static str, &'static str, &'static str)>,
}

/// The parts of objects of a kind that can be had. Those that are always refused are left out, so that nobody takes them for
/// served: `attach` and `portforward` of Pods, `token` of ServiceAccounts, `finalize` of Namespaces.
pub(crate) fn subresources(info: &KindInfo) -> Vec<Part> {
    const CHANGED: &[&str] = &["get", "patch", "update"];
    let mut parts = Vec::new();
    if info.kind == tidegate_api::Kind::Pod {
        let options = Some(("", "", "PodExecOptions"));
        parts.push(Part { name: "exec", verbs: &["create", "get"], form: options });
        parts.push(Part { name: "log", verbs: &["get"], form: None });
    }
    if write::scales(info) {
        parts.push(Part { name: write::SCALE, verbs: CHANGED, form: Some(write::SCALE_FORM) });
    }
    if info.status_subresource {
        parts.push(Part { name: "status", verbs: CHANGED, form: None });
    }
    parts
}

fn group_json(name: &str) -> Value {
    let version = |version: &&str| {
        json!({
            "groupVersion": KindInfo::api_version(name, version),
            "version": version,
        })
    };
    let versions: Vec<Value> = versions(name).iter().map(version).collect();
    json!({
        "name": name,
        "versions": versions,
        "preferredVersion": versions.first(),
    })
}

/// Everything about some groups; unchanged answers are told by their tag.
fn aggregated(form: &'static str, groups: &[&str], ask: &Ask) -> Reply {
    let items: Vec<Value> = groups.iter().map(|group| aggregated_group(group)).collect();
    let text = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{form}"),
        "metadata": {},
        "items": items,
    })
    .to_string();
    let etag = format!("\"{}\"", digest(&text));
    let known = ask.headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == etag.as_str());
    let content_type =
        format!("application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList");
    let mut reply = match known {
        true => reply::not_modified(),
        false => reply::full(StatusCode::OK, &content_type, text),
    };
    reply::set(&mut reply, header::ETAG, &etag);
    reply::set(&mut reply, header::VARY, "Accept");
    reply::set(&mut reply, header::CACHE_CONTROL, "public");
    reply
}

/// A name for a text: the same text has the same name.
pub(crate) fn digest(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016X}", hasher.finish())
}

fn aggregated_group(group: &str) -> Value {
    let versions: Vec<Value> = versions(group)
        .into_iter()
        .map(|version| {
            json!({
                "version": version,
                "freshness": "Current",
                "resources": aggregated_resources(group, version),
            })
        })
        .collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
    json!({ "metadata": metadata, "versions": versions })
}

fn aggregated_resources(group: &str, version: &str) -> Vec<Value> {
    let kind = |name: &str, built_in: bool| match built_in {
        // Kubernetes leaves group and version of its own kinds empty here.
        true => json!({ "group": "", "version": "", "kind": name }),
        false => json!({ "group": group, "version": version, "kind": name }),
    };
    let mut resources = Vec::new();
    for info in served(group, version) {
        let parts: Vec<Value> = subresources(info)
            .into_iter()
            .map(|part| {
                let form = match part.form {
                    Some((group, version, kind)) => {
                        json!({ "group": group, "version": version, "kind": kind })
                    }
                    None => kind(info.name, info.built_in),
                };
                json!({ "subresource": part.name, "responseKind": form, "verbs": part.verbs })
            })
            .collect();
        let scope = match info.scope {
            Scope::Namespaced => "Namespaced",
            Scope::Cluster => "Cluster",
        };
        let mut resource = json!({
            "resource": info.plural,
            "responseKind": kind(info.name, info.built_in),
            "scope": scope,
            "singularResource": info.singular,
            "verbs": info.verbs,
        });
        for (field, names) in [("shortNames", info.short_names), ("categories", info.categories)] {
            if !names.is_empty() {
                resource[field] = json!(names);
            }
        }
        if !parts.is_empty() {
            resource["subresources"] = parts.into();
        }
        resources.push(resource);
    }
    for (_, plural, name) in reviews(group) {
        resources.push(json!({
            "resource": plural,
            "responseKind": kind(name, true),
            "scope": "Cluster",
            "singularResource": name.to_lowercase(),
            "verbs": ["create"],
        }));
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istio_comes_first() {
        let names = group_names();
        assert_eq!(names[0], "networking.istio.io");
        assert!(names.contains(&"apps") && names.contains(&"authorization.k8s.io"));
        assert!(!names.contains(&""));
        assert_eq!(versions("networking.istio.io"), ["v1", "v1beta1", "v1alpha3"]);
        assert_eq!(versions("authentication.k8s.io"), ["v1"]);
        assert!(versions("nope.io").is_empty());
    }
}

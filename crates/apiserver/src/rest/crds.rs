//! The custom kinds as CustomResourceDefinitions, to be read: kubectl looks there before it says that a kind does
//! not exist. They follow from the program and cannot be written, and discovery does not list them.

use http::StatusCode;
use serde_json::{Value, json};
use tidegate_api::schema::openapi;
use tidegate_api::{KINDS, KindInfo, Scope};

use super::failure::Failure;
use super::reply::{self, Reply};

/// Where they are served.
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";

/// All of them, or the one of that name.
pub(crate) fn get(name: Option<&str>) -> Result<Reply, Failure> {
    let custom = || KINDS.iter().filter(|info| !info.built_in);
    let answer = match name {
        Some(name) => {
            let info = custom().find(|info| info.qualified_plural() == name);
            definition(info.ok_or_else(Failure::page_not_found)?)
        }
        None => json!({
            "kind": "CustomResourceDefinitionList",
            "apiVersion": format!("{GROUP}/v1"),
            "metadata": { "resourceVersion": "1" },
            "items": custom().map(definition).collect::<Vec<_>>(),
        }),
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

fn definition(info: &KindInfo) -> Value {
    let names = json!({
        "kind": info.name,
        "listKind": format!("{}List", info.name),
        "plural": info.plural,
        "singular": info.singular,
        "shortNames": info.short_names,
        "categories": info.categories,
    });
    let versions: Vec<Value> = info.versions.iter().map(|v| version(info, v)).collect();
    let scope = match info.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    json!({
        "kind": "CustomResourceDefinition",
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": { "name": info.qualified_plural(), "resourceVersion": "1" },
        "spec": {
            "group": info.group,
            "names": names,
            "scope": scope,
            "versions": versions,
        },
        "status": {
            "acceptedNames": names,
            "storedVersions": [info.versions[0]],
            "conditions": [
                { "type": "NamesAccepted", "status": "True", "reason": "NoConflicts" },
                { "type": "Established", "status": "True", "reason": "InitialNamesAccepted" },
            ],
        },
    })
}

fn version(info: &KindInfo, name: &str) -> Value {
    let mut schema = openapi::object(info.kind, info.group);
    schema["properties"]["metadata"] = json!({ "type": "object" });
    let subresources = if info.status_subresource { json!({ "status": {} }) } else { json!({}) };
    json!({
        "name": name,
        "served": true,
        "storage": name == info.versions[0],
        "schema": { "openAPIV3Schema": schema },
        "subresources": subresources,
    })
}

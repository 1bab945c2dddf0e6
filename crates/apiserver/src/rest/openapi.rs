//! OpenAPI v3: one document per group and version, made from our own types.
//!
//! kubectl takes three things from it: whether a kind knows `fieldValidation`, what `explain` prints, and how a
//! built-in kind is patched. For the last it falls back to what is compiled into it as long as a document does not
//! list strategic merge patch, and so none does: the schemas here do not carry merge keys.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::{StatusCode, header};
use serde_json::{Map, Value, json};
use tidegate_api::schema::openapi;
use tidegate_api::{KindInfo, Scope};

use super::ask::Ask;
use super::discovery::{self, digest};
use super::failure::Failure;
use super::reply::{self, Reply};
use crate::clock;

/// A document and the name of its content.
struct Document {
    text: String,
    hash: String,
}

/// Every document by its path under `/openapi/v3/`. They follow from the program and never change.
static DOCUMENTS: LazyLock<BTreeMap<String, Document>> = LazyLock::new(|| {
    let mut documents = BTreeMap::new();
    let groups = std::iter::once("").chain(discovery::group_names());
    for group in groups {
        for version in discovery::versions(group) {
            let text = document(group, version).to_string();
            let hash = digest(&text);
            documents.insert(base(group, version), Document { text, hash });
        }
    }
    documents
});

/// When this process made its documents, as in HTTP's header fields.
static MADE: LazyLock<String> = LazyLock::new(clock::http_date);

/// `/openapi/v3`. kubectl asks for it with each object that it writes, and takes a 304.
pub(crate) fn index(ask: &Ask) -> Reply {
    let known = ask.headers.get(header::IF_MODIFIED_SINCE);
    let mut reply = match known.is_some_and(|since| since == MADE.as_str()) {
        true => reply::not_modified(),
        false => paths(),
    };
    reply::set(&mut reply, header::LAST_MODIFIED, &MADE);
    reply
}

fn paths() -> Reply {
    let paths: Map<String, Value> = DOCUMENTS
        .iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    reply::json(StatusCode::OK, &json!({ "paths": paths }))
}

/// `/openapi/v3/<path>`; a document that is asked for by its hash may be kept for ever.
pub(crate) fn get(path: &str, hash: Option<&str>) -> Result<Reply, Failure> {
    let document = DOCUMENTS.get(path).ok_or_else(Failure::page_not_found)?;
    let mut reply = reply::full(StatusCode::OK, reply::JSON, document.text.clone());
    reply::set(&mut reply, header::ETAG, &format!("\"{}\"", document.hash));
    if hash == Some(document.hash.as_str()) {
        reply::set(&mut reply, header::CACHE_CONTROL, "public, immutable");
    }
    Ok(reply)
}

/// `/openapi/v2`: a document that says nothing. kubectl looks there for kinds that it does not find in v3; a
/// document without them makes it say that they do not exist, where 404 makes it tell users to turn validation off.
pub(crate) fn version_two(ask: &Ask) -> Reply {
    /// Field 1 (`swagger`) of the document: "2.0".
    const EMPTY: &[u8] = b"\x0a\x032.0";
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    if ask.accept().is_some_and(|accept| accept.contains(PROTOBUF)) {
        // The `@` that clients write in the name is none that a media type can have.
        return reply::full(StatusCode::OK, &PROTOBUF.replace('@', "."), EMPTY);
    }
    let info = json!({ "title": "Tidegate", "version": env!("CARGO_PKG_VERSION") });
    reply::json(StatusCode::OK, &json!({ "swagger": "2.0", "info": info, "paths": {} }))
}

/// `api/v1`, `apis/<group>/<version>`.
fn base(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

fn document(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert(openapi::OBJECT_META.into(), openapi::object_meta());
    for info in discovery::served(group, version) {
        add_paths(info, group, version, &mut paths);
        let mut schema = openapi::object(info.kind, group);
        schema["x-kubernetes-group-version-kind"] = json!([gvk(info.name, group, version)]);
        schemas.insert(schema_name(info.name, group, version), schema);
        schemas.insert(
            schema_name(&format!("{}List", info.name), group, version),
            list_schema(info, group, version),
        );
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Tidegate", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn gvk(kind: &str, group: &str, version: &str) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}

/// The group's name backwards, version and kind: `io.istio.networking.v1.Gateway`.
fn schema_name(kind: &str, group: &str, version: &str) -> String {
    match group {
        "" | "apps" => {
            let part = if group.is_empty() { "core" } else { group };
            format!("io.k8s.api.{part}.{version}.{kind}")
        }
        group => {
            let parts: Vec<&str> = group.rsplit('.').collect();
            format!("{}.{version}.{kind}", parts.join("."))
        }
    }
}

fn reference(kind: &str, group: &str, version: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", schema_name(kind, group, version)) })
}

fn list_schema(info: &KindInfo, group: &str, version: &str) -> Value {
    json!({
        "description": format!("A list of objects of the kind {}.", info.name),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "type": "string", "description": "Group and version of the list." },
            "kind": { "type": "string", "description": "Kind of the list." },
            "metadata": { "type": "object", "description": "Revision of the list, and how to go on with it." },
            "items": { "type": "array", "items": reference(info.name, group, version) },
        },
        "x-kubernetes-group-version-kind": [gvk(&format!("{}List", info.name), group, version)],
    })
}

fn add_paths(info: &KindInfo, group: &str, version: &str, paths: &mut Map<String, Value>) {
    let root = format!("/{}", base(group, version));
    let all = format!("{root}/{}", info.plural);
    let collection = match info.scope {
        Scope::Namespaced => format!("{root}/namespaces/{{namespace}}/{}", info.plural),
        Scope::Cluster => all.clone(),
    };
    let operations = Operations { info, group, version };
    if info.scope == Scope::Namespaced {
        paths.insert(all, json!({ "get": operations.read("list", true) }));
    }
    let item = format!("{collection}/{{name}}");
    if !info.verbs.contains(&"create") {
        paths.insert(collection, json!({ "get": operations.read("list", true) }));
        paths.insert(item, json!({ "get": operations.read("get", false) }));
        return;
    }
    paths.insert(
        collection,
        json!({
            "get": operations.read("list", true),
            "post": operations.write("post", BODIES),
            "delete": operations.read("deletecollection", true),
        }),
    );
    paths.insert(
        item.clone(),
        json!({
            "get": operations.read("get", false),
            "put": operations.write("put", BODIES),
            "patch": operations.write("patch", PATCHES),
            "delete": operations.read("delete", false),
        }),
    );
    if info.status_subresource {
        paths.insert(
            format!("{item}/status"),
            json!({
                "get": operations.read("get", false),
                "put": operations.write("put", BODIES),
                "patch": operations.write("patch", PATCHES),
            }),
        );
    }
}

const BODIES: &[&str] = &["application/json", "application/yaml"];

const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];

/// What can be done at the paths of a kind.
struct Operations<'a> {
    info: &'a KindInfo,
    group: &'a str,
    version: &'a str,
}

impl Operations<'_> {
    fn read(&self, action: &str, list: bool) -> Value {
        let kind = match list {
            true => format!("{}List", self.info.name),
            false => self.info.name.to_owned(),
        };
        let schema = reference(&kind, self.group, self.version);
        json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk(self.info.name, self.group, self.version),
            "responses": { "200": { "description": "OK", "content": {
                "application/json": { "schema": schema },
            } } },
        })
    }

    fn write(&self, action: &str, bodies: &[&str]) -> Value {
        let text = |name: &str, description: &str| {
            json!({
                "name": name,
                "in": "query",
                "description": description,
                "schema": { "type": "string", "uniqueItems": true },
            })
        };
        let mut operation = self.read(action, false);
        operation["parameters"] = json!([
            text("dryRun", "All: everything is checked, nothing is stored."),
            text("fieldManager", "Who writes."),
            text(
                "fieldValidation",
                "What becomes of fields that are unknown or stand twice: Strict refuses them, Warn tells them, \
                 Ignore is silent.",
            ),
        ]);
        let schema = match action {
            "patch" => json!({ "type": "object" }),
            _ => reference(self.info.name, self.group, self.version),
        };
        let content: Map<String, Value> =
            bodies.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
        operation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(to)) = map.get("$ref") {
                        found.push(to.clone());
                    }
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        for document in DOCUMENTS.values() {
            let json: Value = serde_json::from_str(&document.text).expect("JSON");
            let mut found = Vec::new();
            references(&json, &mut found);
            for to in found {
                let pointer = to.strip_prefix('#').expect("a local reference");
                assert!(json.pointer(pointer).is_some(), "{to}");
            }
        }
    }

    #[test]
    fn a_document_is_found_by_its_path_and_kept_by_its_hash() {
        let document = &DOCUMENTS["apis/networking.istio.io/v1"];
        let kept = get("apis/networking.istio.io/v1", Some(&document.hash)).expect("served");
        assert_eq!(kept.headers()[header::CACHE_CONTROL], "public, immutable");
        assert!(get("apis/nope.io/v1", None).is_err());
        assert!(document.text.contains("fieldValidation"));
        assert!(!document.text.contains("strategic-merge-patch"));
    }
}

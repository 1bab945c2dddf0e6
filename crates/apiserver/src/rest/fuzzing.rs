//! Entry points for fuzzing: what a client's bytes meet first. None of them may panic or take long.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use tidegate_api::kinds::split_api_version;
use tidegate_api::{FieldValidation, KINDS, KindInfo, Object, Origin, admit, kube};

use super::ask::Ask;
use super::patch::{json as json_patch, merge, strategic};
use super::query::Query;
use super::selector::LabelSelector;
use super::served::Served;
use super::table::{Include, Tables};
use super::users::User;
use super::{body, managed, negotiate, router};

/// A body in each of its forms. JSON that is read is written, and reads back as the same.
pub fn body(data: &[u8]) {
    for content_type in
        ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
    {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let ask = Ask {
            user: Some(Arc::new(User::admin())),
            method: Method::POST,
            path: "/".into(),
            query: Query::default(),
            headers,
            body: Bytes::copy_from_slice(data),
        };
        if let Ok(written) = body::object(&ask, "Object") {
            let text = written.value.to_string();
            let again: Result<Value, _> = serde_json::from_str(&text);
            assert!(again.is_ok_and(|again| again == written.value), "{text}");
        }
    }
}

/// An object of any kind, from its body to what is stored, what it says and its row in a table. What was admitted is
/// admitted again as it stands, and whatever is refused is refused with a reason.
pub fn object(data: &[u8]) {
    let Ok(parsed) = super::json::parse(data) else { return };
    let text = |field: &str| parsed.value[field].as_str().unwrap_or_default();
    let (group, version) = split_api_version(text("apiVersion"));
    let Some(served) = KINDS
        .iter()
        .find(|info| info.name == text("kind"))
        .and_then(|info| Served::find(group, version, info.plural))
    else {
        return;
    };
    let kind = served.info.kind;
    for policy in [FieldValidation::Strict, FieldValidation::Warn, FieldValidation::Ignore] {
        let mut value = parsed.value.clone();
        if let Err(errors) = admit(kind, served.group, &mut value, policy, None) {
            assert!(errors.iter().all(|error| !error.to_string().is_empty()) && !errors.is_empty());
            continue;
        }
        let mut again = value.clone();
        let admitted = admit(kind, served.group, &mut again, FieldValidation::Strict, None);
        assert!(admitted.is_ok(), "admitted once: {admitted:?}");
        assert_eq!(again, value, "what is stored is what was admitted");
        served.store(&mut value);
        kube::defaults(kind, &mut value);
        let stored = json!(KindInfo::api_version(served.info.group, served.info.versions[0]));
        value["apiVersion"] = stored;
        let examined = Object::examine(kind, served.info.versions[0], &value, Origin::Api);
        assert!(examined.object.is_some() || !examined.errors.is_empty());
        if let Value::Object(value) = value {
            let tables = Tables { include: Include::Object, version: "v1" };
            let _ = tables.single(&served, value, true);
        }
    }
}

/// A patch of each kind on an object; a JSON patch that fails changes nothing.
pub fn patch(data: &[u8]) {
    let Ok(parsed) = super::json::parse(data) else { return };
    let object = json!({
        "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["x"]},
        "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}], "selector": {"a": "b"}},
    });
    let mut target = object.clone();
    merge::apply(&mut target, &parsed.value);
    let mut target = object.clone();
    if json_patch::apply(&mut target, &parsed.value).is_err() {
        assert_eq!(target, object);
    }
    let mut target = object.clone();
    let _ = strategic::apply(&mut target, &parsed.value);
    let fields = managed::Fields::from_json(&parsed.value);
    let _ = fields.paths();
    let mut target = object;
    fields.remove_from(&mut target);
}

/// Text that stands in a request's line and headers: path, query, selectors, `Accept`.
pub fn request_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let _ = router::route(path);
    let query = Query::parse(Some(query));
    let _ = query.get("labelSelector");
    let _ = negotiate::negotiate(Some(&text));
    let _ = negotiate::negotiate_discovery(Some(&text));
    if let Ok(selector) = LabelSelector::parse(&text) {
        let _ = selector.matches(|key| (key == "a").then_some("b"));
    }
    for kind in tidegate_api::Kind::all() {
        let _ = super::selector::FieldSelector::parse(&text, "", kind.info(), "v1");
    }
}

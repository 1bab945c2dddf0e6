//! Objects in such numbers that it shows what each of them costs.

use std::ops::Range;

use serde_json::{Value, json};
use tidegate_api::{Kind, Object, Origin};
use tidegate_apiserver::store::{Draft, Expect, Store};
use tokio::task::JoinSet;

/// Writes at once: they share a transaction.
const TOGETHER: usize = 250;

/// A VirtualService as kubectl and the API make it.
pub fn route(number: usize) -> Value {
    let destination =
        json!({ "host": format!("backend-{number}.example"), "port": { "number": 8080 } });
    let spec = json!({
        "hosts": [format!("host-{number}.example")],
        "gateways": ["front"],
        "http": [
            { "match": [{ "uri": { "prefix": "/api" } }], "timeout": "5s", "route": [{ "destination": destination }] },
            { "route": [{ "destination": destination }] },
        ],
    });
    let applied = json!({ "spec": spec }).to_string();
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {
            "name": format!("route-{number}"), "namespace": "default", "generation": 1,
            "uid": format!("00000000-0000-4000-8000-{number:012}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": applied },
            "labels": { "app": "shop", "team": format!("team-{}", number % 7) },
            "managedFields": [{
                "apiVersion": "networking.istio.io/v1", "fieldsType": "FieldsV1", "manager": "kubectl",
                "operation": "Update", "time": "2026-01-01T00:00:00Z",
                "fieldsV1": {
                    "f:metadata": { "f:labels": { ".": {}, "f:app": {}, "f:team": {} } },
                    "f:spec": { ".": {}, "f:gateways": {}, "f:hosts": {}, "f:http": {} },
                },
            }],
        },
        "spec": spec,
    })
}

/// A VirtualService that may be stored.
pub fn draft(value: Value) -> Draft {
    let decoded = Object::decode(Kind::VirtualService, "v1", &value, Origin::Api).expect("valid");
    let Value::Object(value) = value else { panic!("an object") };
    Draft { key: decoded.object.key.clone(), value, decoded: Ok(decoded.object.into()) }
}

/// Stores the routes of these numbers; answers with the bytes of their JSON.
pub async fn store(store: &Store, numbers: Range<usize>) -> usize {
    let mut json = 0;
    for first in numbers.clone().step_by(TOGETHER) {
        let mut writes = JoinSet::new();
        for number in first..numbers.end.min(first + TOGETHER) {
            let (store, draft) = (store.clone(), draft(route(number)));
            writes.spawn(async move { store.put(draft, Expect::Absent).await });
        }
        let written = writes.join_all().await.into_iter();
        json += written.map(|written| written.expect("stored").size()).sum::<usize>();
    }
    json
}

//! What the store keeps in memory for each object, counted byte by byte.

#![allow(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tidegate_api::{Kind, Object, ObjectKey, Origin};
use tidegate_apiserver::store::{self, Draft, Expect, Store};
use tokio::task::JoinSet;

/// Objects that are stored.
const OBJECTS: usize = 5_000;
/// Writes at once: they share a transaction.
const TOGETHER: usize = 250;
/// Bytes for each byte of an object's JSON.
const MOST: usize = 3;
/// What the file's pages may take, however many objects there are.
const PAGES: usize = 8 << 20;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` was the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn route(number: usize) -> Value {
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
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": json!({ "spec": spec }).to_string() },
            "name": format!("route-{number}"), "namespace": "default", "generation": 1,
            "uid": format!("00000000-0000-4000-8000-{number:012}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
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

fn draft(number: usize) -> Draft {
    let value = route(number);
    let decoded = Object::decode(Kind::VirtualService, "v1", &value, Origin::Api).expect("valid");
    let Value::Object(value) = value else { panic!("an object") };
    let key = ObjectKey::new(Kind::VirtualService, "default", format!("route-{number}"));
    Draft { key, value, decoded: Ok(decoded.object.into()) }
}

#[tokio::test]
async fn an_object_takes_at_most_three_times_its_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), store::Options::default()).expect("a store");
    let before = LIVE.load(Ordering::Relaxed);
    let mut json = 0;
    for first in (0..OBJECTS).step_by(TOGETHER) {
        let mut writes = JoinSet::new();
        for number in first..first + TOGETHER {
            let (store, draft) = (store.clone(), draft(number));
            writes.spawn(
                async move { store.put(draft, Expect::Absent).await.expect("stored").size() },
            );
        }
        json += writes.join_all().await.into_iter().sum::<usize>();
    }
    let taken = LIVE.load(Ordering::Relaxed) - before;
    let each = (taken / OBJECTS, json / OBJECTS);
    assert!(json > 900 * OBJECTS, "objects as people write them: {each:?}");
    assert!(taken <= MOST * json + PAGES, "{each:?} bytes of memory and of JSON for each object");
    println!("{each:?}");
}

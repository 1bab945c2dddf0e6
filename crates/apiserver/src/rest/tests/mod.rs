//! The surface from within: what a request is answered, without connection and TLS.

mod apply;
mod collections;
mod costs;
mod discovery;
mod endpoints;
mod errors;
mod histories;
mod lifecycle;
mod logs;
mod metrics;
mod ownership;
mod patches;
mod races;
mod refusals;
mod scale;
mod users;
mod watches;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_api::kinds::by_api_version;
use tidegate_api::{Object, Origin};
use tokio::sync::watch;

use super::ask::Ask;
use super::query::Query;
use super::reply::Reply;
use super::users::User;
use super::{Api, NoContainers, Shutdown};
use crate::store::{self, Store};

pub(super) const VS: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";
pub(super) const CM: &str = "/api/v1/namespaces/default/configmaps";
pub(super) const SERVICES: &str = "/api/v1/namespaces/default/services";
pub(super) const MERGE: &str = "application/merge-patch+json";

/// Changes that a lab's store remembers.
pub(super) const WINDOW: usize = 12;

pub(super) struct Lab {
    pub api: Api,
    pub store: Store,
    pub stop: watch::Sender<bool>,
    watches: usize,
    dir: TempDir,
}

pub(super) fn lab() -> Lab {
    lab_with(4)
}

/// One with places for that many watches.
pub(super) fn lab_with(watches: usize) -> Lab {
    lab_in(tempfile::tempdir().expect("a directory"), watches)
}

fn lab_in(dir: TempDir, watches: usize) -> Lab {
    let options = store::Options { window_events: WINDOW, ..Default::default() };
    let store = Store::open(dir.path(), options).expect("a store");
    let (stop, shutdown) = Shutdown::new();
    let api = Api::new(store.clone(), Arc::new(NoContainers), watches, shutdown);
    Lab { api, store, stop, watches, dir }
}

/// How histories of writes are drawn: the same every time; another number gives others.
pub(super) fn drawn() -> ProptestConfig {
    ProptestConfig {
        cases: 48,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

/// Plays one of them.
pub(super) fn played(history: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(history);
}

/// A request to be sent.
pub(super) struct Call<'a> {
    lab: &'a Lab,
    ask: Ask,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub json: Value,
    pub text: String,
}

impl Lab {
    /// Stops, and starts again over the same store.
    pub(super) async fn restart(self) -> Self {
        self.stop.send_replace(true);
        self.store.close().await;
        lab_in(self.dir, self.watches)
    }

    pub(super) fn call(&self, method: Method, target: &str) -> Call<'_> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let ask = Ask {
            user: Some(Arc::new(User::admin())),
            method,
            path: path.into(),
            query: Query::parse(query),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        Call { lab: self, ask }
    }

    /// Makes the store forget what has been before.
    pub(super) async fn forget(&self) {
        for n in 0..=WINDOW {
            let patch = json!({ "data": { "n": n.to_string() } });
            if self.patch(&format!("{CM}/forget"), MERGE, patch).await.code == 404 {
                self.post(CM, config_map("forget", &json!({}))).await.expect(201);
            }
        }
    }

    pub(super) async fn get(&self, target: &str) -> Answer {
        self.call(Method::GET, target).send().await
    }

    pub(super) async fn post(&self, target: &str, body: Value) -> Answer {
        self.call(Method::POST, target).json(&body).send().await
    }

    pub(super) async fn put(&self, target: &str, body: Value) -> Answer {
        self.call(Method::PUT, target).json(&body).send().await
    }

    pub(super) async fn patch(&self, target: &str, content_type: &str, body: Value) -> Answer {
        let call = self.call(Method::PATCH, target).json(&body);
        call.header(header::CONTENT_TYPE, content_type).send().await
    }

    pub(super) async fn delete(&self, target: &str) -> Answer {
        self.call(Method::DELETE, target).send().await
    }
}

impl Call<'_> {
    /// As somebody else than the kubeconfig's user.
    pub(super) fn by(mut self, user: &User) -> Self {
        self.ask.user = Some(Arc::new(user.clone()));
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.ask.body = body.into();
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header");
        self.ask.headers.insert(name, value);
        self
    }

    pub(super) async fn reply(self) -> Reply {
        self.lab.api.answer(&self.ask).await
    }

    pub(super) async fn send(self) -> Answer {
        let (parts, body) = self.reply().await.into_parts();
        let bytes = body.collect().await.expect("no error").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }
}

impl Answer {
    #[track_caller]
    pub(super) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.json
    }

    /// Checks code, reason and message of a refusal.
    #[track_caller]
    pub(super) fn refused(&self, code: u16, reason: &str, message: &str) {
        let got = self.json["reason"].as_str().unwrap_or_default();
        assert_eq!((self.code, got), (code, reason), "{}", self.text);
        assert_eq!(self.json["message"], message);
        assert_eq!(self.json["kind"], "Status");
        assert_eq!(self.json["code"], code);
    }

    pub(super) fn warnings(&self) -> Vec<&str> {
        let values = self.headers.get_all(header::WARNING).iter();
        values.filter_map(|value| value.to_str().ok()).collect()
    }

    #[track_caller]
    pub(super) fn names(&self) -> Vec<&str> {
        let items = self.json["items"].as_array().expect("a list");
        items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
    }
}

pub(super) fn virtual_service(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "name": name },
        "spec": { "hosts": [host], "http": [{ "route": [{ "destination": { "host": "h" } }] }] },
    })
}

pub(super) fn config_map(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": labels },
        "data": { "a": "1" },
    })
}

/// An object of the core group that is pushed in from outside the API.
pub(super) fn pushed(object: &Value, origin: Origin) -> store::Push {
    let kind = object["kind"].as_str().and_then(|kind| by_api_version("v1", kind));
    let decoded = Object::decode(kind.expect("a known kind").kind, "v1", object, origin);
    store::Push::Put {
        object: decoded.expect("valid").object.into(),
        manifest: object.as_object().expect("an object").clone(),
    }
}

//! Many writers of one object.

use super::*;

const APPLY: &str = "application/apply-patch+yaml";
/// Enough that one who has to win a race against the others would not, in any reasonable number of tries.
const WRITERS: usize = 120;

/// Sends a request of each number at once; the codes of the answers.
async fn at_once(
    lab: Lab,
    request: impl Fn(usize) -> (Method, &'static str, Value),
) -> (Lab, Vec<u16>) {
    let lab = Arc::new(lab);
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (lab, (method, content_type, body)) = (Arc::clone(&lab), request(n));
            tokio::spawn(async move {
                let call = lab.call(method, &format!("{CM}/c?fieldManager=m{n}")).json(&body);
                call.header(header::CONTENT_TYPE, content_type).send().await.code
            })
        })
        .collect();
    let mut codes = Vec::new();
    for writer in writers {
        codes.push(writer.await.expect("no panic"));
    }
    (Arc::into_inner(lab).expect("every writer is done"), codes)
}

fn object() -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": {} })
}

fn data(n: usize) -> Value {
    json!({ format!("k{n}"): "v" })
}

#[tokio::test]
async fn writes_without_a_precondition_all_succeed_however_many_there_are() {
    let lab = lab();
    lab.post(CM, object()).await.expect(201);
    let (lab, codes) = at_once(lab, |n| match n % 3 {
        0 => (Method::PATCH, MERGE, json!({ "data": data(n) })),
        1 => {
            let add = json!([{ "op": "add", "path": format!("/data/k{n}"), "value": "v" }]);
            (Method::PATCH, "application/json-patch+json", add)
        }
        _ => {
            let mut wanted = object();
            wanted["data"] = data(n);
            (Method::PATCH, APPLY, wanted)
        }
    })
    .await;
    assert_eq!(codes, [200; WRITERS]);
    let object = lab.get(&format!("{CM}/c")).await.expect(200);
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(WRITERS), "{object}");
}

#[tokio::test]
async fn replacements_without_a_revision_all_succeed() {
    let lab = lab();
    lab.post(CM, object()).await.expect(201);
    let (lab, codes) = at_once(lab, |n| {
        let mut body = object();
        body["data"] = data(n);
        (Method::PUT, "application/json", body)
    })
    .await;
    assert_eq!(codes, [200; WRITERS]);
    let object = lab.get(&format!("{CM}/c")).await.expect(200);
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(1), "the last one's");
}

#[tokio::test]
async fn of_applies_that_create_one_does_and_the_others_follow() {
    let (lab, mut codes) = at_once(lab(), |n| {
        let mut wanted = object();
        wanted["data"] = data(n);
        (Method::PATCH, APPLY, wanted)
    })
    .await;
    codes.sort_unstable();
    assert_eq!(
        (codes[0], &codes[1..WRITERS - 1], codes[WRITERS - 1]),
        (200, &[200; WRITERS - 2][..], 201)
    );
    let object = lab.get(&format!("{CM}/c")).await.expect(200);
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(WRITERS));
}

/// Requests take their turns in the order in which their tasks were made: the first is a patch, no delete.
#[tokio::test]
async fn of_writes_onto_one_revision_one_succeeds() {
    let lab = lab();
    let created = lab.post(CM, object()).await.expect(201);
    let revision = created["metadata"]["resourceVersion"].clone();
    let (lab, codes) = at_once(lab, |n| {
        let mut body = object();
        body["metadata"]["resourceVersion"] = revision.clone();
        body["data"] = data(n);
        match n % 4 {
            0 => (Method::PATCH, MERGE, body),
            1 => (Method::PUT, "application/json", body),
            2 => (Method::PATCH, APPLY, body),
            _ => {
                let options = json!({ "preconditions": { "resourceVersion": revision } });
                (Method::DELETE, "application/json", options)
            }
        }
    })
    .await;
    let code = |wanted: u16| codes.iter().filter(|code| **code == wanted).count();
    assert_eq!((code(200), code(409)), (1, WRITERS - 1), "{codes:?}");
    let object = lab.get(&format!("{CM}/c")).await.expect(200);
    assert_ne!(object["metadata"]["resourceVersion"], revision);
}

#[tokio::test]
async fn of_deletes_one_finds_the_object() {
    let lab = lab();
    lab.post(CM, object()).await.expect(201);
    let (_, codes) = at_once(lab, |_| (Method::DELETE, "application/json", json!({}))).await;
    let code = |wanted: u16| codes.iter().filter(|code| **code == wanted).count();
    assert_eq!((code(200), code(404)), (1, WRITERS - 1), "{codes:?}");
}

/// Lets everything else that can go on do so.
async fn others_go_on() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_write_reads_the_object_when_its_turn_has_come() {
    let lab = Arc::new(lab());
    lab.post(CM, object()).await.expect(201);
    let entry = |lab: &Lab| {
        let (kind, name) = (tidegate_api::Kind::ConfigMap, "c");
        lab.store.get(&tidegate_api::ObjectKey::new(kind, "default", name)).expect("the object")
    };
    let key = entry(&lab).key().clone();
    let turn = lab.api.turns.wait(&key).await;
    let (waiting, patch) = (Arc::clone(&lab), json!({ "data": data(1) }));
    let waiting =
        tokio::spawn(async move { waiting.patch(&format!("{CM}/c"), MERGE, patch).await });
    others_go_on().await;
    let before = entry(&lab);
    let mut value = before.manifest("v1");
    value.insert("data".into(), data(0));
    let draft = store::Draft { key, value, decoded: before.decoded() };
    let expect = store::Expect::Revision(before.revision());
    let first = lab.store.put(draft, expect).await.expect("nobody else writes");
    others_go_on().await;
    assert!(!waiting.is_finished());
    assert_eq!(entry(&lab).revision(), first.revision());

    drop(turn);
    let patched = waiting.await.expect("no panic").expect(200);
    assert_eq!(patched["data"], json!({ "k0": "v", "k1": "v" }));
}

//! Watches: what is told, in which order, and how they end.

use std::time::Duration;

use super::*;
use crate::rest::reply::ReplyBody;

/// Longer than any pause between two events, also where a test's clock runs ahead.
const PATIENCE: Duration = Duration::from_secs(120);

/// A watch's answer, read line by line.
pub(super) struct Lines {
    body: ReplyBody,
    rest: Vec<u8>,
}

pub(super) async fn open(lab: &Lab, target: &str, accept: &str) -> Lines {
    let reply = lab.call(Method::GET, target).header(header::ACCEPT, accept).reply().await;
    assert_eq!(reply.status(), 200);
    Lines { body: reply.into_body(), rest: Vec::new() }
}

impl Lines {
    /// The next event; none at the end.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("JSON"));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            match frame.expect("something happens") {
                Some(frame) => {
                    self.rest.extend(frame.expect("no error").into_data().expect("data"));
                }
                None => return None,
            }
        }
    }

    /// Type, name and revision of the next event.
    async fn told(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        (event["type"].as_str().expect("a type").to_owned(), name.to_owned())
    }
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there() {
    let lab = lab();
    lab.post(CM, config_map("b", &json!({}))).await.expect(201);
    lab.post(CM, config_map("a", &json!({}))).await.expect(201);
    for query in ["watch=true", "watch=true&resourceVersion=0", "watch=1"] {
        let mut lines = open(&lab, &format!("{CM}?{query}"), "*/*").await;
        assert_eq!(lines.told().await, event("ADDED", "a"));
        assert_eq!(lines.told().await, event("ADDED", "b"));
    }
    let old_path = CM.replace("/v1/", "/v1/watch/");
    let mut lines = open(&lab, &format!("{old_path}?timeoutSeconds=1"), "*/*").await;
    assert_eq!(lines.told().await, event("ADDED", "a"));
    assert_eq!(lines.told().await, event("ADDED", "b"));
    assert_eq!(lines.next().await, None, "ended by its timeout");
}

#[tokio::test]
async fn objects_enter_and_leave_a_selector() {
    let lab = lab();
    let from = lab.store.revision();
    let target = format!("{CM}?watch=true&resourceVersion={from}&labelSelector=in=yes");
    let mut lines = open(&lab, &target, "*/*").await;
    let item = format!("{CM}/a");
    lab.post(CM, config_map("a", &json!({ "in": "yes" }))).await.expect(201);
    let label = |value: Value| json!({ "metadata": { "labels": { "in": value, "x": "y" } } });
    lab.patch(&item, MERGE, label("yes".into())).await.expect(200);
    lab.patch(&item, MERGE, label(Value::Null)).await.expect(200);
    let left = lab.store.revision();
    lab.patch(&item, MERGE, label("yes".into())).await.expect(200);
    lab.delete(&item).await.expect(200);
    for kind in ["ADDED", "MODIFIED"] {
        assert_eq!(lines.told().await, event(kind, "a"));
    }
    let leaving = lines.next().await.expect("an event");
    assert_eq!(leaving["type"], "DELETED");
    assert_eq!(leaving["object"]["metadata"]["resourceVersion"], left.to_string());
    assert_eq!(leaving["object"]["metadata"]["labels"]["in"], "yes", "as it was last seen");
    assert_eq!(lines.told().await, event("ADDED", "a"));
    let gone = lines.next().await.expect("an event");
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], lab.store.revision().to_string());
}

#[tokio::test]
async fn a_list_as_a_watch_says_where_it_ends() {
    let lab = lab();
    lab.post(CM, config_map("a", &json!({}))).await.expect(201);
    let target = format!(
        "{CM}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion="
    );
    let mut lines = open(&lab, &target, "*/*").await;
    assert_eq!(lines.told().await, event("ADDED", "a"));
    let mark = lines.next().await.expect("a mark");
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["kind"], "ConfigMap");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    lab.post(CM, config_map("b", &json!({}))).await.expect(201);
    assert_eq!(lines.told().await, event("ADDED", "b"));
    for query in
        ["sendInitialEvents=true&allowWatchBookmarks=true", "resourceVersionMatch=NotOlderThan"]
    {
        assert_eq!(lab.get(&format!("{CM}?watch=true&{query}")).await.code, 422, "{query}");
    }
}

/// The mark is for who asks for bookmarks: in words, or by a watch from the beginning.
#[tokio::test]
async fn where_the_end_of_what_there_is_is_marked() {
    let lab = lab();
    lab.post(CM, config_map("a", &json!({}))).await.expect(201);
    let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    for (n, (query, marked)) in [
        ("allowWatchBookmarks=true", true),
        ("allowWatchBookmarks=true&resourceVersion=0", false),
        ("timeoutSeconds=60", false),
        (initial, false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut lines = open(&lab, &format!("{CM}?watch=true&{query}"), "*/*").await;
        for already in std::iter::once("a".to_owned()).chain((0..n).map(|n| format!("b{n}"))) {
            assert_eq!(lines.told().await, event("ADDED", &already), "{query}");
        }
        if marked {
            let mark = lines.next().await.expect("a mark");
            let annotations = &mark["object"]["metadata"]["annotations"];
            assert_eq!(annotations["k8s.io/initial-events-end"], "true", "{query}");
        }
        let next = format!("b{n}");
        lab.post(CM, config_map(&next, &json!({}))).await.expect(201);
        assert_eq!(lines.told().await, event("ADDED", &next), "{query}: and then what comes");
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_by_the_minute_and_before_the_end() {
    let lab = lab();
    let from = lab.store.revision();
    let target = format!(
        "{CM}?watch=true&resourceVersion={from}&allowWatchBookmarks=true&timeoutSeconds=90"
    );
    let start = tokio::time::Instant::now();
    let mut lines = open(&lab, &target, "*/*").await;
    for at in [60, 88] {
        let mark = lines.next().await.expect("a bookmark");
        assert_eq!(mark["type"], "BOOKMARK");
        assert_eq!(mark["object"]["metadata"]["resourceVersion"], from.to_string());
        assert_eq!(start.elapsed().as_secs(), at);
    }
    assert_eq!(lines.next().await, None);
    assert_eq!(start.elapsed(), Duration::from_secs(90));
}

/// By a clock that has moved on when the last one is told, as every real one has.
#[tokio::test]
async fn the_last_bookmark_is_told_once() {
    let lab = lab();
    let query = format!("resourceVersion={}&allowWatchBookmarks=true", lab.store.revision());
    for (seconds, marks) in [(3, 1), (1, 0)] {
        let target = format!("{CM}?watch=true&{query}&timeoutSeconds={seconds}");
        let answer = lab.get(&target).await;
        assert_eq!(answer.text.lines().count(), marks, "{seconds} s: {}", answer.text);
        assert_eq!(answer.text.matches("BOOKMARK").count(), marks);
    }
}

#[tokio::test]
async fn a_watch_from_too_far_back_is_told_to_start_over() {
    let lab = lab();
    lab.forget().await;
    let mut lines = open(&lab, &format!("{CM}?watch=true&resourceVersion=1"), "*/*").await;
    let error = lines.next().await.expect("an error");
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert_eq!(lines.next().await, None);
    let bad = lab.get(&format!("{CM}?watch=true&resourceVersion=abc")).await;
    assert_eq!(bad.code, 500);
}

/// A client that comes from another server's past knows revisions that are still to come here.
#[tokio::test]
async fn a_watch_from_the_future_waits_in_silence_and_a_list_from_there_is_refused() {
    let lab = lab();
    let made = lab.post(CM, config_map("a", &json!({}))).await.expect(201);
    let last: u64 =
        made["metadata"]["resourceVersion"].as_str().expect("text").parse().expect("u64");
    let query = format!("{CM}?watch=true&resourceVersion={}", last + 1);
    let mut lines = open(&lab, &query, "*/*").await;
    lab.post(CM, config_map("b", &json!({}))).await.expect(201);
    lab.post(CM, config_map("c", &json!({}))).await.expect(201);
    assert_eq!(
        lines.told().await,
        event("ADDED", "c"),
        "what comes up to that revision is not told"
    );
    let initial = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    for query in [
        format!("{initial}&allowWatchBookmarks=true&resourceVersion=999"),
        "resourceVersion=999".to_owned(),
    ] {
        let refused = lab.get(&format!("{CM}?{query}")).await;
        let refused = refused.expect(504);
        assert_eq!(refused["reason"], "Timeout", "{query}");
        assert_eq!(refused["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{query}");
    }
}

#[tokio::test]
async fn tables_describe_their_columns_once() {
    let lab = lab();
    lab.post(CM, config_map("a", &json!({}))).await.expect(201);
    lab.post(CM, config_map("b", &json!({}))).await.expect(201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut lines = open(&lab, &format!("{CM}?watch=true"), accept).await;
    let first = lines.next().await.expect("an event");
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert!(first["object"]["columnDefinitions"].is_array());
    let second = lines.next().await.expect("an event");
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
    assert!(second["object"]["columnDefinitions"].is_null());
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut lines = open(&lab, &format!("{CM}?watch=true"), partial).await;
    let first = lines.next().await.expect("an event");
    assert_eq!(first["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn watches_are_counted_and_end_with_the_server() {
    let lab = lab();
    let target = format!("{CM}?watch=true&resourceVersion={}", lab.store.revision());
    let mut open_ones = Vec::new();
    for _ in 0..4 {
        open_ones.push(open(&lab, &target, "*/*").await);
    }
    let refused = lab.get(&target).await;
    assert_eq!((refused.code, &refused.json["reason"]), (429, &json!("TooManyRequests")));
    // A watch whose client has gone gives its place back.
    drop(open_ones.pop());
    let places = Arc::clone(&lab.api.watches);
    let place = places.acquire().await.expect("a place");
    drop(place);
    lab.stop.send_replace(true);
    for mut lines in open_ones {
        assert_eq!(lines.next().await, None);
    }
}

#[tokio::test]
async fn no_time_is_too_long() {
    let lab = lab();
    open(&lab, &format!("{CM}?watch=1&timeoutSeconds={}", u64::MAX), "*/*").await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_keeps_its_place_no_longer_than_it_asked_for() {
    let lab = lab();
    for n in 0..2 * crate::rest::reply::PIECES_AHEAD {
        lab.post(CM, config_map(&format!("c{n}"), &json!({}))).await.expect(201);
    }
    let _unread = open(&lab, &format!("{CM}?watch=1&timeoutSeconds=1"), "*/*").await;
    assert_eq!(lab.api.watches.available_permits(), 3);
    let all = tokio::time::timeout(PATIENCE, lab.api.watches.acquire_many(4)).await;
    assert!(all.is_ok_and(|all| all.is_ok()));
}

#[tokio::test]
async fn five_hundred_watches_share_what_they_are_told() {
    const WATCHES: usize = 500;
    let lab = lab_with(WATCHES);
    let mut bodies = Vec::new();
    for number in 0..WATCHES {
        let path = if number % 2 == 0 { CM } else { "/api/v1/configmaps" };
        let target = format!("{path}?watch=true&resourceVersion={}", lab.store.revision());
        bodies.push(lab.call(Method::GET, &target).reply().await.into_body());
    }
    let item = format!("{CM}/a");
    lab.post(CM, config_map("a", &json!({}))).await.expect(201);
    lab.patch(&item, MERGE, json!({ "data": { "a": "2" } })).await.expect(200);
    lab.delete(&item).await.expect(200);
    for word in ["ADDED", "MODIFIED", "DELETED"] {
        let mut made = std::collections::BTreeSet::new();
        for body in &mut bodies {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("it is told");
            let line = frame.expect("a line").expect("no error").into_data().expect("data");
            assert!(line.starts_with(format!("{{\"type\":\"{word}\"").as_bytes()), "{line:?}");
            made.insert(line.as_ptr() as usize);
        }
        assert_eq!(made.len(), 1, "{word}: made for each anew");
    }
}

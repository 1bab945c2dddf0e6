//! Servers that answer what no healthy one does.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

const EMPTY: &str = r#"{"kind":"List","metadata":{"resourceVersion":"5"},"items":[]}"#;

const GATEWAY: &str = r#"{"metadata":{"name":"a","namespace":"default","uid":"1","resourceVersion":"4"},
    "spec":{"selector":{"istio":"x"},"servers":[{"port":{"number":80,"name":"http","protocol":"HTTP"},"hosts":["*"]}]}}"#;

const NO_STREAMS: &str = r#"{"kind":"Status","status":"Failure","code":422,"reason":"Invalid",
    "message":"sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"}"#;

/// What a server answers about Gateways: a status, and a body.
type Answer = (u16, String);

/// A server of plain HTTP that has nothing but Gateways, and of those what the test says, for lists and for watches.
#[derive(Clone, Default)]
struct Script {
    /// Answers, in order; the last one stays.
    lists: Arc<Mutex<VecDeque<Answer>>>,
    watches: Arc<Mutex<VecDeque<Answer>>>,
    /// Answers to watches that are to begin with what there is; refused where there are none.
    streams: Arc<Mutex<VecDeque<Answer>>>,
    /// Whether watches that tell something end then, in order.
    ending: bool,
    /// What was asked about Gateways.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    async fn serve(self) -> (Self, Cluster, NamedTempFile) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script.clone().answer(stream));
            }
        });
        let (file, access) = access(address);
        (self, Cluster::follow(access, &Options::default()), file)
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).expect("a path");
        let watch = path.contains("watch=");
        let all = path.contains("sendInitialEvents=");
        let (status, body) = match path.contains("/gateways") {
            true => {
                self.asked.lock().expect("whole").push(path.to_owned());
                let answers = match (watch, all) {
                    (true, true) => &self.streams,
                    (true, false) => &self.watches,
                    (false, _) => &self.lists,
                };
                let mut answers = answers.lock().expect("whole");
                match answers.len() {
                    0 if all => (422, NO_STREAMS.to_owned()),
                    0 => (200, String::new()),
                    1 => answers[0].clone(),
                    _ => answers.pop_front().expect("one"),
                }
            }
            false if all => (422, NO_STREAMS.to_owned()),
            false if watch => (200, String::new()),
            false => (200, EMPTY.to_owned()),
        };
        let length = match watch && status == 200 {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", body.len()),
        };
        let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{length}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        if watch && status == 200 {
            let chunk = format!("{:x}\r\n{body}\r\n", body.len());
            if !body.is_empty() {
                let _ = stream.write_all(chunk.as_bytes()).await;
                if self.ending {
                    let _ = stream.write_all(b"0\r\n\r\n").await;
                    return;
                }
            }
            // A watch stays open until somebody ends it.
            let _ = stream.read_u8().await;
        } else {
            let _ = stream.write_all(body.as_bytes()).await;
        }
    }

    fn lists(self, answers: &[(u16, &str)]) -> Self {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned()));
        self.lists.lock().expect("whole").extend(answers);
        self
    }

    fn streams(self, answers: &[(u16, &str)]) -> Self {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned()));
        self.streams.lock().expect("whole").extend(answers);
        self
    }

    fn watches(self, answers: &[(u16, &str)]) -> Self {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned()));
        self.watches.lock().expect("whole").extend(answers);
        self
    }

    fn ending(mut self) -> Self {
        self.ending = true;
        self
    }

    fn asked(&self, part: &str) -> usize {
        self.asked.lock().expect("whole").iter().filter(|path| path.contains(part)).count()
    }
}

fn access(server: SocketAddr) -> (NamedTempFile, Access) {
    let mut file = NamedTempFile::new().expect("a file");
    let kubeconfig = format!(
        "{{clusters: [{{name: a, cluster: {{server: 'http://{server}'}}}}], \
         contexts: [{{name: a, context: {{cluster: a}}}}], current-context: a}}"
    );
    file.write_all(kubeconfig.as_bytes()).expect("written");
    let access = Access::find(Some(file.path()), None, None).expect("an access");
    (file, access)
}

async fn told(cluster: &mut Cluster) -> String {
    match timeout(PATIENCE, cluster.next()).await.expect("in time") {
        Change::Apply(object) => format!("+{}", object.name()),
        Change::Delete(key) => format!("-{}", key.name),
        Change::Invalid { key, .. } => format!("!{}", key.name),
        Change::Synced => "synced".to_owned(),
    }
}

async fn health(cluster: &Cluster, wanted: impl Fn(&Health) -> bool) {
    let mut health = cluster.health();
    timeout(PATIENCE, health.wait_for(|now| wanted(now))).await.expect("in time").expect("it runs");
}

fn list_of(item: &str) -> String {
    EMPTY.replace("[]", &format!("[{item}]"))
}

#[tokio::test]
async fn a_kind_that_is_not_served_is_none_until_it_is() {
    let list = list_of(GATEWAY);
    let missing = (404, "404 page not found");
    // Neither in v1 nor in v1beta1 nor in v1alpha3; then in v1beta1.
    let script = Script::default().lists(&[missing, missing, missing, missing, (200, &list)]);
    let (script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "synced");
    health(&cluster, |now| *now == Health::Connected).await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(script.asked("/v1beta1/gateways?&limit"), 2);
}

#[tokio::test]
async fn a_kind_that_is_not_served_any_more_keeps_what_it_had() {
    let (list, missing) = (list_of(GATEWAY), (404, "404 page not found"));
    let script = Script::default().lists(&[(200, &list), missing]).watches(&[missing]);
    let (script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(told(&mut cluster).await, "synced");
    while script.asked("/v1alpha3/") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(cluster.try_next().is_none());
}

#[tokio::test]
async fn a_history_that_has_expired_is_listed_again_however_that_is_said() {
    let gone =
        r#"{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}"#;
    let event = format!("{{\"type\":\"ERROR\",\"object\":{gone}}}\n");
    let list = list_of(GATEWAY);
    let script = Script::default().lists(&[(200, &list), (200, &list), (200, EMPTY)]).watches(&[
        (410, gone),
        (200, &event),
        (200, ""),
    ]);
    let (script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(told(&mut cluster).await, "synced");
    assert_eq!(told(&mut cluster).await, "-a");
    assert_eq!(script.asked("limit="), 3, "lists");
}

#[tokio::test]
async fn who_may_not_read_a_kind_is_told_and_nothing_is_served_half() {
    let forbidden = r#"{"kind":"Status","status":"Failure","code":403,"reason":"Forbidden",
        "message":"gateways is forbidden: User \"x\" cannot list resource \"gateways\""}"#;
    let script = Script::default().lists(&[(403, forbidden), (403, forbidden), (200, EMPTY)]);
    let (_script, mut cluster, _file) = script.serve().await;
    let lacks = |now: &Health| matches!(now, Health::Lost { why, refused: true, .. } if why.contains("cannot list") && why.contains("right to list"));
    health(&cluster, lacks).await;
    assert!(cluster.try_next().is_none());
    assert_eq!(told(&mut cluster).await, "synced");
    health(&cluster, |now| *now == Health::Connected).await;
}

#[tokio::test]
async fn strange_items_take_nobody_else_along() {
    let strange = r#"{"metadata":"none"},{"metadata":{"name":7}},{}"#;
    let list = list_of(&format!("{strange},{GATEWAY}"));
    let script = Script::default().lists(&[(200, &list)]);
    let (_script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(told(&mut cluster).await, "synced");
}

fn event(word: &str, object: &str) -> String {
    format!("{{\"type\":\"{word}\",\"object\":{}}}\n", object.replace('\n', " "))
}

const END: &str = r#"{"kind":"Gateway","apiVersion":"networking.istio.io/v1","metadata":{"resourceVersion":"5",
    "annotations":{"k8s.io/initial-events-end":"true"}}}"#;

#[tokio::test]
async fn what_there_is_is_read_as_the_beginning_of_a_watch() {
    let other = GATEWAY.replace("\"a\"", "\"b\"");
    let begun = format!("{}{}", event("ADDED", GATEWAY), event("BOOKMARK", END));
    let deleted = event("DELETED", GATEWAY);
    let script = Script::default();
    let script = script.streams(&[(200, &begun)]).watches(&[
        (200, &event("ADDED", &other)),
        (200, &deleted),
        (200, ""),
    ]);
    let (script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(told(&mut cluster).await, "synced");
    assert_eq!(told(&mut cluster).await, "+b");
    assert_eq!((script.asked("sendInitialEvents=true"), script.asked("limit=")), (1, 0));
    assert!(script.asked("resourceVersion=5") > 0, "it goes on from there");
}

/// What there is is not read again for that; only how far the server is may be asked, of which one object tells.
#[tokio::test]
async fn a_watch_that_ends_is_followed_by_one_from_where_it_was() {
    let other = GATEWAY.replace("\"a\"", "\"b\"").replace("\"4\"", "\"7\"");
    let bookmark = r#"{"kind":"Gateway","apiVersion":"networking.istio.io/v1","metadata":{"resourceVersion":"9"}}"#;
    let (list, later) = (list_of(GATEWAY), EMPTY.replace("\"5\"", "\"9\""));
    let script = Script::default().lists(&[(200, &list), (200, &later)]).ending().watches(&[
        (200, &event("ADDED", &other)),
        (200, &event("BOOKMARK", bookmark)),
        (200, ""),
    ]);
    let (script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(told(&mut cluster).await, "synced");
    assert_eq!(told(&mut cluster).await, "+b");
    let from = |revision: &str| script.asked(&format!("&resourceVersion={revision}"));
    let third = async {
        while from("9") == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, third).await.expect("a third watch");
    assert_eq!((from("5"), from("7"), script.asked("limit=500")), (1, 1, 1));
    assert!(cluster.try_next().is_none());
}

#[tokio::test]
async fn what_a_stream_of_all_lacks_is_gone() {
    let expired =
        r#"{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}"#;
    let end = event("BOOKMARK", END);
    let begun = format!("{}{end}", event("ADDED", GATEWAY));
    let script = Script::default();
    let script =
        script.streams(&[(200, &begun), (200, &end)]).watches(&[(410, expired), (200, "")]);
    let (_script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(told(&mut cluster).await, "synced");
    assert_eq!(told(&mut cluster).await, "-a");
}

#[tokio::test]
async fn an_object_that_is_too_long_for_a_watch_takes_nobody_else_along() {
    let long = format!("{{\"type\":\"MODIFIED\",\"object\":\"{}\"}}\n", "x".repeat(9 << 20));
    let other = GATEWAY.replace("\"a\"", "\"b\"");
    let (first, then) = (list_of(GATEWAY), list_of(&format!("{GATEWAY},{other}")));
    // However often it is watched, that line comes first.
    for streams in [&[][..], &[(200, &*long)]] {
        let script = Script::default().streams(streams).watches(&[(200, &long)]);
        let script = script.lists(&[(200, &first), (200, &then)]);
        let (_script, mut cluster, _file) = script.serve().await;
        assert_eq!(told(&mut cluster).await, "+a");
        assert_eq!(told(&mut cluster).await, "synced");
        assert_eq!(told(&mut cluster).await, "+b");
        let told = |now: &Health| matches!(now, Health::Lost { why, .. } if why.contains("a line of more than 8 MiB"));
        health(&cluster, told).await;
    }
}

#[tokio::test]
async fn an_event_of_a_type_that_nobody_knows_is_passed_over() {
    let list = list_of(GATEWAY);
    let [other, later] = [("b", "7"), ("c", "9")].map(|(name, version)| {
        GATEWAY.replace("\"a\"", &format!("{name:?}")).replace("\"4\"", &format!("{version:?}"))
    });
    let events = [event("FUTURE", &other), event("ADDED", &later)].concat();
    let script = Script::default().lists(&[(200, &list)]).watches(&[(200, &events)]);
    let (_script, mut cluster, _file) = script.serve().await;
    assert_eq!(told(&mut cluster).await, "+a");
    assert_eq!(told(&mut cluster).await, "synced");
    assert_eq!(told(&mut cluster).await, "+c");
}

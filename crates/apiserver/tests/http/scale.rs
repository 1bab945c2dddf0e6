//! What much costs: bounds that do not depend on how fast a machine is.

use std::time::Instant;

use serde_json::Value;
use tidegate_api::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const OBJECTS: usize = 10_000;
/// How much longer a list may take than writing down what is in it.
const MOST: u32 = 3;
/// The best of so many counts: what else a machine does only adds to it.
const TRIES: usize = 5;

/// Asks for the whole list over TLS, and reads it to the end: its bytes.
async fn list(running: &Running, token: &str) -> usize {
    let mut stream = running.connect(&["http/1.1"]).await;
    let head = format!(
        "GET /apis/networking.istio.io/v1/virtualservices HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    answer.len()
}

#[tokio::test]
async fn a_list_costs_little_more_than_writing_down_what_is_in_it() {
    let running = start().await;
    let token = running.token();
    many::store(&running.store, 0..OBJECTS).await;
    let entries = running.store.list(Kind::VirtualService, None).entries;
    let values: Vec<Value> = entries.iter().map(|entry| entry.json()).collect();
    let (mut listed, mut written) = (Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        let begin = Instant::now();
        let text = serde_json::to_vec(&values).expect("JSON");
        written = written.min(begin.elapsed());
        let begin = Instant::now();
        let bytes = list(&running, &token).await;
        listed = listed.min(begin.elapsed());
        assert!(bytes > text.len(), "all of it");
    }
    assert!(listed <= MOST * written, "{listed:?} to list what is written down in {written:?}");
}

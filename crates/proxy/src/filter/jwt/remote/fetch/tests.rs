//! What an issuer may send, on the wire.

use tidegate_testing::PATIENCE;
use tidegate_testing::jwt::Signer;
use tidegate_testing::origin::{Origin as Issuer, Script};

use super::super::PAUSE;
use super::*;
use crate::upstream::EndpointSet;
use crate::upstream::cluster::{Balancing, Endpoint};
use crate::upstream::outlier::tests::cluster;

/// Fetches keys from an issuer, through a cluster without TLS.
async fn fetched(issuer: &Issuer, uri: &str) -> Result<KeySet, String> {
    let endpoint = Arc::new(Endpoint::new(issuer.address(), None, 1));
    let cluster = cluster(None, 0, Balancing::RoundRobin, EndpointSet::new(vec![endpoint]));
    let slot = ClusterSlot::empty(0, "issuer".into());
    slot.store(Some(Arc::new(cluster)));
    let origin = Origin {
        uri: uri.parse().expect("a URI"),
        cluster: "issuer".into(),
        timeout: PATIENCE,
        keep: PATIENCE,
        unasked: None,
        retries: Retries { most: 0, pause: PAUSE, longest_pause: PAUSE },
    };
    let fetched = timeout(PATIENCE, fetch(origin, Arc::new(slot))).await.expect("in time");
    fetched.map_err(|fault| fault.to_string())
}

/// What comes of an answer after which the issuer says nothing more and stays.
async fn answered(answer: Vec<u8>) -> Result<KeySet, String> {
    let issuer = Issuer::start().script(Script::new().read_head().send(answer).read_to_end()).await;
    fetched(&issuer, "http://issuer/keys").await
}

/// A set of keys of so many bytes.
fn keys(size: usize) -> Vec<u8> {
    let mut keys = Signer::new("HS256").set().into_bytes();
    keys.resize(size, b' ');
    keys
}

fn sized(content: &[u8], length: usize) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(), content].concat()
}

/// In chunks, and with an end if there is to be one.
fn chunked(content: &[u8], end: bool) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in content.chunks(60_000) {
        answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(if end { b"0\r\n\r\n" } else { b"" });
    answer
}

#[tokio::test]
async fn no_more_than_a_mebibyte_is_read() {
    assert!(answered(sized(&keys(MAX_SET), MAX_SET)).await.is_ok());
    assert!(answered(chunked(&keys(MAX_SET), true)).await.is_ok());
    let too_long = format!("it sends more than {MAX_SET} bytes");
    // What is said is enough, and what has come, whatever may follow.
    for answer in [sized(b"", MAX_SET + 1), chunked(&keys(MAX_SET + 1), false)] {
        let fault = answered(answer).await.expect_err("it is too long");
        assert!(fault.ends_with(&too_long), "{fault}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_read_on() {
    let head = |lines: usize| {
        let line = format!("x: {}\r\n", "y".repeat(1000 - 5));
        let keys = keys(1000);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{}\r\n", line.repeat(lines));
        [head.as_bytes(), &keys].concat()
    };
    assert!(answered(head(60)).await.is_ok());
    let fault = answered(head(200)).await.expect_err("it is too long");
    assert!(fault.contains("head is too large"), "{fault}");
    // Nor one that does not end.
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'y'; MAX_HEAD]].concat();
    assert!(answered(endless).await.is_err());
}

#[tokio::test]
async fn what_is_to_come_over_tls_is_not_asked_for_without() {
    let issuer = Issuer::start().script(Script::new()).await;
    let fault = fetched(&issuer, "https://issuer/keys").await.expect_err("there is no TLS");
    assert!(fault.contains("the cluster has no TLS"), "{fault}");
    assert_eq!(issuer.connections(), 0);
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::tls::client_hello::fixtures::{self, Builder};

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

fn bytes(inspected: &Inspected) -> &[u8] {
    inspected.bytes.as_ref().map_or(&[], Buffer::filled)
}

fn server_name(inspected: &Inspected) -> Option<&str> {
    match &inspected.verdict {
        Verdict::Tls(hello) => hello.server_name.as_deref(),
        other => panic!("no hello: {other:?}"),
    }
}

#[tokio::test]
async fn a_hello_is_read_with_what_follows_it() {
    let (mut client, mut stream) = connection().await;
    let sent = [fixtures::bytes(fixtures::CURL), b"early data".to_vec()].concat();
    client.write_all(&sent).await.unwrap();
    let buffers = Rc::new(BufferPool::default());
    let inspected = inspect(&mut stream, None, InspectorLimits::default(), &buffers).await;
    assert_eq!(server_name(&inspected), Some("httpbin.org"));
    assert_eq!(bytes(&inspected), sent);
}

#[tokio::test]
async fn a_hello_may_arrive_byte_by_byte() {
    let (mut client, mut stream) = connection().await;
    client.set_nodelay(true).unwrap();
    let sent = fixtures::records(&Builder::host("slow.example.com").message(), 20);
    let buffers = Rc::new(BufferPool::default());
    let trickle = async {
        for byte in &sent {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (inspected, ()) =
        tokio::join!(inspect(&mut stream, None, InspectorLimits::default(), &buffers), trickle);
    assert_eq!(server_name(&inspected), Some("slow.example.com"));
    assert_eq!(bytes(&inspected), sent);
}

#[tokio::test]
async fn what_is_no_tls_is_told_at_once_and_kept() {
    let buffers = Rc::new(BufferPool::default());
    for (sent, malformed) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], false), (&[22, 3, 1, 0, 0], true)] {
        let (mut client, mut stream) = connection().await;
        client.write_all(sent).await.unwrap();
        let inspected = inspect(&mut stream, None, InspectorLimits::default(), &buffers).await;
        assert_eq!(matches!(inspected.verdict, Verdict::Malformed(_)), malformed);
        assert_eq!(matches!(inspected.verdict, Verdict::NotTls), !malformed);
        assert_eq!(bytes(&inspected), sent);
    }
}

#[tokio::test]
async fn an_end_before_the_hello_keeps_what_came() {
    let buffers = Rc::new(BufferPool::default());
    for sent in [&[][..], &[22, 3, 1]] {
        let (mut client, mut stream) = connection().await;
        client.write_all(sent).await.unwrap();
        drop(client);
        let inspected = inspect(&mut stream, None, InspectorLimits::default(), &buffers).await;
        assert!(matches!(inspected.verdict, Verdict::Closed));
        assert_eq!(bytes(&inspected), sent);
    }
}

#[tokio::test]
async fn a_reset_is_told() {
    let (client, mut stream) = connection().await;
    client.set_zero_linger().unwrap();
    drop(client);
    let buffers = Rc::new(BufferPool::default());
    let inspected = inspect(&mut stream, None, InspectorLimits::default(), &buffers).await;
    assert!(matches!(inspected.verdict, Verdict::Failed(_)));
}

#[tokio::test]
async fn silence_ends_the_inspection() {
    let (mut client, mut stream) = connection().await;
    client.write_all(&[22]).await.unwrap();
    stream.readable().await.unwrap();
    let buffers = Rc::new(BufferPool::default());
    // On a paused clock the deadline comes as soon as nothing else is to be done.
    tokio::time::pause();
    let inspected = inspect(&mut stream, None, InspectorLimits::default(), &buffers).await;
    assert!(matches!(inspected.verdict, Verdict::TimedOut));
    assert_eq!(bytes(&inspected), [22]);
}

/// Plain text is looked into where requests are looked for, with what was read before.
#[tokio::test]
async fn requests_are_told_from_other_bytes() {
    let buffers = Rc::new(BufferPool::default());
    let both = InspectorLimits { requests: true, ..InspectorLimits::default() };
    let only = InspectorLimits { hellos: false, ..both };
    let hello = fixtures::bytes(fixtures::CURL);
    let cases: [(&[&[u8]], Option<Opening>); 4] = [
        (&[b"GET / HT", b"TP/1.1\r\n"], Some(Opening::Http11)),
        (&[b"PRI * HTTP/2.0", b"\r\n\r\nSM\r\n\r\n"], Some(Opening::Http2)),
        (&[b"EHLO", b" there\r\n"], None),
        (&[&hello], None),
    ];
    for limits in [both, only] {
        for (parts, wanted) in cases {
            let (mut client, mut stream) = connection().await;
            let send = async {
                for part in parts {
                    client.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (inspected, ()) = tokio::join!(inspect(&mut stream, None, limits, &buffers), send);
            assert_eq!(inspected.request, wanted);
            let is_tls = limits.hellos && parts[0] == hello;
            assert_eq!(matches!(inspected.verdict, Verdict::Tls(_)), is_tls);
            assert!(parts.concat().starts_with(bytes(&inspected)));
        }
    }
}

/// What was read before is looked at again, with what follows.
#[tokio::test]
async fn an_inspection_goes_on_with_what_was_read() {
    let buffers = Rc::new(BufferPool::default());
    let sent = fixtures::bytes(fixtures::CURL);
    for read in [3, sent.len()] {
        let (mut client, mut stream) = connection().await;
        client.write_all(&sent[read..]).await.unwrap();
        let mut first = buffers.small();
        first.room()[..read].copy_from_slice(&sent[..read]);
        first.advance(read);
        let limits = InspectorLimits::default();
        let inspected = inspect(&mut stream, Some(first), limits, &buffers).await;
        assert_eq!(server_name(&inspected), Some("httpbin.org"));
        assert_eq!(bytes(&inspected), sent);
    }
}

/// A request line that does not end is read up to its bound.
#[tokio::test]
async fn a_request_line_has_a_bound() {
    let buffers = Rc::new(BufferPool::default());
    let limits = InspectorLimits { requests: true, ..InspectorLimits::default() };
    for (len, told) in [(20_000, false), (opening::LONGEST, true)] {
        let (mut client, mut stream) = connection().await;
        let mut line = b"GET /".to_vec();
        line.resize(len, b'a');
        let send = async {
            client.write_all(&line).await.unwrap();
            client.write_all(if told { b"" } else { b" HTTP/1.1\r\n" }).await.unwrap();
        };
        let (inspected, ()) = tokio::join!(inspect(&mut stream, None, limits, &buffers), send);
        assert_eq!(matches!(inspected.verdict, Verdict::LongRequest), told);
        assert_eq!(inspected.request.is_some(), !told);
        assert!(bytes(&inspected).starts_with(&line));
    }
}

/// Counts how often a task would have been woken.
#[derive(Default)]
struct Wakeups(AtomicUsize);

impl Wake for Wakeups {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A partial hello is waited for, not polled for: the task sleeps until more has arrived.
#[tokio::test]
async fn a_partial_hello_does_not_spin() {
    let (mut client, mut stream) = connection().await;
    client.write_all(&[22, 3]).await.unwrap();
    stream.readable().await.unwrap();
    let buffers = Rc::new(BufferPool::default());
    let mut partial = Partial::new(InspectorLimits::default());
    let wakeups = Arc::new(Wakeups::default());
    let waker = Waker::from(Arc::clone(&wakeups));
    assert!(partial.poll(&mut Context::from_waker(&waker), &mut stream, &buffers).is_pending());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(wakeups.0.load(Ordering::Relaxed), 0);

    client.write_all(&[9]).await.unwrap();
    while wakeups.0.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let Poll::Ready(inspected) =
        partial.poll(&mut Context::from_waker(&waker), &mut stream, &buffers)
    else {
        panic!("undecided");
    };
    assert!(matches!(inspected.verdict, Verdict::NotTls));
    assert_eq!(bytes(&inspected), [22, 3, 9]);
}

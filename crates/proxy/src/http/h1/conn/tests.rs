use std::future::poll_fn;
use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn pair() -> (Conn, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (io, _) = listener.accept().await.unwrap();
    (Conn::new(io, None, Rc::default()), peer)
}

const LIMITS: HeadLimits = HeadLimits { bytes: 60 * 1024, lines: 100 };

async fn body(conn: &mut Conn) -> Result<Vec<u8>, RecvError> {
    let mut all = Vec::new();
    loop {
        let n = poll_fn(|cx| match ready!(conn.poll_recv(cx))? {
            Recv::Data(data) => {
                all.extend_from_slice(data);
                Poll::Ready(Ok::<_, RecvError>(Some(data.len())))
            }
            Recv::End => Poll::Ready(Ok(None)),
        })
        .await?;
        match n {
            Some(n) => conn.consume(n),
            None => return Ok(all),
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_read_one_by_one() {
    let (mut conn, mut peer) = pair().await;
    peer.write_all(
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
          POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n",
    )
    .await
    .unwrap();
    let mut head = RequestHead::default();
    for (path, content, trailer) in [("/a", "abc", false), ("/b", "de", true)] {
        poll_fn(|cx| conn.poll_request(cx, LIMITS, &mut head)).await.unwrap();
        assert_eq!(head.path(), path.as_bytes());
        assert_eq!(body(&mut conn).await.unwrap(), content.as_bytes());
        assert_eq!(conn.take_trailers().is_some(), trailer);
    }
    conn.release();
    assert!(conn.is_reusable(Liveness::Verified));
    drop(peer);
    let error = poll_fn(|cx| conn.poll_request(cx, LIMITS, &mut head)).await.unwrap_err();
    assert!(matches!(error, RecvError::Closed));
}

/// The runtime hears of what has come when it looks for it; who is about to close looks itself.
#[tokio::test]
async fn what_has_come_is_seen_before_it_is_reported() {
    let (mut conn, peer) = pair().await;
    assert!(poll_fn(|cx| Poll::Ready(conn.poll_fill(cx))).await.is_pending());
    conn.release();
    assert!(!conn.has_input());
    let mut peer = peer.into_std().unwrap();
    Write::write_all(&mut peer, b"G").unwrap();
    assert!(conn.has_input());
    assert!(poll_fn(|cx| Poll::Ready(conn.poll_readable(cx))).await.is_pending());
    poll_fn(|cx| conn.poll_fill(cx)).await.unwrap();
    assert_eq!(conn.filled(), b"G", "it was only looked at");
    drop(peer);
    conn.discard();
    assert!(conn.has_input(), "an end, too");
}

#[tokio::test]
async fn long_content_passes_through_without_loss() {
    let (mut conn, mut peer) = pair().await;
    let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
    head.headers.append(b"x", b"y");
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        all
    });
    conn.start_response(&head, true, ConnectionHeader::Close);
    let mut sent = 0;
    for size in [1, 8 * 1024, 8 * 1024 + 1, 500_000, usize::MAX] {
        let end = content.len().min(sent + size.min(content.len()));
        while sent < end {
            sent += poll_fn(|cx| conn.poll_send(cx, &content[sent..end])).await.unwrap();
        }
    }
    conn.finish(None);
    poll_fn(|cx| conn.poll_shutdown(cx)).await.unwrap();
    let all = reader.await.unwrap();
    let start = memchr::memmem::find(&all, b"\r\n\r\n").unwrap() + 4;
    let mut decoder = BodyDecoder::from(Framing::Chunked);
    let (mut at, mut read) = (start, Vec::new());
    while let Decoded::Data { skip, len } = decoder.decode(&all[at..]).unwrap() {
        read.extend_from_slice(&all[at + skip..at + skip + len]);
        decoder.consumed(len);
        at += skip + len;
    }
    assert!(read == content && decoder.is_done());
}

#[tokio::test]
async fn after_a_long_answer_the_next_is_read_with_its_head() {
    let (mut conn, mut peer) = pair().await;
    let long = 2 * buffer::SMALL + 1;
    let mut message = format!("HTTP/1.1 200 OK\r\nContent-Length: {long}\r\n\r\n").into_bytes();
    message.resize(message.len() + long, b'x');
    for at_once in [false, true] {
        peer.write_all(&message).await.unwrap();
        let mut head = ResponseHead::default();
        poll_fn(|cx| conn.poll_response(cx, LIMITS, false, false, &mut head)).await.unwrap();
        assert_eq!(conn.filled().len() == long, at_once);
        assert_eq!(body(&mut conn).await.unwrap().len(), long);
        conn.release();
    }
}

#[tokio::test]
async fn a_cut_message_is_an_error() {
    let (mut conn, mut peer) = pair().await;
    peer.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
    drop(peer);
    let mut head = RequestHead::default();
    poll_fn(|cx| conn.poll_request(cx, LIMITS, &mut head)).await.unwrap();
    assert!(matches!(body(&mut conn).await, Err(RecvError::Truncated)));
}

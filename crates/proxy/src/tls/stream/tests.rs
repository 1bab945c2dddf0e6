use std::io::ErrorKind;

use tidegate_testing::ca::Ca;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::tls::fixtures::{client, common, server, shake, tcp, trusting};

/// Both ends of a connection after its handshake.
async fn pair(buffers: &Rc<BufferPool>) -> (Box<TlsStream>, Box<TlsStream>) {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let server = server(common(&[&identity], &[]), false);
    let client = client(trusting(common(&[], &[]), &ca));
    let (near, far) = shake(&client, &server, "a.example", buffers).await;
    (near.expect("connected"), far.expect("accepted").0)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place * 7 + place / 251) as u8).collect()
}

#[tokio::test]
async fn bytes_of_any_length_arrive_in_both_directions() {
    let buffers = Rc::<BufferPool>::default();
    let (mut near, mut far) = pair(&buffers).await;
    for len in [1, 100, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, BATCH - 1, BATCH + 1, 1_000_003] {
        let sent = pattern(len);
        let mut received = vec![0; len];
        let send = async {
            near.write_all(&sent).await?;
            near.flush().await
        };
        let (written, read) = tokio::join!(send, far.read_exact(&mut received));
        written.expect("written");
        read.expect("read");
        assert!(received == sent, "{len} bytes");
        let back = async {
            far.write_all(&received).await?;
            far.flush().await
        };
        let mut again = vec![0; len];
        let (written, read) = tokio::join!(back, near.read_exact(&mut again));
        written.expect("written");
        read.expect("read");
        assert!(again == sent, "{len} bytes back");
    }
}

#[tokio::test]
async fn small_reads_get_every_byte() {
    let buffers = Rc::<BufferPool>::default();
    let (mut near, mut far) = pair(&buffers).await;
    let sent = pattern(3 * FRAGMENT);
    near.write_all(&sent).await.expect("written");
    near.flush().await.expect("written");
    let mut received = Vec::new();
    let mut some = [0; 1000];
    while received.len() < sent.len() {
        let n = far.read(&mut some).await.expect("read");
        assert!(n > 0, "after {} bytes", received.len());
        received.extend_from_slice(&some[..n]);
    }
    assert!(received == sent);
    assert!(far.spill.capacity() == 0 && far.incoming.is_none());
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer() {
    let buffers = Rc::<BufferPool>::default();
    let (mut near, mut far) = pair(&buffers).await;
    near.write_all(b"ping").await.expect("written");
    near.flush().await.expect("written");
    let mut received = [0; 4];
    far.read_exact(&mut received).await.expect("read");
    far.write_all(b"pong").await.expect("written");
    far.flush().await.expect("written");
    near.read_exact(&mut received).await.expect("read");
    for end in [&mut near, &mut far] {
        // The session ticket is no data.
        assert!(end.is_quiet());
        assert!(end.incoming.is_none() && end.outgoing.is_none());
        assert_eq!(end.spill.capacity(), 0);
    }
}

#[tokio::test]
async fn what_fits_into_one_record_goes_into_one_write() {
    let buffers = Rc::<BufferPool>::default();
    let (mut near, mut far) = pair(&buffers).await;
    near.write_all(b"head").await.expect("taken");
    near.write_all(b"body").await.expect("taken");
    let waiting = near.outgoing.as_ref().map(|outgoing| outgoing.filled().len());
    assert_eq!(waiting, Some(2 * (4 + 22)), "nothing is written before it is flushed");
    near.flush().await.expect("written");
    let parts = [io::IoSlice::new(b"head"), io::IoSlice::new(b""), io::IoSlice::new(b"body")];
    assert_eq!(near.write_vectored(&parts).await.expect("taken"), 8);
    let waiting = near.outgoing.as_ref().map(|outgoing| outgoing.filled().len());
    assert_eq!(waiting, Some(8 + 22), "one record");
    near.flush().await.expect("written");
    let mut received = [0; 16];
    far.read_exact(&mut received).await.expect("read");
    assert_eq!(&received, b"headbodyheadbody");
}

#[tokio::test]
async fn the_end_is_said_and_a_cut_is_told_from_it() {
    let buffers = Rc::<BufferPool>::default();
    let (mut near, mut far) = pair(&buffers).await;
    near.write_all(b"last").await.expect("written");
    near.shutdown().await.expect("closed");
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.expect("read");
    assert_eq!(received, b"last");
    assert!(!far.is_cut());
    // The other direction goes on.
    far.write_all(b"more").await.expect("written");
    far.flush().await.expect("written");
    let mut more = [0; 4];
    near.read_exact(&mut more).await.expect("read");
    let refused = near.write_all(b"x").await.expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    drop(far);
    assert_eq!(near.read(&mut more).await.expect("the end"), 0);
    assert!(!near.is_cut(), "dropping says that it is the end");

    let (mut near, mut far) = pair(&buffers).await;
    far.break_off();
    drop(far);
    assert_eq!(near.read(&mut more).await.expect("the end"), 0);
    assert!(near.is_cut());
    assert!(!near.is_quiet());
}

#[tokio::test]
async fn a_changed_record_is_refused() {
    let buffers = Rc::<BufferPool>::default();
    let (mut near, mut far) = pair(&buffers).await;
    near.write_all(b"secret").await.expect("taken");
    if let Some(outgoing) = &mut near.outgoing {
        outgoing.filled_mut()[10] ^= 1;
    }
    near.flush().await.expect("written");
    let error = far.read(&mut [0; 16]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    // The peer is told why.
    let told = near.read(&mut [0; 16]).await.expect_err("an alert");
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
}

#[tokio::test]
async fn other_implementations_understand_it() {
    let buffers = Rc::<BufferPool>::default();
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let sent = pattern(300_000);

    let ours = server(common(&[&identity], &["h2", "http/1.1"]), false);
    let (near, far) = tcp().await;
    let connector = TlsConnector::from(ca.client_config(&["http/1.1"]));
    let name = "a.example".try_into().expect("a name");
    let (theirs, accepted) = tokio::join!(
        connector.connect(name, near),
        crate::tls::accept(far, None, None, &ours, &buffers)
    );
    let (mut theirs, (mut accepted, settled)) =
        (theirs.expect("connected"), accepted.expect("accepted"));
    assert_eq!(settled.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(settled.server_name.as_deref(), Some("a.example"));
    assert_eq!(settled.version, "TLSv1.3");
    let mut received = vec![0; sent.len()];
    let send = async {
        theirs.write_all(&sent).await?;
        theirs.shutdown().await
    };
    let (written, read) = tokio::join!(send, accepted.read_exact(&mut received));
    written.expect("written");
    read.expect("read");
    assert!(received == sent);
    assert_eq!(accepted.read(&mut [0]).await.expect("the end"), 0);
    assert!(!accepted.is_cut());

    let ours = client(trusting(common(&[], &[]), &ca));
    let (near, far) = tcp().await;
    let endpoint = near.peer_addr().expect("connected");
    let asks = crate::tls::Asks {
        server: "a.example",
        host: None,
        session_key: endpoint.ip(),
        speaks: None,
    };
    let acceptor = TlsAcceptor::from(identity.server_config(&[]));
    let (connected, theirs) =
        tokio::join!(crate::tls::connect(near, &ours, asks, &buffers), acceptor.accept(far));
    let (mut connected, mut theirs) = (connected.expect("connected"), theirs.expect("accepted"));
    let send = async {
        connected.write_all(&sent).await?;
        connected.shutdown().await
    };
    let mut received = Vec::new();
    let (written, read) = tokio::join!(send, theirs.read_to_end(&mut received));
    written.expect("written");
    read.expect("a clean end");
    assert!(received == sent);
}

//! Ends of idle connections that the system knows of and the runtime does not, as nothing has waited since.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::*;

/// How an endpoint leaves a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Reset,
    GoAway,
}

/// The first stream's answer: HEADERS with END_STREAM and END_HEADERS, `:status: 200` (RFC 9113 section 6.2).
const ANSWER: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
/// GOAWAY with NO_ERROR, after the first stream (section 6.8).
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
const HEADERS: u8 = 1;

/// Reads up to the head of a request.
fn read_head(io: &mut TcpStream) {
    io.read_exact(&mut [0; 24]).expect("a preface");
    let mut header = [0; 9];
    while header[3] != HEADERS {
        io.read_exact(&mut header).expect("a frame");
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        io.read_exact(&mut vec![0; length as usize]).expect("its content");
    }
}

/// Answers a request on each connection, and leaves it when told to.
fn serve(listener: &TcpListener, end: End, told: &mpsc::Receiver<()>) {
    while let Ok((mut io, _)) = listener.accept() {
        io.write_all(&SETTINGS).expect("a connection");
        read_head(&mut io);
        io.write_all(&ANSWER).expect("a connection");
        if told.recv().is_err() {
            return;
        }
        match end {
            End::Close => {}
            End::Reset => {
                let socket = socket2::SockRef::from(&io);
                socket.set_linger(Some(Duration::ZERO)).expect("a socket");
            }
            End::GoAway => io.write_all(&GOAWAY).expect("a connection"),
        }
    }
}

/// Whose requests come after the end.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Own,
    /// Those of a worker that may make no connection of its own.
    Others,
}

async fn is_seen_where_it_matters(end: End, whose: Whose) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || serve(&listener, end, &told));
    let endpoint = Endpoint { address, connections: Rc::default(), most: Rc::default() };
    let [one, other] = workers(&endpoint, |cluster| {
        cluster.limits.connections = match whose {
            Whose::Own => 2,
            Whose::Others => 1,
        };
    });
    let next = match whose {
        Whose::Own => &one,
        Whose::Others => &other,
    };
    let pool = one.cluster.pick(None, None, || 0).expect("an endpoint");
    let lease = async |worker: &Worker, liveness| {
        let pool = worker.cluster.pick(None, None, || 0).expect("an endpoint");
        let lease = pool.multiplex.lease(&pool, &worker.cluster, "", liveness);
        timeout(PATIENCE, lease).await.expect("it need not wait").expect("a place")
    };
    let mut first = lease(&one, Liveness::Verified).await;
    let (answer, _) = first.send_request(http::Request::new(()), true).expect("a stream");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    drop(first);
    let heard = Rc::clone(&pool.multiplex.open.borrow()[0].heard);
    // What has come so far is read.
    while heard.io().is_some_and(|io| io.borrow().has_input()) {
        tokio::task::yield_now().await;
    }

    tell.send(()).expect("it listens");
    while heard.io().is_some_and(|io| !io.borrow().has_input()) {
        thread::yield_now();
    }
    let assumed = lease(next, Liveness::Assumed).await;
    assert!(assumed.reused, "as far as the runtime knows: {end:?}, {whose:?}");
    drop(assumed);
    let verified = lease(next, Liveness::Verified).await;
    assert!(!verified.reused, "{end:?}, {whose:?}");
    let stats = [&one, &other].map(|worker| worker.cluster.stats.upstream_cx_total.get());
    assert_eq!(stats.iter().sum::<u64>(), 2);
}

#[tokio::test]
async fn an_end_that_the_runtime_has_not_heard_of_is_seen_where_it_matters() {
    for end in [End::Close, End::Reset, End::GoAway] {
        for whose in [Whose::Own, Whose::Others] {
            locally(is_seen_where_it_matters(end, whose)).await;
        }
    }
}

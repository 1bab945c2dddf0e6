//! HTTP/2 on both sides.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Ping, Reason, RecvStream, SendStream};
use http::{Request, Response};
use serde_json::json;
use tidegate_testing::origin::{Origin, stream_back};
use tidegate_testing::{HeldPort, PATIENCE};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Behaviour, CLIENTS, HOST, Host, Kind, Soak};

/// Requests at a time on a client's connection.
const STREAMS: usize = 4;

const KINDS: &[Kind] = &[
    Kind { name: "answers", client: Behaviour::Post(200 * 1024), logged: &["200 -"] },
    Kind { name: "stalls", client: Behaviour::Get, logged: &["504 UT"] },
    Kind { name: "resets", client: Behaviour::Get, logged: &["503 UR"] },
    Kind { name: "refuses-streams", client: Behaviour::Get, logged: &["503 UR"] },
    Kind { name: "closes", client: Behaviour::Get, logged: &["503 UC"] },
    Kind { name: "early", client: Behaviour::Begin, logged: &["413 -"] },
    Kind { name: "breaks-off", client: Behaviour::Lose, logged: &["200 UR"] },
    Kind { name: "refuses", client: Behaviour::Get, logged: &["503 UF"] },
    Kind { name: "is-left", client: Behaviour::Leave, logged: &["0 DC"] },
];

/// What an origin does with each request.
#[derive(Clone, Copy)]
enum Act {
    /// Waits until it is given up.
    Hold,
    Reset(Reason),
    /// Answers 413 without looking at the content.
    Early,
    /// Begins an answer, and resets.
    BreakOff,
    /// Closes the connection.
    Close,
}

const ACTS: &[(&str, Act)] = &[
    ("stalls", Act::Hold),
    ("is-left", Act::Hold),
    ("resets", Act::Reset(Reason::INTERNAL_ERROR)),
    ("refuses-streams", Act::Reset(Reason::REFUSED_STREAM)),
    ("early", Act::Early),
    ("breaks-off", Act::BreakOff),
    ("closes", Act::Close),
];

/// An origin that does the same with each request, for as long as the test lasts.
async fn start(act: Act) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, act));
        }
    });
    address
}

async fn serve(stream: TcpStream, act: Act) {
    let mut origin = h2::server::Builder::new();
    // Who is answered early still sends, which the library takes for an attack after a while.
    origin.max_local_error_reset_streams(None).data_frame_budget(u32::MAX as usize);
    let Ok(mut connection) = origin.handshake(stream).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        if matches!(act, Act::Close) {
            return;
        }
        tokio::spawn(act_on(act, request.into_body(), answer));
    }
}

async fn act_on(act: Act, content: RecvStream, mut answer: SendResponse<Bytes>) {
    let head = |status: u16, length: &str| {
        let head = Response::builder().status(status).header("content-length", length);
        head.body(()).expect("a head")
    };
    match act {
        Act::Hold | Act::Close => {}
        Act::Reset(reason) => answer.send_reset(reason),
        Act::Early => {
            if let Ok(mut rest) = answer.send_response(head(413, "2"), false) {
                let _ = rest.send_data("no".into(), true);
            }
        }
        Act::BreakOff => {
            if let Ok(mut rest) = answer.send_response(head(200, "9"), false) {
                let _ = rest.send_data("abc".into(), false);
                // What was sent goes out before the reset, which would take it along.
                tokio::task::yield_now().await;
                rest.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }
    if matches!(act, Act::Hold) {
        let _ = poll_fn(|cx| answer.poll_reset(cx)).await;
    }
    drop(content);
}

/// Several requests at a time on a connection of their own.
async fn once(address: SocketAddr, kind: Kind) -> Result<usize, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (send, mut connection) =
        h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
    let mut pings = connection.ping_pong().expect("asked for once");
    let connection = tokio::spawn(connection);
    let mut requests = JoinSet::new();
    for _ in 0..STREAMS {
        let asked = ask(send.clone(), kind);
        requests.spawn(async move {
            timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("stuck".to_owned()))
        });
    }
    let answered = requests.join_all().await;
    // All that was sent has been read when this is answered, also by those who were left.
    let heard = timeout(PATIENCE, pings.ping(Ping::opaque())).await;
    heard.map_err(|_| "no answer to a PING".to_owned())?.map_err(|error| error.to_string())?;
    drop(send);
    // With the last handle it says goodbye and ends.
    let ended = timeout(PATIENCE, connection).await;
    ended.map_err(|_| "the connection stays".to_owned())?.ok();
    answered.into_iter().collect::<Result<Vec<()>, String>>().map(|all| all.len())
}

async fn ask(send: SendRequest<Bytes>, kind: Kind) -> Result<(), String> {
    let said = |error: h2::Error| error.to_string();
    let mut send = send.ready().await.map_err(said)?;
    let method = match kind.client {
        Behaviour::Post(_) | Behaviour::Begin => "POST",
        _ => "GET",
    };
    let head = Request::builder().method(method).uri(format!("http://{HOST}/{}", kind.name));
    let head = if matches!(kind.client, Behaviour::Begin) {
        head.header("content-length", "1000000")
    } else {
        head
    };
    let (answer, mut content) =
        send.send_request(head.body(()).expect("a head"), method == "GET").map_err(said)?;
    let size = match kind.client {
        Behaviour::Get | Behaviour::Lose => 0,
        Behaviour::Leave => {
            sleep(Duration::from_millis(20)).await;
            return Ok(());
        }
        Behaviour::Begin => {
            content.send_data("abc".into(), false).map_err(said)?;
            0
        }
        Behaviour::Post(size) => size,
    };
    let (_, read) = tokio::join!(send_all(&mut content, size), read_all(answer));
    match (read, kind.client) {
        (Err(_), Behaviour::Lose) => Ok(()),
        (Ok((200, read)), Behaviour::Post(size)) if read != size => {
            Err(format!("{read} bytes of {size}"))
        }
        (Ok((status, _)), client) if !matches!(client, Behaviour::Lose) && kind.answers(status) => {
            Ok(())
        }
        (other, _) => Err(format!("{other:?}")),
    }
}

/// Sends as much as there is to send, as fast as it is taken.
async fn send_all(content: &mut SendStream<Bytes>, size: usize) -> Result<(), h2::Error> {
    let mut left = Bytes::from(vec![b'x'; size]);
    while !left.is_empty() {
        content.reserve_capacity(left.len());
        let Some(taken) = poll_fn(|cx| content.poll_capacity(cx)).await.transpose()? else {
            return Ok(());
        };
        let part = left.split_to(taken.min(left.len()));
        content.send_data(part, left.is_empty())?;
    }
    Ok(())
}

/// The status, and how many bytes the answer has.
async fn read_all(answer: h2::client::ResponseFuture) -> Result<(u16, usize), h2::Error> {
    let (head, mut content) = answer.await?.into_parts();
    let mut read = 0;
    while let Some(data) = content.data().await {
        let data = data?;
        read += data.len();
        content.flow_control().release_capacity(data.len())?;
    }
    Ok((head.status.as_u16(), read))
}

#[tokio::test]
async fn half_load_over_http2_leaves_nothing_behind() {
    let echo = Origin::start().http2().http(stream_back).await;
    let refuses = HeldPort::any();
    let mut places = vec![("answers", echo.address()), ("refuses", refuses.address)];
    for (name, act) in ACTS {
        places.push((name, start(*act).await));
    }
    let hosts = places.into_iter().map(|(name, origin)| {
        let host = Host::new(name, "HTTP2", vec![origin]);
        let rule = json!({"retries": {"attempts": 0}, "timeout": "0.25s"});
        if name == "stalls" { host.rule(rule) } else { host }
    });
    let mut soak = Soak::new(&hosts.collect::<Vec<_>>()).await;
    KINDS.iter().for_each(|kind| soak.load(*kind, CLIENTS, once));
    soak.end().await;
}

//! What is under way in [`super`]: clients that talk or wait, and the origins that they do it with.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use tidegate_testing::Gate;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Body, Incoming, Origin, Request, Response, empty, stream_back};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::HOST;
use crate::support::{Gateway, Load, Progress};

/// What is said, and heard again.
const PING: &[u8] = b"ping";

/// An origin that holds long polls until `gate` lets them pass, and sends back whatever comes of tunnels, of streams and of
/// connections that are not HTTP at all. Whatever else it is asked it answers with `status`.
pub async fn origin(gate: &Arc<Gate>, status: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let gate = Arc::clone(gate);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&gate), status));
        }
    });
    address
}

/// Serves a connection until its peer ends it, or at once where it begins with something else, such as a handshake.
async fn serve(mut stream: TcpStream, gate: Arc<Gate>, status: u16) {
    const FIRST: [&[u8]; 3] = [b"GET ", b"POST ", PING];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head != PING {
        let known = FIRST.iter().any(|word| head.starts_with(word) || word.starts_with(&head));
        if !known || !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let head = String::from_utf8(head).expect("text");
    let answer = if head.starts_with("GET /poll ") {
        let _inside = gate.enter().await;
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
    } else if head.starts_with("POST /stream ") {
        // What comes back has the framing that it came in.
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
    } else if head.starts_with("GET /chat ") {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            .to_owned()
    } else if head.starts_with("GET ") {
        format!("HTTP/1.1 {status} \r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    } else {
        head
    };
    let ends = answer.contains("close");
    if stream.write_all(answer.as_bytes()).await.is_ok() && !ends {
        let (mut read, mut write) = stream.split();
        // It ends with the client.
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }
}

/// An origin that speaks HTTP/2 and holds long polls until `gate` lets them pass. It sends back what comes otherwise.
pub async fn http2_origin(gate: &Arc<Gate>) -> Origin {
    let gate = Arc::clone(gate);
    let answer = move |request: Request<Incoming>| {
        let gate = Arc::clone(&gate);
        async move {
            if request.uri().path() == "/poll" {
                let _inside = gate.enter().await;
                return Response::<Body>::new(empty());
            }
            stream_back(request).await
        }
    };
    Origin::start().http2().http(answer).await
}

/// What is under way through a gateway.
pub struct UnderWay {
    all: Vec<(What, Load)>,
    gate: Arc<Gate>,
}

/// What one client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A WebSocket.
    Tunnel,
    /// A stream of HTTP/2 that carries something both ways.
    Stream,
    /// A connection of TCP.
    Connection,
    /// A request that is answered late.
    Poll,
    /// The same over HTTP/2.
    PollStream,
}

impl What {
    /// Does it on a connection until it is told to stop; panics when it is cut.
    async fn run(self, io: Box<dyn Stream>, progress: Arc<Progress>) -> Vec<String> {
        match self {
            Self::Tunnel => tunnel(io, &progress).await,
            Self::Stream => stream(io, &progress).await,
            Self::Connection => talk(Client::over(io), &progress).await,
            Self::Poll => poll(io).await,
            Self::PollStream => poll_stream(io).await,
        }
        progress.answered();
        Vec::new()
    }

    fn waits(self) -> bool {
        matches!(self, Self::Poll | Self::PollStream)
    }
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Box<dyn Stream> {
    match tls {
        Some(tls) => Box::new(client::tls(address, HOST, tls).await.expect("a handshake")),
        None => Box::new(TcpStream::connect(address).await.expect("a connection")),
    }
}

impl UnderWay {
    /// Begins one of each kind. Without the address of a server of TCP, those alone that an endpoint of HTTP/2 serves.
    pub async fn begin(
        gateway: &Gateway,
        tcp: Option<SocketAddr>,
        ca: &Ca,
        gate: &Arc<Gate>,
    ) -> Self {
        let (http, https) = (gateway.http, gateway.https);
        let (one, two) = (ca.client_config(&["http/1.1"]), ca.client_config(&["h2"]));
        let raw = tcp.into_iter().flat_map(|tcp| {
            [
                (What::Tunnel, http, None),
                (What::Tunnel, https, Some(&one)),
                (What::Connection, tcp, None),
            ]
        });
        let all = [
            (What::Stream, http, None),
            (What::Stream, https, Some(&two)),
            (What::Poll, http, None),
            (What::Poll, https, Some(&one)),
            (What::PollStream, http, None),
            (What::PollStream, https, Some(&two)),
        ];
        let all = all.into_iter().chain(raw).map(|(what, address, tls)| {
            let tls = tls.cloned();
            let client = move |progress| {
                let io = connect(address, tls.clone());
                async move { what.run(io.await, progress).await }
            };
            (what, Load::run(1, client))
        });
        let this = Self { all: all.collect(), gate: Arc::clone(gate) };
        this.goes_on().await;
        this
    }

    /// Waits until everything that talks has got something back once more; nothing that waits has ended.
    pub async fn goes_on(&self) {
        for (_, load) in self.all.iter().filter(|(what, _)| !what.waits()) {
            load.flows(2).await;
        }
        self.gate.holds(self.all.iter().filter(|(what, _)| what.waits()).count()).await;
    }

    /// Lets those that wait have their answers, and ends the others: nothing was cut.
    pub async fn ends(self) {
        self.goes_on().await;
        self.gate.open();
        for (what, load) in self.all {
            assert_eq!(load.stop().await, Vec::<String>::new(), "{what:?}");
        }
    }
}

/// Talks through a tunnel.
async fn tunnel(io: Box<dyn Stream>, progress: &Progress) {
    let mut client = Client::over(io);
    let upgrade = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.request(upgrade).await.status, 101);
    talk(client, progress).await;
}

/// Says something again and again, and must hear it.
async fn talk(mut client: Client<Box<dyn Stream>>, progress: &Progress) {
    while progress.goes_on() {
        client.send(PING).await;
        assert_eq!(client.read_exact(PING.len()).await.expect("an echo"), PING);
        progress.answered();
    }
}

/// The same in one stream of HTTP/2.
async fn stream(io: Box<dyn Stream>, progress: &Progress) {
    let (mut send, connection) = h2::client::handshake(io).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let request = Request::post("http://a.example/stream").body(()).expect("a request");
    let (answer, mut send) = send.send_request(request, false).expect("a stream");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    while progress.goes_on() {
        send.send_data(Bytes::from_static(PING), false).expect("an open stream");
        let mut heard = 0;
        while heard < PING.len() {
            let data = body.data().await.expect("more of it").expect("an echo");
            body.flow_control().release_capacity(data.len()).expect("a window");
            heard += data.len();
        }
        progress.answered();
    }
    connection.abort();
}

/// Asks once, and waits for the answer.
async fn poll(mut io: Box<dyn Stream>) {
    let request = b"GET /poll HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    io.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.expect("an end");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// The same over HTTP/2.
async fn poll_stream(io: Box<dyn Stream>) {
    let (mut send, connection) = h2::client::handshake(io).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a.example/poll").body(()).expect("a request");
    let answer = send.send_request(request, true).expect("a stream").0.await.expect("an answer");
    assert_eq!(answer.status(), 200);
    connection.abort();
}

//! Origins that say who they are and what they got.

use std::net::SocketAddr;

use http::Method;
use http_body_util::BodyExt;
use tidegate_testing::origin::{Body, Incoming, Origin, Request, Response, full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::destinations::FAILS;
use super::tls::Keys;
use crate::wire;

/// How many there are of each sort: more than clusters in most configurations.
const EACH: usize = 16;

/// Origins of each sort.
pub struct Origins {
    http1: Vec<Origin>,
    http2: Vec<Origin>,
    tls: Vec<Origin>,
    tls_http2: Vec<Origin>,
    raw: Vec<SocketAddr>,
}

impl Origins {
    pub async fn start(keys: &Keys) -> Self {
        let [http1, http2, tls, tls_http2] = [(); 4].map(|()| Vec::new());
        let mut origins = Self { http1, http2, tls, tls_http2, raw: Vec::new() };
        let identity = keys.issue(&["right.internal", "*.default.svc.cluster.local"]);
        for number in 0..EACH {
            let handler = move |request| account(number, request);
            origins.http1.push(Origin::start().http(handler).await);
            origins.http2.push(Origin::start().http2().http(handler).await);
            origins.tls.push(Origin::start().tls(&identity).http(handler).await);
            let both = Origin::start().http2().tls(&identity);
            origins.tls_http2.push(both.http(handler).await);
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            origins.raw.push(listener.local_addr().expect("its address"));
            tokio::spawn(raw(number, listener));
        }
        origins
    }

    pub fn http1(&self, number: usize) -> SocketAddr {
        self.http1[number % EACH].address()
    }

    pub fn http2(&self, number: usize) -> SocketAddr {
        self.http2[number % EACH].address()
    }

    pub fn tls(&self, number: usize) -> SocketAddr {
        self.tls[number % EACH].address()
    }

    pub fn tls_http2(&self, number: usize) -> SocketAddr {
        self.tls_http2[number % EACH].address()
    }

    pub fn raw(&self, number: usize) -> SocketAddr {
        self.raw[number % EACH]
    }
}

/// The status that a request asks for, as long as it is an attempt that is to fail.
fn failure(request: &http::request::Parts) -> Option<u16> {
    let text = |name: &str| request.headers.get(name)?.to_str().ok();
    let (status, attempts) = text(FAILS)?.split_once(' ')?;
    let attempt: u32 = text("x-envoy-attempt-count")?.parse().ok()?;
    (attempt <= attempts.parse().ok()?).then(|| status.parse().ok())?
}

/// Answers with what it was asked.
async fn account(number: usize, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let again = head.headers.get("x-envoy-attempt-count").is_some_and(|attempt| attempt != "1");
    let fields: Vec<(String, String)> = head
        .headers
        .keys()
        // Whether this connection ends here is none of the request's; we say it, Envoy does not.
        .filter(|name| *name != http::header::CONNECTION)
        .map(|name| {
            // In one line or several means the same (RFC 9110, section 5.3).
            let lines = head.headers.get_all(name).iter();
            let lines: Vec<_> =
                lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
            // Envoy writes an address of its own machine where the peer is on loopback.
            let address = name == "x-forwarded-for";
            // What is left of the time of one that is sent again.
            let left = again && name == "x-envoy-expected-rq-timeout-ms";
            let told = match (address, left) {
                (true, _) => "(addresses)".to_owned(),
                (_, true) => "(time)".to_owned(),
                _ => lines.join(","),
            };
            (name.to_string(), told)
        })
        .collect();
    let mut lines = vec![format!("origin {number}"), format!("{} {}", head.method, head.uri)];
    lines.extend(wire::fields(">", &fields));
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    lines.push(format!("> [{}]", body.escape_ascii()));
    // An answer to a HEAD has no content (RFC 9110, section 9.3.2), which the library leaves to us in HTTP/2.
    let text = if head.method == Method::HEAD { String::new() } else { lines.join("\n") };
    Response::builder()
        .status(failure(&head).unwrap_or(200))
        .header("x-origin", number)
        .header("x-a", "origin")
        .header("server", "origin")
        .body(full(text))
        .expect("an answer")
}

/// Says what kind of bytes it got, and closes.
async fn raw(number: usize, listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut first = [0];
            let kind = match stream.read(&mut first).await {
                // A handshake of TLS (RFC 8446, section 5.1).
                Ok(1) if first == [0x16] => "TLS",
                Ok(1) => "bytes",
                _ => return,
            };
            answer(stream, format!("origin {number} got {kind}")).await;
        });
    }
}

/// Closes after the client: closing before all is read would take the answer along.
async fn answer(mut stream: TcpStream, text: String) {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

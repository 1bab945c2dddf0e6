//! Origins that tell what they see: who has dialled which address of theirs, the server name, and the request as it came.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_testing::ca::Ca;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::support::captured::ORIGINS;

/// What TLS begins with.
const TLS_HANDSHAKE: u8 = 22;

/// What is spoken at the ports of each origin.
const PORTS: [(u16, Speaks); 10] = [
    (80, Speaks::Http),
    (8080, Speaks::Http),
    (8082, Speaks::Http2),
    (443, Speaks::Https),
    (8443, Speaks::Mutual),
    (9000, Speaks::First),
    (9001, Speaks::First),
    (9002, Speaks::First),
    (9003, Speaks::Last),
    (27017, Speaks::Last),
];

#[derive(Clone, Copy)]
enum Speaks {
    Http,
    /// HTTP/2 in plain text.
    Http2,
    Https,
    /// HTTPS to clients that show a certificate.
    Mutual,
    /// Bytes, before the client does.
    First,
    /// Bytes, after the client has.
    Last,
}

/// Starts them, with certificates of an authority for these names.
pub async fn start(ca: &Ca, names: &[&str]) {
    let identity = ca.issue(names);
    let tls = TlsAcceptor::from(identity.server_config(&[]));
    let mutual = TlsAcceptor::from(identity.server_config_for(ca, &[]));
    for origin in ORIGINS {
        let ip: IpAddr = origin.parse().expect("an address");
        for (port, speaks) in PORTS {
            let listener = TcpListener::bind((ip, port)).await.expect("an address of ours");
            let acceptor = match speaks {
                Speaks::Https => Some(tls.clone()),
                Speaks::Mutual => Some(mutual.clone()),
                Speaks::Http | Speaks::Http2 | Speaks::First | Speaks::Last => None,
            };
            tokio::spawn(serve(listener, speaks, acceptor));
        }
    }
}

/// Answers requests on a socket that listens.
pub async fn requests(listener: TcpListener) {
    serve(listener, Speaks::Http, None).await;
}

/// Answers requests on a Unix socket that listens.
pub async fn requests_on_socket(listener: UnixListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move { answer(stream, "a socket").await });
    }
}

/// Greets on a socket that listens.
pub async fn greetings(listener: TcpListener) {
    serve(listener, Speaks::First, None).await;
}

async fn serve(listener: TcpListener, speaks: Speaks, acceptor: Option<TlsAcceptor>) {
    let acceptor = Arc::new(acceptor);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let acceptor = Arc::clone(&acceptor);
        tokio::spawn(async move {
            let seen = seen(&stream)?;
            let Some(acceptor) = &*acceptor else { return carry(stream, speaks, &seen).await };
            let stream = acceptor.accept(stream).await.ok()?;
            let session = stream.get_ref().1;
            let name = session.server_name().unwrap_or("nobody");
            let shown = session.peer_certificates().map_or(0, <[_]>::len);
            let seen = format!("{seen}, asked for {name}, shown {shown} certificates");
            carry(stream, speaks, &seen).await
        });
    }
}

/// Who has dialled what; clients' ports are not told, as they are by chance.
fn seen(stream: &TcpStream) -> Option<String> {
    Some(format!("{} dialled by {}", stream.local_addr().ok()?, stream.peer_addr().ok()?.ip()))
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    speaks: Speaks,
    seen: &str,
) -> Option<()> {
    let mut read = Vec::new();
    match speaks {
        Speaks::First => {}
        Speaks::Last => {
            stream.read_buf(&mut read).await.ok().filter(|more| *more > 0)?;
        }
        Speaks::Http2 => return answer_http2(stream, seen).await,
        Speaks::Http | Speaks::Https | Speaks::Mutual => return answer(stream, seen).await,
    }
    let told = format!("{seen}, told {:?}#", String::from_utf8_lossy(&read));
    stream.write_all(told.as_bytes()).await.ok()?;
    while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    Some(())
}

/// Answers requests without content with themselves; none whose path is `/never`.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, seen: &str) -> Option<()> {
    let mut read = Vec::new();
    loop {
        stream.read_buf(&mut read).await.ok().filter(|more| *more > 0)?;
        if read.first() == Some(&TLS_HANDSHAKE) {
            return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        }
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&read).into_owned();
        read.clear();
        if head.starts_with("GET /never ") {
            continue;
        }
        let body = format!("{seen}\n{}", head.trim_end());
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// The same over HTTP/2.
async fn answer_http2<S: AsyncRead + AsyncWrite + Unpin>(stream: S, seen: &str) -> Option<()> {
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request.ok()?;
        let fields = request
            .headers()
            .iter()
            .map(|(name, value)| format!("\n{name}: {}", value.to_str().unwrap_or("?")));
        let body =
            format!("{seen}\n{} {}{}", request.method(), request.uri(), fields.collect::<String>());
        let mut content = respond.send_response(http::Response::new(()), false).ok()?;
        content.send_data(body.into(), true).ok()?;
    }
    Some(())
}

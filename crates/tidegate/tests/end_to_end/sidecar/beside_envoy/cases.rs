//! Connections, and what they get.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tidegate_testing::{PATIENCE, client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::at;

/// One connection.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub to: SocketAddr,
    /// Whether it comes to the workload, and not from it.
    pub outside: bool,
    /// Whether it is a peer's, which shows a certificate of the mesh.
    pub peer: bool,
    says: Says,
}

/// What the client says.
#[derive(Clone)]
enum Says {
    /// A request for a path of a host.
    Http(&'static str, &'static str),
    /// The same over HTTP/2.
    Http2(&'static str, &'static str),
    /// The same over TLS for this server name.
    Https(&'static str, &'static str),
    /// Bytes, and then it listens.
    Bytes(&'static [u8]),
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, self.to)?;
        match &self.says {
            Says::Http(host, path) => write!(f, ", {host}{path})"),
            Says::Http2(host, path) => write!(f, ", {host}{path} over HTTP/2)"),
            Says::Https(name, host) => write!(f, ", {host} over TLS for {name})"),
            Says::Bytes(bytes) => write!(f, ", {:?})", String::from_utf8_lossy(bytes)),
        }
    }
}

fn case(name: &'static str, to: (&str, u16), says: Says) -> Case {
    Case { name, to: at(to.0, to.1), outside: false, peer: false, says }
}

/// A request for `/` of a host.
pub fn asks(name: &'static str, to: (&str, u16), host: &'static str) -> Case {
    case(name, to, Says::Http(host, "/"))
}

/// A request for a path of a host.
pub fn asks_path(name: &'static str, to: (&str, u16), [host, path]: [&'static str; 2]) -> Case {
    case(name, to, Says::Http(host, path))
}

/// A request for `/` of a host over HTTP/2.
pub fn asks_http2(name: &'static str, to: (&str, u16), host: &'static str) -> Case {
    case(name, to, Says::Http2(host, "/"))
}

/// A request over TLS: for which server name, and which host then.
pub fn asks_tls(name: &'static str, to: (&str, u16), [sni, host]: [&'static str; 2]) -> Case {
    case(name, to, Says::Https(sni, host))
}

/// Bytes, after which the client listens.
pub fn says(name: &'static str, to: (&str, u16), bytes: &'static [u8]) -> Case {
    case(name, to, Says::Bytes(bytes))
}

/// The same connection, from outside of the workload.
pub fn from_outside(case: Case) -> Case {
    Case { outside: true, ..case }
}

/// The same connection, of a peer in the mesh.
pub fn of_peer(case: Case) -> Case {
    Case { peer: true, ..case }
}

/// Has the connection say what it does; what it gets, in lines.
pub async fn run(case: &Case, stream: TcpStream, config: Arc<ClientConfig>) -> Vec<String> {
    let got = async {
        match case.says {
            Says::Http(host, path) => ask(stream, host, path).await,
            Says::Http2(host, path) => ask_http2(stream, host, path).await,
            Says::Https(sni, host) => {
                let name = ServerName::try_from(sni).expect("a name");
                match TlsConnector::from(config).connect(name, stream).await {
                    Ok(stream) => ask(stream, host, "/").await,
                    Err(error) => vec![refused(&error)],
                }
            }
            Says::Bytes(bytes) => hear(stream, bytes).await,
        }
    };
    timeout(PATIENCE, got).await.unwrap_or_else(|_| vec!["nothing".to_owned()])
}

/// A handshake that fails by the other's alert, or by its going.
fn refused(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => format!("no handshake: {error}"),
        None => "closed before the handshake".to_owned(),
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: S, host: &str, path: &str) -> Vec<String> {
    let mut client = client::Client::over(stream);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Test: 1\r\n\r\n")).await;
    let Ok(answer) = client.read(false).await else { return vec!["closed".to_owned()] };
    let mut lines = vec![format!("status: {}", answer.status)];
    lines.extend(answer.headers.iter().map(|(name, value)| shown(name, value)));
    lines.extend(answer.text().lines().map(body));
    lines
}

async fn ask_http2(stream: TcpStream, host: &str, path: &str) -> Vec<String> {
    let answer = async {
        let (client, connection) = h2::client::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(format!("http://{host}{path}")).body(()).expect("a request");
        let response = client.ready().await?.send_request(request, true)?.0.await?;
        let (head, mut content) = response.into_parts();
        let mut text = Vec::new();
        while let Some(data) = content.data().await {
            text.extend_from_slice(&data?);
        }
        connection.abort();
        Ok::<_, h2::Error>((head, String::from_utf8_lossy(&text).into_owned()))
    };
    let Ok((head, text)) = answer.await else { return vec!["closed".to_owned()] };
    let mut lines = vec![format!("status: {}", head.status.as_u16())];
    let headers = head.headers.iter();
    lines.extend(headers.map(|(name, value)| shown(name.as_str(), value.to_str().unwrap_or("?"))));
    lines.extend(text.lines().map(body));
    lines
}

/// Says some bytes; what is heard then: to a `#`, or to the end.
async fn hear(mut stream: TcpStream, bytes: &[u8]) -> Vec<String> {
    // One that is refused may be closed by now.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    while !heard.ends_with(b"#") && stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {}
    if heard.is_empty() {
        return vec!["closed".to_owned()];
    }
    String::from_utf8_lossy(&heard).lines().map(body).collect()
}

/// A field of an answer, without what time decides.
fn shown(name: &str, value: &str) -> String {
    let name = name.to_ascii_lowercase();
    match &*name {
        "date" | "x-envoy-upstream-service-time" => format!("field {name}"),
        _ => format!("field {name}: {value}"),
    }
}

/// A line of content, without what chance decides, and with fields that an origin got in Envoy's spelling: ours keeps the
/// client's, as the differential tests of `tidegate proxy` list.
fn body(line: &str) -> String {
    match line.trim_end().split_once(": ") {
        Some(("x-request-id", _)) => "got: x-request-id".to_owned(),
        Some((name, value)) if !name.contains(' ') => {
            format!("got: {}: {value}", name.to_ascii_lowercase())
        }
        _ => format!("got: {}", line.trim_end()),
    }
}

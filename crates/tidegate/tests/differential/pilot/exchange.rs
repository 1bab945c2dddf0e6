//! Sends a request as it is asked for, and reads the answer as lines.

use std::net::SocketAddr;

use bytes::Bytes;
use rustls_pki_types::ServerName;
use tidegate_testing::PATIENCE;
use tidegate_testing::client::{self, Client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::requests::{Ask, Request};
use super::tls::Keys;
use crate::wire;

/// There was no answer.
const CLOSED: &str = "closed";

/// What a listener answers.
pub async fn answer(address: SocketAddr, ask: &Ask, keys: &Keys) -> Vec<String> {
    let Some(tls) = &ask.tls else {
        let stream = TcpStream::connect(address).await.expect("a listener");
        return exchange(stream, ask, "http").await;
    };
    // An address is no server name: none is asked for (RFC 6066, section 3).
    let name = tls.name.clone().unwrap_or_else(|| address.ip().to_string());
    let config = keys.client(tls, ask.http2);
    match client::tls(address, &name, config.clone()).await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let shown = format!("certificate {:?}", keys.server_of(shown));
            let mut lines = exchange(stream, ask, "https").await;
            // Whether a connection is refused during the handshake or after it, is all the same.
            if lines != [CLOSED] {
                lines.insert(0, shown);
            }
            lines
        }
        // Closed, or led to an origin as it is, which says so in plain text.
        Err(_) => {
            let name = ServerName::try_from(name).expect("a server name");
            let mut hello = Vec::new();
            let client = rustls::ClientConnection::new(config, name);
            client.expect("a client").write_tls(&mut hello).expect("a hello");
            let mut client = Client::connect(address).await;
            client.send(&hello).await;
            // A server that would go on with the handshake waits.
            let Ok(first) = client.read_exact(8).await else { return vec![CLOSED.to_owned()] };
            let passed = if first == b"HTTP/1.1" {
                let told = [first, client.read_to_end().await].concat();
                String::from_utf8(told).ok()
            } else {
                None
            };
            vec![passed.unwrap_or_else(|| CLOSED.to_owned())]
        }
    }
}

async fn exchange<S>(stream: S, ask: &Ask, scheme: &str) -> Vec<String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head = ask.request.head(scheme).filter(|_| ask.http2);
    let Some(head) = head else { return http1(stream, &ask.request).await };
    let told = timeout(PATIENCE, http2(stream, head, &ask.request)).await;
    told.expect("an answer in time").unwrap_or_else(|_| vec![CLOSED.to_owned()])
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin>(stream: S, request: &Request) -> Vec<String> {
    let mut client = Client::over(stream);
    client.send(request.bytes()).await;
    match client.read(request.is_head()).await {
        Ok(told) => lines(told.status, &told.headers, &told.body, request),
        Err(_) => vec![CLOSED.to_owned()],
    }
}

async fn http2<S>(
    stream: S,
    head: http::Request<()>,
    request: &Request,
) -> Result<Vec<String>, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let told = async {
        let mut send = send.ready().await?;
        let body = request.body();
        let (answer, mut sender) = send.send_request(head, body.is_empty())?;
        if !body.is_empty() {
            sender.send_data(Bytes::from_static(body.as_bytes()), true)?;
        }
        let (head, mut rest) = answer.await?.into_parts();
        let mut content = Vec::new();
        while let Some(data) = rest.data().await {
            let data = data?;
            rest.flow_control().release_capacity(data.len())?;
            content.extend(data);
        }
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let fields = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        Ok(lines(head.status.as_u16(), &fields.collect::<Vec<_>>(), &content, request))
    };
    let told = told.await;
    connection.abort();
    told
}

/// An answer, without what has no meaning.
fn lines(status: u16, fields: &[(String, String)], body: &[u8], request: &Request) -> Vec<String> {
    // The reason has none (RFC 9112, section 4).
    let mut lines = vec![status.to_string()];
    let lower = |(name, value): &(String, String)| {
        let name = name.to_ascii_lowercase();
        // Nor has the value of a cookie that is made for a hash.
        let made = (name == "set-cookie").then(|| value.split('"').collect::<Vec<_>>());
        let value = match made.as_deref() {
            Some([before, _, after]) => format!("{before}\"(made)\"{after}"),
            _ => value.clone(),
        };
        (name, value)
    };
    // What has no content needs no framing (RFC 9112, section 6.1). Envoy sends some after a 204 in HTTP/2.
    let bare = request.is_head() || status == 204;
    let framing = |name: &str| matches!(name, "transfer-encoding" | "content-length");
    let fields = fields.iter().map(lower).filter(|(name, _)| !(bare && framing(name)));
    lines.extend(wire::fields("<", &fields.collect::<Vec<_>>()));
    if !bare {
        lines.extend(String::from_utf8_lossy(body).lines().map(str::to_owned));
    }
    lines
}

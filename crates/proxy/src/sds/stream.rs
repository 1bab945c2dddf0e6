//! One gRPC stream of discovery: messages with five bytes before each, over HTTP/2.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::discovery::{DiscoveryRequest, DiscoveryResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::upstream::direct::{self, Connection};
use crate::upstream::fault::Fault;
use crate::upstream::{Cluster, Endpoint};

/// The method that streams secrets.
const METHOD: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

/// Most bytes of a message: what gRPC's own libraries take.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A stream; dropping it closes its connection.
#[derive(Debug)]
pub(super) struct Stream {
    requests: SendStream<Bytes>,
    answers: Answers,
    /// Bytes of messages that are not whole yet.
    buffer: BytesMut,
    _connection: JoinSet<()>,
}

#[derive(Debug)]
enum Answers {
    /// The head has not come.
    Head(ResponseFuture),
    Body(RecvStream),
}

impl Stream {
    /// Opens a stream to one of a cluster's endpoints, in TLS if the cluster has it.
    pub async fn open(cluster: &Cluster) -> Result<Self, Fault> {
        let Connection { endpoint, io } = direct::connect(cluster, None, b"h2").await?;
        let scheme = if cluster.tls.is_some() { "https" } else { "http" };
        let over = Self::over(io, &authority(scheme, &endpoint)).await;
        over.map_err(|error| Fault::at(&endpoint.address, error))
    }

    async fn over(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: &str,
    ) -> Result<Self, String> {
        let (client, connection) = h2::client::handshake(io).await.map_err(text)?;
        let mut running = JoinSet::new();
        running.spawn(async move {
            // The stream hears of its end as well, with the reason.
            let _ = connection.await;
        });
        let mut client: SendRequest<Bytes> = client.ready().await.map_err(text)?;
        let request = Request::post(format!("{origin}{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .body(())
            .map_err(text)?;
        let (head, requests) = client.send_request(request, false).map_err(text)?;
        let answers = Answers::Head(head);
        Ok(Self { requests, answers, buffer: BytesMut::new(), _connection: running })
    }

    /// Sends a request.
    pub fn ask(&mut self, request: &DiscoveryRequest) -> Result<(), String> {
        let length = request.encoded_len();
        let mut framed = BytesMut::with_capacity(PREFIX + length);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(length).map_err(text)?);
        request.encode(&mut framed).map_err(text)?;
        self.requests.send_data(framed.freeze(), false).map_err(text)
    }

    /// Waits for the next answer; an error is why there will be none. Safe to cancel.
    pub async fn answer(&mut self) -> Result<DiscoveryResponse, String> {
        loop {
            if let Some(message) = take(&mut self.buffer)? {
                return DiscoveryResponse::decode(message).map_err(text);
            }
            match &mut self.answers {
                Answers::Head(head) => {
                    let response = head.await.map_err(text)?;
                    check(response.status(), response.headers())?;
                    self.answers = Answers::Body(response.into_body());
                }
                Answers::Body(body) => match body.data().await {
                    Some(bytes) => {
                        let bytes = bytes.map_err(text)?;
                        body.flow_control().release_capacity(bytes.len()).map_err(text)?;
                        self.buffer.extend_from_slice(&bytes);
                    }
                    None => {
                        let trailers = body.trailers().await.map_err(text)?.unwrap_or_default();
                        let why = refusal(&trailers);
                        return Err(why.unwrap_or_else(|| "it has ended the stream".to_owned()));
                    }
                },
            }
        }
    }
}

/// Takes a whole message out of a buffer.
fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some((&[compressed, a, b, c, d], _)) = buffer.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    if compressed != 0 {
        return Err("its messages are compressed, which nobody asked for".to_owned());
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MAX_MESSAGE {
        return Err(format!("a message has {length} bytes, and at most {MAX_MESSAGE} are taken"));
    }
    if buffer.len() < PREFIX + length {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Whether a head begins a stream.
fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), String> {
    if status != StatusCode::OK {
        return Err(format!("it answers {status}"));
    }
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/grpc") {
        return Err(format!("it does not speak gRPC: its content-type is {kind:?}"));
    }
    refusal(headers).map_or(Ok(()), Err)
}

/// What a gRPC status says, where it is none of success.
fn refusal(headers: &HeaderMap) -> Option<String> {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = field("grpc-status").filter(|code| *code != "0")?;
    let message = field("grpc-message").unwrap_or_default();
    Some(format!("it answers with gRPC status {code}: {message}"))
}

/// Where requests go, as the server is called.
fn authority(scheme: &str, endpoint: &Endpoint) -> String {
    match (&endpoint.hostname, endpoint.address.socket()) {
        (Some(name), Some(at)) if !name.is_empty() => format!("{scheme}://{name}:{}", at.port()),
        (_, Some(at)) => format!("{scheme}://{at}"),
        // The path of a socket is no authority (RFC 3986 section 3.2).
        (name, None) => {
            let name = name.as_deref().filter(|name| !name.is_empty());
            format!("{scheme}://{}", name.unwrap_or("localhost"))
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole_and_never_grow_without_bound() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 0, 2, b'a'][..]);
        assert_eq!(take(&mut buffer), Ok(None));
        buffer.extend_from_slice(b"b\0\0\0\0\0");
        assert_eq!(take(&mut buffer), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(take(&mut buffer), Ok(Some(Bytes::new())), "an empty one is whole");
        assert_eq!(take(&mut buffer), Ok(None));
        let compressed = take(&mut BytesMut::from(&[1, 0, 0, 0, 0][..]));
        assert!(compressed.is_err_and(|why| why.contains("compressed")));
        let flood = take(&mut BytesMut::from(&[0, 255, 255, 255, 255][..]));
        assert!(flood.is_err_and(|why| why.contains("4294967295 bytes")));
    }

    #[test]
    fn what_is_no_stream_is_told() {
        let heads = [
            (503, "text/plain", "", "503"),
            (200, "text/html", "", "does not speak gRPC"),
            (200, "application/grpc", "16", "gRPC status 16"),
        ];
        for (status, kind, code, word) in heads {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", kind.parse().expect("a value"));
            if !code.is_empty() {
                headers.insert("grpc-status", code.parse().expect("a value"));
            }
            let status = StatusCode::from_u16(status).expect("a status");
            let why = check(status, &headers).expect_err(word);
            assert!(why.contains(word), "{why}");
        }
    }
}

//! An HTTP/1 client for tests: it sends the bytes it is given, right or wrong, and reads what comes back
//! strictly (RFC 9112, section 6), so that a badly framed answer fails the test that got it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::PATIENCE;

/// One connection.
pub struct Client<S = TcpStream> {
    stream: S,
    /// Read, but not yet part of an answer.
    ahead: Vec<u8>,
}

/// One answer. Interim answers (100, 103) and 101 come as answers of their own, without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: String,
    /// Header fields in the order and letter case that they came in.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The value of the only header field of that name, in any letter case; panics when there are several.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "several {name} in {:?}", self.headers);
        value
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics when it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// Sends one GET on a connection of its own and returns the answer.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Response {
    let mut client = Client::connect(address).await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    client.response().await
}

/// Connects and completes a TLS handshake for `name`, or says why the server did not.
///
/// # Errors
/// What the connection or the handshake failed with; a server that closes is `UnexpectedEof`.
pub async fn tls(
    address: SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a DNS name or an address");
    timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await?
}

impl Client<TcpStream> {
    /// Connects over plain TCP; panics when nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// A client on a stream that is already open, such as a TLS one.
    pub fn over(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// Sends these bytes as they are. A peer that has closed is no failure here: its answer may be waiting.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Ends the sending direction (FIN, or close_notify).
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The stream and what was read ahead, for what follows a 101.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// Sends a request and reads its answer; knows by the first word whether it is a HEAD.
    pub async fn request(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        let head = bytes.as_ref().starts_with(b"HEAD ");
        self.send(bytes).await;
        self.read(head).await.expect("an answer")
    }

    /// The next answer, to anything but HEAD; panics when there is none or its framing is wrong.
    pub async fn response(&mut self) -> Response {
        self.read(false).await.expect("an answer")
    }

    /// The next answer; `to_head` when the request was a HEAD.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection ends inside (or before) the answer, `InvalidData` when its
    /// framing is wrong, `TimedOut` after [`PATIENCE`].
    pub async fn read(&mut self, to_head: bool) -> io::Result<Response> {
        timeout(PATIENCE, self.read_response(to_head)).await?
    }

    /// Everything until the peer closes or resets.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let reading = async { while self.fill().await.is_ok() {} };
        timeout(PATIENCE, reading).await.expect("an end of the stream");
        std::mem::take(&mut self.ahead)
    }

    /// The next `count` bytes, whatever they are.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends before them, `TimedOut` after [`PATIENCE`].
    pub async fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        timeout(PATIENCE, self.take(count)).await?
    }

    async fn read_response(&mut self, to_head: bool) -> io::Result<Response> {
        let line = self.line().await?;
        let mut words = line.splitn(3, ' ');
        let version = words.next().filter(|v| v.starts_with("HTTP/1.")).map(str::to_owned);
        let status = words.next().and_then(|word| word.parse::<u16>().ok());
        let (Some(version), Some(status)) = (version, status) else {
            return Err(invalid(format!("status line {line:?}")));
        };
        let reason = words.next().unwrap_or_default().to_owned();
        let headers = self.fields().await?;
        let mut response =
            Response { version, status, reason, headers, body: Vec::new(), trailers: Vec::new() };
        let bodiless = to_head || matches!(status, 100..200 | 204 | 304);
        if !bodiless {
            self.body(&mut response).await?;
        }
        Ok(response)
    }

    async fn body(&mut self, response: &mut Response) -> io::Result<()> {
        match (response.header("transfer-encoding"), response.header("content-length")) {
            (Some(_), Some(_)) => Err(invalid("both Transfer-Encoding and Content-Length")),
            (Some("chunked"), None) => self.chunks(response).await,
            (Some(other), None) => Err(invalid(format!("Transfer-Encoding {other:?}"))),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| invalid(format!("length {length:?}")))?;
                response.body = self.take(length).await?;
                Ok(())
            }
            (None, None) => {
                while self.fill().await.is_ok() {}
                response.body = std::mem::take(&mut self.ahead);
                Ok(())
            }
        }
    }

    async fn chunks(&mut self, response: &mut Response) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| invalid(format!("chunk size {line:?}")))?;
            if size == 0 {
                response.trailers = self.fields().await?;
                return Ok(());
            }
            response.body.extend(self.take(size).await?);
            if !self.line().await?.is_empty() {
                return Err(invalid("no line end after a chunk"));
            }
        }
    }

    async fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| invalid(format!("field {line:?}")))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let end = loop {
            match self.ahead.iter().position(|&byte| byte == b'\n') {
                Some(end) => break end,
                None => self.fill().await?,
            }
        };
        let mut line: Vec<u8> = self.ahead.drain(..=end).collect();
        line.pop();
        if line.pop() != Some(b'\r') {
            return Err(invalid("a line that ends without CR"));
        }
        String::from_utf8(line).map_err(|_| invalid("a line that is no UTF-8"))
    }

    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            self.fill().await?;
        }
        Ok(self.ahead.drain(..count).collect())
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.ahead).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Response> {
        let (mine, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(bytes).await.expect("room in the pipe");
        drop(theirs);
        Client::over(mine).read(false).await
    }

    #[tokio::test]
    async fn reads_each_framing() {
        let fixed = read(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nhix").await;
        let fixed = fixed.expect("an answer");
        assert_eq!((fixed.status, fixed.text().as_str()), (200, "hi"));
        assert_eq!(fixed.header("a"), Some("b"));

        let chunked = read(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\nT: 1\r\n\r\n");
        let chunked = chunked.await.expect("an answer");
        assert_eq!(chunked.text(), "hi!");
        assert_eq!(chunked.trailers, [("T".to_owned(), "1".to_owned())]);

        let until_close = read(b"HTTP/1.0 200 OK\r\n\r\nall").await.expect("an answer");
        assert_eq!(until_close.text(), "all");

        let empty = read(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("an answer");
        assert!(empty.body.is_empty());
    }

    #[tokio::test]
    async fn refuses_bad_framing() {
        let kind = |result: io::Result<Response>| result.map_err(|error| error.kind());
        let both = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(kind(read(both).await), Err(io::ErrorKind::InvalidData));
        let bare = b"HTTP/1.1 200 OK\n\n";
        assert_eq!(kind(read(bare).await), Err(io::ErrorKind::InvalidData));
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi";
        assert_eq!(kind(read(short).await), Err(io::ErrorKind::UnexpectedEof));
    }
}

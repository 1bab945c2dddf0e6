//! HTTP/1 messages as both ends of a case read them, and the lines in which they are compared.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection and what was read ahead on it.
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Whole,
    Cut,
}

/// A body with what followed it.
#[derive(Debug)]
pub struct Body {
    pub content: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    pub ended: Ended,
}

/// A head: start line and fields.
#[derive(Debug)]
pub struct Head {
    pub start: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        // Delays are no part of what is compared.
        let _ = stream.set_nodelay(true);
        Self { stream, ahead: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends; a peer that has closed is seen when reading.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await;
    }

    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads more; false at the end.
    pub async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.ahead)).await;
        matches!(read, Ok(io::Result::Ok(n)) if n > 0)
    }

    /// The next head; none when the connection ends before it.
    pub async fn head(&mut self) -> Option<Head> {
        loop {
            let end = self.ahead.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = end {
                let text: String = self.ahead.drain(..end + 4).map(char::from).collect();
                let mut lines = text.trim_end().split("\r\n");
                let start = lines.next().unwrap_or_default().to_owned();
                return Some(Head { start, fields: lines.map(field).collect() });
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The body of an answer; `head` says that the request was HEAD.
    pub async fn response_body(&mut self, of: &Head, head: bool) -> Body {
        if head || matches!(of.status(), 204 | 304) {
            return self.sized(0).await;
        }
        match framing(of) {
            Some(Framing::Chunked) => self.chunked().await,
            Some(Framing::Length(length)) => self.sized(length).await,
            None => Body { content: self.rest().await, trailers: Vec::new(), ended: Ended::Whole },
        }
    }

    /// The body of a request.
    pub async fn request_body(&mut self, of: &Head) -> Body {
        match framing(of) {
            Some(Framing::Chunked) => self.chunked().await,
            Some(Framing::Length(length)) => self.sized(length).await,
            None => self.sized(0).await,
        }
    }

    /// Exactly so many bytes, or what there is.
    pub async fn sized(&mut self, length: usize) -> Body {
        let mut ended = Ended::Whole;
        while self.ahead.len() < length {
            if !self.fill().await {
                ended = Ended::Cut;
                break;
            }
        }
        let length = length.min(self.ahead.len());
        Body { content: self.ahead.drain(..length).collect(), trailers: Vec::new(), ended }
    }

    /// Everything to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.ahead)
    }

    async fn chunked(&mut self) -> Body {
        let mut body = Body { content: Vec::new(), trailers: Vec::new(), ended: Ended::Whole };
        loop {
            let Some(line) = self.line().await else { break };
            let size = line.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(size, 16) else { break };
            if size == 0 {
                while let Some(line) = self.line().await {
                    if line.is_empty() {
                        return body;
                    }
                    body.trailers.push(field(&line));
                }
                break;
            }
            let part = self.sized(size).await;
            body.content.extend(part.content);
            if part.ended == Ended::Cut || self.line().await.is_none() {
                break;
            }
        }
        body.ended = Ended::Cut;
        body
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|end| end == b"\r\n") {
                return Some(self.ahead.drain(..end + 2).map(char::from).collect::<String>())
                    .map(|line| line.trim_end_matches("\r\n").to_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(head: &Head) -> Option<Framing> {
    if head.get("transfer-encoding").is_some() {
        return Some(Framing::Chunked);
    }
    head.get("content-length").and_then(|length| length.parse().ok()).map(Framing::Length)
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

/// Fields as lines in a fixed order, without what differs from one request to the next.
pub fn fields(mark: &str, fields: &[(String, String)]) -> Vec<String> {
    let mut fields: Vec<_> =
        fields.iter().filter(|(name, _)| name != "date" && name != "x-case").collect();
    fields.sort_by_key(|(name, _)| name);
    let line = |(name, value): &(String, String)| {
        // Options of a connection have no letter case (RFC 9110 section 7.6.1).
        if name == "connection" {
            return format!("{mark} {name}: {}", value.to_ascii_lowercase());
        }
        let value = match name.as_str() {
            "x-request-id" if value.len() == 36 => "(made)",
            "x-envoy-upstream-service-time" => "(time)",
            // What attempts have left of a route's time.
            "x-envoy-expected-rq-timeout-ms" if value.len() < 3 => "(little)",
            _ => value,
        };
        format!("{mark} {name}: {value}")
    };
    fields.into_iter().map(line).collect()
}

/// Content as a line: short text as it is, else its length and hash.
pub fn content(mark: &str, content: &[u8], ended: Ended) -> String {
    let cut = if ended == Ended::Cut { ", cut" } else { "" };
    if content.len() <= 160 {
        return format!("{mark} [{}]{cut}", content.escape_ascii());
    }
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{mark} [{} bytes, hash {:x}]{cut}", content.len(), hasher.finish())
}

//! As much of HTTP/1 as the simulated peers need.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How long content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

/// A message's head.
#[derive(Debug)]
pub(super) struct Head {
    text: String,
}

impl Head {
    /// The second word of the first line.
    pub(super) fn word(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }

    /// The client's port in the PROXY header before it, if there is one.
    pub(super) fn introduced(&self) -> Option<u16> {
        let line = self.text.lines().next()?.strip_prefix("PROXY TCP4 10.1.0.1 10.1.0.2 ")?;
        line.strip_suffix(" 80")?.parse().ok()
    }

    /// Whether it is the beginning of HTTP/2's preface.
    pub(super) fn is_preface(&self) -> bool {
        self.text.lines().last() == Some("PRI * HTTP/2.0")
    }

    /// A header, by its name in small letters.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// A header that is a number.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }

    fn length(&self, of_request: bool) -> Length {
        match self.number("content-length") {
            Some(length) => Length::Known(length),
            None if self.get("transfer-encoding").is_some() => Length::Chunked,
            None if of_request => Length::Known(0),
            None => Length::ToTheEnd,
        }
    }
}

/// Reads messages.
pub(super) struct Messages<R> {
    io: R,
    read: BytesMut,
}

fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(super) fn new(io: R) -> Self {
        Self { io, read: BytesMut::new() }
    }

    pub(super) fn io(&mut self) -> &mut R {
        &mut self.io
    }

    /// What has come and was not taken, and where it came from.
    pub(super) fn into_parts(self) -> (BytesMut, R) {
        (self.read, self.io)
    }

    /// Whether anything has come that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.io.read_buf(&mut self.read).await? == 0 { Err(cut()) } else { Ok(()) }
    }

    /// Takes what stands before `end`, and that.
    async fn until(&mut self, end: &[u8]) -> io::Result<BytesMut> {
        loop {
            let found = self.read.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let taken = self.read.split_to(at);
                self.read.advance(end.len());
                return Ok(taken);
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<BytesMut> {
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(self.read.split_to(length))
    }

    pub(super) async fn head(&mut self) -> io::Result<Head> {
        let text = self.until(b"\r\n\r\n").await?;
        Ok(Head { text: String::from_utf8_lossy(&text).into_owned() })
    }

    pub(super) async fn content(&mut self, head: &Head, of_request: bool) -> io::Result<BytesMut> {
        match head.length(of_request) {
            Length::Known(length) => self.exactly(length).await,
            Length::Chunked => {
                let mut all = BytesMut::new();
                loop {
                    let line = self.until(b"\r\n").await?;
                    let size = String::from_utf8_lossy(&line).into_owned();
                    let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
                    all.extend_from_slice(&self.exactly(size).await?);
                    self.until(b"\r\n").await?;
                    if size == 0 {
                        return Ok(all);
                    }
                }
            }
            Length::ToTheEnd => loop {
                if self.io.read_buf(&mut self.read).await? == 0 {
                    return Ok(self.read.split());
                }
            },
        }
    }
}

/// The content of request `number`, and of its answer: nobody else's is like it.
pub(super) fn content(number: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (number.wrapping_mul(31) + at) as u8).collect()
}

/// Content in chunks.
pub(super) fn chunked(content: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in content.chunks(1000) {
        all.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        all.extend_from_slice(piece);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

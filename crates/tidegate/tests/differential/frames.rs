//! HTTP/2 frame by frame, at either end: what no library says, or not at the wanted moment.

use std::net::SocketAddr;
use std::time::Duration;

use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Longest wait for the next frame; a connection that is silent for so long is taken to be open.
const SILENCE: Duration = Duration::from_millis(900);

/// A frame (RFC 9113 section 4.1).
#[derive(Clone, Debug)]
pub struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn new(kind: u8, flags: u8, stream: u32, payload: Vec<u8>) -> Self {
        Self { kind, flags, stream, payload }
    }

    /// Fields, none of them compressed, in one frame; `end` says that no content follows.
    pub fn head(stream: u32, fields: &[(&str, &str)], end: bool) -> Self {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        Self::new(HEADERS, flags, stream, block(fields))
    }

    /// Fields in as many frames as they need.
    pub fn long_head(stream: u32, fields: &[(&str, &str)]) -> Vec<Self> {
        let block = block(fields);
        let mut frames: Vec<_> = block
            .chunks(16_000)
            .map(|part| Self::new(CONTINUATION, 0, stream, part.to_vec()))
            .collect();
        if let Some(first) = frames.first_mut() {
            (first.kind, first.flags) = (HEADERS, END_STREAM);
        }
        if let Some(last) = frames.last_mut() {
            last.flags |= END_HEADERS;
        }
        frames
    }

    pub fn data(stream: u32, content: &str, end: bool) -> Self {
        Self::new(DATA, if end { END_STREAM } else { 0 }, stream, content.as_bytes().to_vec())
    }

    pub fn reset(stream: u32, reason: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, reason.to_be_bytes().to_vec())
    }

    /// Nothing after stream `last` is looked at.
    pub fn away(last: u32, reason: u32) -> Self {
        Self::new(GOAWAY, 0, 0, [last.to_be_bytes(), reason.to_be_bytes()].concat())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.payload.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.payload);
    }

    async fn read(from: &mut TcpStream) -> std::io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload).await?;
        Ok(Self::new(kind, flags, u32::from_be_bytes(stream) & (u32::MAX >> 1), payload))
    }

    fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// What answers a frame that concerns the connection.
    fn answer(&self) -> Option<Self> {
        match self.kind {
            SETTINGS if self.flags & ACK == 0 => Some(Self::new(SETTINGS, ACK, 0, Vec::new())),
            PING if self.flags & ACK == 0 => Some(Self::new(PING, ACK, 0, self.payload.clone())),
            _ => None,
        }
    }
}

/// Literal fields that are not indexed (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(out: &mut Vec<u8>, length: usize) {
    if length < 127 {
        out.push(length as u8);
        return;
    }
    out.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// The status with which a block of fields begins, as our peers write it; 0 for anything else.
fn status(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        // A new size of the table comes first.
        [0x20..=0x3f, rest @ ..] => status(rest),
        [at @ 0x88..=0x8e, ..] => STATIC[usize::from(at - 0x88)],
        [0x08 | 0x48, len, rest @ ..] => {
            let text = rest.get(..usize::from(len & 0x7f)).unwrap_or_default();
            let text = if len & 0x80 == 0 { text.to_vec() } else { digits(text) };
            std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
        }
        _ => 0,
    }
}

/// Three digits in Huffman's code (RFC 7541 appendix B): five bits for 0, 1 and 2, six for the others.
fn digits(code: &[u8]) -> Vec<u8> {
    let bits = code.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = code.len() * 8;
    let take = |n: usize, left: &mut usize| {
        *left = left.saturating_sub(n);
        (bits >> *left) & ((1 << n) - 1)
    };
    let mut text = Vec::new();
    while text.len() < 3 && left >= 5 {
        let five = take(5, &mut left);
        if five <= 2 {
            text.push(b'0' + five as u8);
        } else {
            let six = five << 1 | take(1, &mut left);
            text.push(b'0' + six.saturating_sub(0x19) as u8 + 3);
        }
    }
    text
}

/// Sends the frames on a connection of its own; returns what came back, as lines.
pub async fn run(address: SocketAddr, frames: &[Frame]) -> Vec<String> {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return vec!["no connection".to_owned()];
    };
    let mut out = PREFACE.to_vec();
    Frame::new(SETTINGS, 0, 0, Vec::new()).write(&mut out);
    frames.iter().for_each(|frame| frame.write(&mut out));
    let _ = stream.write_all(&out).await;
    let mut seen = Vec::new();
    loop {
        let frame = match timeout(SILENCE, Frame::read(&mut stream)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(_)) => {
                seen.push("closed".to_owned());
                return seen;
            }
            Err(_) => {
                seen.push("open".to_owned());
                return seen;
            }
        };
        if let Some(answer) = frame.answer() {
            let mut out = Vec::new();
            answer.write(&mut out);
            let _ = stream.write_all(&out).await;
        }
        note(&mut seen, &frame);
    }
}

fn note(seen: &mut Vec<String>, frame: &Frame) {
    let stream = frame.stream;
    let reason = |at: usize| {
        let code = frame.payload.get(at..at + 4).and_then(|code| code.try_into().ok());
        Reason::from(code.map_or(u32::MAX, u32::from_be_bytes))
    };
    match frame.kind {
        HEADERS => seen.push(format!("< {stream}: {}", status(&frame.payload))),
        DATA if !frame.payload.is_empty() => {
            seen.push(format!("< {stream}: [{}]", frame.payload.escape_ascii()));
        }
        RST_STREAM => seen.push(format!("< {stream}: reset {:?}", reason(0))),
        GOAWAY => seen.push(format!("< away {:?}", reason(4))),
        _ => {}
    }
    if frame.ends() {
        seen.push(format!("< {stream}: end"));
    }
}

/// What an origin says to a request that is complete: the `nth` of its connection, on `stream`.
pub type Script = fn(nth: usize, stream: u32) -> Vec<Say>;

/// One thing that a scripted origin does.
#[derive(Clone, Debug)]
pub enum Say {
    Frame(Frame),
    /// What was said and what comes next do not travel together.
    Pause,
    Close,
}

/// Starts an HTTP/2 origin that follows a script; `early` says that it does not wait for a request's content.
pub async fn start(script: Script, early: bool) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port for the origin");
    let address = listener.local_addr().expect("the origin's address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script, early));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, script: Script, early: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    let mut out = Vec::new();
    Frame::new(SETTINGS, 0, 0, Vec::new()).write(&mut out);
    stream.write_all(&out).await?;
    let mut nth = 0;
    loop {
        let frame = Frame::read(&mut stream).await?;
        let mut say: Vec<_> = frame.answer().map(Say::Frame).into_iter().collect();
        if frame.ends() && !early || frame.kind == HEADERS && early {
            say = script(nth, frame.stream);
            nth += 1;
        }
        for say in say {
            match say {
                Say::Frame(frame) => {
                    let mut out = Vec::new();
                    frame.write(&mut out);
                    stream.write_all(&out).await?;
                }
                Say::Pause => tokio::time::sleep(Duration::from_millis(60)).await,
                Say::Close => return Ok(()),
            }
        }
    }
}

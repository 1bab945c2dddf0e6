//! Where a body ends: one decoder for all framings, fed with whatever bytes are there.

use super::parse::{BadMessage, Framing};

/// Longest chunk-size line with extensions. Extensions carry no meaning for a proxy and are dropped.
const MAX_CHUNK_LINE: usize = 4096;
/// Most bytes of trailers.
const MAX_TRAILERS: usize = 8 * 1024;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// `skip` bytes of framing, then `len` bytes of content (at least one).
    Data {
        /// Bytes to drop.
        skip: usize,
        /// Bytes of content after them.
        len: usize,
    },
    /// `skip` bytes of framing, then the message is over; `trailers` bytes in front of the end of `skip`
    /// are its trailer section with the closing empty line, when that has any line.
    End {
        /// Bytes to drop.
        skip: usize,
        /// How many of them, at the end, are the trailer section; 0 without trailers.
        trailers: usize,
    },
    /// `skip` bytes of framing can be dropped, then more must be read.
    More {
        /// Bytes to drop.
        skip: usize,
    },
}

/// Finds content in the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyDecoder {
    /// Nothing follows.
    Done,
    /// So many bytes follow.
    Length(u64),
    /// Everything follows, until the connection closes.
    UntilClose,
    /// Chunks follow.
    Chunked(Chunk),
}

/// State between chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A size line comes next.
    Size,
    /// So many bytes of content come next.
    Data(u64),
    /// The line end behind a chunk's content comes next.
    DataEnd,
    /// The trailer section comes next.
    Trailers,
}

impl From<Framing> for BodyDecoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::Size),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl BodyDecoder {
    /// Whether the body is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// What `bytes` start with. State about content changes only through [`BodyDecoder::consumed`], so that
    /// a reader may take less than it was offered; framing that is reported in `skip` must be dropped.
    ///
    /// # Errors
    /// [`BadMessage::Chunk`] when chunk framing is broken, [`BadMessage::TooLarge`] when a line is too long.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, BadMessage> {
        match self {
            Self::Done => Ok(Decoded::End { skip: 0, trailers: 0 }),
            _ if bytes.is_empty() => Ok(Decoded::More { skip: 0 }),
            Self::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                Ok(Decoded::Data { skip: 0, len })
            }
            Self::UntilClose => Ok(Decoded::Data { skip: 0, len: bytes.len() }),
            Self::Chunked(chunk) => {
                let decoded = chunk.decode(bytes)?;
                if matches!(decoded, Decoded::End { .. }) {
                    *self = Self::Done;
                }
                Ok(decoded)
            }
        }
    }

    /// Says that `len` bytes of content were taken.
    pub fn consumed(&mut self, len: usize) {
        match self {
            Self::Length(left) => {
                *left = left.saturating_sub(len as u64);
                if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::Chunked(chunk) => {
                if let Chunk::Data(left) = chunk {
                    *left = left.saturating_sub(len as u64);
                    if *left == 0 {
                        *chunk = Chunk::DataEnd;
                    }
                }
            }
            Self::Done | Self::UntilClose => {}
        }
    }
}

impl Chunk {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, BadMessage> {
        let mut skip = 0;
        loop {
            let rest = &bytes[skip..];
            match self {
                Self::Data(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    return Ok(if len == 0 {
                        Decoded::More { skip }
                    } else {
                        Decoded::Data { skip, len }
                    });
                }
                Self::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skip += 2;
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(Decoded::More { skip }),
                    _ => return Err(BadMessage::Chunk),
                },
                Self::Size => {
                    let Some(line) = line(rest, MAX_CHUNK_LINE)? else {
                        return Ok(Decoded::More { skip });
                    };
                    skip += line.len() + 2;
                    *self = match chunk_size(line)? {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                }
                Self::Trailers => return trailer_end(rest, skip),
            }
        }
    }
}

/// Looks for the end of the trailer section; the section is kept in the buffer until it is whole.
fn trailer_end(rest: &[u8], skip: usize) -> Result<Decoded, BadMessage> {
    let mut at = 0;
    while let Some(line) = line(&rest[at..], MAX_TRAILERS)? {
        at += line.len() + 2;
        if line.is_empty() {
            let trailers = if at > 2 { at } else { 0 };
            return Ok(Decoded::End { skip: skip + at, trailers });
        }
        if at > MAX_TRAILERS {
            return Err(BadMessage::TooLarge);
        }
    }
    if rest.len() > MAX_TRAILERS { Err(BadMessage::TooLarge) } else { Ok(Decoded::More { skip }) }
}

/// The first line without its CRLF; `None` when it is not whole yet.
fn line(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, BadMessage> {
    match memchr::memchr(b'\n', bytes) {
        Some(0) => Err(BadMessage::Chunk),
        Some(end) if bytes[end - 1] == b'\r' && end <= limit => Ok(Some(&bytes[..end - 1])),
        Some(_) => Err(BadMessage::Chunk),
        None if bytes.len() > limit => Err(BadMessage::TooLarge),
        None => Ok(None),
    }
}

/// `chunk-size [ chunk-ext ]` (RFC 9112 section 7.1).
fn chunk_size(line: &[u8]) -> Result<u64, BadMessage> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let zeros = line.iter().take_while(|&&byte| byte == b'0').count();
    if digits == 0 || digits - zeros > 15 {
        return Err(BadMessage::Chunk);
    }
    let extension = &line[digits..];
    let blank = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let valid = extension.is_empty()
        || (extension.get(blank) == Some(&b';')
            && extension.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
    if !valid {
        return Err(BadMessage::Chunk);
    }
    let digit = |byte: &u8| u64::from((*byte as char).to_digit(16).unwrap_or_default());
    Ok(line[..digits].iter().fold(0, |size, byte| size << 4 | digit(byte)))
}

#[cfg(test)]
mod tests;

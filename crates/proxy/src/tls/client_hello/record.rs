//! The record layer (RFC 8446, section 5.1): the first handshake message out of its records.

use std::borrow::Cow;

use super::Malformed;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const MAX_FRAGMENT: usize = 1 << 14;
const CONTENT_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;

/// What is known of the first handshake message.
pub(super) enum Message<'a> {
    Incomplete,
    NotTls,
    Malformed(Malformed),
    /// The body of a ClientHello. Borrowed when it lies in one record, which is the rule.
    Whole(Cow<'a, [u8]>),
}

/// How far the records of a connection have been looked at. What was is not looked at again when more has arrived.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Where the record begins of which not all has been seen.
    at: usize,
    /// How much of its content has been.
    taken: usize,
    scan: Scan,
}

impl Progress {
    /// Finds the ClientHello at the start of `bytes`, joining the records it is split over. Only the
    /// first `max_bytes` count, so that the answer does not depend on how the bytes arrived.
    pub(super) fn message<'b>(&mut self, bytes: &'b [u8], max_bytes: usize) -> Message<'b> {
        if self.scan.seen == 0 && !is_handshake_record(bytes) {
            return Message::NotTls;
        }
        let within = &bytes[..bytes.len().min(max_bytes)];
        match self.whole_length(within, max_bytes) {
            Ok(Some(length)) => Message::Whole(body(within, length)),
            Ok(None) if bytes.len() >= max_bytes => {
                Message::Malformed(Malformed::TooLarge(max_bytes))
            }
            Ok(None) => Message::Incomplete,
            Err(why) => Message::Malformed(why),
        }
    }

    /// The length of the message's body, once `bytes` hold all of it.
    fn whole_length(&mut self, bytes: &[u8], max_bytes: usize) -> Result<Option<usize>, Malformed> {
        while let Some(fragment) = next_fragment(bytes.get(self.at..).unwrap_or_default())? {
            let new = fragment.present.get(self.taken..).unwrap_or_default();
            self.scan.add(new, max_bytes)?;
            if let Some(length) = self.scan.whole() {
                return Ok(Some(length));
            }
            if fragment.present.len() < fragment.length {
                self.taken = fragment.present.len();
                break;
            }
            self.at += RECORD_HEADER + fragment.length;
            self.taken = 0;
        }
        Ok(None)
    }
}

/// Whether `bytes`, as far as they go, are the header of a handshake record of SSL 3 or TLS 1.x.
fn is_handshake_record(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|kind| *kind == CONTENT_HANDSHAKE)
        && bytes.get(1).is_none_or(|major| *major == 3)
        && bytes.get(2).is_none_or(|minor| *minor <= 4)
}

/// One record: the length its header announces, and what of it has arrived.
struct Fragment<'a> {
    length: usize,
    present: &'a [u8],
}

/// The record at the start of `bytes`; `None` while its header is incomplete.
fn next_fragment(bytes: &[u8]) -> Result<Option<Fragment<'_>>, Malformed> {
    if !is_handshake_record(bytes) {
        return Err(Malformed::UnexpectedRecord);
    }
    let Some((&[_, _, _, high, low], payload)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes([high, low])) {
        0 => Err(Malformed::EmptyRecord),
        length if length > MAX_FRAGMENT => Err(Malformed::RecordTooLong(length)),
        length => Ok(Some(Fragment { length, present: &payload[..length.min(payload.len())] })),
    }
}

/// How far the handshake message has been seen.
#[derive(Debug, Default)]
struct Scan {
    header: [u8; MESSAGE_HEADER],
    seen: usize,
}

impl Scan {
    /// Takes the next bytes of the message; fails as soon as its header shows a fault.
    fn add(&mut self, fragment: &[u8], max_bytes: usize) -> Result<(), Malformed> {
        for (slot, byte) in self.header.iter_mut().skip(self.seen).zip(fragment) {
            *slot = *byte;
        }
        self.seen += fragment.len();
        if self.seen > 0 && self.header[0] != MESSAGE_CLIENT_HELLO {
            return Err(Malformed::NotClientHello(self.header[0]));
        }
        match self.length() {
            Some(length) if RECORD_HEADER + MESSAGE_HEADER + length > max_bytes => {
                Err(Malformed::TooLarge(max_bytes))
            }
            _ => Ok(()),
        }
    }

    /// The length of the message's body, once its header has been seen.
    fn length(&self) -> Option<usize> {
        let [_, a, b, c] = self.header;
        (self.seen >= MESSAGE_HEADER).then(|| u32::from_be_bytes([0, a, b, c]) as usize)
    }

    /// The length of the message's body, once all of it has been seen.
    fn whole(&self) -> Option<usize> {
        self.length().filter(|length| self.seen >= MESSAGE_HEADER + length)
    }
}

/// The `length` bytes of a message's body; `bytes` are known to hold all of it.
fn body(bytes: &[u8], length: usize) -> Cow<'_, [u8]> {
    let end = MESSAGE_HEADER + length;
    let mut joined = Vec::new();
    let mut rest = bytes;
    while let Ok(Some(fragment)) = next_fragment(rest) {
        if joined.is_empty() && fragment.present.len() >= end {
            return Cow::Borrowed(&fragment.present[MESSAGE_HEADER..end]);
        }
        joined.extend_from_slice(fragment.present);
        if joined.len() >= end {
            break;
        }
        rest = &rest[RECORD_HEADER + fragment.present.len()..];
    }
    joined.truncate(end);
    joined.drain(..MESSAGE_HEADER.min(joined.len()));
    Cow::Owned(joined)
}

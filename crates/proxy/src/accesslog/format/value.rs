//! What an operator yields, and how text and JSON show it.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::digits;
use super::time::TimeFormat;
use crate::accesslog::ResponseFlags;

/// What an operator yields for one record.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// Nothing is known: `-` in text, `null` in JSON.
    Absent,
    /// There is nothing of the kind: empty in text, `null` in JSON.
    Blank,
    /// What a peer or the configuration wrote.
    Bytes(Cow<'a, [u8]>),
    /// The same with blanks shown as `_`, so that the field stays one word.
    Word(&'a [u8]),
    /// JSON of ours, of which text shows a string without its quotes.
    Json(&'a [u8]),
    /// A word of ours.
    Static(&'static str),
    Number(u64),
    /// A number that stands in a header, which JSON shows as text.
    Numeral(u64),
    Address(SocketAddr),
    Ip(IpAddr),
    /// `URX,UF`
    Flags(ResponseFlags),
    /// `UpstreamRetryLimitExceeded,UpstreamConnectionFailure`
    LongFlags(ResponseFlags),
    /// Nanoseconds since 1970.
    Moment(&'a TimeFormat, u64),
}

impl<'a> Value<'a> {
    /// Bytes if there are any.
    pub(super) fn bytes(value: Option<&'a [u8]>) -> Self {
        value.map_or(Self::Absent, |value| Self::Bytes(Cow::Borrowed(value)))
    }

    /// A number if there is one.
    pub(super) fn number(value: Option<u64>) -> Self {
        value.map_or(Self::Absent, Self::Number)
    }

    /// The value cut to `limit` bytes; only what a peer wrote is cut.
    pub(super) fn cut(self, limit: usize) -> Self {
        match self {
            Self::Bytes(Cow::Borrowed(text)) => {
                Self::Bytes(Cow::Borrowed(&text[..text.len().min(limit)]))
            }
            Self::Bytes(Cow::Owned(mut text)) => {
                text.truncate(limit);
                Self::Bytes(Cow::Owned(text))
            }
            Self::Json(json) => Self::Bytes(unquoted(json)).cut(limit),
            other => other,
        }
    }

    /// Whether nothing is known.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Appends the value for a text line; `absent` stands for nothing. What a peer wrote cannot break or
    /// forge a line: control characters but the tab are written `\x0a`.
    pub(super) fn write_text(&self, absent: &str, out: &mut Vec<u8>) {
        match self {
            Self::Absent => out.extend_from_slice(absent.as_bytes()),
            Self::Blank => {}
            Self::Bytes(text) => write_visible(text, out),
            Self::Word(text) => write_word(text, out),
            Self::Json(json) => write_visible(&unquoted(json), out),
            Self::Static(text) => out.extend_from_slice(text.as_bytes()),
            Self::Flags(flags) | Self::LongFlags(flags) if flags.is_empty() => out.push(b'-'),
            Self::Flags(flags) => put(out, format_args!("{flags}")),
            Self::LongFlags(flags) => {
                for (index, name) in flags.long().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name.as_bytes());
                }
            }
            Self::Number(number) | Self::Numeral(number) => digits::number(*number, out),
            Self::Address(address) => digits::socket_address(*address, out),
            Self::Ip(ip) => digits::ip(*ip, out),
            Self::Moment(format, nanos) => format.write(*nanos, out),
        }
    }

    /// Appends the value as JSON: a number, a string or `null`.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Absent | Self::Blank => out.extend_from_slice(b"null"),
            Self::Number(_) => self.write_text("", out),
            Self::Bytes(text) => write_json_string(text, out),
            Self::Json(json) => out.extend_from_slice(json),
            other => {
                let mut text = Vec::new();
                other.write_text("", &mut text);
                write_json_string(&text, out);
            }
        }
    }
}

/// What a JSON string says; other JSON as it is.
fn unquoted(json: &[u8]) -> Cow<'_, [u8]> {
    match serde_json::from_slice::<String>(json) {
        Ok(text) => Cow::Owned(text.into_bytes()),
        Err(_) => Cow::Borrowed(json),
    }
}

fn write_word(text: &[u8], out: &mut Vec<u8>) {
    for (index, part) in text.split(u8::is_ascii_whitespace).enumerate() {
        if index > 0 {
            out.push(b'_');
        }
        write_visible(part, out);
    }
}

/// Appends `text` with control characters but the tab as `\x0a`.
fn write_visible(text: &[u8], out: &mut Vec<u8>) {
    let hidden = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    // Without an early end, so that the compiler checks many bytes at a time; nearly no text has any.
    if !text.iter().fold(false, |any, byte| any | hidden(*byte)) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        if hidden(byte) {
            put(out, format_args!("\\x{byte:02x}"));
        } else {
            out.push(byte);
        }
    }
}

/// Appends `text` as a JSON string (RFC 8259 section 7). What is not UTF-8 becomes U+FFFD.
pub(super) fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_json_text(text, out);
    out.push(b'"');
}

/// As [`write_json_string`] without the quotes around it.
pub(super) fn write_json_text(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                control if (control as u32) < 0x20 || control == '\u{7f}' => {
                    put(out, format_args!("\\u{:04x}", control as u32));
                }
                plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Writing to a vector does not fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value<'_>) -> String {
        let mut out = Vec::new();
        value.write_text("-", &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn what_a_peer_wrote_stays_in_its_line() {
        let forged = Value::bytes(Some(b"a\r\n[2019] \"GET\t\x1b[2J\x7f"));
        assert_eq!(text(&forged), "a\\x0d\\x0a[2019] \"GET\t\\x1b[2J\\x7f");
        assert_eq!(text(&Value::Word(b"no route\nto host")), "no_route_to_host");
        assert_eq!(text(&Value::Absent), "-");
    }

    #[test]
    fn json_is_json() {
        for sample in ["", "a\"b\\c\n\r\t\u{1}\u{7f}é</script>", "日本"] {
            let mut out = Vec::new();
            write_json_string(sample.as_bytes(), &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), sample);
        }
        let mut out = Vec::new();
        write_json_string(b"a\xffb", &mut out);
        assert_eq!(out, "\"a\u{fffd}b\"".as_bytes());
    }

    #[test]
    fn long_flags_and_cutting() {
        let flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE
            | ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
        assert_eq!(
            text(&Value::LongFlags(flags)),
            "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
        );
        assert_eq!(text(&Value::LongFlags(ResponseFlags::NONE)), "-");
        assert_eq!(text(&Value::bytes(Some(b"abc")).cut(2)), "ab");
        assert_eq!(text(&Value::Number(123).cut(2)), "123");
    }
}

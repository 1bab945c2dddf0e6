//! What routes know of gRPC: its content type, and the time that a client gives a call (`grpc-timeout`).

use std::time::Duration;

use crate::http::{Headers, Known, RequestHead};

/// Name of the header that carries a call's time.
pub const TIMEOUT: &[u8] = b"grpc-timeout";

/// The largest number that the header may hold.
const MOST: u64 = 99_999_999;

/// Whether a request is a gRPC call: `application/grpc`, alone or with a suffix such as `+proto`.
#[must_use]
pub fn is_call(head: &RequestHead) -> bool {
    let rest = head.headers.get_known(Known::ContentType);
    let rest = rest.and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// The time that the client gives the call, in whole milliseconds, rounded up; `None` without one that can be read.
#[must_use]
pub fn timeout(head: &RequestHead) -> Option<Duration> {
    let (unit, digits) = head.headers.get(TIMEOUT)?.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let milliseconds = match unit {
        b'H' => number * 3_600_000,
        b'M' => number * 60_000,
        b'S' => number * 1000,
        b'm' => number,
        b'u' => number.div_ceil(1000),
        b'n' => number.div_ceil(1_000_000),
        _ => return None,
    };
    Some(Duration::from_millis(milliseconds))
}

/// The HTTP status that stands for what a call came to, where the answer's head says it (`grpc-status`).
#[must_use]
pub fn http_status(headers: &Headers) -> Option<u16> {
    let code = std::str::from_utf8(headers.get(b"grpc-status")?).ok()?.parse::<u32>();
    Some(match code {
        Ok(0) => 200,
        Ok(1) => 499,
        Ok(3 | 9 | 11) => 400,
        Ok(4) => 504,
        Ok(5) => 404,
        Ok(6 | 10) => 409,
        Ok(7) => 403,
        Ok(8) => 429,
        Ok(12) => 501,
        Ok(14) => 503,
        Ok(16) => 401,
        _ => 500,
    })
}

/// A time as the header has it: eight digits at most, in the smallest unit that they suffice for.
#[must_use]
pub fn written(timeout: Duration) -> String {
    let mut number = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let mut unit = 'm';
    for (larger, times) in [('S', 1000), ('M', 60), ('H', 60)] {
        if number > MOST {
            number /= times;
            unit = larger;
        }
    }
    format!("{}{unit}", number.min(MOST))
}

/// The status of gRPC that an answer of HTTP counts as (gRPC's "HTTP to gRPC Status Code Mapping").
#[must_use]
pub fn status_of(http: u16) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// A text as `grpc-message` has it: what is not printable ASCII, and `%`, percent-encoded.
#[must_use]
pub fn message(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut message = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'%' | ..b' ' | 0x7f.. => message.extend([
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
            printable => message.push(printable),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let read = |text: &str| {
            let mut head = RequestHead::default();
            head.headers.append(b"grpc-timeout", text.as_bytes());
            timeout(&head).map(|time| time.as_millis())
        };
        let cases = [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3000)),
            ("0m", Some(0)),
            ("1001u", Some(2)),
            ("1n", Some(1)),
            ("99999999H", Some(359_999_996_400_000)),
            ("100000000m", None),
            ("1", None),
            ("m", None),
            ("-1m", None),
            ("1s", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(text), wanted, "{text}");
        }
        for (milliseconds, wanted) in [
            (0, "0m"),
            (99_999_999, "99999999m"),
            (100_000_000, "100000S"),
            (359_999_996_400_000, "99999999H"),
            (u64::MAX, "99999999H"),
        ] {
            assert_eq!(written(Duration::from_millis(milliseconds)), wanted);
        }
    }

    #[test]
    fn statuses_and_messages() {
        for (http, status) in [(404, 12), (503, 14), (403, 7), (418, 2)] {
            assert_eq!(status_of(http), status, "{http}");
        }
        assert_eq!(message("a b%\n\u{e9}".as_bytes()), b"a b%25%0A%C3%A9");
    }
}

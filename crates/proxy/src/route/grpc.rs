//! What routes know of gRPC: its content type, and the time that a client gives a call (`grpc-timeout`).

use std::time::Duration;

use crate::http::{Known, RequestHead};

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
}

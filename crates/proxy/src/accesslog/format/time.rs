//! Moments as log lines show them, in UTC.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::digits;

const NANOS: u64 = 1_000_000_000;

/// How a moment is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    /// `2019-01-31T14:40:18.645Z`
    Iso,
    /// As `strftime` says.
    Custom(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Goes to `strftime` as it is.
    Strftime(String),
    /// The first so many of nine digits of the second's fraction.
    Fraction(u8),
}

impl TimeFormat {
    /// Parses the argument of `START_TIME`: `strftime`'s conversions, `%f` and `%1f` to `%9f` for the
    /// second's fraction, and `%E1S` to `%E9S` for seconds with fraction. On an error: what is wrong.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        if source.is_empty() {
            return Ok(Self::Iso);
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut fraction = |text: &mut String, digits| {
            if !text.is_empty() {
                pieces.push(Piece::Strftime(std::mem::take(text)));
            }
            pieces.push(Piece::Fraction(digits));
        };
        let mut rest = source;
        while let Some(next) = rest.chars().next() {
            let conversion = rest.as_bytes();
            let used = match conversion {
                [b'%', b'f', ..] => {
                    fraction(&mut text, 9);
                    2
                }
                [b'%', digits @ b'1'..=b'9', b'f', ..] => {
                    fraction(&mut text, digits - b'0');
                    3
                }
                [b'%', b'E', digits @ b'1'..=b'9', b'S', ..] => {
                    text.push_str("%S.");
                    fraction(&mut text, digits - b'0');
                    4
                }
                [b'%', b'E', b'z', ..] => {
                    text.push_str("%:z");
                    3
                }
                [b'%', other, ..] if other.is_ascii() => {
                    text.push_str(&rest[..2]);
                    2
                }
                _ => {
                    text.push(next);
                    next.len_utf8()
                }
            };
            rest = &rest[used..];
        }
        if !text.is_empty() {
            pieces.push(Piece::Strftime(text));
        }
        for piece in &pieces {
            if let Piece::Strftime(text) = piece {
                let sample = strtime::format(text, Timestamp::UNIX_EPOCH)
                    .map_err(|error| format!("no time format: {error}"))?;
                if sample.contains(char::is_control) {
                    return Err("a time format must not write line breaks or tabs".to_owned());
                }
            }
        }
        Ok(Self::Custom(pieces))
    }

    /// Appends the moment `nanos` after 1970.
    pub(crate) fn write(&self, nanos: u64, out: &mut Vec<u8>) {
        match self {
            Self::Iso => write_iso(nanos, 3, out),
            Self::Custom(pieces) => {
                let moment = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
                for piece in pieces {
                    match piece {
                        // Tried at parsing; what strftime accepts does not depend on the moment.
                        Piece::Strftime(text) => {
                            out.extend(
                                strtime::format(text, moment).unwrap_or_default().into_bytes(),
                            );
                        }
                        Piece::Fraction(digits) => write_fraction(nanos, *digits, out),
                    }
                }
            }
        }
    }
}

/// Appends `2019-01-31T14:40:18.645864Z` with so many digits of the fraction (1 to 9).
pub(super) fn write_iso(nanos: u64, places: u8, out: &mut Vec<u8>) {
    thread_local! {
        /// The last second written and its text: lines come in bursts of the same second.
        static LAST: Cell<(u64, [u8; SECOND])> = const { Cell::new((u64::MAX, [0; SECOND])) };
    }
    let seconds = nanos / NANOS;
    let (mut second, mut text) = LAST.get();
    if second != seconds {
        (second, text) = (seconds, iso_second(seconds));
        LAST.set((second, text));
    }
    out.extend_from_slice(&text);
    write_fraction(nanos, places, out);
    out.push(b'Z');
}

/// Length of `2019-01-31T14:40:18.`
const SECOND: usize = 20;

fn iso_second(seconds: u64) -> [u8; SECOND] {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = *b"0000-00-00T00:00:00.";
    let two = |value: u64| [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
    let parts = [year / 100, year, month, day, hour, minute, second];
    for (at, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
        text[at..at + 2].copy_from_slice(&two(part));
    }
    text
}

/// The moment as protobuf's JSON has it, to the millisecond: `2019-01-31T14:40:18.645Z`.
pub(crate) fn timestamp(moment: SystemTime) -> String {
    let nanos = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut out = Vec::new();
    write_iso(u64::try_from(nanos).unwrap_or(u64::MAX), 3, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn write_fraction(nanos: u64, places: u8, out: &mut Vec<u8>) {
    let places = places.clamp(1, 9);
    digits::padded(nanos % NANOS / 10u64.pow(9 - u32::from(places)), places.into(), out);
}

/// Appends a duration as Go prints it: `0s`, `350µs`, `187.003904ms`, `1m30.5s`.
pub(super) fn write_go_duration(nanos: u64, out: &mut Vec<u8>) {
    match nanos {
        0 => put(out, format_args!("0s")),
        1..1_000 => put(out, format_args!("{nanos}ns")),
        1_000..1_000_000 => put(out, format_args!("{}µs", decimal(nanos, 3))),
        1_000_000..NANOS => put(out, format_args!("{}ms", decimal(nanos, 6))),
        _ => {
            let minutes = nanos / NANOS / 60;
            if minutes >= 60 {
                put(out, format_args!("{}h", minutes / 60));
            }
            if minutes > 0 {
                put(out, format_args!("{}m", minutes % 60));
            }
            put(out, format_args!("{}s", decimal(nanos % (60 * NANOS), 9)));
        }
    }
}

/// `value` with its last `places` digits behind the point, without zeros at the end.
fn decimal(value: u64, places: u32) -> String {
    let unit = 10u64.pow(places);
    let text = format!("{}.{:0width$}", value / unit, value % unit, width = places as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Year, month and day of the `days`-th day after 1970-01-01, in the Gregorian calendar.
///
/// Counted in years that begin on the first of March, so that the leap day is the last of its year; an era
/// is 400 years, after which the calendar repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Writing to a vector does not fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &TimeFormat, nanos: u64) -> String {
        let mut out = Vec::new();
        format.write(nanos, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn iso_agrees_with_the_calendar() {
        for day in 0..60_000 {
            let nanos = day * 86_400 * NANOS + day % 86_400 * NANOS + 7_000_000;
            let expected = Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let expected = expected.strftime("%Y-%m-%dT%H:%M:%S.007Z").to_string();
            assert_eq!(written(&TimeFormat::Iso, nanos), expected);
        }
    }

    #[test]
    fn conversions() {
        let moment = 1_548_945_618_645_864_123;
        for (source, expected) in [
            ("", "2019-01-31T14:40:18.645Z"),
            ("%Y/%m/%dT%H:%M:%S%z %s", "2019/01/31T14:40:18+0000 1548945618"),
            ("%s.%3f", "1548945618.645"),
            ("%f|%1f|%9f", "645864123|6|645864123"),
            ("%E6S %Ez %a %b %e %j %T %F", "18.645864 +00:00 Thu Jan 31 031 14:40:18 2019-01-31"),
            ("é100%%", "é100%"),
        ] {
            let format = TimeFormat::parse(source).unwrap();
            assert_eq!(written(&format, moment), expected, "{source}");
        }
        for wrong in ["%!", "%", "a%n", "%t", "%E", "%Eé"] {
            assert!(TimeFormat::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn go_durations() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (350_000, "350µs"),
            (1_500, "1.5µs"),
            (187_003_904, "187.003904ms"),
            (1_500_000_000, "1.5s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            let mut out = Vec::new();
            write_go_duration(nanos, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}

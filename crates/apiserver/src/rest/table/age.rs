//! How old something is, in the few characters that fit a column.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The age of what happened at `time` (RFC 3339); `<unknown>` when it says no time.
pub(super) fn age(time: &Value, now: Timestamp) -> String {
    let time: Option<Timestamp> = time.as_str().and_then(|time| time.parse().ok());
    time.map_or_else(|| "<unknown>".to_owned(), |time| short(now.duration_since(time)))
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Two units at most, and the second only while it says something.
fn short(age: SignedDuration) -> String {
    let seconds = age.as_secs();
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let two = |unit: i64, name: char, part: i64, part_name: char| {
        let rest = seconds % unit / part;
        match rest {
            0 => format!("{}{name}", seconds / unit),
            _ => format!("{}{name}{rest}{part_name}", seconds / unit),
        }
    };
    match seconds {
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(MINUTE, 'm', 1, 's'),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(HOUR, 'h', MINUTE, 'm'),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(DAY, 'd', HOUR, 'h'),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(YEAR, 'y', DAY, 'd'),
        s => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (205, "3m25s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (8 * HOUR, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY + 3 * HOUR, "2d3h"),
            (8 * DAY + 5 * HOUR, "8d"),
            (2 * YEAR + 10 * DAY, "2y10d"),
            (9 * YEAR, "9y"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), expected, "{seconds}");
        }
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(age(&Value::Null, now), "<unknown>");
        assert_eq!(age(&"1970-01-01T00:00:00Z".into(), now), "0s");
    }
}

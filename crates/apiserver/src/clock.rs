//! Time as Kubernetes writes it.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// RFC 3339 in UTC with whole seconds, as in `creationTimestamp`.
pub(crate) fn whole_seconds(time: Timestamp) -> String {
    let floor = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
    time.round(floor).unwrap_or(time).to_string()
}

/// Now, in that form.
pub(crate) fn now() -> String {
    whole_seconds(Timestamp::now())
}

/// Now, as in header fields of HTTP (RFC 9110, section 5.6.7).
pub(crate) fn http_date() -> String {
    Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fractions_off() {
        let time: Timestamp = "2026-08-22T10:11:12.999999999Z".parse().expect("a time");
        assert_eq!(whole_seconds(time), "2026-08-22T10:11:12Z");
        let before: Timestamp = "1969-12-31T23:59:59.5Z".parse().expect("a time");
        assert_eq!(whole_seconds(before), "1969-12-31T23:59:59Z");
    }
}

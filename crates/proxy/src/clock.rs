//! A worker's clock: the calendar told from the monotonic clock, and the `Date` header's value.
//!
//! A request looks at the monotonic clock a few times anyway. What it needs of the calendar follows from
//! that, and from where both clocks stood a moment ago.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Length of an IMF-fixdate.
const LENGTH: usize = 29;

/// How long the calendar is told from one look at it: so late a step of it is noticed.
const TRUSTED: Duration = Duration::from_secs(1);

/// A worker's clock.
#[derive(Debug)]
pub struct Clock {
    looked: Cell<Option<(Instant, SystemTime)>>,
    second: Cell<u64>,
    text: Cell<[u8; LENGTH]>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { looked: Cell::new(None), second: Cell::new(0), text: Cell::new(imf_fixdate(0)) }
    }
}

impl Clock {
    /// What the calendar says at `at`.
    pub fn wall(&self, at: Instant) -> SystemTime {
        let (then, wall) = match self.looked.get() {
            Some(looked) if at.saturating_duration_since(looked.0) < TRUSTED => looked,
            _ => {
                let looked = (Instant::now(), SystemTime::now());
                self.looked.set(Some(looked));
                looked
            }
        };
        if at >= then { wall + (at - then) } else { wall - (then - at) }
    }

    /// The time `at` as an IMF-fixdate (RFC 9110 section 5.6.7).
    pub fn date(&self, at: Instant) -> [u8; LENGTH] {
        let now = self.wall(at).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second.replace(now) != now {
            self.text.set(imf_fixdate(now));
        }
        self.text.get()
    }
}

fn imf_fixdate(seconds: u64) -> [u8; LENGTH] {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .unwrap_or_default();
    let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_rfc_9110_shows() {
        assert_eq!(&imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&Clock::default().date(Instant::now())[26..], b"GMT");
    }

    #[test]
    fn the_calendar_follows_the_monotonic_clock() {
        let clock = Clock::default();
        let (now, wall) = (Instant::now(), SystemTime::now());
        let first = clock.wall(now);
        let slack = Duration::from_secs(30);
        assert!(first >= wall - slack && first <= SystemTime::now() + slack);
        let later = Duration::from_millis(700);
        assert_eq!(clock.wall(now + later), clock.wall(now) + later);
        assert_eq!(clock.wall(now - later), clock.wall(now) - later);
    }
}

//! The `Date` header's value, rendered once a second.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Length of an IMF-fixdate.
const LENGTH: usize = 29;

/// A worker's clock.
#[derive(Debug)]
pub struct Clock {
    second: Cell<u64>,
    text: Cell<[u8; LENGTH]>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { second: Cell::new(0), text: Cell::new(imf_fixdate(0)) }
    }
}

impl Clock {
    /// Now as an IMF-fixdate (RFC 9110 section 5.6.7).
    pub fn date(&self) -> [u8; LENGTH] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
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
    #[test]
    fn dates_read_as_rfc_9110_shows() {
        assert_eq!(&super::imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&super::Clock::default().date()[26..], b"GMT");
    }
}

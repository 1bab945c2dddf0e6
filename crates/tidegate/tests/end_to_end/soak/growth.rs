//! What a process grows by under steady load.

use std::fmt;
use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Memory is looked at this often in each part of the time.
const LOOKS: u32 = 25;
/// What tables that double may take, and what allocators keep by the way, however few the requests, KiB.
const SLACK_KIB: u64 = 2 * 1024;
/// The same in less than a minute: pages are still touched for the first time.
const FILLING: Duration = Duration::from_secs(60);
const FILLING_KIB: u64 = 8 * 1024;
/// What may be left of a request: less than anything that can be kept of one, which is a pointer at the least.
const BYTES_PER_REQUEST: u64 = 8;

/// The least that a process had in the second quarter of the time, and in the last one: what is never given back is in that, and
/// what is in use by the way is not. The first quarter fills what is filled once.
pub struct Growth {
    before_kib: u64,
    after_kib: u64,
    /// Requests from the one to the other.
    requests: usize,
    slack_kib: u64,
}

impl Growth {
    /// Looks at a process for some time.
    pub async fn over(time: Duration, process: u32, answered: impl Fn() -> usize) -> Self {
        let quarter = time / 4;
        least(quarter, process).await;
        let (before_kib, first) = (least(quarter, process).await, answered());
        least(quarter, process).await;
        let (after_kib, last) = (least(quarter, process).await, answered());
        let slack_kib = if time < FILLING { FILLING_KIB } else { SLACK_KIB };
        Self { before_kib, after_kib, requests: last - first, slack_kib }
    }

    fn grown_kib(&self) -> u64 {
        self.after_kib.saturating_sub(self.before_kib)
    }

    /// Fails where something is left of requests.
    pub fn judge(&self) {
        let allowed = self.slack_kib.max(self.requests as u64 * BYTES_PER_REQUEST / 1024);
        assert!(self.grown_kib() <= allowed, "{self}: at most {allowed} KiB");
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before_kib, after_kib, requests, .. } = self;
        let each = self.grown_kib() as f64 * 1024.0 / (*requests).max(1) as f64;
        write!(
            to,
            "{before_kib} KiB became {after_kib} KiB over {requests} requests, {each:.2} bytes of each"
        )
    }
}

/// The least resident memory of a process in some time, KiB.
async fn least(time: Duration, process: u32) -> u64 {
    let begun = Instant::now();
    let mut least = u64::MAX;
    for look in 1..=LOOKS {
        sleep_until(begun + time * look / LOOKS).await;
        least = least.min(resident(process));
    }
    least
}

/// Resident memory of a process, KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

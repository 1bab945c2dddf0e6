//! The list of what was refused.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Asked, Refusal};

/// Entries at most: the one that nobody asked for the longest goes first.
const MOST: usize = 1000;

/// How often the same is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What was refused, however often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What was asked for.
    pub asked: Asked,
    /// The host: what the client named, or else what DNS had led it there by.
    pub host: Option<Arc<str>>,
    /// Where the client wanted to go, the last time.
    pub destination: SocketAddr,
    /// Who wanted to, the last time.
    pub source: IpAddr,
    /// How often.
    pub count: u64,
    /// When for the first time.
    pub first: SystemTime,
    /// When for the last time.
    pub last: SystemTime,
}

/// The list, which has a bound.
#[derive(Debug, Default)]
pub(super) struct List {
    entries: HashMap<Key, Entry>,
}

/// What counts as the same: the address where there is no name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    asked: Asked,
    host: Result<Arc<str>, IpAddr>,
    port: u16,
}

#[derive(Debug)]
struct Entry {
    denied: Denied,
    told: SystemTime,
}

impl List {
    /// Notes a refusal. Gives back what is to be told of, and how many refusals fell out of the list.
    pub fn add(
        &mut self,
        refusal: &Refusal,
        host: Option<Arc<str>>,
        now: SystemTime,
    ) -> (Option<Denied>, u64) {
        let &Refusal { asked, destination, source, .. } = refusal;
        let key = Key {
            asked,
            host: host.clone().ok_or_else(|| destination.ip().to_canonical()),
            port: destination.port(),
        };
        if let Some(Entry { denied, told }) = self.entries.get_mut(&key) {
            let (count, first) = (denied.count + 1, denied.first);
            *denied = Denied { asked, host, destination, source, count, first, last: now };
            let due = now.duration_since(*told).is_ok_and(|since| since >= TOLD_EVERY);
            if due {
                *told = now;
            }
            return (due.then(|| denied.clone()), 0);
        }
        let gone = if self.entries.len() < MOST { 0 } else { self.forget_oldest() };
        let denied = Denied { asked, host, destination, source, count: 1, first: now, last: now };
        self.entries.insert(key, Entry { denied: denied.clone(), told: now });
        (Some(denied), gone)
    }

    /// Makes room; how many refusals are listed no more.
    fn forget_oldest(&mut self) -> u64 {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.denied.last);
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return 0 };
        self.entries.remove(&oldest).map_or(0, |entry| entry.denied.count)
    }

    /// All of it, the latest first.
    pub fn denied(&self) -> Vec<Denied> {
        let mut all: Vec<Denied> =
            self.entries.values().map(|entry| entry.denied.clone()).collect();
        all.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.host.cmp(&b.host)));
        all
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, host, destination, source, count, .. } = self;
        let what = match asked {
            Asked::Http => "a request",
            Asked::Tls => "a TLS connection",
            Asked::Tcp => "a connection",
        };
        write!(f, "egress denied: {what} from {source} to ")?;
        match host {
            Some(host) => write!(f, "{host}:{} ({})", destination.port(), destination.ip())?,
            None => write!(f, "{destination}")?,
        }
        if *count > 1 {
            write!(f, ", {count} times so far")?;
        }
        write!(
            f,
            "; nothing describes it: `tidegate egress denied -o yaml` prints what would let it out"
        )
    }
}

//! The list of what was refused.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::{Asked, Refusal};
use crate::accesslog::timestamp;
use crate::pipe::NOWHERE;

/// Entries at most: the one that nobody asked for the longest goes first.
const MOST: usize = 1000;

/// How often the same is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How much is told in that time at most: a workload may ask for ever new names.
const MOST_TOLD: u32 = 60;

/// What was refused, however often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What was asked for.
    pub asked: Asked,
    /// The host: what the client named, or else what DNS had led it there by.
    pub host: Option<Arc<str>>,
    /// Whether it was refused by an egress gateway, which nothing leads it through.
    pub at_gateway: bool,
    /// What says which of all that is described counts for the workload, the last time.
    pub bounded_by: Option<Arc<str>>,
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
#[derive(Debug)]
pub(super) struct List {
    entries: HashMap<Key, Entry>,
    told: Told,
}

/// What is to be told of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// What was refused.
    Denied(Denied),
    /// That no more is told for a while.
    Enough,
}

/// How much has been told.
#[derive(Clone, Copy, Debug)]
struct Told {
    since: SystemTime,
    lines: u32,
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
    told: Option<SystemTime>,
}

impl Default for List {
    fn default() -> Self {
        Self { entries: HashMap::new(), told: Told { since: SystemTime::UNIX_EPOCH, lines: 0 } }
    }
}

impl List {
    /// Notes a refusal. Gives back what is to be told of it, and how many refusals fell out of the list.
    pub fn add(
        &mut self,
        refusal: &Refusal,
        host: Option<Arc<str>>,
        now: SystemTime,
    ) -> (Option<Line>, u64) {
        let &Refusal { asked, destination, source, at_gateway, .. } = refusal;
        let key = Key {
            asked,
            host: host.clone().ok_or_else(|| destination.ip().to_canonical()),
            port: destination.port(),
        };
        let is_new = !self.entries.contains_key(&key);
        let gone = if is_new && self.entries.len() >= MOST { self.forget_oldest() } else { 0 };
        let (count, first, last) = (0, now, now);
        let bounded_by = refusal.bounded_by.clone();
        let denied =
            Denied { asked, host, at_gateway, bounded_by, destination, source, count, first, last };
        let entry = self.entries.entry(key).or_insert(Entry { denied: denied.clone(), told: None });
        let (count, first) = (entry.denied.count + 1, entry.denied.first);
        entry.denied = Denied { count, first, ..denied };
        let due = entry.told.is_none_or(|told| has_passed(told, now));
        let line = if due { self.told.line(now, entry) } else { None };
        (line, gone)
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

impl Told {
    /// What is to be told of an entry, of which something is.
    fn line(&mut self, now: SystemTime, entry: &mut Entry) -> Option<Line> {
        if has_passed(self.since, now) {
            *self = Self { since: now, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        match self.lines {
            ..=MOST_TOLD => {
                entry.told = Some(now);
                Some(Line::Denied(entry.denied.clone()))
            }
            // The entry is told of when it is asked for again.
            number => (number == MOST_TOLD + 1).then_some(Line::Enough),
        }
    }
}

fn has_passed(since: SystemTime, now: SystemTime) -> bool {
    now.duration_since(since).is_ok_and(|passed| passed >= TOLD_EVERY)
}

impl Denied {
    /// The address that the client dialled; `None` where it came through a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let address = self.destination.ip().to_canonical();
        (address != NOWHERE.ip()).then_some(address)
    }

    /// An entry of `/egress/denied`.
    #[must_use]
    pub fn json(&self) -> Json {
        let mut entry = json!({
            "protocol": self.asked.as_str(),
            "address": self.address(),
            "port": self.destination.port(),
            "source": self.address().map(|_| self.source),
            "count": self.count,
            "first": timestamp(self.first),
            "last": timestamp(self.last),
        });
        if self.at_gateway {
            entry["gateway"] = true.into();
        }
        if let Some(bounds) = &self.bounded_by {
            entry["bounded_by"] = (**bounds).into();
        }
        if let Some(host) = &self.host {
            entry["host"] = (**host).into();
        }
        entry
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, host, at_gateway, bounded_by, destination, source, count, .. } = self;
        let what = match asked {
            Asked::Http => "a request",
            Asked::Tls => "a TLS connection",
            Asked::Tcp => "a connection",
        };
        match (self.address(), host) {
            (Some(address), Some(host)) => {
                let port = destination.port();
                write!(f, "egress denied: {what} from {source} to {host}:{port} ({address})")?;
            }
            (Some(_), None) => write!(f, "egress denied: {what} from {source} to {destination}")?,
            (None, Some(host)) => {
                let port = destination.port();
                write!(f, "egress denied: {what} through a Unix socket to {host}:{port}")?;
            }
            (None, None) => write!(f, "egress denied: {what} through a Unix socket")?,
        }
        if *count > 1 {
            write!(f, ", {count} times so far")?;
        }
        match (at_gateway, bounded_by) {
            (true, _) => write!(f, "; nothing leads it through this gateway")?,
            (false, Some(bounds)) => write!(f, "; nothing that {bounds} brings in describes it")?,
            (false, None) => write!(f, "; nothing describes it")?,
        }
        write!(f, ": `tidegate egress denied -o yaml` prints what would let it out")
    }
}

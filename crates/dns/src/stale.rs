//! The addresses that resolvers told last, for when they tell nothing (RFC 8767).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::rr::{Name, Record, RecordType};
use tokio::time::Instant;

use crate::message::TTL;
use crate::recent::Recent;

/// How many answers are kept; of more, those that came longest ago are forgotten.
const MAX: usize = 4096;
/// An answer with more records is not kept.
const MAX_RECORDS: usize = 32;
/// How long one may be served (RFC 8767, section 5: one to three days).
const KEPT: Duration = Duration::from_hours(24);

/// Answers by what was asked.
#[derive(Debug)]
pub(crate) struct Stale(Mutex<Recent<(Name, RecordType), Kept>>);

#[derive(Debug)]
struct Kept {
    records: Vec<Record>,
    came: Instant,
}

impl Default for Stale {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MAX)))
    }
}

impl Stale {
    /// What a resolver answered, in place of what was answered before; with no address in it nothing is left to be served.
    pub(crate) fn put(&self, name: &Name, kind: RecordType, records: Vec<Record>) {
        let key = (name.clone(), kind);
        let has_address = records.iter().any(|record| record.data.ip_addr().is_some());
        if has_address && records.len() <= MAX_RECORDS {
            self.answers().put(key, Kept { records, came: Instant::now() });
        } else {
            self.answers().remove(&key);
        }
    }

    /// What was answered last, if that is not too long ago. It is good for a short time.
    pub(crate) fn get(&self, name: &Name, kind: RecordType) -> Option<Vec<Record>> {
        let answers = self.answers();
        let kept = answers.get(&(name.clone(), kind)).filter(|kept| kept.came.elapsed() < KEPT)?;
        let mut records = kept.records.clone();
        records.iter_mut().for_each(|record| record.ttl = TTL);
        Some(records)
    }

    /// Every change is whole, whoever panicked.
    fn answers(&self) -> MutexGuard<'_, Recent<(Name, RecordType), Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

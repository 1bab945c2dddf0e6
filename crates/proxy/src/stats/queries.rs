//! The metrics of a workload's DNS queries, which Envoy has not: the DNS proxy beside this one counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_dns::{Counters, DnsProxy};

use super::totals::{Total, Totals};

/// `dns_proxy.`: what the workload has asked.
pub(super) struct Queries(pub(super) Arc<DnsProxy>);

type Definition = (&'static str, fn(&Counters) -> &AtomicU64);

const METRICS: [Definition; 7] = [
    ("queries", |counters| &counters.queries),
    ("from_table", |counters| &counters.from_table),
    ("forwarded", |counters| &counters.forwarded),
    ("failed", |counters| &counters.failed),
    ("overflow", |counters| &counters.overflow),
    ("circles", |counters| &counters.circles),
    ("malformed", |counters| &counters.malformed),
];

impl Totals for Queries {
    fn name(&self, index: usize) -> Option<&'static str> {
        METRICS.get(index).map(|(name, _)| *name)
    }

    fn total(&self, index: usize) -> Option<Total> {
        let (_, counter) = METRICS.get(index)?;
        Some(Total::Counter(counter(self.0.counters()).load(Ordering::Relaxed)))
    }
}

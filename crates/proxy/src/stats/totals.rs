//! Blocks of one name added up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::registry::Shared;
use super::render::Kind;
use super::{Block, HistogramSum, HttpStats, ListenerStats, Metric};

/// One metric, added up over its writers.
#[derive(Clone, Debug)]
pub(super) enum Total {
    Counter(u64),
    /// `None` if nobody ever wrote it.
    Gauge(Option<u64>),
    Histogram(HistogramSum),
    /// Responses of the classes 1xx to 5xx.
    Classes([u64; 5]),
    /// Responses by status.
    Codes(BTreeMap<u16, u64>),
}

impl Total {
    pub(super) fn of(metric: Metric<'_>) -> Self {
        let mut total = match metric {
            Metric::Counter(_) => Self::Counter(0),
            Metric::Gauge(_) => Self::Gauge(None),
            Metric::Histogram(_) => Self::Histogram(HistogramSum::default()),
            Metric::Classes(_) => Self::Classes([0; 5]),
            Metric::Codes(_) => Self::Codes(BTreeMap::new()),
        };
        total.add(metric);
        total
    }

    fn add(&mut self, metric: Metric<'_>) {
        match (self, metric) {
            (Self::Counter(sum), Metric::Counter(counter)) => *sum += counter.get(),
            (Self::Gauge(sum), Metric::Gauge(gauge)) => {
                if let Some(level) = gauge.used() {
                    *sum = Some(sum.unwrap_or(0) + level);
                }
            }
            (Self::Histogram(sum), Metric::Histogram(histogram)) => sum.add(histogram),
            (Self::Classes(sum), Metric::Classes(classes)) => {
                for (sum, count) in sum.iter_mut().zip(classes.counts()) {
                    *sum += count;
                }
            }
            (Self::Codes(sum), Metric::Codes(codes)) => {
                codes.for_each(|code, count| *sum.entry(code).or_default() += count);
            }
            _ => unreachable!("a metric has one type in all blocks"),
        }
    }

    /// Counts by class, of responses by class or by status.
    pub(super) fn classes(&self) -> [u64; 5] {
        match self {
            Self::Classes(classes) => *classes,
            Self::Codes(codes) => {
                let mut classes = [0; 5];
                for (code, count) in codes {
                    classes[usize::from(code / 100 - 1)] += count;
                }
                classes
            }
            _ => [0; 5],
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) | Self::Classes(_) | Self::Codes(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    /// The number of a counter or gauge.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Counter(count) => *count,
            Self::Gauge(level) => level.unwrap_or(0),
            _ => 0,
        }
    }
}

/// Something whose metrics can be added up, whatever its blocks are.
pub(super) trait Totals: Send + Sync {
    /// Name of the metric of that index, always the same; `None` behind the last.
    fn name(&self, index: usize) -> Option<&'static str>;

    /// The metric of that index; `None` if nobody writes it.
    fn total(&self, index: usize) -> Option<Total>;
}

/// Adds up a metric of some blocks.
fn add_up<'a, B: Block>(blocks: impl Iterator<Item = &'a B>, index: usize) -> Option<Total> {
    let (_, metric) = B::METRICS.get(index)?;
    blocks.fold(None, |total, block| match total {
        None => Some(Total::of(metric(block))),
        Some(mut total) => {
            total.add(metric(block));
            Some(total)
        }
    })
}

fn name<B: Block>(index: usize) -> Option<&'static str> {
    B::METRICS.get(index).map(|(name, _)| *name)
}

impl<B: Block> Totals for Arc<Shared<B>> {
    fn name(&self, index: usize) -> Option<&'static str> {
        name::<B>(index)
    }

    fn total(&self, index: usize) -> Option<Total> {
        add_up(self.blocks().map(|(_, block)| block), index)
    }
}

/// One connection manager prefix over all its listeners.
impl Totals for Vec<Arc<Shared<HttpStats>>> {
    fn name(&self, index: usize) -> Option<&'static str> {
        name::<HttpStats>(index)
    }

    fn total(&self, index: usize) -> Option<Total> {
        add_up(self.iter().flat_map(|shared| shared.blocks()).map(|(_, block)| block), index)
    }
}

/// The responses of a connection manager on one listener.
pub(super) struct Responses(pub(super) Arc<Shared<HttpStats>>);

impl Totals for Responses {
    fn name(&self, index: usize) -> Option<&'static str> {
        (index == 0).then_some("downstream_rq")
    }

    fn total(&self, _: usize) -> Option<Total> {
        let classes = |(_, block): (usize, &HttpStats)| block.downstream_rq.counts();
        let sum = self.0.blocks().map(classes).fold([0; 5], |mut sum, counts| {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            sum
        });
        Some(Total::Classes(sum))
    }
}

/// The connections of a listener that one worker has.
pub(super) struct OfWorker(pub(super) Arc<Shared<ListenerStats>>, pub(super) usize);

impl Totals for OfWorker {
    fn name(&self, index: usize) -> Option<&'static str> {
        ["downstream_cx_active", "downstream_cx_total"].get(index).copied()
    }

    fn total(&self, index: usize) -> Option<Total> {
        let (_, block) = self.0.blocks().find(|(writer, _)| *writer == self.1)?;
        Some(match index {
            0 => Total::Gauge(block.downstream_cx_active.used()),
            _ => Total::Counter(block.downstream_cx_total.get()),
        })
    }
}

impl dyn Totals {
    /// All names, with their indices.
    pub(super) fn names(&self) -> impl Iterator<Item = (usize, &'static str)> {
        (0..).map_while(|index| Some((index, self.name(index)?)))
    }
}

//! `/stats`: what is counted as Envoy's text, JSON and Prometheus' exposition format.
//!
//! Output comes in pieces, so that ten thousand clusters need no buffer of their size. Differences to
//! Envoy: quantiles are those since the start, without an interval; names with dots in them (clusters of
//! Istio) become one whole label in Prometheus, where Envoy's default rules cut them at the first dot.

mod flat;
mod prometheus;

#[cfg(test)]
mod tests;

use regex::Regex;

use self::flat::{Flat, Style};
use self::prometheus::Prometheus;
use super::{Registry, units};

/// How metrics are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `NAME: VALUE` lines, sorted; histograms last.
    Text,
    /// Envoy's `?format=json`.
    Json,
    /// Prometheus' text exposition format 0.0.4.
    Prometheus,
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Grows only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Which metrics are shown; by default all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only names that match somewhere.
    pub name: Option<Regex>,
    /// Only what was ever counted or set.
    pub used_only: bool,
}

impl Filter {
    fn accepts(&self, name: &str, used: bool) -> bool {
        (used || !self.used_only) && self.name.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }
}

/// Renders all metrics, in pieces of about [`PIECE`] bytes. Numbers are read as the pieces are made.
pub fn render(
    registry: &Registry,
    output: Output,
    filter: Filter,
) -> Box<dyn Iterator<Item = Vec<u8>> + Send> {
    let units = units::all(registry);
    match output {
        Output::Text => Box::new(Flat::new(units, filter, Style::Text)),
        Output::Json => Box::new(Flat::new(units, filter, Style::Json)),
        Output::Prometheus => Box::new(Prometheus::new(units, filter)),
    }
}

/// Size at which a piece of output is handed on, bytes.
const PIECE: usize = 64 * 1024;

//! Metrics under their full names: text and JSON.

use std::io::Write as _;

use super::super::HistogramSum;
use super::super::units::{Unit, Value};
use super::{Filter, PIECE};

/// How a flat list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Text,
    Json,
}

/// Quantiles shown of a histogram, in percent.
const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// Units whose names are sorted into each other at a time. A group is what begins with one name:
/// `cluster.a.` and `cluster.a.b.`, or a listener, its workers and its connection managers.
const GROUP: usize = 256;

/// Writes first the numbers of all units, then their histograms.
pub(super) struct Flat {
    units: Vec<Unit>,
    filter: Filter,
    style: Style,
    /// Next unit.
    next: usize,
    part: Part,
    /// Whether nothing of the list is written yet, so that no comma is due.
    first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    Numbers,
    HistogramHead,
    Histograms,
    Tail,
    Done,
}

impl Flat {
    pub(super) fn new(units: Vec<Unit>, filter: Filter, style: Style) -> Self {
        Self { units, filter, style, next: 0, part: Part::Head, first: true }
    }

    /// Writes the next group of a part; tells whether there was one.
    fn write_group(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(first) = self.units.get(self.next) else {
            self.next = 0;
            return false;
        };
        let rest = self.units[self.next..].iter().take(GROUP);
        let group = rest.take_while(|unit| unit.prefix.starts_with(&first.prefix)).count();
        let histograms = self.part == Part::Histograms;
        let mut lines = Vec::new();
        for unit in &self.units[self.next..self.next + group] {
            unit.for_each(|name, value| {
                let used = match &value {
                    Value::Number(_, used) => *used,
                    Value::Histogram(sum) => sum.count > 0,
                };
                let name = format!("{}{name}", unit.prefix);
                if matches!(value, Value::Histogram(_)) == histograms
                    && self.filter.accepts(&name, used)
                {
                    lines.push((name, value));
                }
            });
        }
        self.next += group;
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, value) in lines {
            if self.style == Style::Json && !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            self.write_line(&name, &value, out);
        }
        true
    }

    fn write_line(&self, name: &str, value: &Value, out: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        let _ = match (self.style, value) {
            (Style::Text, Value::Number(number, _)) => writeln!(out, "{name}: {number}"),
            (Style::Text, Value::Histogram(sum)) => writeln!(out, "{name}: {}", quantiles(sum)),
            (Style::Json, Value::Number(number, _)) => {
                write!(out, "{{\"name\":{},\"value\":{number}}}", quoted(name))
            }
            (Style::Json, Value::Histogram(sum)) => {
                let values: Vec<String> = QUANTILES
                    .iter()
                    .map(|percent| {
                        let value = sum.quantile(percent / 100.0);
                        let value = value.map_or_else(|| "null".to_owned(), short);
                        format!("{{\"cumulative\":{value},\"interval\":null}}")
                    })
                    .collect();
                let values = values.join(",");
                write!(out, "{{\"name\":{},\"values\":[{values}]}}", quoted(name))
            }
        };
    }

    /// Writes what stands before, between and after the lists in JSON, and goes to the next part.
    fn write_frame(&mut self, out: &mut Vec<u8>) {
        let json = self.style == Style::Json;
        let (next, frame) = match self.part {
            Part::Head => (Part::Numbers, "{\"stats\":[".to_owned()),
            Part::Numbers => (Part::HistogramHead, String::new()),
            Part::HistogramHead => {
                let comma = if std::mem::replace(&mut self.first, true) { "" } else { "," };
                let percents = QUANTILES.map(short).join(",");
                let frame = format!(
                    "{comma}{{\"histograms\":{{\"supported_quantiles\":[{percents}],\
                     \"computed_quantiles\":["
                );
                (Part::Histograms, frame)
            }
            Part::Histograms => (Part::Tail, String::new()),
            Part::Tail | Part::Done => (Part::Done, "]}}]}".to_owned()),
        };
        if json {
            out.extend_from_slice(frame.as_bytes());
        }
        self.part = next;
    }
}

impl Iterator for Flat {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(PIECE + PIECE / 8);
        while self.part != Part::Done && out.len() < PIECE {
            let listing = matches!(self.part, Part::Numbers | Part::Histograms);
            if !listing || !self.write_group(&mut out) {
                self.write_frame(&mut out);
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

/// `P0(nan,1.05) P25(nan,42.5) …`: Envoy's text, with no value for the interval.
fn quantiles(sum: &HistogramSum) -> String {
    if sum.count == 0 {
        return "No recorded values".to_owned();
    }
    let shown: Vec<String> = QUANTILES
        .iter()
        .filter_map(|percent| {
            let value = sum.quantile(percent / 100.0)?;
            Some(format!("P{}(nan,{})", short(*percent), short(value)))
        })
        .collect();
    shown.join(" ")
}

/// With as few digits as needed, at most three behind the point.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn quoted(name: &str) -> serde_json::Value {
    serde_json::Value::String(name.to_owned())
}

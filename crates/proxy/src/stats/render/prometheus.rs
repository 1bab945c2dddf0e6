//! Prometheus: one family for each metric, with the names that vary as labels.

use std::fmt::Write as _;
use std::ops::Range;

use super::super::HistogramSum;
use super::super::totals::Total;
use super::super::units::Unit;
use super::{Filter, Kind, PIECE};

/// Upper bounds of the buckets, as Envoy's defaults; in the metric's unit.
const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Writes family by family: counters, gauges, histograms, each sorted by name.
pub(super) struct Prometheus {
    /// Sorted by stem.
    units: Vec<Unit>,
    families: Vec<Family>,
    filter: Filter,
    /// Next family.
    next: usize,
    /// Next of its units.
    unit: usize,
    /// Whether the family has its `# TYPE` line.
    announced: bool,
}

/// All series of one name.
struct Family {
    name: String,
    kind: Kind,
    part: Part,
    /// Which metric of its units: by name and index.
    metric: &'static str,
    index: usize,
    /// Where its units stand.
    units: Range<usize>,
}

/// What of a metric a family shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// Responses by class: `…_xx`.
    Classes,
    /// All responses: `…_completed`.
    Completed,
    /// Responses by status.
    Codes,
}

impl Prometheus {
    pub(super) fn new(mut units: Vec<Unit>, filter: Filter) -> Self {
        // Stable: units with the same metrics stay sorted by name.
        units.sort_by_key(Unit::sort);
        let mut families = Vec::new();
        let mut start = 0;
        for same in units.chunk_by(|a, b| a.sort() == b.sort()) {
            let range = start..start + same.len();
            start = range.end;
            for (index, metric) in same[0].totals.names() {
                let Some(total) = same.iter().find_map(|unit| unit.totals.total(index)) else {
                    continue;
                };
                let mut family = |part, suffix: &str| {
                    let name = family_name(same[0].stem, metric, suffix);
                    let kind = total.kind();
                    let units = range.clone();
                    families.push(Family { name, kind, part, metric, index, units });
                };
                match &total {
                    Total::Classes(_) => {
                        family(Part::Classes, "_xx");
                        family(Part::Completed, "_completed");
                    }
                    Total::Codes(_) => {
                        family(Part::Codes, "");
                        family(Part::Classes, "_xx");
                        family(Part::Completed, "_completed");
                    }
                    _ => family(Part::Whole, ""),
                }
            }
        }
        families.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Self { units, families, filter, next: 0, unit: 0, announced: false }
    }

    /// Writes the next unit of the current family; tells whether anything is left.
    fn write_unit(&mut self, out: &mut String) -> bool {
        let Some(family) = self.families.get(self.next) else { return false };
        let Some(unit) = self
            .units
            .get(family.units.start + self.unit)
            .filter(|_| self.unit < family.units.len())
        else {
            self.next += 1;
            self.unit = 0;
            self.announced = false;
            return true;
        };
        self.unit += 1;
        let Some(total) = unit.totals.total(family.index) else { return true };
        let mut line =
            Series { family, unit, filter: &self.filter, out, announced: &mut self.announced };
        match (family.part, &total) {
            (Part::Whole, Total::Gauge(level)) => {
                line.number("", &[], level.unwrap_or(0), level.is_some());
            }
            (Part::Whole, Total::Histogram(sum)) => line.histogram(sum),
            (Part::Whole, total) => line.number("", &[], total.number(), total.number() > 0),
            (Part::Completed, total) => {
                let count = total.classes().iter().sum();
                if count > 0 || matches!(total, Total::Classes(_)) {
                    line.number("_completed", &[], count, count > 0);
                }
            }
            (Part::Classes, total) => {
                for (class, count) in (1..).zip(total.classes()) {
                    if count > 0 || matches!(total, Total::Classes(_)) {
                        let label = ("envoy_response_code_class", class.to_string());
                        line.number(&format!("_{class}xx"), &[label], count, count > 0);
                    }
                }
            }
            (Part::Codes, Total::Codes(codes)) => {
                for (code, count) in codes {
                    let label = ("envoy_response_code", code.to_string());
                    line.number(&format!("_{code}"), &[label], *count, true);
                }
            }
            (Part::Codes, _) => {}
        }
        true
    }
}

impl Iterator for Prometheus {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = String::with_capacity(PIECE + PIECE / 8);
        while out.len() < PIECE && self.write_unit(&mut out) {}
        (!out.is_empty()).then(|| out.into_bytes())
    }
}

/// Writes the series of one unit in one family.
struct Series<'a> {
    family: &'a Family,
    unit: &'a Unit,
    filter: &'a Filter,
    out: &'a mut String,
    announced: &'a mut bool,
}

impl Series<'_> {
    /// Whether the metric is shown; if so its family has its `# TYPE` line now. `suffix` is what the
    /// metric's flat name has behind its block's name.
    fn begin(&mut self, suffix: &str, used: bool) -> bool {
        let flat = || format!("{}{}{suffix}", self.unit.prefix, self.family.metric);
        let shown = match self.filter.name {
            None => used || !self.filter.used_only,
            Some(_) => self.filter.accepts(&flat(), used),
        };
        if shown && !std::mem::replace(self.announced, true) {
            let kind = match self.family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(self.out, "# TYPE {} {kind}", self.family.name);
        }
        shown
    }

    fn number(&mut self, suffix: &str, own: &[(&str, String)], value: u64, used: bool) {
        if self.begin(suffix, used) {
            self.line("", own, value);
        }
    }

    fn histogram(&mut self, sum: &HistogramSum) {
        if !self.begin("", sum.count > 0) {
            return;
        }
        for bound in BOUNDS {
            self.bucket(&bound.to_string(), sum.at_most(bound));
        }
        self.bucket("+Inf", sum.count);
        self.line("_sum", &[], sum.sum);
        self.line("_count", &[], sum.count);
    }

    /// The bound comes last, behind the labels that all series have.
    fn bucket(&mut self, bound: &str, count: u64) {
        let _ = write!(self.out, "{}_bucket{{", self.family.name);
        self.labels(&[]);
        if !self.unit.labels.is_empty() {
            self.out.push(',');
        }
        let _ = writeln!(self.out, "le=\"{bound}\"}} {count}");
    }

    fn line(&mut self, ending: &str, own: &[(&str, String)], value: u64) {
        let _ = write!(self.out, "{}{ending}{{", self.family.name);
        self.labels(own);
        let _ = writeln!(self.out, "}} {value}");
    }

    fn labels(&mut self, own: &[(&str, String)]) {
        for (index, (label, value)) in own.iter().chain(&self.unit.labels).enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            let _ = write!(self.out, "{label}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    plain => self.out.push(plain),
                }
            }
            self.out.push('"');
        }
    }
}

/// `envoy_` and the name with `_` for whatever a family's name may not have.
fn family_name(stem: &str, metric: &str, suffix: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("envoy_{stem}{metric}{suffix}").chars().map(plain).collect()
}

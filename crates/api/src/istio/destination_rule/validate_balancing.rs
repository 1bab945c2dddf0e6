//! What balancing settings may say.

use std::collections::BTreeSet;

use super::balancing::{
    ConsistentHash, Failover, HttpCookie, LoadBalancerSettings, LocalityLoadBalancerSetting,
    ZoneAwareLoadBalancerSetting,
};
use crate::istio::rules::{self, headers};
use crate::validation::Report;

/// Envoy's largest Maglev table.
const MAX_MAGLEV_TABLE: u64 = 5_000_011;
const TOPOLOGY_LABELS: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

impl LoadBalancerSettings {
    /// Checks what the settings say. Without outlier detection (`detects`) nothing ever fails over.
    pub(super) fn validate(&self, detects: bool, report: &mut Report) {
        report
            .optional("consistentHash", self.consistent_hash.as_ref(), |r, hash| hash.validate(r));
        if self.locality_lb_setting.is_some() && self.zone_aware_lb_setting.is_some() {
            report.wrong("only one of localityLbSetting and zoneAwareLbSetting can be set");
        }
        report.optional(
            "localityLbSetting",
            self.locality_lb_setting.as_ref(),
            |report, setting| {
                setting.validate(report);
                advise_detection(&setting.failover, &setting.failover_priority, detects, report);
            },
        );
        report.optional(
            "zoneAwareLbSetting",
            self.zone_aware_lb_setting.as_ref(),
            |report, setting| {
                setting.validate(report);
                advise_detection(&setting.failover, &setting.failover_priority, detects, report);
            },
        );
        rules::duration(report, "warmupDurationSecs", self.warmup_duration_secs);
        report.optional("warmup", self.warmup.as_ref(), |report, warmup| {
            rules::duration(report, "duration", Some(warmup.duration));
            if warmup.aggression.is_some_and(|aggression| aggression <= 0.0) {
                report.field("aggression", |r| {
                    r.invalid(warmup.aggression, "should be greater than 0");
                });
            }
        });
    }
}

impl ConsistentHash {
    /// What proxies refuse, with the routes that lead to the host, though Istio's webhook takes it: the field, and what is
    /// wrong with it.
    #[must_use]
    pub fn unfit(&self) -> Option<(&'static str, &'static str)> {
        const BREAK: &str = "a line break or NUL cannot stand in a cookie";
        let breaks = |text: &String| text.contains(['\r', '\n', '\0']);
        if let Some(name) = &self.http_header_name {
            let fault = "is no name of a header (RFC 9110, section 5.6.2)";
            return (!headers::is_field(name)).then_some(("httpHeaderName", fault));
        }
        if let Some(HttpCookie { name, path, attributes, .. }) = &self.http_cookie {
            let of_attributes = attributes.iter().flat_map(|a| [&a.name, &a.value]);
            let mut texts = [name, path].into_iter().chain(of_attributes);
            return texts.any(breaks).then_some(("httpCookie", BREAK));
        }
        match (self.use_source_ip, &self.http_query_parameter_name) {
            (Some(false), _) => Some(("useSourceIp", "false names nothing to hash")),
            (None, Some(name)) if name.is_empty() => {
                Some(("httpQueryParameterName", "a query parameter has a name"))
            }
            _ => None,
        }
    }

    fn validate(&self, report: &mut Report) {
        if let Some((field, fault)) = self.unfit() {
            let advice = format!("{fault}; endpoints are chosen without it");
            report.field(field, |r| r.advise(advice));
        }
        report.optional("httpCookie", self.http_cookie.as_ref(), |r, cookie| {
            cookie.validate(r);
        });
        if self.minimum_ring_size != 0 {
            report.field("minimumRingSize", |report| {
                report.advise("is deprecated, use ringHash instead");
                if self.ring_hash.is_some() || self.maglev.is_some() {
                    report.forbidden("may not be set together with ringHash or maglev");
                }
            });
        }
        report.optional("maglev", self.maglev.as_ref(), |report, maglev| {
            let size = maglev.table_size;
            report.field("tableSize", |report| {
                if size == 0 {
                    report.required("tableSize must be set for maglev");
                } else if size >= MAX_MAGLEV_TABLE {
                    report.invalid(size, format!("must be less than {MAX_MAGLEV_TABLE}"));
                } else if !is_prime(size) {
                    report.invalid(size, "must be a prime number");
                }
            });
        });
    }
}

impl HttpCookie {
    fn validate(&self, report: &mut Report) {
        if self.name.is_empty() {
            report.field("name", |r| r.required("a cookie needs a name"));
        }
        let mut names = BTreeSet::new();
        report.each("attributes", &self.attributes, |report, attribute| {
            report.field("name", |report| {
                if attribute.name.is_empty() {
                    report.required("cookie attribute name cannot be empty");
                } else if !names.insert(attribute.name.as_str()) {
                    report.duplicate(attribute.name.as_str());
                }
            });
        });
    }
}

fn advise_detection(
    failover: &[Failover],
    priority: &[String],
    detects: bool,
    report: &mut Report,
) {
    let fails_over = !failover.is_empty() || !priority.is_empty();
    if fails_over && !detects {
        report.advise("outlierDetection must be provided for failover to happen");
    }
}

fn validate_failover(failover: &[Failover], report: &mut Report) {
    report.each("failover", failover, |report, pair| {
        if pair.from == pair.to {
            report.wrong("failover settings must specify different regions");
        }
        for (field, region) in [("from", &pair.from), ("to", &pair.to)] {
            if region.contains(['/', '*']) {
                report.field(field, |r| {
                    r.invalid(region.as_str(), "must be a region alone");
                });
            }
        }
    });
}

impl ZoneAwareLoadBalancerSetting {
    fn validate(&self, report: &mut Report) {
        report.each("failoverPriority", &self.failover_priority, |report, label| {
            if TOPOLOGY_LABELS.contains(&label.as_str()) {
                let message = "regions and zones are handled already; use other labels";
                report.invalid(label.as_str(), message);
            }
        });
        validate_failover(&self.failover, report);
    }
}

impl LocalityLoadBalancerSetting {
    fn validate(&self, report: &mut Report) {
        if !self.distribute.is_empty() && !self.failover.is_empty() {
            return report.wrong("can not simultaneously specify 'distribute' and 'failover'");
        }
        let topology =
            self.failover_priority.iter().find(|label| TOPOLOGY_LABELS.contains(&label.as_str()));
        if let (false, Some(label)) = (self.failover.is_empty(), topology) {
            report
                .wrong(format!("can not set 'failover' and the topology label {label:?} together"));
        }
        report.each("distribute", &self.distribute, |report, distribute| {
            report.entries("to", &distribute.to, |report, _, weight| {
                if !(1..=100).contains(weight) {
                    report.invalid(*weight, "locality weight must be in range [1, 100]");
                }
            });
            let total: u64 = distribute.to.values().map(|weight| u64::from(*weight)).sum();
            if total != 100 {
                report.field("to", |r| {
                    r.invalid(total, "total locality weight must be 100");
                });
            }
            let targets = distribute.to.keys().map(String::as_str);
            report.field("to", |report| validate_localities(targets, report));
        });
        let sources = self.distribute.iter().map(|distribute| distribute.from.as_str());
        report.field("distribute", |report| validate_localities(sources, report));
        validate_failover(&self.failover, report);
    }
}

/// Checks that localities are whole (`region/zone/subzone`, a `*` only at the end) and do not overlap.
fn validate_localities<'l>(localities: impl Iterator<Item = &'l str>, report: &mut Report) {
    let mut seen: Vec<&str> = Vec::new();
    for locality in localities {
        let stem = locality.strip_suffix('*').unwrap_or(locality);
        if stem.contains('*') {
            report.invalid(locality, "a wildcard may only end a locality");
        } else if locality.splitn(3, '/').any(str::is_empty) {
            report.invalid(locality, "must not contain empty region/zone/subzone");
        }
        // A locality holds those that go on after it, whether or not it says so with a `*`.
        let stem = stem.trim_end_matches('/');
        let holds = |outer: &str, inner: &str| {
            outer.is_empty()
                || inner.strip_prefix(outer).is_some_and(|r| r.is_empty() || r.starts_with('/'))
        };
        if seen.iter().any(|other| holds(other, stem) || holds(stem, other)) {
            report.invalid(locality, "overlaps with one before it");
        }
        seen.push(stem);
    }
}

/// Whether a number is prime; Envoy's Maglev needs that.
fn is_prime(number: u64) -> bool {
    if number < 4 {
        return number > 1;
    }
    !number.is_multiple_of(2)
        && (3_u64..).step_by(2).take_while(|f| f * f <= number).all(|f| !number.is_multiple_of(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes() {
        let primes: Vec<u64> = (0..30).filter(|n| is_prime(*n)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537));
        assert!(!is_prime(65_535));
    }

    #[test]
    fn localities_overlap_by_prefix() {
        let faults = |list: &[&str]| {
            let mut report = Report::new();
            validate_localities(list.iter().copied(), &mut report);
            report.into_parts().0.len()
        };
        assert_eq!(faults(&["r1/z1/*", "r1/z2/s1", "r2"]), 0);
        assert_eq!(faults(&["r1/*", "r1/z1/s1"]), 1);
        assert_eq!(faults(&["r1/z1/s1", "r1"]), 1);
        assert_eq!(faults(&["*", "r1"]), 1);
        assert_eq!(faults(&["r1//s"]), 1);
        assert_eq!(faults(&["r*/z"]), 1);
        assert_eq!(faults(&["r1", "r10"]), 0);
    }
}

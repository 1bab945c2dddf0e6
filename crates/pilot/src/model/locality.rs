//! Where proxies and endpoints are: region, zone and sub-zone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Label of a Pod that says where it is, with dots in place of slashes, in Istio.
const ISTIO: &str = "istio-locality";
/// Labels that say so each for a part of it: of Nodes, and of Pods that Kubernetes copied them to.
pub const REGION: &str = "topology.kubernetes.io/region";
/// … the zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// … the part of a zone.
pub const SUB_ZONE: &str = "topology.istio.io/subzone";

/// Where something is; what is empty is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// Region.
    pub region: String,
    /// Zone in the region.
    pub zone: String,
    /// Part of the zone.
    pub sub_zone: String,
}

impl Locality {
    /// Reads `region/zone/subzone`, of which the last parts may be missing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Self { region: part(), zone: part(), sub_zone: part() }
    }

    /// Somewhere that nobody knows.
    #[must_use]
    pub fn unknown() -> Arc<Self> {
        static UNKNOWN: LazyLock<Arc<Locality>> = LazyLock::new(Arc::default);
        Arc::clone(&UNKNOWN)
    }

    /// What the labels of a workload say of it.
    #[must_use]
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Arc<Self> {
        if let Some(whole) = labels.get(ISTIO) {
            // As in Istio: a dot stands for a slash, which a label cannot have.
            let slashed = if whole.contains('/') { whole.clone() } else { whole.replace('.', "/") };
            return Arc::new(Self::parse(&slashed));
        }
        let of = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let found = Self { region: of(REGION), zone: of(ZONE), sub_zone: of(SUB_ZONE) };
        if found.is_known() { Arc::new(found) } else { Self::unknown() }
    }

    /// The value of a label that stands for a part of it; `None` for other labels.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let part = match name {
            REGION => &self.region,
            ZONE => &self.zone,
            SUB_ZONE => &self.sub_zone,
            _ => return None,
        };
        Some(part).filter(|part| !part.is_empty()).map(String::as_str)
    }

    /// Whether anything is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        *self != Self::default()
    }

    /// How far it is to another: 0 for the same place, 3 for another region.
    #[must_use]
    pub fn distance(&self, other: &Self) -> u32 {
        if self.region != other.region {
            3
        } else if self.zone != other.zone {
            2
        } else {
            u32::from(self.sub_zone != other.sub_zone)
        }
    }

    /// Whether it is in the locality of a rule, where `*` and what is missing stand for any.
    #[must_use]
    pub fn is_in(&self, rule: &str) -> bool {
        let Self { region, zone, sub_zone } = Self::parse(rule);
        (region == "*" || region == self.region)
            && (zone.is_empty() || zone == "*" || zone == self.zone)
            && (sub_zone.is_empty() || sub_zone == "*" || sub_zone == self.sub_zone)
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = [&*self.region, &*self.zone, &*self.sub_zone].join("/");
        f.write_str(whole.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localities_are_read_and_written() {
        for text in ["", "eu", "eu/a", "eu/a/1", "eu//1"] {
            assert_eq!(Locality::parse(text).to_string(), text);
        }
        assert_eq!(Locality::parse("eu/a/1/2").sub_zone, "1/2");
        let labels = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Locality::of_labels(&pairs.collect()).to_string()
        };
        assert_eq!(labels(&[("app", "web")]), "");
        assert_eq!(labels(&[(REGION, "eu"), (ZONE, "a")]), "eu/a");
        assert_eq!(labels(&[(REGION, "eu"), (ISTIO, "us.b.2")]), "us/b/2");
    }

    #[test]
    fn labels_stand_for_its_parts() {
        let here = Locality::parse("eu/a");
        assert_eq!(
            [REGION, ZONE, SUB_ZONE, "app"].map(|name| here.label(name)),
            [Some("eu"), Some("a"), None, None]
        );
    }

    #[test]
    fn distances_and_rules_are_istios() {
        let here = Locality::parse("eu/a/1");
        for (there, distance) in [("eu/a/1", 0), ("eu/a/2", 1), ("eu/b/1", 2), ("us/a/1", 3)] {
            assert_eq!(here.distance(&Locality::parse(there)), distance, "{there}");
        }
        for (rule, is_in) in [
            ("*", true),
            ("eu", true),
            ("eu/*", true),
            ("eu/a/*", true),
            ("eu/a/1", true),
            ("eu/b", false),
            ("us/*", false),
            ("eu/a/2", false),
        ] {
            assert_eq!(here.is_in(rule), is_in, "{rule}");
        }
    }
}

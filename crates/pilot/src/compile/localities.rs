//! Endpoints by where they are: which of them come first, and how localities share requests.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_api::istio::destination_rule::{Distribute, Failover, LocalityLoadBalancerSetting};
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::cluster::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig,
};

use crate::Options;
use crate::model::endpoints::Endpoint;
use crate::model::locality::Locality;
use crate::model::policy::Policy;

/// The label that is compared apart: who is in another network comes after all that are in the same.
const NETWORK: &str = "topology.istio.io/network";

/// Endpoints of one place and priority.
#[derive(Debug)]
pub struct Group<'a> {
    /// Where they are.
    pub locality: &'a Locality,
    /// 0 comes first.
    pub priority: u32,
    /// Their share, relative to the other groups of the same priority.
    pub weight: u32,
    /// Who they are.
    pub endpoints: Vec<&'a Endpoint>,
}

/// What a proxy prefers among the endpoints of a host: its DestinationRule's `localityLbSetting`, or the mesh's.
#[derive(Clone, Copy, Debug)]
pub struct Preference<'a> {
    setting: Option<&'a LocalityLoadBalancerSetting>,
    /// Whether endpoints that fail are taken out; without that nothing ever fails over.
    detects: bool,
    options: &'a Options,
}

impl<'a> Preference<'a> {
    /// What holds for connections under a policy.
    #[must_use]
    pub fn of(policy: Policy<'a>, options: &'a Options) -> Self {
        let own = policy.load_balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref());
        let setting = own.or(options.locality_setting.as_ref());
        Self {
            setting: setting.filter(|setting| setting.enabled != Some(false)),
            detects: policy.outlier_detection.is_some(),
            options,
        }
    }

    /// Lets localities share requests by their weights, where anything was said of that.
    pub fn apply(self, cluster: &mut Cluster) {
        let Some(setting) = self.setting else { return };
        let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
        if !setting.distribute.is_empty() || self.detects && fails_over {
            let common = cluster.common_lb_config.get_or_insert_default();
            common.locality_config_specifier = Some(
                LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}),
            );
        }
    }

    /// The endpoints in groups.
    #[must_use]
    pub fn grouped(self, endpoints: impl Iterator<Item = &'a Endpoint>) -> Vec<Group<'a>> {
        let mut places = BTreeMap::<&Locality, Vec<&Endpoint>>::new();
        for endpoint in endpoints {
            places.entry(&endpoint.locality).or_default().push(endpoint);
        }
        let mut groups: Vec<Group<'_>> =
            places.into_iter().map(|(locality, of)| Group::new(locality, 0, of)).collect();
        let Some(setting) = self.setting else { return groups };
        if !setting.distribute.is_empty() {
            self.distribute(&setting.distribute, &mut groups);
            return groups;
        }
        if !self.detects {
            return groups;
        }
        if !setting.failover_priority.is_empty() {
            groups = self.by_labels(&setting.failover_priority, groups);
        }
        if setting.failover_priority.is_empty() || !setting.failover.is_empty() {
            self.by_distance(&setting.failover, &mut groups);
        }
        without_gaps(&mut groups);
        groups
    }

    /// Gives the groups the weights of the first rule for where the proxy is; those that it does not name get nothing.
    fn distribute(self, rules: &[Distribute], groups: &mut Vec<Group<'_>>) {
        let here = self.options.locality();
        let Some(rule) = rules.iter().find(|rule| here.is_in(&rule.from)) else { return };
        let mut weights = vec![None; groups.len()];
        for (to, weight) in &rule.to {
            let is_to = |n: &usize| weights[*n].is_none() && groups[*n].locality.is_in(to);
            let named: Vec<usize> = (0..groups.len()).filter(is_to).collect();
            let total: u64 = named.iter().map(|n| u64::from(groups[*n].weight)).sum();
            for n in named {
                let share = u64::from(groups[n].weight) * u64::from(*weight);
                weights[n] = u32::try_from(share.div_ceil(total.max(1))).ok();
            }
        }
        let mut weights = weights.into_iter();
        groups.retain_mut(|group| match weights.next().flatten() {
            Some(weight) => {
                group.weight = weight;
                true
            }
            None => false,
        });
    }

    /// Splits groups by how many labels, from the first on, endpoints share with the proxy.
    fn by_labels(self, labels: &[String], groups: Vec<Group<'a>>) -> Vec<Group<'a>> {
        let mut split = Vec::new();
        for group in groups {
            let mut by_priority = BTreeMap::<u32, Vec<&Endpoint>>::new();
            for endpoint in group.endpoints {
                by_priority.entry(self.rank(labels, endpoint)).or_default().push(endpoint);
            }
            let parts = by_priority.into_iter();
            split.extend(parts.map(|(rank, of)| Group::new(group.locality, rank, of)));
        }
        split
    }

    fn rank(self, labels: &[String], endpoint: &Endpoint) -> u32 {
        let (mut elsewhere, here) = (0, self.options.locality());
        for (nth, label) in labels.iter().enumerate() {
            let (name, given) = match label.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (label.as_str(), None),
            };
            let own = || value(name, &self.options.labels, &here);
            if given.unwrap_or_else(own) != value(name, &endpoint.labels, &endpoint.locality) {
                if nth == 0 && name == NETWORK {
                    elsewhere = labels.len();
                    continue;
                }
                return bounded(labels.len() - nth + elsewhere);
            }
        }
        bounded(elsewhere)
    }

    /// Ranks groups by how far they are, within the rank that they have.
    fn by_distance(self, failover: &[Failover], groups: &mut [Group<'_>]) {
        let here = self.options.locality();
        // Who does not know where it is prefers nobody.
        if !here.is_known() {
            return;
        }
        let takes_over = failover.iter().find(|rule| rule.from == here.region);
        for group in groups {
            let distance = match (here.distance(group.locality), takes_over) {
                (3, Some(rule)) if rule.to != group.locality.region => 4,
                (distance, _) => distance,
            };
            group.priority = group.priority.saturating_mul(5).saturating_add(distance);
        }
    }
}

impl<'a> Group<'a> {
    fn new(locality: &'a Locality, priority: u32, endpoints: Vec<&'a Endpoint>) -> Self {
        let weight = endpoints.iter().fold(0, |sum: u32, e| sum.saturating_add(e.weight));
        Self { locality, priority, weight, endpoints }
    }
}

/// What a label says of somebody: one of its own, or where it is.
fn value<'l>(name: &str, labels: &'l BTreeMap<String, String>, locality: &'l Locality) -> &'l str {
    labels.get(name).map(String::as_str).or_else(|| locality.label(name)).unwrap_or_default()
}

fn bounded(rank: usize) -> u32 {
    u32::try_from(rank).unwrap_or(u32::MAX)
}

/// Priorities go from 0 on without gaps, as Envoy wants them.
fn without_gaps(groups: &mut [Group<'_>]) {
    let used: BTreeSet<u32> = groups.iter().map(|group| group.priority).collect();
    for group in groups {
        group.priority = bounded(used.range(..group.priority).count());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tidegate_api::istio::destination_rule::TrafficPolicy;

    use super::*;
    use crate::model::endpoints::Address;

    fn endpoint(port: u16, locality: &str, labels: &[(&str, &str)]) -> Endpoint {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Endpoint {
            address: Address::Socket("10.0.0.1".to_owned(), port),
            weight: 1,
            labels: Arc::new(labels.collect()),
            locality: Arc::new(Locality::parse(locality)),
        }
    }

    /// Each group as locality, priority, weight and count.
    fn grouped(
        here: &str,
        setting: &Value,
        detects: bool,
        endpoints: &[Endpoint],
    ) -> Vec<(String, u32, u32, usize)> {
        let mut policy = json!({"loadBalancer": {"localityLbSetting": setting}});
        if detects {
            policy["outlierDetection"] = json!({});
        }
        let policy: TrafficPolicy = serde_json::from_value(policy).expect("a policy");
        let here = here.replace('/', ".");
        let labels = [("team", "red"), (NETWORK, "n1"), ("istio-locality", &*here)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = Options { labels, ..Options::default() };
        let policy = Policy::default().with(&policy, 80);
        let groups = Preference::of(policy, &options).grouped(endpoints.iter());
        let told =
            |g: &Group<'_>| (g.locality.to_string(), g.priority, g.weight, g.endpoints.len());
        groups.iter().map(told).collect()
    }

    fn spread() -> Vec<Endpoint> {
        ["eu/a", "eu/a", "eu/b", "us/a", "as/a", ""]
            .iter()
            .zip(1..)
            .map(|(locality, port)| endpoint(port, locality, &[]))
            .collect()
    }

    fn told(wanted: &[(&str, u32, u32)]) -> Vec<(String, u32, u32)> {
        wanted
            .iter()
            .map(|(name, priority, weight)| ((*name).to_owned(), *priority, *weight))
            .collect()
    }

    fn three(groups: Vec<(String, u32, u32, usize)>) -> Vec<(String, u32, u32)> {
        groups.into_iter().map(|(name, priority, weight, _)| (name, priority, weight)).collect()
    }

    #[test]
    fn the_near_come_first_where_failing_ones_are_taken_out() {
        let near =
            told(&[("", 2, 1), ("as/a", 2, 1), ("eu/a", 0, 2), ("eu/b", 1, 1), ("us/a", 2, 1)]);
        assert_eq!(three(grouped("eu/a", &json!({}), true, &spread())), near);
        let flat =
            told(&[("", 0, 1), ("as/a", 0, 1), ("eu/a", 0, 2), ("eu/b", 0, 1), ("us/a", 0, 1)]);
        assert_eq!(three(grouped("eu/a", &json!({}), false, &spread())), flat);
        assert_eq!(three(grouped("eu/a", &json!({"enabled": false}), true, &spread())), flat);
        assert_eq!(
            three(grouped("", &json!({}), true, &spread())),
            flat,
            "nobody knows where it is"
        );
        let failover = json!({"failover": [{"from": "eu", "to": "us"}]});
        let to_us =
            told(&[("", 3, 1), ("as/a", 3, 1), ("eu/a", 0, 2), ("eu/b", 1, 1), ("us/a", 2, 1)]);
        assert_eq!(three(grouped("eu/a", &failover, true, &spread())), to_us);
    }

    #[test]
    fn shares_are_those_of_the_rule_for_where_the_proxy_is() {
        let rules = json!({"distribute": [
            {"from": "us/*", "to": {"us/*": 100}},
            {"from": "eu/a/*", "to": {"eu/*": 80, "us/a/*": 20}},
        ]});
        // 80 for three endpoints, of which two are in one zone.
        let shared = told(&[("eu/a", 0, 54), ("eu/b", 0, 27), ("us/a", 0, 20)]);
        assert_eq!(three(grouped("eu/a", &rules, false, &spread())), shared);
        let all = grouped("as/a", &rules, false, &spread());
        assert_eq!(all.len(), 5, "no rule is for this place: {all:?}");
    }

    #[test]
    fn labels_rank_endpoints() {
        let endpoints = [
            endpoint(1, "eu/a", &[("team", "red")]),
            endpoint(2, "eu/a", &[("team", "blue")]),
            endpoint(3, "us/a", &[("team", "red")]),
            endpoint(4, "us/a", &[("team", "blue")]),
        ];
        let by =
            |labels: Value| grouped("eu/a", &json!({"failoverPriority": labels}), true, &endpoints);
        let one = |name: &str, priority: u32| (name.to_owned(), priority, 1, 1);
        let team_first = [one("eu/a", 0), one("eu/a", 2), one("us/a", 1), one("us/a", 2)];
        assert_eq!(by(json!(["team", "topology.kubernetes.io/region"])), team_first);
        let blue = [one("eu/a", 0), one("eu/a", 1), one("us/a", 0), one("us/a", 1)];
        assert_eq!(by(json!(["team=blue"])), blue);
        // They all are in another network.
        let elsewhere = [one("eu/a", 0), one("eu/a", 1), one("us/a", 0), one("us/a", 1)];
        assert_eq!(by(json!([NETWORK, "team"])), elsewhere);
    }
}

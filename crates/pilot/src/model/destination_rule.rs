//! DestinationRules: which of them hold for a host, seen from this gateway, and what they say together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::istio::DestinationRule;
use tidegate_api::istio::destination_rule::{
    ClientTlsSettings, ConsistentHash, Subset, TrafficPolicy,
};
use tidegate_api::istio::virtual_service::Destination;
use tidegate_api::{Object, ObjectKey};

use super::age::Age;
use super::host::Host;
use super::names;
use super::policy::{Policy, of_port};
use super::tls::secret_name;
use super::visibility::visibility;
use crate::Options;

/// One DestinationRule.
#[derive(Debug)]
pub struct Rule {
    /// Which object it is.
    pub key: ObjectKey,
    /// The hosts that it is for, in full.
    pub host: Host,
    /// What it says.
    pub spec: DestinationRule,
    /// Its place among rules for the same host: those for chosen workloads first, then by age.
    order: Order,
}

type Order = (bool, Age);

/// All DestinationRules, by the hosts that they are for.
#[derive(Debug, Default)]
pub struct Rules {
    all: HashMap<ObjectKey, Arc<Rule>>,
    by_host: HashMap<Host, BTreeMap<Order, Arc<Rule>>>,
}

/// The rules that hold for a host, the one that comes first in front.
#[derive(Clone, Debug)]
pub struct Effective {
    rules: Vec<Arc<Rule>>,
}

/// From which rules of a namespace the ones for a host are taken.
#[derive(Clone, Copy, Debug)]
enum Pool {
    /// Those that their own namespace sees.
    Local,
    /// Those that only their own namespace sees.
    Private,
    /// Those that others see.
    Exported,
}

impl Rules {
    /// Replaces a rule (`None`: it is gone), and answers the hosts that it was and is for.
    pub fn set(&mut self, key: &ObjectKey, rule: Option<Rule>) -> BTreeSet<Host> {
        let mut touched = BTreeSet::new();
        if let Some(before) = self.all.remove(key) {
            if let Some(rules) = self.by_host.get_mut(&before.host) {
                rules.remove(&before.order);
                if rules.is_empty() {
                    self.by_host.remove(&before.host);
                }
            }
            touched.insert(before.host.clone());
        }
        if let Some(rule) = rule.map(Arc::new) {
            touched.insert(rule.host.clone());
            let rules = self.by_host.entry(rule.host.clone()).or_default();
            rules.insert(rule.order.clone(), Arc::clone(&rule));
            self.all.insert(key.clone(), rule);
        }
        touched
    }

    /// A rule.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Rule>> {
        self.all.get(key)
    }

    /// The rules that may hold for a host, whoever sees them; those for the narrowest hosts first.
    pub fn concerning<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Arc<Rule>> {
        patterns(host).filter_map(|h| self.by_host.get(&h)).flat_map(BTreeMap::values)
    }

    /// What holds for a host, which a service of `namespace` defines (`None`: nobody does). In Istio's order: rules
    /// of the gateway's own namespace, of the service's, of the root namespace. One namespace decides, by its rules
    /// for the narrowest pattern; while the gateway is in the root namespace, only what that keeps to itself comes
    /// before the service's.
    #[must_use]
    pub fn find(
        &self,
        host: &str,
        namespace: Option<&str>,
        options: &Options,
    ) -> Option<Effective> {
        let (own, root) = (&*options.namespace, &*options.root_namespace);
        let local = if own == root { Pool::Private } else { Pool::Local };
        let pools = [(Some(own), local), (namespace, Pool::Exported), (Some(root), Pool::Exported)];
        let mut found = pools.into_iter().filter_map(|(namespace, pool)| {
            let rules = self.narrowest(host, namespace?, pool, options);
            (!rules.is_empty()).then_some(rules)
        });
        found.next().map(|rules| Effective { rules })
    }

    /// A rule that the gateway sees, and those that hold with it wherever it does: the rules of its namespace for the same host.
    #[must_use]
    pub fn beside(&self, rule: &Rule, options: &Options) -> Effective {
        let own = *rule.key.namespace == *options.namespace;
        let root = options.namespace == options.root_namespace;
        let pool = match (own, root) {
            (true, false) => Pool::Local,
            (true, true) if rule.is_in(Pool::Private) => Pool::Private,
            _ => Pool::Exported,
        };
        let namespace = &rule.key.namespace;
        Effective { rules: self.narrowest(rule.host.as_str(), namespace, pool, options) }
    }

    /// The rules of a namespace for the narrowest pattern that has any, those for other workloads aside; of them,
    /// what the gateway sees.
    fn narrowest(
        &self,
        host: &str,
        namespace: &str,
        pool: Pool,
        options: &Options,
    ) -> Vec<Arc<Rule>> {
        for pattern in patterns(host) {
            let there = self.by_host.get(&pattern).into_iter().flat_map(BTreeMap::values);
            let there = there.filter(|rule| {
                *rule.key.namespace == *namespace && rule.is_in(pool) && rule.acts_for(options)
            });
            let mut there: Vec<Arc<Rule>> = there.cloned().collect();
            if !there.is_empty() {
                there.retain(|rule| rule.is_visible_to(&options.namespace));
                return there;
            }
        }
        Vec::new()
    }
}

/// The patterns that take a host, the narrowest first: itself, then each wildcard above it.
fn patterns(host: &str) -> impl Iterator<Item = Host> {
    let dots = host.match_indices('.').map(|(at, _)| format!("*{}", &host[at..]));
    let wild = dots.filter(move |pattern| pattern != host).map(|pattern| Host::new(&pattern));
    let all = (host != "*").then(|| Host::new("*"));
    std::iter::once(Host::new(host)).chain(wild).chain(all)
}

impl Rule {
    /// The rule of an object.
    #[must_use]
    pub fn new(object: &Object, spec: &DestinationRule, options: &Options) -> Self {
        let host = names::full_host(&spec.host, &object.key.namespace, &options.domain);
        Self {
            key: object.key.clone(),
            host: Host::new(&host),
            spec: spec.clone(),
            order: (spec.workload_selector.is_none(), Age::of(object)),
        }
    }

    /// Whether resources of a namespace take anything from it.
    #[must_use]
    pub fn is_visible_to(&self, namespace: &str) -> bool {
        let own = &*self.key.namespace;
        match self.spec.workload_selector {
            Some(_) => own == namespace,
            None => visibility(&self.spec.export_to, own, namespace).is_some(),
        }
    }

    /// Its policies, of the host and of subsets, with the path of each.
    pub fn policies(&self) -> impl Iterator<Item = (String, &TrafficPolicy)> {
        let host = self.spec.traffic_policy.iter().map(|p| ("trafficPolicy".to_owned(), p));
        let subsets = self.spec.subsets.iter().enumerate();
        host.chain(subsets.filter_map(|(s, subset)| {
            Some((format!("subsets[{s}].trafficPolicy"), subset.traffic_policy.as_ref()?))
        }))
    }

    /// Its settings of TLS, with the path of each.
    pub fn tls(&self) -> impl Iterator<Item = (String, &ClientTlsSettings)> {
        self.policies().flat_map(|(path, policy)| {
            let host = policy.tls.as_ref().map(|tls| (format!("{path}.tls"), tls));
            let ports = policy.port_level_settings.iter().enumerate();
            host.into_iter().chain(ports.filter_map(move |(p, port)| {
                Some((format!("{path}.portLevelSettings[{p}].tls"), port.tls.as_ref()?))
            }))
        })
    }

    /// The Secrets that it names, for whichever workload it is.
    pub fn secrets(&self) -> impl Iterator<Item = Arc<str>> {
        let settings = self.tls().map(|(_, settings)| settings);
        let named = settings.filter(|settings| !settings.credential_name.is_empty());
        named.map(|settings| secret_name(&settings.credential_name))
    }

    fn is_in(&self, pool: Pool) -> bool {
        let own = &*self.key.namespace;
        let private = self.spec.workload_selector.is_some()
            || matches!(self.spec.export_to.as_slice(), [only] if only == "." || only == own);
        match pool {
            Pool::Local => self.is_visible_to(own),
            Pool::Private => private,
            Pool::Exported => !private,
        }
    }

    /// Whether it is for this gateway's workload.
    #[must_use]
    pub fn acts_for(&self, options: &Options) -> bool {
        self.spec
            .workload_selector
            .as_ref()
            .is_none_or(|selector| options.carries(&selector.match_labels))
    }
}

impl Effective {
    /// The rules, the one that comes first in front.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// What holds for the host: the first rule that says anything.
    #[must_use]
    pub fn policy(&self) -> Option<&TrafficPolicy> {
        self.rules.iter().find_map(|rule| rule.spec.traffic_policy.as_ref())
    }

    /// The subset of a name: that of the first rule that has it.
    #[must_use]
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets().find(|subset| subset.name == name)
    }

    /// The subsets that all rules have together; of those of one name, that of the first rule.
    pub fn subsets(&self) -> impl Iterator<Item = &Subset> {
        let mut seen = BTreeSet::new();
        let all = self.rules.iter().flat_map(|rule| &rule.spec.subsets);
        all.filter(move |subset| seen.insert(subset.name.as_str()))
    }

    /// Which rule the subset of a name is from, and its number there.
    #[must_use]
    pub fn place_of_subset(&self, name: &str) -> Option<(&Arc<Rule>, usize)> {
        self.rules.iter().find_map(|rule| {
            let number = rule.spec.subsets.iter().position(|subset| subset.name == name)?;
            Some((rule, number))
        })
    }

    /// What holds for a port of the host, or of a subset of it.
    #[must_use]
    pub fn policy_for<'a>(&'a self, port: u16, subset: Option<&'a Subset>) -> Policy<'a> {
        let host = self.policy().map(|policy| Policy::default().with(policy, port));
        let host = host.unwrap_or_default();
        match subset.and_then(|subset| subset.traffic_policy.as_ref()) {
            Some(own) => host.with(own, port),
            None => host,
        }
    }

    /// Where the settings of TLS for a port of the host, or of a subset, stand: the rule, and the path of the field.
    #[must_use]
    pub fn place_of_tls(&self, port: u16, subset: &str) -> Option<(&ObjectKey, String)> {
        let settings = self.policy_for(port, self.subset(subset)).tls?;
        self.rules.iter().find_map(|rule| {
            let (path, _) = rule.tls().find(|(_, own)| std::ptr::eq(*own, settings))?;
            Some((&rule.key, path))
        })
    }

    /// Where the settings for a port of the host, or of a subset, stand that are in force, and the subset itself: rules, and
    /// paths of fields.
    #[must_use]
    pub fn places(&self, port: u16, subset: &str) -> Vec<(&ObjectKey, String)> {
        let named = self.subset(subset);
        let policy = self.policy_for(port, named);
        let mut places = Vec::new();
        for rule in &self.rules {
            let own = rule.spec.subsets.iter().position(|own| same(Some(own), named));
            places.extend(own.map(|number| (&rule.key, format!("subsets[{number}]"))));
            for (path, said) in rule.policies() {
                let fields = in_force(said, policy);
                places.extend(fields.map(|field| (&rule.key, format!("{path}.{field}"))));
            }
        }
        places
    }

    /// What of a request chooses the endpoint at a destination. Ports count where the destination names one.
    #[must_use]
    pub fn hash(&self, destination: &Destination) -> Option<&ConsistentHash> {
        let port = destination.port_number().map(u16::from);
        let subset = (!destination.subset.is_empty()).then(|| self.subset(&destination.subset));
        let subset = subset.flatten().and_then(|subset| subset.traffic_policy.as_ref());
        let policy = self.policy();
        (subset.and_then(|policy| port_hash(policy, port)))
            .or_else(|| subset.and_then(host_hash))
            .or_else(|| policy.and_then(|policy| port_hash(policy, port)))
            .or_else(|| policy.and_then(host_hash))
            .filter(|hash| hash.unfit().is_none())
    }
}

/// The fields of a policy that a host or a subset has whose settings are in force.
fn in_force(said: &TrafficPolicy, policy: Policy<'_>) -> impl Iterator<Item = String> {
    let host = [
        ("loadBalancer", same(said.load_balancer.as_ref(), policy.load_balancer)),
        ("connectionPool", same(said.connection_pool.as_ref(), policy.connection_pool)),
        ("outlierDetection", same(said.outlier_detection.as_ref(), policy.outlier_detection)),
        ("tls", same(said.tls.as_ref(), policy.tls)),
        ("tunnel", same(said.tunnel.as_ref(), policy.tunnel)),
        ("proxyProtocol", same(said.proxy_protocol.as_ref(), policy.proxy_protocol)),
        ("retryBudget", same(said.retry_budget.as_ref(), policy.retry_budget)),
    ];
    let host = host.into_iter().map(|(field, holds)| (field.to_owned(), holds));
    let ports = said.port_level_settings.iter().enumerate().flat_map(move |(number, port)| {
        let own = [
            ("loadBalancer", same(port.load_balancer.as_ref(), policy.load_balancer)),
            ("connectionPool", same(port.connection_pool.as_ref(), policy.connection_pool)),
            ("outlierDetection", same(port.outlier_detection.as_ref(), policy.outlier_detection)),
            ("tls", same(port.tls.as_ref(), policy.tls)),
        ];
        own.map(|(field, holds)| (format!("portLevelSettings[{number}].{field}"), holds))
    });
    host.chain(ports).filter_map(|(field, holds)| holds.then_some(field))
}

/// Whether both are one and the same.
fn same<T>(said: Option<&T>, holds: Option<&T>) -> bool {
    matches!((said, holds), (Some(said), Some(holds)) if std::ptr::eq(said, holds))
}

fn host_hash(policy: &TrafficPolicy) -> Option<&ConsistentHash> {
    policy.load_balancer.as_ref()?.consistent_hash.as_ref()
}

fn port_hash(policy: &TrafficPolicy, port: Option<u16>) -> Option<&ConsistentHash> {
    of_port(policy, port?)?.load_balancer.as_ref()?.consistent_hash.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_api::{Kind, Origin, Spec};

    use super::*;

    fn rule(namespace: &str, name: &str, spec: &Value, options: &Options) -> Rule {
        let manifest = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        let object = Object::decode(Kind::DestinationRule, "v1", &manifest, Origin::Api);
        let object = object.expect("a valid object").object;
        let Spec::DestinationRule(spec) = &object.spec else { panic!("a DestinationRule") };
        Rule::new(&object, spec, options)
    }

    /// Names of the rules that hold for `x.example.org`, which a service of namespace `service` defines.
    fn found(own: &str, rules: &[(&str, &str, Value)]) -> Vec<String> {
        let options = Options { namespace: own.to_owned(), ..Options::default() };
        let mut all = Rules::default();
        for (namespace, name, spec) in rules {
            let rule = rule(namespace, name, spec, &options);
            all.set(&rule.key.clone(), Some(rule));
        }
        let found = all.find("x.example.org", Some("service"), &options);
        found.iter().flat_map(Effective::rules).map(|rule| rule.key.name.to_string()).collect()
    }

    #[test]
    fn the_namespaces_are_asked_in_order() {
        let x = json!({"host": "x.example.org"});
        let with = |key: &str, value: Value| {
            let mut spec = x.clone();
            spec[key] = value;
            spec
        };
        let three = [
            ("istio-system", "root", x.clone()),
            ("service", "service", x.clone()),
            ("gateway", "own", x.clone()),
        ];
        assert_eq!(found("gateway", &three), ["own"]);
        assert_eq!(found("other", &three), ["service"]);
        assert_eq!(found("other", &three[..1]), ["root"]);
        assert_eq!(found("other", &three[2..]), [] as [&str; 0]);
        // In the root namespace, what is for everyone comes last.
        assert_eq!(found("istio-system", &three), ["service"]);
        let private =
            [("istio-system", "private", with("exportTo", json!(["."]))), three[1].clone()];
        assert_eq!(found("istio-system", &private), ["private"]);
        let hidden =
            [("service", "hidden", with("exportTo", json!(["elsewhere"]))), three[0].clone()];
        assert_eq!(found("gateway", &hidden), ["root"]);
        let labels = |value| json!({"matchLabels": {"istio": value}});
        let chosen = [
            ("gateway", "a", x.clone()),
            ("gateway", "z", with("workloadSelector", labels("ingressgateway"))),
            ("gateway", "other", with("workloadSelector", labels("egressgateway"))),
        ];
        assert_eq!(found("gateway", &chosen), ["z", "a"], "the one for this workload goes first");
    }

    #[test]
    fn the_narrowest_pattern_decides() {
        let host = |host: &str| json!({"host": host});
        let wild = [
            ("service", "all", host("*.org")),
            ("service", "near", host("*.example.org")),
            ("istio-system", "exact", host("x.example.org")),
        ];
        assert_eq!(found("gateway", &wild), ["near"]);
        assert_eq!(
            patterns("*.a.b").map(|h| h.to_string()).collect::<Vec<_>>(),
            ["*.a.b", "*.b", "*"]
        );
    }

    #[test]
    fn settings_of_subset_and_port_come_before_those_of_the_host() {
        let hash = |name: &str| json!({"consistentHash": {"httpHeaderName": name}});
        let ports = |name: &str| json!([{"port": {"number": 80}, "loadBalancer": hash(name)}]);
        let spec = json!({
            "host": "x.example.org",
            "trafficPolicy": {"loadBalancer": hash("host"), "portLevelSettings": ports("port")},
            "subsets": [
                {"name": "plain"},
                {"name": "own", "trafficPolicy": {"loadBalancer": hash("subset")}},
                {"name": "both", "trafficPolicy": {
                    "loadBalancer": hash("subset"), "portLevelSettings": ports("subset-port"),
                }},
            ],
        });
        let options = Options::default();
        let effective = Effective { rules: vec![Arc::new(rule("service", "r", &spec, &options))] };
        let by = |subset: &str, port: Option<u32>| {
            let destination =
                json!({"host": "x", "subset": subset, "port": port.map(|n| json!({"number": n}))});
            let destination = serde_json::from_value(destination).expect("a destination");
            effective
                .hash(&destination)
                .and_then(|hash| hash.http_header_name.clone())
                .expect("a header")
        };
        let cases = [
            ("", None, "host"),
            ("", Some(80), "port"),
            ("", Some(81), "host"),
            ("plain", Some(80), "port"),
            ("own", Some(80), "subset"),
            ("both", Some(80), "subset-port"),
            ("both", Some(81), "subset"),
        ];
        for (subset, port, wanted) in cases {
            assert_eq!(by(subset, port), wanted, "{subset} {port:?}");
        }
    }
}

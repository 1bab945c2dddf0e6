//! Status of DestinationRules: who comes before them, and what of them is not served yet, by the path of the field.

use tidegate_api::istio::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHash, HttpSettings,
    LoadBalancerSettings, SimpleLb, TcpSettings, TrafficPolicy,
};

use super::credentials::Lack;
use super::standing::{not_selected, this};
use super::virtual_service::meant_service;
use super::{Findings, Force, View, join};
use crate::compile::balancing::keeps_address;
use crate::model::destination_rule::{Effective, Rule};
use crate::model::names;
use crate::model::tls::client_credentials;
use crate::{Options, Serves};

/// What is wrong with a DestinationRule; `None` when it is for other workloads.
pub(super) fn findings(rule: &Rule, view: View<'_>) -> Option<Findings> {
    if !rule.acts_for(view.options) {
        return None;
    }
    let mut findings = Findings::default();
    if let Some((reason, fault)) = beaten(rule, view) {
        findings.fault(reason, fault);
    }
    let fields = unserved(rule, view.options);
    if !fields.is_empty() {
        let fields = fields.join(", ");
        let fault = format!("not served yet, traffic passes without it: {fields}");
        findings.fault("NotServed", fault);
    }
    for settings in rule.policies().flat_map(|(_, policy)| balancing(policy)) {
        if let Some((field, fault)) =
            settings.consistent_hash.as_ref().and_then(ConsistentHash::unfit)
        {
            let fault = format!("consistentHash.{field}: {fault}; endpoints are chosen without it");
            findings.fault("NotServed", fault);
        }
    }
    for (path, settings) in rule.tls() {
        of_tls(&path, settings, view, &mut findings);
    }
    if is_nowhere(rule, view) {
        let why = meant_service(rule.host.as_str(), view).unwrap_or_else(|| {
            format!("no Service and no ServiceEntry that this {} sees has it", this(view))
        });
        findings.missing.push(format!("host {} not found: {why}", rule.host));
    } else {
        unknown_ports(rule, view, &mut findings);
        empty_subsets(rule, view, &mut findings);
    }
    Some(findings)
}

/// Whether nobody defines the host that a rule is for.
fn is_nowhere(rule: &Rule, view: View<'_>) -> bool {
    !rule.host.is_wildcard()
        && view.registry.find(rule.host.as_str(), &rule.key.namespace).is_none()
}

/// Subsets that no endpoint is in, of a host that has some: whoever sends there is told, too.
fn empty_subsets(rule: &Rule, view: View<'_>, findings: &mut Findings) {
    let Some(vacant) = view.vacant.get(rule.host.as_str()) else { return };
    let ports = view.registry.ports(rule.host.as_str());
    for (at, subset) in rule.spec.subsets.iter().enumerate() {
        let of =
            |name: &str, port: u16| vacant.get(&*names::cluster(rule.host.as_str(), name, port));
        let mut alone = ports.keys().filter(|port| of("", **port).is_none());
        let why = alone.find_map(|port| of(&subset.name, *port));
        findings.advice.extend(why.map(|why| format!("subsets[{at}]: {why}")));
    }
}

/// Settings of ports that the host does not have.
fn unknown_ports(rule: &Rule, view: View<'_>, findings: &mut Findings) {
    let policies = rule.policies().filter(|_| !rule.host.is_wildcard());
    let has = view.registry.ports(rule.host.as_str());
    let settings = policies.flat_map(|(path, policy)| {
        let ports = policy.port_level_settings.iter().enumerate();
        ports.map(move |(at, port)| (format!("{path}.portLevelSettings[{at}].port"), port))
    });
    for (path, port) in settings {
        let number = port.port.and_then(|selector| selector.number).map(u16::from);
        let Some(number) = number.filter(|number| !has.contains_key(number)) else { continue };
        let has: Vec<String> = has.keys().map(ToString::to_string).collect();
        findings.fault(
            "PortNotFound",
            format!(
                "{path}: host {} has no port {number}, so that these settings are for \
                 nobody; it has {}",
                rule.host,
                if has.is_empty() { "no port".to_owned() } else { has.join(", ") }
            ),
        );
    }
}

/// Whether anything of a DestinationRule is in force.
pub(super) fn force(rule: &Rule, findings: Option<&Findings>, view: View<'_>) -> Force {
    let Some(findings) = findings else {
        return Force::nothing("NotSelected", not_selected(view));
    };
    if let Some((reason, fault)) = beaten(rule, view).filter(|(reason, _)| *reason != "Partly") {
        return Force::nothing(reason, fault);
    }
    let unresolved = findings.unresolved();
    if is_nowhere(rule, view)
        && let Some((reason, message)) = unresolved
    {
        return Force::nothing(reason, message);
    }
    let to_gateway = view.options.workload().is_none();
    let served = rule.policies().flat_map(|(_, policy)| balancing(policy)).any(|settings| {
        settings.consistent_hash.is_some()
            || settings.locality_lb_setting.is_some()
            || settings.warmup.is_some()
            || settings.warmup_duration_secs.is_some()
            || settings.simple.is_some_and(|simple| !to_gateway || simple != SimpleLb::Passthrough)
    });
    let has_all = |settings| {
        let credentials = client_credentials(settings, view.options);
        let mut lacks = credentials.iter().filter_map(|credential| Lack::of(credential, view));
        lacks.all(|lack| lack.serves != Serves::Nothing)
    };
    // A subset is a cluster, whatever else it says.
    let limits = rule.policies().any(|(_, policy)| {
        let ports = policy.port_level_settings.iter().filter_map(|p| p.connection_pool.as_ref());
        policy.retry_budget.is_some()
            || policy.outlier_detection.is_some()
            || policy.port_level_settings.iter().any(|port| port.outlier_detection.is_some())
            || policy.connection_pool.iter().chain(ports).any(says_something)
    });
    if served
        || limits
        || !rule.spec.subsets.is_empty()
        || rule.tls().any(|(_, settings)| has_all(settings))
    {
        return Force::Whole;
    }
    match (findings.first_and_all(), unresolved) {
        ((Some(reason), faults), _) => Force::nothing(reason, faults),
        (_, Some((reason, message))) => Force::nothing(reason, message),
        _ => Force::Whole,
    }
}

/// Whether limits of connections say anything.
fn says_something(pool: &ConnectionPoolSettings) -> bool {
    pool.tcp.as_ref().is_some_and(|tcp| *tcp != TcpSettings::default())
        || pool.http.as_ref().is_some_and(|http| *http != HttpSettings::default())
}

/// A part of a rule that does not hold, as another rule for the same host comes first.
pub(crate) struct Outranked<'r> {
    /// Where it stands in the rule; `None` is the whole of it.
    pub(crate) path: Option<String>,
    /// The subset, where it is one.
    pub(crate) subset: Option<&'r str>,
    /// Why, in words.
    pub(crate) told: String,
}

/// What of a rule does not hold for its host.
pub(crate) fn outranked<'r>(rule: &'r Rule, view: View<'_>) -> Vec<Outranked<'r>> {
    match against(rule, view) {
        Against::Nothing => Vec::new(),
        Against::Parts(parts) => parts,
        Against::Whole(_, told) => vec![Outranked { path: None, subset: None, told }],
    }
}

/// What is against a rule for its host.
enum Against<'r> {
    Nothing,
    /// Rules that come first have these parts of it, too.
    Parts(Vec<Outranked<'r>>),
    /// Nothing of it holds: the reason, in one word and in words.
    Whole(&'static str, String),
}

impl<'r> Against<'r> {
    fn of(parts: Vec<Outranked<'r>>) -> Self {
        if parts.is_empty() { Self::Nothing } else { Self::Parts(parts) }
    }
}

/// Why a rule, or a part of it, does not hold for its host; the reason is `Partly` where the rest does.
fn beaten(rule: &Rule, view: View<'_>) -> Option<(&'static str, String)> {
    match against(rule, view) {
        Against::Nothing => None,
        Against::Parts(parts) => {
            let policies = usize::from(rule.spec.traffic_policy.is_some());
            let all = parts.len() == policies + rule.spec.subsets.len();
            let told = parts.iter().map(|part| {
                let place = part.path.iter().map(|path| format!("{path}: "));
                place.chain([part.told.clone()]).collect()
            });
            let told: Vec<String> = told.collect();
            Some((if all { "Conflict" } else { "Partly" }, join(&told)))
        }
        Against::Whole(reason, told) => Some((reason, told)),
    }
}

fn against<'r>(rule: &'r Rule, view: View<'_>) -> Against<'r> {
    let (key, host, own) = (&rule.key, &rule.host, &view.options.namespace);
    if !rule.is_visible_to(own) {
        let fault = format!("exportTo hides it from namespace {own}, where the gateway is");
        return Against::Whole("Hidden", fault);
    }
    if host.is_wildcard() {
        // Which namespace's rules it meets depends on the host that is asked for; those beside it, it always meets.
        return Against::of(had_by_others(rule, &view.rules.beside(rule, view.options)));
    }
    let Some(service) = view.registry.find(host.as_str(), &key.namespace) else {
        return Against::Nothing;
    };
    let namespace = &service.key.namespace;
    let effective = view.rules.find(host.as_str(), Some(namespace), view.options);
    let winner = effective.as_ref().and_then(|e| e.rules().next());
    let holds = |e: &Effective| e.rules().any(|other| other.key == *key);
    match (effective.as_ref(), winner) {
        (Some(effective), _) if holds(effective) => Against::of(had_by_others(rule, effective)),
        (_, Some(winner)) => Against::Whole(
            "Conflict",
            format!("{} holds for {host}: its namespace comes first", winner.key),
        ),
        _ => Against::Whole(
            "NotApplied",
            format!(
                "namespace {} is not asked: it is neither the gateway's ({own}), nor the service's ({namespace}), \
                 nor the root namespace ({})",
                key.namespace, view.options.root_namespace
            ),
        ),
    }
}

/// The policy and the subsets of a rule that rules which come before it have, too.
fn had_by_others<'r>(rule: &'r Rule, effective: &Effective) -> Vec<Outranked<'r>> {
    let host = &rule.host;
    let first = effective.rules().find(|other| other.spec.traffic_policy.is_some());
    let first = first.filter(|first| rule.spec.traffic_policy.is_some() && first.key != rule.key);
    let policy = first.map(|first| Outranked {
        path: Some("trafficPolicy".to_owned()),
        subset: None,
        told: format!("{} has one for {host} and is older", first.key),
    });
    let subsets = rule.spec.subsets.iter().enumerate().filter_map(|(number, subset)| {
        let (first, at) = effective.place_of_subset(&subset.name)?;
        (first.key != rule.key).then(|| Outranked {
            path: Some(format!("subsets[{number}]")),
            subset: Some(&subset.name),
            told: format!(
                "{} has a subset {} for {host} (subsets[{at}]), which holds in its place; give one of them another name",
                first.key, subset.name
            ),
        })
    });
    policy.into_iter().chain(subsets).collect()
}

/// Certificates and authorities that are not there, and servers that are not verified.
fn of_tls(path: &str, settings: &ClientTlsSettings, view: View<'_>, findings: &mut Findings) {
    for credential in client_credentials(settings, view.options) {
        if let Some(lack) = Lack::of(&credential, view) {
            lack.tell(path, "no connection to the host is made", findings);
        }
    }
    if settings.mode == ClientTlsMode::Disable && *settings != ClientTlsSettings::default() {
        findings.advice.push(format!(
            "{path}: its mode is DISABLE, as it is where none is written, so that connections carry no TLS and the other \
             fields say nothing; set mode: SIMPLE or MUTUAL for TLS, or remove the fields"
        ));
    }
    if settings.mode != ClientTlsMode::Disable && settings.insecure_skip_verify == Some(true) {
        findings.insecure = true;
        findings.advice.push(format!(
            "{path}.insecureSkipVerify: the server's certificate is not verified: whoever can answer in its place gets \
             the traffic"
        ));
    }
}

fn unserved(rule: &Rule, options: &Options) -> Vec<String> {
    let mut fields = Vec::new();
    for (path, policy) in rule.policies() {
        used(policy, &path, options, &mut fields);
    }
    fields
}

/// The settings without effect that a policy gives, by the path of the field.
fn used(policy: &TrafficPolicy, path: &str, options: &Options, fields: &mut Vec<String>) {
    if policy.tunnel.is_some() {
        fields.push(format!("{path}.tunnel"));
    }
    if let Some(settings) = &policy.load_balancer {
        of_balancing(settings, &format!("{path}.loadBalancer"), options, fields);
    }
    for (p, port) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{p}]");
        if let Some(settings) = &port.load_balancer {
            of_balancing(settings, &format!("{path}.loadBalancer"), options, fields);
        }
    }
}

fn of_balancing(
    settings: &LoadBalancerSettings,
    path: &str,
    options: &Options,
    fields: &mut Vec<String>,
) {
    // What comes to a gateway was dialled to the gateway.
    let to_gateway = options.workload().is_none();
    let given = [
        ("simple (PASSTHROUGH)", to_gateway && keeps_address(settings)),
        ("backendUtilization", settings.backend_utilization.is_some()),
        ("zoneAwareLbSetting", settings.zone_aware_lb_setting.is_some()),
    ];
    let given = given.into_iter().filter(|(_, used)| *used);
    fields.extend(given.map(|(name, _)| format!("{path}.{name}")));
}

/// The settings of how endpoints are chosen: the host's and its ports'.
fn balancing(policy: &TrafficPolicy) -> impl Iterator<Item = &LoadBalancerSettings> {
    let ports = policy.port_level_settings.iter().filter_map(|p| p.load_balancer.as_ref());
    policy.load_balancer.iter().chain(ports)
}

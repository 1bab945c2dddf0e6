//! Status of DestinationRules: none of their settings is served yet, and each that is used is named.

use tidegate_api::ObjectKey;
use tidegate_api::istio::DestinationRule;
use tidegate_api::istio::destination_rule::TrafficPolicy;

use super::{Findings, View};
use crate::model::names;

/// What is wrong with a DestinationRule.
pub(super) fn findings(key: &ObjectKey, rule: &DestinationRule, view: View<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut fields = Vec::new();
    if let Some(policy) = &rule.traffic_policy {
        used(policy, "trafficPolicy", &mut fields);
    }
    for (s, subset) in rule.subsets.iter().enumerate() {
        fields.push(format!("subsets[{s}] ({})", subset.name));
    }
    if !fields.is_empty() {
        let fields = fields.join(", ");
        let fault = format!("not served yet, traffic passes without it: {fields}");
        findings.fault("NotServed", fault);
    }
    let host = names::full_host(&rule.host, &key.namespace, &view.options.domain);
    let host = host.to_ascii_lowercase();
    if !host.starts_with('*') && view.registry.find(&host, &key.namespace).is_none() {
        findings.missing.push(format!(
            "host {host} not found: no Service and no ServiceEntry that this gateway sees has it"
        ));
    }
    findings
}

/// The settings that a policy gives, by the path of the field.
fn used(policy: &TrafficPolicy, path: &str, fields: &mut Vec<String>) {
    let given = [
        ("loadBalancer", policy.load_balancer.is_some()),
        ("connectionPool", policy.connection_pool.is_some()),
        ("outlierDetection", policy.outlier_detection.is_some()),
        ("tls", policy.tls.is_some()),
        ("portLevelSettings", !policy.port_level_settings.is_empty()),
        ("tunnel", policy.tunnel.is_some()),
        ("proxyProtocol", policy.proxy_protocol.is_some()),
        ("retryBudget", policy.retry_budget.is_some()),
    ];
    let given = given.into_iter().filter(|(_, used)| *used);
    fields.extend(given.map(|(name, _)| format!("{path}.{name}")));
}

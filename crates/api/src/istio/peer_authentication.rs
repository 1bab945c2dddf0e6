//! PeerAuthentication: which TLS the workloads of the mesh take from each other.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::policy::{self, PolicySelector};
use crate::Object;
use crate::schema::rules::says;
use crate::validation::Report;

/// Says what workloads take from others of the mesh: mutual TLS, plain text, or both. Gateways take what their Gateway says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [says(
    "has(self.portLevelMtls) ? has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0 : true",
    "portLevelMtls requires selector",
)]))]
pub struct PeerAuthentication {
    /// The workloads that this is about; every one of the namespace when absent, and of the mesh if the namespace is the root.
    pub selector: Option<PolicySelector>,
    /// What these workloads take on every port.
    pub mtls: Option<MutualTls>,
    /// What they take on single ports of their own, by number. Needs a selector with labels.
    #[schemars(extend("minProperties" = 1, "x-kubernetes-validations" = [says(
        "self.all(key, key.matches('^[0-9]{1,5}$') && 0 < int(key) && int(key) <= 65535)",
        "port must be between 1-65535",
    )]))]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// What a workload takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "MutualTLS")]
pub struct MutualTls {
    /// Whether mutual TLS is asked for.
    #[serde(default)]
    pub mode: MutualTlsMode,
}

/// Whether mutual TLS is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MutualTlsMode {
    /// As the policy of the namespace or of the mesh says, else PERMISSIVE.
    #[default]
    Unset,
    /// Plain text only.
    Disable,
    /// Both.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl PeerAuthentication {
    /// Checks what the object says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        policy::refuse_dry_run(report, object);
        report.field("spec", |report| {
            policy::validate_selector(report, self.selector.as_ref());
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Kind::PeerAuthentication;
    use crate::istio::testing::{advice, faults};

    #[test]
    fn ports_need_a_selector_and_numbers() {
        let labels = json!({"matchLabels": {"app": "a"}});
        let strict = json!({"mode": "STRICT"});
        let good = json!({"selector": labels, "portLevelMtls": {"8080": strict}});
        assert_eq!(advice(PeerAuthentication, &good), [""; 0]);
        for (spec, fault) in [
            (json!({"portLevelMtls": {"8080": strict}}), "requires selector"),
            (json!({"selector": labels, "portLevelMtls": {}}), "at least 1"),
            (json!({"selector": labels, "portLevelMtls": {"0": strict}}), "between 1-65535"),
            (json!({"selector": labels, "portLevelMtls": {"acd": strict}}), "between 1-65535"),
            (json!({"mtls": {"mode": "strict"}}), "Unsupported value"),
        ] {
            let faults = faults(PeerAuthentication, &spec);
            assert!(faults.len() == 1 && faults[0].contains(fault), "{spec}: {faults:?}");
        }
    }
}

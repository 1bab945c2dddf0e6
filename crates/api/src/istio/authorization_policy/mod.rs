//! AuthorizationPolicy: who may do what at a workload.

mod attribute;
mod validate;

use schemars::JsonSchema;
use serde::Deserialize;

pub use attribute::Attribute;
pub use validate::{has_template, is_dry_run};

use super::policy::{ATTACHMENT, PolicySelector, TargetReference};
use crate::schema::rules::says;

/// Allows or denies requests and connections. Policies of all actions hold side by side: CUSTOM is asked first, then DENY,
/// then ALLOW. What no DENY matches is let through if an ALLOW policy matches it, or if there is none at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = ATTACHMENT))]
pub struct AuthorizationPolicy {
    /// The workloads that this is about; every one of the namespace when absent, and of the mesh if the namespace is the root.
    pub selector: Option<PolicySelector>,
    /// One resource that this is about; `targetRefs` takes its place.
    pub target_ref: Option<TargetReference>,
    /// The resources that this is about, in place of a selector: Gateways of the Gateway API, at whose proxies alone such a policy
    /// holds. Others are for waypoints, which are not served.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetReference>,
    /// What is matched; one rule is enough. Without rules nothing is: an ALLOW policy then allows nothing.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub rules: Vec<Rule>,
    /// What becomes of requests that match. ALLOW when absent.
    #[serde(default)]
    pub action: Action,
    /// Who is asked by a policy of the action CUSTOM.
    pub provider: Option<Provider>,
}

/// What becomes of requests that a rule matches.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// They are let through, and what no ALLOW policy matches is not.
    #[default]
    Allow,
    /// They are refused, whatever other policies say.
    Deny,
    /// They are let through, and noted.
    Audit,
    /// An external service of the mesh config is asked. Not served yet: such requests are refused.
    Custom,
}

/// An extension of the mesh config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ExtensionProvider")]
pub struct Provider {
    /// Its name in the mesh config.
    #[serde(default)]
    pub name: String,
}

/// Matches a request from one of the sources, for one of the operations, under all conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Rule {
    /// Sources of which one has to match; any source when absent.
    #[schemars(length(max = 512))]
    pub from: Option<Vec<From>>,
    /// Operations of which one has to match; any operation when absent.
    pub to: Option<Vec<To>>,
    /// Conditions that all have to hold.
    #[serde(default)]
    pub when: Vec<Condition>,
}

/// A source of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "RuleFrom")]
pub struct From {
    /// Who asks; all of its fields have to hold.
    pub source: Option<Source>,
}

/// An operation of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "RuleTo")]
pub struct To {
    /// What is asked for; all of its fields have to hold.
    pub operation: Option<Operation>,
}

/// Who asks. Of each list one entry has to match, of a `not…` list none. Entries are exact, a prefix (`abc*`), a suffix
/// (`*abc`) or anything that is there (`*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [says(
    "has(self.serviceAccounts) || has(self.notServiceAccounts) \
     ? !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces)) : true",
    "Cannot set serviceAccounts with namespaces or principals",
)]))]
pub struct Source {
    /// Identities of peers, from their mesh certificate: `TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    pub principals: Vec<String>,
    /// Identities that do not match.
    pub not_principals: Vec<String>,
    /// Identities of a JWT: `ISSUER/SUBJECT`.
    pub request_principals: Vec<String>,
    /// Identities of a JWT that do not match.
    pub not_request_principals: Vec<String>,
    /// Namespaces of peers, from their mesh certificate.
    pub namespaces: Vec<String>,
    /// Namespaces that do not match.
    pub not_namespaces: Vec<String>,
    /// Service accounts of peers, from their mesh certificate: `NAMESPACE/ACCOUNT`, or one of the policy's own namespace.
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub service_accounts: Vec<String>,
    /// Service accounts that do not match.
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub not_service_accounts: Vec<String>,
    /// Trust domains of peers, from their mesh certificate.
    pub trust_domains: Vec<String>,
    /// Trust domains that do not match.
    pub not_trust_domains: Vec<String>,
    /// Addresses or ranges that the connection comes from.
    pub ip_blocks: Vec<String>,
    /// Addresses or ranges that do not match.
    pub not_ip_blocks: Vec<String>,
    /// Addresses or ranges of the client: behind trusted proxies what X-Forwarded-For or the PROXY protocol says.
    pub remote_ip_blocks: Vec<String>,
    /// Addresses or ranges of the client that do not match.
    pub not_remote_ip_blocks: Vec<String>,
}

/// What is asked for. Of each list one entry has to match, of a `not…` list none. Entries are exact, a prefix (`abc*`), a
/// suffix (`*abc`) or anything that is there (`*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Hosts, in any letter case; the port counts if the request names one. HTTP only.
    pub hosts: Vec<String>,
    /// Hosts that do not match. HTTP only.
    pub not_hosts: Vec<String>,
    /// Ports that are listened on.
    pub ports: Vec<String>,
    /// Ports that do not match.
    pub not_ports: Vec<String>,
    /// Methods. HTTP only.
    pub methods: Vec<String>,
    /// Methods that do not match. HTTP only.
    pub not_methods: Vec<String>,
    /// Paths, without the query. In a template `{*}` stands for one segment and `{**}` for any number of them. HTTP only.
    pub paths: Vec<String>,
    /// Paths that do not match. HTTP only.
    pub not_paths: Vec<String>,
}

/// Something else that has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is looked at, such as `request.headers[User-Agent]` or `source.ip`.
    pub key: String,
    /// Values of which one has to match.
    #[serde(default)]
    pub values: Vec<String>,
    /// Values of which none may match.
    #[serde(default)]
    pub not_values: Vec<String>,
}

#[cfg(test)]
mod tests;

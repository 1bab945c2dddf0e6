//! Rules about who is let in, for connections without a server name, and for those that share a filter chain with them.

use std::collections::BTreeMap;

use tidegate_envoy::any;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::hcm::HttpFilter;
use tidegate_envoy::v3::http_rbac::{Rbac as HttpRbac, RbacPerRoute};
use tidegate_envoy::v3::listener::Filter;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::network_rbac::Rbac as NetworkRbac;
use tidegate_envoy::v3::rbac::permission::Rule;
use tidegate_envoy::v3::rbac::principal::{Authenticated, Identifier};
use tidegate_envoy::v3::rbac::{Permission, Policy, Principal, Rbac, rbac::Action};

use super::{http_filter, text};

/// The filter for requests, which virtual hosts give its rules by this name. AuthorizationPolicies have filters under Istio's
/// name for them: what a host says of this one must not stand in for theirs.
const HTTP_FILTER: &str = "tidegate.filters.http.client_certificate";

/// The prefix of the counters of [`certified_or_nameless`].
pub const CERTIFIED_OR_NAMELESS: &str = "certificate_or_no_server_name.";

/// Lets in connections that name no server (SNI), and closes all others.
#[must_use]
pub fn only_nameless() -> Filter {
    network("no_server_name.", [without_name()])
}

/// Lets in connections that name no server, and those with a verified certificate of the client; closes all others, before
/// anything is read of a request.
#[must_use]
pub fn certified_or_nameless() -> Filter {
    network(CERTIFIED_OR_NAMELESS, [without_name(), certified()])
}

fn network(stat_prefix: &str, allowed: impl IntoIterator<Item = Allowed>) -> Filter {
    let filter = NetworkRbac {
        rules: Some(allow(allowed)),
        stat_prefix: stat_prefix.to_owned(),
        ..NetworkRbac::default()
    };
    Filter {
        name: "envoy.filters.network.rbac".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&filter))),
    }
}

/// The filter that virtual hosts give rules to; it has none of its own.
#[must_use]
pub fn by_virtual_host() -> HttpFilter {
    http_filter(HTTP_FILTER, &HttpRbac::default())
}

/// What a virtual host demands: a client with a verified certificate. Which certificates those are is up to the handshake.
#[must_use]
pub fn with_certificate() -> BTreeMap<String, Any> {
    instead(certified())
}

/// What a route demands in place of its virtual host: that the connection names a server.
#[must_use]
pub fn with_name() -> BTreeMap<String, Any> {
    let nameless = Permission { rule: Some(Rule::RequestedServerName(text::exact(""))) };
    instead(("server-name", Rule::NotRule(Box::new(nameless)), Identifier::Any(true)))
}

/// A policy: its name, what is asked of the request or the connection, and what of the client.
type Allowed = (&'static str, Rule, Identifier);

fn without_name() -> Allowed {
    let rule = Rule::RequestedServerName(text::exact(""));
    ("no-server-name", rule, Identifier::Any(true))
}

fn certified() -> Allowed {
    // Without a certificate there is no name, and the text that is looked at is empty.
    let name = text::matching(".+");
    let who = Identifier::Authenticated(Authenticated { principal_name: Some(name) });
    ("verified-client-certificate", Rule::Any(true), who)
}

fn instead(allowed: Allowed) -> BTreeMap<String, Any> {
    let rbac = HttpRbac { rules: Some(allow([allowed])), ..HttpRbac::default() };
    BTreeMap::from([(HTTP_FILTER.to_owned(), any(&RbacPerRoute { rbac: Some(rbac) }))])
}

fn allow(allowed: impl IntoIterator<Item = Allowed>) -> Rbac {
    let policy = |(name, rule, who): Allowed| {
        let policy = Policy {
            permissions: vec![Permission { rule: Some(rule) }],
            principals: vec![Principal { identifier: Some(who) }],
            ..Policy::default()
        };
        (name.to_owned(), policy)
    };
    Rbac {
        action: Action::Allow.into(),
        policies: allowed.into_iter().map(policy).collect(),
        ..Rbac::default()
    }
}

//! Rules about who is let in, for connections without a server name.

use std::collections::BTreeMap;

use tidegate_envoy::any;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::hcm::{HttpFilter, http_filter};
use tidegate_envoy::v3::http_rbac::{Rbac as HttpRbac, RbacPerRoute};
use tidegate_envoy::v3::listener::Filter;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::matcher::string_matcher::MatchPattern;
use tidegate_envoy::v3::matcher::{RegexMatcher, StringMatcher};
use tidegate_envoy::v3::network_rbac::Rbac as NetworkRbac;
use tidegate_envoy::v3::rbac::permission::Rule;
use tidegate_envoy::v3::rbac::principal::{Authenticated, Identifier};
use tidegate_envoy::v3::rbac::{Permission, Policy, Principal, Rbac, rbac::Action};

/// The filter for requests, which virtual hosts give its rules by this name.
const HTTP_FILTER: &str = "envoy.filters.http.rbac";

/// Lets in connections that name no server (SNI), and closes all others.
#[must_use]
pub fn only_nameless() -> Filter {
    let none = StringMatcher {
        match_pattern: Some(MatchPattern::Exact(String::new())),
        ..StringMatcher::default()
    };
    let rules = allow("no-server-name", Rule::RequestedServerName(none), Identifier::Any(true));
    let filter = NetworkRbac {
        rules: Some(rules),
        stat_prefix: "no_server_name.".to_owned(),
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
    HttpFilter {
        name: HTTP_FILTER.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&HttpRbac::default()))),
        ..HttpFilter::default()
    }
}

/// What a virtual host demands: a client with a verified certificate.
#[must_use]
pub fn with_certificate() -> BTreeMap<String, Any> {
    // A certificate has one of the names that this looks at; without one the text is empty.
    let some = StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
            regex: ".+".to_owned(),
            ..RegexMatcher::default()
        })),
        ..StringMatcher::default()
    };
    let verified = Identifier::Authenticated(Authenticated { principal_name: Some(some) });
    let rules = allow("verified-client-certificate", Rule::Any(true), verified);
    let rbac = HttpRbac { rules: Some(rules), ..HttpRbac::default() };
    let override_ = RbacPerRoute { rbac: Some(rbac) };
    BTreeMap::from([(HTTP_FILTER.to_owned(), any(&override_))])
}

fn allow(name: &str, rule: Rule, identifier: Identifier) -> Rbac {
    let policy = Policy {
        permissions: vec![Permission { rule: Some(rule) }],
        principals: vec![Principal { identifier: Some(identifier) }],
        ..Policy::default()
    };
    Rbac {
        action: Action::Allow.into(),
        policies: [(name.to_owned(), policy)].into_iter().collect(),
        ..Rbac::default()
    }
}

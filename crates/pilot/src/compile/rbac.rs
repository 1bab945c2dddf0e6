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
    let anybody = vec![Principal { identifier: Some(Identifier::Any(true)) }];
    let rules = allow("no-server-name", Rule::RequestedServerName(none), anybody);
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

/// What a virtual host demands: a client with a verified certificate. Which certificates those are is up to the handshake.
#[must_use]
pub fn with_certificate() -> BTreeMap<String, Any> {
    // Without a certificate there is no name, and the text that is looked at is empty.
    let regex = RegexMatcher { regex: ".+".to_owned(), ..RegexMatcher::default() };
    let name = StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(regex)),
        ..StringMatcher::default()
    };
    let principals = vec![Principal {
        identifier: Some(Identifier::Authenticated(Authenticated { principal_name: Some(name) })),
    }];
    let rules = allow("verified-client-certificate", Rule::Any(true), principals);
    let rbac = HttpRbac { rules: Some(rules), ..HttpRbac::default() };
    let of_host = RbacPerRoute { rbac: Some(rbac) };
    BTreeMap::from([(HTTP_FILTER.to_owned(), any(&of_host))])
}

fn allow(name: &str, rule: Rule, principals: Vec<Principal>) -> Rbac {
    let policy = Policy {
        permissions: vec![Permission { rule: Some(rule) }],
        principals,
        ..Policy::default()
    };
    Rbac {
        action: Action::Allow.into(),
        policies: [(name.to_owned(), policy)].into_iter().collect(),
        ..Rbac::default()
    }
}

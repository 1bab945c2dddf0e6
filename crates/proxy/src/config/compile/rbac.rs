//! Role-based access control.

use tidegate_envoy::v3::base::Int32Range;
use tidegate_envoy::v3::http_rbac::{Rbac as ProtoHttp, RbacPerRoute};
use tidegate_envoy::v3::matcher::PathMatcher;
use tidegate_envoy::v3::matcher::path_matcher::Rule as PathRule;
use tidegate_envoy::v3::network_rbac::Rbac as ProtoNetwork;
use tidegate_envoy::v3::rbac::permission::Rule as Allowed;
use tidegate_envoy::v3::rbac::principal::Identifier;
use tidegate_envoy::v3::rbac::rbac::Action as ProtoAction;
use tidegate_envoy::v3::rbac::{
    Permission, Policy as ProtoPolicy, Principal, Rbac, SourcedMetadata,
};

use crate::config::refusal::{Refusal, Within, each};
use crate::rbac::{Action, HttpRbac, NetworkRbac, Policy, Rule, RuleSet, Rules};

use super::address::net;
use super::matching::{header, text};
use super::metadata::metadata;
use super::uri_template::template;
use super::value::{enumeration, present, required};

/// The HTTP filter.
pub(super) fn http_rbac(proto: &ProtoHttp) -> Result<HttpRbac, Refusal> {
    Ok(HttpRbac {
        set: http_rules(proto)?,
        stat_prefixes: [&proto.rules_stat_prefix, &proto.shadow_rules_stat_prefix]
            .map(|prefix| prefix.as_str().into()),
    })
}

fn http_rules(proto: &ProtoHttp) -> Result<RuleSet, Refusal> {
    rule_set(proto.rules.as_ref(), proto.shadow_rules.as_ref(), true)
}

/// The network filter.
pub(super) fn network_rbac(proto: &ProtoNetwork) -> Result<NetworkRbac, Refusal> {
    let set = rule_set(proto.rules.as_ref(), proto.shadow_rules.as_ref(), false)?;
    Ok(NetworkRbac {
        needs_handshake: set.needs_handshake(),
        needs_server_name: set.needs_server_name(),
        set,
        stat_prefix: required("stat_prefix", &proto.stat_prefix)?.into(),
        shadow_stat_prefix: proto.shadow_rules_stat_prefix.as_str().into(),
    })
}

/// What a route says instead of the filter's own rules.
pub(super) fn rbac_per_route(proto: &RbacPerRoute) -> Result<RuleSet, Refusal> {
    let set = proto.rbac.as_ref().map(http_rules).transpose().within("rbac")?;
    Ok(set.unwrap_or_default())
}

/// `headers` is whether there is a request whose headers rules can look at.
fn rule_set(
    enforced: Option<&Rbac>,
    shadow: Option<&Rbac>,
    headers: bool,
) -> Result<RuleSet, Refusal> {
    let compile = |field, proto: Option<&Rbac>| {
        proto.map(|proto| rules(proto, headers)).transpose().within(field)
    };
    Ok(RuleSet { rules: compile("rules", enforced)?, shadow: compile("shadow_rules", shadow)? })
}

fn rules(proto: &Rbac, headers: bool) -> Result<Rules, Refusal> {
    let action = match enumeration("action", proto.action)? {
        ProtoAction::Allow => Action::Allow,
        ProtoAction::Deny => Action::Deny,
        ProtoAction::Log => Action::Log,
    };
    let policies = proto
        .policies
        .iter()
        .map(|(name, proto)| policy(name, proto, headers).within(&format!("policies[{name:?}]")));
    Ok(Rules::new(action, policies.collect::<Result<_, _>>()?))
}

fn policy(name: &str, proto: &ProtoPolicy, headers: bool) -> Result<Policy, Refusal> {
    let permissions =
        filled("permissions", &proto.permissions, |proto| permission(proto, headers))?;
    let principals = filled("principals", &proto.principals, |proto| principal(proto, headers))?;
    Ok(Policy::new(name, permissions, principals))
}

/// What must not be empty.
fn filled<T>(
    field: &str,
    items: &[T],
    compile: impl FnMut(&T) -> Result<Rule, Refusal>,
) -> Result<Vec<Rule>, Refusal> {
    if items.is_empty() {
        return Err(Refusal::of(field, "must have an entry"));
    }
    each(field, items, compile)
}

#[allow(deprecated, reason = "older fields are what older control planes send")]
fn permission(proto: &Permission, headers: bool) -> Result<Rule, Refusal> {
    let below = |proto: &Permission| permission(proto, headers);
    match &proto.rule {
        Some(Allowed::Any(_)) => Ok(Rule::Any),
        Some(Allowed::AndRules(set)) => {
            filled("rules", &set.rules, below).map(Rule::All).within("and_rules")
        }
        Some(Allowed::OrRules(set)) => {
            filled("rules", &set.rules, below).map(Rule::One).within("or_rules")
        }
        Some(Allowed::NotRule(rule)) => {
            below(rule).map(|rule| Rule::Not(Box::new(rule))).within("not_rule")
        }
        Some(Allowed::Header(_)) if !headers => Err(Refusal::of("header", NO_HEADERS)),
        Some(Allowed::Header(matcher)) => header(matcher).map(Rule::Header).within("header"),
        Some(Allowed::UrlPath(matcher)) => path(matcher).within("url_path"),
        Some(Allowed::UriTemplate(extension)) => {
            template(extension).map(Rule::Path).within("uri_template")
        }
        Some(Allowed::DestinationIp(range)) => {
            net(range).map(Rule::Destination).within("destination_ip")
        }
        Some(Allowed::DestinationPort(port)) => {
            ports(*port, port.saturating_add(1)).within("destination_port")
        }
        Some(Allowed::DestinationPortRange(range)) => {
            port_range(range).within("destination_port_range")
        }
        Some(Allowed::RequestedServerName(matcher)) => {
            text(matcher).map(Rule::ServerName).within("requested_server_name")
        }
        Some(Allowed::Metadata(_) | Allowed::SourcedMetadata(_)) if !headers => {
            Err(Refusal::new(NO_METADATA))
        }
        Some(Allowed::Metadata(matcher)) => metadata(matcher).map(Rule::Noted).within("metadata"),
        Some(Allowed::SourcedMetadata(sourced)) => noted(sourced).within("sourced_metadata"),
        Some(Allowed::Matcher(_)) | None => {
            Err(Refusal::new("a rule must be set: any, if there is nothing to ask"))
        }
    }
}

#[allow(deprecated, reason = "older fields are what older control planes send")]
fn principal(proto: &Principal, headers: bool) -> Result<Rule, Refusal> {
    let below = |proto: &Principal| principal(proto, headers);
    match &proto.identifier {
        Some(Identifier::Any(_)) => Ok(Rule::Any),
        Some(Identifier::AndIds(set)) => {
            filled("ids", &set.ids, below).map(Rule::All).within("and_ids")
        }
        Some(Identifier::OrIds(set)) => {
            filled("ids", &set.ids, below).map(Rule::One).within("or_ids")
        }
        Some(Identifier::NotId(id)) => {
            below(id).map(|rule| Rule::Not(Box::new(rule))).within("not_id")
        }
        Some(Identifier::Authenticated(authenticated)) => {
            let name = authenticated.principal_name.as_ref().map(text).transpose();
            name.map(Rule::Authenticated).within("authenticated.principal_name")
        }
        Some(Identifier::SourceIp(range)) => net(range).map(Rule::Peer).within("source_ip"),
        Some(Identifier::DirectRemoteIp(range)) => {
            net(range).map(Rule::Peer).within("direct_remote_ip")
        }
        Some(Identifier::RemoteIp(range)) => net(range).map(Rule::Remote).within("remote_ip"),
        Some(Identifier::Header(_)) if !headers => Err(Refusal::of("header", NO_HEADERS)),
        Some(Identifier::Header(matcher)) => header(matcher).map(Rule::Header).within("header"),
        Some(Identifier::UrlPath(matcher)) => path(matcher).within("url_path"),
        Some(Identifier::Metadata(_) | Identifier::SourcedMetadata(_)) if !headers => {
            Err(Refusal::new(NO_METADATA))
        }
        Some(Identifier::Metadata(matcher)) => {
            metadata(matcher).map(Rule::Noted).within("metadata")
        }
        Some(Identifier::SourcedMetadata(sourced)) => noted(sourced).within("sourced_metadata"),
        Some(Identifier::FilterState(_) | Identifier::Custom(_)) | None => {
            Err(Refusal::new("an identifier must be set: any, if anybody may"))
        }
    }
}

const NO_HEADERS: &str = "a connection has no headers; use the HTTP filter";

const NO_METADATA: &str = "nothing is noted of connections; use the HTTP filter";

/// What filters have noted; what routes have in their own metadata is refused by the capability table.
fn noted(proto: &SourcedMetadata) -> Result<Rule, Refusal> {
    let matcher = present("metadata_matcher", proto.metadata_matcher.as_ref())?;
    metadata(matcher).map(Rule::Noted).within("metadata_matcher")
}

fn path(proto: &PathMatcher) -> Result<Rule, Refusal> {
    let Some(PathRule::Path(matcher)) = &proto.rule else {
        return Err(Refusal::of("path", "must be set"));
    };
    text(matcher).map(Rule::Path).within("path")
}

fn port_range(range: &Int32Range) -> Result<Rule, Refusal> {
    let bound = |field, value: i32| {
        u32::try_from(value).map_err(|_| Refusal::of(field, "must be 0 to 65536"))
    };
    ports(bound("start", range.start)?, bound("end", range.end)?)
}

/// Ports from `start` on, below `end`.
fn ports(start: u32, end: u32) -> Result<Rule, Refusal> {
    if start >= end || end > 65_536 {
        return Err(Refusal::new("must name a port from 0 to 65535"));
    }
    Ok(Rule::DestinationPort(start..end))
}

#[cfg(test)]
mod tests;

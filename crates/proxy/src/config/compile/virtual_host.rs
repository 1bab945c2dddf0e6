//! Virtual hosts, and what route configurations say for all of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use prost_types::Any;
use tidegate_envoy::v3::route::virtual_host::TlsRequirementType;
use tidegate_envoy::v3::route::{RouteConfiguration, VirtualHost as ProtoHost};

use crate::config::refusal::{Refusal, Within as _, each};
use crate::filter::Overrides;
use crate::route::{Attempts, TlsRequirement, VirtualHost};

use super::Links;
use super::filters::overrides;
use super::header::{Levels, Mutating as _};
use super::mirror::{Policy, linked, mirrors, policies};
use super::retry;
use super::route::{Keep, RouteLevel, rate_limits, route};
use super::value::{enumeration, header_value, required};

/// Envoy's default of `max_direct_response_body_size_bytes`.
const DEFAULT_MAX_BODY: u32 = 4096;

/// What a route configuration says for all of its virtual hosts.
#[derive(Clone, Debug)]
pub(in crate::config) struct TableLevel {
    /// What is asked of requests, as it came.
    pub terms: BTreeMap<String, Any>,
    mutations: Levels,
    most_specific_wins: bool,
    max_body: usize,
    filters: Overrides,
    mirrors: Vec<Policy>,
    /// Whether ports in the authority are ignored.
    pub ignore_port: bool,
}

/// A route configuration without its virtual hosts.
pub(in crate::config) fn table_level(proto: &RouteConfiguration) -> Result<TableLevel, Refusal> {
    Ok(TableLevel {
        terms: proto.typed_per_filter_config.clone(),
        mutations: proto.mutations()?,
        most_specific_wins: proto.most_specific_header_mutations_wins,
        max_body: proto.max_direct_response_body_size_bytes.unwrap_or(DEFAULT_MAX_BODY) as usize,
        filters: overrides(&proto.typed_per_filter_config)?,
        mirrors: policies(&proto.request_mirror_policies)?,
        ignore_port: proto.ignore_port_in_host_matching,
    })
}

/// A virtual host of a route configuration.
#[allow(deprecated, reason = "one of two limits is what older control planes send")]
pub(in crate::config) fn virtual_host(
    proto: &ProtoHost,
    table: &TableLevel,
    links: &mut impl Links,
) -> Result<Arc<VirtualHost>, Refusal> {
    let level = RouteLevel {
        mutations: [proto.mutations()?, table.mutations.clone()],
        most_specific_wins: table.most_specific_wins,
        max_body: table.max_body,
        filters: overrides(&proto.typed_per_filter_config)?.within(&table.filters),
        retry: match &proto.retry_policy {
            Some(policy) => Some(Arc::new(retry::policy(policy).within("retry_policy")?)),
            None => None,
        },
        mirrors: mirrors(&proto.request_mirror_policies, &linked(&table.mirrors, links), links)?,
        rate_limits: rate_limits(&proto.rate_limits)?.into(),
        keep: Keep::of(proto.per_request_buffer_limit_bytes, proto.request_body_buffer_limit),
    };
    let tls = match enumeration("require_tls", proto.require_tls)? {
        TlsRequirementType::None => None,
        TlsRequirementType::ExternalOnly => Some(TlsRequirement::External),
        TlsRequirementType::All => Some(TlsRequirement::All),
    };
    let name = required("name", &proto.name)?;
    let domains = domains(&proto.domains)?;
    let routes = each("routes", &proto.routes, |proto| route(proto, &level, links))?;
    let host = VirtualHost::new(name.into(), domains, routes).requiring_tls(tls).counting_attempts(
        Attempts {
            to_endpoint: proto.include_request_attempt_count,
            to_client: proto.include_attempt_count_in_response,
        },
    );
    Ok(Arc::new(host))
}

fn domains(domains: &[String]) -> Result<Vec<Box<str>>, Refusal> {
    if domains.is_empty() {
        return Err(Refusal::of("domains", "must have an entry; use * for any host"));
    }
    let mut known = HashSet::with_capacity(domains.len());
    each("domains", domains, |domain| {
        let domain = header_value("", domain)?.to_ascii_lowercase();
        if !known.insert(domain.clone()) {
            return Err(Refusal::new(format_args!("{domain} stands here twice")));
        }
        Ok(domain.into_boxed_str())
    })
}

#[cfg(test)]
mod tests;

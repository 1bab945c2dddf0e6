//! Listeners, without their chains, which are compiled one by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_envoy::v3::core::TrafficDirection;
use tidegate_envoy::v3::listener::{FilterChainMatch, Listener as ProtoListener};

use crate::accesslog::Log;
use crate::config::refusal::Refusal;

use super::Links;
use super::access_log::logs;
use super::address::required_socket_address;
use super::value::timeout;

/// Envoy's default of `listener_filters_timeout`.
const DEFAULT_INSPECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER_LIMIT: u32 = 1024 * 1024;

/// A listener without its chains.
pub(in crate::config) struct ListenerShell {
    pub address: SocketAddr,
    pub stat_prefix: Arc<str>,
    pub needs_inspection: bool,
    pub inspect_timeout: Option<Duration>,
    pub continue_on_inspect_timeout: bool,
    pub buffer_limit: u32,
    pub inbound: bool,
    pub log: Option<Arc<Log>>,
}

/// A listener without its chains.
pub(in crate::config) fn listener(
    proto: &ProtoListener,
    links: &mut impl Links,
) -> Result<ListenerShell, Refusal> {
    if proto.filter_chains.is_empty() && proto.default_filter_chain.is_none() {
        return Err(Refusal::of(
            "filter_chains",
            "must have an entry, or default_filter_chain must be set",
        ));
    }
    let address = required_socket_address(proto.address.as_ref())?;
    let stat_prefix = match proto.stat_prefix.as_str() {
        "" => address.to_string().replace(':', "_"),
        prefix => prefix.to_owned(),
    };
    Ok(ListenerShell {
        address,
        stat_prefix: stat_prefix.into(),
        needs_inspection: needs_inspection(proto),
        inspect_timeout: timeout(
            "listener_filters_timeout",
            proto.listener_filters_timeout.as_ref(),
            DEFAULT_INSPECT_TIMEOUT,
        )?,
        continue_on_inspect_timeout: proto.continue_on_listener_filters_timeout,
        buffer_limit: proto.per_connection_buffer_limit_bytes.unwrap_or(DEFAULT_BUFFER_LIMIT),
        inbound: proto.traffic_direction() == TrafficDirection::Inbound,
        log: logs(&proto.access_log, links.logs())?,
    })
}

/// Whether connections must be looked at before a chain is chosen: when the TLS inspector, which is the
/// only listener filter there is, is configured, or when a chain asks for what it finds. Envoy adds it then.
fn needs_inspection(proto: &ProtoListener) -> bool {
    let asks = |criteria: &FilterChainMatch| match criteria.transport_protocol.as_str() {
        "tls" => true,
        "" => !criteria.server_names.is_empty() || !criteria.application_protocols.is_empty(),
        _ => false,
    };
    let mut criteria =
        proto.filter_chains.iter().filter_map(|chain| chain.filter_chain_match.as_ref());
    !proto.listener_filters.is_empty() || criteria.any(asks)
}

#[cfg(test)]
mod tests;

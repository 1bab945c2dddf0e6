//! Listeners, without their chains, which are compiled one by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_envoy::prost;
use tidegate_envoy::v3::core::TrafficDirection;
use tidegate_envoy::v3::http_inspector::HttpInspector;
use tidegate_envoy::v3::listener::Listener as ProtoListener;
use tidegate_envoy::v3::listener::listener_filter::ConfigType;
use tidegate_envoy::v3::original_dst::OriginalDst;
use tidegate_envoy::v3::tls_inspector::TlsInspector;

use crate::accesslog::Log;
use crate::config::listener::Capture;
use crate::config::refusal::{Refusal, Within};

use super::access_log::logs;
use super::address::required_socket_address;
use super::value::timeout;
use super::{Links, is};

/// Envoy's default of `listener_filters_timeout`.
const DEFAULT_INSPECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER_LIMIT: u32 = 1024 * 1024;

/// A listener without its chains.
pub(in crate::config) struct ListenerShell {
    pub address: SocketAddr,
    pub stat_prefix: Arc<str>,
    /// Whether connections are looked at even if no chain asks for what is found then.
    pub needs_inspection: bool,
    pub inspect_timeout: Option<Duration>,
    pub continue_on_inspect_timeout: bool,
    pub buffer_limit: u32,
    pub more_addresses: Vec<SocketAddr>,
    pub capture: Capture,
    pub inbound: bool,
    pub log: Option<Arc<Log>>,
}

/// A listener without its chains. Those of the message are not looked at.
pub(in crate::config) fn listener(
    proto: &ProtoListener,
    links: &mut impl Links,
) -> Result<ListenerShell, Refusal> {
    let address = required_socket_address(proto.address.as_ref())?;
    let stat_prefix = match proto.stat_prefix.as_str() {
        "" => address.to_string().replace(':', "_"),
        prefix => prefix.to_owned(),
    };
    let capture = Capture {
        bound: proto.bind_to_port.unwrap_or(true),
        hands_on: proto.use_original_dst.unwrap_or(false),
        restores: has_filter::<OriginalDst>(proto),
        finds_requests: has_filter::<HttpInspector>(proto),
    };
    let more = proto.additional_addresses.iter().enumerate().map(|(number, more)| {
        let address = required_socket_address(more.address.as_ref());
        address.within_item("additional_addresses", number)
    });
    let more_addresses = more.collect::<Result<Vec<SocketAddr>, Refusal>>()?;
    if links.serves() {
        served(&capture)?;
        if !more_addresses.is_empty() {
            let reason = "a listener has one address: make another listener for each";
            return Err(Refusal::of("additional_addresses", reason));
        }
    }
    Ok(ListenerShell {
        address,
        stat_prefix: stat_prefix.into(),
        needs_inspection: has_filter::<TlsInspector>(proto),
        inspect_timeout: timeout(
            "listener_filters_timeout",
            proto.listener_filters_timeout.as_ref(),
            DEFAULT_INSPECT_TIMEOUT,
        )?,
        continue_on_inspect_timeout: proto.continue_on_listener_filters_timeout,
        buffer_limit: proto.per_connection_buffer_limit_bytes.unwrap_or(DEFAULT_BUFFER_LIMIT),
        more_addresses,
        capture,
        inbound: proto.traffic_direction() == TrafficDirection::Inbound,
        log: logs(&proto.access_log, links.logs())?,
    })
}

/// Refuses what no worker does yet.
fn served(capture: &Capture) -> Result<(), Refusal> {
    let Capture { bound, hands_on, restores, finds_requests } = *capture;
    let fields = [
        (!bound, "bind_to_port", "false"),
        (hands_on, "use_original_dst", "true"),
        (restores, "listener_filters", "original_dst"),
        (finds_requests, "listener_filters", "http_inspector"),
    ];
    match fields.into_iter().find(|(set, ..)| *set) {
        None => Ok(()),
        Some((_, field, value)) => {
            let reason = format_args!("{value} is not served yet: connections are not captured");
            Err(Refusal::of(field, reason))
        }
    }
}

/// Whether a listener filter of a type is configured.
fn has_filter<T: prost::Name>(proto: &ProtoListener) -> bool {
    let mut configs =
        proto.listener_filters.iter().filter_map(|filter| filter.config_type.as_ref());
    configs.any(|config| match config {
        ConfigType::TypedConfig(any) => is::<T>(any),
        ConfigType::ConfigDiscovery(_) => false,
    })
}

#[cfg(test)]
mod tests;

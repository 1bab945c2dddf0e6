//! HTTP/3: the listener on UDP beside one that terminates HTTPS, and the header that tells clients of it.

use tidegate_envoy::v3::core::{HeaderValue, HeaderValueOption, TrafficDirection, socket_address};
use tidegate_envoy::v3::listener::{FilterChain, Listener, QuicProtocolOptions, UdpListenerConfig};

use super::{Context, access_log, listener};
use crate::model::merge::ListenerPlan;
use crate::model::names;

/// The listener of these filter chains, on the port of `plan`; `None` without chains. Connections that none of them takes are closed:
/// also those that name no server, as clients of HTTP/3 name one (RFC 9114, section 3.3).
#[must_use]
pub fn listener(
    plan: &ListenerPlan,
    chains: Vec<FilterChain>,
    context: &Context<'_>,
) -> Option<Listener> {
    (!chains.is_empty()).then(|| Listener {
        name: names::over_udp(&plan.name),
        address: Some(listener::address(plan, socket_address::Protocol::Udp)),
        filter_chains: chains,
        udp_listener_config: Some(UdpListenerConfig {
            quic_options: Some(QuicProtocolOptions::default()),
            ..UdpListenerConfig::default()
        }),
        traffic_direction: TrafficDirection::Outbound.into(),
        access_log: access_log::of_listener(context.options),
        ..Listener::default()
    })
}

/// `alt-svc` (RFC 7838): the same host may be asked over HTTP/3 at this port, which is the one that clients see. For a day, as in
/// Istio.
#[must_use]
pub fn alternative(port: u16) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: "alt-svc".to_owned(),
            value: format!("h3=\":{port}\"; ma=86400"),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

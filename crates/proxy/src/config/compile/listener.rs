//! Listeners, without their chains, which are compiled one by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_envoy::prost;
use tidegate_envoy::v3::core::TrafficDirection;
use tidegate_envoy::v3::http_inspector::HttpInspector;
use tidegate_envoy::v3::listener::listener_filter::ConfigType;
use tidegate_envoy::v3::listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use tidegate_envoy::v3::listener::{
    Listener as ProtoListener, ListenerFilter, ListenerFilterChainMatchPredicate as Predicate,
};
use tidegate_envoy::v3::original_dst::OriginalDst;
use tidegate_envoy::v3::original_src::OriginalSrc;
use tidegate_envoy::v3::tls_inspector::TlsInspector;

use crate::accesslog::Log;
use crate::config::listener::{Capture, Unseen};
use crate::config::ports::Ports;
use crate::config::refusal::{Refusal, Within, each};
use crate::pipe::{NOWHERE, Pipe};
use crate::upstream::source::Mark;

use super::access_log::logs;
use super::address::{ListenAddress, listen_address, required_socket_address};
use super::value::timeout;
use super::{Links, is, unpack};

/// Envoy's default of `listener_filters_timeout`.
const DEFAULT_INSPECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER_LIMIT: u32 = 1024 * 1024;

/// A listener without its chains.
pub(in crate::config) struct ListenerShell {
    pub address: SocketAddr,
    pub pipe: Option<Pipe>,
    pub stat_prefix: Arc<str>,
    /// Whether connections are looked at even if no chain asks for what is found then.
    pub needs_inspection: bool,
    pub inspect_timeout: Option<Duration>,
    pub continue_on_inspect_timeout: bool,
    pub buffer_limit: u32,
    pub more_addresses: Vec<SocketAddr>,
    pub capture: Capture,
    pub unseen: Unseen,
    pub inbound: bool,
    pub log: Option<Arc<Log>>,
}

/// A listener without its chains. Those of the message are not looked at.
pub(in crate::config) fn listener(
    proto: &ProtoListener,
    links: &mut impl Links,
) -> Result<ListenerShell, Refusal> {
    let (address, pipe) = match listen_address(proto.address.as_ref())? {
        ListenAddress::Ip(address) => (address, None),
        ListenAddress::Pipe(pipe) => (NOWHERE, Some(pipe)),
    };
    let stat_prefix = match (proto.stat_prefix.as_str(), &pipe) {
        ("", Some(pipe)) => pipe.path.replace(':', "_"),
        ("", None) => address.to_string().replace(':', "_"),
        (prefix, _) => prefix.to_owned(),
    };
    let hands_on = proto.use_original_dst.unwrap_or(false);
    let capture = Capture {
        bound: proto.bind_to_port.unwrap_or(true),
        transparent: proto.transparent.unwrap_or(false),
        hands_on,
        // Envoy adds the filter where connections are handed on.
        restores: hands_on || has_filter::<OriginalDst>(proto),
        finds_requests: has_filter::<HttpInspector>(proto),
        keeps_source: keeps_source(proto)?,
    };
    for ports in [disabled::<OriginalDst>(proto)?, disabled::<OriginalSrc>(proto)?] {
        if !ports.is_none_or(|ports| ports == Ports::default()) {
            let reason =
                "original_dst and original_src are disabled nowhere: only inspectors may be";
            return Err(Refusal::of("listener_filters", reason));
        }
    }
    let unseen = Unseen {
        tls: disabled::<TlsInspector>(proto)?.unwrap_or_default(),
        requests: disabled::<HttpInspector>(proto)?.unwrap_or_default(),
    };
    let more = proto.additional_addresses.iter().enumerate().map(|(number, more)| {
        let address = required_socket_address(more.address.as_ref());
        address.within_item("additional_addresses", number)
    });
    let more_addresses = more.collect::<Result<Vec<SocketAddr>, Refusal>>()?;
    if pipe.is_some() && !more_addresses.is_empty() {
        let reason = "a listener on a Unix socket has no other addresses here: give these a listener of their own";
        return Err(Refusal::of("additional_addresses", reason));
    }
    Ok(ListenerShell {
        address,
        pipe,
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
        unseen,
        inbound: proto.traffic_direction() == TrafficDirection::Inbound,
        log: logs(&proto.access_log, links.logs())?,
    })
}

/// The mark of what is sent on from the client's own address, if that is asked for; the last filter decides.
fn keeps_source(proto: &ProtoListener) -> Result<Option<Mark>, Refusal> {
    let mut keeps = None;
    for (number, filter) in proto.listener_filters.iter().enumerate() {
        if let Some(ConfigType::TypedConfig(any)) = &filter.config_type
            && is::<OriginalSrc>(any)
        {
            let config: OriginalSrc =
                unpack(any).within("typed_config").within_item("listener_filters", number)?;
            keeps = Some(Mark(config.mark));
        }
    }
    Ok(keeps)
}

/// Whether a listener filter of a type is configured.
fn has_filter<T: prost::Name>(proto: &ProtoListener) -> bool {
    proto.listener_filters.iter().any(is_filter::<T>)
}

fn is_filter<T: prost::Name>(filter: &ListenerFilter) -> bool {
    match &filter.config_type {
        Some(ConfigType::TypedConfig(any)) => is::<T>(any),
        Some(ConfigType::ConfigDiscovery(_)) | None => false,
    }
}

/// The ports at which no listener filter of a type does anything; `None` where there is none of them.
fn disabled<T: prost::Name>(proto: &ProtoListener) -> Result<Option<Ports>, Refusal> {
    let of_type = proto.listener_filters.iter().enumerate().filter(|(_, f)| is_filter::<T>(f));
    let each = of_type.map(|(number, filter)| match &filter.filter_disabled {
        None => Ok(Ports::default()),
        Some(rule) => ports(rule).within("filter_disabled").within_item("listener_filters", number),
    });
    let each = each.collect::<Result<Vec<Ports>, Refusal>>()?;
    Ok(each.into_iter().reduce(Ports::and))
}

/// The ports that a predicate of a listener filter holds for.
fn ports(rule: &Predicate) -> Result<Ports, Refusal> {
    let all = |set: &MatchSet| match &set.rules[..] {
        [] | [_] => Err(Refusal::of("rules", "must have two entries at least")),
        rules => each("rules", rules, ports),
    };
    match &rule.rule {
        None => Err(Refusal::new("must have a rule")),
        Some(Rule::OrMatch(set)) => {
            Ok(all(set).within("or_match")?.into_iter().fold(Ports::default(), Ports::or))
        }
        Some(Rule::AndMatch(set)) => {
            Ok(all(set).within("and_match")?.into_iter().fold(Ports::all(), Ports::and))
        }
        Some(Rule::NotMatch(rule)) => Ok(ports(rule).within("not_match")?.not()),
        Some(Rule::AnyMatch(true)) => Ok(Ports::all()),
        Some(Rule::AnyMatch(false)) => Err(Refusal::of("any_match", "must be true")),
        Some(Rule::DestinationPortRange(range)) => {
            let first = u16::try_from(range.start.max(0));
            // The end is none of them, and what is beyond the last port is no port.
            let last = range
                .end
                .checked_sub(1)
                .and_then(|last| u16::try_from(last.min(u16::MAX.into())).ok());
            Ok(match (first, last) {
                (Ok(first), Some(last)) => Ports::from(first..=last),
                _ => Ports::default(),
            })
        }
    }
}

#[cfg(test)]
mod tests;

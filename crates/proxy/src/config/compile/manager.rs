//! HTTP connection managers.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_envoy::v3::core::{Http2ProtocolOptions, HttpProtocolOptions};
use tidegate_envoy::v3::hcm::HttpConnectionManager;
use tidegate_envoy::v3::hcm::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    ServerHeaderTransformation, SetCurrentClientCertDetails, StripPortMode, UpgradeConfig,
};
use tidegate_envoy::v3::route::RouteConfiguration;

use crate::config::listener::{
    Codec, EscapedSlashes, Http2Options, HttpManager, RouteSlot, RouteSource, ServerHeader,
    StripPort,
};
use crate::config::refusal::{Refusal, Within, each};
use crate::http::client_cert::{Details, ForwardCert};
use crate::route::{HostChange, RouteTable};

use super::access_log::logs;
use super::filters::{Filters, filters};
use super::source::with_all_others;
use super::value::{enumeration, header_value, required, timeout};
use super::{Links, table_level, virtual_host};

const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
const DEFAULT_STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_DELAYED_CLOSE: Duration = Duration::from_secs(1);
const DEFAULT_HEAD_KB: u32 = 60;
/// Envoy's upper bound of `max_request_headers_kb`.
const MAX_HEAD_KB: u32 = 8192;
const DEFAULT_HEADERS: u32 = 100;
const DEFAULT_SERVER_NAME: &str = "envoy";

/// A connection manager. Defaults are Envoy's, but for HTTP/2, where they are those that Envoy recommends
/// at the edge.
pub(super) fn manager(
    proto: &HttpConnectionManager,
    links: &mut impl Links,
) -> Result<HttpManager, Refusal> {
    let Filters { before, router } = filters(&proto.http_filters, &proto.stat_prefix, links)?;
    let common = common(proto.common_http_protocol_options.as_ref())
        .within("common_http_protocol_options")?;
    let timeouts = timeouts(proto)?;
    let http1 = proto.http_protocol_options.as_ref();
    Ok(HttpManager {
        stat_prefix: required("stat_prefix", &proto.stat_prefix)?.into(),
        routes: RouteSource::new(routes(proto.route_specifier.as_ref(), links)?),
        filters: before,
        codec: codec(proto.codec_type)?,
        server_name: server_name(&proto.server_name)?,
        server_header: server_header(proto.server_header_transformation)?,
        via: header_value("via", &proto.via)?.as_bytes().into(),
        use_remote_address: proto.use_remote_address.unwrap_or(false),
        trusted_hops: proto.xff_num_trusted_hops,
        skip_xff_append: proto.skip_xff_append,
        forward_cert: forward_cert(proto)?,
        generate_request_id: proto.generate_request_id.unwrap_or(true),
        preserve_external_request_id: proto.preserve_external_request_id,
        request_id_in_response: proto.always_set_request_id_in_response,
        suppress_envoy_headers: router.suppress_envoy_headers,
        normalize_path: proto.normalize_path.unwrap_or(false),
        merge_slashes: proto.merge_slashes,
        escaped_slashes: escaped_slashes(proto.path_with_escaped_slashes_action)?,
        strip_port: strip_port(proto)?,
        strip_trailing_dot: proto.strip_trailing_host_dot,
        accept_http_10: http1.is_some_and(|http1| http1.accept_http_10),
        max_head: max_head(proto.max_request_headers_kb)?,
        max_headers: common.max_headers,
        max_requests_per_connection: common.max_requests,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        drain_timeout: timeouts.drain,
        max_stream_duration: common.max_stream_duration,
        stream_idle_timeout: timeouts.stream_idle,
        request_timeout: timeouts.request,
        request_headers_timeout: timeouts.request_headers,
        delayed_close_timeout: timeouts.delayed_close,
        upgrades: upgrades(&proto.upgrade_configs)?,
        h2: http2(proto.http2_protocol_options.as_ref()).within("http2_protocol_options")?,
        log: logs(&proto.access_log, links.logs())?,
    })
}

/// The timeouts that stand in the connection manager itself.
struct Timeouts {
    drain: Duration,
    stream_idle: Option<Duration>,
    request: Option<Duration>,
    request_headers: Option<Duration>,
    delayed_close: Duration,
}

fn timeouts(proto: &HttpConnectionManager) -> Result<Timeouts, Refusal> {
    let drain = timeout("drain_timeout", proto.drain_timeout.as_ref(), DEFAULT_DRAIN_TIMEOUT)?;
    let stream_idle = proto.stream_idle_timeout.as_ref();
    let headers = proto.request_headers_timeout.as_ref();
    let delayed_close = proto.delayed_close_timeout.as_ref();
    let delayed_close = timeout("delayed_close_timeout", delayed_close, DEFAULT_DELAYED_CLOSE)?;
    Ok(Timeouts {
        drain: drain.unwrap_or_default(),
        stream_idle: timeout("stream_idle_timeout", stream_idle, DEFAULT_STREAM_IDLE_TIMEOUT)?,
        request: timeout("request_timeout", proto.request_timeout.as_ref(), None)?,
        request_headers: timeout("request_headers_timeout", headers, None)?,
        delayed_close: delayed_close.unwrap_or_default(),
    })
}

fn routes(
    specifier: Option<&RouteSpecifier>,
    links: &mut impl Links,
) -> Result<Arc<RouteSlot>, Refusal> {
    match specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            required("route_config_name", &rds.route_config_name).within("rds")?;
            with_all_others(rds.config_source.as_ref()).within("config_source").within("rds")?;
            Ok(links.routes(&rds.route_config_name))
        }
        Some(RouteSpecifier::RouteConfig(proto)) => {
            let table = ArcSwap::from_pointee(inline_table(proto, links).within("route_config")?);
            Ok(Arc::new(RouteSlot { name: proto.name.as_str().into(), table }))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) | None => {
            Err(Refusal::new("one of rds and route_config must be set"))
        }
    }
}

/// The table of a route configuration that holds all its virtual hosts.
fn inline_table(proto: &RouteConfiguration, links: &mut impl Links) -> Result<RouteTable, Refusal> {
    if proto.vhds.is_some() {
        return Err(Refusal::of("vhds", "needs a route configuration that comes by rds"));
    }
    let level = table_level(proto)?;
    let hosts =
        each("virtual_hosts", &proto.virtual_hosts, |host| virtual_host(host, &level, links))?;
    let put = |(index, host): (usize, _)| HostChange::Put(index.to_string().into(), host);
    let changes = hosts.into_iter().enumerate().map(put).collect();
    let (table, refused) = RouteTable::default().ignoring_port(level.ignore_port).with(changes);
    match refused.first() {
        // The key is the place.
        Some(taken) => {
            let field = format!("virtual_hosts[{}].domains[{}]", taken.key, taken.place);
            Err(Refusal::of(&field, taken))
        }
        None => Ok(table),
    }
}

fn codec(proto: i32) -> Result<Codec, Refusal> {
    match enumeration("codec_type", proto)? {
        CodecType::Auto => Ok(Codec::Auto),
        CodecType::Http1 => Ok(Codec::Http1),
        CodecType::Http2 => Ok(Codec::Http2),
        CodecType::Http3 => Err(Refusal::of("codec_type", "use AUTO, HTTP1 or HTTP2")),
    }
}

fn server_name(proto: &str) -> Result<Box<[u8]>, Refusal> {
    let name = header_value("server_name", proto)?;
    Ok(if name.is_empty() { DEFAULT_SERVER_NAME } else { name }.as_bytes().into())
}

fn server_header(proto: i32) -> Result<ServerHeader, Refusal> {
    Ok(match enumeration("server_header_transformation", proto)? {
        ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
        ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
        ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
    })
}

fn forward_cert(proto: &HttpConnectionManager) -> Result<ForwardCert, Refusal> {
    let set = proto.set_current_client_cert_details.unwrap_or_default();
    let SetCurrentClientCertDetails { subject, cert, chain, dns, uri, .. } = set;
    let details = Details { cert, chain, subject: subject.unwrap_or(false), uri, dns };
    Ok(match enumeration("forward_client_cert_details", proto.forward_client_cert_details)? {
        ForwardClientCertDetails::Sanitize => ForwardCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardCert::Forward,
        ForwardClientCertDetails::AppendForward => ForwardCert::Append(details),
        ForwardClientCertDetails::SanitizeSet => ForwardCert::Set(details),
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardCert::AlwaysForward,
    })
}

fn escaped_slashes(proto: i32) -> Result<EscapedSlashes, Refusal> {
    Ok(match enumeration("path_with_escaped_slashes_action", proto)? {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault
        | PathWithEscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
        PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
        PathWithEscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
        PathWithEscapedSlashesAction::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
    })
}

fn strip_port(proto: &HttpConnectionManager) -> Result<StripPort, Refusal> {
    let any = matches!(proto.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true)));
    match (any, proto.strip_matching_host_port) {
        (false, false) => Ok(StripPort::Keep),
        (false, true) => Ok(StripPort::Matching),
        (true, false) => Ok(StripPort::Any),
        (true, true) => Err(Refusal::of(
            "strip_matching_host_port",
            "strip_matching_host_port and strip_any_host_port cannot both be set",
        )),
    }
}

fn max_head(kilobytes: Option<u32>) -> Result<u32, Refusal> {
    match kilobytes.unwrap_or(DEFAULT_HEAD_KB) {
        kilobytes @ 1..=MAX_HEAD_KB => Ok(kilobytes * 1024),
        _ => Err(Refusal::of("max_request_headers_kb", format_args!("must be 1 to {MAX_HEAD_KB}"))),
    }
}

fn upgrades(configs: &[UpgradeConfig]) -> Result<Vec<Box<str>>, Refusal> {
    let mut known: Vec<(String, bool)> = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let name =
            required("upgrade_type", &config.upgrade_type).within_item("upgrade_configs", index)?;
        let name = name.to_ascii_lowercase();
        if known.iter().any(|(other, _)| *other == name) {
            let refusal = Refusal::of("upgrade_type", format_args!("{name} stands here twice"));
            return Err(refusal).within_item("upgrade_configs", index);
        }
        known.push((name, config.enabled.unwrap_or(true)));
    }
    Ok(known.into_iter().filter(|(_, enabled)| *enabled).map(|(name, _)| name.into()).collect())
}

/// What `common_http_protocol_options` say.
struct Common {
    idle_timeout: Option<Duration>,
    max_connection_duration: Option<Duration>,
    max_stream_duration: Option<Duration>,
    max_headers: u32,
    max_requests: Option<u32>,
}

fn common(proto: Option<&HttpProtocolOptions>) -> Result<Common, Refusal> {
    let none = HttpProtocolOptions::default();
    let proto = proto.unwrap_or(&none);
    Ok(Common {
        idle_timeout: timeout("idle_timeout", proto.idle_timeout.as_ref(), DEFAULT_IDLE_TIMEOUT)?,
        max_connection_duration: timeout(
            "max_connection_duration",
            proto.max_connection_duration.as_ref(),
            None,
        )?,
        max_stream_duration: timeout(
            "max_stream_duration",
            proto.max_stream_duration.as_ref(),
            None,
        )?,
        max_headers: match proto.max_headers_count {
            Some(0) => return Err(Refusal::of("max_headers_count", "must be 1 at least")),
            count => count.unwrap_or(DEFAULT_HEADERS),
        },
        max_requests: proto.max_requests_per_connection.filter(|limit| *limit > 0),
    })
}

fn http2(proto: Option<&Http2ProtocolOptions>) -> Result<Http2Options, Refusal> {
    let default = Http2Options::default();
    let Some(proto) = proto else { return Ok(default) };
    if proto.connection_keepalive.is_some() {
        let reason = "is not supported for listeners, only for clusters";
        return Err(Refusal::of("connection_keepalive", reason));
    }
    // RFC 9113, section 6.5.2: a window starts with 65,535 bytes and has 2^31 - 1 at most.
    let window = |field: &str, size: Option<u32>, default: u32| match size {
        Some(size) if !(0xffff..=0x7fff_ffff).contains(&size) => {
            Err(Refusal::of(field, "must be 65535 to 2147483647"))
        }
        size => Ok(size.unwrap_or(default)),
    };
    Ok(Http2Options {
        max_concurrent_streams: match proto.max_concurrent_streams {
            Some(0) => return Err(Refusal::of("max_concurrent_streams", "must be 1 at least")),
            streams => streams.unwrap_or(default.max_concurrent_streams),
        },
        initial_stream_window: window(
            "initial_stream_window_size",
            proto.initial_stream_window_size,
            default.initial_stream_window,
        )?,
        initial_connection_window: window(
            "initial_connection_window_size",
            proto.initial_connection_window_size,
            default.initial_connection_window,
        )?,
    })
}

#[cfg(test)]
mod tests;

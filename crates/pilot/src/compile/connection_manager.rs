//! The HTTP connection manager, with the settings of Istio's ingress gateway and of its sidecars.

use std::time::Duration;

use tidegate_envoy::any;
use tidegate_envoy::v3::core::Http3ProtocolOptions;
use tidegate_envoy::v3::hcm::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails, UpgradeConfig,
};
use tidegate_envoy::v3::hcm::{HttpConnectionManager, HttpFilter, Rds};
use tidegate_envoy::v3::listener::Filter;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::route::RouteConfiguration;
use tidegate_envoy::v3::router::Router;

use super::{Context, access_log, ads, asked, duration, http_filter, rbac, traffic};
use crate::PathNormalization;
use crate::model::names;

/// The name of the last HTTP filter.
pub const ROUTER: &str = "envoy.filters.http.router";

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// What requests come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Plain,
    /// TLS, whose handshake has asked for all that there is to ask.
    Tls,
    /// TLS; virtual hosts may demand a certificate of the client.
    TlsChecked,
}

/// The connection manager of a gateway's listener, which takes its routes by name.
#[must_use]
pub fn filter(listener: &str, routes: &str, transport: Transport, context: &Context<'_>) -> Filter {
    written(&gateway(listener, routes, transport, context))
}

/// The connection manager of the listener for HTTP/3 beside a gateway's listener.
#[must_use]
pub fn http3(listener: &str, routes: &str, transport: Transport, context: &Context<'_>) -> Filter {
    written(&HttpConnectionManager {
        codec_type: CodecType::Http3.into(),
        http3_protocol_options: Some(Http3ProtocolOptions::default()),
        ..gateway(&names::over_udp(listener), routes, transport, context)
    })
}

fn gateway(
    listener: &str,
    routes: &str,
    transport: Transport,
    context: &Context<'_>,
) -> HttpConnectionManager {
    // Each has its own say: a request has to pass them all.
    let checks = (transport == Transport::TlsChecked).then(rbac::by_virtual_host);
    let tokens = context.tokens.filter.iter().cloned();
    let policies = context.authorization.requests.iter().cloned();
    let topology = &context.options.topology;
    let tells = matches!(
        topology.forward_client_cert,
        ForwardClientCertDetails::AppendForward | ForwardClientCertDetails::SanitizeSet
    );
    HttpConnectionManager {
        http_filters: filters(
            checks.into_iter().chain(tokens).chain(policies).chain(asked::of_requests(context)),
        ),
        server_name: "istio-envoy".to_owned(),
        // The peer's address is the client's, whatever the headers say, but for those of proxies in front that are trusted.
        use_remote_address: Some(true),
        xff_num_trusted_hops: topology.trusted_proxies,
        // `a.example.` is `a.example`, also to whoever may ask for it.
        strip_trailing_host_dot: true,
        // Whoever connects must say what it wants; Istio itself sets no limit here.
        request_headers_timeout: Some(duration(HEAD_TIMEOUT)),
        // What a client showed is told to the origin, as by Istio's gateways.
        forward_client_cert_details: topology.forward_client_cert.into(),
        set_current_client_cert_details: tells.then(|| SetCurrentClientCertDetails {
            subject: Some(true),
            cert: true,
            dns: true,
            uri: true,
            ..SetCurrentClientCertDetails::default()
        }),
        ..base(&format!("outbound_{listener}"), by_name(routes), context)
    }
}

/// The connection manager for requests that go out of a workload. What the workload says of itself is believed.
#[must_use]
pub fn outbound(listener: &str, routes: &str, context: &Context<'_>) -> Filter {
    written(&HttpConnectionManager {
        http_filters: filters(asked::of_requests(context)),
        ..base(&format!("outbound_{listener}"), by_name(routes), context)
    })
}

/// The connection manager for requests of a workload to whom they ask for. It has its routes with it.
#[must_use]
pub fn asking(stat_prefix: &str, routes: RouteConfiguration, context: &Context<'_>) -> Filter {
    written(&HttpConnectionManager {
        http_filters: filters(asked::of_requests(context)),
        ..base(stat_prefix, RouteSpecifier::RouteConfig(routes), context)
    })
}

/// The connection manager for requests of a workload that may not go out. It has its routes with it.
#[must_use]
pub fn refusing(stat_prefix: &str, routes: RouteConfiguration, context: &Context<'_>) -> Filter {
    written(&base(stat_prefix, RouteSpecifier::RouteConfig(routes), context))
}

/// The connection manager for requests that come in to a workload: its peers are believed, who they are is told to it, and
/// policies are asked.
#[must_use]
pub fn inbound(stat_prefix: &str, routes: &str, context: &Context<'_>) -> Filter {
    let tokens = context.tokens.filter.iter().cloned();
    let policies = context.authorization.requests.iter().cloned();
    written(&HttpConnectionManager {
        http_filters: filters(tokens.chain(policies)),
        server_name: "istio-envoy".to_owned(),
        request_headers_timeout: Some(duration(HEAD_TIMEOUT)),
        forward_client_cert_details: ForwardClientCertDetails::AppendForward.into(),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(true),
            dns: true,
            uri: true,
            ..SetCurrentClientCertDetails::default()
        }),
        ..base(stat_prefix, by_name(routes), context)
    })
}

/// What holds for every connection manager.
fn base(stat_prefix: &str, routes: RouteSpecifier, context: &Context<'_>) -> HttpConnectionManager {
    let form = context.options.path_normalization;
    let unescapes = form == PathNormalization::DecodeAndMergeSlashes;
    let merges = unescapes || form == PathNormalization::MergeSlashes;
    // Envoy keeps them as they are where nothing is said.
    let escaped_slashes = if unescapes {
        PathWithEscapedSlashesAction::UnescapeAndForward
    } else {
        PathWithEscapedSlashesAction::default()
    };
    HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(routes),
        http_filters: filters(None),
        normalize_path: Some(form != PathNormalization::None),
        merge_slashes: merges,
        path_with_escaped_slashes_action: escaped_slashes.into(),
        // Requests are limited by their route's timeout only, as long-lived streams need.
        stream_idle_timeout: Some(duration(Duration::ZERO)),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        access_log: access_log::of_traffic(context.options),
        ..HttpConnectionManager::default()
    }
}

fn by_name(routes: &str) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds { config_source: Some(ads()), route_config_name: routes.to_owned() })
}

/// The filters: what is asked before anything else, what rules do to requests, the router.
fn filters(checks: impl IntoIterator<Item = HttpFilter>) -> Vec<HttpFilter> {
    checks.into_iter().chain(traffic::filters()).chain([router()]).collect()
}

fn router() -> HttpFilter {
    http_filter(ROUTER, &Router::default())
}

fn written(manager: &HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(manager))),
    }
}

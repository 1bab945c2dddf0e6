//! What `HttpProtocolOptions` say of a cluster.

use tidegate_envoy::v3::cluster::Cluster as ProtoCluster;
use tidegate_envoy::v3::core::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, KeepaliveSettings,
};
use tidegate_envoy::v3::http_options::HttpProtocolOptions;
use tidegate_envoy::v3::http_options::http_protocol_options::explicit_http_config::ProtocolConfig;
use tidegate_envoy::v3::http_options::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};

use crate::config::refusal::{Refusal, Within};
use crate::upstream::cluster::{HttpConnections, Probe, UpstreamProtocol};
use crate::upstream::outlier::Statuses;

use crate::config::compile::value::timeout;
use crate::config::compile::{outlier, unpack};

/// The key under which they stand in `typed_extension_protocol_options`.
pub(super) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Envoy's default of `interval_jitter`, percent.
const DEFAULT_JITTER: f64 = 15.0;

/// What they say.
#[derive(Default)]
pub(super) struct HttpOptions {
    /// How connections are used.
    pub connections: HttpConnections,
    /// Whether the server name that is asked for is the request's host.
    pub auto_sni: bool,
    /// Whether the endpoint's certificate must be for that name.
    pub auto_san: bool,
    /// The answers that are failures, where these are not those with 5xx.
    pub errors: Option<Statuses>,
}

impl HttpOptions {
    /// Those of a cluster.
    pub(super) fn of(proto: &ProtoCluster) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for (key, any) in &proto.typed_extension_protocol_options {
            let place = format!("typed_extension_protocol_options[\"{key}\"]");
            if key != HTTP_OPTIONS {
                return Err(Refusal::of(&place, format_args!("only {HTTP_OPTIONS} is supported")));
            }
            unpack(any).and_then(|proto| options.take(&proto)).within(&place)?;
        }
        Ok(options)
    }

    fn take(&mut self, proto: &HttpProtocolOptions) -> Result<(), Refusal> {
        if let Some(common) = &proto.common_http_protocol_options {
            self.take_common(common).within("common_http_protocol_options")?;
        }
        if let Some(upstream) = &proto.upstream_http_protocol_options {
            self.auto_sni = upstream.auto_sni;
            self.auto_san = upstream.auto_san_validation;
        }
        if let Some(detection) = &proto.outlier_detection {
            let matcher = detection.error_matcher.as_ref();
            self.errors = matcher
                .map(|matcher| outlier::errors(matcher).within("error_matcher"))
                .transpose()
                .within("outlier_detection")?;
        }
        match &proto.upstream_protocol_options {
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
                self.take_explicit(explicit).within("explicit_http_config")
            }
            Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(config)) => {
                self.take_downstream(config).within("use_downstream_protocol_config")
            }
            Some(UpstreamProtocolOptions::AutoConfig(_)) | None => Err(Refusal::new(
                "one of explicit_http_config and use_downstream_protocol_config must be set",
            )),
        }
    }

    fn take_common(&mut self, common: &CommonOptions) -> Result<(), Refusal> {
        for (field, is_set) in [
            ("max_stream_duration", common.max_stream_duration.is_some()),
            ("max_headers_count", common.max_headers_count.is_some()),
        ] {
            if is_set {
                return Err(Refusal::of(
                    field,
                    "is not supported for clusters, only for listeners",
                ));
            }
        }
        let connections = &mut self.connections;
        let idle = common.idle_timeout.as_ref();
        connections.idle_timeout = timeout("idle_timeout", idle, connections.idle_timeout)?;
        let duration = common.max_connection_duration.as_ref();
        connections.max_duration = timeout("max_connection_duration", duration, None)?;
        connections.max_requests = common.max_requests_per_connection.filter(|limit| *limit > 0);
        Ok(())
    }

    fn take_explicit(&mut self, explicit: &ExplicitHttpConfig) -> Result<(), Refusal> {
        match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
                self.connections.protocol = Some(UpstreamProtocol::Http2);
                self.take_http2(http2).within("http2_protocol_options")
            }
            Some(ProtocolConfig::HttpProtocolOptions(_)) => Ok(()),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) | None => Err(Refusal::new(
                "one of http_protocol_options and http2_protocol_options must be set",
            )),
        }
    }

    fn take_downstream(&mut self, config: &UseDownstreamHttpConfig) -> Result<(), Refusal> {
        self.connections.protocol = None;
        match &config.http2_protocol_options {
            Some(http2) => self.take_http2(http2).within("http2_protocol_options"),
            None => Ok(()),
        }
    }

    fn take_http2(&mut self, http2: &Http2ProtocolOptions) -> Result<(), Refusal> {
        for (field, window) in [
            ("initial_stream_window_size", http2.initial_stream_window_size),
            ("initial_connection_window_size", http2.initial_connection_window_size),
        ] {
            if window.is_some() {
                return Err(Refusal::of(
                    field,
                    "is not supported for clusters, only for listeners",
                ));
            }
        }
        let connections = &mut self.connections;
        connections.probe = match &http2.connection_keepalive {
            Some(keepalive) => probe(keepalive).within("connection_keepalive")?,
            None => None,
        };
        match http2.max_concurrent_streams {
            Some(0) => return Err(Refusal::of("max_concurrent_streams", "must be 1 at least")),
            Some(streams) => connections.max_streams = streams,
            None => {}
        }
        Ok(())
    }
}

fn probe(keepalive: &KeepaliveSettings) -> Result<Option<Probe>, Refusal> {
    let Some(within) = timeout("timeout", keepalive.timeout.as_ref(), None)? else {
        return Err(Refusal::of("timeout", "must be set and more than 0"));
    };
    let jitter = keepalive.interval_jitter.map_or(DEFAULT_JITTER, |percent| percent.value);
    if !(0.0..=100.0).contains(&jitter) {
        return Err(Refusal::of("interval_jitter", "must be 0 to 100"));
    }
    let interval = timeout("interval", keepalive.interval.as_ref(), None)?;
    Ok(interval.map(|interval| Probe { interval, jitter: jitter / 100.0, timeout: within }))
}

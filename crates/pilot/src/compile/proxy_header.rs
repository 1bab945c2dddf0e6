//! The PROXY header that tells destinations who the client is.

use tidegate_api::istio::destination_rule::{ProxyProtocol, ProxyProtocolVersion};
use tidegate_envoy::any;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::core::proxy_protocol_config::Version;
use tidegate_envoy::v3::core::transport_socket::ConfigType;
use tidegate_envoy::v3::core::{ProxyProtocolConfig, TransportSocket};
use tidegate_envoy::v3::proxy_protocol::ProxyProtocolUpstreamTransport;
use tidegate_envoy::v3::raw_buffer::RawBuffer;

/// Has a cluster's connections begin with a header, before whatever else they begin with.
pub fn apply(header: ProxyProtocol, cluster: &mut Cluster) {
    let version = match header.version {
        ProxyProtocolVersion::V1 => Version::V1,
        ProxyProtocolVersion::V2 => Version::V2,
    };
    let plain = || socket("raw_buffer", ConfigType::TypedConfig(any(&RawBuffer {})));
    let around = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig { version: version.into(), ..Default::default() }),
        transport_socket: Some(cluster.transport_socket.take().unwrap_or_else(plain)),
        ..Default::default()
    };
    let around = ConfigType::TypedConfig(any(&around));
    cluster.transport_socket =
        Some(socket("envoy.transport_sockets.upstream_proxy_protocol", around));
}

fn socket(name: &str, config: ConfigType) -> TransportSocket {
    TransportSocket { name: name.to_owned(), config_type: Some(config) }
}

//! From the model to Envoy's messages, with Istio's names and settings. Nothing here decides who wins; it
//! writes down what the model says. One file per part of the output.

use std::time::Duration;

use tidegate_envoy::any;
use tidegate_envoy::prost::Name;
use tidegate_envoy::prost_types;
use tidegate_envoy::v3::core::api_config_source::ApiType;
use tidegate_envoy::v3::core::config_source::ConfigSourceSpecifier;
use tidegate_envoy::v3::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use tidegate_envoy::v3::core::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
};
use tidegate_envoy::v3::hcm::HttpFilter;
use tidegate_envoy::v3::hcm::http_filter::ConfigType;

use crate::Options;
use crate::model::destination_rule::{Effective, Rules};
use crate::model::names;
use crate::model::registry::Registry;
use crate::model::service::Service;
use tidegate_api::istio::virtual_service::Destination;

pub mod access_log;
mod asked;
pub mod authorization;
pub mod balancing;
pub mod claims;
pub mod cluster;
pub mod connection_manager;
pub mod connection_pool;
pub mod cover;
mod denial;
pub mod endpoints;
pub mod filter_chain;
pub mod headers;
mod holder;
pub mod http3;
pub mod inbound;
pub mod keys;
pub mod listener;
pub mod localities;
pub mod matches;
pub mod metadata;
mod outlier;
mod proxy_header;
pub mod rbac;
pub mod retry;
pub mod route;
pub mod secret;
pub mod sidecar;
pub mod text;
pub mod tls;
pub mod tokens;
pub mod traffic;
pub mod upstream_tls;
pub mod virtual_host;

/// What every part of the compilation may look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The gateway and its mesh.
    pub options: &'a Options,
    /// What destination hosts stand for.
    pub registry: &'a Registry,
    /// What holds for traffic to them.
    pub rules: &'a Rules,
    /// Which tokens are taken at the gateway.
    pub tokens: &'a tokens::Tokens,
    /// Who may do what at the gateway.
    pub authorization: &'a authorization::Authorization,
    /// Whether requests may be for hosts that the proxy resolves as clients ask for them.
    pub resolves_asked: bool,
}

impl Context<'_> {
    /// The cluster of a destination. Without a port it is the service's only one, else the port that the
    /// traffic came in on. The cluster need not exist: then the answer is 503, as in Istio.
    #[must_use]
    pub fn cluster(
        &self,
        destination: &Destination,
        namespace: &str,
        listener_port: u16,
    ) -> String {
        let port = self.destination_port(destination, namespace, listener_port);
        names::cluster(&destination.host, &destination.subset, port)
    }

    /// The port of a destination, as [`Self::cluster`] takes it.
    #[must_use]
    pub fn destination_port(
        &self,
        destination: &Destination,
        namespace: &str,
        listener_port: u16,
    ) -> u16 {
        match destination.port_number() {
            Some(port) => port.into(),
            None => match self.registry.find(&destination.host, namespace).map(|s| &*s.ports) {
                Some([only]) => only.number,
                _ => listener_port,
            },
        }
    }

    /// The Service of type ExternalName that a destination of a sidecar's is, and its port.
    #[must_use]
    pub fn alias(
        &self,
        destination: &Destination,
        namespace: &str,
        listener_port: u16,
    ) -> Option<(&Service, u16)> {
        self.options.workload()?;
        let service = self.registry.find(&destination.host, namespace)?;
        service.alias_of()?;
        Some((service, self.destination_port(destination, namespace, listener_port)))
    }

    /// What holds for traffic to a host, as resources of `namespace` see it.
    #[must_use]
    pub fn rules_for(&self, host: &str, namespace: &str) -> Option<Effective> {
        let service = self.registry.find(host, namespace);
        self.rules.find(host, service.map(|s| &*s.key.namespace), self.options)
    }
}

/// A number that is given; 0, like none, says nothing.
pub(crate) fn positive(given: i32) -> Option<u32> {
    u32::try_from(given).ok().filter(|given| *given > 0)
}

/// An HTTP filter of a name.
pub(crate) fn http_filter<M: Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(config))),
        ..HttpFilter::default()
    }
}

/// A span of time as protobuf writes it.
pub(crate) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        // Spans come from Go's notation, which ends below 2^63 nanoseconds.
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

/// "Ask where this resource came from."
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}

/// "Ask the server behind this cluster."
pub(crate) fn server_of_its_own(cluster: &str) -> ConfigSource {
    let grpc = EnvoyGrpc { cluster_name: cluster.to_owned(), ..EnvoyGrpc::default() };
    let service = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)),
        ..GrpcService::default()
    };
    let api = ApiConfigSource {
        api_type: ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..ApiConfigSource::default()
    };
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(api)),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}

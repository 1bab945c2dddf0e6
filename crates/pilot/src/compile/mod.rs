//! From the model to Envoy's messages, with Istio's names and settings. Nothing here decides who wins; it
//! writes down what the model says. One file per part of the output.

use std::time::Duration;

use tidegate_envoy::prost_types;
use tidegate_envoy::v3::core::api_config_source::ApiType;
use tidegate_envoy::v3::core::config_source::ConfigSourceSpecifier;
use tidegate_envoy::v3::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use tidegate_envoy::v3::core::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
};

use crate::Options;
use crate::model::destination_rule::{Effective, Rules};
use crate::model::names;
use crate::model::registry::Registry;
use tidegate_api::istio::virtual_service::Destination;

pub mod access_log;
pub mod balancing;
pub mod claims;
pub mod cluster;
pub mod connection_manager;
pub mod connection_pool;
pub mod cover;
pub mod endpoints;
pub mod filter_chain;
pub mod headers;
pub mod listener;
pub mod matches;
pub mod metadata;
pub mod rbac;
pub mod retry;
pub mod route;
pub mod secret;
pub mod sidecar;
pub mod text;
pub mod tls;
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
        let port = destination.port_number().map(u16::from);
        let port = port.unwrap_or_else(|| {
            let service = self.registry.find(&destination.host, namespace);
            match service.map(|s| &*s.ports) {
                Some([only]) => only.number,
                _ => listener_port,
            }
        });
        names::cluster(&destination.host, &destination.subset, port)
    }

    /// What holds for traffic to a host, as resources of `namespace` see it.
    #[must_use]
    pub fn rules_for(&self, host: &str, namespace: &str) -> Option<Effective> {
        let service = self.registry.find(host, namespace);
        self.rules.find(host, service.map(|s| &*s.key.namespace), self.options)
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

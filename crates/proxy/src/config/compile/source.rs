//! Where resources come from that a message names.

use tidegate_envoy::v3::core::config_source::ConfigSourceSpecifier;
use tidegate_envoy::v3::core::grpc_service::TargetSpecifier;
use tidegate_envoy::v3::core::{ApiConfigSource, ConfigSource, GrpcService};

use crate::config::refusal::{Refusal, Within};

use super::value::required;

/// The cluster of the server that a resource is asked for at; `None` where it comes with all others.
pub(super) fn server(source: Option<&ConfigSource>) -> Result<Option<&str>, Refusal> {
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::ApiConfigSource(api)) => {
            of_api(api).map(Some).within("api_config_source")
        }
        _ => Ok(None),
    }
}

fn of_api(api: &ApiConfigSource) -> Result<&str, Refusal> {
    let [GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)), .. }] =
        &*api.grpc_services
    else {
        return Err(Refusal::of("grpc_services", "must have exactly one, with envoy_grpc"));
    };
    required("cluster_name", &grpc.cluster_name).within("grpc_services[0].envoy_grpc")
}

/// Refuses a server of its own for a resource that comes with all others.
pub(super) fn with_all_others(source: Option<&ConfigSource>) -> Result<(), Refusal> {
    match server(source)? {
        None => Ok(()),
        Some(_) => Err(Refusal::of("api_config_source", "use ads")),
    }
}

//! A static Envoy bootstrap from a snapshot: everything that xDS would deliver, written out.
//!
//! What the snapshot names by reference (routes of a connection manager, endpoints of a cluster) is put in
//! place, so that `envoy --mode validate -c` and `tidegate proxy -c` take the result without a control plane.

use prost::{Message, Name};
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::bootstrap::Bootstrap;
use tidegate_envoy::v3::bootstrap::bootstrap::StaticResources;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use tidegate_envoy::v3::core::config_source::ConfigSourceSpecifier;
use tidegate_envoy::v3::core::transport_socket::ConfigType as SocketConfig;
use tidegate_envoy::v3::core::{Node, TransportSocket};
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;
use tidegate_envoy::v3::hcm::HttpConnectionManager;
use tidegate_envoy::v3::hcm::http_connection_manager::RouteSpecifier;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::listener::{FilterChain, Listener};
use tidegate_envoy::v3::proxy_protocol::ProxyProtocolUpstreamTransport;
use tidegate_envoy::v3::quic::QuicDownstreamTransport;
use tidegate_envoy::v3::route::RouteConfiguration;
use tidegate_envoy::v3::tls::common_tls_context::ValidationContextType;
use tidegate_envoy::v3::tls::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret, UpstreamTlsContext,
};
use tidegate_envoy::{AnyError, any, type_name, unpack};

use crate::{Resource, ResourceType, Snapshot};

/// Why a snapshot cannot be written out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The bytes of a resource are no message of its type.
    #[error("{kind:?} {name} does not decode: {reason}")]
    Malformed {
        /// Type of the resource.
        kind: ResourceType,
        /// Name of the resource.
        name: String,
        /// What the decoder met.
        reason: String,
    },
    /// A listener takes its routes from a route configuration that is not in the snapshot.
    #[error("listener {listener} takes its routes from {routes}, which is not in the snapshot")]
    NoRoutes {
        /// Name of the listener.
        listener: String,
        /// Name of the route configuration.
        routes: String,
    },
}

/// The snapshot as a bootstrap with static resources only. Admin and node metadata are the caller's to add.
///
/// # Errors
/// A resource that does not decode, or routes that are not there.
pub fn static_bootstrap(snapshot: &Snapshot, node_id: &str) -> Result<Bootstrap, BootstrapError> {
    let mut resources = StaticResources::default();
    for resource in snapshot.list(ResourceType::Listener) {
        let mut listener: Listener = decode(&resource)?;
        put_routes(&mut listener, snapshot)?;
        put_secrets(&mut listener, &resource, snapshot)?;
        if listener.filter_chains.is_empty() && listener.default_filter_chain.is_none() {
            continue;
        }
        resources.listeners.push(listener);
    }
    for resource in snapshot.list(ResourceType::Cluster) {
        let mut cluster: Cluster = decode(&resource)?;
        put_endpoints(&mut cluster, snapshot)?;
        let socket = cluster.transport_socket.as_mut();
        if take_secrets::<UpstreamTlsContext>(socket, &resource, snapshot)? {
            resources.clusters.push(cluster);
        }
    }
    for resource in snapshot.list(ResourceType::Secret) {
        resources.secrets.push(decode::<Secret>(&resource)?);
    }
    Ok(Bootstrap {
        node: Some(Node { id: node_id.to_owned(), cluster: node_id.to_owned(), ..Node::default() }),
        static_resources: Some(resources),
        ..Bootstrap::default()
    })
}

fn decode<T: Message + Default>(resource: &Resource) -> Result<T, BootstrapError> {
    T::decode(resource.bytes.clone()).map_err(|error| malformed(resource, &error.to_string()))
}

fn malformed(resource: &Resource, reason: &str) -> BootstrapError {
    BootstrapError::Malformed {
        kind: resource.kind,
        name: resource.name.to_string(),
        reason: reason.to_owned(),
    }
}

fn put_routes(listener: &mut Listener, snapshot: &Snapshot) -> Result<(), BootstrapError> {
    let name = listener.name.clone();
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    for filter in chains.flat_map(|chain| &mut chain.filters) {
        let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type else {
            continue;
        };
        if let Some(manager) = with_routes(config, &name, snapshot)? {
            *config = any(&manager);
        }
    }
    Ok(())
}

/// The connection manager in a filter's configuration with its routes put in; `None` for other filters,
/// and for one that has its routes already.
fn with_routes(
    config: &Any,
    listener: &str,
    snapshot: &Snapshot,
) -> Result<Option<HttpConnectionManager>, BootstrapError> {
    if type_name(&config.type_url) != HttpConnectionManager::full_name() {
        return Ok(None);
    }
    let bad = |reason: String| BootstrapError::Malformed {
        kind: ResourceType::Listener,
        name: listener.to_owned(),
        reason,
    };
    let mut manager: HttpConnectionManager =
        unpack(config).map_err(|error: AnyError| bad(error.to_string()))?;
    let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
        return Ok(None);
    };
    let name = rds.route_config_name.clone();
    let bytes = snapshot
        .route_configuration(&name)
        .ok_or_else(|| BootstrapError::NoRoutes { listener: listener.to_owned(), routes: name })?;
    let mut routes = RouteConfiguration::decode(bytes).map_err(|error| bad(error.to_string()))?;
    // Over xDS a route may name a cluster that is not there (yet): so may it here.
    routes.validate_clusters = Some(false);
    manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
    Ok(Some(manager))
}

/// Lets filter chains take their secrets from the bootstrap. A chain of which one is not there is left out: a static
/// secret has to be, where one that comes later only keeps its connections waiting.
fn put_secrets(
    listener: &mut Listener,
    resource: &Resource,
    snapshot: &Snapshot,
) -> Result<(), BootstrapError> {
    let complete = |chain: &mut FilterChain| {
        let socket = chain.transport_socket.as_mut();
        let udp = take_secrets::<QuicDownstreamTransport>(socket, resource, snapshot)?;
        let socket = chain.transport_socket.as_mut();
        Ok(udp && take_secrets::<DownstreamTlsContext>(socket, resource, snapshot)?)
    };
    let mut chains = Vec::new();
    for mut chain in std::mem::take(&mut listener.filter_chains) {
        if complete(&mut chain)? {
            chains.push(chain);
        }
    }
    listener.filter_chains = chains;
    if let Some(mut chain) = listener.default_filter_chain.take()
        && complete(&mut chain)?
    {
        listener.default_filter_chain = Some(chain);
    }
    Ok(())
}

/// A message that has a TLS context in it.
trait TlsContext: Message + Name + Default {
    fn common(&mut self) -> Option<&mut CommonTlsContext>;
}

impl TlsContext for DownstreamTlsContext {
    fn common(&mut self) -> Option<&mut CommonTlsContext> {
        self.common_tls_context.as_mut()
    }
}

impl TlsContext for QuicDownstreamTransport {
    fn common(&mut self) -> Option<&mut CommonTlsContext> {
        self.downstream_tls_context.as_mut()?.common()
    }
}

impl TlsContext for UpstreamTlsContext {
    fn common(&mut self) -> Option<&mut CommonTlsContext> {
        self.common_tls_context.as_mut()
    }
}

/// Lets a transport socket take its secrets from the bootstrap; whether all of them are there.
fn take_secrets<T: TlsContext>(
    socket: Option<&mut TransportSocket>,
    resource: &Resource,
    snapshot: &Snapshot,
) -> Result<bool, BootstrapError> {
    let Some(SocketConfig::TypedConfig(config)) = socket.and_then(|s| s.config_type.as_mut())
    else {
        return Ok(true);
    };
    let bad = |error: AnyError| malformed(resource, &error.to_string());
    let kind = type_name(&config.type_url);
    if kind == ProxyProtocolUpstreamTransport::full_name() {
        let mut around: ProxyProtocolUpstreamTransport = unpack(config).map_err(bad)?;
        let there = take_secrets::<T>(around.transport_socket.as_mut(), resource, snapshot)?;
        *config = any(&around);
        return Ok(there);
    }
    if kind != T::full_name() {
        return Ok(true);
    }
    let mut context: T = unpack(config).map_err(bad)?;
    let there = context.common().into_iter().flat_map(secrets).all(|secret| {
        let source = secret.sds_config.as_ref().and_then(|s| s.config_source_specifier.as_ref());
        if matches!(source, Some(ConfigSourceSpecifier::ApiConfigSource(_))) {
            // It has a server of its own.
            return true;
        }
        secret.sds_config = None;
        snapshot.get(ResourceType::Secret, &secret.name).is_some()
    });
    *config = any(&context);
    Ok(there)
}

/// The secrets that a TLS context takes by name.
fn secrets(context: &mut CommonTlsContext) -> impl Iterator<Item = &mut SdsSecretConfig> {
    let validation = match &mut context.validation_context_type {
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => Some(config),
        Some(ValidationContextType::CombinedValidationContext(both)) => {
            both.validation_context_sds_secret_config.as_mut()
        }
        _ => None,
    };
    context.tls_certificate_sds_secret_configs.iter_mut().chain(validation)
}

fn put_endpoints(cluster: &mut Cluster, snapshot: &Snapshot) -> Result<(), BootstrapError> {
    let Some(eds) = cluster.eds_cluster_config.take() else {
        return Ok(());
    };
    let name = if eds.service_name.is_empty() { &cluster.name } else { &eds.service_name };
    let mut assignment = match snapshot.get(ResourceType::Endpoints, name) {
        Some(resource) => decode(&resource)?,
        None => ClusterLoadAssignment::default(),
    };
    assignment.cluster_name.clone_from(&cluster.name);
    cluster.load_assignment = Some(assignment);
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
    Ok(())
}

//! Clusters: one per service port, and one per subset of it.

use std::collections::BTreeMap;

use tidegate_api::istio::Protocol;
use tidegate_api::istio::destination_rule::Subset;
use tidegate_envoy::any;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::cluster::circuit_breakers::Thresholds;
use tidegate_envoy::v3::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
};
use tidegate_envoy::v3::cluster::{CircuitBreakers, Cluster};
use tidegate_envoy::v3::core::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions,
    UpstreamHttpProtocolOptions,
};
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;
use tidegate_envoy::v3::http_options::HttpProtocolOptions;
use tidegate_envoy::v3::http_options::http_protocol_options::explicit_http_config::ProtocolConfig;
use tidegate_envoy::v3::http_options::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};

use super::{Context, ads, balancing, connection_pool, duration, endpoints, upstream_tls};
use crate::model::destination_rule::Effective;
use crate::model::endpoints::Endpoint;
use crate::model::names;
use crate::model::service::{Discovery, Port, Service};

/// The key of a cluster's HTTP settings.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A cluster, and its endpoints where they are a resource of their own.
#[derive(Debug)]
pub struct Compiled {
    /// The cluster; `None` where there is nothing to resolve, which Envoy would refuse.
    pub cluster: Option<Cluster>,
    /// The endpoints.
    pub endpoints: Option<ClusterLoadAssignment>,
}

/// What a cluster stands for: the endpoints of a service port, or a subset of them.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    service: &'a Service,
    port: &'a Port,
    subset: Option<&'a Subset>,
}

impl<'a> Part<'a> {
    /// All that a service port has: itself, and each subset that rules define for its host.
    fn all(
        service: &'a Service,
        port: &'a Port,
        rules: Option<&'a Effective>,
    ) -> impl Iterator<Item = Self> {
        let subsets = rules.into_iter().flat_map(Effective::subsets).map(Some);
        std::iter::once(None).chain(subsets).map(move |subset| Self { service, port, subset })
    }

    fn subset_name(self) -> &'a str {
        self.subset.map_or("", |subset| &subset.name)
    }

    fn name(self) -> String {
        names::cluster(&self.service.host, self.subset_name(), self.port.number)
    }

    /// Its load assignment, of the endpoints that the port has.
    fn assignment(self, endpoints: &[Endpoint]) -> ClusterLoadAssignment {
        let chosen = endpoints.iter().filter(|e| self.subset.is_none_or(|s| e.carries(&s.labels)));
        endpoints::assignment(&self.name(), chosen)
    }
}

/// Compiles the clusters of a service port: of all its endpoints, and of each subset.
#[must_use]
pub fn compile(service: &Service, port: &Port, context: &Context<'_>) -> Vec<Compiled> {
    let rules = rules(service, context);
    let endpoints = if is_dialled(service, context) {
        Vec::new()
    } else {
        context.registry.endpoints(service, port)
    };
    Part::all(service, port, rules.as_ref())
        .map(|part| of_part(part, rules.as_ref(), &endpoints, context))
        .collect()
}

/// The endpoints of a service port and of its subsets; none where they are part of the clusters, as names to resolve.
#[must_use]
pub fn assignments(
    service: &Service,
    port: &Port,
    context: &Context<'_>,
) -> Vec<ClusterLoadAssignment> {
    if is_dialled(service, context) || matches!(service.discovery, Discovery::Names { .. }) {
        return Vec::new();
    }
    let rules = rules(service, context);
    let endpoints = context.registry.endpoints(service, port);
    Part::all(service, port, rules.as_ref()).map(|part| part.assignment(&endpoints)).collect()
}

fn rules(service: &Service, context: &Context<'_>) -> Option<Effective> {
    context.rules.find(&service.host, Some(&service.key.namespace), context.options)
}

/// Whether traffic goes to the address that its client dialled.
fn is_dialled(service: &Service, context: &Context<'_>) -> bool {
    service.direct && context.options.workload().is_some()
}

#[allow(deprecated, reason = "Istio writes how names are resolved here, and every Envoy reads it")]
fn of_part(
    part: Part<'_>,
    rules: Option<&Effective>,
    endpoints: &[Endpoint],
    context: &Context<'_>,
) -> Compiled {
    let Part { service, port, subset } = part;
    let mut cluster = base(part.name(), context);
    let mut http =
        HttpOptions { http2: port.protocol.is_some_and(Protocol::is_http2), ..Default::default() };
    let policy = rules.map(|rules| rules.policy_for(port.number, subset)).unwrap_or_default();
    if let Some(settings) = policy.load_balancer {
        balancing::apply(settings, &mut cluster);
    }
    connection_pool::apply(policy, port, &mut http, &mut cluster);
    if let Some(settings) = policy.tls {
        let subset = part.subset_name();
        let to = upstream_tls::To { service, port, subset, options: context.options };
        upstream_tls::apply(settings, to, &mut http, &mut cluster);
    }
    cluster.typed_extension_protocol_options = http.written();
    if is_dialled(service, context) {
        return Compiled { cluster: Some(where_dialled(cluster)), endpoints: None };
    }
    let assignment = part.assignment(endpoints);
    let Discovery::Names { one_address, .. } = service.discovery else {
        cluster.cluster_discovery_type =
            Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        cluster.eds_cluster_config =
            Some(EdsClusterConfig { eds_config: Some(ads()), service_name: cluster.name.clone() });
        return Compiled { cluster: Some(cluster), endpoints: Some(assignment) };
    };
    if assignment.endpoints.is_empty() {
        return Compiled { cluster: None, endpoints: None };
    }
    let kind = if one_address { DiscoveryType::LogicalDns } else { DiscoveryType::StrictDns };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
    cluster.dns_lookup_family = DnsLookupFamily::V4Only.into();
    cluster.dns_refresh_rate = Some(duration(context.options.dns_refresh_rate));
    cluster.respect_dns_ttl = true;
    cluster.load_assignment = Some(assignment);
    Compiled { cluster: Some(cluster), endpoints: None }
}

/// A cluster that sends to where the client dialled, whatever is spoken.
#[must_use]
pub fn passthrough(name: &str, context: &Context<'_>) -> Cluster {
    where_dialled(base(name.to_owned(), context))
}

/// Lets a cluster send to where the client dialled.
fn where_dialled(cluster: Cluster) -> Cluster {
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into())),
        lb_policy: LbPolicy::ClusterProvided.into(),
        lb_config: None,
        ..cluster
    }
}

/// The cluster that closes what is sent to it.
#[must_use]
pub fn black_hole(connect_timeout: std::time::Duration) -> Cluster {
    Cluster {
        name: names::BLACK_HOLE_CLUSTER.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        connect_timeout: Some(duration(connect_timeout)),
        lb_policy: LbPolicy::RoundRobin.into(),
        ..Cluster::default()
    }
}

fn base(name: String, context: &Context<'_>) -> Cluster {
    // Istio lifts Envoy's limits of 1024: limits are a DestinationRule's business.
    let unlimited = Thresholds {
        max_connections: Some(u32::MAX),
        max_pending_requests: Some(u32::MAX),
        max_requests: Some(u32::MAX),
        max_retries: Some(u32::MAX),
        track_remaining: true,
        ..Thresholds::default()
    };
    Cluster {
        name,
        connect_timeout: Some(duration(context.options.connect_timeout)),
        lb_policy: LbPolicy::LeastRequest.into(),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![unlimited],
            ..CircuitBreakers::default()
        }),
        ..Cluster::default()
    }
}

/// How a cluster speaks HTTP.
#[derive(Debug, Default)]
pub struct HttpOptions {
    /// Whether that is HTTP/2.
    pub http2: bool,
    /// Most streams at a time on a connection of HTTP/2.
    pub max_streams: Option<u32>,
    /// What holds for connections of any version.
    pub common: Option<CommonOptions>,
    /// What else is asked of it.
    pub upstream: Option<UpstreamHttpProtocolOptions>,
}

impl HttpOptions {
    /// The options as a cluster has them; none where they are Envoy's own.
    fn written(self) -> BTreeMap<String, Any> {
        if !self.http2 && self.upstream.is_none() && self.common.is_none() {
            return BTreeMap::new();
        }
        let protocol = if self.http2 {
            ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
                max_concurrent_streams: self.max_streams,
                ..Http2ProtocolOptions::default()
            })
        } else {
            ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
        };
        let options = HttpProtocolOptions {
            common_http_protocol_options: self.common,
            upstream_http_protocol_options: self.upstream,
            upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                ExplicitHttpConfig { protocol_config: Some(protocol) },
            )),
            ..HttpProtocolOptions::default()
        };
        BTreeMap::from([(HTTP_OPTIONS.to_owned(), any(&options))])
    }
}

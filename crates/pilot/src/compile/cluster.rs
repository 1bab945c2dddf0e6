//! Clusters: one per service port, and one per subset of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::istio::Protocol;
use tidegate_api::istio::destination_rule::{ClientTlsMode, ClientTlsSettings, Subset};
use tidegate_envoy::any;
use tidegate_envoy::mark;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::types::envoy::config::common::matcher::v3::MatchPredicate;
use tidegate_envoy::v3::cluster::circuit_breakers::Thresholds;
use tidegate_envoy::v3::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
};
use tidegate_envoy::v3::cluster::{CircuitBreakers, Cluster};
use tidegate_envoy::v3::core::socket_address::PortSpecifier;
use tidegate_envoy::v3::core::{
    BindConfig, ExtraSourceAddress, Http1ProtocolOptions, Http2ProtocolOptions,
    HttpProtocolOptions as CommonOptions, KeepaliveSettings, SocketAddress,
    UpstreamHttpProtocolOptions,
};
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;
use tidegate_envoy::v3::http_options::HttpProtocolOptions;
use tidegate_envoy::v3::http_options::http_protocol_options::explicit_http_config::ProtocolConfig;
use tidegate_envoy::v3::http_options::http_protocol_options::{
    ExplicitHttpConfig, OutlierDetection as OutlierOptions, UpstreamProtocolOptions,
    UseDownstreamHttpConfig,
};

use super::localities::Preference;
use super::{
    Context, ads, asked, balancing, connection_pool, duration, endpoints, outlier, proxy_header,
    upstream_tls,
};
use crate::model::destination_rule::Effective;
use crate::model::endpoints::{Address, Endpoint, is_name};
use crate::model::locality::Locality;
use crate::model::names;
use crate::model::policy::Policy;
use crate::model::service::{Discovery, Port, Service};
use crate::model::tls::{Credential, client_credentials};
use crate::model::vacancy;
use crate::sidecar::Spoken;
use crate::sidecar::inbound::{Described, Entry, Local};
use crate::{InboundPolicy, Options, Workload};

/// How long Istio keeps idle connections to where clients dialled.
const PASSTHROUGH_IDLE: std::time::Duration = std::time::Duration::from_secs(300);

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

impl Compiled {
    /// Whether there are no endpoints.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.cluster.is_none() || self.endpoints.as_ref().is_some_and(|e| e.endpoints.is_empty())
    }
}

/// What a cluster stands for: the endpoints of a service port, or a subset of them.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    service: &'a Service,
    port: &'a Port,
    subset: Option<&'a Subset>,
    /// For who is sent to in TLS whatever rules say: the name of that cluster, and the TLS of rules that say nothing of it.
    in_tls: Option<(&'a str, &'a ClientTlsSettings)>,
}

impl<'a> Part<'a> {
    /// All that a service port has: itself, and each subset that rules define for its host.
    fn all(
        service: &'a Service,
        port: &'a Port,
        rules: Option<&'a Effective>,
    ) -> impl Iterator<Item = Self> {
        let subsets = rules.into_iter().flat_map(Effective::subsets).map(Some);
        std::iter::once(None).chain(subsets).map(move |subset| Self {
            service,
            port,
            subset,
            in_tls: None,
        })
    }

    fn subset_name(self) -> &'a str {
        self.subset.map_or("", |subset| &subset.name)
    }

    fn name(self) -> String {
        match self.in_tls {
            Some((name, _)) => name.to_owned(),
            None => self.service_name(),
        }
    }

    /// The name that its endpoints have, where they are a resource of their own.
    fn service_name(self) -> String {
        names::cluster(&self.service.host, self.subset_name(), self.port.number)
    }

    /// The TLS that is spoken to it, by the rules for it.
    fn tls(self, policy: &Policy<'a>) -> Option<&'a ClientTlsSettings> {
        match self.in_tls {
            None => policy.tls,
            Some((_, own)) => {
                Some(policy.tls.filter(|tls| tls.mode != ClientTlsMode::Disable).unwrap_or(own))
            }
        }
    }

    /// Its load assignment, of the endpoints that the port has.
    fn assignment(
        self,
        endpoints: &[Endpoint],
        policy: Policy<'_>,
        options: &Options,
    ) -> ClusterLoadAssignment {
        let chosen = endpoints.iter().filter(|e| self.subset.is_none_or(|s| e.carries(&s.labels)));
        endpoints::assignment(&self.name(), Preference::of(policy, options).grouped(chosen))
    }

    /// The settings that hold for it.
    fn policy(self, rules: Option<&'a Effective>) -> Policy<'a> {
        rules.map(|rules| rules.policy_for(self.port.number, self.subset)).unwrap_or_default()
    }
}

/// Compiles the clusters of a service port: of all its endpoints, of each subset, and of those to whom TLS is begun here.
#[must_use]
pub fn compile(service: &Service, port: &Port, context: &Context<'_>) -> Vec<Compiled> {
    let rules = rules(service, context);
    let endpoints = if is_dialled(service, port, context) {
        Vec::new()
    } else {
        context.registry.endpoints(service, port)
    };
    let own = own_tls(service, port, rules.as_ref(), context);
    let in_tls = own.as_ref().map(|(name, settings)| Part {
        service,
        port,
        subset: None,
        in_tls: Some((name, settings)),
    });
    let parts = Part::all(service, port, rules.as_ref()).chain(in_tls);
    parts.map(|part| of_part(part, rules.as_ref(), &endpoints, context)).collect()
}

/// The cluster that requests of a workload to a service port go to.
#[must_use]
pub fn for_requests(service: &Service, port: u16, context: &Context<'_>) -> String {
    let own = service
        .port(port)
        .filter(|port| service.starts_tls(port))
        .and_then(|port| own_tls(service, port, rules(service, context).as_ref(), context));
    own.map_or_else(|| names::cluster(&service.host, "", port), |(name, _)| name)
}

/// What the handshakes of that cluster take, where it is one in TLS whatever rules say.
#[must_use]
pub fn own_credentials(service: &Service, port: &Port, context: &Context<'_>) -> Vec<Credential> {
    let rules = service.starts_tls(port).then(|| rules(service, context)).flatten();
    let own = own_tls(service, port, rules.as_ref(), context);
    own.map(|(_, settings)| client_credentials(&settings, context.options)).unwrap_or_default()
}

/// The cluster in TLS of a service port whose clients speak none, and that TLS, where no rule says another: a client that does
/// speak it is sent to the port's own cluster.
fn own_tls(
    service: &Service,
    port: &Port,
    rules: Option<&Effective>,
    context: &Context<'_>,
) -> Option<(String, ClientTlsSettings)> {
    let part = Part { service, port, subset: None, in_tls: None };
    if !service.starts_tls(port)
        || context.options.workload().is_none()
        || part.policy(rules).tls.is_some()
    {
        return None;
    }
    let settings = ClientTlsSettings {
        mode: ClientTlsMode::Simple,
        sni: service.alias_of()?.to_owned(),
        ..ClientTlsSettings::default()
    };
    Some((names::cluster_in_tls(&service.host, port.number), settings))
}

/// The cluster of all endpoints of a service port by another name, in TLS: that of rules, else the given one. Endpoints that
/// are a resource of their own are those of the service's own cluster. `None` where there is nothing to resolve.
#[must_use]
pub fn in_tls(
    service: &Service,
    port: &Port,
    (name, otherwise): (&str, &ClientTlsSettings),
    context: &Context<'_>,
) -> Option<Cluster> {
    let rules = rules(service, context);
    let endpoints = context.registry.endpoints(service, port);
    let part = Part { service, port, subset: None, in_tls: Some((name, otherwise)) };
    of_part(part, rules.as_ref(), &endpoints, context).cluster
}

/// A cluster of a host that no service stands for: its address, or all those of its name; in TLS where that is given.
#[must_use]
pub fn of_host(
    host: &str,
    port: u16,
    (name, tls): (&str, Option<&ClientTlsSettings>),
    context: &Context<'_>,
) -> Cluster {
    let address = Address::Socket(host.to_owned(), port);
    let mut cluster = at(base(name.to_owned(), context), address, context);
    if is_name(host) {
        resolve(&mut cluster, DiscoveryType::StrictDns, context);
    }
    let mut http = HttpOptions::default();
    if let Some(settings) = tls {
        let options = context.options;
        let to =
            upstream_tls::To { host, port, protocol: None, certified: &[], subset: "", options };
        upstream_tls::apply(settings, to, &mut http, &mut cluster);
    }
    cluster.typed_extension_protocol_options = http.written();
    cluster
}

/// The addresses that names are looked up for: those of the families that the proxy has itself. Of one that has both Istio looks
/// up IPv4 alone, unless its own dual stack is turned on; here what has no IPv4 is reached as well. IPv4 where nothing is known.
pub(super) fn lookup_family(options: &Options) -> DnsLookupFamily {
    let own = options.workload().map_or(&options.addresses, |workload| &workload.addresses);
    match (own.iter().any(IpAddr::is_ipv4), own.iter().any(IpAddr::is_ipv6)) {
        (true, true) => DnsLookupFamily::V4Preferred,
        (false, true) => DnsLookupFamily::V6Only,
        (_, false) => DnsLookupFamily::V4Only,
    }
}

/// Has a cluster's names resolved.
#[allow(deprecated, reason = "Istio writes how names are resolved here, and every Envoy reads it")]
fn resolve(cluster: &mut Cluster, kind: DiscoveryType, context: &Context<'_>) {
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
    cluster.dns_lookup_family = lookup_family(context.options).into();
    cluster.dns_refresh_rate = Some(duration(context.options.dns_refresh_rate));
    cluster.respect_dns_ttl = true;
}

/// The endpoints of a service port and of its subsets; none where they are part of the clusters, as names to resolve.
#[must_use]
pub fn assignments(
    service: &Service,
    port: &Port,
    context: &Context<'_>,
) -> Vec<ClusterLoadAssignment> {
    let dialled = is_dialled(service, port, context);
    if dialled || service.is_asked(port) || service.resolved().is_some() {
        return Vec::new();
    }
    let rules = rules(service, context);
    let endpoints = context.registry.endpoints(service, port);
    let assigned =
        |part: Part<'_>| part.assignment(&endpoints, part.policy(rules.as_ref()), context.options);
    Part::all(service, port, rules.as_ref()).map(assigned).collect()
}

/// The clusters of a service port that have no endpoints, by name, and why.
#[must_use]
pub fn vacant(service: &Service, port: &Port, context: &Context<'_>) -> Vec<(Arc<str>, String)> {
    let elsewhere = matches!(service.discovery, Discovery::Asked | Discovery::Nowhere(_));
    if elsewhere || is_dialled(service, port, context) {
        return Vec::new();
    }
    let endpoints = context.registry.endpoints(service, port);
    let why = |part: Part<'_>| match part.subset {
        _ if endpoints.is_empty() => Some(vacancy::of_port(context.registry, service, port)),
        Some(subset) if !endpoints.iter().any(|e| e.carries(&subset.labels)) => {
            Some(vacancy::of_subset(service, subset, &endpoints))
        }
        _ => None,
    };
    let rules = rules(service, context);
    let parts = Part::all(service, port, rules.as_ref());
    parts.filter_map(|part| Some((part.name().into(), why(part)?))).collect()
}

fn rules(service: &Service, context: &Context<'_>) -> Option<Effective> {
    context.rules.find(&service.host, Some(&service.key.namespace), context.options)
}

/// Whether traffic goes to the address that its client dialled.
fn is_dialled(service: &Service, port: &Port, context: &Context<'_>) -> bool {
    service.direct && context.options.workload().is_some() && !service.is_asked(port)
}

fn of_part(
    part: Part<'_>,
    rules: Option<&Effective>,
    endpoints: &[Endpoint],
    context: &Context<'_>,
) -> Compiled {
    let Part { service, port, .. } = part;
    let mut cluster = base(part.name(), context);
    let mut http =
        HttpOptions { http2: port.protocol.is_some_and(Protocol::is_http2), ..Default::default() };
    let policy = part.policy(rules);
    if let Some(settings) = policy.load_balancer {
        balancing::apply(settings, &mut cluster);
    }
    connection_pool::apply(policy, &mut http, &mut cluster);
    if let Some(settings) = policy.outlier_detection {
        outlier::apply(settings, &mut http, &mut cluster);
    }
    if let Some(settings) = part.tls(&policy) {
        let subset = part.subset_name();
        let to = upstream_tls::To {
            host: &service.host,
            port: port.number,
            protocol: port.protocol,
            certified: &service.certified,
            subset,
            options: context.options,
        };
        upstream_tls::apply(settings, to, &mut http, &mut cluster);
        mark_tls(settings, part, rules, &mut cluster);
    }
    if let Some(header) = policy.proxy_protocol {
        proxy_header::apply(*header, &mut cluster);
    }
    Preference::of(policy, context.options).apply(&mut cluster);
    cluster.typed_extension_protocol_options = http.written();
    if service.is_asked(port) {
        let cluster = asked::within(&service.host, port, asked::cluster(cluster, context));
        return Compiled { cluster: Some(cluster), endpoints: None };
    }
    // As by Istio, a subset of a host whose addresses are kept keeps them whatever it says itself.
    let of_host = Part { subset: None, ..part }.policy(rules);
    let mut policies = [policy, of_host].into_iter().filter_map(|policy| policy.load_balancer);
    let keeps_address = policies.any(balancing::keeps_address);
    if is_dialled(service, port, context) || (keeps_address && context.options.workload().is_some())
    {
        return Compiled { cluster: Some(where_dialled(cluster)), endpoints: None };
    }
    let assignment = part.assignment(endpoints, policy, context.options);
    let Some(one_address) = service.resolved() else {
        cluster.cluster_discovery_type =
            Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        cluster.eds_cluster_config =
            Some(EdsClusterConfig { eds_config: Some(ads()), service_name: part.service_name() });
        return Compiled { cluster: Some(cluster), endpoints: Some(assignment) };
    };
    if assignment.endpoints.is_empty() {
        return Compiled { cluster: None, endpoints: None };
    }
    let kind = if one_address { DiscoveryType::LogicalDns } else { DiscoveryType::StrictDns };
    resolve(&mut cluster, kind, context);
    cluster.load_assignment = Some(assignment);
    Compiled { cluster: Some(cluster), endpoints: None }
}

/// Marks a cluster whose TLS somebody asked for with who did, for those who did not expect it. That of the mesh is none of
/// the client's or the server's business.
fn mark_tls(
    settings: &ClientTlsSettings,
    part: Part<'_>,
    rules: Option<&Effective>,
    cluster: &mut Cluster,
) {
    if !matches!(settings.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
        return;
    }
    let place = rules.and_then(|rules| rules.place_of_tls(part.port.number, part.subset_name()));
    let field = match place {
        Some((rule, path)) => {
            format!("DestinationRule {}/{} spec.{path}.mode", rule.namespace, rule.name)
        }
        None => format!(
            "spec.trafficPolicy.tls.mode of a DestinationRule for {} (there is none, and its port {} has no protocol)",
            part.service.host, part.port.number
        ),
    };
    mark::start_tls(&mut cluster.metadata, field);
}

/// A cluster that sends to where the client dialled, whatever is spoken.
#[must_use]
pub fn passthrough(name: &str, context: &Context<'_>) -> Cluster {
    // Istio closes idle connections there sooner than Envoy would: nobody knows who is at the other end.
    let common = CommonOptions {
        idle_timeout: Some(duration(PASSTHROUGH_IDLE)),
        ..CommonOptions::default()
    };
    let http = HttpOptions { as_client: true, common: Some(common), ..HttpOptions::default() };
    let typed_extension_protocol_options = http.written();
    where_dialled(Cluster { typed_extension_protocol_options, ..base(name.to_owned(), context) })
}

/// A cluster that sends requests to the host that they ask for, whichever that is.
#[must_use]
pub fn to_whom_asked(context: &Context<'_>) -> Cluster {
    let http = HttpOptions { as_client: true, ..HttpOptions::default() };
    let cluster = base(names::ALLOW_ANY_DYNAMIC_DNS_CLUSTER.to_owned(), context);
    let typed_extension_protocol_options = http.written();
    asked::cluster(Cluster { typed_extension_protocol_options, ..cluster }, context)
}

/// The cluster of what comes in to a workload: the workload itself, at the address that was dialled or at its loopback
/// address. The limits of the service that leads there hold, as whoever sends has them, too.
#[must_use]
pub fn inbound(entry: &Entry, workload: &Workload, context: &Context<'_>) -> Cluster {
    let mut cluster = base(entry.cluster(), context);
    let mut http = HttpOptions::default();
    let rules = entry.service().and_then(|Local { service, port, .. }| {
        rules(service, context).map(|rules| (rules, port.number))
    });
    let policy = rules.as_ref().map(|(rules, port)| rules.policy_for(*port, None));
    let mut policy = policy.unwrap_or_default();
    policy.connection_pool = entry.pool.as_ref().or(policy.connection_pool);
    if entry.is_described() {
        connection_pool::apply(policy, &mut http, &mut cluster);
        // How senders upgrade what they send is none of the workload's business.
        http.http2 = entry.protocol().is_some_and(Protocol::is_http2);
    }
    http.as_client |= entry.spoken == Spoken::Auto;
    cluster.typed_extension_protocol_options = http.written();
    if let Some(Described::Sidecar(ingress)) = &entry.by {
        return to_workload(cluster, ingress.endpoint(workload), workload, context);
    }
    let loopback = workload.loopbacks().into_iter().next();
    let at_home = entry.port.filter(|_| {
        entry.is_described() && context.options.inbound_policy == InboundPolicy::Localhost
    });
    let at_home = at_home.zip(loopback);
    let endpoint = at_home.map(|(port, loopback)| Address::Socket(loopback.to_string(), port));
    to_workload(cluster, endpoint, workload, context)
}

/// Lets a cluster send to where the workload listens; `None` for where the client dialled. What is sent to another address than
/// the loopback one is told apart from what the workload sends itself.
fn to_workload(
    cluster: Cluster,
    endpoint: Option<Address>,
    workload: &Workload,
    context: &Context<'_>,
) -> Cluster {
    let Some(endpoint) = endpoint else {
        return Cluster { upstream_bind_config: from_sidecar(workload), ..where_dialled(cluster) };
    };
    let redirected = match &endpoint {
        Address::Socket(address, _) => {
            address.parse().is_ok_and(|address: IpAddr| !address.is_loopback())
        }
        Address::Pipe(_) => false,
    };
    let upstream_bind_config = redirected.then(|| from_sidecar(workload)).flatten();
    Cluster { upstream_bind_config, ..at(cluster, endpoint, context) }
}

/// Lets a cluster send to one address.
fn at(cluster: Cluster, address: Address, context: &Context<'_>) -> Cluster {
    let (labels, locality) = (Arc::default(), Locality::unknown());
    let endpoint = Endpoint { address, weight: 1, labels, locality };
    let alone = Preference::of(Policy::default(), context.options);
    let assignment = endpoints::assignment(&cluster.name, alone.grouped([&endpoint].into_iter()));
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(assignment),
        ..cluster
    }
}

/// The addresses from which the sidecar sends to its workload.
fn from_sidecar(workload: &Workload) -> Option<BindConfig> {
    let mut sources = workload.sources().into_iter().map(|address| SocketAddress {
        address: address.to_string(),
        port_specifier: Some(PortSpecifier::PortValue(0)),
        ..SocketAddress::default()
    });
    let source_address = Some(sources.next()?);
    let more =
        |address| ExtraSourceAddress { address: Some(address), ..ExtraSourceAddress::default() };
    let extra_source_addresses = sources.map(more).collect();
    Some(BindConfig { source_address, extra_source_addresses, ..BindConfig::default() })
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
    /// Whether it is what the client speaks.
    pub as_client: bool,
    /// Most streams at a time on a connection of HTTP/2.
    pub max_streams: Option<u32>,
    /// How such a connection is asked whether it is alive.
    pub keepalive: Option<KeepaliveSettings>,
    /// What holds for connections of any version.
    pub common: Option<CommonOptions>,
    /// What else is asked of it.
    pub upstream: Option<UpstreamHttpProtocolOptions>,
    /// The answers that are errors, where these are not those with 5xx.
    pub errors: Option<MatchPredicate>,
}

impl HttpOptions {
    /// The options as a cluster has them; none where they are Envoy's own.
    fn written(self) -> BTreeMap<String, Any> {
        let plain = !self.http2 && !self.as_client;
        let own = self.upstream.is_none() && self.common.is_none() && self.errors.is_none();
        if plain && own {
            return BTreeMap::new();
        }
        let http2 = Http2ProtocolOptions {
            max_concurrent_streams: self.max_streams,
            connection_keepalive: self.keepalive,
            ..Http2ProtocolOptions::default()
        };
        let spoken = if self.as_client {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions::default()),
                http2_protocol_options: Some(http2),
                ..UseDownstreamHttpConfig::default()
            })
        } else {
            let protocol = match self.http2 {
                true => ProtocolConfig::Http2ProtocolOptions(http2),
                false => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
            };
            let explicit = ExplicitHttpConfig { protocol_config: Some(protocol) };
            UpstreamProtocolOptions::ExplicitHttpConfig(explicit)
        };
        let options = HttpProtocolOptions {
            common_http_protocol_options: self.common,
            upstream_http_protocol_options: self.upstream,
            outlier_detection: self
                .errors
                .map(|errors| OutlierOptions { error_matcher: Some(errors) }),
            upstream_protocol_options: Some(spoken),
            ..HttpProtocolOptions::default()
        };
        BTreeMap::from([(HTTP_OPTIONS.to_owned(), any(&options))])
    }
}

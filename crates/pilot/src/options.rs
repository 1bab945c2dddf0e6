//! What a pilot is told about the proxy that it compiles for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tidegate_api::ObjectKey;
use tidegate_api::istio::destination_rule::LocalityLoadBalancerSetting;
use tidegate_api::istio::virtual_service::HttpRetry;
use tidegate_envoy::v3::hcm::http_connection_manager::ForwardClientCertDetails;
use tidegate_xds::Resource;

use crate::model::locality::Locality;
use crate::model::tls::Channel;

/// The proxy and the mesh settings that it lives under.
#[derive(Clone, Debug)]
pub struct Options {
    /// What kind of proxy it is.
    pub proxy: ProxyKind,
    /// Labels of the workload: a Gateway whose selector they satisfy is served by a gateway; a sidecar is the source of
    /// traffic with them.
    pub labels: BTreeMap<String, String>,
    /// `MeshConfig.localityLbSetting`: what holds of localities where a DestinationRule says nothing of them; `None` for
    /// no preference.
    pub locality_setting: Option<LocalityLoadBalancerSetting>,
    /// Namespace of the workload; decides what it sees of objects with `exportTo`.
    pub namespace: String,
    /// `MeshConfig.rootNamespace`: what DestinationRules there export holds where no other does.
    pub root_namespace: String,
    /// Address that servers without `bind` listen on.
    pub address: IpAddr,
    /// Where a gateway's machine is reached: it looks names up in the families of these. A sidecar is told of its workload's.
    pub addresses: Vec<IpAddr>,
    /// The Services in front of the gateway: a Gateway's port is a Service port, and what is listened on is
    /// its target. The first Service that has the port counts; a port that none has is opened as it is.
    pub services: Vec<GatewayService>,
    /// The lowest port that the process may bind; a server below it is not opened, and its status says so.
    pub lowest_port: u16,
    /// Domain of Kubernetes Services.
    pub domain: String,
    /// File of the authorities that the system trusts, which servers are verified by where a DestinationRule names none.
    pub system_roots: Arc<str>,
    /// `MeshConfig.extensionProviders[].sds`: the cluster of the server that has the certificates named `sds://NAME`.
    pub secret_server: Option<Arc<str>>,
    /// Folder with the certificate that the gateway has in the mesh, under Istio's names for its files: what `ISTIO_MUTUAL`
    /// takes.
    pub workload_certificates: Option<Arc<str>>,
    /// Where requests and connections are logged; nowhere when absent.
    pub access_log: Option<AccessLog>,
    /// `MeshConfig.defaultConfig.proxyHeaders.xForwardedHost`: what a rewrite takes out of the Host is kept in
    /// `x-forwarded-host`.
    pub forwarded_host: bool,
    /// `MeshConfig.defaultConfig.gatewayTopology`: what stands in front of a gateway.
    pub topology: Topology,
    /// `MeshConfig.pathNormalization`.
    pub path_normalization: PathNormalization,
    /// `MeshConfig.connectTimeout`.
    pub connect_timeout: Duration,
    /// `MeshConfig.defaultHttpRetryPolicy`: the retries of rules that say nothing of them.
    pub default_retries: Option<HttpRetry>,
    /// `MeshConfig.dnsRefreshRate`: how long a name is kept whose answer says nothing about that.
    pub dns_refresh_rate: Duration,
    /// `MeshConfig.protocolDetectionTimeout`: how long sidecars wait for the first bytes of a client on a port whose protocol nobody
    /// says; a connection on which nothing has come by then is one of TCP. As long as it takes when zero.
    pub detection_timeout: Duration,
    /// `MeshConfig.tlsDefaults`: versions, suites and groups where a server's own settings name none; its suites and
    /// groups also count towards destinations.
    pub tls_defaults: Channel,
    /// What the proxy says of a resource that EnvoyFilters changed.
    pub judge: Judge,
    /// `MeshConfig.trustDomain` and `trustDomainAliases`: a peer of a sidecar in mutual TLS has to be of one of them, and one in an
    /// AuthorizationPolicy stands for all.
    pub trust_domains: Arc<[String]>,
    /// Whether servers that terminate HTTPS take HTTP/3 as well, on UDP beside their TCP port, and tell clients so (`alt-svc`): as
    /// `PILOT_ENABLE_QUIC_LISTENERS` of Istio, off by default. It is for data planes that speak it. Tidegate's own does not, and
    /// refuses these listeners, each of which is a resource of its own (`udp_ADDRESS_PORT`).
    ///
    /// No server is served on weaker terms for it: one that asks clients for certificates, names `ecdhCurves` or leaves out TLS 1.3
    /// stays with TCP ([`Terms::hold_over_quic`](crate::model::tls::Terms::hold_over_quic)). Services in front of the gateway
    /// have to lead UDP to the same ports as TCP, which Istio looks up in them. EnvoyFilters that name a listener mean one of the two.
    pub http3: bool,
    /// `MeshConfig.inboundTrafficPolicy.mode`: where sidecars send what comes in for a port that objects describe.
    pub inbound_policy: InboundPolicy,
    /// `MeshConfig.outboundTrafficPolicy.mode`: where sidecars send what no object describes.
    pub outbound_policy: OutboundPolicy,
    /// Whether the workload asks the sidecar's own DNS proxy for names: hosts of ServiceEntries without an address get one
    /// then (`proxyMetadata.ISTIO_META_DNS_CAPTURE` and `ISTIO_META_DNS_AUTO_ALLOCATE` in Istio).
    pub captures_dns: bool,
    /// Whether such a workload may ask others as well, and dial what they tell: connections to any address are led by their port
    /// alone then, also for hosts that were given an address. Else they are for nobody.
    pub asks_elsewhere: bool,
    /// How connections are led to a sidecar.
    pub interception: Interception,
    /// `Sidecar.outboundTrafficPolicy.egressProxy`: the cluster that this is sent through where it is let out; where it was
    /// dialled when absent.
    pub egress_proxy: Option<Arc<str>>,
    /// The Sidecar that says by `egress` which hosts the workload sees, if one does.
    pub bounded_by: Option<ObjectKey>,
}

/// Whether the proxy would take a resource, or why it would not: a question, nothing comes of it. By itself a pilot
/// knows no more than what the capability table says.
#[derive(Clone, Copy, Debug)]
pub struct Judge(pub fn(&Resource) -> Result<(), String>);

impl Default for Judge {
    fn default() -> Self {
        Self(|_| Ok(()))
    }
}

/// What stands in front of a gateway, and how far it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// `numTrustedProxies`: how many proxies each request has passed that say in `x-forwarded-for` whom they have it from. The
    /// client is whom the first of them names; without any it is the peer, whatever the header says.
    pub trusted_proxies: u32,
    /// `forwardClientCertDetails`: what becomes of what `x-forwarded-client-cert` says.
    pub forward_client_cert: ForwardClientCertDetails,
}

impl Default for Topology {
    /// The gateway is the edge, and tells what certificate a client showed.
    fn default() -> Self {
        Self { trusted_proxies: 0, forward_client_cert: ForwardClientCertDetails::SanitizeSet }
    }
}

/// `pathNormalization.normalization`: in what form paths are matched, judged by policies and sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathNormalization {
    /// `NONE`: as they come.
    None,
    /// `BASE`, and `DEFAULT`: by RFC 3986: without `.` and `..`, and what need not be escaped is not.
    #[default]
    Base,
    /// `MERGE_SLASHES`: and several slashes in a row are one.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: and escaped slashes (`%2F`, `%5C`) are unescaped before.
    DecodeAndMergeSlashes,
}

/// What kind of proxy is compiled for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyKind {
    /// A gateway: what Gateways open, and what is bound to them.
    #[default]
    Gateway,
    /// The proxy beside a workload, which carries what goes out of it and what comes in.
    Sidecar(Workload),
}

/// The workload that a sidecar is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its addresses; the family of the first is the one that wildcards are of.
    pub addresses: Vec<IpAddr>,
}

/// How what comes in is led to a workload's sidecar (Istio's `interceptionMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interception {
    /// By another destination address. The workload sees 127.0.0.6 as its client.
    #[default]
    Redirect,
    /// With addresses as they are. The workload sees its client's own address.
    Tproxy {
        /// The mark of what the sidecar sends to the workload, by which answers find back to the sidecar.
        mark: u32,
    },
}

/// Where traffic goes that no object describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// Nowhere: 502, or the connection is closed.
    #[default]
    RegistryOnly,
    /// Where the client dialled.
    AllowAny,
    /// Requests to the host that they ask for, which the proxy resolves; all else where the client dialled.
    AllowAnyDynamicDns,
}

/// Where what comes in for a port that objects describe goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InboundPolicy {
    /// To the address that the client dialled.
    #[default]
    Passthrough,
    /// To the loopback address.
    Localhost,
}

/// A Service in front of the gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayService {
    /// Full host name of the Service.
    pub host: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// Target port of each Service port.
    pub ports: BTreeMap<u16, u16>,
}

/// The access log: one line per request or connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// File, such as `/dev/stdout`.
    pub path: String,
    /// Envoy's format string, line end included.
    pub format: String,
}

impl AccessLog {
    /// The format of today's Istio, used where mesh config names none.
    pub const ISTIO: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
        %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
        %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% \
        %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
        \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" \
        %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \
        %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

    /// The format of Istio 1.1.
    pub const ISTIO_1_1: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
        %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
        %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
        \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% \
        %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
        %REQUESTED_SERVER_NAME%\n";

    /// The format of Istio 1.0.
    pub const ISTIO_1_0: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
        %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
        %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
        \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";
}

impl Default for Options {
    /// Istio's ingress gateway: labels `istio: ingressgateway` in `istio-system`, every address, no port
    /// mapped, no access log.
    fn default() -> Self {
        Self {
            proxy: ProxyKind::Gateway,
            labels: BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]),
            locality_setting: Some(LocalityLoadBalancerSetting::default()),
            namespace: "istio-system".to_owned(),
            root_namespace: "istio-system".to_owned(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            addresses: Vec::new(),
            services: Vec::new(),
            lowest_port: 1,
            domain: "cluster.local".to_owned(),
            system_roots: "/etc/ssl/certs/ca-certificates.crt".into(),
            secret_server: None,
            workload_certificates: None,
            access_log: None,
            forwarded_host: false,
            topology: Topology::default(),
            path_normalization: PathNormalization::default(),
            connect_timeout: Duration::from_secs(10),
            default_retries: None,
            dns_refresh_rate: Duration::from_secs(60),
            detection_timeout: Duration::ZERO,
            tls_defaults: Channel::default(),
            judge: Judge::default(),
            trust_domains: Arc::new(["cluster.local".to_owned()]),
            http3: false,
            inbound_policy: InboundPolicy::default(),
            outbound_policy: OutboundPolicy::default(),
            captures_dns: false,
            asks_elsewhere: false,
            interception: Interception::default(),
            egress_proxy: None,
            bounded_by: None,
        }
    }
}

impl Options {
    /// Whether the proxy carries all of these labels, as a selector asks.
    #[must_use]
    pub fn carries(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }

    /// Where the proxy runs, as its labels say: endpoints near it come first where outliers are detected.
    #[must_use]
    pub fn locality(&self) -> Arc<Locality> {
        Locality::of_labels(&self.labels)
    }

    /// The workload, where the proxy is its sidecar.
    #[must_use]
    pub fn workload(&self) -> Option<&Workload> {
        match &self.proxy {
            ProxyKind::Gateway => None,
            ProxyKind::Sidecar(workload) => Some(workload),
        }
    }
}

impl Workload {
    /// The address that stands for all of its family.
    #[must_use]
    pub fn wildcard(&self) -> IpAddr {
        match self.addresses.first() {
            Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            Some(IpAddr::V4(_)) | None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// The addresses that it reaches itself at, one of each family that it has.
    #[must_use]
    pub fn loopbacks(&self) -> Vec<IpAddr> {
        self.families(Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into())
    }

    /// The addresses from which its sidecar sends to it, one of each family that it has: what comes from these is not redirected
    /// to the sidecar again, as Istio's rules of iptables have it.
    #[must_use]
    pub fn sources(&self) -> Vec<IpAddr> {
        self.families(Ipv4Addr::new(127, 0, 0, 6).into(), Ipv6Addr::from_bits(6).into())
    }

    fn families(&self, v4: IpAddr, v6: IpAddr) -> Vec<IpAddr> {
        let own = [Some(self.wildcard()), self.other_wildcard()];
        own.into_iter().flatten().map(|own| if own.is_ipv4() { v4 } else { v6 }).collect()
    }

    /// The address that stands for all of the other family, where the workload has one of it.
    #[must_use]
    pub fn other_wildcard(&self) -> Option<IpAddr> {
        let first = self.wildcard();
        let other = self.addresses.iter().find(|address| address.is_ipv4() != first.is_ipv4())?;
        Some(Self { addresses: vec![*other] }.wildcard())
    }
}

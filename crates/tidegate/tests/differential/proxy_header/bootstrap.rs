//! The clusters, each with an origin of its own, and the listeners that lead to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::proxied::{Origin, Speaks};

use crate::bootstrap::{MANAGER, PROTOCOL, ROUTER, address};

const HEADER: &str = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";
const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const PLAIN: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const JWT: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
/// Whom origins with TLS are.
const HOST: &str = "origin.example";

/// What is special about a cluster, whose name begins with the version of its header.
pub struct Kind {
    pub name: &'static str,
    pub speaks: Speaks,
    tls: bool,
    at: IpAddr,
    /// The other fields of its `config`.
    more: &'static str,
}

const fn kind(name: &'static str, speaks: Speaks) -> Kind {
    Kind { name, speaks, tls: false, at: IpAddr::V4(Ipv4Addr::LOCALHOST), more: "{}" }
}

impl Kind {
    const fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    const fn far(self) -> Self {
        Self { at: IpAddr::V6(Ipv6Addr::LOCALHOST), ..self }
    }

    const fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    pub async fn start(&self, ca: &Ca) -> Origin {
        let identity = self.tls.then(|| ca.issue(&[HOST]));
        Origin::start(self.at, self.speaks, identity.as_ref()).await
    }
}

const ADDED: &str = r#"{"added_tlvs": [
    {"type": 5, "value": "YWJj"}, {"type": 224, "value": "AA=="}, {"type": 5, "value": "ZGVm"}]}"#;
const PASSED: &str = r#"{"pass_through_tlvs": {"match_type": "INCLUDE_ALL"}}"#;

pub const KINDS: &[Kind] = &[
    kind("1-http1", Speaks::Http1),
    kind("2-http1", Speaks::Http1),
    kind("1-http2", Speaks::Http2),
    kind("2-http2", Speaks::Http2),
    kind("1-tls", Speaks::Http1).tls(),
    kind("2-tls-http2", Speaks::Http2).tls(),
    kind("2-far", Speaks::Http1).far(),
    kind("1-added", Speaks::Http1).with(ADDED),
    kind("2-added", Speaks::Http1).with(ADDED),
    kind("2-passed", Speaks::Http1).with(PASSED),
    kind("1-bytes", Speaks::Bytes),
    kind("2-bytes", Speaks::Bytes),
    kind("2-bytes-tls", Speaks::Bytes).tls(),
    kind("1-copies", Speaks::Http1),
    kind("1-far-copies", Speaks::Http1).far(),
    kind("2-copies", Speaks::Http1),
    kind("1-keys", Speaks::Http1),
    kind("2-keys", Speaks::Http1),
];

/// Clusters that copies of requests are sent to.
pub const COPIES: [&str; 3] = ["1-copies", "1-far-copies", "2-copies"];

/// Clusters that requests are sent to, by paths that begin with their names.
pub fn requested() -> impl Iterator<Item = &'static Kind> {
    let apart = ["copies", "keys"];
    let is_apart = move |kind: &Kind| apart.iter().any(|end| kind.name.ends_with(end));
    KINDS.iter().filter(move |kind| kind.speaks != Speaks::Bytes && !is_apart(kind))
}

/// Clusters that connections are sent to, with a listener each.
pub fn connected() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| kind.speaks == Speaks::Bytes)
}

fn cluster(kind: &Kind, origin: &Origin, ca: &Ca) -> Value {
    let inner = if kind.tls {
        let trusted = json!({"trusted_ca": {"inline_string": ca.pem()}});
        let context = json!({"@type": TLS, "sni": HOST,
            "common_tls_context": {"validation_context": trusted}});
        json!({"name": "tls", "typed_config": context})
    } else {
        json!({"name": "plain", "typed_config": {"@type": PLAIN}})
    };
    let mut config: Value = serde_json::from_str(kind.more).expect("JSON");
    config["version"] = format!("V{}", &kind.name[..1]).into();
    let endpoint = json!({"endpoint": {"address": address(origin.address)}});
    let mut cluster = json!({
        "name": kind.name, "type": "STATIC",
        "transport_socket": {"name": "header", "typed_config": {
            "@type": HEADER, "config": config, "transport_socket": inner}},
        "load_assignment": {"cluster_name": kind.name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if kind.speaks == Speaks::Http2 {
        let name = PROTOCOL.trim_start_matches("type.googleapis.com/");
        cluster["typed_extension_protocol_options"] = json!({name: {"@type": PROTOCOL,
            "explicit_http_config": {"http2_protocol_options": {}}}});
    }
    cluster
}

fn routes() -> Vec<Value> {
    let retry = json!({"retry_on": "reset", "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"}});
    let copied = |name: &&str| {
        json!({"match": {"path": format!("/copied/{name}")},
            "route": {"cluster": "1-http1", "request_mirror_policies": [{"cluster": name}]}})
    };
    let to = |kind: &Kind| {
        json!({"match": {"path_separated_prefix": format!("/{}", kind.name)},
            "route": {"cluster": kind.name, "retry_policy": retry}})
    };
    COPIES.iter().map(copied).chain(requested().map(to)).collect()
}

/// Fetches keys that nobody asks for.
fn keys() -> Value {
    let provider = |name: &str| {
        json!({"remote_jwks": {
            "http_uri": {"uri": "http://keys.example/", "cluster": name, "timeout": "5s"},
            "async_fetch": {"fast_listener": true}}})
    };
    json!({"name": "jwt", "typed_config": {"@type": JWT,
        "providers": {"1": provider("1-keys"), "2": provider("2-keys")}}})
}

pub fn bootstrap(origins: &[Origin], ca: &Ca) -> Value {
    let manager = json!({"name": "http", "typed_config": {"@type": MANAGER, "stat_prefix": "edge",
        "use_remote_address": false,
        "route_config": {"name": "r", "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": routes()}]},
        "http_filters": [keys(), {"name": "router", "typed_config": {"@type": ROUTER}}]}});
    let listener = |name: &str, at: IpAddr, filter: &Value| {
        json!({"name": name, "address": address((at, 0).into()),
            "filter_chains": [{"filters": [filter]}]})
    };
    let mut listeners = vec![
        listener("4", Ipv4Addr::LOCALHOST.into(), &manager),
        listener("6", Ipv6Addr::LOCALHOST.into(), &manager),
    ];
    for kind in connected() {
        let tcp = json!({"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp", "cluster": kind.name}});
        for (family, at) in
            [("4", IpAddr::from(Ipv4Addr::LOCALHOST)), ("6", Ipv6Addr::LOCALHOST.into())]
        {
            listeners.push(listener(&format!("{}-{family}", kind.name), at, &tcp));
        }
    }
    let clusters = KINDS.iter().zip(origins).map(|(kind, origin)| cluster(kind, origin, ca));
    let clusters: Vec<Value> = clusters.collect();
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
}

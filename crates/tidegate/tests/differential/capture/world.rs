//! The world of captured connections: addresses, rules that redirect, origins, and the bootstrap.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use http::Response;
use serde_json::{Value, json};
use tidegate_testing::tools::Tool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bootstrap::{MANAGER, PROTOCOL, ROUTER, address};

/// Addresses that listeners are for.
pub const KNOWN: [&str; 2] = ["10.77.0.1", "fd77::1"];
/// Addresses of origins.
pub const ORIGINS: [&str; 3] = ["10.77.0.2", "10.77.0.3", "fd77::2"];
/// An address that nobody has.
pub const NOBODY: &str = "10.77.0.9";

/// Where connections with the mark of the same place are redirected to. The others are let through.
pub const ENTRIES: [u16; 3] = [15001, 15006, 15011];
/// Connections to this port are redirected to the first of them, whoever makes them: the proxy as well.
pub const LOOP: u16 = 7000;

/// Origins greet on this port, and on those of listeners that look into connections.
pub const GREETS: u16 = 9000;
/// Origins speak HTTP on this port.
pub const SPEAKS: u16 = 9001;
/// And HTTP/2 on this one.
pub const STREAMS: u16 = 9002;
/// They greet here those that begin with a request: of HTTP/1.0, HTTP/1.1, HTTP/2.
pub const REQUESTS: [(u16, &str); 3] = [(9010, "http/1.0"), (9011, "http/1.1"), (9012, "h2c")];
/// Origins that tell who they were told the client is: of bytes, and over HTTP.
pub const TOLD: [(u16, &str); 2] = [(9020, "told"), (9021, "told-http")];
/// Listeners that look into connections, and wait for it: not for long and then go on, or longer and then close.
pub const PATIENT: u16 = 8081;
pub const STRICT: u16 = 8082;
/// A listener whose chains are told apart by where clients dialled.
pub const NETWORKS: u16 = 8083;

/// Requests to these ports say by a header where they go; by their `Host`, and to another port; a route says it. And connections go to
/// another port than was dialled.
pub const NAMED: [(u16, &str); 4] =
    [(9030, "by-header"), (9031, "by-host"), (9032, "by-route"), (9033, "by-port")];

const HEADER: &str = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";
const PLAIN: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

/// Makes the addresses and the rules of the namespace; `false` where there is no nft, which is told.
pub fn lay_out() -> bool {
    let (Some(nft), Some(ip)) = (Tool::Nft.need(), Tool::Ip.need()) else { return false };
    for own in KNOWN.iter().chain(&ORIGINS) {
        let (family, bits) = if own.contains(':') { ("-6", 128) } else { ("-4", 32) };
        let network = format!("{own}/{bits}");
        let mut add = Command::new(&ip);
        add.args([family, "address", "add", &network, "dev", "lo"]);
        if family == "-6" {
            add.arg("nodad");
        }
        let output = add.output().expect("ip");
        assert!(output.status.success(), "{network}: {output:?}");
    }
    for network in ["10.77.0.0/24", "fd77::/64"] {
        let output = Command::new(&ip).args(["route", "add", network, "dev", "lo"]).output();
        assert!(output.expect("ip").status.success(), "{network}");
    }
    let marked = (1..)
        .zip(ENTRIES)
        .map(|(mark, port)| format!("meta mark {mark} meta l4proto tcp redirect to :{port}\n"));
    let rules = format!(
        "table inet capture {{ chain out {{ type nat hook output priority -100;\n{}\
         tcp dport {LOOP} redirect to :{}\n}}\n}}\n",
        marked.collect::<String>(),
        ENTRIES[0]
    );
    let output = Command::new(nft).arg(rules).output().expect("nft");
    assert!(output.status.success(), "{output:?}");
    true
}

// === origins ===

/// Starts all origins. They tell the address that was dialled.
pub async fn start_origins() {
    for ip in ORIGINS {
        for port in [GREETS, PATIENT, STRICT].into_iter().chain(REQUESTS.map(|(port, _)| port)) {
            tokio::spawn(greet(listen(ip, port).await));
        }
        tokio::spawn(speak(listen(ip, SPEAKS).await));
        tokio::spawn(streams(listen(ip, STREAMS).await));
        for (port, _) in TOLD {
            tokio::spawn(tell(listen(ip, port).await));
        }
    }
}

async fn listen(ip: &str, port: u16) -> TcpListener {
    let ip: IpAddr = ip.parse().expect("an address");
    TcpListener::bind((ip, port)).await.expect("an address of ours")
}

/// Greets at once, and stays until the client goes.
async fn greet(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let own = stream.local_addr().expect("an address");
            let _ = stream.write_all(format!("{own} greets#").as_bytes()).await;
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        });
    }
}

async fn speak(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(answer(stream));
    }
}

/// Answers requests without content.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let own = stream.local_addr().ok()?;
    let body = format!("{own} speaks#");
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut read = Vec::new();
    loop {
        let more = stream.read_buf(&mut read).await.ok()?;
        if more == 0 {
            return None;
        }
        if read.ends_with(b"\r\n\r\n") {
            read.clear();
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

/// Tells what the header says in front of connections, but for the client's port.
async fn tell(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let (mut read, http) = (Vec::new(), stream.local_addr().ok()?.port() == TOLD[1].0);
            let end: &[u8] = if http { b"\r\n\r\n" } else { b"\r\n" };
            while !read.ends_with(end) {
                stream.read_buf(&mut read).await.ok().filter(|more| *more > 0)?;
            }
            let text = String::from_utf8_lossy(&read);
            let words: Vec<&str> = text.lines().next()?.split(' ').collect();
            let [_, family, client, dialled, _, port] = words[..] else { return None };
            let body = format!("{family} {client} to {dialled} {port}#");
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let head = if http { head } else { String::new() };
            stream.write_all((head + &body).as_bytes()).await.ok()
        });
    }
}

async fn streams(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(answer_streams(stream));
    }
}

/// Answers requests over HTTP/2.
async fn answer_streams(stream: TcpStream) -> Option<()> {
    let own = stream.local_addr().ok()?;
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(request) = connection.accept().await {
        let mut content = request.ok()?.1.send_response(Response::new(()), false).ok()?;
        content.send_data(format!("{own} streams").into(), true).ok()?;
    }
    Some(())
}

// === the bootstrap ===

pub fn bootstrap() -> Value {
    let mut clusters = vec![
        json!({"name": "PassthroughCluster", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "2s", "cleanup_interval": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": PROTOCOL,
                    "use_downstream_protocol_config": {"http_protocol_options": {},
                        "http2_protocol_options": {}}}}}),
        json!({"name": "BlackHoleCluster", "type": "STATIC"}),
    ];
    for (_, name) in TOLD {
        let plain = json!({"name": "plain", "typed_config": {"@type": PLAIN}});
        let header =
            json!({"@type": HEADER, "config": {"version": "V1"}, "transport_socket": plain});
        clusters.push(
            json!({"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "2s",
            "transport_socket": {"name": "header", "typed_config": header}}),
        );
    }
    let by_header = json!({"use_http_header": true});
    let by_host = json!({"use_http_header": true, "http_header_name": ":authority",
        "upstream_port_override": SPEAKS});
    let by_port = json!({"upstream_port_override": GREETS});
    for ((_, name), config) in NAMED.into_iter().zip([&by_header, &by_host, &by_header, &by_port]) {
        clusters.push(json!({"name": name, "type": "ORIGINAL_DST", "connect_timeout": "2s",
            "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": config}));
    }
    for (port, name) in REQUESTS {
        let endpoint = json!({"endpoint": {"address": at(ORIGINS[0], port)}});
        clusters.push(json!({"name": name, "type": "STATIC", "load_assignment": {
            "cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}));
    }
    json!({"static_resources": {"listeners": listeners(), "clusters": clusters}})
}

fn listeners() -> Vec<Value> {
    let port = |port: u16| json!({"destination_port": port});
    let entry = |name: &str, place: usize, more: Value| {
        let blackhole = json!({"filter_chain_match": port(ENTRIES[place]), "filters": [carry("BlackHoleCluster")]});
        with(every(name, ENTRIES[place], json!([blackhole, pass()])), more)
    };
    let unbound = json!({"bind_to_port": false});
    let mut all = vec![
        entry("outbound", 0, json!({"use_original_dst": true})),
        // Keeps what it takes, and chooses by where it was dialled.
        with(
            every(
                "inbound",
                ENTRIES[1],
                json!([
                    {"filter_chain_match": port(8080), "filters": [says("inbound 8080", "")]},
                    {"filter_chain_match": {"prefix_ranges": [net("10.77.0.3", 32)]},
                        "filters": [says("inbound of 10.77.0.3", "")]},
                    {"filter_chain_match": {"prefix_ranges": [net("fd77::", 64)]},
                        "filters": [says("inbound of fd77::", "")]},
                    {"filter_chain_match": port(15006), "filters": [carry("BlackHoleCluster")]},
                ]),
            ),
            json!({"listener_filters": [filter("original_dst", "original_dst.v3.OriginalDst")],
                "default_filter_chain": pass()}),
        ),
        // Takes what was dialled to its own port, too: nobody else is to stop a circle.
        with(every("open", ENTRIES[2], json!([pass()])), json!({"use_original_dst": true})),
        with(every("every", 8080, json!([{"filters": [says("every", "")]}])), unbound.clone()),
        with(
            every("http", SPEAKS, json!([{"filters": [says("", "PassthroughCluster")]}])),
            unbound.clone(),
        ),
        with(
            every("streams", STREAMS, json!([{"filters": [says("", "PassthroughCluster")]}])),
            unbound.clone(),
        ),
        with(
            every(
                "networks",
                NETWORKS,
                json!([
                    {"filter_chain_match": {"prefix_ranges": [net("10.77.0.0", 29)]},
                        "filters": [says("10.77.0.0/29", "")]},
                    {"filter_chain_match": {"prefix_ranges": [net("10.77.0.3", 32)]},
                        "filters": [says("10.77.0.3/32", "")]},
                ]),
            ),
            unbound.clone(),
        ),
        with(every("told", TOLD[0].0, json!([{"filters": [carry(TOLD[0].1)]}])), unbound.clone()),
        with(
            every("told-http", TOLD[1].0, json!([{"filters": [says("", TOLD[1].1)]}])),
            unbound.clone(),
        ),
        named(0, &says("", NAMED[0].1)),
        named(1, &says("", NAMED[1].1)),
        named(2, &{
            let mut says = says("", NAMED[2].1);
            let header = json!({"key": "x-envoy-original-dst-host", "value": "10.77.0.3:9001"});
            says["typed_config"]["route_config"]["request_headers_to_add"] =
                json!([{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]);
            says
        }),
        named(3, &carry(NAMED[3].1)),
        looking("patient", PATIENT, "0.3s", true, |protocol| says(protocol, "")),
        looking("strict", STRICT, "2s", false, carry),
    ];
    for ip in KNOWN {
        let own = json!({"name": format!("known {ip}"), "bind_to_port": false,
            "address": at(ip, 8080), "filter_chains": [{"filters": [says("known", "")]}]});
        all.push(own);
    }
    all
}

/// A listener for what says where it goes.
fn named(place: usize, filter: &Value) -> Value {
    let (port, name) = NAMED[place];
    with(every(name, port, json!([{"filters": [filter]}])), json!({"bind_to_port": false}))
}

/// A listener that tells requests and TLS from other bytes.
fn looking(name: &str, port: u16, time: &str, goes_on: bool, serves: fn(&str) -> Value) -> Value {
    let told = |protocol: &str| {
        json!({"filter_chain_match": {"application_protocols": [protocol]},
            "filters": [serves(protocol)]})
    };
    let chains = json!([
        told("http/1.0"), told("http/1.1"), told("h2c"),
        {"filter_chain_match": {"transport_protocol": "tls"}, "filters": [carry("BlackHoleCluster")]},
    ]);
    with(
        every(name, port, chains),
        json!({
            "bind_to_port": false,
            "default_filter_chain": pass(),
            "listener_filters": [
                filter("tls_inspector", "tls_inspector.v3.TlsInspector"),
                filter("http_inspector", "http_inspector.v3.HttpInspector"),
            ],
            "listener_filters_timeout": time,
            "continue_on_listener_filters_timeout": goes_on,
        }),
    )
}

/// A listener for a port of all addresses of both families.
fn every(name: &str, port: u16, chains: Value) -> Value {
    let mut listener = json!({"name": name, "address": at("0.0.0.0", port),
        "additional_addresses": [{"address": at("::", port)}]});
    listener["filter_chains"] = chains;
    listener
}

/// A listener with other fields.
fn with(mut listener: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("fields") };
    for (field, value) in more {
        listener[field] = value;
    }
    listener
}

fn at(ip: &str, port: u16) -> Value {
    address(SocketAddr::new(ip.parse().expect("an address"), port))
}

fn net(ip: &str, bits: u8) -> Value {
    json!({"address_prefix": ip, "prefix_len": bits})
}

fn filter(name: &str, kind: &str) -> Value {
    json!({"name": format!("envoy.filters.listener.{name}"),
        "typed_config": {"@type": format!("{FILTERS}.listener.{kind}")}})
}

fn pass() -> Value {
    json!({"filters": [carry("PassthroughCluster")]})
}

fn carry(cluster: &str) -> Value {
    json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": format!("{FILTERS}.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": cluster, "cluster": cluster}})
}

/// Answers requests with words, or sends them to a cluster.
fn says(words: &str, cluster: &str) -> Value {
    let action = if cluster.is_empty() {
        json!({"match": {"prefix": "/"}, "direct_response": {"status": 200,
            "body": {"inline_string": format!("{words}#")}}})
    } else {
        json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}})
    };
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": MANAGER, "stat_prefix": "http",
        "http_protocol_options": {"accept_http_10": true},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [action]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }})
}

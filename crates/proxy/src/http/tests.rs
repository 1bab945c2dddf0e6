//! The request path with real sockets on both sides: one worker, hand-made routes, origins that behave and
//! origins that do not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_testing::client::{Client, get};
use tidegate_testing::origin::{Origin, Script, echo, stream_back};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::accesslog::{Destination, Format, Logs, Options, Output, ReadOptions, Reader};
use crate::config::listener::{
    Codec, EscapedSlashes, FilterChain, FilterChains, Http2Options, HttpManager, Listener,
    NetworkFilter, RouteSlot, RouteSource, ServerHeader, StripPort,
};
use crate::filter::Overrides;
use crate::route::{
    Action, AppendAction, Direct, Forward, HostChange, HostRewrite, Inherit, Mutation,
    MutationLevel, Mutations, PathMatch, PathRewrite, Route, RouteMatch, RouteTable, Target,
    Template, VirtualHost,
};
use crate::shares::Shares;
use crate::stats::Registry;
use crate::upstream::cluster::{
    Balancing, Cluster, ClusterSlot, Discovery, DnsFamily, DnsPolicy, Endpoint, EndpointSet,
    HttpConnections, Limits, Probe, UpstreamProtocol,
};
use crate::worker::{Fleet, Places};

mod answers;
mod connections;
mod hash;
mod hostile;
mod leave;
mod mirrors;
mod retries;
mod shares;
mod simulation;

/// What tests look at in the log.
const LINE: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% \
                    %RESPONSE_CODE_DETAILS%\n";

/// A proxy with one worker and one plain-text listener.
struct Proxy {
    address: SocketAddr,
    logs: Arc<Logs>,
    format: Arc<Format>,
    registry: Arc<Registry>,
    fleet: Fleet,
}

fn cluster(name: &str, endpoints: &[SocketAddr], protocol: UpstreamProtocol) -> Arc<ClusterSlot> {
    limited(name, endpoints, protocol, Limits::default())
}

fn limited(
    name: &str,
    endpoints: &[SocketAddr],
    protocol: UpstreamProtocol,
    limits: Limits,
) -> Arc<ClusterSlot> {
    balanced(name, endpoints, protocol, limits, Balancing::RoundRobin)
}

fn balanced(
    name: &str,
    endpoints: &[SocketAddr],
    protocol: UpstreamProtocol,
    limits: Limits,
    balancing: Balancing,
) -> Arc<ClusterSlot> {
    let http = HttpConnections {
        protocol: Some(protocol),
        idle_timeout: None,
        max_streams: 100,
        ..HttpConnections::default()
    };
    connecting(name, endpoints, http, limits, balancing)
}

fn connecting(
    name: &str,
    endpoints: &[SocketAddr],
    http: HttpConnections,
    limits: Limits,
    balancing: Balancing,
) -> Arc<ClusterSlot> {
    let endpoints = endpoints.iter().map(|&at| Arc::new(Endpoint::new(at, None, 1))).collect();
    let slot = ClusterSlot::empty(0, name.into());
    slot.store(Some(Arc::new(Cluster {
        name: name.into(),
        stat_name: name.into(),
        discovery: Discovery::Static,
        dns: DnsPolicy {
            family: DnsFamily::Auto,
            refresh: Duration::from_secs(5),
            respect_ttl: false,
        },
        connect_timeout: Duration::from_secs(5),
        sharing: balancing.into(),
        http,
        limits,
        usage: Default::default(),
        buffer_limit: 1 << 20,
        keepalive: None,
        sources: Default::default(),
        proxy_header: None,
        tls: None,
        outlier: None,
        endpoints: ArcSwap::from_pointee(EndpointSet::new(endpoints).arranged(&balancing.into())),
        retired: false.into(),
        following: Default::default(),
    })));
    Arc::new(slot)
}

fn forward(cluster: Arc<ClusterSlot>, timeout: Option<Duration>) -> Action {
    Action::Forward(Box::new(Forward {
        targets: Shares::only(Target {
            cluster,
            request_headers: Mutations::default(),
            response_headers: Mutations::default(),
            host: None,
        }),
        cluster_not_found: 503,
        path: PathRewrite::Keep,
        host: HostRewrite::Keep,
        append_forwarded_host: false,
        timeout,
        idle_timeout: Inherit::Inherited,
        max_grpc_timeout: Inherit::Inherited,
        max_stream_duration: Inherit::Inherited,
        upgrades: Vec::new(),
        hash: Vec::new(),
        retry: None,
        keep: 0,
        rate_limits: Default::default(),
        mirrors: Default::default(),
    }))
}

fn route(prefix: &str, action: Action) -> Arc<Route> {
    Arc::new(Route {
        name: "the-route".into(),
        matcher: RouteMatch {
            path: PathMatch::Prefix(prefix.as_bytes().into()),
            ignore_case: false,
            conditions: Vec::new(),
        },
        action,
        request_headers: Mutations::default(),
        response_headers: Mutations::default(),
        filters: Overrides::default(),
    })
}

fn manager(routes: Vec<Arc<Route>>) -> HttpManager {
    let host = VirtualHost::new("host".into(), vec!["*".into()], routes);
    let (table, taken) =
        RouteTable::default().with(vec![HostChange::Put("host".into(), Arc::new(host))]);
    assert!(taken.is_empty());
    HttpManager {
        filters: Vec::new(),
        forward_cert: Default::default(),
        stat_prefix: "test".into(),
        routes: RouteSource::new(Arc::new(RouteSlot {
            name: "rc".into(),
            table: ArcSwap::from_pointee(table),
        })),
        codec: Codec::Auto,
        server_name: b"tidegate".as_slice().into(),
        server_header: ServerHeader::Overwrite,
        via: Box::default(),
        use_remote_address: true,
        trusted_hops: 0,
        skip_xff_append: false,
        generate_request_id: true,
        preserve_external_request_id: false,
        request_id_in_response: false,
        suppress_envoy_headers: false,
        normalize_path: true,
        merge_slashes: false,
        escaped_slashes: EscapedSlashes::Keep,
        strip_port: StripPort::Keep,
        strip_trailing_dot: false,
        accept_http_10: true,
        max_head: 60 * 1024,
        max_headers: 100,
        max_requests_per_connection: None,
        idle_timeout: None,
        max_connection_duration: None,
        drain_timeout: Duration::from_secs(5),
        max_stream_duration: None,
        stream_idle_timeout: None,
        request_timeout: None,
        request_headers_timeout: None,
        delayed_close_timeout: Duration::from_secs(1),
        upgrades: vec!["websocket".into()],
        h2: Http2Options::default(),
        log: None,
    }
}

/// A listener that may have to look at a connection's first bytes.
fn listener(name: &str, manager: HttpManager, needs_inspection: bool) -> Arc<Listener> {
    let chain = FilterChain {
        rbac: Vec::new(),
        name: "".into(),
        filter: NetworkFilter::Http(Arc::new(manager)),
        tls: None,
        terms: Some(Box::default()),
        denies: false,
        egress_port: None,
        bounded_by: None,
        led_by: None,
        discouraged: false.into(),
    };
    let default = Some(Arc::new(chain));
    Arc::new(Listener {
        name: name.into(),
        address: ([127, 0, 0, 1], 0).into(),
        pipe: None,
        stat_prefix: name.into(),
        chains: FilterChains { default, needs_inspection, ..FilterChains::default() },
        inspect_timeout: None,
        continue_on_inspect_timeout: false,
        more_addresses: Vec::new(),
        capture: crate::config::listener::Capture::default(),
        unseen: crate::config::listener::Unseen::default(),
        buffer_limit: 1 << 20,
        inbound: false,
        log: None,
    })
}

impl Proxy {
    /// Every path goes to one origin.
    async fn to(origin: SocketAddr) -> Self {
        let cluster = cluster("origin", &[origin], UpstreamProtocol::Http1);
        Self::start(manager(vec![route("/", forward(cluster, None))])).await
    }

    async fn start(manager: HttpManager) -> Self {
        Self::start_with(manager, &Places::of_process()).await
    }

    async fn start_with(mut manager: HttpManager, places: &Arc<Places>) -> Self {
        let registry = Registry::new(1);
        let logs = Logs::start(&registry, Options::default()).unwrap();
        let format = Arc::new(Format::text(LINE, false).unwrap());
        let sink = logs.sink(Destination::File("/dev/null".into())).unwrap();
        let output = Output { sink, format: format.clone(), filter: None };
        manager.log = Some(Arc::new(logs.log(vec![output]).unwrap()));
        let mut fleet = Fleet::with_places(&registry, &logs, None, places).unwrap();
        fleet.serve(&listener("listener", manager, false)).unwrap();
        fleet.sync().await;
        let address = fleet.address("listener").expect("it is open");
        Self { address, logs, format, registry, fleet }
    }

    /// The log line of the one request that was made.
    async fn logged(&self) -> String {
        self.lines(&self.format, 1).await.remove(0)
    }

    /// The log's first lines, in a format.
    async fn lines(&self, format: &Arc<Format>, count: usize) -> Vec<String> {
        let options = ReadOptions { follow: true, ..ReadOptions::default() };
        let mut reader: Reader = self.logs.read(format.clone(), options);
        let mut lines = Vec::new();
        for _ in 0..count {
            let line = String::from_utf8(reader.next().await.unwrap().text).unwrap();
            lines.push(line.trim().to_owned());
        }
        lines
    }
}

#[tokio::test]
async fn a_connection_carries_many_requests_on_both_sides() {
    let origin = Origin::start().http(echo).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    for n in 0..20 {
        let answer = client.request(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("server")), (200, Some("tidegate")));
        assert!(answer.text().contains(&format!("/{n}")), "{}", answer.text());
    }
    assert_eq!((origin.requests(), origin.connections()), (20, 1));
}

#[tokio::test]
async fn bodies_pass_in_every_framing() {
    let origin = Origin::start().http(stream_back).await;
    let proxy = Proxy::to(origin.address()).await;
    for size in [0, 1, 8 * 1024, 100_000, 3_000_000] {
        let body = vec![b'x'; size];
        // An answer that begins inside its request ends the connection.
        let mut client = Client::connect(proxy.address).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).await;
        client.send(&body).await;
        assert!(client.response().await.body == body, "{size} by length");
        let mut client = Client::connect(proxy.address).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for piece in body.chunks(50_000) {
            client.send(format!("{:x}\r\n", piece.len())).await;
            client.send(piece).await;
            client.send("\r\n").await;
        }
        client.send("0\r\n\r\n").await;
        assert!(client.response().await.body == body, "{size} in chunks");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().http(echo).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    let requests: String =
        (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests).await;
    for n in 0..5 {
        assert!(client.response().await.text().contains(&format!("/{n}")));
    }
}

#[tokio::test]
async fn what_has_no_body_has_none() {
    let script = Script::new()
        .read_head()
        .send("HTTP/1.1 204 No Content\r\n\r\n")
        .read_head()
        .send("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n")
        .read_head()
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        .read_to_end();
    let origin = Origin::start().script(script).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200)] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = client.read(method == "HEAD").await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on() {
    let origin = Origin::start().http(stream_back).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(client.request(head).await.status, 100);
    let answer = client.request("abc").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"abc"[..]));
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let script = Script::new()
        .read_head()
        .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        .read(4)
        .send("pong")
        .finish()
        .read_to_end();
    let origin = Origin::start().script(script).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    let head = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let answer = client.request(head).await;
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
    assert_eq!(client.read_exact(5).await.unwrap(), b"hello");
    client.send("ping").await;
    assert_eq!(client.read_to_end().await, b"pong");

    let mut client = Client::connect(proxy.address).await;
    let answer = client.request(head.replace("websocket", "other")).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_request_that_turns_out_bad_while_its_answer_is_sent_is_the_clients_fault() {
    let begun = Script::new().read_head().send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    let origin = Origin::start().script(begun.read_to_end()).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let (mut stream, mut answer) = client.into_parts();
    while !answer.ends_with(b"\r\n\r\nabc") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    stream.write_all(b"no size\r\n").await.unwrap();
    let line = proxy.logged().await;
    assert!(line.starts_with("200 DPE 0 3 "), "{line}");
}

#[tokio::test]
async fn a_dead_idle_connection_is_never_the_clients_loss() {
    // The origin answers one request per connection and closes without saying so.
    let script = Script::new().read_head().send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let origin = Origin::start().script(script).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..50 {
        assert_eq!(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    }
    // Nor when the request is not to be sent twice, once the end has come.
    for _ in 0..50 {
        while origin.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(client.request(post).await.status, 200);
    }
    assert_eq!(origin.requests(), 100);
}

#[tokio::test]
async fn a_connection_that_dies_on_its_second_request_is_replaced_once() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::start().script(Script::new().read_head().send(answer).read_head()).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..3 {
        assert_eq!(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    }
    // What is not idempotent is not sent twice (RFC 9110 section 9.2.2).
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.request(post).await.status, 503);
}

#[tokio::test]
async fn an_early_answer_ends_the_connection() {
    let script = Script::new()
        .read_head()
        .send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        .read_to_end();
    let origin = Origin::start().script(script).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nxxx").await;
    let answer = client.response().await;
    assert_eq!((answer.status, &answer.body[..]), (413, &b"no"[..]));
    assert!(client.read_to_end().await.is_empty());
}

/// Bytes of heads and trailers, and all that moved: from and to the client, from and to the endpoint.
const BYTES: &str = "%REQUEST_HEADERS_BYTES% %RESPONSE_HEADERS_BYTES% %RESPONSE_TRAILERS_BYTES% \
                     %DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% \
                     %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_WIRE_BYTES_SENT%\n";

#[tokio::test]
async fn all_bytes_of_an_exchange_are_counted() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n\
                  2\r\nok\r\n0\r\nX-T: rail\r\n\r\n";
    let script = Script::new().read_head().read(3).send(answer);
    let origin = Origin::start().script(script.again()).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    let request = "POST /path HTTP/1.1\r\nHost: a\r\nX-C: d\r\nContent-Length: 3\r\n\r\nabc";
    let last = request.replace("X-C: d", "Connection: close");
    // What comes ahead with another request is not the first one's.
    client.send([request, &last].concat()).await;
    let read = client.read_to_end().await.len();
    let format = Arc::new(Format::text(BYTES, false).unwrap());
    let mut sent = 0;
    for (line, request) in proxy.lines(&format, 2).await.iter().zip([request, &last]) {
        let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let [to, from, trailers, down_in, down_out, up_in, up_out] = numbers[..] else {
            panic!("{line}")
        };
        assert_eq!((trailers, down_in, up_in), ("X-Trail".len(), request.len(), answer.len()));
        // What was said, and what is added on the way.
        assert!(to > ":methodPOST:path/path:authoritya:schemehttp".len(), "{line}");
        assert!(from > ":status200X-Ab".len(), "{line}");
        assert!(up_out > to - ":method:path:authority:schemehttp".len(), "{line}");
        sent += down_out;
    }
    assert_eq!(sent, read);
    assert_eq!(origin.connections(), 1);

    // What is no request is counted as far as it came.
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(client.request(request).await.status, 200);
    assert_eq!(client.request("BAD\r\n\r\n").await.status, 400);
    let line = proxy.lines(&format, 2).await.remove(1);
    assert!(line.starts_with("0 ") && line.contains(" 0 7 ") && line.ends_with(" 0 0"), "{line}");
}

#[tokio::test]
async fn http2_on_either_side() {
    let one = Origin::start().http(stream_back).await;
    let two = Origin::start().http2().http(stream_back).await;
    for (origin, protocol) in
        [(one.address(), UpstreamProtocol::Http1), (two.address(), UpstreamProtocol::Http2)]
    {
        let cluster = cluster("c", &[origin], protocol);
        let proxy = Proxy::start(manager(vec![route("/", forward(cluster, None))])).await;
        let io = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        // Answers wait unread for their turn: the connection's window must hold them all.
        let mut settings = h2::client::Builder::new();
        settings.initial_connection_window_size(1 << 20);
        let (mut client, connection) = settings.handshake::<_, bytes::Bytes>(io).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for n in 0..20u8 {
            let request = http::Request::post("http://a/").body(()).unwrap();
            client = client.ready().await.unwrap();
            let (answer, mut body) = client.send_request(request, false).unwrap();
            body.send_data(vec![n; 10_000].into(), true).unwrap();
            answers.push((n, answer));
        }
        for (n, answer) in answers {
            let mut body = answer.await.unwrap().into_body();
            let mut all = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                body.flow_control().release_capacity(piece.len()).unwrap();
                all.extend_from_slice(&piece);
            }
            assert!(all == vec![n; 10_000]);
        }
        let format = Arc::new(Format::text(BYTES, false).unwrap());
        let line = proxy.lines(&format, 1).await.remove(0);
        assert!(
            line.split(' ')
                .filter(|number| number.parse::<u32>().is_ok_and(|n| n > 10_000))
                .count()
                == 4,
            "{line}"
        );
        let mut client = Client::connect(proxy.address).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(client.request(head).await.text(), "abc");
    }
}

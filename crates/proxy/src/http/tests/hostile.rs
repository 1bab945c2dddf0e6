//! Peers that mean harm, are slow, or go away: what they may cost, and what they must not reach.

use std::future::Future;

use bytes::Bytes;
use tidegate_testing::origin::{Body, Incoming, Request, Response};
use tidegate_testing::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::route::Direct;

const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
const GRANT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MILLIS: Duration = Duration::from_millis(1);

/// What must not take for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("an end")
}

fn direct(size: usize) -> Vec<Arc<Route>> {
    vec![route("/", Action::Direct(Direct::new(200, vec![b'x'; size])))]
}

/// A cluster of one endpoint, changed as the case wants it.
fn cluster_with(
    origin: SocketAddr,
    protocol: UpstreamProtocol,
    change: impl FnOnce(&mut Cluster),
) -> Arc<ClusterSlot> {
    changed(cluster("c", &[origin], protocol), change)
}

fn changed(slot: Arc<ClusterSlot>, change: impl FnOnce(&mut Cluster)) -> Arc<ClusterSlot> {
    let made = slot.load().unwrap();
    slot.store(None);
    let mut made = Arc::into_inner(made).expect("the only reference");
    made.retired = false.into();
    change(&mut made);
    slot.store(Some(Arc::new(made)));
    slot
}

async fn http2(
    proxy: &Proxy,
    settings: &mut h2::client::Builder,
) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let io = TcpStream::connect(proxy.address).await.unwrap();
    let (client, connection) = settings.handshake::<_, Bytes>(io).await.unwrap();
    let connection = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client, connection)
}

fn get2() -> Request<()> {
    Request::get("http://a/").body(()).unwrap()
}

// --- upgrades ---

#[tokio::test]
async fn a_refused_upgrade_leaves_no_connection_for_the_next_request() {
    // It answers at once, and takes whatever comes then for the content that was announced.
    for rest in ["Content-Length: 500\r\n\r\n", "\r\n"] {
        let origin = Origin::start().script(Script::new().read_head().send(OK).read_to_end()).await;
        let proxy = Proxy::to(origin.address()).await;
        let mut one = Client::connect(proxy.address).await;
        assert_eq!(one.request([ASK, rest].concat()).await.status, 200, "{rest}");
        let mut other = Client::connect(proxy.address).await;
        assert_eq!(other.request(GET).await.text(), "ok", "{rest}");
        assert_eq!(origin.connections(), 2, "{rest}");
        assert!(one.read_to_end().await.is_empty(), "the client's connection ends as well");
    }
}

#[tokio::test]
async fn an_upgrades_own_content_goes_before_it() {
    let script = Script::new().read_head().read(4).send(GRANT).read(4).send("pong").read_to_end();
    let origin = Origin::start().script(script).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(format!("{ASK}Content-Length: 4\r\n\r\nbodyping")).await;
    assert_eq!(client.response().await.status, 101);
    assert_eq!(client.read_exact(4).await.unwrap(), b"pong");
}

#[tokio::test]
async fn no_protocol_changes_inside_a_request() {
    let origin = Origin::start().script(Script::new().read_head().send(GRANT).read_to_end()).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(format!("{ASK}Content-Length: 4\r\n\r\nbo")).await;
    assert_eq!(client.response().await.status, 502);
}

#[tokio::test]
async fn the_content_of_a_refused_upgrade_is_no_request() {
    let origin = Origin::start().http(echo).await;
    let cluster = cluster("c", &[origin.address()], UpstreamProtocol::Http1);
    let proxy = Proxy::start(manager(vec![route("/known", forward(cluster, None))])).await;
    let mut client = Client::connect(proxy.address).await;
    let smuggled = "GET /known HTTP/1.1\r\nHost: a\r\n\r\n";
    let announced = smuggled.len() + 1;
    client.send(format!("{ASK}Content-Length: {announced}\r\n\r\n{smuggled}")).await;
    assert_eq!(client.response().await.status, 404);
    assert!(client.read_to_end().await.is_empty());
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_tunnel_outlives_the_routes_time() {
    let script =
        Script::new().read_head().send(GRANT).pause(600 * MILLIS).send("late").read_to_end();
    let origin = Origin::start().script(script).await;
    let cluster = cluster("c", &[origin.address()], UpstreamProtocol::Http1);
    let action = forward(cluster, Some(300 * MILLIS));
    let proxy = Proxy::start(manager(vec![route("/", action)])).await;
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(client.request([ASK, "\r\n"].concat()).await.status, 101);
    assert_eq!(client.read_exact(4).await.unwrap(), b"late");
}

// --- clients ---

#[tokio::test]
async fn an_answer_of_our_own_does_not_wait_for_ever() {
    let mut manager = manager(direct(16 << 20));
    manager.stream_idle_timeout = Some(200 * MILLIS);
    let proxy = Proxy::start(manager).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(GET).await;
    let line = soon(proxy.logged()).await;
    assert!(line.starts_with("200 SI ") && line.ends_with("stream_idle_timeout"), "{line}");
    assert!(client.read(false).await.is_err(), "a cut answer must not look whole");
}

#[tokio::test]
async fn a_closed_window_does_not_hold_an_answer_of_our_own() {
    let mut manager = manager(direct(10));
    manager.stream_idle_timeout = Some(200 * MILLIS);
    let proxy = Proxy::start(manager).await;
    let (mut client, _connection) =
        http2(&proxy, h2::client::Builder::new().initial_window_size(0)).await;
    let (answer, _) = client.send_request(get2(), true).unwrap();
    let mut body = soon(answer).await.unwrap().into_body();
    assert!(soon(body.data()).await.unwrap().unwrap_err().is_reset());
    assert!(soon(proxy.logged()).await.starts_with("200 SI "));
}

#[tokio::test]
async fn a_client_that_ignores_goaway_is_left() {
    let mut manager = manager(direct(2));
    manager.idle_timeout = Some(50 * MILLIS);
    manager.drain_timeout = 50 * MILLIS;
    manager.delayed_close_timeout = 50 * MILLIS;
    let proxy = Proxy::start(manager).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // It reads, and answers nothing: neither the settings nor the ping that goes with GOAWAY.
    soon(async { while client.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {} }).await;
}

#[tokio::test]
async fn a_piece_of_the_preface_is_a_slow_head() {
    let mut manager = manager(direct(2));
    manager.request_headers_timeout = Some(200 * MILLIS);
    let proxy = Proxy::start(manager).await;
    let mut client = Client::connect(proxy.address).await;
    client.send("PRI * HT").await;
    assert_eq!(client.response().await.status, 408);
    assert!(client.read_to_end().await.is_empty());
}

#[tokio::test]
async fn a_stream_whose_client_is_gone_is_logged() {
    let origin = Origin::start().script(Script::new().read_head().read_to_end()).await;
    let proxy = Proxy::to(origin.address()).await;
    let (mut client, connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
    let _answer = client.send_request(get2(), true).unwrap();
    eventually(PATIENCE, || async { origin.requests() == 1 }).await;
    connection.abort();
    let line = soon(proxy.logged()).await;
    assert!(line.starts_with("0 DC "), "{line}");
    let active = || async { proxy.registry.get("http.test.downstream_rq_active") == Some(0) };
    eventually(PATIENCE, active).await;
}

#[tokio::test]
async fn idle_connections_end_with_their_listener() {
    let origin = Origin::start().http(echo).await;
    let mut proxy = Proxy::to(origin.address()).await;
    let mut http1 = Client::connect(proxy.address).await;
    assert_eq!(http1.request(GET).await.status, 200);
    let (mut client, connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
    let answer = soon(client.send_request(get2(), true).unwrap().0).await.unwrap();
    assert!(soon(answer.into_body().data()).await.is_some());
    // For a while a connection that was busy looks by itself. One that never was has to be told.
    let io = TcpStream::connect(proxy.address).await.unwrap();
    let (_client, mut quiet) = h2::client::handshake(io).await.unwrap();
    let mut pings = quiet.ping_pong().unwrap();
    let quiet = tokio::spawn(quiet);
    // The first is answered once the connection waits, the second once its settings are agreed on.
    for _ in 0..2 {
        soon(pings.ping(h2::Ping::opaque())).await.unwrap();
    }
    proxy.fleet.stop(&"listener".into());
    assert!(http1.read_to_end().await.is_empty());
    soon(connection).await.unwrap();
    soon(quiet).await.unwrap().unwrap();
}

#[tokio::test]
async fn heads_may_be_as_large_as_allowed() {
    let mut manager = manager(direct(2));
    manager.max_head = 512 * 1024;
    manager.max_headers = 1000;
    let proxy = Proxy::start(manager).await;
    let mut client = Client::connect(proxy.address).await;
    let head = |size| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size));
    assert_eq!(client.request(head(300_000)).await.status, 200);
    let many = "X: y\r\n".repeat(900);
    assert_eq!(
        client.request(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await.status,
        200
    );
    assert_eq!(client.request(head(600_000)).await.status, 431);
}

#[tokio::test]
async fn no_more_clients_than_there_are_places() {
    let proxy = Proxy::start_with(manager(direct(2)), &Places::new(2)).await;
    let mut one = Client::connect(proxy.address).await;
    assert_eq!(one.request(GET).await.status, 200);
    let mut two = Client::connect(proxy.address).await;
    assert_eq!(two.request(GET).await.status, 200);
    let mut three = Client::connect(proxy.address).await;
    assert!(three.read_to_end().await.is_empty());
    let overflow = "listener.listener.downstream_global_cx_overflow";
    assert_eq!(proxy.registry.get(overflow), Some(1));
    drop(one);
    eventually(PATIENCE, || async {
        let mut next = Client::connect(proxy.address).await;
        next.send(GET).await;
        next.read(false).await.map(|answer| answer.status)
    })
    .await;
}

#[tokio::test]
async fn a_client_that_only_opens_and_resets_streams_is_left() {
    let origin = Origin::start().script(Script::new().read_head().read_to_end()).await;
    let proxy = Proxy::to(origin.address()).await;
    let (mut client, connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
    let mut opened = 0;
    while soon(std::future::poll_fn(|cx| client.poll_ready(cx))).await.is_ok() && opened < 400 {
        let Ok((_answer, mut stream)) = client.send_request(get2(), true) else { break };
        opened += 1;
        let arrived = || async { origin.requests() == opened || connection.is_finished() };
        eventually(PATIENCE, arrived).await;
        stream.send_reset(h2::Reason::CANCEL);
    }
    assert!((250..400).contains(&opened), "{opened}");
    let count = "http.test.downstream_rq_too_many_premature_resets";
    assert_eq!(proxy.registry.get(count), Some(1));
}

#[tokio::test]
async fn bytes_count_from_the_first_to_the_last() {
    let origin = Origin::start().http2().http(echo).await;
    let cluster = cluster("c", &[origin.address()], UpstreamProtocol::Http2);
    let proxy = Proxy::start(manager(vec![route("/", forward(cluster, None))])).await;
    let count = |name: &str| proxy.registry.get(name).unwrap_or_default();
    let mut client = Client::connect(proxy.address).await;
    let answer = client.request(GET).await;
    let size = answer.body.len() as u64;
    let sent =
        || async { Some(count("http.test.downstream_cx_tx_bytes_total")).filter(|n| *n > 0) };
    let sent = eventually(PATIENCE, sent).await;
    assert!(sent > size, "{sent}");
    assert_eq!(count("http.test.downstream_cx_rx_bytes_total"), GET.len() as u64);
    assert!(count("cluster.c.upstream_cx_rx_bytes_total") > size);
    assert!(count("cluster.c.upstream_cx_tx_bytes_total") > 24, "the preface, and more");

    let (mut client, _connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
    let (answer, _) = client.send_request(get2(), true).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
    assert!(count("http.test.downstream_cx_rx_bytes_total") > GET.len() as u64 + 24);
    assert!(count("http.test.downstream_cx_tx_bytes_total") > sent);
}

#[tokio::test]
async fn an_address_is_free_once_its_listener_is_gone() {
    for _ in 0..20 {
        let mut proxy = Proxy::start(manager(direct(2))).await;
        assert_eq!(get(proxy.address, "a", "/").await.status, 200);
        proxy.fleet.stop(&"listener".into());
        proxy.fleet.sync().await;
        std::net::TcpListener::bind(proxy.address).expect("nobody listens there");
    }
}

/// A listener that others hand connections on to has its address for itself, as one that listens has, whichever came first.
#[tokio::test]
async fn an_address_is_one_listeners() {
    let mut proxy = Proxy::start(manager(direct(2))).await;
    let at = |name, address, bound| {
        let mut listener = listener(name, manager(direct(2)), false);
        let own = Arc::get_mut(&mut listener).unwrap();
        own.address = address;
        own.capture.bound = bound;
        listener
    };
    let address = proxy.address;
    let (refused, why) = proxy.fleet.serve(&at("handed on", address, false)).unwrap_err();
    assert_eq!(refused, address.into());
    assert!(why.to_string().contains("the listener listener has it"), "{why}");

    proxy.fleet.stop(&"listener".into());
    proxy.fleet.sync().await;
    proxy.fleet.serve(&at("handed on", address, false)).unwrap();
    let (refused, why) = proxy.fleet.serve(&at("listens", address, true)).unwrap_err();
    assert_eq!(refused, address.into());
    assert!(why.to_string().contains("the listener handed on has it"), "{why}");
}

// --- endpoints ---

#[tokio::test]
async fn who_has_not_said_what_it_wants_is_not_waited_for() {
    let mut proxy = Proxy::start(manager(direct(2))).await;
    proxy.fleet.serve(&listener("looks", manager(direct(2)), true)).unwrap();
    let mut client = Client::connect(proxy.fleet.address("looks").expect("it is open")).await;
    client.send([22]).await;
    let looked_at =
        || async { proxy.registry.get("listener.looks.downstream_pre_cx_active") == Some(1) };
    eventually(PATIENCE, looked_at).await;
    assert!(proxy.fleet.drain(PATIENCE).await);
    assert!(client.read_to_end().await.is_empty());
}

#[tokio::test]
async fn interim_answers_are_bounded() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    let script = Script::new().read_head().send([&interim, OK].concat()).read_to_end();
    let origin = Origin::start().script(script).await;
    let proxy = Proxy::to(origin.address()).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(GET).await;
    let mut interims = 0;
    while client.response().await.status == 102 {
        interims += 1;
    }
    assert!((1..100).contains(&interims), "{interims}");
}

#[tokio::test]
async fn connections_that_are_being_made_count() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let origin = Origin::start();
        let origin = match protocol {
            UpstreamProtocol::Http1 => origin,
            UpstreamProtocol::Http2 => origin.http2(),
        };
        let origin = origin.http(echo).await;
        let slot = cluster_with(origin.address(), protocol, |cluster| {
            cluster.limits.connections = 1;
        });
        let proxy = Proxy::start(manager(vec![route("/", forward(slot, None))])).await;
        let (mut client, _connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
        let answers: Vec<_> =
            (0..30).map(|_| client.send_request(get2(), true).unwrap().0).collect();
        for answer in answers {
            assert_eq!(soon(answer).await.unwrap().status(), 200);
        }
        assert_eq!(origin.connections(), 1, "{protocol:?}");
    }
}

#[tokio::test]
async fn who_finds_the_only_connection_full_waits_for_it() {
    let origin = Origin::start().http2().http(echo).await;
    let slot = cluster_with(origin.address(), UpstreamProtocol::Http2, |cluster| {
        cluster.limits.connections = 1;
        cluster.http.max_streams = 1;
    });
    let proxy = Proxy::start(manager(vec![route("/", forward(slot, None))])).await;
    let (mut client, _connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
    let answers: Vec<_> = (0..30).map(|_| client.send_request(get2(), true).unwrap().0).collect();
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_ends_anywhere_makes_room_for_who_waits() {
    let origins = [
        Origin::start().script(Script::new().read_head().read_to_end()).await,
        Origin::start().script(Script::new().read_head().read_to_end()).await,
    ];
    let slot = cluster("c", &[origins[0].address(), origins[1].address()], UpstreamProtocol::Http1);
    let slot = changed(slot, |cluster| cluster.limits.connections = 2);
    let proxy = Proxy::start(manager(vec![route("/", forward(slot, None))])).await;
    let arrived = || async { origins[0].requests() + origins[1].requests() };
    let mut clients = Vec::new();
    for number in 1..=2 {
        let mut client = Client::connect(proxy.address).await;
        client.send(GET).await;
        clients.push(client);
        eventually(PATIENCE, || async { arrived().await == number }).await;
    }
    // Each endpoint has one; the third request waits at the first of them, whose own goes on.
    let mut third = Client::connect(proxy.address).await;
    third.send(GET).await;
    let waits = || async { proxy.registry.get("cluster.c.upstream_rq_pending_active") == Some(1) };
    eventually(PATIENCE, waits).await;
    drop(clients.pop());
    eventually(PATIENCE, || async { arrived().await == 3 }).await;
}

#[tokio::test]
async fn who_waits_for_a_connection_shares_its_failure() {
    // A queue that is full lets every further attempt wait.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let fill = TcpStream::connect(address).await.unwrap();
    let slot = cluster_with(address, UpstreamProtocol::Http2, |cluster| {
        cluster.connect_timeout = Duration::from_secs(1);
    });
    let proxy = Proxy::start(manager(vec![route("/", forward(slot, None))])).await;
    let (mut client, _connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
    let answers: Vec<_> = (0..8).map(|_| client.send_request(get2(), true).unwrap().0).collect();
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 503);
    }
    // One, unless the machine is so busy that some come after its end.
    let attempts = proxy.registry.get("cluster.c.upstream_cx_total");
    assert!(attempts.is_some_and(|attempts| (1..8).contains(&attempts)), "{attempts:?} attempts");
    drop((full, fill));
}

/// Never answers `/hold`.
async fn hold(request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/hold" => std::future::pending().await,
        _ => echo(request).await,
    }
}

#[tokio::test]
async fn streams_end_with_their_origin_and_their_connection_goes_on() {
    for http2_origin in [false, true] {
        let build = || if http2_origin { Origin::start().http2() } else { Origin::start() };
        let origin = build().http(hold).await;
        let address = origin.address();
        let protocol = if http2_origin { UpstreamProtocol::Http2 } else { UpstreamProtocol::Http1 };
        let action = forward(cluster("c", &[address], protocol), None);
        let proxy = Proxy::start(manager(vec![route("/", action)])).await;
        let (mut client, _connection) = http2(&proxy, &mut h2::client::Builder::new()).await;
        let mut ask = |method: &str, path: &str| {
            let request = Request::builder().method(method);
            let request = request.uri(format!("http://a{path}")).body(()).unwrap();
            client.send_request(request, true).unwrap().0
        };
        let held: Vec<_> =
            (0..8).flat_map(|_| [ask("GET", "/hold"), ask("POST", "/hold")]).collect();
        eventually(PATIENCE, || async { origin.requests() == held.len() }).await;
        origin.kill().await;
        for answer in held {
            let answer = soon(answer).await.unwrap();
            assert_eq!(answer.status(), 503);
        }
        assert_eq!(soon(ask("GET", "/")).await.unwrap().status(), 503, "nobody listens");

        let origin = build().at(address).http(hold).await;
        let answers: Vec<_> = (0..40).flat_map(|_| [ask("GET", "/"), ask("POST", "/")]).collect();
        for answer in answers {
            assert_eq!(soon(answer).await.unwrap().status(), 200);
        }
        assert_eq!(origin.requests(), 80);
    }
}

#[tokio::test]
async fn idle_connections_to_endpoints_close() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let origin = Origin::start();
        let origin = match protocol {
            UpstreamProtocol::Http1 => origin,
            UpstreamProtocol::Http2 => origin.http2(),
        };
        let origin = origin.http(echo).await;
        let slot = cluster_with(origin.address(), protocol, |cluster| {
            cluster.http.idle_timeout = Some(100 * MILLIS);
        });
        let proxy = Proxy::start(manager(vec![route("/", forward(slot, None))])).await;
        assert_eq!(get(proxy.address, "a", "/").await.status, 200);
        eventually(PATIENCE, || async { origin.open_connections() == 0 }).await;
    }
}

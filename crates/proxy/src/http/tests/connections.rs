//! How connections to endpoints are used, and how they end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tidegate_testing::PATIENCE;
use tokio::net::TcpListener;

use super::*;

/// A proxy whose cluster `origin` uses connections so.
async fn using(origin: SocketAddr, http: HttpConnections) -> Proxy {
    let cluster = connecting("origin", &[origin], http, Limits::default(), Balancing::RoundRobin);
    Proxy::start(manager(vec![route("/", forward(cluster, None))])).await
}

#[tokio::test]
async fn an_old_connection_takes_no_further_request() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let origin = Origin::start();
        let origin = if protocol == UpstreamProtocol::Http2 { origin.http2() } else { origin };
        let origin = origin.http(echo).await;
        let max_duration = Some(Duration::from_millis(5));
        let http = HttpConnections { protocol: Some(protocol), max_duration, ..Default::default() };
        let proxy = using(origin.address(), http).await;
        let mut client = Client::connect(proxy.address).await;
        let started = Instant::now();
        let mut sent = 0;
        while origin.connections() < 4 {
            assert!(
                started.elapsed() < PATIENCE,
                "{protocol:?}: {} connections",
                origin.connections()
            );
            let answer = client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(answer.status, 200, "{protocol:?}");
            sent += 1;
        }
        assert_eq!(origin.requests(), sent);
        let reached = proxy.registry.get("cluster.origin.upstream_cx_max_duration_reached");
        assert!(
            reached.is_some_and(|reached| (3..=4).contains(&reached)),
            "{protocol:?}: {reached:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_whose_endpoint_is_silent_ends_with_its_requests() {
    // An empty SETTINGS frame (RFC 9113 section 6.5), and nothing more.
    let script = Script::new().send([0, 0, 0, 4, 0, 0, 0, 0, 0]).read_to_end();
    let origin = Origin::start().script(script).await;
    let span = Duration::from_millis(20);
    let probe = Some(Probe { interval: span, jitter: 0.15, timeout: span });
    let protocol = Some(UpstreamProtocol::Http2);
    let proxy =
        using(origin.address(), HttpConnections { protocol, probe, ..Default::default() }).await;
    let answer = get(proxy.address, "a", "/").await;
    assert_eq!(answer.status, 503);
    assert!(proxy.logged().await.starts_with("503 UC "));
    assert_eq!(proxy.registry.get("cluster.origin.http2.keepalive_timeout"), Some(1));
}

/// An endpoint of HTTP/2 that answers one request on each connection and closes it, with a word of that or without; and how many it has
/// closed.
async fn one_by_one(says_so: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // HEADERS with END_STREAM and END_HEADERS, `:status: 200`; GOAWAY with NO_ERROR (RFC 9113 sections 6.2 and 6.8).
    const ANSWER: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            io.write_all(&SETTINGS).await.unwrap();
            io.read_exact(&mut [0; 24]).await.unwrap();
            let mut frame = [0, 0, 0, u8::MAX, 0, 0, 0, 0, 0];
            // Up to a HEADERS or DATA frame that ends its stream.
            while frame[3] > 1 || frame[4] & 1 == 0 {
                io.read_exact(&mut frame).await.unwrap();
                let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
                io.read_exact(&mut vec![0; length as usize]).await.unwrap();
            }
            let goaway = if says_so { &GOAWAY[..] } else { &[] };
            io.write_all(&[&ANSWER, goaway].concat()).await.unwrap();
            drop(io);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, closed)
}

#[tokio::test]
async fn a_dead_idle_connection_of_http2_is_never_the_clients_loss() {
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    for says_so in [true, false] {
        let (address, closed) = one_by_one(says_so).await;
        let cluster = cluster("origin", &[address], UpstreamProtocol::Http2);
        let proxy = Proxy::start(manager(vec![route("/", forward(cluster, None))])).await;
        let mut client = Client::connect(proxy.address).await;
        // What an endpoint says that it has not looked at may be sent again, whatever it is.
        let at_once = if says_so { [GET, POST] } else { [GET, GET] };
        for request in at_once.repeat(25) {
            assert_eq!(client.request(request).await.status, 200, "{request:?}, {says_so}");
        }
        // Nor is it where the request is not to be sent twice, once the end has come.
        for sent in 50..100 {
            while closed.load(Ordering::SeqCst) < sent {
                tokio::task::yield_now().await;
            }
            assert_eq!(client.request(POST).await.status, 200, "{says_so}");
        }
    }
}

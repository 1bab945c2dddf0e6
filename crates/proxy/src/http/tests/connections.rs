//! How connections to endpoints are used, and how they end.

use std::time::Instant;

use tidegate_testing::PATIENCE;

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

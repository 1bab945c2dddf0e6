//! What may not go out is refused in words where there are any, and listed with the name that the client used.

#[path = "tls/setup.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod setup;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_proxy::admin::State as _;
use tidegate_proxy::egress::{Asked, Denied};
use tidegate_testing::PATIENCE;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use setup::Running;

/// A listener that lets nothing out and has no inspectors, as the one for all ports of a sidecar.
fn config() -> Value {
    let tunnel = "no tunnel to %REQ(:AUTHORITY)%\n";
    let marked = json!({"filter_metadata": {"io.tidegate": {"denies_egress": true, "denies_tunnels": tunnel}}});
    let refuses = json!({"name": "block_all", "match": {"prefix": "/"}, "metadata": marked, "direct_response": {
        "status": 502, "body_format": {"text_format_source": {"inline_string": "no way to %REQ(:AUTHORITY)% (%REQ(X-NONE)%)\n"}}}});
    let known = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let manager = json!({"name": "hcm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hcm",
        "route_config": {"name": "r", "virtual_hosts": [
            {"name": "v", "domains": ["*"], "routes": [refuses]},
            {"name": "known", "domains": ["known.example", "known.example:443"], "routes": [known]},
        ]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }});
    let tcp = json!({"name": "tcp", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "nowhere",
        "cluster": "nowhere",
    }});
    let requests = json!({"transport_protocol": "raw_buffer", "application_protocols": ["http/1.0", "http/1.1", "h2c"]});
    let chains =
        [json!({"filters": [manager], "metadata": marked, "filter_chain_match": requests})];
    let mut bootstrap = setup::bootstrap(&chains, &[json!({"name": "nowhere"})], &[]);
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    listener["listener_filters"] = json!([]);
    listener["default_filter_chain"] = json!({"filters": [tcp], "metadata": marked});
    bootstrap
}

/// The only entry of the list, once it is there so often.
async fn listed(running: &Running, asked: Asked, count: u64) -> Denied {
    let view = running.proxy.view();
    let of = || view.denied().into_iter().find(|denied| denied.asked == asked);
    eventually(PATIENCE, || async {
        match of() {
            Some(denied) if denied.count == count => Ok(()),
            other => Err(format!("{asked:?}: {other:?}")),
        }
    })
    .await;
    of().expect("it is there")
}

/// Whether the proxy closes, having sent nothing.
async fn closes(address: SocketAddr, first: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("it accepts");
    stream.write_all(first).await.expect("it reads");
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time");
    assert!(rest.is_empty(), "{rest:?}");
    // Bytes that nobody read reset the connection.
    assert!(read.is_ok() || read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn requests_are_answered_and_listed_by_their_host() {
    let running = Running::start(&config()).await;
    for _ in 0..2 {
        let mut client = Client::connect(running.address).await;
        let answer = client.request("GET /x HTTP/1.1\r\nHost: WWW.espn.com\r\n\r\n").await;
        assert_eq!((answer.status, &*answer.text()), (502, "no way to WWW.espn.com (-)\n"));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
    }
    let denied = listed(&running, Asked::Http, 2).await;
    assert_eq!(denied.host.as_deref(), Some("www.espn.com"));
    assert_eq!(denied.destination, running.address);
    running.counts("egress.denied_http", 2).await;
    running.counts("egress.unlisted", 0).await;
}

/// It has no path that a prefix could take, also where requests are let out.
#[tokio::test]
async fn a_tunnel_is_refused_in_words_also_to_a_host_that_may_be_asked() {
    let running = Running::start(&config()).await;
    let mut client = Client::connect(running.address).await;
    let answer = client.request("GET / HTTP/1.1\r\nHost: known.example\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    for (number, host) in ["www.espn.com", "known.example"].into_iter().enumerate() {
        let mut client = Client::connect(running.address).await;
        let asked = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
        let answer = client.request(asked).await;
        let told = format!("no tunnel to {host}:443\n");
        assert_eq!((answer.status, &*answer.text()), (502, &*told));
        running.counts("egress.denied_http", number as u64 + 1).await;
    }
    eventually(PATIENCE, || async {
        let listed = running.proxy.view().denied();
        let mut hosts: Vec<_> = listed.iter().map(|denied| denied.host.as_deref()).collect();
        hosts.sort_unstable();
        let both = [Some("known.example"), Some("www.espn.com")];
        if hosts == both { Ok(()) } else { Err(format!("{listed:?}")) }
    })
    .await;
}

#[tokio::test]
async fn tls_is_closed_and_listed_by_its_server_name() {
    let running = Running::start(&config()).await;
    let trusting = Ca::new("nobody").client_config(&[]);
    for name in ["www.espn.com", "192.0.2.1"] {
        let shaken = client::tls(running.address, name, Arc::clone(&trusting)).await;
        assert!(shaken.is_err(), "{name}");
    }
    running.counts("egress.denied_tls", 2).await;
    eventually(PATIENCE, || async {
        let listed = running.proxy.view().denied();
        let mut hosts: Vec<_> = listed.iter().map(|denied| denied.host.as_deref()).collect();
        hosts.sort_unstable();
        if hosts == [None, Some("www.espn.com")] { Ok(()) } else { Err(format!("{listed:?}")) }
    })
    .await;
}

#[tokio::test]
async fn other_connections_are_closed_whether_they_say_something_or_not() {
    let running = Running::start(&config()).await;
    closes(running.address, b"\0\x01what is this").await;
    closes(running.address, b"").await;
    let denied = listed(&running, Asked::Tcp, 2).await;
    assert_eq!((denied.host, denied.destination), (None, running.address));
    running.counts("egress.denied_tcp", 2).await;
}

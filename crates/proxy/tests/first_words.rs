//! Who speaks first, on ports where nobody says what is spoken.

#[path = "tls/setup.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod setup;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testing::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use setup::Running;

/// How long clients are waited for (`SILENCE` in `listener/hear.rs`).
const SILENCE: Duration = Duration::from_millis(20);

/// A listener that looks into connections for as long as that takes, and carries what is no request.
fn config(origin: &TcpListener) -> Value {
    let origin = setup::cluster("origin", origin.local_addr().expect("an address"));
    let tcp = json!({"filters": [{"name": "tcp", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "origin",
    }}]});
    let mut requests = tcp.clone();
    requests["filter_chain_match"] =
        json!({"transport_protocol": "raw_buffer", "application_protocols": ["http/1.1"]});
    let mut bootstrap = setup::bootstrap(&[requests], &[origin], &[]);
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    listener["default_filter_chain"] = tcp;
    listener["listener_filters_timeout"] = "0s".into();
    listener["continue_on_listener_filters_timeout"] = true.into();
    listener["listener_filters"].as_array_mut().expect("filters").push(json!({
        "name": "http_inspector",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"},
    }));
    bootstrap
}

/// Only a machine that is too slow in every one of many rounds could fail it.
#[tokio::test]
async fn a_server_that_spoke_first_is_not_waited_for_again() {
    let origin = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let running = Running::start(&config(&origin)).await;
    tokio::spawn(async move {
        while let Ok((mut io, _)) = origin.accept().await {
            tokio::spawn(async move {
                io.write_all(b"hello").await?;
                io.read(&mut [0; 64]).await
            });
        }
    });
    let greeted = async || {
        let began = Instant::now();
        let mut client = TcpStream::connect(running.address).await.expect("it accepts");
        let mut words = [0; 5];
        timeout(PATIENCE, client.read_exact(&mut words)).await.expect("in time").expect("words");
        assert_eq!(&words, b"hello");
        began.elapsed()
    };
    assert!(greeted().await >= SILENCE, "clients have a moment to begin");
    let mut fastest = greeted().await;
    for _ in 0..50 {
        fastest = fastest.min(greeted().await);
    }
    assert!(fastest < SILENCE, "{fastest:?}");

    // A client that begins has those after it waited for again.
    let mut client = TcpStream::connect(running.address).await.expect("it accepts");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it reads");
    let mut words = [0; 5];
    timeout(PATIENCE, client.read_exact(&mut words)).await.expect("in time").expect("words");
}

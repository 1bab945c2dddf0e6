//! Ten thousand changes of routes through the API, while clients of every kind send requests: none of them fails.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, echo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Api, Gateway, Load, NETWORKING, Progress, WEB, objects};

const CHANGES: usize = 10_000;
/// Clients of the API that change routes at the same time: what is on its way to the disk together, costs one wait.
const WRITERS: usize = 25;
/// Changes of one round: a route comes, changes and goes, and the route that all requests take changes.
const ROUND: usize = 4;

/// The host that is asked for.
pub const HOST: &str = "a.example";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_changes_of_routes_fail_no_request() {
    let origin = Origin::start().http(echo).await;
    let tunnel = tunnel().await;
    let ca = Ca::new("authority");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    set_up(&mut api, origin.address(), tunnel, &ca).await;
    gateway.answers(HOST, "/", 200).await;

    let (http, https, trusting) = (gateway.http, gateway.https, ca.client_config(&["http/1.1"]));
    let (kept, fresh) = (Arc::clone(&trusting), trusting);
    let loads = [
        ("HTTP/1", Load::of(2, http, GET, 200)),
        ("HTTP/2", Load::run(2, move |progress| http2(http, progress))),
        ("TLS", Load::run(2, move |progress| tls(https, Arc::clone(&kept), progress))),
        (
            "handshakes",
            Load::run(1, move |progress| handshakes(https, Arc::clone(&fresh), progress)),
        ),
        ("WebSocket", Load::run(2, move |progress| websocket(http, progress))),
    ];
    for (_, load) in &loads {
        load.flows(20).await;
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let api = Api::of(&gateway).await;
        writers.spawn(change(api, writer, CHANGES / ROUND / WRITERS));
    }
    let changes: usize = writers.join_all().await.into_iter().sum();
    assert_eq!(changes, CHANGES);

    // The last of them are served, and requests flow on. The API has closed a connection that was idle for so long.
    let mut api = Api::of(&gateway).await;
    api.wait_for(&format!("{NETWORKING}/virtualservices/a"), &[("Programmed", "True")]).await;
    for (_, load) in &loads {
        load.flows(20).await;
    }
    let list = api.send("GET", &format!("{NETWORKING}/virtualservices"), "").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "what came has gone");
    for (name, load) in loads {
        assert_eq!(load.stop().await, Vec::<String>::new(), "{name}");
    }
}

/// One host over plain text and TLS, and one whose connections become tunnels.
async fn set_up(api: &mut Api, origin: SocketAddr, tunnel: SocketAddr, ca: &Ca) {
    api.create_secret(&objects::certificate("certificate", &ca.issue(&[HOST]))).await;
    let mut web = objects::gateway("web", 80, &["*"]);
    let tls = json!({ "mode": "SIMPLE", "credentialName": "certificate" });
    let servers = web["spec"]["servers"].as_array_mut().expect("servers");
    servers.push(objects::https("https", HOST, &tls));
    api.create("gateways", &web).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin)).await;
    api.create("serviceentries", &objects::host("t", "t.internal", tunnel)).await;
    api.create("virtualservices", &objects::route("t", "web", "t.example", "t.internal")).await;
    api.create("virtualservices", &objects::route("a", "web", HOST, "a.internal")).await;
    for name in ["a", "t"] {
        let path = format!("{NETWORKING}/virtualservices/{name}");
        api.wait_for(&path, &[("Programmed", "True")]).await;
    }
    api.wait_for(WEB, &[("Programmed", "True")]).await;
}

/// Changes routes; how often.
async fn change(mut api: Api, writer: usize, rounds: usize) -> usize {
    let all = format!("{NETWORKING}/virtualservices");
    let loaded = format!("{all}/a");
    let mut changes = 0;
    for round in 0..rounds {
        let name = format!("w{writer}-{round}");
        let (host, own) = (format!("{name}.example"), format!("{all}/{name}"));
        let route = objects::route(&name, "web", &host, "a.internal");
        api.send("POST", &all, &route.to_string()).await;
        // Its rules, its hosts, and with them the virtual host that requests are under way in.
        let rule = rule(&json!([{ "uri": { "prefix": "/" }, "withoutHeaders": { &name: {} } }]));
        let hosts = json!([HOST, format!("w{writer}.{}.example", round % 3)]);
        api.change(&loaded, &json!({ "hosts": hosts, "http": [rule] })).await;
        let exact = self::rule(&json!([{ "uri": { "exact": "/x" } }]));
        api.change(&own, &json!({ "http": [exact] })).await;
        api.send("DELETE", &own, "").await;
        changes += ROUND;
    }
    changes
}

fn rule(matches: &Value) -> Value {
    let destination = json!({ "host": "a.internal", "port": { "number": 80 } });
    json!({ "match": matches, "route": [{ "destination": destination }] })
}

/// An origin whose connections send back what comes, once they are upgraded.
async fn tunnel() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
                        return;
                    }
                }
                let upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                if stream.write_all(upgrade.as_bytes()).await.is_ok() {
                    let (mut read, mut write) = stream.split();
                    // It ends with the client.
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }
            });
        }
    });
    address
}

async fn http2(address: SocketAddr, progress: Arc<Progress>) -> Vec<String> {
    streams(TcpStream::connect(address).await.expect("a connection"), progress).await
}

/// HTTP/2 on a connection that has to stay open, one stream after the other.
pub async fn streams(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    progress: Arc<Progress>,
) -> Vec<String> {
    let (mut send, connection) = h2::client::handshake(stream).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut faults = Vec::new();
    while progress.goes_on() {
        match get(&mut send).await {
            Ok(200) => progress.answered(),
            Ok(status) => faults.push(status.to_string()),
            Err(error) => {
                faults.push(error.to_string());
                break;
            }
        }
    }
    connection.abort();
    faults
}

async fn get(send: &mut h2::client::SendRequest<Bytes>) -> Result<u16, h2::Error> {
    std::future::poll_fn(|cx| send.poll_ready(cx)).await?;
    let request = http::Request::get("http://a.example/").body(()).expect("a request");
    let answer = send.send_request(request, true)?.0.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    Ok(status)
}

/// Requests on one TLS connection, which has to stay open.
pub async fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    progress: Arc<Progress>,
) -> Vec<String> {
    let stream = client::tls(address, HOST, config).await.expect("a handshake");
    let mut client = Client::over(stream);
    let mut faults = Vec::new();
    while progress.goes_on() {
        client.send(GET).await;
        match client.read(false).await {
            Ok(answer) if answer.status == 200 => progress.answered(),
            Ok(answer) => faults.push(answer.text()),
            Err(error) => {
                faults.push(error.to_string());
                break;
            }
        }
    }
    faults
}

/// A TLS connection for each request.
pub async fn handshakes(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    progress: Arc<Progress>,
) -> Vec<String> {
    let mut faults = Vec::new();
    while progress.goes_on() {
        let answered = async {
            let mut client = Client::over(client::tls(address, HOST, Arc::clone(&config)).await?);
            client.send(GET).await;
            client.read(false).await
        };
        match answered.await {
            Ok(answer) if answer.status == 200 => progress.answered(),
            Ok(answer) => faults.push(answer.text()),
            Err(error) => faults.push(error.to_string()),
        }
    }
    faults
}

/// One tunnel, through which bytes go to and fro.
async fn websocket(address: SocketAddr, progress: Arc<Progress>) -> Vec<String> {
    let mut client = Client::connect(address).await;
    let upgrade = "GET /chat HTTP/1.1\r\nHost: t.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = client.request(upgrade).await;
    if answer.status != 101 {
        return vec![answer.text()];
    }
    while progress.goes_on() {
        client.send("ping").await;
        match client.read_exact(4).await {
            Ok(told) if told == b"ping" => progress.answered(),
            told => return vec![format!("{told:?}")],
        }
    }
    Vec::new()
}

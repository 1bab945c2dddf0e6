//! Captured connections through Envoy and through us: who serves one that was dialled elsewhere, what is found out about it
//! before, and where it goes when nobody describes that. In a network namespace, with real redirects.

mod world;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_testing::client;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually, namespace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::sides::Side;
use world::{
    ENTRIES, GREETS, KNOWN, LOOP, NAMED, NETWORKS, NOBODY, ORIGINS, PATIENT, SPEAKS, STREAMS,
    STRICT, TOLD,
};

/// What begins a connection of HTTP/2, with settings.
const BEGINS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// What both sides count alike.
const COUNTED: &[&str] = &[
    "cluster.BlackHoleCluster.upstream_cx_none_healthy",
    "cluster.PassthroughCluster.upstream_cx_connect_fail",
    "cluster.PassthroughCluster.upstream_cx_http1_total",
    "cluster.PassthroughCluster.upstream_cx_http2_total",
    "cluster.PassthroughCluster.upstream_cx_total",
    "cluster.PassthroughCluster.upstream_rq_200",
    "cluster.PassthroughCluster.upstream_rq_503",
    "cluster.by-header.original_dst_host_invalid",
    "cluster.by-host.original_dst_host_invalid",
    "http_inspector.http10_found",
    "http_inspector.http11_found",
    "http_inspector.http2_found",
    "http_inspector.http_not_found",
    "listener.0.0.0.0_15001.downstream_cx_total",
    "listener.0.0.0.0_15006.downstream_cx_total",
    "listener.0.0.0.0_8080.downstream_cx_total",
    "listener.0.0.0.0_8081.downstream_cx_total",
    "listener.0.0.0.0_8081.downstream_pre_cx_timeout",
    "listener.0.0.0.0_8082.downstream_pre_cx_timeout",
    "listener.0.0.0.0_8083.no_filter_chain_match",
    "listener.0.0.0.0_9001.downstream_cx_total",
    "listener.10.77.0.1_8080.downstream_cx_total",
    "tls_inspector.tls_found",
    "tls_inspector.tls_not_found",
];
const TO_ANOTHER: &[u8] =
    b"GET / HTTP/1.1\r\nHost: any\r\nX-Envoy-Original-Dst-Host: 10.77.0.3:9001\r\nConnection: close\r\n\r\n";
const TO_ANOTHER_IN_IPV6: &[u8] =
    b"GET / HTTP/1.1\r\nHost: any\r\nX-Envoy-Original-Dst-Host: [fd77::2]:9001\r\nConnection: close\r\n\r\n";
const TO_NOBODY: &[u8] =
    b"GET / HTTP/1.1\r\nHost: any\r\nX-Envoy-Original-Dst-Host: 10.77.0.3\r\nConnection: close\r\n\r\n";
const BY_HOST: &[u8] = b"GET / HTTP/1.1\r\nHost: 10.77.0.3:1\r\nConnection: close\r\n\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n";

/// One connection.
#[derive(Clone)]
struct Case {
    to: SocketAddr,
    /// Which redirect takes it, from 1; 0 for none.
    mark: u32,
    says: Vec<u8>,
    /// What it gets: the status and the content of an answer, bytes, or its end.
    wanted: &'static str,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = String::from_utf8_lossy(&self.says[..self.says.len().min(40)]);
        write!(f, "{}, redirect {}, {says:?}, wants {}", self.to, self.mark, self.wanted)
    }
}

fn case(to: (&str, u16), mark: u32, says: &[u8], wanted: &'static str) -> Case {
    let to = SocketAddr::new(to.0.parse().expect("an address"), to.1);
    Case { to, mark, says: says.to_vec(), wanted }
}

fn cases() -> Vec<Case> {
    let mut all = vec![
        // Listeners of an address, and those of every address.
        case((KNOWN[0], 8080), 1, REQUEST, "200 known"),
        case((KNOWN[1], 8080), 1, REQUEST, "200 known"),
        case((ORIGINS[0], 8080), 1, REQUEST, "200 every"),
        case((ORIGINS[2], 8080), 1, REQUEST, "200 every"),
        case((NOBODY, 8080), 1, REQUEST, "200 every"),
        case(("10.77.0.4", NETWORKS), 1, REQUEST, "200 10.77.0.0/29"),
        case(("10.77.0.3", NETWORKS), 1, REQUEST, "200 10.77.0.3/32"),
        case(("10.77.0.8", NETWORKS), 1, REQUEST, "closed"),
        // To where they were dialled.
        case((ORIGINS[0], GREETS), 1, b"", "10.77.0.2:9000 greets"),
        case((ORIGINS[1], GREETS), 1, b"x", "10.77.0.3:9000 greets"),
        case((ORIGINS[2], GREETS), 1, b"", "[fd77::2]:9000 greets"),
        case((ORIGINS[0], 9999), 1, b"", "closed"),
        case((ORIGINS[0], SPEAKS), 1, REQUEST, "200 10.77.0.2:9001 speaks"),
        case((ORIGINS[1], SPEAKS), 1, REQUEST, "200 10.77.0.3:9001 speaks"),
        case((ORIGINS[2], SPEAKS), 1, REQUEST, "200 [fd77::2]:9001 speaks"),
        case((KNOWN[0], SPEAKS), 1, REQUEST, "503"),
        case((ORIGINS[0], STREAMS), 1, b"", "200 10.77.0.2:9002 streams"),
        case((ORIGINS[2], STREAMS), 1, b"", "200 [fd77::2]:9002 streams"),
        // So, with a header that says who dialled what.
        case((ORIGINS[0], TOLD[0].0), 1, b"", "TCP4 10.77.0.2 to 10.77.0.2 9020"),
        case((ORIGINS[2], TOLD[0].0), 1, b"", "TCP6 fd77::2 to fd77::2 9020"),
        case((ORIGINS[0], TOLD[1].0), 1, REQUEST, "200 TCP4 10.77.0.2 to 10.77.0.2 9021"),
        case((ORIGINS[1], TOLD[1].0), 1, REQUEST, "200 TCP4 10.77.0.3 to 10.77.0.3 9021"),
        // To where they say themselves, else to where they were dialled.
        case((ORIGINS[0], NAMED[0].0), 1, TO_ANOTHER, "200 10.77.0.3:9001 speaks"),
        case((ORIGINS[0], NAMED[0].0), 1, TO_ANOTHER_IN_IPV6, "200 [fd77::2]:9001 speaks"),
        case((ORIGINS[0], NAMED[0].0), 1, REQUEST, "503"),
        case((ORIGINS[0], NAMED[0].0), 1, TO_NOBODY, "503"),
        case((ORIGINS[0], NAMED[1].0), 1, BY_HOST, "200 10.77.0.3:9001 speaks"),
        case((ORIGINS[0], NAMED[1].0), 1, REQUEST, "200 10.77.0.2:9001 speaks"),
        case((ORIGINS[0], NAMED[2].0), 1, REQUEST, "200 10.77.0.3:9001 speaks"),
        case((ORIGINS[0], NAMED[2].0), 1, TO_ANOTHER_IN_IPV6, "200 10.77.0.3:9001 speaks"),
        case((ORIGINS[1], NAMED[3].0), 1, b"", "10.77.0.3:9000 greets"),
        // A listener that keeps what it takes.
        case((ORIGINS[0], 8080), 2, REQUEST, "200 inbound 8080"),
        case((ORIGINS[1], 1234), 2, REQUEST, "200 inbound of 10.77.0.3"),
        case((ORIGINS[2], 1234), 2, REQUEST, "200 inbound of fd77::"),
        case((ORIGINS[0], GREETS), 2, b"", "10.77.0.2:9000 greets"),
        case((ORIGINS[0], 15006), 2, b"", "closed"),
        // The ports themselves.
        case((KNOWN[0], ENTRIES[0]), 1, b"", "closed"),
        case((KNOWN[0], ENTRIES[0]), 0, b"", "closed"),
        case((KNOWN[1], ENTRIES[0]), 0, b"", "closed"),
        // Not captured, not handed on, and not to where it was dialled.
        case((KNOWN[0], ENTRIES[1]), 0, REQUEST, "closed"),
        // Those who speak first are looked into until the time is over.
        case((ORIGINS[0], PATIENT), 1, b"", "10.77.0.2:8081 greets"),
        case((ORIGINS[2], PATIENT), 1, b"", "[fd77::2]:8081 greets"),
        case((ORIGINS[0], PATIENT), 1, b"GET /", "10.77.0.2:8081 greets"),
        case((ORIGINS[0], PATIENT), 1, REQUEST, "200 http/1.1"),
        case((ORIGINS[0], PATIENT), 1, b"GET / HTTP/1.0\r\nHost: any\r\n\r\n", "200 http/1.0"),
        case((ORIGINS[0], PATIENT), 1, BEGINS, "h2"),
        case((ORIGINS[0], STRICT), 1, b"", "closed"),
    ];
    all.extend(openings().into_iter().map(|(says, wanted)| {
        let to = (ORIGINS[0], STRICT);
        case(to, 1, &says, wanted)
    }));
    all
}

/// What the listener that waits takes for a request, or for something else.
fn openings() -> Vec<(Vec<u8>, &'static str)> {
    const OTHER: &str = "10.77.0.2:8082 greets";
    const HTTP10: &str = "10.77.0.2:9010 greets";
    const HTTP11: &str = "10.77.0.2:9011 greets";
    const HTTP2: &str = "10.77.0.2:9012 greets";
    let list: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\n", HTTP11),
        (b"GET / HTTP/1.1\nHost: any\n\n", HTTP11),
        (b"GET http://any/ HTTP/1.1\r\n", HTTP11),
        (b"OPTIONS * HTTP/1.1\r\n", HTTP11),
        (b"CONNECT any:443 HTTP/1.1\r\n", HTTP11),
        (b"FOO / HTTP/1.1\r\n", HTTP11),
        (b"get / HTTP/1.1\r\n", HTTP11),
        (b"GET  / HTTP/1.1\r\n", HTTP11),
        (b"GET / HTTP/1.1 \r\n", HTTP11),
        (b"GET / HTTP/1.0\r\n", HTTP10),
        (b"GET / HTTP/0.9\r\n", HTTP10),
        (b"GET / HTTP/2.0\r\n", HTTP10),
        (b"GET /\r\n", HTTP10),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", HTTP10),
        (BEGINS, HTTP2),
        (b"\r\nGET / HTTP/1.1\r\n", OTHER),
        (b" GET / HTTP/1.1\r\n", OTHER),
        (b"GET / x HTTP/1.1\r\n", OTHER),
        (b"get / http/1.1\r\n", OTHER),
        (b"GET / FTP/1.1\r\n", OTHER),
        (b"GET / HTTP/1.12\r\n", OTHER),
        (b"GET any HTTP/1.1\r\n", OTHER),
        (b"hello\r\n", OTHER),
        (b"hello world\r\n", OTHER),
        (b"HELO there HTTP\n", OTHER),
        (b"SSH-2.0-x\r\n", OTHER),
        (b"G\0T / HTTP/1.1\r\n", OTHER),
        (b"{\"a\": 1}", OTHER),
        (b"\xff\xfe\xfd\xfc\xfb\xfa\n", OTHER),
        // TLS, but no ClientHello that anybody could read.
        (b"\x16\x03\x01\0\x05\x02\0\0\x01\0", OTHER),
    ];
    let mut all: Vec<_> = list.iter().map(|(says, wanted)| (says.to_vec(), *wanted)).collect();
    let line = |len: usize| {
        let mut line = b"GET /".to_vec();
        line.resize(len, b'a');
        line
    };
    // Of what is longer than its first buffer, of 8 KiB, Envoy never sees the end.
    all.push(([line(8000), b" HTTP/1.1\r\n".to_vec()].concat(), HTTP11));
    all
}

/// Openings of which the listener that waits has to see more, until its time is over. They are played here alone: Envoy waits,
/// too, and at times takes them for something else all the same.
fn beginnings() -> Vec<Case> {
    let to = (ORIGINS[0], STRICT);
    let says: [&[u8]; 3] = [b"GET / HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM", b"hello"];
    says.into_iter().map(|says| case(to, 1, says, "closed")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captured_connections_are_served_as_by_envoy() {
    let Some(envoy) = Tool::Envoy.need() else { return };
    if Tool::Nft.need().is_none() || !namespace::inside() || !world::lay_out() {
        return;
    }
    world::start_origins().await;
    let (bootstrap, cases) = (world::bootstrap(), cases());
    // One after the other: both take the same ports.
    let envoy = Side::envoy(&envoy, &bootstrap).await;
    let theirs = look(&envoy, &cases).await;
    envoy.process.kill().await;
    let tidegate = Side::tidegate(&bootstrap).await;
    let ours = look(&tidegate, &cases).await;
    let mut report = String::new();
    for (case, (theirs, ours)) in cases.iter().zip(theirs.0.iter().zip(&ours.0)) {
        if theirs != case.wanted || ours != case.wanted {
            let _ = writeln!(report, "{case}: {theirs} by Envoy, {ours} by us");
        }
    }
    assert!(report.is_empty(), "{} cases\n{report}", cases.len());
    assert_eq!(theirs.1, ours.1);
    assert_eq!(play(&beginnings()).await, ["closed"; 3]);
}

/// Connections that would go round for ever: by Envoy, until it has as many as the cluster may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circles_are_broken_and_addresses_are_forgotten() {
    if Tool::Nft.need().is_none() || !namespace::inside() || !world::lay_out() {
        return;
    }
    world::start_origins().await;
    let side = Side::telling("warn", &world::bootstrap()).await;
    let themselves = [
        // Redirected to a listener, and dialled to it: what is dialled there then is not redirected.
        case((KNOWN[0], ENTRIES[2]), 3, b"", "closed"),
        case((KNOWN[1], ENTRIES[2]), 3, b"", "closed"),
        case((KNOWN[0], ENTRIES[2]), 0, b"", "closed"),
        case((KNOWN[1], ENTRIES[2]), 0, b"", "closed"),
    ];
    assert_eq!(play(&themselves).await, ["closed"; 4]);
    side.process.stderr().containing("nothing redirected that connection").await;
    let count = async |name: &str| {
        let all = client::get(side.admin, "127.0.0.1", "/stats").await.text();
        let line = all.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or_else(|| panic!("{name}: {all}"))
    };
    assert_eq!(count("cluster.PassthroughCluster.upstream_cx_none_healthy").await, 4);
    assert_eq!(count("cluster.PassthroughCluster.upstream_cx_total").await, 2);
    // Whatever is dialled to this port is redirected, by whomever.
    let [round] = &play(&[case((ORIGINS[0], LOOP), 0, b"", "closed")]).await[..] else { panic!() };
    assert_eq!(round, "closed");
    side.process.stderr().containing("goes in a circle").await;
    assert_eq!(count("listener.0.0.0.0_15001.downstream_cx_circle").await, 1);
    assert_eq!(count("cluster.PassthroughCluster.upstream_cx_total").await, 2 + 3);

    let clusters = async || client::get(side.admin, "127.0.0.1", "/clusters").await.text();
    let open = "PassthroughCluster::10.77.0.2:9000::cx_active::1\n";
    let mut held = dial(case((ORIGINS[0], GREETS), 1, b"", "").to, 1).await.expect("a connection");
    assert!(held.read(&mut [0; 64]).await.is_ok_and(|read| read > 0));
    assert!(clusters().await.contains(open));
    assert!(count("cluster.PassthroughCluster.membership_total").await >= 1);
    drop(held);
    eventually(PATIENCE, async || {
        let none = count("cluster.PassthroughCluster.membership_total").await == 0;
        none && !clusters().await.contains("PassthroughCluster::10.77")
    })
    .await;
}

/// What all connections get at one side, and what it counts.
async fn look(side: &Side, cases: &[Case]) -> (Vec<String>, Vec<String>) {
    let got = play(cases).await;
    let counted = || async {
        let all = client::get(side.admin, "127.0.0.1", "/stats").await.text();
        let counted = COUNTED.iter().map(|name| {
            let line = all.lines().find(|line| line.split(": ").next() == Some(name));
            line.map_or_else(|| format!("{name} is not there"), str::to_owned)
        });
        let counted: Vec<_> = counted.collect();
        counted
    };
    // Connections end after their clients have.
    let mut before = counted().await;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = counted().await;
        if now == before {
            return (got, now);
        }
        before = now;
    }
}

/// What each of the connections gets, all at the same time.
async fn play(cases: &[Case]) -> Vec<String> {
    let mut running = JoinSet::new();
    for (place, case) in cases.iter().cloned().enumerate() {
        running.spawn(async move { (place, run(&case).await) });
    }
    let mut all = vec![String::new(); cases.len()];
    while let Some(done) = running.join_next().await {
        let (place, got) = done.expect("a connection's task");
        all[place] = got;
    }
    all
}

async fn run(case: &Case) -> String {
    let Ok(mut stream) = dial(case.to, case.mark).await else { return "refused".to_owned() };
    if case.to.port() == STREAMS {
        let answer = timeout(PATIENCE, over_http2(stream)).await.expect("an answer");
        return answer.unwrap_or_else(|error| error.to_string());
    }
    // One that is closed at once may be so before it has said anything.
    let _ = stream.write_all(&case.says).await;
    let mut got = Vec::new();
    let reading = async {
        while !is_whole(&got) && stream.read_buf(&mut got).await.is_ok_and(|read| read > 0) {}
    };
    if timeout(PATIENCE, reading).await.is_err() {
        return format!("nothing more after {:?}", String::from_utf8_lossy(&got));
    }
    told(&got)
}

/// The answer to a request over HTTP/2.
async fn over_http2(stream: TcpStream) -> Result<String, h2::Error> {
    let (client, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("http://any/").body(()).expect("a request");
    let response = client.ready().await?.send_request(request, true)?.0.await?;
    let (status, mut body) = (response.status(), response.into_body());
    let mut content = Vec::new();
    while let Some(data) = body.data().await {
        content.extend_from_slice(&data?);
    }
    connection.abort();
    Ok(format!("{} {}", status.as_u16(), String::from_utf8_lossy(&content)))
}

/// A connection that the redirect of `mark` takes.
async fn dial(to: SocketAddr, mark: u32) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_mark(mark)?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// Whether no more is to come that counts: origins end with `#`, and settings are all of HTTP/2.
fn is_whole(got: &[u8]) -> bool {
    got.contains(&b'#') || got.len() >= 9 && got[0] == 0
}

/// The status of an answer, with its content where there is one that counts; else what it is.
fn told(got: &[u8]) -> String {
    let text = String::from_utf8_lossy(got);
    let text = text.trim_end_matches('#');
    match got {
        [] => "closed".to_owned(),
        [0, 0, _, 4, ..] => "h2".to_owned(),
        _ => match text.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once("\r\n\r\n")) {
            Some((head, body)) => match head.split(' ').nth(1).unwrap_or_default() {
                "200" => format!("200 {body}"),
                status => status.to_owned(),
            },
            None => text.to_owned(),
        },
    }
}

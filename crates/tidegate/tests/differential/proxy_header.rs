//! PROXY headers to endpoints, in Envoy and in ours: what each connection begins with, and who shares one.

mod bootstrap;

use std::net::SocketAddr;

use http::Request;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::proxied::{Origin, Speaks, TOGETHER};
use tidegate_testing::tools::Tool;
use tokio::net::TcpStream;

use crate::sides::Side;
use bootstrap::{COPIES, KINDS, bootstrap, connected, requested};

/// What clusters count alike.
const COUNTS: &[&str] = &["upstream_cx_total", "upstream_cx_http1_total", "upstream_rq_total"];

/// What an origin told, with names for the ports: `client` and `listener` are those of the client's connection, `peer` and
/// `origin` those of the origin's.
fn told(text: &str, client: u16, listener: u16) -> String {
    let mut words = text.split_whitespace();
    let mut next = || words.next().unwrap_or_default().to_owned();
    let (number, peer, origin) = (next(), next(), next());
    let names = [
        (client.to_string(), "client"),
        (listener.to_string(), "listener"),
        (peer, "peer"),
        (origin, "origin"),
    ];
    let named = |word: &str| {
        let name = names.iter().find(|(port, _)| port == word);
        name.map_or_else(|| word.to_owned(), |(_, name)| (*name).to_owned())
    };
    let header: Vec<String> = words.map(named).collect();
    format!("{number}: {}", header.join(" "))
}

/// A client of HTTP/1 that keeps its connection.
struct Kept {
    client: Client,
    own: u16,
    listener: u16,
}

impl Kept {
    async fn connect(listener: SocketAddr) -> Self {
        let stream = TcpStream::connect(listener).await.expect("a connection");
        let own = stream.local_addr().expect("an address").port();
        Self { client: Client::over(stream), own, listener: listener.port() }
    }

    async fn get(&mut self, path: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
        let answer = self.client.request(request).await;
        match answer.status {
            200 => told(&answer.text(), self.own, self.listener),
            status => format!("{status} {}", answer.text()),
        }
    }
}

/// Two clients that keep their connections, in turn.
async fn in_turn(listener: SocketAddr, path: &str) -> Vec<String> {
    let (mut a, mut b) = (Kept::connect(listener).await, Kept::connect(listener).await);
    vec![
        format!("a {}", a.get(path).await),
        format!("a {}", a.get(path).await),
        format!("b {}", b.get(path).await),
        format!("a {}", a.get(path).await),
        format!("b {}", b.get(path).await),
    ]
}

/// Two clients of HTTP/2, each with several streams at a time.
async fn together(listener: SocketAddr, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = Vec::new();
    for name in ["A", "B"] {
        let stream = TcpStream::connect(listener).await.expect("a connection");
        let own = stream.local_addr().expect("an address").port();
        let (send, connection) = h2::client::handshake(stream).await.expect("a connection");
        open.push(tokio::spawn(connection));
        let mut answers = Vec::new();
        for _ in 0..TOGETHER {
            let request = Request::get(format!("http://a{path}/together")).body(());
            let mut send = send.clone().ready().await.expect("a stream");
            let sent = send.send_request(request.expect("a request"), true).expect("a stream");
            answers.push(sent.0);
        }
        let mut lines = Vec::new();
        for answer in answers {
            let (head, mut body) = answer.await.expect("an answer").into_parts();
            let mut text = Vec::new();
            while let Some(data) = body.data().await {
                text.extend_from_slice(&data.expect("content"));
            }
            let text = String::from_utf8_lossy(&text);
            let told = told(&text, own, listener.port());
            lines.push(format!("{name} {} {told}", head.status.as_u16()));
        }
        // Which of an endpoint's connections a stream is given is chance.
        lines.sort();
        all.extend(lines);
    }
    open.iter().for_each(tokio::task::JoinHandle::abort);
    all
}

/// Connections of bytes: the endpoint speaks first.
async fn bytes(listener: SocketAddr) -> Vec<String> {
    let mut open = Vec::new();
    let mut all = Vec::new();
    for name in ["a", "b"] {
        let mut client = Kept::connect(listener).await;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.extend(client.client.read_exact(1).await.expect("a line"));
        }
        let text = told(&String::from_utf8_lossy(&line), client.own, client.listener);
        client.client.send("echo").await;
        let echo = client.client.read_exact(4).await.expect("an echo");
        all.push(format!("{name} {text} {}", String::from_utf8_lossy(&echo)));
        open.push(client);
    }
    all
}

fn origin<'o>(origins: &'o [Origin], name: &str) -> &'o Origin {
    let at = KINDS.iter().position(|kind| kind.name == name).expect("a cluster");
    &origins[at]
}

/// What the connections of copies begin with, which all clients share.
async fn copies(listener: SocketAddr, origins: &[Origin]) -> Vec<String> {
    let mut all = Vec::new();
    let (mut a, mut b) = (Kept::connect(listener).await, Kept::connect(listener).await);
    for name in COPIES {
        all.push(a.get(&format!("/copied/{name}")).await);
        let copies = origin(origins, name);
        copies.requests(1).await;
        all.push(b.get(&format!("/copied/{name}")).await);
        copies.requests(2).await;
        let seen = copies.seen(1).await;
        all.extend(seen.iter().map(|seen| format!("{name} {}", told(seen, a.own, a.listener))));
    }
    all
}

async fn play(side: &Side, origins: &[Origin]) -> Vec<String> {
    let mut all = Vec::new();
    let mut note = |what: String, lines: Vec<String>| {
        all.extend(lines.into_iter().map(|line| format!("{what}: {line}")));
    };
    for family in ["4", "6"] {
        let listener = side.listeners[family];
        for kind in requested() {
            let path = format!("/{}", kind.name);
            note(format!("{} {family}", kind.name), in_turn(listener, &path).await);
            note(format!("{} {family}", kind.name), together(listener, &path).await);
        }
    }
    for name in ["1-http1", "2-http1"] {
        let mut client = Kept::connect(side.listeners["4"]).await;
        let again = client.get(&format!("/{name}/fails")).await;
        note(format!("{name} again"), vec![again, client.get(&format!("/{name}")).await]);
    }
    for kind in connected() {
        for family in ["4", "6"] {
            let name = format!("{}-{family}", kind.name);
            let lines = bytes(side.listeners[&name]).await;
            note(name, lines);
        }
    }
    note("copied".to_owned(), copies(side.listeners["4"], origins).await);
    for name in ["1-keys", "2-keys"] {
        let seen = origin(origins, name).seen(1).await;
        // Of no client.
        note(name.to_owned(), vec![told(&seen[0], u16::MAX, u16::MAX)]);
    }
    let stats = client::get(side.admin, "127.0.0.1", "/stats").await.text();
    for kind in KINDS.iter().filter(|kind| !kind.name.ends_with("keys")) {
        for count in COUNTS {
            let name = format!("cluster.{}.{count}: ", kind.name);
            let found = stats.lines().find(|line| line.starts_with(&name));
            note("counted".to_owned(), found.map(str::to_owned).into_iter().collect());
        }
        if kind.speaks == Speaks::Bytes {
            let name = format!("cluster.{}.upstream_cx_tx_bytes_total: ", kind.name);
            let found = stats.lines().find(|line| line.starts_with(&name));
            note("counted".to_owned(), found.map(str::to_owned).into_iter().collect());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_begin_as_by_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let ca = Ca::new("origins");
    let mut origins = Vec::new();
    for kind in KINDS {
        origins.push(kind.start(&ca).await);
    }
    let bootstrap = bootstrap(&origins, &ca);
    // One after the other: what origins see is then the one side's.
    let envoy = Side::envoy(&program, &bootstrap).await;
    let theirs = play(&envoy, &origins).await;
    envoy.process.kill().await;
    if std::env::var_os("DIFFERENTIAL").is_some() {
        eprintln!("{}", theirs.join("\n"));
    }
    origins.iter().for_each(Origin::forget);
    let tidegate = Side::tidegate(&bootstrap).await;
    let ours = play(&tidegate, &origins).await;
    let differ: Vec<_> = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours).collect();
    assert!(differ.is_empty() && theirs.len() == ours.len(), "Envoy's, and ours: {differ:#?}");
}

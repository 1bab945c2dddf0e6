//! Copies of requests, and that no request waits for one.

use serde_json::Value;
use tidegate_testing::origin::{Body, Incoming, Request, Response, account, full};
use tidegate_testing::{HeldPort, PATIENCE, eventually};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::route::{Mirror, MirrorHost, Mirrors};

/// More than what the kernel keeps of a connection that nobody reads, and than waits for a copy.
const HUGE: usize = 32 << 20;

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// An origin that tells what it is asked.
struct Told {
    origin: Origin,
    requests: UnboundedReceiver<Option<Value>>,
}

impl Told {
    async fn start(http2: bool) -> Self {
        let (tell, requests) = unbounded_channel();
        let answer = move |request: Request<Incoming>| {
            let tell = tell.clone();
            async move {
                tell.send(account(request).await).ok();
                Response::<Body>::new(full("ignored"))
            }
        };
        let origin = Origin::start();
        let origin =
            if http2 { origin.http2().http(answer).await } else { origin.http(answer).await };
        Self { origin, requests }
    }

    async fn next(&mut self) -> Option<Value> {
        timeout(PATIENCE, self.requests.recv()).await.expect("in time").expect("a request")
    }
}

/// The cluster `mN` at an address.
fn mirror(n: u32, at: SocketAddr, protocol: UpstreamProtocol, limits: Limits) -> Mirror {
    let name = format!("m{n}");
    let slot = ClusterSlot::empty(n, name.as_str().into());
    slot.store(limited(&name, &[at], protocol, limits).load());
    Mirror { cluster: Arc::new(slot), share: None, host: MirrorHost::Shadow }
}

fn plain(n: u32, at: SocketAddr) -> Mirror {
    mirror(n, at, UpstreamProtocol::Http1, Limits::default())
}

/// A proxy whose one route goes to an origin, and copies to others.
async fn mirroring(origin: SocketAddr, time: Option<Duration>, all: Vec<Mirror>) -> Proxy {
    let mut action = forward(cluster("c", &[origin], UpstreamProtocol::Http1), time);
    if let Action::Forward(forward) = &mut action {
        forward.mirrors = Mirrors { all: all.into(), keep: 8 << 20 };
    }
    Proxy::start(manager(vec![route("/", action)])).await
}

fn post(length: usize) -> Vec<u8> {
    let head = format!("POST /b HTTP/1.1\r\nHost: a:80\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; length]].concat()
}

impl Proxy {
    async fn counts(&self, wanted: &[(&str, u64)]) {
        eventually(PATIENCE, || async {
            let differs = wanted.iter().find(|(name, wanted)| {
                self.registry.get(&format!("cluster.{name}")).unwrap_or(0) != *wanted
            });
            differs.map_or(Ok(()), |(name, _)| {
                Err(format!("{name} is {:?}", self.registry.get(&format!("cluster.{name}"))))
            })
        })
        .await;
    }
}

#[tokio::test]
async fn each_mirror_has_a_copy_that_says_so() {
    let (mut one, mut two) = (Told::start(false).await, Told::start(true).await);
    let main = Origin::start().http(echo).await;
    let mirrors = vec![
        plain(1, one.origin.address()),
        mirror(2, two.origin.address(), UpstreamProtocol::Http2, Limits::default()),
    ];
    let proxy = mirroring(main.address(), None, mirrors).await;
    let mut client = Client::connect(proxy.address).await;
    let chunked = "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    for (request, host, body) in [
        (GET.as_bytes().to_vec(), "a", String::new()),
        (post(4), "a:80", "xxxx".to_owned()),
        (post(5_000_000), "a:80", "x".repeat(5_000_000)),
        (chunked.into(), "a", "abc".to_owned()),
    ] {
        let answer = client.request(request).await;
        assert_eq!(answer.status, 200);
        let original = answer.json();
        assert_eq!(original["body"].as_str().map(str::len), Some(body.len()));
        assert!(original["headers"].to_string().contains(&format!(r#"["host","{host}"]"#)));
        for told in [&mut one, &mut two] {
            let copy = told.next().await.expect("the whole request");
            assert_eq!(copy["method"], original["method"]);
            assert!(copy["body"] == original["body"], "{} bytes", body.len());
            let told = format!("{}{}", copy["uri"], copy["headers"]);
            assert!(told.contains(&host.replace('a', "a-shadow")), "{told}");
            assert!(told.contains(r#"["x-envoy-internal","true"]"#), "{told}");
            assert!(told.contains(r#"["x-forwarded-for","127.0.0.1,127.0.0.1"]"#), "{told}");
        }
    }
    let counts = ["m1", "m2"].map(|name| {
        [
            (format!("{name}.upstream_rq_total"), 4),
            (format!("{name}.upstream_rq_200"), 4),
            (format!("{name}.upstream_rq_active"), 0),
            (format!("{name}.upstream_cx_total"), 1),
            (format!("{name}.retry_or_shadow_abandoned"), 0),
        ]
    });
    let counts: Vec<_> = counts.iter().flatten().map(|(name, n)| (name.as_str(), *n)).collect();
    proxy.counts(&counts).await;
}

#[tokio::test]
async fn no_request_waits_for_a_copy() {
    let main = Origin::start().http(echo).await;
    // Connections are made, and nobody reads them.
    let deaf = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mute = Origin::start().script(Script::new().read_to_end()).await;
    let gone = Origin::start().script(Script::new().read(100).reset()).await;
    let refused = HeldPort::any();
    let mirrors = vec![
        plain(1, deaf.local_addr().unwrap()),
        plain(2, mute.address()),
        plain(3, gone.address()),
        plain(4, refused.address),
    ];
    let proxy = mirroring(main.address(), None, mirrors).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = timeout(PATIENCE, client.request(post(HUGE))).await.expect("no wait");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["body"].as_str().map(str::len), Some(HUGE));
    proxy
        .counts(&[
            ("m1.retry_or_shadow_abandoned", 1),
            ("m1.upstream_rq_active", 0),
            ("m1.upstream_cx_destroy_local_with_active_rq", 1),
            ("m3.upstream_rq_503", 1),
            ("m3.upstream_rq_active", 0),
            ("m4.upstream_rq_503", 1),
            ("m4.upstream_cx_connect_fail", 1),
            ("c.upstream_rq_200", 1),
        ])
        .await;
    // Who is given up is asked again.
    assert_eq!(client.request(GET).await.status, 200);
    proxy.counts(&[("m1.upstream_rq_total", 2), ("m2.upstream_rq_total", 2)]).await;
}

#[tokio::test]
async fn a_copy_has_the_routes_time() {
    let main = Origin::start().http(echo).await;
    let mute = Origin::start().script(Script::new().read_to_end()).await;
    let time = Some(Duration::from_millis(300));
    let proxy = mirroring(main.address(), time, vec![plain(1, mute.address())]).await;
    for request in [GET.as_bytes().to_vec(), post(4)] {
        assert_eq!(Client::connect(proxy.address).await.request(request).await.status, 200);
    }
    proxy
        .counts(&[
            ("m1.upstream_rq_timeout", 2),
            ("m1.upstream_rq_504", 2),
            ("m1.upstream_rq_active", 0),
            ("c.upstream_rq_timeout", 0),
        ])
        .await;
}

#[tokio::test]
async fn a_request_that_breaks_off_takes_its_copies_with_it() {
    let main = Origin::start().http(echo).await;
    let mut told = Told::start(false).await;
    let proxy = mirroring(main.address(), None, vec![plain(1, told.origin.address())]).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(&post(1000)[..500]).await;
    proxy.counts(&[("m1.upstream_rq_active", 1)]).await;
    drop(client);
    assert_eq!(told.next().await, None);
    proxy.counts(&[("m1.upstream_rq_active", 0), ("m1.retry_or_shadow_abandoned", 0)]).await;
}

#[tokio::test]
async fn limits_of_the_copies_cluster_hold() {
    let main = Origin::start().http(echo).await;
    let mut told = Told::start(false).await;
    let none = Limits { requests: 0, ..Limits::default() };
    let none = mirror(1, told.origin.address(), UpstreamProtocol::Http1, none);
    let nowhere = Mirror {
        cluster: Arc::new(ClusterSlot::empty(2, "nowhere".into())),
        share: None,
        host: MirrorHost::Shadow,
    };
    let last = plain(3, told.origin.address());
    let proxy = mirroring(main.address(), None, vec![none, nowhere, last]).await;
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(client.request(GET).await.status, 200);
    assert!(told.next().await.is_some());
    proxy
        .counts(&[
            ("m1.upstream_rq_active_overflow", 1),
            ("m1.upstream_rq_503", 1),
            ("m1.upstream_rq_total", 0),
            ("m3.upstream_rq_200", 1),
        ])
        .await;
    assert_eq!(told.origin.requests(), 1);
}

#[tokio::test]
async fn other_protocols_are_not_copied() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let main = Origin::start().script(Script::new().read_head().send(switch).read_to_end()).await;
    let mut told = Told::start(false).await;
    let proxy = mirroring(main.address(), None, vec![plain(1, told.origin.address())]).await;
    let mut client = Client::connect(proxy.address).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 101);
    let mut other = Client::connect(proxy.address).await;
    other.send(GET).await;
    assert_eq!(told.next().await.expect("the other")["uri"], "/a");
    assert_eq!(told.origin.requests(), 1);
}

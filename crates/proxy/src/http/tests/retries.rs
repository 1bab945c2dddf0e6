//! Requests that are sent again, and those that are not.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_testing::origin::{Body, Incoming, Request, Response};
use tidegate_testing::{HeldPort, PATIENCE, eventually};

use super::*;
use crate::route::{Attempts, RetryOn, RetryPolicy};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
const ISTIO: &str = "connect-failure,refused-stream,unavailable,cancelled";

/// An origin that answers its first `failures` requests, whose content it reads, with a status.
async fn failing(failures: usize, status: u16, http2: bool) -> Origin {
    let left = Arc::new(AtomicUsize::new(failures));
    let answer = move |request: Request<Incoming>| {
        let left = Arc::clone(&left);
        async move {
            let mut answer: Response<Body> = echo(request).await;
            let less = |left: usize| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            }
            answer
        }
    };
    let origin = Origin::start();
    if http2 { origin.http2().http(answer).await } else { origin.http(answer).await }
}

fn policy(on: &str, most: u32) -> RetryPolicy {
    RetryPolicy {
        on: RetryOn::parse(on),
        most,
        statuses: Vec::new(),
        answers_with: Vec::new(),
        requests_with: Vec::new(),
        per_try: None,
        per_try_idle: None,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        others_first: true,
        selections: 0,
    }
}

/// What a route is made of.
struct Way {
    cluster: Arc<ClusterSlot>,
    policy: RetryPolicy,
    timeout: Option<Duration>,
    keep: u64,
}

impl Way {
    fn to(cluster: Arc<ClusterSlot>, policy: RetryPolicy) -> Self {
        Self { cluster, policy, timeout: None, keep: 1 << 20 }
    }

    fn at(origin: SocketAddr, policy: RetryPolicy) -> Self {
        Self::to(cluster("c", &[origin], UpstreamProtocol::Http1), policy)
    }

    async fn proxy(self) -> Proxy {
        let mut action = forward(self.cluster, self.timeout);
        if let Action::Forward(forward) = &mut action {
            forward.retry = Some(Arc::new(self.policy));
            forward.keep = self.keep;
        }
        let told = Attempts { to_endpoint: true, to_client: true };
        let host = VirtualHost::new("host".into(), vec!["*".into()], vec![route("/", action)])
            .counting_attempts(told);
        let (table, _) =
            RouteTable::default().with(vec![HostChange::Put("host".into(), Arc::new(host))]);
        let manager = manager(Vec::new());
        manager.routes.slot().table.store(Arc::new(table));
        Proxy::start(manager).await
    }
}

impl Proxy {
    async fn ask(&self, request: impl AsRef<[u8]>) -> tidegate_testing::client::Response {
        Client::connect(self.address).await.request(request).await
    }

    fn count(&self, name: &str) -> u64 {
        self.registry.get(&format!("cluster.c.{name}")).unwrap_or(0)
    }
}

#[tokio::test]
async fn an_answer_that_failed_is_replaced_by_a_later_one() {
    let origin = failing(2, 503, false).await;
    let proxy = Way::at(origin.address(), policy("5xx", 3)).proxy().await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.request(POST).await;
    assert_eq!((answer.status, answer.header("x-envoy-attempt-count")), (200, Some("3")));
    let account = answer.json();
    assert_eq!(account["body"], "body");
    assert!(account["headers"].to_string().contains(r#"["x-envoy-attempt-count","3"]"#));
    // An answer that is dropped leaves its connection fit for use.
    assert_eq!((origin.requests(), origin.connections()), (3, 1));
    assert_eq!(
        (proxy.count("upstream_rq_retry"), proxy.count("upstream_rq_retry_success")),
        (2, 1)
    );
    assert_eq!(proxy.count("upstream_rq_retry_backoff_exponential"), 2);
    assert_eq!((proxy.count("upstream_rq_503"), proxy.count("upstream_rq_200")), (0, 1));
    assert_eq!(proxy.count("retry.upstream_rq_503"), 2);
    assert_eq!(client.request(GET).await.status, 200);
    let format = Arc::new(
        Format::text("%RESPONSE_FLAGS% %BYTES_RECEIVED% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n", false)
            .unwrap(),
    );
    assert_eq!(proxy.lines(&format, 1).await, ["- 4 3"]);
}

#[tokio::test]
async fn the_last_failure_is_the_clients_and_says_so() {
    let origin = failing(usize::MAX, 503, false).await;
    let proxy = Way::at(origin.address(), policy("gateway-error", 2)).proxy().await;
    assert_eq!(proxy.ask(GET).await.status, 503);
    assert!(proxy.logged().await.starts_with("503 URX 0 "));
    assert_eq!(origin.requests(), 3);
    assert_eq!(proxy.count("upstream_rq_retry_limit_exceeded"), 1);

    let refused = HeldPort::any();
    let proxy = Way::at(refused.address, policy("connect-failure", 1)).proxy().await;
    let answer = proxy.ask(GET).await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("retried and the latest reset reason"), "{}", answer.text());
    assert!(proxy.logged().await.starts_with("503 URX,UF "));
}

#[tokio::test]
async fn endpoints_that_nobody_listens_at_are_never_the_clients_loss() {
    let origin = Origin::start().http(echo).await;
    let refused = HeldPort::any();
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let origin = match protocol {
            UpstreamProtocol::Http1 => Origin::start().http(echo).await,
            UpstreamProtocol::Http2 => Origin::start().http2().http(echo).await,
        };
        let cluster = cluster("c", &[refused.address, origin.address()], protocol);
        let proxy = Way::to(cluster, policy(ISTIO, 1)).proxy().await;
        for _ in 0..10 {
            let answer = proxy.ask(POST).await;
            assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("body")));
        }
        assert_eq!(origin.requests(), 10);
        assert!(proxy.count("upstream_rq_retry") >= 5);
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn what_reached_an_endpoint_is_sent_again_only_if_that_is_asked_for() {
    let closes = || Script::new().read_head().read(4);
    let origin = Origin::start().script(closes()).await;
    let proxy = Way::at(origin.address(), policy(ISTIO, 2)).proxy().await;
    assert_eq!(proxy.ask(POST).await.status, 503);
    assert!(proxy.logged().await.starts_with("503 UC 4 "));
    assert_eq!(origin.requests(), 1);

    let origin = Origin::start().script(closes()).await;
    let proxy = Way::at(origin.address(), policy("reset", 2)).proxy().await;
    assert_eq!(proxy.ask(POST).await.status, 503);
    assert!(proxy.logged().await.starts_with("503 URX,UC 4 "));
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn content_beyond_the_bound_cannot_be_sent_again() {
    for (keep, requests, flags) in [(4, 2, "URX"), (3, 1, "-")] {
        let origin = failing(usize::MAX, 503, false).await;
        let way = Way { keep, ..Way::at(origin.address(), policy("5xx", 1)) };
        let proxy = way.proxy().await;
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                       2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n";
        for request in [POST, chunked] {
            assert_eq!(proxy.ask(request).await.status, 503);
        }
        let lines = proxy.lines(&proxy.format, 2).await;
        assert!(lines.iter().all(|line| line.starts_with(&format!("503 {flags} 4 "))), "{lines:?}");
        assert_eq!(origin.requests(), 2 * requests);
    }
}

/// A policy of no retries asks for one all the same, and there were as many as there may be.
#[tokio::test]
async fn content_that_is_not_kept_for_want_of_retries_is_no_reason_of_its_own() {
    for (keep, flags) in [(4, "URX"), (3, "-")] {
        let origin = failing(usize::MAX, 503, false).await;
        let proxy = Way { keep, ..Way::at(origin.address(), policy("5xx", 0)) }.proxy().await;
        assert_eq!(proxy.ask(POST).await.status, 503);
        assert!(proxy.logged().await.starts_with(&format!("503 {flags} 4 ")));
        assert_eq!(origin.requests(), 1);
    }
}

/// Nothing is asked of a client that is gone, though it had more to send.
#[tokio::test]
async fn a_client_that_goes_away_during_a_pause_is_noticed_while_it_sends() {
    let early = Script::new().read_head().send("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n");
    let early = Origin::start().script(early.read_to_end()).await;
    let long = Duration::from_secs(1 << 30);
    let policy = RetryPolicy { pause: long, longest_pause: long, ..policy("5xx", 1) };
    let proxy = Way::at(early.address(), policy).proxy().await;
    for (number, more) in ["", "6\r\nsecond\r\n"].into_iter().enumerate() {
        let mut client = Client::connect(proxy.address).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        let before = proxy.count("upstream_rq_retry");
        client.send(head).await;
        eventually(PATIENCE, || async { proxy.count("upstream_rq_retry") > before }).await;
        client.send(more).await;
        drop(client);
        let line = proxy.lines(&proxy.format, number + 1).await.pop().expect("a line");
        assert!(line.starts_with("0 DC "), "after {more:?}: {line}");
    }
}

#[tokio::test]
async fn content_that_still_comes_goes_to_the_next_attempt_whole() {
    let early = Script::new().read_head().send("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n");
    let early = Origin::start().script(early.read_to_end()).await;
    let origin = Origin::start().http(echo).await;
    let addresses = [early.address(), origin.address()];
    let cluster = cluster("c", &addresses, UpstreamProtocol::Http1);
    let proxy = Way::to(cluster, policy("5xx", 1)).proxy().await;
    let mut client = Client::connect(proxy.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    eventually(PATIENCE, || async { origin.requests() == 1 }).await;
    client.send("6\r\nsecond\r\n0\r\nX-Trail: er\r\n\r\n").await;
    let account = client.response().await.json();
    assert_eq!(account["body"], "firstsecond");
    assert_eq!(account["trailers"], serde_json::json!([["x-trail", "er"]]));
}

#[tokio::test]
async fn an_attempt_has_its_time_and_the_route_has_the_last_word() {
    let slow = || Script::new().read_head().read_to_end();
    let stalled = Origin::start().script(slow()).await;
    let origin = Origin::start().http(echo).await;
    // Enough for the origin that answers, on a busy machine too.
    let each = Duration::from_millis(500);
    let timed = |on| RetryPolicy { per_try: Some(each), ..policy(on, 1) };
    let both = cluster("c", &[stalled.address(), origin.address()], UpstreamProtocol::Http1);
    let proxy = Way::to(both, timed("gateway-error")).proxy().await;
    // Turns begin anywhere. From one that finds the one that stalls on, each finds it first.
    while proxy.count("upstream_rq_per_try_timeout") == 0 {
        assert_eq!(proxy.ask(GET).await.status, 200);
    }
    for request in [GET, POST] {
        let answer = proxy.ask(request).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(r#"["x-envoy-expected-rq-timeout-ms","500"]"#));
    }
    assert_eq!(proxy.count("upstream_rq_per_try_timeout"), 3);

    for (on, flags) in [("5xx", "URX,UT"), (ISTIO, "UT")] {
        let proxy = Way::at(stalled.address(), timed(on)).proxy().await;
        let answer = proxy.ask(GET).await;
        assert_eq!((answer.status, answer.text()), (504, "upstream request timeout".to_owned()));
        assert!(proxy.logged().await.ends_with("upstream_per_try_timeout"));
        assert!(proxy.logged().await.starts_with(&format!("504 {flags} 0 ")));
    }
    let idle = RetryPolicy { per_try_idle: Some(each), ..policy(ISTIO, 1) };
    let proxy = Way::at(stalled.address(), idle).proxy().await;
    assert_eq!(proxy.ask(GET).await.status, 504);
    assert!(proxy.logged().await.ends_with("upstream_per_try_idle_timeout"));

    // A pause does not outlast the route's time.
    let unwilling = failing(usize::MAX, 503, false).await;
    let hour = Duration::from_secs(3600);
    let patient = RetryPolicy { pause: hour, longest_pause: hour, ..policy("5xx", 9) };
    let way = Way { timeout: Some(each), ..Way::at(unwilling.address(), patient) };
    let proxy = way.proxy().await;
    assert_eq!(proxy.ask(GET).await.status, 504);
    assert!(proxy.logged().await.ends_with("response_timeout"));
}

#[tokio::test]
async fn a_client_that_goes_during_a_pause_ends_it() {
    let origin = failing(usize::MAX, 503, false).await;
    let hour = Duration::from_secs(3600);
    let patient = RetryPolicy { pause: hour, longest_pause: hour, ..policy("5xx", 9) };
    let proxy = Way::at(origin.address(), patient).proxy().await;
    let mut client = Client::connect(proxy.address).await;
    client.send(GET).await;
    eventually(PATIENCE, || async { proxy.count("upstream_rq_retry") == 1 }).await;
    drop(client);
    assert!(proxy.logged().await.starts_with("0 DC "));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn retries_have_a_bound_over_all_requests() {
    let origin = failing(usize::MAX, 503, false).await;
    let none = Limits { retries: 0, ..Limits::default() };
    let cluster = limited("c", &[origin.address()], UpstreamProtocol::Http1, none);
    let proxy = Way::to(cluster, policy("5xx", 2)).proxy().await;
    let answer = proxy.ask(GET).await;
    assert_eq!((answer.status, answer.header("x-envoy-overloaded")), (503, None));
    assert!(proxy.logged().await.starts_with("503 UO "));
    assert_eq!((origin.requests(), proxy.count("upstream_rq_retry_overflow")), (1, 1));
}

#[tokio::test]
async fn the_next_attempt_goes_where_the_endpoints_are_by_then() {
    let old = failing(usize::MAX, 503, false).await;
    let new = Origin::start().http(echo).await;
    let slot = cluster("c", &[old.address()], UpstreamProtocol::Http1);
    let pause = Duration::from_millis(400);
    let slowly = RetryPolicy { pause, longest_pause: pause, ..policy("5xx", 50) };
    let proxy = Way::to(Arc::clone(&slot), slowly).proxy().await;
    let mut client = Client::connect(proxy.address).await;
    client.send(GET).await;
    eventually(PATIENCE, || async { old.requests() > 0 }).await;
    let endpoints = EndpointSet::new(vec![Arc::new(Endpoint::new(new.address(), None, 1))]);
    slot.load().unwrap().set_endpoints(endpoints);
    assert_eq!(client.response().await.status, 200);
    assert_eq!(new.requests(), 1);
}

#[tokio::test]
async fn other_endpoints_come_first() {
    let bad = failing(usize::MAX, 503, false).await;
    let good = Origin::start().http(echo).await;
    let addresses = [bad.address(), good.address()];
    let (http1, limits) = (UpstreamProtocol::Http1, Limits::default());
    let cluster = balanced("c", &addresses, http1, limits, Balancing::Random);
    let proxy = Way::to(cluster, policy("5xx", 1)).proxy().await;
    for _ in 0..40 {
        assert_eq!(proxy.ask(GET).await.status, 200);
    }
    assert_eq!(good.requests(), 40);
    assert!(bad.requests() > 5, "{} of 40 tried it first", bad.requests());
}

#[tokio::test]
async fn a_put_on_a_connection_that_died_is_sent_again_whole() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let script = Script::new().read_head().read(4).send(answer).read_head();
    let origin = Origin::start().script(script).await;
    let way = Way::at(origin.address(), policy("", 0));
    let proxy = way.proxy().await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..3 {
        assert_eq!(client.request(POST.replace("POST", "PUT")).await.status, 200);
    }
    assert_eq!(client.request(POST).await.status, 503);
    assert_eq!(proxy.count("upstream_rq_retry"), 2);
}

#[tokio::test]
async fn streams_are_retried_between_http2_on_both_sides() {
    let origin = failing(1, 502, true).await;
    let cluster = cluster("c", &[origin.address()], UpstreamProtocol::Http2);
    let proxy = Way::to(cluster, policy("5xx", 1)).proxy().await;
    let io = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let (client, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/").body(()).unwrap();
    let (answer, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data("body".into(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), origin.requests()), (200, 2));
    let mut body = answer.into_body();
    let account = body.data().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&account).contains(r#""body":"body""#));
}

#[tokio::test]
async fn an_upgrade_finds_an_endpoint_that_is_there() {
    let granted =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let script = Script::new().read_head().send(granted).read(4).send("pong").read_to_end();
    let origin = Origin::start().script(script).await;
    let refused = HeldPort::any();
    let cluster = cluster("c", &[refused.address, origin.address()], UpstreamProtocol::Http1);
    let proxy = Way::to(cluster, policy(ISTIO, 2)).proxy().await;
    let mut client = Client::connect(proxy.address).await;
    let head = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    // What follows belongs to the other protocol.
    assert_eq!(client.request([head, "ping"].concat()).await.status, 101);
    assert_eq!(client.read_exact(4).await.unwrap(), b"pong");
}

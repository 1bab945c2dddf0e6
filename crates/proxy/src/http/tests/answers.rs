//! Answers of our own: to what no route takes, to bad requests, and in the place of origins that fail.

use bytes::Bytes;
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn our_own_answers_are_framed_and_changed_as_the_choice_says() {
    let direct = Action::Direct(Direct::new(204, "never sent"));
    // A cluster among several that has nobody: what is changed for it holds for the answer in its place.
    let mut nowhere = forward(cluster("nowhere", &[], UpstreamProtocol::Http1), None);
    if let Action::Forward(forward) = &mut nowhere {
        let chosen = Mutation {
            name: b"x-chosen".as_slice().into(),
            value: Template::new("%UPSTREAM_CLUSTER%").unwrap(),
            action: AppendAction::Append,
            keep_empty: false,
        };
        let level = MutationLevel { add: vec![chosen], ..MutationLevel::default() };
        let cluster = Arc::clone(&forward.targets.at(0).cluster);
        forward.targets = Shares::only(Target {
            cluster,
            request_headers: Mutations::default(),
            response_headers: Mutations::new(vec![Arc::new(level)]),
            host: None,
        });
    }
    let routes = vec![route("/direct", direct), route("/nowhere", nowhere)];
    let proxy = Proxy::start(manager(routes)).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.request("GET /direct HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("transfer-encoding")), (204, None));
    assert_eq!(answer.header("content-length"), None);
    let answer = client.request("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-chosen")), (503, Some("nowhere")));
}

#[tokio::test]
async fn what_no_route_takes_is_404_and_bad_requests_are_400() {
    let origin = Origin::start().http(echo).await;
    let cluster = cluster("c", &[origin.address()], UpstreamProtocol::Http1);
    let proxy = Proxy::start(manager(vec![route("/known", forward(cluster, None))])).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.request("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("content-length")), (404, Some("0")));
    assert_eq!(proxy.logged().await, "404 NR 0 0 route_not_found");
    // The connection goes on.
    assert_eq!(client.request("GET /known HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000)), 431),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), 501),
    ] {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.request(bytes).await;
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
        assert!(client.read_to_end().await.is_empty());
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn failures_have_envoys_statuses_and_flags() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = unused.local_addr().unwrap();
    drop(unused);
    let closes = Origin::start().script(Script::new().read_head()).await;
    let junk = Origin::start().script(Script::new().read_head().send("junk\r\n\r\n")).await;
    let cut = Script::new().read_head().send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    let cut = Origin::start().script(cut).await;
    let slow = Origin::start().script(Script::new().read_head().read_to_end()).await;
    let to =
        |endpoints: &[SocketAddr], limits| limited("c", endpoints, UpstreamProtocol::Http1, limits);
    let any = Limits::default();
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad_chunk = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n";
    let cases = [
        (to(&[refused], any), get, 503, "UF"),
        (to(&[], any), get, 503, "UH"),
        (to(&[closes.address()], any), get, 503, "UC"),
        (to(&[junk.address()], any), get, 502, "UPE"),
        (to(&[slow.address()], any), get, 504, "UT"),
        (to(&[slow.address()], Limits { requests: 0, ..any }), get, 503, "UO"),
        (to(&[slow.address()], Limits { pending_requests: 0, ..any }), get, 503, "UO"),
        (to(&[slow.address()], any), "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "DPE"),
        (to(&[slow.address()], any), "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 426, "DPE"),
        (to(&[slow.address()], any), "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 403, "DPE"),
        (to(&[slow.address()], any), bad_chunk, 400, "DPE"),
    ];
    for (cluster, request, status, flag) in cases {
        let action = forward(cluster, Some(Duration::from_millis(200)));
        let proxy = Proxy::start(manager(vec![route("/", action)])).await;
        let mut client = Client::connect(proxy.address).await;
        assert_eq!(client.request(request).await.status, status, "{flag}");
        let line = proxy.logged().await;
        assert!(line.starts_with(&format!("{status} {flag} ")), "{line}");
    }
    let proxy = Proxy::to(cut.address()).await;
    let mut client = Client::connect(proxy.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.read(false).await.is_err(), "a cut answer must not look whole");
    let line = proxy.logged().await;
    assert!(line.starts_with("200 UPE 0 3 "), "{line}");
}

/// Of an answer that says how long it is, a client of HTTP/1 needs to hear no more than that, whatever its endpoint says when.
#[tokio::test]
async fn who_leaves_with_the_whole_answer_has_not_broken_it_off() {
    for (length, line) in
        [("2", "200 - 0 2 via_upstream"), ("3", "200 DC 0 2 downstream_remote_disconnect")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = tokio::spawn(async move {
            let (io, _) = listener.accept().await.unwrap();
            let mut server = h2::server::handshake(io).await.unwrap();
            let (_, mut respond) = server.accept().await.unwrap().unwrap();
            let head = http::Response::builder().header("content-length", length);
            let mut answer = respond.send_response(head.body(()).unwrap(), false).unwrap();
            answer.send_data(Bytes::from_static(b"hi"), false).unwrap();
            // The end of the stream does not come.
            while server.accept().await.is_some() {}
            drop(answer);
        });
        let cluster = cluster("c", &[address], UpstreamProtocol::Http2);
        let proxy = Proxy::start(manager(vec![route("/", forward(cluster, None))])).await;
        let mut client = Client::connect(proxy.address).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read(true).await.unwrap();
        assert_eq!(client.read_exact(2).await.unwrap(), b"hi");
        drop(client);
        assert_eq!(proxy.logged().await, line);
        endpoint.abort();
    }
}

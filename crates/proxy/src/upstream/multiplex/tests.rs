//! Streams that last, of two workers, to an endpoint that may have one connection; endpoints that fall silent, or have gone.

mod gone;

use std::net::SocketAddr;

use h2::server::SendResponse;
use tidegate_testing::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::super::cluster::{Balancing, ClusterSlot, EndpointSet, ProxyHeader, UpstreamProtocol};
use super::super::local::LocalClusters;
use super::super::outlier::tests::cluster;
use super::*;
use crate::buffer::BufferPool;
use crate::http::chain::Client;
use crate::stats::Registry;
use crate::worker::Places;

const HOUR: Duration = Duration::from_secs(3600);

/// An endpoint that answers at once with a head, and never ends an answer.
struct Endpoint {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    /// The most streams that were open on a connection at a time.
    most: Rc<Cell<usize>>,
}

impl Endpoint {
    /// Allows so many streams on a connection.
    async fn start(streams: u32) -> Self {
        Self::start_behind(Rc::new(Semaphore::new(1)), streams).await
    }

    /// Says so once the gate is open.
    async fn start_behind(gate: Rc<Semaphore>, streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        let most = Rc::new(Cell::new(0));
        let seen = Rc::clone(&most);
        tokio::task::spawn_local(async move {
            while let Ok((mut io, _)) = listener.accept().await {
                count.set(count.get() + 1);
                let (seen, gate) = (Rc::clone(&seen), Rc::clone(&gate));
                tokio::task::spawn_local(async move {
                    let mut begins = [0; 5];
                    io.peek(&mut begins).await.unwrap();
                    while begins == *b"PROXY" && io.read_u8().await.unwrap() != b'\n' {}
                    let _ = gate.acquire().await.unwrap();
                    let mut server = h2::server::Builder::new();
                    let server = server.max_concurrent_streams(streams).handshake(io);
                    let (mut server, mut open) = (server.await.unwrap(), Vec::new());
                    while let Some(Ok((_, respond))) = server.accept().await {
                        let mut respond: SendResponse<Bytes> = respond;
                        // Fails where the stream is given up.
                        open.extend(respond.send_response(http::Response::new(()), false));
                        seen.set(seen.get().max(open.len()));
                    }
                });
            }
        });
        Self { address, connections, most }
    }
}

/// A worker, as far as it has connections.
struct Worker {
    cluster: Rc<LocalCluster>,
    _all: LocalClusters,
}

/// A stream that is under way.
struct Streaming {
    _lease: StreamLease,
    _stream: h2::SendStream<Bytes>,
    _answer: h2::RecvStream,
}

/// Two workers that share a cluster.
fn workers(endpoint: &Endpoint, change: impl FnOnce(&mut Cluster)) -> [Worker; 2] {
    let of_endpoint = Arc::new(super::super::cluster::Endpoint::new(endpoint.address, None, 1));
    let endpoints = EndpointSet::new(vec![of_endpoint]);
    let mut cluster = cluster(None, 0, Balancing::RoundRobin, endpoints);
    cluster.http.protocol = Some(UpstreamProtocol::Http2);
    cluster.limits.connections = 1;
    // Nobody waits for so long.
    cluster.connect_timeout = HOUR;
    change(&mut cluster);
    let slot = ClusterSlot::empty(0, "c".into());
    slot.store(Some(Arc::new(cluster)));
    let registry = Registry::new(2);
    [0, 1].map(|index| {
        let all = LocalClusters::new(registry.worker(index), Rc::<BufferPool>::default());
        Worker { cluster: all.get(&slot).unwrap(), _all: all }
    })
}

impl Worker {
    /// A stream that the endpoint has begun to answer.
    async fn stream(&self, server: &str) -> Streaming {
        self.stream_of(None, server).await
    }

    async fn stream_of(&self, client: Option<&Client>, server: &str) -> Streaming {
        let pool = self.cluster.pick(client, None, || 0).unwrap();
        let mut lease =
            pool.multiplex.lease(&pool, &self.cluster, server, Liveness::Assumed).await.unwrap();
        let (answer, stream) = lease.send_request(http::Request::new(()), false).unwrap();
        let answer = answer.await.unwrap().into_body();
        Streaming { _lease: lease, _stream: stream, _answer: answer }
    }

    async fn soon(&self, server: &str) -> Streaming {
        timeout(PATIENCE, self.stream(server)).await.expect("it need not wait")
    }
}

async fn locally(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn streams_of_every_worker_share_the_connections_that_there_may_be() {
    locally(async {
        let endpoint = Endpoint::start(100).await;
        let [one, other] = workers(&endpoint, |cluster| cluster.http.max_streams = 3);
        // The second one finds the connection being made.
        let (first, second) = tokio::join!(one.soon(""), other.soon(""));
        let all = [second, one.soon("").await];
        assert_eq!(endpoint.connections.get(), 1);
        // It is full now, for all, and who waits gets the place of whoever ends.
        let mut fourth = std::pin::pin!(other.stream(""));
        let mut waits = async || timeout(Duration::ZERO, fourth.as_mut()).await.is_err();
        assert!(waits().await);
        while other.cluster.cluster.usage.pending_requests.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let fourth = timeout(PATIENCE, fourth).await.expect("a place is free");
        assert_eq!(endpoint.connections.get(), 1);
        drop((all, fourth));
        assert_eq!(one.cluster.cluster.usage.connections.load(Relaxed), 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_whose_worker_needs_it_no_more_serves_others_to_their_end() {
    locally(async {
        let endpoint = Endpoint::start(100).await;
        let [one, other] = workers(&endpoint, |_| {});
        let first = one.soon("").await;
        let mut second = other.soon("").await;
        drop((first, one));
        // Nobody takes it from the stream that is left.
        second._stream.send_data(Bytes::from_static(b"more"), false).unwrap();
        assert_eq!(other.cluster.cluster.usage.connections.load(Relaxed), 1);
        drop(second);
        let third = other.soon("").await;
        assert_eq!(endpoint.connections.get(), 2, "its own");
        drop(third);
    })
    .await;
}

fn client(port: u16) -> Client {
    Client {
        peer: ([192, 0, 2, 1], port).into(),
        local: ([192, 0, 2, 2], 80).into(),
        captured: None,
        pipe: None,
        source: None,
        id: port.into(),
        server_name: None,
        tls: None,
        place: Places::new(1).take().unwrap(),
        limits: Default::default(),
        pools: Default::default(),
    }
}

#[tokio::test]
async fn no_client_has_streams_on_a_connection_that_was_made_for_another() {
    locally(async {
        let endpoint = Endpoint::start(100).await;
        let [one, other] =
            workers(&endpoint, |cluster| cluster.proxy_header = Some(ProxyHeader::V1));
        let (a, b) = (client(1), client(2));
        let first = one.stream_of(Some(&a), "").await;
        // Its client may have more on it, at the limit; another one, and what is of no client, may not.
        let second = one.stream_of(Some(&a), "").await;
        assert_eq!(endpoint.connections.get(), 1);
        for (worker, client) in [(&one, Some(&b)), (&other, Some(&b)), (&other, None)] {
            let mut waits = std::pin::pin!(worker.stream_of(client, ""));
            assert!(timeout(Duration::from_millis(50), waits.as_mut()).await.is_err());
        }
        assert_eq!(endpoint.connections.get(), 1);
        drop((first, second));
        let third = timeout(PATIENCE, other.stream_of(Some(&b), "")).await.expect("a place");
        assert_eq!(endpoint.connections.get(), 2);
        // With its client it is closed, for those who wait.
        drop(third);
        drop(b);
        timeout(PATIENCE, one.stream_of(Some(&a), "")).await.expect("a place");
    })
    .await;
}

/// An endpoint may say that it takes few streams: where more connections may be made, nobody waits for the end of others.
#[tokio::test]
async fn an_endpoint_that_takes_one_stream_gets_a_connection_for_each() {
    locally(async {
        let endpoint = Endpoint::start(1).await;
        let [one, _] = workers(&endpoint, |cluster| cluster.limits.connections = 3);
        let all = [one.soon("").await, one.soon("").await, one.soon("").await];
        assert_eq!((all.len(), endpoint.connections.get()), (3, 3));
    })
    .await;
}

/// What an endpoint has not allowed yet is not sent: it would wait in `h2`, or be refused.
#[tokio::test]
async fn before_an_endpoint_says_how_many_streams_it_takes_it_gets_one() {
    locally(async {
        let gate = Rc::new(Semaphore::new(0));
        let endpoint = Endpoint::start_behind(Rc::clone(&gate), 2).await;
        let [one, _] = workers(&endpoint, |cluster| cluster.limits.connections = 2);
        let soon = || one.soon("");
        let mut all = pin!(async { tokio::join!(soon(), soon(), soon(), soon()) });
        let usage = &one.cluster.cluster.usage;
        assert!(timeout(Duration::from_millis(50), all.as_mut()).await.is_err());
        assert_eq!(usage.pending_requests.load(Relaxed), 3, "as the limit has it, they wait");
        gate.add_permits(1);
        let _all = all.await;
        assert_eq!((endpoint.connections.get(), endpoint.most.get()), (2, 2));
        assert_eq!(usage.pending_requests.load(Relaxed), 0);
    })
    .await;
}

/// The endpoint may hear of the next stream before it hears that the one before is given up, and refuse it.
#[tokio::test]
async fn a_stream_that_is_given_up_before_the_endpoint_says_anything_leaves_no_place_until_then() {
    locally(async {
        let gate = Rc::new(Semaphore::new(0));
        let endpoint = Endpoint::start_behind(Rc::clone(&gate), 1).await;
        let [one, other] = workers(&endpoint, |_| {});
        let pool = one.cluster.pick(None, None, || 0).unwrap();
        let lease = pool.multiplex.lease(&pool, &one.cluster, "", Liveness::Assumed);
        let mut first = lease.await.expect("a place");
        let sent = first.send_request(http::Request::new(()), false).expect("a stream");
        drop((first, sent));
        let mut second = pin!(one.stream(""));
        let mut elsewhere = pin!(other.stream(""));
        assert!(timeout(Duration::from_millis(50), second.as_mut()).await.is_err());
        assert!(timeout(Duration::ZERO, elsewhere.as_mut()).await.is_err());
        gate.add_permits(1);
        let next = async {
            tokio::select! {
                one = second => drop(one),
                other = elsewhere => drop(other),
            }
        };
        timeout(PATIENCE, next).await.expect("it is not refused");
        assert_eq!((endpoint.connections.get(), endpoint.most.get()), (1, 1));
    })
    .await;
}

/// Those that never say it are not waited for longer than for a connection.
#[tokio::test]
async fn an_endpoint_that_says_nothing_gets_all_after_a_while() {
    locally(async {
        let endpoint = Endpoint::start_behind(Rc::new(Semaphore::new(0)), 100).await;
        let patience = Duration::from_millis(100);
        let [one, _] = workers(&endpoint, |cluster| {
            (cluster.limits.connections, cluster.connect_timeout) = (2, patience);
        });
        let pool = one.cluster.pick(None, None, || 0).unwrap();
        let lease = || pool.multiplex.lease(&pool, &one.cluster, "", Liveness::Verified);
        let first = lease().await.unwrap();
        let second = timeout(PATIENCE, lease()).await.expect("it need not wait").unwrap();
        assert!(Arc::ptr_eq(&first.connection, &second.connection));
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_an_endpoints_first_word_learns_that_it_has_gone() {
    locally(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint { address, connections: Rc::default(), most: Rc::default() };
        let [one, _] = workers(&endpoint, |_| {});
        let pool = one.cluster.pick(None, None, || 0).unwrap();
        let lease = || pool.multiplex.lease(&pool, &one.cluster, "", Liveness::Assumed);
        let _first = lease().await.unwrap();
        let goes = async { drop(listener.accept().await.unwrap()) };
        let (second, ()) = tokio::join!(timeout(PATIENCE, lease()), goes);
        let failed = second.expect("it need not wait");
        assert!(matches!(failed, Err(ConnectError::Failed(_))), "{failed:?}");
    })
    .await;
}

#[tokio::test]
async fn a_connection_leaves_for_another_server_unless_its_streams_last() {
    locally(async {
        let endpoint = Endpoint::start(100).await;
        let patience = Duration::from_millis(300);
        let [one, other] = workers(&endpoint, |cluster| cluster.connect_timeout = patience);
        let first = one.soon("a").await;
        let mut for_b = std::pin::pin!(other.stream("b"));
        assert!(timeout(Duration::ZERO, for_b.as_mut()).await.is_err());
        // While somebody waits for its end it takes no more; but not for ever.
        let started = Instant::now();
        let second = tokio::select! {
            biased;
            _ = &mut for_b => panic!("there is no place"),
            second = one.soon("a") => second,
        };
        assert!(started.elapsed() >= patience / 2, "{:?}", started.elapsed());
        let third = one.soon("a").await;
        drop((first, second, third));
        timeout(PATIENCE, for_b).await.expect("its place is free");
        assert_eq!(endpoint.connections.get(), 2);
    })
    .await;
}

/// Who waits would ask again, and so they would ask each other for as long as a connection may take to make.
#[tokio::test]
async fn who_need_not_give_way_wakes_nobody() {
    locally(async {
        let endpoint = Endpoint::start(100).await;
        let [one, other] = workers(&endpoint, |cluster| cluster.limits.connections = 2);
        let (first, second) = tokio::join!(one.soon(""), other.soon("b"));
        let usage = &one.cluster.cluster.usage;
        usage.starving.store(1, Relaxed);
        usage.pending_requests.store(1, Relaxed);
        let gives = Leaving::begin(&first._lease.connection);
        assert!(gives.is_some());
        let woken = usage.freed.notified();
        assert!(Leaving::begin(&second._lease.connection).is_none());
        assert!(timeout(Duration::ZERO, woken).await.is_err());
        assert!(!second._lease.connection.leaves.load(Relaxed));
        assert_eq!(usage.leaving.load(Relaxed), 1);
        // Nor is one asked that takes no more, whose streams last.
        usage.starving.store(2, Relaxed);
        let pool = other.cluster.pick(None, None, || 0).unwrap();
        second._lease.connection.close();
        assert!(pool.multiplex.leave_one().is_none());
    })
    .await;
}

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// One more byte for the connection (RFC 9113 section 6.9).
const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// How many seconds it takes until an endpoint counts as silent; none within ten minutes.
async fn silence<F: Future<Output = ()> + 'static>(
    endpoint: impl FnOnce(DuplexStream) -> F,
) -> Option<u64> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let counted = Counted::new(ours, Registry::new(1).worker(0).cluster("c"));
    let heard = counted.heard();
    let second = Duration::from_secs(1);
    let probe = Probe { interval: 10 * second, jitter: 0.0, timeout: second };
    let locals = LocalSet::new();
    locals.spawn_local(endpoint(theirs));
    locals
        .run_until(async {
            let client = h2::client::Builder::new().handshake::<_, Bytes>(counted);
            let (_send, mut connection) = client.await.expect("a connection");
            let pings = connection.ping_pong().expect("asked for once");
            tokio::task::spawn_local(connection);
            let started = Instant::now();
            let ended = timeout(600 * second, silent(probe, pings, &heard)).await;
            ended.is_ok().then(|| started.elapsed().as_secs())
        })
        .await
}

async fn drain(mut stream: impl tokio::io::AsyncRead + Unpin) {
    while stream.read_u8().await.is_ok() {}
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_after_a_ping_is_silent() {
    let nothing = silence(|mut stream| async move {
        let _ = stream.write_all(&SETTINGS).await;
        drain(stream).await;
    });
    assert_eq!(nothing.await, Some(11));
    // Anything that is heard shows that the endpoint is there, though the answer is not.
    let busy = silence(|stream| async move {
        let (read, mut write) = tokio::io::split(stream);
        tokio::task::spawn_local(drain(read));
        let _ = write.write_all(&SETTINGS).await;
        for _ in 0..100 {
            sleep(Duration::from_millis(500)).await;
            let _ = write.write_all(&WINDOW_UPDATE).await;
        }
        pending::<()>().await;
    });
    let ended = busy.await;
    assert!(ended.is_some_and(|seconds| (50..53).contains(&seconds)), "{ended:?}");
    let answering = silence(|stream| async move {
        let mut server = h2::server::handshake(stream).await.expect("a connection");
        while server.accept().await.is_some() {}
    });
    assert_eq!(answering.await, None);
}

/// An endpoint may go while a connection to it is being made for somebody.
#[tokio::test]
async fn what_is_made_where_all_is_closed_meanwhile_ends_with_its_stream() {
    locally(async {
        let endpoint = Endpoint::start(100).await;
        let [one, _] = workers(&endpoint, |_| ());
        let pool = one.cluster.pick(None, None, || 0).unwrap();
        let mut lease = pin!(pool.multiplex.lease(&pool, &one.cluster, "", Liveness::Assumed));
        let made = poll_fn(|cx| std::task::Poll::Ready(lease.as_mut().poll(cx).is_ready())).await;
        assert!(!made, "it is being made");
        pool.multiplex.close();
        let lease = timeout(PATIENCE, lease).await.expect("a connection").unwrap();
        let open = || one.cluster.cluster.usage.connections.load(Relaxed);
        assert_eq!(open(), 1);
        drop(lease);
        let closes = async {
            while open() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, closes).await.expect("nobody else would close it");
    })
    .await;
}

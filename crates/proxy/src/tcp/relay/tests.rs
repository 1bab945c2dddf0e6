use std::io::ErrorKind;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

use super::*;
use crate::tcp::splice::PIPE_SIZE;
use crate::tcp::{PipeLimits, PipePool};

const MIB: usize = 1 << 20;

/// A connection through a relay.
struct Proxied {
    client: TcpStream,
    server: TcpStream,
    relay: JoinHandle<Outcome>,
    tally: Rc<Tally>,
}

/// Runs a test on a worker's kind of runtime.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

thread_local! {
    /// One listener for all connections of a test: a port each would be a great many.
    static LISTENER: std::net::TcpListener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
}

/// Both ends of a connection. On loopback it is there as soon as it is asked for.
fn connection() -> (TcpStream, TcpStream) {
    let ends = LISTENER.with(|listener| {
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    });
    let into_tokio = |end: std::net::TcpStream| {
        end.set_nonblocking(true).unwrap();
        TcpStream::from_std(end).unwrap()
    };
    (into_tokio(ends.0), into_tokio(ends.1))
}

async fn proxied(pools: &Pools, first: &[u8], limits: RelayLimits) -> Proxied {
    let (client, downstream) = connection();
    let (upstream, server) = connection();
    let tally = Rc::new(Tally::default());
    let relay = spawn_local({
        let (pools, tally) = (pools.clone(), Rc::clone(&tally));
        let mut read = pools.buffers.small();
        read.room()[..first.len()].copy_from_slice(first);
        read.advance(first.len());
        let first = (!first.is_empty()).then_some(read);
        async move { relay(downstream, upstream, first, limits, &pools, &tally).await }
    });
    // Its clock starts when it is first polled.
    yield_now().await;
    Proxied { client, server, relay, tally }
}

fn pipes(limits: PipeLimits) -> Pools {
    Pools { pipes: Rc::new(PipePool::new(limits)), ..Pools::default() }
}

/// Lets the clock pass by without waiting. I/O is done on the real clock: a paused one runs ahead
/// of it.
async fn elapse(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    for _ in 0..100 {
        yield_now().await;
    }
}

/// The bytes of block `index` of a stream.
fn block(seed: u64, index: usize) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    fastrand::Rng::with_seed(seed ^ index as u64).fill(&mut bytes);
    bytes
}

async fn send_blocks(mut to: OwnedWriteHalf, seed: u64, count: usize) {
    for index in 0..count {
        to.write_all(&block(seed, index)).await.unwrap();
    }
    to.shutdown().await.unwrap();
}

async fn expect_blocks(mut from: OwnedReadHalf, seed: u64, count: usize) {
    let mut received = vec![0; 64 * 1024];
    for index in 0..count {
        from.read_exact(&mut received).await.unwrap();
        assert!(received == block(seed, index), "block {index} differs");
    }
    assert_eq!(from.read(&mut received).await.unwrap(), 0);
}

async fn bulk_both_ways(pools: &Pools, up: usize, down: usize) -> Outcome {
    let Proxied { client, server, relay, .. } = proxied(pools, b"", RelayLimits::default()).await;
    let (from_server, to_server) = client.into_split();
    let (from_client, to_client) = server.into_split();
    tokio::join!(
        send_blocks(to_server, 1, up),
        expect_blocks(from_client, 1, up),
        send_blocks(to_client, 2, down),
        expect_blocks(from_server, 2, down),
    );
    relay.await.unwrap()
}

/// One connection on which the server sends `bytes` and closes.
async fn download(pools: &Pools, bytes: &[u8]) -> Outcome {
    let Proxied { mut client, mut server, relay, .. } =
        proxied(pools, b"", RelayLimits::default()).await;
    let mut received = Vec::new();
    let send = async {
        server.write_all(bytes).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let ((), read) = tokio::join!(send, client.read_to_end(&mut received));
    read.unwrap();
    assert_eq!(received.len(), bytes.len());
    drop((client, server));
    relay.await.unwrap()
}

#[test]
fn much_data_arrives_unharmed_through_pipes() {
    run(async {
        let pools = Pools::default();
        let outcome = bulk_both_ways(&pools, 300, 500).await;
        assert_eq!(outcome.bytes_up, 300 * 64 * 1024);
        assert_eq!(outcome.bytes_down, 500 * 64 * 1024);
        assert!(matches!(outcome.ended_by, EndedBy::Downstream | EndedBy::Upstream));
        let (pipes, spare) = pools.pipes.count();
        assert!(pipes > 0, "bulk data is spliced");
        assert_eq!(spare, pipes, "every pipe came back");
    });
}

#[test]
fn much_data_arrives_unharmed_through_buffers() {
    run(async {
        let pools = pipes(PipeLimits { spare: 0, lent: 0 });
        let outcome = bulk_both_ways(&pools, 100, 100).await;
        assert_eq!(outcome.bytes_down, 100 * 64 * 1024);
        assert_eq!(pools.pipes.count().0, 0);
    });
}

#[test]
fn a_short_connection_leaves_nothing_behind() {
    run(async {
        let pools = Pools::default();
        let Proxied { mut client, mut server, relay, .. } =
            proxied(&pools, b"hello ", RelayLimits::default()).await;
        client.write_all(b"world").await.unwrap();
        let mut request = [0; 11];
        server.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"hello world");
        server.write_all(&[7; 1024]).await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [7; 1024]);
        drop(client);
        let outcome = relay.await.unwrap();
        let expected = Outcome { bytes_up: 11, bytes_down: 1024, ended_by: EndedBy::Upstream };
        assert_eq!(outcome, expected);
        let (pipes, spare) = pools.pipes.count();
        assert_eq!((pipes, Rc::strong_count(&pools.buffers)), (spare, 1));
    });
}

#[test]
fn either_side_may_end_its_stream_first() {
    run(async {
        for (first, by) in [(true, EndedBy::Downstream), (false, EndedBy::Upstream)] {
            let Proxied { client, server, relay, .. } =
                proxied(&Pools::default(), b"", RelayLimits::default()).await;
            let (mut early, mut late) = if first { (client, server) } else { (server, client) };
            early.write_all(b"question").await.unwrap();
            early.shutdown().await.unwrap();
            let mut question = String::new();
            late.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            assert!(!relay.is_finished(), "the other direction goes on");
            late.write_all(b"answer").await.unwrap();
            late.shutdown().await.unwrap();
            let mut answer = String::new();
            early.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer");
            assert_eq!(relay.await.unwrap().ended_by, by);
        }
    });
}

#[test]
fn a_reset_is_passed_on() {
    run(async {
        for side in [Side::Downstream, Side::Upstream] {
            let Proxied { client, server, relay, .. } =
                proxied(&Pools::default(), b"", RelayLimits::default()).await;
            let (gone, mut other) = match side {
                Side::Downstream => (client, server),
                Side::Upstream => (server, client),
            };
            gone.set_zero_linger().unwrap();
            drop(gone);
            let error = other.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let by = EndedBy::Error { side, kind: ErrorKind::ConnectionReset };
            assert_eq!(relay.await.unwrap().ended_by, by);
        }
    });
}

#[test]
fn an_answer_survives_a_server_that_reads_no_more() {
    run(async {
        let Proxied { mut client, mut server, relay, .. } =
            proxied(&Pools::default(), b"", RelayLimits::default()).await;
        // The server ends its stream and closes; what the client goes on to send is answered with a
        // reset.
        server.write_all(b"too large").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "too large");
        drop(server);
        while client.write_all(&[0; 4096]).await.is_ok() {
            yield_now().await;
        }
        assert_eq!(relay.await.unwrap().ended_by, EndedBy::Upstream);
    });
}

#[test]
fn silence_ends_a_connection_and_bytes_prolong_it() {
    run(async {
        let limits = RelayLimits { idle: Some(Duration::from_secs(60)), duration: None };
        let Proxied { mut client, mut server, relay, .. } =
            proxied(&Pools::default(), b"", limits).await;
        for _ in 0..3 {
            server.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            elapse(Duration::from_secs(59)).await;
            assert!(!relay.is_finished());
        }
        elapse(Duration::from_secs(2)).await;
        assert_eq!(relay.await.unwrap().ended_by, EndedBy::Idle);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn the_longest_duration_holds_for_busy_connections_too() {
    run(async {
        let limits = RelayLimits {
            idle: Some(Duration::from_secs(60)),
            duration: Some(Duration::from_secs(100)),
        };
        let Proxied { mut client, mut server, relay, .. } =
            proxied(&Pools::default(), b"", limits).await;
        elapse(Duration::from_secs(50)).await;
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        elapse(Duration::from_secs(49)).await;
        assert!(!relay.is_finished());
        elapse(Duration::from_secs(1)).await;
        assert_eq!(relay.await.unwrap().ended_by, EndedBy::MaxDuration);
    });
}

#[test]
fn without_limits_a_connection_lasts() {
    run(async {
        let limits = RelayLimits { idle: None, duration: None };
        let Proxied { mut client, mut server, relay, .. } =
            proxied(&Pools::default(), b"", limits).await;
        elapse(Duration::from_secs(100_000)).await;
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        drop((client, server));
        assert_eq!(relay.await.unwrap().ended_by, EndedBy::Downstream);
    });
}

/// Writes until nothing more is taken, however long that is tried.
async fn write_until_stuck(to: &TcpStream) -> usize {
    let chunk = vec![0; MIB];
    let (mut written, mut refused) = (0, 0);
    while refused < 10_000 {
        match to.try_write(&chunk) {
            Ok(count) => (written, refused) = (written + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("{error}"),
        }
        yield_now().await;
    }
    written
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    run(async {
        let pools = Pools::default();
        let Proxied { mut client, server, relay, tally } =
            proxied(&pools, b"", RelayLimits::default()).await;
        let written = write_until_stuck(&server).await;
        let held = tally.upstream_received() - tally.sent();
        assert!(held <= PIPE_SIZE as u64, "{held} bytes held");
        assert!(pools.pipes.count().0 <= 1);
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), written);
        drop(client);
        assert_eq!(relay.await.unwrap().ended_by, EndedBy::Upstream);
    });
}

#[test]
fn a_client_that_vanishes_does_not_leave_a_stuck_upload_behind() {
    run(async {
        let limits = RelayLimits { idle: None, duration: None };
        let Proxied { mut client, mut server, relay, .. } =
            proxied(&Pools::default(), b"", limits).await;
        write_until_stuck(&client).await;
        client.set_zero_linger().unwrap();
        drop(client);
        // The upload waits for the server, which reads nothing; what the server sends finds nobody.
        for _ in 0..2 {
            server.write_all(b"x").await.unwrap();
            elapse(Duration::ZERO).await;
        }
        elapse(LAST_BYTES).await;
        let ended_by = relay.await.unwrap().ended_by;
        assert!(matches!(ended_by, EndedBy::Error { side: Side::Downstream, .. }), "{ended_by:?}");
        client = connection().0;
        drop((client, server));
    });
}

#[test]
fn an_idle_connection_holds_neither_buffer_nor_pipe() {
    run(async {
        let pools = Pools::default();
        let Proxied { mut client, mut server, relay, .. } =
            proxied(&pools, b"", RelayLimits::default()).await;
        let bulk = vec![1; 2 * MIB];
        let mut received = vec![0; bulk.len()];
        let (sent, read) = tokio::join!(server.write_all(&bulk), client.read_exact(&mut received));
        sent.unwrap();
        read.unwrap();
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        elapse(Duration::ZERO).await;
        assert!(!relay.is_finished());
        let (pipes, spare) = pools.pipes.count();
        assert!(pipes > 0 && spare == pipes);
        // Each buffer refers to its pool: the references left are this test's and the relay's own.
        assert_eq!(Rc::strong_count(&pools.buffers), 2);
    });
}

#[test]
fn a_thousand_connections_share_a_few_pipes() {
    run(async {
        let limits = PipeLimits { spare: 2, lent: 4 };
        let pools = pipes(limits);
        for _ in 0..10 {
            let batch: Vec<_> = (0..100)
                .map(|_| {
                    let pools = pools.clone();
                    spawn_local(async move { download(&pools, &[7; 128 * 1024]).await })
                })
                .collect();
            for connection in batch {
                assert_eq!(connection.await.unwrap().bytes_down, 128 * 1024);
                assert!(pools.pipes.count().0 <= limits.lent);
            }
        }
        let (pipes, spare) = pools.pipes.count();
        assert!((1..=limits.spare).contains(&spare) && pipes == spare, "{pipes} {spare}");
        assert_eq!(Rc::strong_count(&pools.buffers), 1);
    });
}

/// Ten thousand tunnels are ten thousand of these.
#[test]
fn a_connection_is_small() {
    run(async {
        let pools = Pools::default();
        let tally = Tally::default();
        let (downstream, upstream) = connection();
        let size =
            size_of_val(&relay(downstream, upstream, None, RelayLimits::default(), &pools, &tally));
        assert!(size <= 1024, "{size} bytes");
    });
}

//! Connections of a filter chain that has gone.

use std::io::Write;
use std::rc::Rc;

use tidegate_testing::{PATIENCE, eventually};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::*;
use crate::listener::{Binding, ListenerSocket, bind_all};
use crate::worker::thread::{Command, run};
use crate::worker::{FIRST_REQUEST, LAST_REQUEST, Worker};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Who has only just connected is about to ask, and would not ask again; nor does one that was answered before know whether a
/// request that it sends just then is served.
#[tokio::test]
async fn a_request_that_is_on_its_way_is_answered_whatever_goes() {
    let origin = Origin::start().http(echo).await;
    let mut proxy = Proxy::to(origin.address()).await;
    let mut used = Client::connect(proxy.address).await;
    let mut idle = Client::connect(proxy.address).await;
    for client in [&mut used, &mut idle] {
        assert_eq!(client.request(REQUEST).await.status, 200);
    }
    let [mut fresh, mut silent] =
        [Client::connect(proxy.address).await, Client::connect(proxy.address).await];
    eventually(PATIENCE, || async {
        proxy.registry.get("http.test.downstream_cx_active") == Some(4)
    })
    .await;

    proxy.fleet.stop(&"listener".into());
    proxy.fleet.sync().await;
    for client in [&mut used, &mut fresh] {
        let answer = client.request(REQUEST).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(client.read_to_end().await, b"");
    }
    for client in [&mut idle, &mut silent] {
        assert_eq!(client.read_to_end().await, b"", "it is not kept for ever");
    }
}

/// Answers everything with a status.
fn answer_route(status: u16) -> Arc<Route> {
    route("/", Action::Direct(Direct::new(status, "")))
}

/// Another form of a listener, in which every path is answered with a status, by a chain of these terms.
fn answering(status: u16, terms: &[u8]) -> Arc<Listener> {
    let mut listener = listener("listener", manager(vec![answer_route(status)]), false);
    let all = Arc::get_mut(&mut listener).unwrap();
    Arc::get_mut(all.chains.default.as_mut().unwrap()).unwrap().terms = Some(terms.into());
    listener
}

/// What changes only what is done with requests holds for the next one of every connection, and closes none.
#[tokio::test]
async fn connections_go_on_with_a_chain_of_the_same_terms() {
    let mut proxy = Proxy::start(manager(Vec::new())).await;
    let mut before = answering(200, b"");
    proxy.fleet.serve(&before).unwrap();
    let (mut used, mut fresh) =
        (Client::connect(proxy.address).await, Client::connect(proxy.address).await);
    assert_eq!(used.request(REQUEST).await.status, 200);
    for status in 201..240 {
        let next = answering(status, b"");
        proxy.fleet.serve(&next).unwrap();
        proxy.fleet.sync().await;
        let answer = used.request(REQUEST).await;
        assert_eq!((answer.status, answer.header("connection")), (status, None));
        assert_eq!(Arc::strong_count(before.chains.default.as_ref().unwrap()), 1, "nobody has it");
        before = next;
    }
    assert_eq!(fresh.request(REQUEST).await.status, 239);

    // On other terms it would not have been taken: it is answered once more as it was taken, and no more.
    proxy.fleet.serve(&answering(299, b"other")).unwrap();
    proxy.fleet.sync().await;
    for client in [&mut used, &mut fresh] {
        let answer = client.request(REQUEST).await;
        assert_eq!((answer.status, answer.header("connection")), (239, Some("close")));
        assert_eq!(client.read_to_end().await, b"");
    }
}

/// Nobody who has a connection knows of the end before the next answer, and none of them loses a request for it: neither who was
/// answered before, nor who has only connected, whatever is looked at first.
#[tokio::test]
async fn a_request_that_is_on_its_way_is_answered_when_the_worker_drains() {
    let origin = Origin::start().http(echo).await;
    let mut proxy = Proxy::to(origin.address()).await;
    proxy.fleet.serve(&listener("looks", manager(vec![answer_route(200)]), true)).unwrap();
    proxy.fleet.sync().await;
    let looks = proxy.fleet.address("looks").expect("it is open");
    let mut used = Client::connect(proxy.address).await;
    assert_eq!(used.request(REQUEST).await.status, 200);
    let (mut fresh, mut looked_at) =
        (Client::connect(proxy.address).await, Client::connect(looks).await);
    eventually(PATIENCE, || async {
        let get = |name| proxy.registry.get(name);
        get("http.test.downstream_cx_active") == Some(2)
            && get("listener.looks.downstream_pre_cx_active") == Some(1)
    })
    .await;

    let clients = async {
        let closed = || async { tokio::net::TcpStream::connect(looks).await.is_err() };
        eventually(PATIENCE, closed).await;
        for client in [&mut used, &mut fresh, &mut looked_at] {
            let answer = client.request(REQUEST).await;
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
            assert_eq!(client.read_to_end().await, b"");
        }
    };
    let (drained, ()) = tokio::join!(proxy.fleet.drain(PATIENCE), clients);
    assert!(drained);
}

/// GOAWAY comes in two steps (RFC 9113 section 6.8): the first names no stream, and what a client has sent before it knew is served.
#[tokio::test]
async fn a_stream_that_is_on_its_way_is_served_when_the_worker_drains() {
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    let mut proxy = Proxy::start(manager(vec![answer_route(200)])).await;
    let mut client = Client::connect(proxy.address).await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let client = async {
        let (mut ping, mut goaways) = (None, Vec::new());
        // The acknowledgement of its settings shows that it is connected before the end begins.
        while let Ok((kind, flags, stream, content)) = frame(&mut client).await {
            match kind {
                GOAWAY => goaways.push(u32::from_be_bytes(content[..4].try_into().unwrap())),
                PING if flags == 0 => {
                    ping = Some(content);
                    // GET http://a/ in a HEADERS frame, END_STREAM and END_HEADERS.
                    client.send([0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'a']).await;
                }
                // It has been answered: now it hears of the first step.
                1 => {
                    assert_eq!((stream, content[0]), (1, 0x88), "200");
                    client.send([0, 0, 8, PING, 1, 0, 0, 0, 0]).await;
                    client.send(ping.take().expect("asked before")).await;
                }
                _ => {}
            }
        }
        goaways
    };
    let (drained, goaways) = tokio::join!(proxy.fleet.drain(PATIENCE), client);
    assert!(drained);
    assert_eq!(goaways[..2], [0x7fff_ffff, 1], "{goaways:?}");
}

/// A frame of HTTP/2: its type, flags, stream and content.
async fn frame(client: &mut Client) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
    let head = client.read_exact(9).await?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
    let content = client.read_exact(number(&head[..3]) as usize).await?;
    Ok((head[3], head[4], number(&head[5..]), content))
}

/// An end takes as long as it has to: connections that are used again and again have time to be, those that nobody uses have little.
#[tokio::test(start_paused = true)]
async fn connections_that_nobody_uses_do_not_keep_a_worker() {
    LocalSet::new()
        .run_until(async {
            for (unused, least) in
                [(Duration::from_secs(60), FIRST_REQUEST), (Duration::ZERO, LAST_REQUEST)]
            {
                let inside = Inside::start().await;
                let mut client = Client::connect(inside.addresses[0]).await;
                assert_eq!(client.request(REQUEST).await.status, 200);
                tokio::time::sleep(unused).await;
                let (done, drained) = oneshot::channel();
                let began = tokio::time::Instant::now();
                inside.tell(Command::Drain(done));
                let leaves = async {
                    assert_eq!(client.read_to_end().await, b"");
                    drop(client);
                };
                let (drained, ()) = tokio::join!(drained, leaves);
                drained.unwrap();
                // At the end it is waited a second for the client to close, too.
                let took = began.elapsed();
                let most = least + Duration::from_millis(1100);
                assert!((least - Duration::from_millis(100)..most).contains(&took), "{took:?}");
            }
        })
        .await;
}

/// A worker in this thread: it does nothing while the test does something.
struct Inside {
    commands: mpsc::UnboundedSender<Command>,
    /// Where its listener is.
    addresses: Vec<SocketAddr>,
}

impl Inside {
    /// Listens at two addresses. To be called within a `LocalSet`.
    async fn start() -> Self {
        let registry = Registry::new(1);
        let logs = Logs::start(&registry, Options::default()).unwrap();
        let places = Places::of_process();
        let worker = Worker::new(0, registry.worker(0), logs.recorder(0), None, places);
        let (commands, receiver) = mpsc::unbounded_channel();
        tokio::task::spawn_local(run(Rc::new(worker), receiver));
        let any = ([127, 0, 0, 1], 0).into();
        let two = Binding { addresses: vec![any, any], transparent: false };
        let sockets = bind_all(&two, &Binding::default(), 1).unwrap().remove(0);
        let addresses = sockets.iter().map(|socket| socket.address().unwrap()).collect();
        let inside = Self { commands, addresses };
        inside.listen(sockets);
        inside.sync().await;
        inside
    }

    fn tell(&self, command: Command) {
        self.commands.send(command).unwrap();
    }

    fn listen(&self, sockets: Vec<ListenerSocket>) {
        self.tell(Command::Listen(answering(200, b""), sockets));
    }

    async fn sync(&self) {
        let (done, is_done) = oneshot::channel();
        self.tell(Command::Sync(done));
        is_done.await.unwrap();
    }

    /// Clients whose connections wait to be accepted, one at each address, with a request each.
    fn clients(&self) -> Vec<Client> {
        let connect = |address: &SocketAddr| {
            let mut io = std::net::TcpStream::connect(address).unwrap();
            io.write_all(REQUEST.as_bytes()).unwrap();
            io.set_nonblocking(true).unwrap();
            Client::over(tokio::net::TcpStream::from_std(io).unwrap())
        };
        self.addresses.iter().map(connect).collect()
    }
}

/// The kernel resets what waits in the queue of a socket that is closed.
#[tokio::test]
async fn who_waits_to_be_accepted_is_answered_when_the_listener_goes_or_moves() {
    LocalSet::new()
        .run_until(async {
            let inside = Inside::start().await;
            let [kept, left] = inside.addresses[..] else { panic!("two addresses") };
            let waiting = inside.clients();
            inside.listen(vec![ListenerSocket::Kept(kept)]);
            for mut client in waiting {
                assert_eq!(client.response().await.status, 200);
            }
            std::net::TcpListener::bind(left).expect("it has been given up");

            let inside = Inside::start().await;
            let waiting = inside.clients();
            inside.tell(Command::Stop("listener".into()));
            for mut client in waiting {
                let answer = client.response().await;
                assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
            }
            for address in inside.addresses {
                std::net::TcpListener::bind(address).expect("it has been given up");
            }
        })
        .await;
}

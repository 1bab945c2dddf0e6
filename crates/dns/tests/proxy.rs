//! The proxy on real sockets of loopback, before resolvers that do as they are told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tidegate_dns::{Counters, DnsProxy, Host, Leads, Server, Upstream, host_name};
use tidegate_testing::PATIENCE;
use tidegate_testing::dns_server::{DnsServer, Reply, address_record, alias_record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A proxy that serves; it ends when dropped.
struct Fixture {
    proxy: Arc<DnsProxy>,
    address: SocketAddr,
    task: JoinHandle<()>,
    _files: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fixture {
    fn start(resolvers: &[SocketAddr]) -> Self {
        let server = Server::bind(&["127.0.0.1:0".parse().unwrap()]).expect("a port");
        Self::on(server, resolvers)
    }

    fn on(server: Server, resolvers: &[SocketAddr]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let conf = files.path().join("resolv.conf");
        std::fs::write(&conf, "search own.svc.cluster.local svc.cluster.local\n").unwrap();
        let proxy = Arc::new(DnsProxy::new(Upstream::new(resolvers.to_vec(), conf)));
        let address = server.addresses()[0];
        let serving = server.serve(Arc::clone(&proxy));
        let task = tokio::spawn(async move { serving.await.expect("serving") });
        Self { proxy, address, task, _files: files }
    }

    fn set(&self, host: &str, short: &[&str], addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.lead(host, short, Leads::To(addresses));
    }

    fn lead(&self, host: &str, short: &[&str], leads: Leads) {
        let short = short.iter().map(|name| host_name(name).unwrap()).collect();
        self.proxy.update([(host_name(host).unwrap(), Some(Host { leads, short }))]);
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        let answer = over_udp(self.address, &query(name, kind)).await;
        Message::from_vec(&answer).expect("a message")
    }

    /// The code and the records of an answer, in words.
    async fn said(&self, name: &str, kind: RecordType) -> String {
        words(&self.ask(name, kind).await)
    }

    fn count(&self, counter: impl Fn(&Counters) -> &std::sync::atomic::AtomicU64) -> u64 {
        counter(self.proxy.counters()).load(Ordering::Relaxed)
    }
}

fn words(message: &Message) -> String {
    let code = format!("{:?}", message.metadata.response_code);
    let records = message.answers.iter().map(|record| format!("{} {}", record.name, record.data));
    std::iter::once(code).chain(records).collect::<Vec<_>>().join("; ")
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(host_name(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn over_udp(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(query).await.unwrap();
    let mut answer = vec![0; 65_535];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.expect("an answer").unwrap();
    answer.truncate(length);
    assert_eq!(answer[..2], query[..2], "the id of the query");
    answer
}

async fn send_tcp(stream: &mut TcpStream, query: &[u8]) {
    stream.write_u16(query.len().try_into().unwrap()).await.unwrap();
    stream.write_all(query).await.unwrap();
}

async fn receive_tcp(stream: &mut TcpStream) -> Message {
    let length = timeout(PATIENCE, stream.read_u16()).await.expect("an answer").unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

/// A resolver that only the test speaks for.
async fn puppet() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 4096];
    let (length, from) =
        timeout(PATIENCE, socket.recv_from(&mut bytes)).await.expect("a query").unwrap();
    bytes.truncate(length);
    (bytes, from)
}

#[tokio::test]
async fn addresses_of_the_table_have_its_names_and_others_are_for_a_resolver_to_say() {
    let upstream = DnsServer::start().await;
    let fixture = Fixture::start(&[upstream.address]);
    fixture.set("db.example", &["db"], &["240.240.0.1", "2001:2::f0f0:1"]);
    let asked = "1.0.240.240.in-addr.arpa.";
    let expected = format!("NoError; {asked} db.example.");
    assert_eq!(fixture.said(asked, RecordType::PTR).await, expected);
    let asked = "1.0.0.0.0.f.0.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa.";
    assert!(fixture.said(asked, RecordType::PTR).await.ends_with(" db.example."), "{asked}");
    assert_eq!(fixture.count(|counters| &counters.from_table), 2);
    for other in ["2.0.240.240.in-addr.arpa.", "240.240.in-addr.arpa.", "db.example."] {
        assert!(!fixture.said(other, RecordType::PTR).await.contains(';'), "{other}");
    }
    assert_eq!(fixture.count(|counters| &counters.forwarded), 3);
}

#[tokio::test]
async fn names_of_the_table_are_answered_without_a_resolver() {
    let upstream = DnsServer::start().await;
    let fixture = Fixture::start(&[upstream.address]);
    fixture.set("a.own.svc.cluster.local", &["a", "a.own"], &["192.0.2.1"]);
    fixture.set("db.example", &[], &["240.240.0.1", "2001:2::f0f0:1"]);
    fixture.set("*.wide.example", &[], &["240.240.0.2"]);
    let long = "www.wide.example.own.svc.cluster.local";
    for (name, kind, expected) in [
        ("a.own.svc.cluster.local", RecordType::A, "NoError; a.own.svc.cluster.local. 192.0.2.1"),
        ("a", RecordType::A, "NoError; a. 192.0.2.1"),
        ("a.own", RecordType::AAAA, "NoError"),
        ("Db.Example", RecordType::A, "NoError; db.example. 240.240.0.1"),
        ("db.example", RecordType::AAAA, "NoError; db.example. 2001:2::f0f0:1"),
        ("db.example", RecordType::HTTPS, "NoError"),
        ("x.wide.example", RecordType::A, "NoError; x.wide.example. 240.240.0.2"),
        (
            long,
            RecordType::A,
            &format!("NoError; {long}. www.wide.example.; www.wide.example. 240.240.0.2"),
        ),
    ] {
        assert_eq!(fixture.said(name, kind).await, expected, "{name} {kind}");
    }
    let answer = fixture.ask("db.example", RecordType::A).await;
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    assert_eq!(answer.answers[0].ttl, 30);
    assert!(upstream.asked().is_empty());
    assert_eq!((fixture.count(|c| &c.queries), fixture.count(|c| &c.from_table)), (9, 9));

    let name_of = |text: &str| fixture.proxy.name_of(text.parse().unwrap());
    assert_eq!(name_of("240.240.0.1").as_deref(), Some("db.example"));
    assert_eq!(name_of("240.240.0.2").as_deref(), Some("www.wide.example"));
    assert_eq!(name_of("240.240.0.3"), None);

    fixture.proxy.update([(host_name("db.example").unwrap(), None)]);
    assert_eq!(fixture.said("db.example", RecordType::A).await, "NXDomain", "as the resolver says");
}

#[tokio::test]
async fn addresses_take_turns() {
    let fixture = Fixture::start(&[]);
    let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    fixture.set("a.example", &[], &all);
    let mut first = Vec::new();
    for _ in 0..6 {
        let answer = fixture.ask("a.example", RecordType::A).await;
        let addresses: Vec<IpAddr> =
            answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        assert_eq!(addresses.len(), 3);
        first.push(addresses[0].to_string());
    }
    assert_eq!(first, [all, all].concat());
}

#[tokio::test]
async fn other_types_of_a_name_of_the_table_are_asked_for_but_the_name_exists() {
    let upstream = DnsServer::start().await;
    let fixture = Fixture::start(&[upstream.address]);
    fixture.set("a.own.svc.cluster.local", &[], &["192.0.2.1"]);
    assert_eq!(fixture.said("a.own.svc.cluster.local", RecordType::MX).await, "NoError");
    assert_eq!(upstream.asked().len(), 1);
    assert_eq!(fixture.said("b.own.svc.cluster.local", RecordType::MX).await, "NXDomain");
}

#[tokio::test]
async fn an_alias_leads_to_what_a_resolver_knows() {
    let upstream = DnsServer::start().await;
    let fixture = Fixture::start(&[upstream.address]);
    let target = |text| Leads::Alias(host_name(text).unwrap());
    fixture.lead("httpbin.own.svc.cluster.local", &["httpbin"], target("httpbin.org"));
    fixture.lead("gone.own.svc.cluster.local", &["gone"], target("gone.example"));
    upstream.reply(
        "httpbin.org.",
        RecordType::A,
        Reply::Records(vec![
            alias_record("httpbin.org.", 60, "lb.example."),
            address_record("lb.example.", 60, "192.0.2.7"),
        ]),
    );
    upstream.reply("httpbin.org.", RecordType::AAAA, Reply::Code(ResponseCode::NoError));
    let via = "NoError; httpbin. httpbin.org.";
    let expected = format!("{via}; httpbin.org. lb.example.; lb.example. 192.0.2.7");
    assert_eq!(fixture.said("httpbin", RecordType::A).await, expected);
    assert_eq!(fixture.said("httpbin", RecordType::AAAA).await, via);
    assert_eq!(fixture.said("httpbin", RecordType::CNAME).await, via);
    let gone = fixture.said("gone", RecordType::A).await;
    assert_eq!(gone, "NXDomain; gone. gone.example.");
    let name = fixture.proxy.name_of("192.0.2.7".parse().unwrap());
    assert_eq!(name.as_deref(), Some("httpbin.org"));

    // A host of the table takes the place of what a resolver says.
    fixture.set("httpbin.org", &[], &["240.240.0.9"]);
    let expected = format!("{via}; httpbin.org. 240.240.0.9");
    assert_eq!(fixture.said("httpbin", RecordType::A).await, expected);
}

/// Options, upper and lower case, types and classes that nobody here knows: all but the id.
#[tokio::test]
async fn what_is_forwarded_goes_as_it_came() {
    let (resolver, address) = puppet().await;
    let fixture = Fixture::start(&[address]);
    let mut ids = Vec::new();
    for number in 0..8_u16 {
        let mut message = Message::query();
        let name = Name::from_ascii("wWw.ExAmPlE.").unwrap();
        message.add_query(Query::query(name, RecordType::Unknown(65_280 + number)));
        let mut edns = Edns::new();
        edns.set_max_payload(1400).set_dnssec_ok(true);
        edns.options_mut()
            .insert(hickory_proto::rr::rdata::opt::EdnsOption::Unknown(65_001, vec![1, 2]));
        message.edns = Some(edns);
        message.metadata.checking_disabled = true;
        let sent = message.to_vec().unwrap();
        let asking = over_udp(fixture.address, &sent);
        let answering = async {
            let (asked, from) = receive(&resolver).await;
            assert_eq!(asked[2..], sent[2..]);
            ids.push([asked[0], asked[1]]);
            let mut answer = asked;
            answer[2] |= 0x80;
            answer[3] |= 0x23; // AD, and NXDOMAIN
            resolver.send_to(&answer, from).await.unwrap();
            answer
        };
        let (received, answered) = tokio::join!(asking, answering);
        assert_eq!(received[2..], answered[2..]);
    }
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() > 4, "ids are random: {ids:?}");
}

#[tokio::test]
async fn only_the_answer_to_the_question_from_whom_it_was_asked_counts() {
    let (resolver, address) = puppet().await;
    let (other, _) = puppet().await;
    let fixture = Fixture::start(&[address]);
    let sent = query("a.example", RecordType::A);
    let answering = async {
        let (asked, from) = receive(&resolver).await;
        let mut good = Message::from_vec(&asked).unwrap().into_response();
        good.add_answer(address_record("a.example.", 5, "192.0.2.1"));
        let mut wrong = good.clone();
        wrong.answers = vec![address_record("a.example.", 5, "192.0.2.66")];
        other.send_to(&wrong.to_vec().unwrap(), from).await.unwrap();
        let mut id = wrong.clone();
        id.metadata.id ^= 1;
        let mut question = wrong.clone();
        question.queries = vec![Query::query(host_name("b.example").unwrap(), RecordType::A)];
        let mut kind = wrong.clone();
        kind.queries[0].set_query_type(RecordType::AAAA);
        for lie in [id, question, kind] {
            resolver.send_to(&lie.to_vec().unwrap(), from).await.unwrap();
        }
        resolver.send_to(&[1, 2, 3], from).await.unwrap();
        resolver.send_to(&asked, from).await.unwrap();
        resolver.send_to(&good.to_vec().unwrap(), from).await.unwrap();
    };
    let (answer, ()) = tokio::join!(over_udp(fixture.address, &sent), answering);
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(words(&answer), "NoError; a.example. 192.0.2.1");
}

#[tokio::test]
async fn a_resolver_that_is_dead_is_asked_after_the_others() {
    let (silent, dead) = puppet().await;
    let upstream = DnsServer::start().await;
    upstream.address("a.example.", 5, "192.0.2.1");
    let fixture = Fixture::start(&[dead, upstream.address]);
    let expected = "NoError; a.example. 192.0.2.1";
    assert_eq!(fixture.said("a.example", RecordType::A).await, expected);
    receive(&silent).await;
    let begin = Instant::now();
    assert_eq!(fixture.said("a.example", RecordType::A).await, expected);
    assert!(begin.elapsed() < Duration::from_secs(2), "the dead one was asked first again");
}

#[tokio::test]
async fn one_that_fails_is_believed_when_no_other_knows_better() {
    let (first, second) = (DnsServer::start().await, DnsServer::start().await);
    first.reply("a.example.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    first.reply("b.example.", RecordType::A, Reply::Code(ResponseCode::Refused));
    second.reply("b.example.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    second.address("a.example.", 5, "192.0.2.1");
    let fixture = Fixture::start(&[first.address, second.address]);
    let known = fixture.said("a.example", RecordType::A).await;
    assert_eq!(known, "NoError; a.example. 192.0.2.1");
    assert_eq!(fixture.said("b.example", RecordType::A).await, "ServFail");
    assert_eq!(second.asked().len(), 2);
    assert_eq!(fixture.said("c.example", RecordType::A).await, "NXDomain", "an answer");
    assert!(second.asked().is_empty(), "the first one knew");
}

#[tokio::test]
async fn without_a_resolver_a_query_fails_and_the_table_goes_on() {
    let (gone, closed) = puppet().await;
    drop(gone);
    let fixture = Fixture::start(&[closed]);
    fixture.set("a.example", &[], &["192.0.2.1"]);
    assert_eq!(fixture.said("b.example", RecordType::A).await, "ServFail");
    assert_eq!(fixture.count(|c| &c.failed), 1);
    assert_eq!(fixture.said("a.example", RecordType::A).await, "NoError; a.example. 192.0.2.1");
    let none = Fixture::start(&[]);
    assert_eq!(none.said("b.example", RecordType::A).await, "ServFail");
}

#[tokio::test]
async fn what_is_too_long_for_udp_is_fetched_over_tcp() {
    let upstream = DnsServer::start().await;
    upstream.truncate();
    let many = (0..60).map(|n| address_record("many.example.", 5, &format!("192.0.2.{n}")));
    upstream.reply("many.example.", RecordType::A, Reply::Records(many.collect()));
    let fixture = Fixture::start(&[upstream.address]);

    let small = fixture.ask("many.example", RecordType::A).await;
    assert!(small.metadata.truncation, "the client takes 512 bytes");
    let mut large = Message::from_vec(&query("many.example", RecordType::A)).unwrap();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    large.edns = Some(edns);
    let answer = over_udp(fixture.address, &large.to_vec().unwrap()).await;
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!((answer.answers.len(), answer.metadata.truncation), (60, false));

    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    send_tcp(&mut stream, &query("many.example", RecordType::A)).await;
    assert_eq!(receive_tcp(&mut stream).await.answers.len(), 60);
    let over_tcp = upstream.asked().into_iter().map(|asked| asked.tcp).collect::<Vec<_>>();
    assert_eq!(over_tcp, [false, true, false, true, true], "who asks over TCP is answered over it");
}

#[tokio::test]
async fn a_connection_carries_one_query_after_the_other() {
    let fixture = Fixture::start(&[]);
    fixture.set("a.example", &[], &["192.0.2.1"]);
    fixture.set("b.example", &[], &["192.0.2.2"]);
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    for name in ["a.example", "b.example"] {
        send_tcp(&mut stream, &query(name, RecordType::A)).await;
    }
    assert_eq!(words(&receive_tcp(&mut stream).await), "NoError; a.example. 192.0.2.1");
    assert_eq!(words(&receive_tcp(&mut stream).await), "NoError; b.example. 192.0.2.2");
    send_tcp(&mut stream, &query("a.example", RecordType::AXFR)).await;
    assert_eq!(words(&receive_tcp(&mut stream).await), "NotImp");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let fixture = Fixture::start(&[]);
    for begun in [&b""[..], &[0], &[0, 200, 1, 2, 3]] {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let begin = tokio::time::Instant::now();
        let mut rest = Vec::new();
        // With bytes in flight it may be reset.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty() && begin.elapsed() <= Duration::from_secs(11));
    }
}

#[tokio::test]
async fn connections_have_a_bound() {
    let fixture = Fixture::start(&[]);
    fixture.set("a.example", &[], &["192.0.2.1"]);
    let mut streams = Vec::new();
    for _ in 0..128 {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        send_tcp(&mut stream, &query("a.example", RecordType::A)).await;
        receive_tcp(&mut stream).await;
        streams.push(stream);
    }
    let mut more = TcpStream::connect(fixture.address).await.unwrap();
    let closed = timeout(PATIENCE, more.read(&mut [0; 2])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)));
    assert_eq!(fixture.count(|c| &c.overflow), 1);
    assert_eq!(fixture.said("a.example", RecordType::A).await, "NoError; a.example. 192.0.2.1");
}

#[tokio::test]
async fn a_query_that_comes_back_is_not_sent_round() {
    // It does not see that its resolver is itself by the address.
    let server = Server::bind(&["0.0.0.0:0".parse().unwrap()]).expect("a port");
    let itself = SocketAddr::new([127, 0, 0, 1].into(), server.addresses()[0].port());
    let mut fixture = Fixture::on(server, &[itself]);
    fixture.address = itself;
    assert_eq!(fixture.said("a.example", RecordType::A).await, "ServFail");
    assert_eq!((fixture.count(|c| &c.circles), fixture.count(|c| &c.queries)), (1, 2));

    let server = Server::bind(&["127.0.0.1:0".parse().unwrap()]).expect("a port");
    let own = server.addresses()[0];
    let fixture = Fixture::on(server, &[own]);
    assert_eq!(fixture.said("a.example", RecordType::A).await, "ServFail");
    assert_eq!((fixture.count(|c| &c.circles), fixture.count(|c| &c.queries)), (0, 1));
}

#[tokio::test]
async fn ten_thousand_names_are_answered() {
    let fixture = Fixture::start(&[]);
    let address = |n: u16| IpAddr::from([240, 240, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    fixture.proxy.update((0..10_000).map(|n| {
        let host = Host { leads: Leads::To(vec![address(n)]), short: Vec::new() };
        (host_name(&format!("host-{n}.example")).unwrap(), Some(host))
    }));
    assert_eq!(fixture.proxy.hosts(), 10_000);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(fixture.address).await.unwrap();
    let mut answer = [0; 512];
    for n in 0..10_000 {
        socket.send(&query(&format!("host-{n}.example"), RecordType::A)).await.unwrap();
        let length = timeout(PATIENCE, socket.recv(&mut answer)).await.expect("an answer").unwrap();
        let answer = Message::from_vec(&answer[..length]).unwrap();
        assert_eq!(answer.answers[0].data.ip_addr(), Some(address(n)));
    }
    fixture
        .proxy
        .update((0..10_000).map(|n| (host_name(&format!("host-{n}.example")).unwrap(), None)));
    assert_eq!(fixture.proxy.hosts(), 0);
}

#[test]
fn a_port_that_is_taken_is_told_with_its_protocol() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(&[address]).expect_err("it is taken").to_string();
    assert!(error.starts_with(&format!("cannot listen on {address} (tcp): ")), "{error}");
}

/// As long as nobody says otherwise.
#[tokio::test]
async fn what_resolvers_told_last_is_told_while_they_tell_nothing() {
    let upstream = DnsServer::start().await;
    upstream.address("a.example.", 5, "192.0.2.1");
    let alias =
        [alias_record("b.example.", 5, "a.example."), address_record("a.example.", 5, "192.0.2.1")];
    upstream.reply("b.example.", RecordType::A, Reply::Records(alias.to_vec()));
    let fixture = Fixture::start(&[upstream.address]);
    let known = "NoError; a.example. 192.0.2.1";
    let aliased = "NoError; b.example. a.example.; a.example. 192.0.2.1";
    assert_eq!(fixture.said("a.example", RecordType::A).await, known);
    assert_eq!(fixture.said("b.example", RecordType::A).await, aliased);

    for reply in [Reply::Silence, Reply::Code(ResponseCode::ServFail)] {
        for name in ["a.example.", "b.example.", "unknown.example."] {
            upstream.reply(name, RecordType::A, reply.clone());
        }
        let begun = Instant::now();
        let stale = fixture.ask("A.example", RecordType::A).await;
        assert_eq!(words(&stale), known);
        assert!(stale.answers.iter().all(|record| record.ttl == 30));
        assert_eq!(fixture.said("b.example", RecordType::A).await, aliased);
        // Clients ask again after five seconds.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    assert_eq!(fixture.said("unknown.example", RecordType::A).await, "ServFail");

    // A name that is gone is gone.
    upstream.reply("a.example.", RecordType::A, Reply::Code(ResponseCode::NXDomain));
    assert_eq!(fixture.said("a.example", RecordType::A).await, "NXDomain");
    upstream.reply("a.example.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    assert_eq!(fixture.said("a.example", RecordType::A).await, "ServFail");
}

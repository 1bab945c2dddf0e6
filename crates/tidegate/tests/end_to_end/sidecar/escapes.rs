//! A workload that tries to get out by what its resources do not allow. Whatever it says, no origin but the one that is meant hears
//! of it.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tidegate_testing::PATIENCE;
use tidegate_testing::ca::Ca;
use tidegate_testing::client;
use tidegate_testing::dns_server::DnsServer;
use tidegate_testing::origin::Origin;
use tidegate_testing::process;
use tidegate_testing::tools::Tool;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::Command;

use super::{EVERYTHING, at, first_words, host};
use crate::support::captured::{ORIGINS, RESOLVER, WORKLOAD, World, greeter, resolver};

/// What is allowed: a host of each kind, all of them at the first origin.
const ALLOWED: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secure}
spec:
  hosts: [secure.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: raw}
spec:
  hosts: [raw.example]
  addresses: [10.77.0.2]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: NONE
";

/// The status that bytes are answered at an address; nothing where they get no answer.
async fn status(world: &World, to: SocketAddr, bytes: &str) -> Option<u16> {
    let stream = world.dial(to).await.expect("a connection");
    let mut client = client::Client::over(stream);
    client.send(bytes).await;
    client.read(false).await.ok().map(|answer| answer.status)
}

#[tokio::test]
async fn hosts_and_server_names_lead_nowhere_but_to_their_own() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let identity = ca.issue(&["secure.example", "stranger.example"]);
    let web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let secure = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    let mut strangers = Vec::new();
    for origin in [ORIGINS[1], ORIGINS[2]] {
        strangers.push(Origin::start().at(at(origin, 80)).http(host).await);
        strangers.push(Origin::start().at(at(origin, 443)).tls(&identity).http(host).await);
        strangers.push(Origin::start().at(at(origin, 8080)).http(host).await);
    }
    world.manifest("allowed.yaml", ALLOWED);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;

    // An allowed name at a stranger's address, in both families: it goes to its own origin.
    for address in ["10.77.0.3", "[fd77::2]"] {
        let url = format!("http://{address}/");
        let answer = world.curl(&["-g", "-H", "Host: web.example", &url]).await;
        assert_eq!(answer, "web.example 200", "{address}");
        let connect = format!("secure.example:443:{address}:443");
        let answer = world.curl(&["-k", "--connect-to", &connect, "https://secure.example/"]).await;
        assert_eq!(answer, "secure.example 200", "{address}");
    }
    assert_eq!((web.requests(), secure.requests()), (2, 2));

    // A stranger by its address, of either family, and by its name at an allowed address.
    for address in ["10.77.0.3", "[fd77::2]", "10.77.0.3:8080", "[fd77::2]:8080"] {
        let answer = world.curl(&["-g", &format!("http://{address}/")]).await;
        assert!(answer.contains("is denied") && answer.ends_with(" 502"), "{address}: {answer}");
    }
    let connect = "stranger.example:443:10.77.0.2:443";
    let answer = world.curl(&["-k", "--connect-to", connect, "https://stranger.example/"]).await;
    assert!(answer.contains(" 000"), "{answer}");

    // Requests that name two hosts, or a tunnel.
    let to = at(ORIGINS[1], 80);
    for (bytes, wanted) in [
        ("GET http://stranger.example/ HTTP/1.1\r\nHost: web.example\r\n\r\n", 502),
        ("GET / HTTP/1.1\r\nHost: web.example\r\nHost: stranger.example\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: web.example@stranger.example\r\n\r\n", 400),
        ("CONNECT tunnel.example:443 HTTP/1.1\r\nHost: tunnel.example:443\r\n\r\n", 502),
        ("CONNECT web.example:443 HTTP/1.1\r\nHost: web.example:443\r\n\r\n", 502),
        ("CONNECT web.example:80 HTTP/1.1\r\nHost: web.example:80\r\n\r\n", 502),
        ("CONNECT 10.77.0.66:443 HTTP/1.1\r\nHost: web.example\r\n\r\n", 502),
    ] {
        assert_eq!(status(&world, to, bytes).await, Some(wanted), "{bytes:?}");
    }
    // Each of them is on the list, by whom it asked for.
    let denied = world.curl(&["http://127.0.0.1:15000/egress/denied"]).await;
    for asked in ["stranger.example", "tunnel.example", "web.example"] {
        assert!(denied.contains(&format!("\"{asked}")), "{asked}: {denied}");
    }
    let heard = strangers.iter().map(Origin::connections).sum::<usize>();
    assert_eq!((heard, web.requests(), secure.requests()), (0, 2, 2));
    sidecar.end().await;
}

/// Hosts whose addresses no resource knows.
const WILD: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example']
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: NONE
";

#[tokio::test]
async fn a_name_of_a_wildcard_opens_no_address_that_the_workload_picks() {
    let Some(world) = World::new() else { return };
    let internet = resolver().await;
    internet.address("own.wild.example.", 60, ORIGINS[0]);
    let ca = Ca::new("internet");
    let identity = ca.issue(&["own.wild.example"]);
    let mut all = Vec::new();
    for origin in ORIGINS {
        let plain = Origin::start().at(at(origin, 80)).http(host).await;
        let secure = Origin::start().at(at(origin, 443)).tls(&identity).http(host).await;
        all.push([plain, secure]);
    }
    world.manifest("wild.yaml", WILD);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&["--dns-server", RESOLVER]).await;
    for address in ["10.77.0.3", "[fd77::2]", "10.77.0.200"] {
        let connect = format!("own.wild.example:443:{address}:443");
        let answer =
            world.curl(&["-k", "--connect-to", &connect, "https://own.wild.example/"]).await;
        assert_eq!(answer, "own.wild.example 200", "{address}");
        let url = format!("http://{address}/");
        let answer = world.curl(&["-g", "-H", "Host: own.wild.example", &url]).await;
        assert_eq!(answer, "own.wild.example 200", "{address}");
        // Nor does a name that leads nowhere let it through.
        let answer = world.curl(&["-g", "-H", "Host: made-up.wild.example", &url]).await;
        assert!(answer.ends_with(" 503"), "{address}: {answer}");
    }
    let heard = all.iter().map(|both| both.each_ref().map(Origin::connections));
    let heard: Vec<_> = heard.map(|[plain, secure]| (plain > 0, secure > 0)).collect();
    assert_eq!(heard, [(true, true), (false, false), (false, false)]);
    sidecar.end().await;
}

/// Bytes without a name, of hosts whose addresses no resource knows.
const NAMELESS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: second}
spec:
  hosts: [second.example]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example']
  ports: [{number: 9001, name: tcp, protocol: TCP}, {number: 9002, name: any}]
  resolution: NONE
";

#[tokio::test]
async fn bytes_go_where_a_name_of_their_port_led_and_nowhere_else() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let internet = resolver().await;
    let [first, second, third] = ORIGINS;
    for (name, address) in
        [("db", first), ("second", second), ("own.wild", second), ("stranger", first)]
    {
        internet.address(&format!("{name}.example."), 60, address);
    }
    for (origin, port) in ORIGINS.into_iter().flat_map(|it| [9000, 9001, 9002].map(|p| (it, p))) {
        greeter(origin, port).await;
    }
    world.manifest("nameless.yaml", NAMELESS);
    world.capture(&[&EVERYTHING[..], &["--redirect-dns", "--capture-all-dns"]].concat());
    let sidecar = world.sidecar(&["--redirect-dns", "--dns-server", RESOLVER]).await;
    let hello = async |origin: &str, port: u16| {
        let said = first_words(world.dial(at(origin, port)).await).await;
        assert!(said.is_empty() || said == format!("hello {}\n", WORKLOAD[0]), "{said}");
        !said.is_empty()
    };
    // Nobody has asked for any name yet.
    for origin in ORIGINS {
        assert!(!hello(origin, 9000).await && !hello(origin, 9001).await, "{origin}");
    }
    let server = format!("@{RESOLVER}");
    for name in ["stranger", "db", "second", "own.wild"] {
        let name = format!("{name}.example");
        let told = world.run("dig", &["+short", "+tries=1", "+time=10", &server, &name]).await;
        assert!(told.stdout.starts_with("10.77."), "{name}: {told:?}");
    }
    for (origin, ports) in
        [(first, [true, false, false]), (second, [true, true, true]), (third, [false; 3])]
    {
        for (port, is_out) in [9000, 9001].into_iter().zip(ports) {
            assert_eq!(hello(origin, port).await, is_out, "{origin}:{port}");
        }
    }
    assert!(hello(second, 9002).await, "a port that says nothing");
    // Requests are told why.
    let answer = world.curl(&[&format!("http://{first}:9001/")]).await;
    assert!(answer.ends_with(" 502"), "{answer}");
    let denied = world.curl(&["http://127.0.0.1:15000/egress/denied"]).await;
    assert!(denied.contains(third), "{denied}");
    sidecar.end().await;
}

/// Dials from the workload, with what an option of the socket does first.
async fn dial_with(
    world: &World,
    to: SocketAddr,
    prepare: impl FnOnce(&Socket) -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<TcpStream> {
    let dialled = world.inside(move || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        prepare(&socket)?;
        socket.connect_timeout(&SockAddr::from(to), Duration::from_secs(2))?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    });
    dialled.and_then(TcpStream::from_std)
}

#[tokio::test]
async fn sockets_and_users_of_their_own_are_captured_all_the_same() {
    let Some(world) = World::new() else { return };
    for (origin, port) in [(ORIGINS[0], 9000), (ORIGINS[1], 9000), (ORIGINS[2], 9000)] {
        greeter(origin, port).await;
    }
    world.manifest("allowed.yaml", ALLOWED);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    let allowed = world.dial(at(ORIGINS[0], 9000)).await;
    assert_eq!(first_words(allowed).await, format!("hello {}\n", WORKLOAD[0]));
    for origin in [ORIGINS[1], ORIGINS[2]] {
        let to = at(origin, 9000);
        assert_eq!(first_words(world.dial(to).await).await, "", "{origin}");
        // The mark of TPROXY, and of Istio's own packets.
        let marked = dial_with(&world, to, |socket| socket.set_mark(1337)).await;
        assert_eq!(first_words(marked).await, "", "{origin}, marked");
    }
    // The address that the sidecar itself reaches its workload from.
    let source: SocketAddr = (IpAddr::from([127, 0, 0, 6]), 0).into();
    let bind = move |socket: &Socket| socket.bind(&source.into());
    let bound = dial_with(&world, at(ORIGINS[1], 9000), bind).await;
    assert_eq!(first_words(bound).await, "", "from 127.0.0.6");
    // Another user is captured as every other.
    let mut curl = world.command("nsenter");
    curl.args(["--setuid", "4000", "--setgid", "4000", "--", "curl", "-sS", "-m", "20"]);
    curl.args(["-w", " %{http_code}", "http://10.77.0.3:9000/"]);
    curl.process_group(0);
    let output = process::run(Command::from(curl), "").await;
    assert!(output.stdout.ends_with(" 502"), "{output:?}");
    sidecar.end().await;
}

#[tokio::test]
async fn other_resolvers_are_not_heard() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let internet = resolver().await;
    internet.address("known.example.", 60, "10.77.0.9");
    // Somebody else's, in both families and over both transports, and what speaks DNS over TLS and HTTPS there.
    let mut others = Vec::new();
    for origin in [ORIGINS[1], ORIGINS[2]] {
        let udp = UdpSocket::bind(at(origin, 53)).await.expect("a port of ours");
        let tcp = TcpListener::bind(at(origin, 53)).await.expect("a port of ours");
        let other = DnsServer::on(udp, tcp);
        other.address("known.example.", 60, "10.77.0.66");
        other.address("secret.data.example.", 60, "10.77.0.66");
        others.push(other);
    }
    let ca = Ca::new("internet");
    let identity = ca.issue(&["dns.example"]);
    let over_tls = Origin::start().at(at(ORIGINS[1], 853)).tls(&identity).http(host).await;
    let over_https = Origin::start().at(at(ORIGINS[1], 443)).tls(&identity).http(host).await;
    world.capture(&["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let sidecar = world.sidecar(&["--dns-server", RESOLVER]).await;
    let brief = ["+short", "+tries=1", "+time=10"];
    for origin in [ORIGINS[1], ORIGINS[2]] {
        let server = format!("@{origin}");
        for transport in ["+notcp", "+tcp"] {
            let arguments = [&brief[..], &[&server, transport, "known.example"]].concat();
            let answer = world.run("dig", &arguments).await.stdout;
            assert_eq!(answer.trim(), "10.77.0.9", "{origin} {transport}");
        }
    }
    let connect = "dns.example:443:10.77.0.3:443";
    let https = world.curl(&["-k", "--connect-to", connect, "https://dns.example/dns-query"]).await;
    assert!(https.contains(" 000"), "{https}");
    assert_eq!(first_words(world.dial(at(ORIGINS[1], 853)).await).await, "");
    let asked: Vec<_> = others.iter().flat_map(DnsServer::asked).map(|asked| asked.name).collect();
    assert!(asked.is_empty(), "{asked:?}");
    assert_eq!((over_tls.connections(), over_https.connections()), (0, 0));
    sidecar.end().await;
}

#[tokio::test]
async fn udp_goes_past_the_sidecar_as_with_istio() {
    let Some(world) = World::new() else { return };
    let origin = UdpSocket::bind(at(ORIGINS[0], 443)).await.expect("a port of ours");
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    // HTTP/3 would be sent so; what is captured is TCP, and queries of DNS where `--redirect-dns` says so.
    let quic = at(ORIGINS[0], 443);
    let sent = world.inside(move || {
        let socket = std::net::UdpSocket::bind(at(WORKLOAD[0], 0))?;
        socket.send_to(b"initial", quic)?;
        socket.local_addr()
    });
    let mut buffer = [0; 16];
    let heard = tokio::time::timeout(PATIENCE, origin.recv_from(&mut buffer)).await;
    let (read, from) = heard.expect("in time").expect("a datagram");
    assert_eq!((&buffer[..read], from), (&b"initial"[..], sent.expect("a socket")));
    assert_eq!(sidecar.end().await, "", "no line tells of it");
}

//! A workload whose DNS queries are answered by its sidecar, asked with dig and dialled by what it answers.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::dns_server::{RecordType, Reply, ResponseCode, address_record};
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::io::AsyncReadExt;

use crate::support::captured::{ORIGINS, RESOLVER, WORKLOAD, World, greeter, resolver};

/// A resolver that is nobody.
const ELSEWHERE: &str = "192.0.2.53";

/// Two databases on one port, which nothing but the address tells apart.
const DATABASES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.example]
  ports: [{number: 3306, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b}
spec:
  hosts: [b.example]
  ports: [{number: 3306, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.3}]
";

async fn web(_: Request<Incoming>) -> Response<Body> {
    Response::new(full("web"))
}

/// What dig finds in the workload: the addresses, a line each.
async fn dig(world: &World, arguments: &[&str]) -> String {
    let brief = ["+short", "+tries=1", "+time=10"];
    let output = world.run("dig", &[&brief[..], arguments].concat()).await;
    format!("{}{}", output.stdout, output.stderr).trim().to_owned()
}

async fn hello(world: &World, address: &str, port: u16) -> String {
    let to = SocketAddr::new(address.parse().expect(address), port);
    let mut stream = world.dial(to).await.expect("a connection");
    let mut words = [0; 100];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut words)).await.expect("in time");
    String::from_utf8_lossy(&words[..read.unwrap_or(0)]).into_owned()
}

#[tokio::test]
async fn services_on_one_port_are_told_apart_by_their_names() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let internet = resolver().await;
    internet.address("known.example.", 60, "10.77.0.9");
    greeter(ORIGINS[0], 3306).await;
    greeter(ORIGINS[1], 3306).await;
    world.manifest("databases.yaml", DATABASES);
    world.capture(&["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let sidecar = world.sidecar(&["--dns-server", RESOLVER]).await;

    let ask = async |server: &str, more: &[&str]| {
        dig(&world, &[&[&*format!("@{server}")], more].concat()).await
    };
    let (a, b) = (ask(RESOLVER, &["a.example"]).await, ask(RESOLVER, &["b.example"]).await);
    assert!(a.starts_with("240.240.") && b.starts_with("240.240.") && a != b, "{a} {b}");
    assert!(internet.asked().is_empty());

    // Whichever resolver the workload names, over whatever.
    assert_eq!(ask(ELSEWHERE, &["a.example"]).await, a);
    assert_eq!(ask(ELSEWHERE, &["+tcp", "A.Example"]).await, a);
    assert_eq!(ask("fd77::53", &["a.example"]).await, a);
    let six = ask(RESOLVER, &["a.example", "AAAA"]).await;
    assert!(six.starts_with("2001:2::f0f0:"), "{six}");

    // What the table does not hold is asked of the resolver that the sidecar knows. What is refused is told by that name.
    assert_eq!(ask(ELSEWHERE, &["known.example"]).await, "10.77.0.9");
    let refused = SocketAddr::new("10.77.0.9".parse().expect("an address"), 9);
    drop(world.dial(refused).await);
    eventually(PATIENCE, async || {
        let denied = world.curl(&["http://127.0.0.1:15000/egress/denied"]).await;
        if denied.contains("known.example") { Ok(()) } else { Err(denied) }
    })
    .await;
    let unknown = ask(RESOLVER, &["+noshort", "+comments", "unknown.example"]).await;
    assert!(unknown.contains("status: NXDOMAIN"), "{unknown}");
    assert_eq!(internet.asked().len(), 2);

    // An address has the name of its host, and what was asked is counted.
    assert_eq!(ask(RESOLVER, &["-x", &a]).await, "a.example.");
    assert_eq!(ask(RESOLVER, &["-x", &six]).await, "a.example.");
    let stats = world.curl(&["http://127.0.0.1:15000/stats?filter=dns_proxy"]).await;
    assert!(stats.contains("dns_proxy.forwarded: 2\n"), "{stats}");

    let own = format!("hello {}\n", WORKLOAD[0]);
    for (address, host, origin) in [
        (&a, "a.example", ORIGINS[0]),
        (&b, "b.example", ORIGINS[1]),
        (&six, "a.example", ORIGINS[0]),
    ] {
        assert_eq!(hello(&world, address, 3306).await, own);
        let to = format!("{address}:3306");
        let to = if address.contains(':') { format!("[{address}]:3306") } else { to };
        let cluster = format!("outbound|3306||{host}");
        sidecar.logged(&[&to, &cluster, &format!("{origin}:3306")]).await;
    }

    // A host that goes has no name either, and one that comes has one at once.
    std::fs::remove_file(world.manifests().join("databases.yaml")).expect("removed");
    eventually(PATIENCE, async || {
        let left = ask(RESOLVER, &["a.example"]).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    world.manifest("databases.yaml", DATABASES);
    eventually(PATIENCE, async || {
        let back = ask(RESOLVER, &["a.example"]).await;
        if back == a { Ok(()) } else { Err(back) }
    })
    .await;
    assert_eq!(hello(&world, &a, 3306).await, own, "what is answered is served");
    sidecar.end().await;
}

/// Endpoints that the sidecar resolves itself: the client's answer has no say in it.
const RESOLVED: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: turns}
spec:
  hosts: [turns.example]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS_ROUND_ROBIN
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: elsewhere}
spec:
  hosts: [elsewhere.example]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS
  endpoints: [{address: real.example, ports: {tcp: 9001}}]
";

#[tokio::test]
async fn endpoints_that_are_names_are_resolved_by_the_sidecar() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let internet = resolver().await;
    internet.address("web.example.", 1, ORIGINS[0]);
    internet.address("real.example.", 1, ORIGINS[0]);
    let both = [ORIGINS[1], ORIGINS[0]].map(|origin| address_record("turns.example.", 1, origin));
    internet.reply("turns.example.", RecordType::A, Reply::Records(both.to_vec()));
    greeter(ORIGINS[0], 9001).await;
    for origin in [ORIGINS[0], ORIGINS[1]] {
        greeter(origin, 9000).await;
    }
    let at = SocketAddr::new(ORIGINS[0].parse().expect("an address"), 80);
    let _web = Origin::start().at(at).http(web).await;
    world.manifest("resolved.yaml", RESOLVED);
    world.capture(&["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let sidecar = world.sidecar(&["--dns-server", RESOLVER]).await;

    assert_eq!(world.curl(&["http://web.example/"]).await, "web 200");
    let address = async |name: &str| dig(&world, &["@192.0.2.53", name]).await;
    let (turns, other) = (address("turns.example").await, address("elsewhere.example").await);
    let own = format!("hello {}\n", WORKLOAD[0]);
    for _ in 0..3 {
        assert_eq!(hello(&world, &turns, 9000).await, own);
    }
    let first = format!("{}:9000", ORIGINS[1]);
    sidecar.logged(&["outbound|9000||turns.example", &first]).await;
    let second = format!("{}:9000", ORIGINS[0]);
    assert!(!sidecar.log().contains(&second), "the first address alone: {}", sidecar.log());
    assert_eq!(hello(&world, &other, 9000).await, own);
    sidecar.logged(&["outbound|9000||elsewhere.example", &format!("{}:9001", ORIGINS[0])]).await;

    // While the resolver fails, what it said last serves on; and every name was asked for as it is.
    for name in ["web.example.", "turns.example.", "real.example."] {
        internet.reply(name, RecordType::A, Reply::Code(ResponseCode::ServFail));
    }
    internet.asked();
    eventually(PATIENCE, async || {
        world.curl(&["http://web.example/"]).await;
        let asked = internet.asked().iter().any(|question| question.name == "web.example.");
        if asked { Ok(()) } else { Err("not asked again") }
    })
    .await;
    assert_eq!(world.curl(&["http://web.example/"]).await, "web 200");
    assert_eq!(hello(&world, &turns, 9000).await, own);
    // So it does while there is no answer at all, and nobody waits for one.
    internet.reply("web.example.", RecordType::A, Reply::Silence);
    internet.asked();
    eventually(PATIENCE, async || {
        assert_eq!(world.curl(&["http://web.example/"]).await, "web 200");
        let asked = internet.asked().iter().any(|question| question.name == "web.example.");
        if asked { Ok(()) } else { Err("not asked again") }
    })
    .await;
    let begun = Instant::now();
    assert_eq!(world.curl(&["http://web.example/"]).await, "web 200");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    sidecar.end().await;
}

/// Many hosts that nobody uses, and one that somebody does.
fn entries(hosts: usize, more: &str) -> String {
    let entry = |n: usize| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: idle-{n}}}, spec: {{hosts: \
             [idle-{n}.example], ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 9000, name: tcp, protocol: \
             TCP}}{more}], resolution: DNS}}}}\n"
        )
    };
    (0..hosts).map(entry).collect()
}

/// Neither when it comes, nor at its TTL, nor when it changes, nor when the workload asks for its address.
#[tokio::test]
async fn an_entry_that_nobody_uses_causes_no_query() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let internet = resolver().await;
    internet.address("web.example.", 1, ORIGINS[0]);
    for n in 0..20 {
        internet.address(&format!("idle-{n}.example."), 1, ORIGINS[1]);
    }
    let at = SocketAddr::new(ORIGINS[0].parse().expect("an address"), 80);
    let _web = Origin::start().at(at).http(web).await;
    world.manifest("resolved.yaml", RESOLVED);
    world.manifest("idle.yaml", &entries(20, ""));
    world.capture(&["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let sidecar = world.sidecar(&["--dns-server", RESOLVER]).await;
    let idle = dig(&world, &["@192.0.2.53", "idle-0.example"]).await;
    assert!(idle.starts_with("240.240."), "{idle}");
    assert_eq!(internet.asked(), []);

    // Other forms of the clusters, and some that come and go.
    world.manifest("idle.yaml", &entries(20, ", {number: 9001, name: tcp-too, protocol: TCP}"));
    eventually(PATIENCE, async || {
        let clusters = world.curl(&["http://127.0.0.1:15000/clusters"]).await;
        if clusters.contains("9001||idle-19.example") { Ok(()) } else { Err(clusters) }
    })
    .await;
    // A name that is used is asked for at its TTL: as long as that takes, nobody else is asked for.
    let asked = RefCell::new(Vec::new());
    eventually(PATIENCE, async || {
        assert_eq!(world.curl(&["http://web.example/"]).await, "web 200");
        asked.borrow_mut().extend(internet.asked().into_iter().map(|question| question.name));
        let times = asked.borrow().iter().filter(|name| *name == "web.example.").count();
        if times >= 3 { Ok(()) } else { Err(format!("{times} times")) }
    })
    .await;
    let others = asked.take().into_iter().filter(|name| name != "web.example.");
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
    sidecar.end().await;
}

/// A workload that asks somebody else for names, with a sidecar that would answer them: it is led by the addresses that it knows.
#[tokio::test]
async fn whoever_asks_elsewhere_is_served_all_the_same() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let internet = resolver().await;
    internet.address("a.example.", 60, ORIGINS[0]);
    greeter(ORIGINS[0], 3306).await;
    world.manifest("databases.yaml", DATABASES);
    world.capture(&["-i", "*", "-b", "*"]);
    let own = format!("hello {}\n", WORKLOAD[0]);
    for flags in [&[][..], &["--dns-listen", "off"], &["--redirect-dns"]] {
        let sidecar = world.sidecar(flags).await;
        assert_eq!(dig(&world, &[&format!("@{RESOLVER}"), "a.example"]).await, ORIGINS[0]);
        if flags == ["--redirect-dns"] {
            // It may be meant for anybody: with names from here it would be at an address of the host's own.
            assert_eq!(hello(&world, ORIGINS[0], 3306).await, "");
            let denied = world.curl(&["http://127.0.0.1:15000/egress/denied"]).await;
            assert!(denied.contains(ORIGINS[0]), "{denied}");
            sidecar.end().await;
            continue;
        }
        assert_eq!(hello(&world, ORIGINS[0], 3306).await, own);
        sidecar.logged(&["outbound|3306||a.example", &format!("{}:3306", ORIGINS[0])]).await;
        let answered = dig(&world, &["@127.0.0.1", "-p", "15053", "a.example"]).await;
        assert_eq!(answered.starts_with("240.240."), flags.is_empty(), "{answered}");
        if !flags.is_empty() {
            sidecar.told("Conflict: host b.example, port 3306: ServiceEntry default/a").await;
        }
        sidecar.end().await;
    }
}

/// What a host was refused as requests and as bytes is let out by the entry that is printed, whichever of its addresses is asked for.
#[tokio::test]
async fn what_is_printed_for_a_name_lets_out_all_that_was_refused_of_it() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let internet = resolver().await;
    internet.address("both.example.", 60, ORIGINS[1]);
    greeter(ORIGINS[0], 9000).await;
    greeter(ORIGINS[1], 9000).await;
    let mut webs = Vec::new();
    for origin in [ORIGINS[0], ORIGINS[1]] {
        let at = SocketAddr::new(origin.parse().expect("an address"), 80);
        webs.push(Origin::start().at(at).http(web).await);
    }
    world.capture(&["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    let flags = ["--redirect-dns", "--dns-server", RESOLVER];
    let sidecar = world.sidecar(&flags).await;
    let address = async || dig(&world, &[&format!("@{RESOLVER}"), "both.example"]).await;
    for origin in [ORIGINS[1], ORIGINS[0]] {
        internet.address("both.example.", 60, origin);
        eventually(PATIENCE, async || {
            let told = address().await;
            if told == origin { Ok(()) } else { Err(told) }
        })
        .await;
        assert_eq!(hello(&world, origin, 9000).await, "");
        let to = format!("both.example:80:{origin}");
        let refused = world.curl(&["--resolve", &to, "http://both.example/"]).await;
        assert!(refused.ends_with(" 502"), "{refused}");
    }
    let admin = ["egress", "denied", "--admin", "127.0.0.1:15000"];
    let printed = async |more: &[&str]| {
        let arguments = [&admin[..], more].concat();
        world.run(env!("CARGO_BIN_EXE_tidegate"), &arguments).await.success()
    };
    eventually(PATIENCE, async || {
        let table = printed(&[]).await;
        let both = table.contains(" HTTP ") && table.contains(" TCP ");
        if both { Ok(()) } else { Err(table) }
    })
    .await;
    let entry = printed(&["-o", "yaml"]).await;
    assert_eq!(entry.matches("kind: ServiceEntry").count(), 1, "{entry}");
    world.manifest("printed.yaml", &entry);
    eventually(PATIENCE, async || {
        let told = address().await;
        if told.starts_with("240.240.") { Ok(()) } else { Err(told) }
    })
    .await;
    let given = address().await;
    assert_eq!(hello(&world, &given, 9000).await, format!("hello {}\n", WORKLOAD[0]));
    let to = format!("both.example:80:{given}");
    assert_eq!(world.curl(&["--resolve", &to, "http://both.example/"]).await, "web 200");
    sidecar.end().await;
}

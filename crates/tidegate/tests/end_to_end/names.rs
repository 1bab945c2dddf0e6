//! A workload whose DNS queries are answered by its sidecar, asked with dig and dialled by what it answers.

use std::net::SocketAddr;

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
    let sidecar = world.sidecar(&["--dns-listen", "--dns-server", RESOLVER]).await;

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

    // What the table does not hold is asked of the resolver that the sidecar knows.
    assert_eq!(ask(ELSEWHERE, &["known.example"]).await, "10.77.0.9");
    let unknown = ask(RESOLVER, &["+noshort", "+comments", "unknown.example"]).await;
    assert!(unknown.contains("status: NXDOMAIN"), "{unknown}");
    assert_eq!(internet.asked().len(), 2);

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

//! What comes to a workload.

use std::net::SocketAddr;

use tidegate_testing::origin::Origin;
use tidegate_testing::{PATIENCE, client, eventually};
use tokio::net::{TcpSocket, TcpStream};

use super::beside_envoy::origins;
use super::{EVERYTHING, at, first_words, host};
use crate::support::captured::{ORIGINS, WORKLOAD, World, greet, greeter};

/// The workload's own Service, and who may ask for what.
const OWN: &str = "
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open}
spec:
  selector: {matchLabels: {app: app}}
  rules: [{to: [{operation: {ports: ['8080'], paths: [/open]}}]}, {to: [{operation: {ports: ['9000']}}]}]
";

/// What else there is: an origin, and the workload by a name of its own.
const BACK: &str = "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: greeter}
spec:
  hosts: [greeter.example]
  addresses: [10.77.0.2]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: back}
spec:
  hosts: [back.example]
  addresses: [240.0.0.9]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.100, ports: {http: 8080}}]
";

#[tokio::test]
async fn what_comes_in_is_carried_to_the_workload_as_policies_say() {
    let Some(world) = World::new() else { return };
    let listener = world.listen(at(WORKLOAD[0], 8080)).await;
    let _app = Origin::start().on(listener).http(host).await;
    greet(world.listen(at(WORKLOAD[0], 9000)).await);
    world.manifest("own.yaml", OWN);
    world.capture(&EVERYTHING);
    let mesh = world.file("mesh.yaml", "protocolDetectionTimeout: 300ms\n");
    let sidecar = world.sidecar(&["--labels", "app=app", "--mesh-config", &mesh]).await;
    let open = client::get(at(WORKLOAD[0], 8080), "app.example", "/open").await;
    assert_eq!((open.status, open.text().as_str()), (200, "app.example"));
    let closed = client::get(at(WORKLOAD[0], 8080), "app.example", "/closed").await;
    assert_eq!(closed.status, 403);
    sidecar.logged(&["\"GET /open HTTP/1.1\" 200", "inbound|8080||"]).await;
    sidecar.logged(&["\"GET /closed HTTP/1.1\" 403", "rbac_access_denied"]).await;
    // A port that no object describes; the server speaks first. It sees Istio's address of what is passed through.
    let words = first_words(TcpStream::connect(at(WORKLOAD[0], 9000)).await).await;
    assert_eq!(words, "hello 127.0.0.6\n");
    sidecar.logged(&["InboundPassthroughCluster"]).await;
    sidecar.end().await;
}

/// Whom an origin of the workload sees as its client.
async fn seen_by_origin(from: &str, to: SocketAddr) -> String {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.expect("a socket");
    socket.bind(at(from, 0)).expect("an address of ours");
    let mut client = client::Client::over(socket.connect(to).await.expect("a connection"));
    client.send("GET /open HTTP/1.1\r\nHost: app.example\r\n\r\n").await;
    let answer = client.read(false).await.expect("an answer");
    let text = answer.text();
    let (_, by) = text.lines().next().and_then(|line| line.split_once(" dialled by ")).expect("it");
    by.to_owned()
}

#[tokio::test]
async fn the_workload_sees_its_clients_own_addresses_in_tproxy_mode() {
    let Some(world) = World::new() else { return };
    for own in WORKLOAD {
        tokio::spawn(origins::requests(world.listen(at(own, 8080)).await));
        greet(world.listen(at(own, 9000)).await);
    }
    greeter(ORIGINS[0], 9000).await;
    world.manifest("own.yaml", &format!("{OWN}{BACK}"));
    world.capture(&[&EVERYTHING[..], &["-m", "TPROXY"]].concat());
    let mesh = world.file("mesh.yaml", "protocolDetectionTimeout: 300ms\n");
    let flags = ["--labels", "app=app", "--mesh-config", &mesh, "--interception-mode", "TPROXY"];
    let sidecar = world.sidecar(&flags).await;
    // Requests of two clients: no connection to the workload is both's.
    for _ in 0..2 {
        for (from, own) in [(ORIGINS[0], 0), (ORIGINS[1], 0), (ORIGINS[2], 1)] {
            assert_eq!(seen_by_origin(from, at(WORKLOAD[own], 8080)).await, from);
        }
    }
    sidecar.logged(&["\"GET /open HTTP/1.1\" 200", "inbound|8080||"]).await;
    // A port that no object describes; the server speaks first.
    for own in WORKLOAD {
        let stream = TcpStream::connect(at(own, 9000)).await.expect("a connection");
        let from = stream.local_addr().expect("an address").ip();
        assert_eq!(first_words(Ok(stream)).await, format!("hello {from}\n"));
    }
    // What goes out comes from the workload itself; what comes back to it by its own Service does, too, and is judged.
    let words = first_words(world.dial(at(ORIGINS[0], 9000)).await).await;
    assert_eq!(words, format!("hello {}\n", WORKLOAD[0]));
    let answer = world.curl(&["-H", "Host: back.example", "http://10.77.0.2/open"]).await;
    assert!(answer.contains(&format!("dialled by {}", WORKLOAD[0])), "{answer}");
    let answer = world.curl(&["-H", "Host: back.example", "http://10.77.0.2/closed"]).await;
    assert!(answer.ends_with(" 403"), "{answer}");
    sidecar.end().await;
}

#[tokio::test]
async fn clients_addresses_take_a_right_that_is_asked_for_in_words() {
    let Some(world) = World::new() else { return };
    let manifests = world.manifests().display().to_string();
    let tidegate = env!("CARGO_BIN_EXE_tidegate");
    let user =
        ["--setuid", "1337", "--setgid", "1337", "--", tidegate, "sidecar", "-f", &manifests];
    let flags = ["--interception-mode", "TPROXY", "--run-as", "1337"];
    let refused = world.run("nsenter", &[&user[..], &flags].concat()).await;
    assert!(refused.stderr.contains("CAP_NET_ADMIN"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--interception-mode REDIRECT"), "{}", refused.stderr);
}

/// A port that is served although nothing is redirected, in front of one that only the workload itself can dial.
const BOUND: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: own}
spec:
  ingress:
  - port: {number: 9080, name: http, protocol: HTTP}
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:8080
";

#[tokio::test]
async fn a_port_is_bound_where_nothing_is_redirected() {
    let Some(world) = World::new() else { return };
    let listener = world.listen(at("127.0.0.1", 8080)).await;
    let _app = Origin::start().on(listener).http(host).await;
    world.manifest("own.yaml", BOUND);
    let sidecar = world.sidecar(&["--labels", "app=app"]).await;
    let answer = client::get(at(WORKLOAD[0], 9080), "app.example", "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "app.example"));
    sidecar.logged(&["\"GET / HTTP/1.1\" 200", "inbound|9080||"]).await;
    std::fs::remove_file(world.manifests().join("own.yaml")).expect("removed");
    eventually(PATIENCE, async || {
        let dialled = TcpStream::connect(at(WORKLOAD[0], 9080)).await;
        if dialled.is_err() { Ok(()) } else { Err("it is bound still") }
    })
    .await;
    sidecar.end().await;
}

//! What leaves through an egress gateway: from a captured workload through its sidecar and a second process, which is the gateway and has a
//! network of its own, to origins.

use std::fmt::Display;
use std::net::SocketAddr;

use serde_json::Value;
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::captured::{ORIGINS, RESOLVER, WORKLOAD, World, resolver};
use crate::support::egress_guide::Workload;
use crate::support::handshakes::put;
use crate::support::{Gateway, Shell};

mod wildcard;

/// Where the gateway is: the network that other tests have a workload in.
const GATEWAY: &str = WORKLOAD[0];

/// As Istio has it: HTTP, HTTP that leaves in TLS, TLS that is passed through, and bytes of any kind.
const LONG: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: plain}
spec:
  hosts: [plain.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: originated}
spec:
  hosts: [originated.example]
  ports:
  - {number: 80, name: http, protocol: HTTP}
  - {number: 443, name: https, protocol: HTTPS}
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: passed}
spec:
  hosts: [passed.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bytes}
spec:
  hosts: [bytes.example]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: egress}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [plain.example, originated.example]
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [passed.example]
    tls: {mode: PASSTHROUGH}
  - port: {number: 9000, name: tcp, protocol: TCP}
    hosts: [bytes.example]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: plain}
spec:
  hosts: [plain.example]
  gateways: [egress, mesh]
  http:
  - match: [{gateways: [mesh], port: 80}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 80}}}]
  - match: [{gateways: [egress], port: 80}]
    route: [{destination: {host: plain.example, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: originated}
spec:
  hosts: [originated.example]
  gateways: [egress, mesh]
  http:
  - match: [{gateways: [mesh], port: 80}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 80}}}]
  - match: [{gateways: [egress], port: 80}]
    route: [{destination: {host: originated.example, port: {number: 443}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: originated}
spec:
  host: originated.example
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: SIMPLE}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: passed}
spec:
  hosts: [passed.example]
  gateways: [egress, mesh]
  tls:
  - match: [{gateways: [mesh], port: 443, sniHosts: [passed.example]}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 443}}}]
  - match: [{gateways: [egress], port: 443, sniHosts: [passed.example]}]
    route: [{destination: {host: passed.example, port: {number: 443}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes}
spec:
  hosts: [bytes.example]
  gateways: [egress, mesh]
  tcp:
  - match: [{gateways: [mesh], port: 9000}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 9000}}}]
  - match: [{gateways: [egress], port: 9000}]
    route: [{destination: {host: bytes.example, port: {number: 9000}}}]
";

/// The same by annotation.
const SHORT: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: plain
  annotations: {tidegate.dev/egress-gateway: istio-egressgateway.istio-system}
spec:
  hosts: [plain.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: originated
  annotations:
    tidegate.dev/egress-gateway: istio-egressgateway.istio-system
    tidegate.dev/originate-tls: 'true'
spec:
  hosts: [originated.example]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: passed
  annotations: {tidegate.dev/egress-gateway: istio-egressgateway.istio-system}
spec:
  hosts: [passed.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: bytes
  annotations: {tidegate.dev/egress-gateway: istio-egressgateway.istio-system}
spec:
  hosts: [bytes.example]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS
";

/// Another host's bytes of the port of those.
const SECOND: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: second
  annotations: {tidegate.dev/egress-gateway: istio-egressgateway.istio-system}
spec:
  hosts: [second.example]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS
";

/// HTTP, TLS and bytes of any kind, in mutual TLS up to the gateway, which lets in one workload.
const MUTUAL: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: plain
  annotations:
    tidegate.dev/egress-gateway: istio-egressgateway.istio-system
    tidegate.dev/mutual-tls: 'true'
spec:
  hosts: [plain.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: passed
  annotations:
    tidegate.dev/egress-gateway: istio-egressgateway.istio-system
    tidegate.dev/mutual-tls: 'true'
spec:
  hosts: [passed.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: bytes
  annotations:
    tidegate.dev/egress-gateway: istio-egressgateway.istio-system
    tidegate.dev/mutual-tls: 'true'
spec:
  hosts: [bytes.example]
  ports: [{number: 443, name: tcp, protocol: TCP}]
  resolution: DNS
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: clients, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: egressgateway}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]
";

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// A gateway with the labels of Istio's egress gateway in the network of `world`, with these flags besides.
async fn egress_gateway(world: &World, roots: &str, more: &[&str]) -> Gateway {
    let api = format!("{GATEWAY}:0");
    let flags = ["--gateway-labels", "istio=egressgateway", "--gateway-listen", GATEWAY];
    let flags = [&flags[..], &["--api-listen", &api, "--dns-server", RESOLVER], more].concat();
    Gateway::start_in(world, &flags, &[("SSL_CERT_FILE", roots)]).await
}

/// An origin that answers each request with its own address and that of who has connected.
async fn origin(at: SocketAddr, tls: Option<&Identity>) {
    let listener = TcpListener::bind(at).await.expect("an address of ours");
    let tls = tls.map(|identity| TlsAcceptor::from(identity.server_config(&["http/1.1"])));
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (tls, saw) = (tls.clone(), saw(at.ip(), peer.ip()));
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, &saw).await,
                    Some(tls) => answer(tls.accept(stream).await?, &saw).await,
                }
            });
        }
    });
}

/// What an origin at an address says of who has connected.
fn saw(origin: impl Display, client: impl Display) -> String {
    format!("{origin} saw {client}")
}

async fn answer<S>(mut stream: S, body: &str) -> std::io::Result<()>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

#[tokio::test]
async fn origins_see_the_gateway_alone_by_many_objects_or_by_an_annotation() {
    let (Some(_), Some(world)) = (Tool::Kubectl.need(), World::new()) else { return };
    let internet = resolver().await;
    let ca = Ca::new("internet");
    let roots = world.file("roots.pem", ca.pem());
    for (name, address) in
        [("plain", 0), ("originated", 0), ("passed", 1), ("bytes", 1), ("second", 0)]
    {
        internet.address(&format!("{name}.example."), 60, ORIGINS[address]);
    }
    origin(at(ORIGINS[0], 80), None).await;
    origin(at(ORIGINS[0], 443), Some(&ca.issue(&["originated.example"]))).await;
    origin(at(ORIGINS[1], 443), Some(&ca.issue(&["passed.example"]))).await;
    origin(at(ORIGINS[1], 9000), None).await;
    origin(at(ORIGINS[0], 9000), None).await;

    let gateway = egress_gateway(&world, &roots, &["--port-map", "80=0,443=0,9000=0"]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let kubeconfig = &gateway.exports["KUBECONFIG"];
    let flags = ["--pod", "client", "--labels", "app=client"];
    let workload = Workload::start(kubeconfig, &roots, &flags).await;
    let refused = workload.curl(&["http://plain.example/"]).await;
    assert!(refused.ends_with(" 502"), "{refused}");

    for (form, manifests) in [("long", LONG), ("short", SHORT)] {
        let file = world.file(&format!("{form}.yaml"), manifests);
        // Of each log only what this round adds is looked at.
        let sidecar_log = async || shell.ok("kubectl logs client -c istio-proxy").await;
        let before = (sidecar_log().await.len(), gateway.process.stdout().text().len());
        shell.ok(&format!("kubectl apply -f {file}")).await;
        for (url, port, origin) in [
            ("http://plain.example/", 80, ORIGINS[0]),
            ("http://originated.example/", 80, ORIGINS[0]),
            ("https://passed.example/", 443, ORIGINS[1]),
            ("http://bytes.example:9000/", 9000, ORIGINS[1]),
        ] {
            let url = format!("{url}{form}");
            let seen = format!("{} 200", saw(origin, GATEWAY));
            workload.answers(&[&url], |it| it == seen).await;
            let through =
                format!("outbound|{port}||istio-egressgateway.istio-system.svc.cluster.local");
            has_line(async || sidecar_log().await.split_off(before.0), &[&through]).await;
        }
        // The gateway has seen all of them; of what it passes on, it knows where to alone.
        let log = async || gateway.process.stdout().text().split_off(before.1);
        let path = format!("/{form}");
        has_line(log, &[&path, "plain.example"]).await;
        let originated = "outbound|443||originated.example";
        let port = if form == "long" { originated } else { "originated.example" };
        has_line(log, &[&path, port]).await;
        has_line(log, &["outbound|443||passed.example"]).await;
        has_line(log, &["outbound|9000||bytes.example"]).await;
        refuses_others(&gateway, &world, form, &ca).await;
        if form == "short" {
            let second = world.file("second.yaml", SECOND);
            shell.ok(&format!("kubectl apply -f {second}")).await;
            for (host, origin) in [("second", ORIGINS[0]), ("bytes", ORIGINS[1])] {
                let seen = format!("{} 200", saw(origin, GATEWAY));
                workload.answers(&[&format!("http://{host}.example:9000/")], |it| it == seen).await;
            }
            has_line(log, &["outbound|9000||second.example"]).await;
            shell.ok(&format!("kubectl delete -f {second}")).await;
        }
        shell.ok(&format!("kubectl delete -f {file}")).await;
        workload.answers(&["http://plain.example/"], |it| it.ends_with(" 502")).await;
        workload.answers(&["-k", "https://passed.example/"], |it| it.contains(" 000")).await;
    }
    let left: Value =
        serde_json::from_str(&shell.ok("kubectl get gateways -A -o json").await).expect("a list");
    assert_eq!(left["items"], serde_json::json!([]));
    workload.end().await;
}

/// Waits until what is logged has a line with all of these parts.
async fn has_line(logged: impl AsyncFn() -> String, parts: &[&str]) {
    eventually(PATIENCE, async || {
        let log = logged().await;
        let has = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        if has { Ok(()) } else { Err(format!("{parts:?} in {log}")) }
    })
    .await;
}

/// Asks the gateway for hosts that nothing leads through it: refused as by every gateway, and listed with what would let them out, by
/// the ports that workloads know.
async fn refuses_others(gateway: &Gateway, world: &World, form: &str, ca: &Ca) {
    let (plain, tls) = (format!("{form}-http.example"), format!("{form}-tls.example"));
    assert_eq!(gateway.get(&plain, "/").await.status, 404);
    assert_eq!(gateway.get("plain.example", "/").await.status, 200, "what is led through is not");
    let closed = client::tls(gateway.https, &tls, ca.client_config(&[])).await;
    assert!(closed.is_err(), "{tls}");
    gateway.process.stderr().find(|line| line.contains(&plain) && line.contains("denied")).await;
    let admin = gateway.admin.to_string();
    let denied = async |more: &[&str]| {
        let arguments = [&["egress", "denied", "--admin", &admin], more].concat();
        world.run(env!("CARGO_BIN_EXE_tidegate"), &arguments).await.success()
    };
    eventually(PATIENCE, async || {
        let table = denied(&[]).await;
        let listed = |host: &str, port: &str| {
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            table.lines().any(|line| {
                words(line).get(1..4) == Some(&[host, GATEWAY, port].map(str::to_owned))
            })
        };
        let all = listed(&plain, "80") && listed(&tls, "443");
        if all { Ok(()) } else { Err(table) }
    })
    .await;
    let manifests = denied(&["-o", "yaml"]).await;
    let led = manifests.matches("tidegate.dev/egress-gateway: istio-egressgateway.istio-system");
    assert!(led.count() >= 2 && manifests.contains(&tls), "{manifests}");
    assert!(!manifests.contains("plain.example"), "{manifests}");
    let counts = world.curl(&[&format!("http://{admin}/stats?filter=egress")]).await;
    let count = |name: &str| counts.contains(&format!("{name}: 0"));
    assert!(!count("denied_http") && !count("denied_tls"), "{counts}");
}

/// A folder with the certificate of a workload in the mesh.
fn in_mesh(world: &World, ca: &Ca, namespace: &str, account: &str) -> String {
    let leaf =
        ca.issue_with_uris(&[], &[&format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")]);
    let folder = world.manifests().with_file_name(format!("{account}-certs"));
    std::fs::create_dir(&folder).expect("a folder");
    let files = [
        ("cert-chain.pem", &*leaf.certificate_pem),
        ("key.pem", &*leaf.key_pem),
        ("root-cert.pem", ca.pem()),
    ];
    put(&folder, &files);
    folder.display().to_string()
}

/// What a client without a certificate of the mesh gets to read of a gateway in TLS; an error where it is sent away.
async fn strange(gateway: SocketAddr, host: &str, mesh: &Ca) -> std::io::Result<Vec<u8>> {
    let mut stream = client::tls(gateway, host, mesh.client_config(&[])).await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut read = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("in time")?;
    Ok(read)
}

#[tokio::test]
async fn by_annotation_workload_and_gateway_know_each_other_by_certificate() {
    let (Some(_), Some(world)) = (Tool::Kubectl.need(), World::new()) else { return };
    let internet = resolver().await;
    let (ca, mesh) = (Ca::new("internet"), Ca::new("mesh"));
    let roots = world.file("roots.pem", ca.pem());
    for (name, address) in [("plain", 0), ("passed", 1), ("bytes", 0)] {
        internet.address(&format!("{name}.example."), 60, ORIGINS[address]);
    }
    origin(at(ORIGINS[0], 80), None).await;
    origin(at(ORIGINS[0], 443), Some(&ca.issue(&["bytes.example"]))).await;
    origin(at(ORIGINS[1], 443), Some(&ca.issue(&["passed.example"]))).await;

    let own = in_mesh(&world, &mesh, "istio-system", "gateway");
    let gateway = egress_gateway(&world, &roots, &["--workload-certs", &own]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let kubeconfig = &gateway.exports["KUBECONFIG"];
    let file = world.file("mutual.yaml", MUTUAL);
    shell.ok(&format!("kubectl apply -f {file}")).await;

    let known = in_mesh(&world, &mesh, "default", "client");
    let flags = ["--pod", "client", "--workload-certs", &known];
    let workload = Workload::start(kubeconfig, &roots, &flags).await;
    for (url, origin) in [
        ("http://plain.example/", ORIGINS[0]),
        ("https://passed.example/", ORIGINS[1]),
        ("https://bytes.example/", ORIGINS[0]),
    ] {
        let seen = format!("{} 200", saw(origin, GATEWAY));
        workload.answers(&[url], |it| it == seen).await;
    }
    workload.end().await;

    // Whoever the policy does not name is let in nowhere, and who shows no certificate not even that far.
    let other = in_mesh(&world, &mesh, "default", "other");
    let flags = ["--pod", "other", "--workload-certs", &other];
    let workload = Workload::start(kubeconfig, &roots, &flags).await;
    workload.answers(&["http://plain.example/"], |it| it.ends_with(" 403")).await;
    for url in ["https://passed.example/", "https://bytes.example/"] {
        let answer = workload.curl(&[url]).await;
        assert!(answer.contains(" 000"), "{answer}");
    }
    workload.end().await;
    let workload = Workload::start(kubeconfig, &roots, &["--pod", "bare"]).await;
    workload.answers(&["http://plain.example/"], |it| it.ends_with(" 503")).await;
    let answer = workload.curl(&["https://passed.example/"]).await;
    assert!(answer.contains(" 000"), "{answer}");
    workload.end().await;

    // In plain text nobody is served at all.
    for (address, host) in [(gateway.http, "plain.example"), (gateway.https, "passed.example")] {
        let refused = strange(address, host, &mesh).await;
        assert!(refused.as_ref().map_or(true, Vec::is_empty), "{refused:?}");
        let mut plain = Client::connect(address).await;
        plain.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let read = plain.read_to_end().await;
        assert!(!read.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&read));
    }
}

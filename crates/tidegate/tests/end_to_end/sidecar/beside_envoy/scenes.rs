//! What is served, and which connections are made.

use std::collections::BTreeMap;

use tidegate_pilot::{GatewayService, Interception, Options, OutboundPolicy, ProxyKind, Workload};
use tidegate_testing::ca::Ca;

use super::cases::{Case, asks, asks_http2, asks_path, asks_tls, from_outside, of_peer, says};
use crate::support::captured::{ORIGINS, WORKLOAD, World};

/// Objects, the mesh's settings, and connections.
pub struct Scene {
    pub manifests: String,
    pub options: Options,
    pub cases: Vec<Case>,
    /// How many of them an origin answers.
    pub carried: usize,
}

/// What the internet's name server knows.
pub const NAMES: [(&str, &str); 11] = [
    ("one.none.example.", ORIGINS[0]),
    ("resolved.example.", ORIGINS[1]),
    ("tls-resolved.example.", ORIGINS[1]),
    ("target.example.", ORIGINS[1]),
    ("one.wild.example.", ORIGINS[0]),
    ("two.wild.example.", ORIGINS[1]),
    ("six.wild.example.", ORIGINS[2]),
    ("six-resolved.example.", ORIGINS[2]),
    ("one.begun.example.", ORIGINS[0]),
    ("renamed.begun.example.", ORIGINS[0]),
    ("any.example.", ORIGINS[0]),
];

/// Names that the origins have a certificate for.
pub const CERTIFIED: [&str; 11] = [
    "secure.example",
    "tls-resolved.example",
    "moved.example",
    "stranger.example",
    "begun.example",
    "mutual.example",
    "one.none.example",
    "one.wild.example",
    "two.wild.example",
    "six.wild.example",
    "one.begun.example",
];

/// An address of the internet at which nobody is.
const NOBODY: &str = "10.77.0.200";
/// What a client of MongoDB begins with: lengths and numbers, all of them little-endian.
const MESSAGE: &[u8] = &[20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 221, 7, 0, 0, 0, 0, 0, 0];

/// Hosts of ServiceEntries and Services by name and by address, and what is none of them.
pub fn registered(world: &World, ca: &Ca) -> Scene {
    let client = ca.issue(&["me"]);
    let manifests = include_str!("registered.yaml")
        .replace("AUTHORITY", &world.file("ca.pem", ca.pem()))
        .replace("CERTIFICATE", &world.file("client.pem", &client.certificate_pem))
        .replace("KEY", &world.file("key.pem", &client.key_pem));
    let options = Options { detection_timeout: std::time::Duration::from_millis(200), ..sidecar() };
    let cases = [http(), originated(), tls(), tcp(), unnamed()].concat();
    Scene { manifests, options, cases, carried: 45 }
}

fn http() -> Vec<Case> {
    let first = (ORIGINS[0], 80);
    vec![
        asks("a Host", first, "web.example"),
        asks("a Host with its port", first, "web.example:80"),
        asks("a Host in capitals", first, "WEB.example"),
        asks("an allowed Host at another's address", (ORIGINS[1], 80), "web.example"),
        asks("an allowed Host at nobody's address", (NOBODY, 80), "web.example"),
        asks("an allowed Host over IPv6", (ORIGINS[2], 80), "web.example"),
        asks("an allowed Host at another port", (ORIGINS[0], 8080), "web.example"),
        asks("a Host with another port", first, "web.example:8080"),
        asks("a Host that nobody describes", first, "stranger.example"),
        asks("an address for a Host", first, ORIGINS[0]),
        asks("an IPv6 address for a Host", (ORIGINS[2], 80), "[fd77::2]"),
        asks("a Host below an allowed one", first, "sub.web.example"),
        asks("a Host that begins like an allowed one", first, "web.example.stranger"),
        asks_http2("a Host over HTTP/2", first, "web.example"),
        asks_http2("a stranger over HTTP/2", first, "stranger.example"),
        says("no HTTP at a port of HTTP", first, b"EHLO there\r\n\r\n"),
        asks("a Host that is resolved", (NOBODY, 80), "resolved.example"),
        asks("a Host that is resolved to IPv6", (NOBODY, 80), "six-resolved.example"),
        asks("a Host of a wildcard, where it is", first, "one.none.example"),
        asks("a Host of a wildcard, elsewhere", (NOBODY, 80), "one.none.example"),
        asks("the domain of a wildcard", first, "none.example"),
        asks("an endpoint in IPv6", first, "six.example"),
        asks_path("a rule's other destination", first, ["ruled.example", "/moved"]),
        asks_path("a rule's timeout", first, ["ruled.example", "/never"]),
        asks_path("a rule's redirect", first, ["ruled.example", "/away"]),
        asks_path("a rule's fault", first, ["ruled.example", "/fault"]),
        asks_path("a rule's headers", first, ["ruled.example", "/else"]),
        asks_path("a rule for others", first, ["ruled.example", "/others"]),
        asks("a Service, by its short name", ("10.96.0.1", 8000), "svc"),
        asks("a Service, by its whole name", ("10.96.0.1", 8000), "svc.default.svc.cluster.local"),
        asks("a Service, by its address", ("10.96.0.1", 8000), "10.96.0.1:8000"),
        asks("a Service, by another's Host", ("10.96.0.1", 8000), "web.example"),
        asks("a Service without endpoints", ("10.96.0.2", 8000), "empty"),
        asks("another name of a host", (ORIGINS[1], 80), "alias"),
    ]
}

fn originated() -> Vec<Case> {
    let first = (ORIGINS[0], 80);
    vec![
        asks("TLS that is begun", first, "begun.example"),
        asks("TLS with a certificate", first, "mutual.example"),
        asks("TLS without the certificate", first, "unshown.example"),
        asks("TLS to another name", first, "renamed.example"),
        asks("TLS to an origin without", first, "plain.example"),
    ]
}

fn tls() -> Vec<Case> {
    let first = (ORIGINS[0], 443);
    let to = |name: &'static str| [name, name];
    vec![
        asks_tls("a server name", first, to("secure.example")),
        asks_tls("a server name at another's address", (ORIGINS[1], 443), to("secure.example")),
        asks_tls("a server name at nobody's address", (NOBODY, 443), to("secure.example")),
        asks_tls("a server name over IPv6", (ORIGINS[2], 443), to("secure.example")),
        asks_tls("a Host within that is another", first, ["secure.example", "stranger.example"]),
        asks_tls("a server name that nobody describes", first, to("stranger.example")),
        asks_tls("a server name at another port", (ORIGINS[0], 8443), to("secure.example")),
        asks_tls("no server name", first, to("10.77.0.2")),
        asks_tls("a server name that is resolved", (NOBODY, 443), to("tls-resolved.example")),
        asks_tls("a rule's other destination for it", first, to("moved.example")),
        asks_tls("a server name of a wildcard", first, to("one.none.example")),
        asks("no TLS at a port of TLS", first, "secure.example"),
        says("bytes at a port of TLS", first, b"EHLO there\r\n"),
    ]
}

fn tcp() -> Vec<Case> {
    vec![
        says("an address", (ORIGINS[1], 9000), b""),
        says("an address of IPv6", (ORIGINS[2], 9000), b""),
        says("another address", (ORIGINS[0], 9000), b""),
        says("another port", (ORIGINS[1], 9003), b"hello"),
        says("a network", ("10.77.1.9", 9000), b""),
        says("outside of the network", ("10.77.2.9", 9000), b""),
        says("the one of two at a port", (ORIGINS[0], 9001), b""),
        says("the other of two at a port", (ORIGINS[1], 9001), b""),
        says("a rule for a part of the network", ("10.77.3.200", 9002), b""),
        says("a rule for the rest of it", ("10.77.3.9", 9002), b""),
        says("MongoDB", (ORIGINS[0], 27017), MESSAGE),
        says("MongoDB elsewhere", (ORIGINS[1], 27017), MESSAGE),
        says("a request at a port of TCP", (ORIGINS[1], 9000), b"GET / HTTP/1.1\r\n\r\n"),
        says("the sidecar's own port", (WORKLOAD[0], 15001), b""),
        says("the sidecar's other port", (WORKLOAD[0], 15006), b""),
    ]
}

fn unnamed() -> Vec<Case> {
    let to = (ORIGINS[1], 8080);
    vec![
        asks("a request where nobody says what is spoken", to, "unnamed.example"),
        asks("a stranger's Host there", to, "stranger.example"),
        says("bytes there", (ORIGINS[1], 9003), b"hello there\r\n"),
        says("another protocol there", (ORIGINS[1], 27018), MESSAGE),
        asks_http2("HTTP/2 there", to, "unnamed.example"),
    ]
}

/// What comes to the workload.
pub fn inbound(world: &World, ca: &Ca) -> Scene {
    let spiffe = "spiffe://cluster.local/ns/default/sa/app";
    let own_identity = ca.issue_with_uris(&["app.example"], &[spiffe]);
    world.file("key.pem", &own_identity.key_pem);
    world.file("root-cert.pem", ca.pem());
    let chain = world.file("cert-chain.pem", &own_identity.certificate_pem);
    let folder = chain.trim_end_matches("/cert-chain.pem").into();
    let own = |port: u16| (WORKLOAD[0], port);
    let open = ["app.example", "/open"];
    let cases = [
        asks_path("a port of HTTP", own(8080), open),
        asks_path("over IPv6", (WORKLOAD[1], 8080), open),
        asks_path("what a policy refuses", own(8080), ["app.example", "/closed"]),
        asks_http2("over HTTP/2", own(8080), "app.example"),
        asks_path("plain text where TLS is asked for", own(8081), open),
        of_peer(asks_tls("a peer's TLS there", own(8081), ["app.example", "app.example"])),
        asks_tls("TLS of nobody there", own(8081), ["app.example", "app.example"]),
        asks_path("a port that no object describes", own(8082), open),
        says("a port of TCP", own(9000), b""),
        says("a port of TCP over IPv6", (WORKLOAD[1], 9000), b""),
        says("a port at which nobody listens", own(9999), b""),
        says("the sidecar's own port", own(15006), b""),
    ];
    Scene {
        manifests: include_str!("inbound.yaml").to_owned(),
        options: Options {
            detection_timeout: std::time::Duration::from_millis(200),
            workload_certificates: Some(folder),
            ..sidecar()
        },
        cases: cases.map(from_outside).into(),
        carried: 7,
    }
}

/// The same, with the addresses of its clients.
pub fn inbound_as_it_is(world: &World, ca: &Ca) -> Scene {
    let scene = inbound(world, ca);
    let interception = Interception::Tproxy { mark: 1337 };
    Scene { options: Options { interception, ..scene.options }, ..scene }
}

/// What no object describes, where the mesh lets it out.
pub fn anything(_: &World, _: &Ca) -> Scene {
    let cases = [
        asks("a Host", (ORIGINS[0], 80), "stranger.example"),
        asks("a Host over IPv6", (ORIGINS[2], 80), "stranger.example"),
        asks("a described Host elsewhere", (ORIGINS[0], 80), "web.example"),
        asks("a Host at a port nobody describes", (ORIGINS[0], 8080), "stranger.example"),
        asks_http2("a Host over HTTP/2", (ORIGINS[0], 8082), "stranger.example"),
        asks_tls("a server name", (ORIGINS[0], 443), ["stranger.example", "stranger.example"]),
        says("TCP", (ORIGINS[1], 9000), b""),
        says("TCP over IPv6", (ORIGINS[2], 9000), b""),
        says("MongoDB", (ORIGINS[0], 27017), MESSAGE),
        says("nobody's address", (NOBODY, 9999), b""),
        says("the sidecar's own port", (WORKLOAD[0], 15001), b""),
    ];
    Scene {
        manifests: WEB.to_owned(),
        options: Options { outbound_policy: OutboundPolicy::AllowAny, ..sidecar() },
        cases: cases.into(),
        carried: 9,
    }
}

const WEB: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.3}]
";

/// Wildcard hosts that the sidecar resolves, and whatever else requests ask for.
pub fn asked(world: &World, ca: &Ca) -> Scene {
    let (anywhere, secure) = ((NOBODY, 80), (NOBODY, 443));
    let to = |name: &'static str| [name, name];
    let cases = [
        asks("a Host of a wildcard", anywhere, "one.wild.example"),
        asks("another, elsewhere", anywhere, "two.wild.example"),
        asks("one of IPv6 alone", anywhere, "six.wild.example"),
        asks_tls("the server name of one of IPv6 alone", secure, to("six.wild.example")),
        asks("one without an address", anywhere, "nobody.wild.example"),
        asks("the domain itself", anywhere, "wild.example"),
        asks("a stranger", anywhere, "stranger.example"),
        asks("TLS that is begun", anywhere, "one.begun.example"),
        asks("TLS to another name", anywhere, "renamed.begun.example"),
        asks_tls("a server name of a wildcard", secure, to("one.wild.example")),
        asks_tls("another server name", secure, to("two.wild.example")),
        asks_tls("a stranger's server name", secure, to("stranger.example")),
    ];
    let authority = world.file("ca.pem", ca.pem());
    Scene {
        manifests: include_str!("asked.yaml").replace("AUTHORITY", &authority),
        options: sidecar(),
        cases: cases.into(),
        carried: 7,
    }
}

/// What a Sidecar brings in, in a mesh that does with the rest what the Sidecar does not.
fn partial(mode: &str, options: Options, carried: usize) -> Scene {
    let (first, second) = ((ORIGINS[0], 80), (ORIGINS[1], 8080));
    let to = |name: &'static str| [name, name];
    let bound = ("127.0.0.1", 7070);
    let own = |port: u16| (WORKLOAD[0], port);
    let mut cases = vec![
        asks("a Host that is brought in", first, "web.example"),
        asks("one of another namespace", first, "friend.example"),
        asks("a Host that is left out", first, "left-out.example"),
        asks("one of another namespace that is left out", first, "stranger-of-other.example"),
        asks("the same at a port of the rest", second, "stranger-of-other.example"),
        asks("a Host that its namespace keeps to itself", second, "private.example"),
        asks("a listener that is dialled", bound, "bound.example"),
        asks("a Host of another port there", bound, "web.example"),
        asks("a stranger there", bound, "stranger.example"),
        asks_tls("a server name that is brought in", (ORIGINS[0], 443), to("secure.example")),
        asks_tls("a server name that is left out", (ORIGINS[0], 443), to("moved.example")),
        says("an address that is brought in", (ORIGINS[1], 9000), b""),
        says("an address that is left out", (ORIGINS[1], 9001), b""),
    ];
    cases.extend(
        [
            asks("a port of ingress", own(8080), "app.example"),
            asks("a port that ingress lacks", own(8082), "app.example"),
        ]
        .map(from_outside),
    );
    let manifests = include_str!("imported.yaml").replace("MODE", mode);
    Scene { manifests, options, cases, carried }
}

/// A Sidecar that refuses the rest, which the mesh would let out.
pub fn imported(_: &World, _: &Ca) -> Scene {
    let options = Options { outbound_policy: OutboundPolicy::AllowAny, ..sidecar() };
    partial("REGISTRY_ONLY", options, 8)
}

/// A Sidecar that lets the rest out, which the mesh would refuse.
pub fn imported_and_anything(_: &World, _: &Ca) -> Scene {
    partial("ALLOW_ANY", sidecar(), 13)
}

/// What workloads send to an egress gateway, in the place of a workload.
pub fn egress_gateway(world: &World, ca: &Ca) -> Scene {
    let own = |port: u16| (WORKLOAD[0], port);
    let to = |name: &'static str| [name, name];
    let cases = [
        asks("a Host", own(80), "resolved.example"),
        asks("a Host at IPv6 alone", own(80), "six-resolved.example"),
        asks_http2("a Host over HTTP/2", own(80), "resolved.example"),
        asks("TLS that the gateway begins", own(80), "begun.example"),
        asks("TLS that it begins, to another name", own(80), "renamed.example"),
        asks("a Host of a wildcard", own(80), "one.wild.example"),
        asks("another, over IPv6", own(80), "six.wild.example"),
        asks("a Host that it does not lead out", own(80), "stranger.example"),
        asks_tls("a server name", own(443), to("tls-resolved.example")),
        asks_tls("a server name of a wildcard", own(443), to("two.wild.example")),
        asks_tls("a server name of IPv6 alone", own(443), to("six.wild.example")),
        asks_tls("a server name that it does not lead out", own(443), to("stranger.example")),
        says("bytes", own(9000), b""),
    ];
    Scene {
        manifests: include_str!("egress.yaml").to_owned(),
        options: Options {
            proxy: ProxyKind::Gateway,
            labels: BTreeMap::from([("istio".to_owned(), "egressgateway".to_owned())]),
            addresses: WORKLOAD.map(|own| own.parse().expect("an address")).into(),
            services: vec![GatewayService {
                host: "istio-egressgateway.istio-system.svc.cluster.local".to_owned(),
                namespace: "istio-system".to_owned(),
                ports: BTreeMap::new(),
            }],
            system_roots: world.file("ca.pem", ca.pem()).into(),
            ..Options::default()
        },
        cases: cases.map(from_outside).into(),
        carried: 10,
    }
}

/// The options of the workload's sidecar.
fn sidecar() -> Options {
    let addresses = WORKLOAD.map(|own| own.parse().expect("an address")).into();
    Options {
        proxy: ProxyKind::Sidecar(Workload { addresses }),
        labels: BTreeMap::from([("app".to_owned(), "app".to_owned())]),
        namespace: "default".to_owned(),
        ..Options::default()
    }
}

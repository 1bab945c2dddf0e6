//! TLS that the sidecar starts for a workload which speaks plain HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tidegate_testing::ca::Ca;
use tidegate_testing::origin::Origin;
use tidegate_testing::{PATIENCE, eventually};

use super::{EVERYTHING, at, host};
use crate::support::captured::{ORIGINS, Sidecar, World};

/// A host whose port 80 is served at its port 443, and how TLS is spoken there.
fn service(name: &str, address: &str, tls: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 443}}]
  resolution: STATIC
  endpoints: [{{address: {address}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}.example
  trafficPolicy: {{tls: {tls}}}
---
"
    )
}

async fn ask(world: &World, name: &str) -> String {
    world.curl(&["-H", &format!("Host: {name}.example"), "http://10.77.0.2/"]).await
}

/// A sidecar of a workload for which these hosts are there.
async fn started(world: &World, services: &[String]) -> Sidecar {
    world.manifest("services.yaml", &services.concat());
    world.capture(&EVERYTHING);
    world.sidecar(&[]).await
}

#[tokio::test]
async fn origins_are_verified_and_asked_by_the_name_of_the_host() {
    let Some(world) = World::new() else { return };
    let (ca, other) = (Ca::new("internet"), Ca::new("somebody else"));
    let identity = ca.issue(&["simple.example"]);
    let origin = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    let good = world.file("ca.pem", ca.pem());
    let bad = world.file("other.pem", other.pem());
    let simple = |file: &str| format!("{{mode: SIMPLE, caCertificates: {file}}}");
    let services = [
        service("simple", ORIGINS[0], &simple(&good)),
        service("stranger", ORIGINS[0], &simple(&bad)),
        // Of the right authority, and of another name.
        service("renamed", ORIGINS[0], &simple(&good)),
        // By the authorities that this system trusts, which do not know the test's.
        service("unsaid", ORIGINS[0], "{mode: SIMPLE}"),
    ];
    let sidecar = started(&world, &services).await;
    assert_eq!(ask(&world, "simple").await, "simple.example 200");
    let asked = origin.requests();
    for name in ["stranger", "renamed", "unsaid"] {
        let refused = ask(&world, name).await;
        assert!(refused.ends_with(" 503"), "{name}: {refused}");
        let cluster = format!("outbound|80||{name}.example");
        sidecar.logged(&[" 503 ", "TLS_error", "certificate", &cluster]).await;
    }
    assert_eq!(origin.requests(), asked, "no request went where nobody was verified");
    for (name, why, field) in [
        ("renamed", "it is for simple.example, and renamed.example was asked for", "sni"),
        ("stranger", "nobody who is trusted has issued it", "caCertificates"),
    ] {
        let field = format!("DestinationRule default/{name} spec.trafficPolicy.tls.{field}");
        let told = format!("the endpoint's certificate is not accepted: {why}: {field}");
        sidecar.told(&told).await;
        let logged = format!("TLS_error:_certificate_not_accepted:_{}", why.replace(' ', "_"));
        sidecar.logged(&[" 503 ", &logged, &format!("{name}.example")]).await;
    }
    sidecar.end().await;
}

/// One host whose subsets are spoken to in TLS, in plain text, and in TLS of an authority that its origin is not of.
const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: sub}
spec:
  hosts: [sub.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - {address: 10.77.0.2, ports: {http: 443}, labels: {version: tls}}
  - {address: 10.77.0.3, ports: {http: 8080}, labels: {version: plain}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: sub}
spec:
  host: sub.example
  subsets:
  - {name: tls, labels: {version: tls}, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: GOOD}}}
  - {name: plain, labels: {version: plain}}
  - {name: stranger, labels: {version: tls}, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: BAD}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sub}
spec:
  hosts: [sub.example]
  http:
  - {match: [{uri: {prefix: /tls}}], route: [{destination: {host: sub.example, subset: tls}}]}
  - {match: [{uri: {prefix: /plain}}], route: [{destination: {host: sub.example, subset: plain}}]}
  - {route: [{destination: {host: sub.example, subset: stranger}}]}
";

#[tokio::test]
async fn each_subset_is_spoken_to_as_its_own_policy_says() {
    let Some(world) = World::new() else { return };
    let (ca, other) = (Ca::new("internet"), Ca::new("somebody else"));
    let identity = ca.issue(&["sub.example"]);
    let secure = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    let plain = Origin::start().at(at(ORIGINS[1], 8080)).http(host).await;
    let good = world.file("ca.pem", ca.pem());
    let bad = world.file("other.pem", other.pem());
    let sidecar = started(&world, &[SUBSETS.replace("GOOD", &good).replace("BAD", &bad)]).await;
    let ask = async |path: &str| {
        world.curl(&["-H", "Host: sub.example", &format!("http://10.77.0.2{path}")]).await
    };
    assert_eq!(ask("/tls").await, "sub.example 200");
    assert_eq!(ask("/plain").await, "sub.example 200");
    let refused = ask("/stranger").await;
    assert!(refused.ends_with(" 503"), "{refused}");
    sidecar.logged(&[" 503 ", "TLS_error", "outbound|80|stranger|sub.example"]).await;
    assert_eq!((secure.requests(), plain.requests()), (1, 1));
    sidecar.end().await;
}

#[tokio::test]
async fn origins_that_ask_for_a_certificate_are_shown_the_workload_s() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let (server, client) =
        (ca.issue(&["mutual.example", "unshown.example", "closed.example"]), ca.issue(&["me"]));
    let origin = Origin::start().at(at(ORIGINS[0], 443)).mutual_tls(&server, &ca).http(host).await;
    let file = world.file("ca.pem", ca.pem());
    let certificate = world.file("client.pem", &client.certificate_pem);
    let key = world.file("key.pem", &client.key_pem);
    let mutual = format!(
        "{{mode: MUTUAL, caCertificates: {file}, clientCertificate: {certificate}, privateKey: {key}}}"
    );
    let own = world.file("closed.pem", &client.key_pem);
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).expect("a mode");
    let services = [
        service("mutual", ORIGINS[0], &mutual),
        service("closed", ORIGINS[0], &mutual.replace(&key, &own)),
        service("unshown", ORIGINS[0], &format!("{{mode: SIMPLE, caCertificates: {file}}}")),
    ];
    let sidecar = started(&world, &services).await;
    assert_eq!(ask(&world, "mutual").await, "mutual.example 200");
    let unshown = ask(&world, "unshown").await;
    assert!(unshown.ends_with(" 503"), "{unshown}");
    assert_eq!(origin.requests(), 1);

    // A key that root alone may read is none for the sidecar's user, until that may read it.
    let mode = |mode: u32| fs::set_permissions(&own, fs::Permissions::from_mode(mode));
    assert!(ask(&world, "closed").await.ends_with(" 503"));
    let why = format!("file_{own}_cannot_be_read:_Permission_denied");
    sidecar.logged(&[" 503 ", &why, "closed.example"]).await;
    sidecar.told("the sidecar is user 1337, which has to be able to read it").await;
    mode(0o644).expect("a mode");
    eventually(PATIENCE, async || {
        let answer = ask(&world, "closed").await;
        if answer == "closed.example 200" { Ok(()) } else { Err(answer) }
    })
    .await;
    sidecar.end().await;
}

/// A host whose origin asks for a certificate: it is shown by a subset, by a port, and by nothing else.
const LEVELS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: levels}
spec:
  hosts: [levels.example]
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 443}
  - {number: 8080, name: http-shown, protocol: HTTP, targetPort: 443}
  resolution: STATIC
  endpoints: [{address: 10.77.0.2, labels: {version: one}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: levels}
spec:
  host: levels.example
  trafficPolicy:
    tls: {mode: SIMPLE, caCertificates: AUTHORITY}
    portLevelSettings: [{port: {number: 8080}, tls: MUTUAL}]
  subsets:
  - {name: shown, labels: {version: one}, trafficPolicy: {tls: MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: levels}
spec:
  hosts: [levels.example]
  http:
  - match: [{uri: {prefix: /subset}}]
    route: [{destination: {host: levels.example, subset: shown, port: {number: 80}}}]
  - match: [{uri: {prefix: /port}}]
    route: [{destination: {host: levels.example, port: {number: 8080}}}]
  - route: [{destination: {host: levels.example, port: {number: 80}}}]
";

#[tokio::test]
async fn a_certificate_is_shown_at_the_level_that_says_so() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let (server, client) = (ca.issue(&["levels.example"]), ca.issue(&["me"]));
    let origin = Origin::start().at(at(ORIGINS[0], 443)).mutual_tls(&server, &ca).http(host).await;
    let authority = world.file("ca.pem", ca.pem());
    let certificate = world.file("client.pem", &client.certificate_pem);
    let key = world.file("key.pem", &client.key_pem);
    let mutual = format!(
        "{{mode: MUTUAL, caCertificates: {authority}, clientCertificate: {certificate}, privateKey: {key}}}"
    );
    let manifest =
        LEVELS.replace("AUTHORITY", &authority).replace(": MUTUAL", &format!(": {mutual}"));
    let sidecar = started(&world, &[manifest]).await;
    let ask = async |path: &str| {
        world.curl(&["-H", "Host: levels.example", &format!("http://10.77.0.2{path}")]).await
    };
    assert_eq!(ask("/subset").await, "levels.example 200");
    assert_eq!(ask("/port").await, "levels.example 200");
    let refused = ask("/none").await;
    assert!(refused.ends_with(" 503"), "{refused}");
    assert_eq!(origin.requests(), 2);
    sidecar.logged(&[" 200 ", "outbound|80|shown|levels.example"]).await;
    sidecar.logged(&[" 200 ", "outbound|8080||levels.example"]).await;
    sidecar.end().await;
}

/// The same host at another port, of some protocol.
fn at_port(port: u16, protocol: &str, service: &str) -> String {
    let own = format!("number: {port}, name: own, protocol: {protocol}");
    service.replace("number: 80, name: http, protocol: HTTP", &own)
}

#[tokio::test]
async fn certificates_that_are_not_there_are_told_in_the_log() {
    let Some(world) = World::new() else { return };
    let in_mesh = service("mesh", ORIGINS[0], "{mode: ISTIO_MUTUAL}");
    let named = service("named", ORIGINS[1], "{mode: SIMPLE, credentialName: foo}");
    let sidecar = started(&world, &[in_mesh, named]).await;
    sidecar.told("--workload-certs FOLDER takes it from").await;
    sidecar.told("in namespace default, where the workload is").await;
    sidecar.end().await;
}

#[tokio::test]
async fn tls_that_two_sides_mean_differently_is_told_in_a_sentence() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let identity = ca.issue(&["begun.example"]);
    let _origin = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    let _plain = Origin::start().at(at(ORIGINS[1], 443)).http(host).await;
    let good = world.file("ca.pem", ca.pem());
    let simple = format!("{{mode: SIMPLE, caCertificates: {good}}}");
    let services = [
        service("plain", ORIGINS[1], &simple),
        at_port(443, "HTTP", &service("begun", ORIGINS[0], &simple)),
    ];
    let sidecar = started(&world, &services).await;

    // Plain bytes of an origin that is spoken to in TLS.
    let rule = |name: &str| {
        format!("set DestinationRule default/{name} spec.trafficPolicy.tls.mode to DISABLE")
    };
    let answer = ask(&world, "plain").await;
    let sentence = format!("the endpoint answers TLS with plain bytes: {}", rule("plain"));
    assert!(answer.contains(&sentence) && answer.ends_with(" 503"), "{answer}");
    let logged = sentence.replace(' ', "_");
    sidecar.logged(&[" 503 ", "UF ", &logged, "outbound|80||plain.example"]).await;
    sidecar.told(&sentence).await;

    // TLS of a client at a port from which the sidecar begins it.
    let tls = async |name: &str, port: u16| {
        let connect = format!("{name}.example:{port}:10.77.0.2:{port}");
        let url = format!("https://{name}.example:{port}/");
        world.curl(&["--cacert", &good, "--connect-to", &connect, &url]).await
    };
    let refused = tls("begun", 443).await;
    assert!(refused.contains("alert") && refused.contains(" 000"), "{refused}");
    sidecar.told("the client begins TLS where it is to speak plain HTTP").await;
    sidecar.told(&format!("use http:// in the client, or {}", rule("begun"))).await;
    let logged = rule("begun").replace(' ', "_");
    sidecar.logged(&[" DPE tls_on_plain_http ", &logged, "begun.example"]).await;
    // As it is meant.
    let meant = world.curl(&["-H", "Host: begun.example", "http://10.77.0.2:443/"]).await;
    assert_eq!(meant, "begun.example 200");
    // To a host that no rule begins TLS for.
    let unknown = tls("unknown", 443).await;
    assert!(unknown.contains(" 000"), "{unknown}");
    sidecar.end().await;
}

#[tokio::test]
async fn tls_that_is_sent_inside_of_the_sidecar_s_own_is_told() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let identity = ca.issue(&["inside.example"]);
    let origin = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    let good = world.file("ca.pem", ca.pem());
    let simple = format!("{{mode: SIMPLE, caCertificates: {good}}}");
    let service = at_port(443, "TLS", &service("inside", ORIGINS[0], &simple));
    let sidecar = started(&world, &[service]).await;
    let connect = "inside.example:443:10.77.0.2:443";
    let url = "https://inside.example/";
    let answer = world.curl(&["-m", "5", "--cacert", &good, "--connect-to", connect, url]).await;
    assert!(answer.contains(" 000"), "{answer}");
    let field = "DestinationRule default/inside spec.trafficPolicy.tls.mode";
    let inside = "the client's TLS is sent inside of TLS that the proxy begins itself";
    sidecar.told(&format!("{inside}: set {field} to DISABLE")).await;
    assert_eq!((origin.connections(), origin.requests()), (1, 0));
    sidecar.end().await;
}

#[tokio::test]
async fn tls_is_begun_for_connections_that_carry_no_requests() {
    let Some(world) = World::new() else { return };
    let (ca, other) = (Ca::new("internet"), Ca::new("somebody else"));
    let identity = ca.issue(&["carried.example"]);
    let _origin = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    let file = |name: &str, ca: &Ca| {
        format!("{{mode: SIMPLE, caCertificates: {}}}", world.file(name, ca.pem()))
    };
    let good = file("ca.pem", &ca);
    // Told apart by their ports: nothing else tells of bytes.
    let services = [
        at_port(9000, "TCP", &service("carried", ORIGINS[0], &good)),
        at_port(9001, "TCP", &service("renamed", ORIGINS[0], &good)),
        at_port(9002, "TCP", &service("stranger", ORIGINS[0], &file("other.pem", &other))),
    ];
    let sidecar = started(&world, &services).await;
    let ask = async |port: u16| {
        let url = format!("http://10.77.0.2:{port}/");
        world.curl(&["-H", "Host: bytes.example", &url]).await
    };
    assert_eq!(ask(9000).await, "bytes.example 200", "as the rule says, by the name of the host");
    for port in [9001, 9002] {
        let refused = ask(port).await;
        assert!(refused.contains(" 000"), "{refused}");
        sidecar.logged(&["TLS_error", "certificate", &format!("10.77.0.2:{port}")]).await;
    }
    sidecar.end().await;
}

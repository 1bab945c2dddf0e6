//! TLS that the sidecar starts for a workload which speaks plain HTTP.

use tidegate_testing::ca::Ca;
use tidegate_testing::origin::Origin;

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
    sidecar.end().await;
}

#[tokio::test]
async fn origins_that_ask_for_a_certificate_are_shown_the_workload_s() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let (server, client) = (ca.issue(&["mutual.example", "unshown.example"]), ca.issue(&["me"]));
    let origin = Origin::start().at(at(ORIGINS[0], 443)).mutual_tls(&server, &ca).http(host).await;
    let file = world.file("ca.pem", ca.pem());
    let certificate = world.file("client.pem", &client.certificate_pem);
    let key = world.file("key.pem", &client.key_pem);
    let mutual = format!(
        "{{mode: MUTUAL, caCertificates: {file}, clientCertificate: {certificate}, privateKey: {key}}}"
    );
    let services = [
        service("mutual", ORIGINS[0], &mutual),
        service("unshown", ORIGINS[0], &format!("{{mode: SIMPLE, caCertificates: {file}}}")),
    ];
    let sidecar = started(&world, &services).await;
    assert_eq!(ask(&world, "mutual").await, "mutual.example 200");
    let unshown = ask(&world, "unshown").await;
    assert!(unshown.ends_with(" 503"), "{unshown}");
    assert_eq!(origin.requests(), 1);
    sidecar.end().await;
}

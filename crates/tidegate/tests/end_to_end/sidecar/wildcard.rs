//! Wildcard hosts that the sidecar resolves itself, and whatever else requests ask for.

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::ca::Ca;
use tidegate_testing::origin::{Body, Origin, full};

use super::{EVERYTHING, at, host};
use crate::support::captured::{ORIGINS, RESOLVER, World, resolver};

const WILD: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example']
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: DYNAMIC_DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: begun}
spec:
  hosts: ['*.begun.example']
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]
  resolution: DYNAMIC_DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: begun}
spec:
  host: '*.begun.example'
  trafficPolicy: {tls: {mode: SIMPLE, caCertificates: CA}}
";

async fn second(_: Request<Incoming>) -> Response<Body> {
    Response::new(full("the second".to_owned()))
}

/// Asks for a host at an address that is none of its own.
async fn ask(world: &World, host: &str) -> String {
    world.curl(&["-H", &format!("Host: {host}"), "http://10.77.0.200/"]).await
}

#[tokio::test]
async fn wildcard_hosts_are_resolved_by_the_sidecar_whatever_was_dialled() {
    let Some(world) = World::new() else { return };
    let names = resolver().await;
    for (name, address) in [
        ("one.wild.example.", ORIGINS[0]),
        ("two.wild.example.", ORIGINS[1]),
        ("six.wild.example.", ORIGINS[2]),
        ("own.wild.example.", "127.0.0.1"),
        ("metadata.wild.example.", "169.254.169.254"),
        ("one.begun.example.", ORIGINS[0]),
        ("renamed.begun.example.", ORIGINS[0]),
        ("other.example.", ORIGINS[0]),
    ] {
        names.address(name, 60, address);
    }
    let ca = Ca::new("internet");
    let first = ca.issue(&["one.wild.example", "one.begun.example"]);
    let _plain = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let _secure = Origin::start().at(at(ORIGINS[0], 443)).tls(&first).http(host).await;
    let _second = Origin::start().at(at(ORIGINS[1], 80)).http(second).await;
    let _third = Origin::start().at(at(ORIGINS[2], 80)).http(host).await;
    let third = ca.issue(&["six.wild.example"]);
    let _secure3 = Origin::start().at(at(ORIGINS[2], 443)).tls(&third).http(host).await;
    let other = ca.issue(&["two.wild.example"]);
    let _secure2 = Origin::start().at(at(ORIGINS[1], 443)).tls(&other).http(second).await;
    let file = world.file("ca.pem", ca.pem());
    world.manifest("wild.yaml", &WILD.replace("CA", &file));
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&["--dns-server", RESOLVER]).await;
    assert!(names.asked().is_empty(), "nobody has asked for a name yet");

    // Requests, by their Host.
    assert_eq!(ask(&world, "one.wild.example").await, "one.wild.example 200");
    assert_eq!(ask(&world, "two.wild.example").await, "the second 200");
    let six = ask(&world, "six.wild.example").await;
    assert_eq!(six, "six.wild.example 200", "a host of IPv6 alone, dialled at an address of IPv4");
    sidecar.logged(&["six.wild.example", " 200 ", "[fd77::2]:80"]).await;
    let port = ask(&world, "two.wild.example:9000").await;
    assert_eq!(port, "the second 200", "the port is not the client's to choose");
    let dialled =
        sidecar.logged(&["two.wild.example", " 200 ", "outbound|80||*.wild.example"]).await;
    assert!(dialled.contains("10.77.0.3:80"), "{dialled}");
    let unknown = ask(&world, "other.example").await;
    assert!(unknown.contains("is denied") && unknown.ends_with(" 502"), "{unknown}");
    for (name, why) in [
        ("own.wild.example", "leads to 127.0.0.1"),
        ("metadata.wild.example", "leads to 169.254.169.254"),
        ("nobody.wild.example", "is not resolved: there is no such name"),
    ] {
        let refused = ask(&world, name).await;
        assert!(refused.contains(why) && refused.ends_with(" 503"), "{name}: {refused}");
        sidecar.logged(&[" 503 DF ", name]).await;
    }

    // Connections, by their server name.
    let tls = async |name: &str| {
        let connect = format!("{name}:443:10.77.0.200:443");
        let url = format!("https://{name}/");
        world.curl(&["--cacert", &file, "--connect-to", &connect, &url]).await
    };
    assert_eq!(tls("one.wild.example").await, "one.wild.example 200");
    assert_eq!(tls("two.wild.example").await, "the second 200");
    assert_eq!(tls("six.wild.example").await, "six.wild.example 200");
    let stranger = tls("other.example").await;
    assert!(stranger.contains(" 000"), "{stranger}");
    let inward = tls("own.wild.example").await;
    assert!(inward.contains(" 000"), "{inward}");

    // Requests that go on in TLS: each host is asked for, and verified, by its own name.
    assert_eq!(ask(&world, "one.begun.example").await, "one.begun.example 200");
    let renamed = ask(&world, "renamed.begun.example").await;
    assert!(renamed.ends_with(" 503"), "{renamed}");
    sidecar.logged(&[" 503 ", "certificate", "renamed.begun.example"]).await;
    let asked = names.asked();
    let others = asked.iter().filter(|question| question.name == "other.example.").count();
    assert_eq!(others, 0, "what may not go out is not asked for: {asked:?}");
    sidecar.end().await;
}

#[tokio::test]
async fn what_no_object_describes_goes_where_requests_ask_if_the_mesh_says_so() {
    let Some(world) = World::new() else { return };
    let names = resolver().await;
    names.address("any.example.", 60, ORIGINS[0]);
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let _second = Origin::start().at(at(ORIGINS[1], 80)).http(second).await;
    let _other = Origin::start().at(at(ORIGINS[1], 8000)).http(second).await;
    world.capture(&EVERYTHING);
    let mesh = world.file("mesh.yaml", "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n");
    let sidecar = world.sidecar(&["--mesh-config", &mesh, "--dns-server", RESOLVER]).await;
    let any = world.curl(&["-H", "Host: any.example", "http://10.77.0.3/"]).await;
    assert_eq!(any, "any.example 200", "the address is not the client's to choose");
    let address = world.curl(&["http://10.77.0.3:8000/"]).await;
    assert_eq!(address, "the second 200");
    sidecar.logged(&["any.example", " 200 ", "AllowAnyDynamicDNSCluster", "10.77.0.2:80"]).await;
    let own = world.curl(&["-H", "Host: 127.0.0.1:15000", "http://10.77.0.3/"]).await;
    assert!(own.contains("leads to 127.0.0.1") && own.ends_with(" 503"), "{own}");
    sidecar.end().await;
}

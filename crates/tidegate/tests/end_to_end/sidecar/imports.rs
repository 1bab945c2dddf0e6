//! A Sidecar resource: what its workload sees of the mesh, by request, by connection and by name, and what it does with the rest.

use tidegate_testing::origin::Origin;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, client, eventually};

use super::{EVERYTHING, at, first_words, host};
use crate::support::captured::{ORIGINS, RESOLVER, WORKLOAD, World, greeter, resolver};
use crate::support::entries::{in_namespace, service_entry};

/// What the workloads of the namespace see, where the mesh says nothing of it.
const SIDECAR: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  ingress:
  - {port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:8090'}
  egress:
  - {port: {number: 80, protocol: HTTP, name: http}, hosts: [./web.example, other/friend.example]}
  - {port: {number: 7070, protocol: HTTP, name: bound}, bind: 127.0.0.1, captureMode: NONE, hosts: [./bound.example]}
  - {hosts: [other/*]}
  outboundTrafficPolicy: {mode: MODE}
";

/// ServiceEntries of the workload's namespace and of another.
fn entries() -> String {
    let at_first = ["resolution: STATIC", "endpoints: [{address: 10.77.0.2}]"];
    let own = [
        service_entry("web.example", (80, "HTTP"), &at_first),
        service_entry("left-out.example", (80, "HTTP"), &at_first),
        service_entry("bound.example", (7070, "HTTP"), &at_first)
            .replace("7070,", "7070, targetPort: 80,"),
        service_entry(
            "db-left-out.example",
            (9001, "TCP"),
            &["addresses: [10.77.0.3]", "resolution: NONE"],
        ),
    ];
    let private = [&at_first[..], &["exportTo: ['.']"]].concat();
    let others = [
        service_entry("friend.example", (80, "HTTP"), &at_first),
        service_entry("stranger.example", (80, "HTTP"), &at_first),
        service_entry("private.example", (8080, "HTTP"), &private),
        service_entry("db.example", (9000, "TCP"), &["addresses: [10.77.0.3]", "resolution: NONE"]),
    ];
    let others = others.map(|entry| in_namespace("other", &entry));
    [own.concat(), others.concat()].concat()
}

async fn ask(world: &World, host: &str, to: &str) -> String {
    world.curl(&["-H", &format!("Host: {host}"), &format!("http://{to}/")]).await
}

#[tokio::test]
async fn a_workload_sees_what_its_sidecar_resource_brings_in() {
    let (Some(_), Some(world)) = (Tool::Dig.need(), World::new()) else { return };
    let _names = resolver().await;
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let _more = Origin::start().at(at(ORIGINS[0], 8080)).http(host).await;
    greeter(ORIGINS[1], 9000).await;
    greeter(ORIGINS[1], 9001).await;
    let app = Origin::start().on(world.listen(at("127.0.0.1", 8090)).await).http(host).await;
    world.manifest("entries.yaml", &entries());
    world.manifest("sidecar.yaml", &SIDECAR.replace("MODE", "REGISTRY_ONLY"));
    world.capture(&[&EVERYTHING[..], &["--redirect-dns", "--capture-all-dns"]].concat());
    let mesh = world.file("mesh.yaml", "outboundTrafficPolicy: {mode: ALLOW_ANY}\n");
    let flags = ["--labels", "app=app", "--dns-server", RESOLVER, "--mesh-config", &mesh];
    let sidecar = world.sidecar(&flags).await;

    // A port with hosts of its own, and all others.
    let first = ORIGINS[0];
    assert_eq!(ask(&world, "web.example", first).await, "web.example 200");
    assert_eq!(ask(&world, "friend.example", first).await, "friend.example 200");
    for left_out in ["left-out.example", "stranger.example", "nobody.example"] {
        let answer = ask(&world, left_out, first).await;
        assert!(answer.contains("is denied") && answer.ends_with(" 502"), "{answer}");
        let who = "nothing that Sidecar default/default brings in describes it";
        assert!(answer.contains(who) && answer.contains("egress[].hosts"), "{answer}");
    }
    let admin = ["egress", "denied", "--admin", "127.0.0.1:15000", "-o", "yaml"];
    eventually(PATIENCE, async || {
        let printed = world.run(env!("CARGO_BIN_EXE_tidegate"), &admin).await.success();
        let names = printed.contains("# Sidecar default/default hides");
        let hosts = ["left-out", "stranger", "nobody"].map(|it| format!("#   - ./{it}.example\n"));
        let all = names && hosts.iter().all(|host| printed.contains(host));
        if all { Ok(()) } else { Err(printed) }
    })
    .await;
    let private = ask(&world, "private.example", "10.77.0.2:8080").await;
    assert!(private.ends_with(" 502"), "its namespace keeps it to itself: {private}");
    let own = format!("hello {}\n", WORKLOAD[0]);
    assert_eq!(first_words(world.dial(at(ORIGINS[1], 9000)).await).await, own);
    assert_eq!(first_words(world.dial(at(ORIGINS[1], 9001)).await).await, "");

    // A port that is dialled itself.
    assert_eq!(ask(&world, "bound.example", "127.0.0.1:7070").await, "bound.example 200");
    let elsewhere = ask(&world, "web.example", "127.0.0.1:7070").await;
    assert!(elsewhere.ends_with(" 502"), "{elsewhere}");

    // What is not brought in has no name, either.
    let server = format!("@{RESOLVER}");
    let dig = async |name: &str| {
        let output = world.run("dig", &["+short", "+tries=1", "+time=10", &server, name]).await;
        output.stdout.trim().to_owned()
    };
    let given = dig("web.example").await;
    assert!(given.starts_with("240.240."), "{given}");
    assert_eq!(dig("db.example").await, ORIGINS[1]);
    for left_out in ["left-out.example", "private.example", "db-left-out.example"] {
        assert_eq!(dig(left_out).await, "", "{left_out}");
    }

    // What comes in goes where the listener of its port says.
    let incoming = client::get(at(WORKLOAD[0], 8080), "app.example", "/").await;
    assert_eq!((incoming.status, &*incoming.text(), app.requests()), (200, "app.example", 1));

    // The rest, as the Sidecar says, and without one as the mesh does.
    world.manifest("sidecar.yaml", &SIDECAR.replace("MODE", "ALLOW_ANY"));
    let becomes = async |host: &str, wanted: &str| {
        eventually(PATIENCE, async || {
            let answer = ask(&world, host, first).await;
            if answer.ends_with(wanted) { Ok(()) } else { Err(answer) }
        })
        .await;
    };
    becomes("left-out.example", "left-out.example 200").await;
    sidecar.logged(&["\"left-out.example\"", "PassthroughCluster"]).await;
    assert_eq!(first_words(world.dial(at(ORIGINS[1], 9001)).await).await, own);
    world.manifest("sidecar.yaml", &SIDECAR.replace("MODE", "REGISTRY_ONLY"));
    becomes("left-out.example", " 502").await;
    std::fs::remove_file(world.manifests().join("sidecar.yaml")).expect("removed");
    becomes("left-out.example", "left-out.example 200").await;
    sidecar.logged(&["outbound|80||left-out.example"]).await;
    sidecar.end().await;
}

//! What a workload sends.

use std::time::{Duration, Instant};

use tidegate_testing::ca::Ca;
use tidegate_testing::client::Client;
use tidegate_testing::origin::Origin;
use tidegate_testing::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{EVERYTHING, at, first_words, host};
use crate::support::captured::{ORIGINS, WORKLOAD, World, greeter};

/// One host of each protocol that is told apart in another way.
const SERVICES: &str = "
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
  addresses: [10.77.0.3, 'fd77::2']
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: NONE
";

#[tokio::test]
async fn what_objects_describe_is_carried_and_the_rest_refused() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let identity = ca.issue(&["secure.example"]);
    let _secure = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    greeter(ORIGINS[1], 9000).await;
    greeter(ORIGINS[1], 9001).await;
    greeter(ORIGINS[2], 9000).await;
    world.manifest("services.yaml", SERVICES);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&["--labels", "app=sleep"]).await;

    // HTTP by its Host, wherever it was dialled; and no other Host at an address that is allowed.
    let asked = |name: &str| format!("Host: {name}");
    let known = world.curl(&["-H", &asked("web.example"), "http://10.77.0.2/"]).await;
    assert_eq!(known, "web.example 200");
    let elsewhere = world.curl(&["-H", &asked("web.example"), "http://10.77.0.3/"]).await;
    assert_eq!(elsewhere, "web.example 200", "the address is not the client's to choose");
    let unknown = world.curl(&["-H", &asked("other.example"), "http://10.77.0.2/"]).await;
    let words = "egress to other.example on port 80 is denied: ";
    assert!(unknown.starts_with(words) && unknown.ends_with(" 502"), "{unknown}");
    sidecar.logged(&["\"web.example\"", " 200 ", "outbound|80||web.example"]).await;
    sidecar.logged(&["\"other.example\"", " 502 ", "block_all"]).await;

    // TLS by its server name, to which the address makes no difference.
    let file = world.file("ca.pem", ca.pem());
    let tls = async |name: &str, address: &str| {
        let connect = format!("{name}:443:{address}:443");
        let url = format!("https://{name}/");
        world.curl(&["--cacert", &file, "--connect-to", &connect, &url]).await
    };
    assert_eq!(tls("secure.example", "10.77.0.2").await, "secure.example 200");
    let elsewhere = tls("secure.example", "10.77.0.3").await;
    assert_eq!(elsewhere, "secure.example 200", "the address is not the client's to choose");
    let stranger = tls("stranger.example", "10.77.0.2").await;
    assert!(stranger.contains(" 000"), "{stranger}");
    sidecar.logged(&["outbound|443||secure.example", "secure.example"]).await;

    // TCP by its address and port, in both families. The origin speaks first, and nobody waits for the client.
    for (address, own) in [(ORIGINS[1], WORKLOAD[0]), (ORIGINS[2], WORKLOAD[1])] {
        let begun = Instant::now();
        let words = first_words(world.dial(at(address, 9000)).await).await;
        assert_eq!(words, format!("hello {own}\n"));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    assert_eq!(first_words(world.dial(at(ORIGINS[1], 9001)).await).await, "", "another port");
    assert_eq!(first_words(world.dial(at(ORIGINS[0], 9000)).await).await, "", "another address");
    sidecar.logged(&["outbound|9000||raw.example", "10.77.0.3:9000"]).await;
    sidecar.logged(&["BlackHoleCluster", "10.77.0.3:9001"]).await;

    // As `kubectl exec … -c istio-proxy -- curl` would ask.
    let info = world.curl(&["http://127.0.0.1:15000/server_info"]).await;
    assert!(info.contains("sidecar~10.77.0.100~") && info.contains("\"app\""), "{info}");
    let ready = world.curl(&["http://127.0.0.1:15021/healthz/ready"]).await;
    assert_eq!(ready, " 200");
    sidecar.end().await;
}

#[tokio::test]
async fn a_service_entry_that_is_deleted_blocks_at_once() {
    let Some(world) = World::new() else { return };
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    greeter(ORIGINS[1], 9000).await;
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    let ask = async || world.curl(&["-H", "Host: web.example", "http://10.77.0.2/"]).await;
    // Nobody listens for this port, and the answer is the same.
    let nothing = ask().await;
    assert!(nothing.ends_with(" 502"), "{nothing}");
    world.manifest("services.yaml", SERVICES);
    // Of another host of that port, which stays.
    let other = SERVICES.split("---").next().expect("the first").replace("web", "other");
    world.manifest("other.yaml", &other);
    eventually(PATIENCE, async || {
        let answer = ask().await;
        if answer == "web.example 200" { Ok(()) } else { Err(answer) }
    })
    .await;
    let mut open = world.dial(at(ORIGINS[1], 9000)).await.expect("a connection");
    let mut greeting = [0; 18];
    open.read_exact(&mut greeting).await.expect("a greeting");
    let mut kept = Client::over(world.dial(at(ORIGINS[0], 80)).await.expect("a connection"));
    let request = "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";
    assert_eq!(kept.request(request).await.status, 200);

    std::fs::remove_file(world.manifests().join("services.yaml")).expect("removed");
    eventually(PATIENCE, async || {
        let (answer, words) =
            (ask().await, first_words(world.dial(at(ORIGINS[1], 9000)).await).await);
        let refused = answer.ends_with(" 502") && words.is_empty();
        if refused { Ok(()) } else { Err((answer, words)) }
    })
    .await;
    // So is the next request on a connection that was let out.
    assert_eq!(kept.request(request).await.status, 502);

    // And where nobody listens at its port any more.
    world.manifest("services.yaml", SERVICES);
    eventually(PATIENCE, async || {
        let answer = ask().await;
        if answer == "web.example 200" { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(kept.request(request).await.status, 200);
    for file in ["services.yaml", "other.yaml"] {
        std::fs::remove_file(world.manifests().join(file)).expect("removed");
    }
    eventually(PATIENCE, async || {
        let answer = ask().await;
        if answer.ends_with(" 502") { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(kept.request(request).await.status, 502);
    // What is open goes on until one of its ends closes it, as in Istio while a listener drains.
    open.write_all(b"still here").await.expect("written");
    let mut back = [0; 10];
    open.read_exact(&mut back).await.expect("the same bytes");
    assert_eq!(&back, b"still here");
    drop(open);
    sidecar.end().await;
}

#[tokio::test]
async fn what_no_object_describes_goes_where_it_was_dialled_if_the_mesh_says_so() {
    let Some(world) = World::new() else { return };
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    greeter(ORIGINS[1], 9001).await;
    world.manifest("services.yaml", SERVICES);
    world.capture(&EVERYTHING);
    let mesh = world.file("mesh.yaml", "outboundTrafficPolicy: {mode: ALLOW_ANY}\n");
    let sidecar = world.sidecar(&["--mesh-config", &mesh]).await;
    let other = world.curl(&["-H", "Host: other.example", "http://10.77.0.2/"]).await;
    assert_eq!(other, "other.example 200");
    let words = first_words(world.dial(at(ORIGINS[1], 9001)).await).await;
    assert_eq!(words, format!("hello {}\n", WORKLOAD[0]));
    sidecar.logged(&["PassthroughCluster", "10.77.0.2:80", "allow_any"]).await;
    sidecar.logged(&["PassthroughCluster", "10.77.0.3:9001"]).await;
    sidecar.end().await;
}

#[tokio::test]
async fn outside_of_the_ranges_nothing_touches_the_sidecar() {
    let Some(world) = World::new() else { return };
    greeter(ORIGINS[0], 9000).await;
    greeter(ORIGINS[1], 9000).await;
    world.manifest("services.yaml", SERVICES);
    world.capture(&["-i", "10.77.0.3/32"]);
    let sidecar = world.sidecar(&[]).await;
    let direct = first_words(world.dial(at(ORIGINS[0], 9000)).await).await;
    assert_eq!(direct, format!("hello {}\n", WORKLOAD[0]));
    let carried = first_words(world.dial(at(ORIGINS[1], 9000)).await).await;
    assert_eq!(carried, direct);
    sidecar.logged(&["10.77.0.3:9000"]).await;
    let log = sidecar.end().await;
    assert!(!log.contains(ORIGINS[0]) && log.lines().count() == 1, "{log}");
}

#[tokio::test]
async fn whoever_would_be_captured_itself_is_told() {
    let Some(world) = World::new() else { return };
    let folder = world.manifests().display().to_string();
    let tidegate = env!("CARGO_BIN_EXE_tidegate");
    let refused = |arguments: &[&str], user: u32| {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(tidegate);
        command.args(["sidecar", "-f", &folder, "--address", "10.77.0.1"]).args(arguments);
        command.args(["--admin-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
        let output = command.uid(user).gid(user).output().expect("a program");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let other = refused(&[], 4000);
    assert!(other.contains("user 4000 of group 4000, whose connections are captured"), "{other}");
    assert!(other.contains("--run-as 4000:4000"), "{other}");

    let hidden = world.file("hidden.yaml", "");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&hidden, mode).expect("a mode");
    let unread = refused(&["-f", &hidden], 0);
    assert!(unread.contains("hidden.yaml") && unread.contains("--run-as 0:1337"), "{unread}");

    let _taken = std::net::TcpListener::bind("0.0.0.0:15006").expect("a free port");
    let taken = refused(&[], 0);
    assert!(taken.contains("port 15006") && taken.contains("network namespace"), "{taken}");
}

const UNNAMED: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: unnamed}
spec:
  hosts: [unnamed.example]
  addresses: [10.77.0.3, 'fd77::2']
  ports: [{number: 9000, name: any}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web6}
spec:
  hosts: [web6.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 'fd77::2'}]
";

#[tokio::test]
async fn a_port_that_says_nothing_is_looked_into_and_ipv6_is_as_ipv4() {
    let Some(world) = World::new() else { return };
    let _web = Origin::start().at(at(ORIGINS[2], 80)).http(host).await;
    let _own = Origin::start().at(at(ORIGINS[1], 9000)).http(host).await;
    greeter(ORIGINS[2], 9000).await;
    world.manifest("services.yaml", UNNAMED);
    world.capture(&EVERYTHING);
    let mesh = world.file("mesh.yaml", "protocolDetectionTimeout: 300ms\n");
    let sidecar = world.sidecar(&["--mesh-config", &mesh]).await;
    let known = world.curl(&["-g", "-H", "Host: web6.example", "http://[fd77::2]/"]).await;
    assert_eq!(known, "web6.example 200");
    let looked = world.curl(&["-H", "Host: unnamed.example", "http://10.77.0.3:9000/"]).await;
    assert_eq!(looked, "unnamed.example 200");
    sidecar.logged(&["GET / HTTP/1.1", "unnamed.example"]).await;
    // Who waits for the server to speak first waits for as long as the mesh config says.
    let words = first_words(world.dial(at(ORIGINS[2], 9000)).await).await;
    assert_eq!(words, format!("hello {}\n", WORKLOAD[1]));
    sidecar.end().await;
}

const DATABASES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: unnamed}
spec:
  hosts: [unnamed.example]
  addresses: [10.77.0.3, 'fd77::2']
  ports: [{number: 9000, name: any}, {number: 9001, name: other}, {number: 27017, name: documents}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: mongo}
spec:
  hosts: [mongo.example]
  addresses: [10.77.0.2]
  ports: [{number: 27017, name: mongo, protocol: MONGO}]
  resolution: NONE
";

/// A message as MongoDB's clients begin with: its length, then numbers, all of them little-endian.
const MESSAGE: [u8; 20] = [20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 221, 7, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn who_speaks_first_is_heard_where_nobody_says_what_is_spoken() {
    let Some(world) = World::new() else { return };
    for origin in [ORIGINS[1], ORIGINS[2]] {
        greeter(origin, 9000).await;
    }
    let slow = Origin::start().at(at(ORIGINS[1], 9001)).http(host).await;
    let _named = Origin::start().at(at(ORIGINS[0], 27017)).echo_bytes().await;
    let _unnamed = Origin::start().at(at(ORIGINS[1], 27017)).echo_bytes().await;
    world.manifest("services.yaml", DATABASES);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;

    // The server, in both families, whatever the client says then.
    for (address, own) in [(ORIGINS[1], WORKLOAD[0]), (ORIGINS[2], WORKLOAD[1])] {
        let mut stream = world.dial(at(address, 9000)).await.expect("a connection");
        let greeting = format!("hello {own}\n");
        let mut words = vec![0; greeting.len()];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut words)).await;
        read.expect("in time").expect("a greeting");
        assert_eq!(String::from_utf8_lossy(&words), greeting);
        stream.write_all(b"GET / HTTP/1.1").await.expect("written");
        let mut back = [0; 14];
        stream.read_exact(&mut back).await.expect("the same bytes");
        assert_eq!(&back, b"GET / HTTP/1.1");
        drop(stream);
        sidecar.logged(&["outbound|9000||unnamed.example", address]).await;
    }

    // The client, also one that takes its time: requests are requests, and an endpoint that was dialled meanwhile gets none of it.
    let mut stream = world.dial(at(ORIGINS[1], 9001)).await.expect("a connection");
    eventually(
        PATIENCE,
        async || {
            if slow.connections() == 1 { Ok(()) } else { Err("nobody is dialled") }
        },
    )
    .await;
    let request = b"GET /slow HTTP/1.1\r\nhost: unnamed.example\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("in time").expect("an answer");
    let whole = answer.starts_with("HTTP/1.1 200") && answer.ends_with("unnamed.example");
    assert!(whole, "{answer}");
    sidecar.logged(&["GET /slow HTTP/1.1", "outbound|9001||unnamed.example"]).await;
    assert_eq!((slow.connections(), slow.requests()), (2, 1));

    // Neither HTTP nor TLS, with a name for its protocol and without.
    for origin in [ORIGINS[0], ORIGINS[1]] {
        let mut stream = world.dial(at(origin, 27017)).await.expect("a connection");
        stream.write_all(&MESSAGE).await.expect("written");
        let mut back = [0; MESSAGE.len()];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await;
        read.expect("in time").expect("the same bytes");
        assert_eq!(back, MESSAGE);
        drop(stream);
        sidecar.logged(&["outbound|27017||", &format!("{origin}:27017")]).await;
    }

    // What nothing describes is not dialled, whoever is silent.
    let silent = world.dial(at(ORIGINS[0], 9000)).await;
    assert_eq!(first_words(silent).await, "");
    sidecar.end().await;
}

#[tokio::test]
async fn the_sidecar_s_own_ports_and_other_words_are_no_way_out() {
    let Some(world) = World::new() else { return };
    let web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let secure = Origin::start().at(at(ORIGINS[0], 443)).http(host).await;
    world.manifest("services.yaml", SERVICES);
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    for port in [15001, 15006] {
        for address in [WORKLOAD[0], "127.0.0.1"] {
            let stream = world.dial(at(address, port)).await;
            assert_eq!(first_words(stream).await, "", "{address}:{port}");
        }
    }
    // What is no HTTP at a port of HTTP, and what is no TLS at one of TLS.
    let mut stream = world.dial(at(ORIGINS[0], 80)).await.expect("a connection");
    stream.write_all(b"EHLO there\r\n\r\n").await.expect("written");
    let words = first_words(Ok(stream)).await;
    assert!(words.is_empty() || words.starts_with("HTTP/1.1 400"), "{words}");
    let plain = world.curl(&["-H", "Host: secure.example", "http://10.77.0.2:443/"]).await;
    assert!(plain.ends_with(" 502"), "{plain}");
    assert_eq!((web.connections(), secure.connections()), (0, 0));
    sidecar.end().await;
}

#[tokio::test]
async fn what_was_denied_is_listed_and_goes_out_with_the_manifests_that_are_printed() {
    let Some(world) = World::new() else { return };
    let ca = Ca::new("internet");
    let identity = ca.issue(&["10.77.0.2"]);
    let _web = Origin::start().at(at(ORIGINS[0], 8080)).http(host).await;
    let _secure = Origin::start().at(at(ORIGINS[0], 443)).tls(&identity).http(host).await;
    greeter(ORIGINS[1], 9000).await;
    world.capture(&EVERYTHING);
    let sidecar = world.sidecar(&[]).await;
    let asked = async || {
        let request = world.curl(&["http://10.77.0.2:8080/"]).await;
        let tls = world.curl(&["-k", "https://10.77.0.2/"]).await;
        (request, tls, first_words(world.dial(at(ORIGINS[1], 9000)).await).await)
    };
    let (request, tls, words) = asked().await;
    assert!(request.contains("egress to 10.77.0.2:8080 on port 8080 is denied"), "{request}");
    assert!(tls.contains(" 000"), "{tls}");
    assert_eq!(words, "");
    let connect = "stranger.example:443:10.77.0.2:443";
    world.curl(&["--connect-to", connect, "https://stranger.example/"]).await;
    sidecar.told("egress denied: a TLS connection from 10.77.0.100 to stranger.example:443").await;

    let tidegate = env!("CARGO_BIN_EXE_tidegate");
    let listed = world.run(tidegate, &["egress", "denied"]).await.stdout;
    for words in [
        ["stranger.example", "443", "TLS"],
        ["10.77.0.2", "8080", "HTTP"],
        ["10.77.0.3", "9000", "TCP"],
    ] {
        let found = listed.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "{words:?}: {listed}");
    }
    let printed = world.run(tidegate, &["egress", "denied", "-o", "yaml"]).await.stdout;
    world.manifest("allowed.yaml", &printed);
    eventually(PATIENCE, async || {
        let (request, tls, words) = asked().await;
        let out = request == "10.77.0.2:8080 200" && tls == "10.77.0.2 200" && !words.is_empty();
        if out { Ok(()) } else { Err((request, tls, words, printed.clone())) }
    })
    .await;
    sidecar.end().await;
}

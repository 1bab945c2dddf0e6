//! What pilot compiles for a sidecar, on real Envoy and on our proxy: in the same namespace, behind the same rules, the same
//! connections, and the same outcome: what the client gets, who answers, what that origin sees, and what the access log says.

mod cases;
mod differences;
pub mod origins;
mod scenes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::{KINDS, Object, Origin};
use tidegate_envoy::json::{FieldNames, to_json};
use tidegate_pilot::{AccessLog, Input, Interception, Options, Pilot};
use tidegate_testing::ca::Ca;
use tidegate_testing::process::Process;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, client, eventually};
use tidegate_xds::Snapshot;
use tidegate_xds::bootstrap::static_bootstrap;
use tokio::process::Command;
use tokio::task::JoinSet;

use self::cases::{Case, run};
use self::scenes::{NAMES, Scene};
use super::{EVERYTHING, at};
use crate::support::captured::{RESOLVER, WORKLOAD, World, resolver};

/// The group whose connections Istio's rules let through, as those of its user.
const PROXY: &str = "1337";
/// Where both sides tell whether they serve, in the workload's namespace.
const ADMIN: &str = "127.0.0.1:15000";
/// The parts of the log that are compared; the line begins with the client's address, by which its connection is found.
const FORMAT: &str = "%DOWNSTREAM_REMOTE_ADDRESS% to %DOWNSTREAM_LOCAL_ADDRESS%: %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER_RAW% %UPSTREAM_HOST% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registered_services_are_reached_as_through_envoy() {
    compare(scenes::registered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_is_carried_as_by_envoy() {
    compare(scenes::inbound).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_keeps_its_address_as_by_envoy() {
    compare(scenes::inbound_as_it_is).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_describes_goes_out_as_through_envoy() {
    compare(scenes::anything).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_clients_ask_for_are_resolved_as_by_envoy() {
    compare(scenes::asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sidecar_brings_in_is_reached_as_through_envoy() {
    compare(scenes::imported).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sidecar_leaves_out_goes_out_as_through_envoy() {
    compare(scenes::imported_and_anything).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_by_a_gateway_is_carried_as_by_envoy() {
    compare(scenes::egress_gateway).await;
}

/// Plays a scene on both sides, one after the other, as both take the same ports.
async fn compare(scene: fn(&World, &Ca) -> Scene) {
    let Some(envoy) = Tool::Envoy.need() else { return };
    let Some(world) = World::new() else { return };
    let names = resolver().await;
    for (name, address) in NAMES {
        names.address(name, 60, address);
    }
    let ca = Ca::new("internet");
    origins::start(&ca, &scenes::CERTIFIED).await;
    let scene = scene(&world, &ca);
    let captured = scene.options.workload().is_some();
    for (port, greets) in [(8080, false), (8081, false), (8082, false), (9000, true)] {
        for own in WORKLOAD.iter().filter(|_| captured) {
            let listener = world.listen(at(own, port)).await;
            match greets {
                true => tokio::spawn(origins::greetings(listener)),
                false => tokio::spawn(origins::requests(listener)),
            };
        }
    }
    tokio::spawn(origins::requests(world.listen(at("127.0.0.1", 8090)).await));
    let mode = match scene.options.interception {
        Interception::Redirect => "REDIRECT",
        Interception::Tproxy { .. } => "TPROXY",
    };
    if captured {
        world.capture(&[&EVERYTHING[..], &["-m", mode]].concat());
    }
    let bootstrap = bootstrap(&scene);
    let config = ca.client_config(&[]);
    let peer = ca.issue_with_uris(&["peer"], &["spiffe://cluster.local/ns/default/sa/peer"]);
    let configs = [config, ca.client_config_with(&peer, &["istio"])];
    let (mut sides, mut ports) = (Vec::new(), BTreeSet::new());
    for command in [envoy_on(&world, &envoy, &bootstrap), tidegate_on(&world, &bootstrap)] {
        let side = start(&world, command).await;
        let mut got = play(&world, &scene.cases, &configs, &mut ports).await;
        let log = end(side).await;
        for got in &mut got {
            got.lines.extend(log.get(&got.ends).into_iter().flatten().cloned());
        }
        sides.push(got.into_iter().map(|got| got.lines).collect::<Vec<_>>());
    }
    let carried = |lines: &&Vec<String>| {
        lines.first().is_some_and(|first| first == "status: 200" || first.starts_with("got: "))
    };
    // Two that refuse everything would agree as well.
    assert_eq!(sides[0].iter().filter(carried).count(), scene.carried, "{:#?}", sides[0]);
    let report = differences::report(&scene.cases, &sides[0], &sides[1]);
    assert!(report.is_empty(), "{} cases\n{report}", scene.cases.len());
}

// === what is served ===

/// What pilot makes of a scene, as a bootstrap.
fn bootstrap(scene: &Scene) -> Value {
    let log = AccessLog { path: "/dev/stdout".to_owned(), format: FORMAT.to_owned() };
    let options = Options { access_log: Some(log), ..scene.options.clone() };
    let (mut pilot, snapshot) = (Pilot::new(options), Snapshot::new());
    let objects = tidegate_yaml::parse(&scene.manifests).into_iter().map(|document| {
        let document = document.unwrap_or_else(|fault| panic!("{fault}\n{}", scene.manifests));
        Input::Apply(object(document.to_json()))
    });
    snapshot.publish(pilot.apply(objects.collect::<Vec<_>>()).change);
    let files: Vec<Input> = pilot.files().into_iter().map(read).collect();
    snapshot.publish(pilot.apply(files).change);
    let bootstrap = static_bootstrap(&snapshot, "sidecar").expect("a bootstrap");
    let mut bootstrap = to_json(&bootstrap, FieldNames::Proto).expect("known types");
    let admin: SocketAddr = ADMIN.parse().expect("an address");
    bootstrap["admin"] = json!({"address": {"socket_address":
        {"address": admin.ip(), "port_value": admin.port()}}});
    bootstrap
}

fn object(mut manifest: Value) -> Arc<Object> {
    let kind = manifest["kind"].as_str().expect("a kind");
    let info = KINDS.iter().find(|info| info.name == kind).expect("a known kind");
    let namespace = &mut manifest["metadata"]["namespace"];
    if namespace.is_null() {
        *namespace = "default".into();
    }
    let version = manifest["apiVersion"].as_str().expect("a version");
    let version = version.rsplit('/').next().unwrap_or(version).to_owned();
    let decoded = Object::decode(info.kind, &version, &manifest, Origin::Api);
    Arc::new(decoded.unwrap_or_else(|errors| panic!("{errors:?}\n{manifest:#}")).object)
}

fn read(name: Arc<str>) -> Input {
    let content = std::fs::read(&*name).map(Arc::from).map_err(|error| error.to_string());
    Input::File { name, content }
}

// === the two sides ===

/// Envoy, which is told of the name server in the bootstrap, wherever names are resolved.
fn envoy_on(world: &World, program: &Path, bootstrap: &Value) -> Command {
    let mut bootstrap = bootstrap.clone();
    let resolver = json!({"name": "envoy.network.dns_resolver.cares", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [{"socket_address": {"address": RESOLVER, "port_value": 53}}],
        "dns_resolver_options": {"no_default_search_domain": true}}});
    bootstrap["typed_dns_resolver_config"] = resolver.clone();
    resolve_by(&resolver, &mut bootstrap["static_resources"]);
    let file = world.file("envoy.json", &bootstrap.to_string());
    let mut command = as_proxy(world, program);
    command.args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "-c", &file]);
    // Else what is logged stays in a buffer for ten seconds.
    command.args(["--file-flush-interval-msec", "20"]);
    command
}

/// Has each cache of names ask this resolver.
fn resolve_by(resolver: &Value, value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| resolve_by(resolver, value)),
        Value::Object(fields) => {
            if let Some(cache) = fields.get_mut("dns_cache_config") {
                cache["typed_dns_resolver_config"] = resolver.clone();
            }
            fields.values_mut().for_each(|value| resolve_by(resolver, value));
        }
        _ => {}
    }
}

fn tidegate_on(world: &World, bootstrap: &Value) -> Command {
    let file = world.file("tidegate.json", &bootstrap.to_string());
    let mut command = as_proxy(world, Path::new(env!("CARGO_BIN_EXE_tidegate")));
    command.args(["proxy", "--workers", "1", "--log-level", "error", "-c", &file]);
    command.args(["--dns-server", RESOLVER]);
    command
}

/// A program in the workload's namespace whose connections are let through.
fn as_proxy(world: &World, program: &Path) -> Command {
    let program = program.to_str().expect("a path of text");
    let mut command = world.command("nsenter");
    command.args(["--setgid", PROXY, "--", program]);
    command.into()
}

/// Starts a side; done when it serves.
async fn start(world: &World, command: Command) -> Process {
    let process = Process::spawn(command);
    let admin: SocketAddr = ADMIN.parse().expect("an address");
    eventually(4 * PATIENCE, async || {
        let stream = world.dial(admin).await.map_err(|error| format!("{error}; {process}"))?;
        let mut client = client::Client::over(stream);
        client.send("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        match client.read(false).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}; {process}")),
        }
    })
    .await;
    process
}

/// Ends a side; the lines of its log, by connection.
async fn end(mut side: Process) -> BTreeMap<Ends, Vec<String>> {
    side.signal(rustix::process::Signal::TERM);
    side.wait(PATIENCE).await;
    let text = side.stdout().whole().await;
    let mut log = BTreeMap::<Ends, Vec<String>>::new();
    for line in text.lines() {
        let parsed = line.split_once(": ").and_then(|(ends, rest)| {
            let (from, to) = ends.split_once(" to ")?;
            Some(((from.parse().ok()?, to.parse().ok()?), rest))
        });
        let (ends, rest) = parsed.unwrap_or_else(|| panic!("{line}"));
        log.entry(ends).or_default().push(format!("logged: {}", settled(rest)));
    }
    log.values_mut().for_each(|lines| lines.sort());
    log
}

/// A line of the log without why TLS failed, which each library says in its own words, and with its flags in one order: Envoy has
/// them as they came.
fn settled(line: &str) -> String {
    let (code, rest) = line.split_once(' ').expect("a status");
    let (flags, rest) = rest.split_once(' ').expect("flags");
    let mut flags: Vec<&str> = flags.split(',').collect();
    flags.sort_unstable();
    let rest = match (rest.split_once('{'), rest.split_once('}')) {
        (Some((before, inside)), Some((_, after))) => {
            let reason = inside.split(['|', '}']).next().unwrap_or_default();
            format!("{before}{{{reason}}}{after}")
        }
        _ => rest.to_owned(),
    };
    format!("{code} {} {rest}", flags.join(","))
}

// === the connections ===

/// Who has dialled what: chance may give two connections to different addresses the same port.
type Ends = (SocketAddr, SocketAddr);

/// What a connection got.
struct Got {
    ends: Ends,
    lines: Vec<String>,
}

/// Has all connections made at the same time. `ports` are those of clients so far: where two to different addresses are redirected
/// to one place, the kernel gives the second another port, by which the log does not find it. The second of the ways to speak TLS
/// is that of a peer in the mesh.
async fn play(
    world: &World,
    cases: &[Case],
    [config, peer]: &[Arc<rustls::ClientConfig>; 2],
    ports: &mut BTreeSet<u16>,
) -> Vec<Got> {
    let mut running = JoinSet::new();
    for (place, case) in cases.iter().enumerate() {
        let (stream, from) = loop {
            let stream = match case.outside {
                true => tokio::net::TcpStream::connect(case.to).await,
                false => world.dial(case.to).await,
            };
            let stream = stream.unwrap_or_else(|error| panic!("{case}: {error}"));
            let from = stream.local_addr().expect("an address");
            if ports.insert(from.port()) {
                break (stream, from);
            }
        };
        let config = if case.peer { peer } else { config };
        let (case, config, ends) = (case.clone(), Arc::clone(config), (from, case.to));
        running.spawn(async move { (place, ends, run(&case, stream, config).await) });
    }
    let mut all: Vec<Option<Got>> = cases.iter().map(|_| None).collect();
    while let Some(done) = running.join_next().await {
        let (place, ends, lines) = done.expect("a connection's task");
        all[place] = Some(Got { ends, lines });
    }
    all.into_iter().flatten().collect()
}

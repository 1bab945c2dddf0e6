//! Listeners of a Sidecar on Unix sockets: served, moved and removed with it, and their files with them. What is logged, and what
//! origins see, as with Envoy.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::process::{self, Process};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::{EVERYTHING, at, host};
use crate::support::captured::{ORIGINS, World, greeter};
use crate::support::entries::service_entry;

/// One socket for requests to one host, one for the bytes of another, and ports for all.
const SIDECAR: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress:
  - {port: {number: 0, protocol: HTTP, name: out}, bind: 'unix://PATH', hosts: [./web.example]}
  - {port: {number: 0, protocol: TCP, name: database}, bind: 'unix://@database', hosts: [./db.example]}
  - {hosts: ['./*']}
";

fn sidecar(path: &Path) -> String {
    SIDECAR.replace("PATH", path.to_str().expect("a path of text"))
}

/// A folder in which the sidecar's user may make sockets.
fn folder(world: &World) -> PathBuf {
    let folder = world.manifests().with_file_name("sockets");
    std::fs::create_dir(&folder).expect("a folder");
    open_to_all(&folder);
    folder
}

/// Lets the sidecar's user do what the test may.
fn open_to_all(path: &Path) {
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(path, everybody).expect("a mode");
}

async fn comes(path: &Path) {
    eventually(PATIENCE, async || match path.metadata() {
        Ok(file) if file.file_type().is_socket() => Ok(()),
        other => Err(format!("{}: {other:?}", path.display())),
    })
    .await;
}

async fn goes(path: &Path) {
    eventually(PATIENCE, async || match path.exists() {
        true => Err(format!("{} is still there", path.display())),
        false => Ok(()),
    })
    .await;
}

async fn ask(world: &World, path: &Path, url: &str) -> String {
    world.curl(&["--unix-socket", path.to_str().expect("a path of text"), url]).await
}

#[tokio::test]
async fn a_sidecar_listens_on_unix_sockets() {
    let Some(world) = World::new() else { return };
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    greeter(ORIGINS[1], 9000).await;
    let entries = [
        service_entry(
            "web.example",
            (80, "HTTP"),
            &["resolution: STATIC", "endpoints: [{address: 10.77.0.2}]"],
        ),
        service_entry(
            "db.example",
            (9000, "TCP"),
            &["resolution: STATIC", "endpoints: [{address: 10.77.0.3}]"],
        ),
    ];
    let folder = folder(&world);
    let [first, second, taken] =
        ["first", "second", "taken"].map(|name| folder.join(format!("{name}.sock")));
    // As a process leaves it that was killed.
    drop(UnixListener::bind(&first).expect("a socket"));
    open_to_all(&first);
    world.manifest("entries.yaml", &entries.concat());
    world.manifest("sidecar.yaml", &sidecar(&first));
    world.capture(&EVERYTHING);
    let running = world.sidecar(&["--labels", "app=app"]).await;

    // Requests, by their Host alone.
    assert_eq!(ask(&world, &first, "http://web.example/").await, "web.example 200");
    let path = first.display().to_string();
    running.logged(&["outbound|80||web.example", &format!(" {path} {path} ")]).await;
    let denied = ask(&world, &first, "http://db.example/").await;
    assert!(denied.starts_with("egress to db.example is denied: "), "{denied}");
    assert!(denied.ends_with(" 502"), "{denied}");
    running.told("a request through a Unix socket to db.example:80; nothing that Sidecar default/default brings in describes it").await;

    // Bytes, through a name that is no file.
    let stream = world.inside(|| {
        let name = UnixAddress::from_abstract_name("database")?;
        let stream = UnixStream::connect_addr(&name)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    });
    let stream = stream.expect("somebody listens");
    let mut stream = tokio::net::UnixStream::from_std(stream).expect("a stream");
    let mut words = [0; 5];
    stream.read_exact(&mut words).await.expect("the server speaks first");
    assert_eq!(&words, b"hello");
    // What is open holds up the end.
    drop(stream);

    // The file is where the Sidecar says it is, and nowhere else.
    world.manifest("sidecar.yaml", &sidecar(&second));
    comes(&second).await;
    goes(&first).await;
    assert_eq!(ask(&world, &second, "http://web.example/").await, "web.example 200");
    let _living = UnixListener::bind(&taken).expect("a socket");
    open_to_all(&taken);
    world.manifest("sidecar.yaml", &sidecar(&taken));
    running.told("taken.sock: somebody listens there already").await;
    UnixStream::connect(&taken).expect("the living one still has it");
    std::fs::remove_file(world.manifests().join("sidecar.yaml")).expect("removed");
    goes(&second).await;

    world.manifest("sidecar.yaml", &sidecar(&first));
    comes(&first).await;
    assert_eq!(ask(&world, &first, "http://web.example/").await, "web.example 200");
    running.end().await;
    assert!(!first.exists(), "it goes with the process");
    assert!(taken.exists(), "and what is somebody else's does not");
}

// === beside Envoy ===

/// What an origin is told of where a request comes from.
async fn told(request: Request<Incoming>) -> Response<Body> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        format!("{name}={} ", value.unwrap_or("-"))
    };
    let names = ["x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address", "x-ends"];
    Response::new(full(names.map(header).concat()))
}

/// A listener on a socket, with what a header and the access log say of its ends.
fn bootstrap(socket: &Path, origin: std::net::SocketAddr, edge: bool) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.{name}");
    let ends = "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_PORT%|\
        %DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%";
    let log = json!({"@type": kind("extensions.access_loggers.stream.v3.StdoutAccessLog"),
        "log_format": {"text_format_source": {"inline_string": format!("{ends} %RESPONSE_CODE%\n")}}});
    let manager = json!({
        "@type": kind("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "socket",
        "use_remote_address": edge,
        "access_log": [{"name": "envoy.access_loggers.stdout", "typed_config": log}],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config":
            {"@type": kind("extensions.filters.http.router.v3.Router")}}],
        "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"],
            "request_headers_to_add": [{"header": {"key": "x-ends", "value": ends.replace(' ', ",")}}],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]}});
    let at_origin = json!({"socket_address":
        {"address": origin.ip().to_string(), "port_value": origin.port()}});
    json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [{
                "name": "socket",
                "address": {"pipe": {"path": socket, "mode": 0o600}},
                "filter_chains": [{"filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
            "clusters": [{"name": "c", "type": "STATIC", "connect_timeout": "5s", "load_assignment":
                {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at_origin}}]}]}}]}})
}

/// What clients are answered and what is logged, with and without addresses of others before them.
async fn observed(mut command: Command, socket: &Path) -> Vec<String> {
    command.stdin(std::process::Stdio::null());
    let mut side = Process::spawn(command);
    comes(socket).await;
    let mode = socket.metadata().expect("a socket").permissions().mode() & 0o777;
    let mut seen = vec![format!("{mode:o}")];
    for more in [None, Some("x-forwarded-for: 192.0.2.7")] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "20", "--unix-socket", socket.to_str().expect("a path of text")]);
        // The file is there a moment before it is listened on.
        curl.args(["--retry", "5", "--retry-all-errors", "http://web.example/"]);
        curl.args(more.into_iter().flat_map(|header| ["-H", header]));
        seen.push(process::run(curl, "").await.success());
    }
    side.signal(rustix::process::Signal::TERM);
    side.wait(PATIENCE).await;
    seen.extend(side.stdout().whole().await.lines().map(str::to_owned));
    seen
}

#[tokio::test]
async fn ends_of_a_unix_socket_are_told_as_by_envoy() {
    let (Some(envoy), Some(_)) = (Tool::Envoy.need(), Tool::Curl.need()) else { return };
    let origin = Origin::start().http(told).await;
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("a.sock");
    for edge in [false, true] {
        let file = folder.path().join("bootstrap.json");
        let text = bootstrap(&socket, origin.address(), edge).to_string();
        std::fs::write(&file, text).expect("a file");
        let mut theirs = Command::new(&envoy);
        theirs
            .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "-c"])
            .arg(&file);
        let theirs = observed(theirs, &socket).await;
        // Envoy leaves it behind.
        let _ = std::fs::remove_file(&socket);
        let mut ours = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        ours.args(["proxy", "--workers", "2", "--log-level", "error", "-c"]).arg(&file);
        let ours = observed(ours, &socket).await;
        assert_eq!(ours, theirs, "use_remote_address: {edge}");
        assert_eq!(ours.len(), 5, "{ours:?}");
        assert!(!socket.exists(), "it goes with the process");
    }
}

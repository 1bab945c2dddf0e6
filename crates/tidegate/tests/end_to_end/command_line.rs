//! What the terminal says, and what signals do.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, Script, echo};
use tidegate_testing::process::{self, Output};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::process::Command;

use crate::support::{Api, Gateway, NETWORKING, Shell, objects};

pub async fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments);
    process::run(command, "").await
}

#[tokio::test]
async fn version_and_completion_print() {
    let version = tidegate(&["version"]).await.success();
    assert_eq!(version.trim(), format!("tidegate {}", env!("CARGO_PKG_VERSION")));
    assert!(tidegate(&["completion", "bash"]).await.success().contains("--port-map"));
}

/// `tidegate up` with ports that the kernel chooses, but for what `given` says.
async fn up(data_dir: &Path, given: &[(&str, &str)]) -> Output {
    let data_dir = data_dir.display().to_string();
    let mut flags = BTreeMap::from([
        ("--data-dir", data_dir.as_str()),
        ("--gateway-listen", "127.0.0.1"),
        ("--port-map", "80=0,443=0"),
        ("--api-listen", "127.0.0.1:0"),
        ("--admin-listen", "127.0.0.1:0"),
        ("--health-listen", "127.0.0.1:0"),
    ]);
    flags.extend(given.iter().copied());
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag, value]);
    tidegate(&std::iter::once("up").chain(flags).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn mistakes_name_the_place_and_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("its address");

    let map = format!("80={},443=0", taken.port());
    let output = up(folder.path(), &[("--port-map", &map)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("is taken by another program"), "{}", output.stderr);
    assert!(output.stderr.contains("--port-map 80="), "{}", output.stderr);

    // All that are taken are told at once.
    let taken_too = taken.to_string();
    let map = format!("80={0},443=0", taken.port());
    let given =
        [("--port-map", &*map), ("--api-listen", &taken_too), ("--admin-listen", &taken_too)];
    let output = up(folder.path(), &given).await;
    assert_eq!(output.status.code(), Some(1));
    for flag in ["--port-map", "--api-listen", "--admin-listen"] {
        let line = |line: &&str| line.contains(flag) && line.contains("try:");
        assert!(output.stderr.lines().any(|l| line(&l)), "{flag}: {}", output.stderr);
    }

    for flag in ["--api-listen", "--admin-listen", "--health-listen"] {
        let output = up(folder.path(), &[(flag, &taken.to_string())]).await;
        assert_eq!(output.status.code(), Some(1), "{flag}");
        assert!(output.stderr.contains("is taken by another program"), "{}", output.stderr);
        assert!(output.stderr.contains(flag), "{}", output.stderr);
    }

    let output = up(folder.path(), &[("--api-listen", "0.0.0.0:16443")]).await;
    assert_eq!(output.status.code(), Some(1));
    for told in
        ["--api-listen 0.0.0.0:16443", "try: --api-token-file", "try: --api-listen 127.0.0.1:16443"]
    {
        assert!(output.stderr.contains(told), "no {told} in {}", output.stderr);
    }

    let output = up(folder.path(), &[("--access-log", "/no/such/folder/log")]).await;
    assert!(output.stderr.contains("/no/such/folder/log"), "{}", output.stderr);
}

/// A server that does not answer may come; a kubeconfig that says nothing good will not.
#[tokio::test]
async fn a_workload_is_not_kept_waiting_for_a_kubeconfig_that_says_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kubeconfig");
    let path = file.display().to_string();
    let refused = async |flags: &[&str], words: &str| {
        let output = tidegate(&[&["sidecar", "--kubeconfig", &path], flags].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
        for told in [words, "try: --kubeconfig FILE", "try: -f PATH"] {
            assert!(output.stderr.contains(told), "no {told} in {}", output.stderr);
        }
    };
    refused(&[], &format!("kubeconfig {path}: No such file")).await;
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
                clusters: [{name: c, cluster: {server: https://127.0.0.1:1}}]\n\
                users: [{name: u, user: {token: t}}]\n\
                contexts: [{name: here, context: {cluster: c, user: u}}]\n";
    std::fs::write(&file, text).expect("written");
    refused(&["--context", "there"], "there").await;
}

#[tokio::test]
async fn a_bootstrap_that_is_refused_says_what_to_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let file = folder.path().join("envoy.yaml");
    let path = file.display().to_string();
    let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let served = format!(
        "static_resources: {{listeners: [{{name: l, \
         address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, \
         filter_chains: [{{filters: [{{name: t, typed_config: {{\"@type\": {tcp}, stat_prefix: s, cluster: c}}}}]}}]}}]}}"
    );
    let admin = format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}"
    );
    let list = "docs/data-plane.md";
    // Only what is not served is to be looked up.
    let cases = [
        ("overload_manager: {}", "overload_manager", true),
        ("no_such_field: 1", "no_such_field", false),
        (&served, "another process has the port; stop it, or give the listener another", false),
        (
            &admin,
            "try: admin: {address: {socket_address: {address: \"127.0.0.1\", port_value: 0}}}",
            false,
        ),
    ];
    for (text, expected, looked_up) in cases {
        std::fs::write(&file, text).expect("written");
        let output = tidegate(&["proxy", "--workers", "1", "-c", &path]).await;
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(output.stderr.contains(expected), "{text}: {}", output.stderr);
        assert_eq!(output.stderr.contains(list), looked_up, "{text}: {}", output.stderr);
    }
}

#[tokio::test]
async fn nothing_is_explained_from_manifests_that_are_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    let path = file.display().to_string();
    let explain = ["explain", "GET", "http://a.example/", "-f", &path];
    std::fs::write(&file, objects::gateway("web", 80, &["*"]).to_string()).expect("written");
    assert!(!tidegate(&explain).await.success().is_empty());
    std::fs::write(&file, "kind: Gateway\nspec: [\n").expect("written");
    let output = tidegate(&explain).await;
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), ""));
    assert!(output.stderr.contains("a.yaml:2:7"), "{}", output.stderr);

    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(["explain", "GET", "http://a.example/"])
        .env("KUBECONFIG", file.with_file_name("b"));
    let output = process::run(command, "").await;
    assert_eq!(output.status.code(), Some(1));
    let words = format!("kubeconfig {}", file.with_file_name("b").display());
    assert!(output.stderr.contains(&words), "{}", output.stderr);
}

/// A running gateway says itself which Gateways it serves and what its mesh config is.
#[tokio::test]
async fn a_running_gateway_is_explained_as_it_was_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let mesh = folder.path().join("mesh.yaml").display().to_string();
    std::fs::write(&mesh, "ingressSelector: none\n").expect("written");
    let flags = ["--gateway-labels", "istio=edge", "--mesh-config", &mesh];
    let gateway = Gateway::start(&flags).await;
    let mut api = Api::of(&gateway).await;
    let mut web = objects::gateway("web", 80, &["*"]);
    web["spec"]["selector"] = json!({ "istio": "edge" });
    api.create("gateways", &web).await;
    let mut route = objects::route("a", "web", "a.example", "a.internal");
    route["spec"]["http"] = json!([{ "directResponse": { "status": 299 } }]);
    api.create("virtualservices", &route).await;
    gateway.answers("a.example", "/", 299).await;

    let (answer, stderr) = explained(&gateway, "http://a.example/").await;
    assert_eq!(answer["end"], json!({ "what": "answered", "status": 299 }), "{answer:#}");
    let idle = "ConfigMap istio-system/istio: without effect yet: ingressSelector";
    assert!(stderr.contains(idle), "{stderr}");
    // It listens at one address, as it was told.
    let name = answer["listener"]["name"].as_str().expect("a listener");
    assert!(name.starts_with("127.0.0.1_"), "{answer:#}");
    let own = ["http://a.example/", "--address", "127.0.0.1"];
    assert_eq!(explained_of(&gateway, &own).await.0["end"], answer["end"]);
    let other = ["http://a.example/", "--address", "127.0.0.5"];
    let (elsewhere, _) = explained_of(&gateway, &other).await;
    assert_eq!(elsewhere["end"]["error"], "NoListener", "{elsewhere:#}");
}

/// What `tidegate explain -o json` says of a GET to a running gateway, on both streams.
async fn explained(gateway: &Gateway, url: &str) -> (serde_json::Value, String) {
    explained_of(gateway, &[url]).await
}

/// As [`explained`], with flags.
async fn explained_of(gateway: &Gateway, args: &[&str]) -> (serde_json::Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["explain", "GET", "-o", "json"]).args(args);
    command.env("KUBECONFIG", gateway.place().data_dir().join("kubeconfig"));
    let output = process::run(command, "").await;
    (serde_json::from_str(&output.stdout).expect("an answer"), output.stderr)
}

/// A port that another program has takes nothing, whatever the objects say; and that is no fault of the Gateway's other ports.
#[tokio::test]
async fn a_port_that_is_taken_is_explained_as_closed() {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("its address").port();
    let mut web = objects::gateway("web", 80, &["*"]);
    let mut server = web["spec"]["servers"][0].clone();
    server["port"] = json!({ "number": taken, "name": "taken", "protocol": "HTTP" });
    web["spec"]["servers"].as_array_mut().expect("servers").push(server);
    api.create("gateways", &web).await;
    let mut route = objects::route("a", "web", "a.example", "a.internal");
    route["spec"]["http"] = json!([{ "directResponse": { "status": 299 } }]);
    api.create("virtualservices", &route).await;
    gateway.answers("a.example", "/", 299).await;
    api.tells(&format!("{NETWORKING}/gateways/web"), &["PartlyServed"]).await;

    let process = |answer: &serde_json::Value| {
        let notes = answer["notes"].as_array().cloned().unwrap_or_default();
        notes.iter().any(|note| note.to_string().contains("another process has the port"))
    };
    let (closed, _) = explained(&gateway, &format!("http://a.example:{taken}/")).await;
    assert_eq!(closed["end"]["error"], "NoListener", "{closed:#}");
    let said = format!("port {taken} is not open, though a Gateway asks for it; only 80 ");
    assert!(closed["end"]["reason"].as_str().is_some_and(|r| r.starts_with(&said)), "{closed:#}");
    assert!(process(&closed), "{closed:#}");
    let (open, _) = explained(&gateway, "http://a.example/").await;
    assert_eq!(open["end"], json!({ "what": "answered", "status": 299 }), "{open:#}");
    assert!(!process(&open), "{open:#}");
}

/// What is explained of a running gateway is what it does, also where it refuses what objects say now.
#[tokio::test]
async fn a_running_gateway_is_explained_in_the_forms_that_are_in_force() {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    api.create("serviceentries", &objects::host("a", "a.internal", address)).await;
    let paths = ["refused", "invalid"].map(|name| format!("{NETWORKING}/virtualservices/{name}"));
    for name in ["refused", "invalid"] {
        let mut route = objects::route(name, "web", &format!("{name}.example"), "a.internal");
        route["spec"]["http"] = json!([{ "directResponse": { "status": 299 } }]);
        api.create("virtualservices", &route).await;
    }
    for path in &paths {
        api.wait_for(path, &[("Programmed", "True")]).await;
    }
    // The proxy takes no weights with such a sum; and no host of the other covers the server name.
    let to = |weight: u32| json!({ "destination": { "host": "a.internal" }, "weight": weight });
    let weights = json!([{ "route": [to(2_000_000_000), to(2_000_000_000), to(2_000_000_000)] }]);
    let refused = json!({ "spec": { "http": weights } });
    let tls = json!([{ "match": [{ "port": 443, "sniHosts": ["z.example"] }], "route": [to(1)] }]);
    let invalid = json!({ "spec": { "tls": tls } });
    for (path, wrong) in paths.iter().zip([refused, invalid]) {
        api.send("PATCH", path, &wrong.to_string()).await;
    }
    api.wait_for(&paths[0], &[("Programmed", "False")]).await;
    api.wait_for(&paths[1], &[("Reconciled", "False")]).await;
    for (name, why) in [("refused", "sum of the weights"), ("invalid", "z.example")] {
        gateway.answers(&format!("{name}.example"), "/", 299).await;
        let (answer, _) = explained(&gateway, &format!("http://{name}.example/")).await;
        assert_eq!(answer["end"], json!({ "what": "answered", "status": 299 }), "{answer:#}");
        let told = &answer["notInForce"][0];
        assert_eq!(told["instead"], "lastGood", "{answer:#}");
        assert!(told["refused"].to_string().contains(why), "{answer:#}");
        assert_eq!(told["from"][0]["name"], name, "{answer:#}");
    }

    // What only the process can know: a port that another process has.
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    api.create("gateways", &objects::gateway("taken", port, &["*"])).await;
    api.wait_for(&format!("{NETWORKING}/gateways/taken"), &[("Programmed", "False")]).await;
    let (answer, _) = explained(&gateway, &format!("http://a.example:{port}/")).await;
    let notes = answer["notes"].to_string();
    assert!(notes.contains("another process has the port"), "{answer:#}");
}

#[tokio::test]
async fn a_second_process_does_not_take_the_first_one_s_state() {
    let gateway = Gateway::start(&[]).await;
    let data_dir = gateway.place().data_dir();
    let output = up(&data_dir, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = output.stderr;
    assert!(
        told.contains(&data_dir.display().to_string()) && told.contains("--data-dir"),
        "{told}"
    );
}

/// A gateway whose only origin answers half, then waits to be told.
async fn slow(pause: Duration) -> (Gateway, Origin) {
    let script = Script::new().read_head().send_head(2).send("h").pause(pause).send("i").again();
    let origin = Origin::start().script(script).await;
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    gateway.answers("a.example", "/", 200).await;
    (gateway, origin)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[tokio::test]
async fn sigterm_lets_requests_in_flight_finish() {
    let (mut gateway, origin) = slow(Duration::from_millis(500)).await;
    let mut client = Client::connect(gateway.http).await;
    let before = origin.requests();
    client.send(REQUEST).await;
    eventually(PATIENCE, || async { origin.requests() > before }).await;
    gateway.process.signal(Signal::TERM);
    assert_eq!(client.response().await.text(), "hi");
    assert!(gateway.process.wait(PATIENCE).await.success(), "{}", gateway.process);
}

#[tokio::test]
async fn a_second_sigterm_ends_at_once() {
    let (mut gateway, origin) = slow(Duration::from_millis(100)).await;
    let hanging = Origin::start().script(Script::new().read_head().read_to_end()).await;
    drop(origin);
    let mut api = Api::of(&gateway).await;
    api.create("serviceentries", &objects::host("b", "b.internal", hanging.address())).await;
    api.create("virtualservices", &objects::route("b", "web", "b.example", "b.internal")).await;
    let route = format!("{NETWORKING}/virtualservices/b");
    api.wait_for(&route, &[("Programmed", "True")]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(REQUEST.replace("a.example", "b.example")).await;
    eventually(PATIENCE, || async { hanging.requests() > 0 }).await;
    gateway.process.signal(Signal::TERM);
    gateway.process.stderr().containing("SIGTERM").await;
    gateway.process.signal(Signal::TERM);
    // The first one alone would leave the request its 30 seconds.
    gateway.process.wait(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn sigusr1_reopens_the_access_log() {
    let origin = Origin::start().http(echo).await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let gateway = Gateway::start(&["--access-log", &log.display().to_string()]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    gateway.answers("a.example", "/one", 200).await;
    let holds = |path: PathBuf, text: &'static str| {
        eventually(PATIENCE, move || {
            let path = path.clone();
            async move { std::fs::read_to_string(path).is_ok_and(|log| log.contains(text)) }
        })
    };
    holds(log.clone(), "/one").await;

    let moved = folder.path().join("access.log.1");
    std::fs::rename(&log, &moved).expect("moved");
    gateway.process.signal(Signal::USR1);
    eventually(PATIENCE, || async { log.exists() }).await;
    gateway.get("a.example", "/two").await;
    holds(log, "/two").await;
    assert!(!std::fs::read_to_string(moved).expect("the old log").contains("/two"));
}

#[tokio::test]
async fn proxy_config_shows_what_the_data_plane_was_told() {
    let (gateway, _origin) = slow(Duration::ZERO).await;
    let admin = gateway.admin.to_string();
    let dump = tidegate(&["proxy-config", "all", "-o", "json", "--admin", &admin]).await.success();
    let dump: serde_json::Value = serde_json::from_str(&dump).expect("JSON");
    assert!(dump["configs"].to_string().contains("outbound|80||a.internal"));
    let http = gateway.http.port().to_string();
    let route = ["a.example", "/*", "outbound|80||a.internal", "a.default"];
    for (table, heading, cells) in [
        ("listeners", "ADDRESSES", &["127.0.0.1", &http, "ALL", &format!("Route: http.{http}")]),
        ("routes", "VIRTUAL SERVICE", &route),
        ("clusters", "SERVICE FQDN", &["a.internal", "80", "outbound", "EDS"]),
        ("endpoints", "OUTLIER CHECK", &["127.0.0.1:", "HEALTHY", "OK", "outbound|80||a.internal"]),
    ] {
        let shown = tidegate(&["proxy-config", table, "--admin", &admin]).await.success();
        assert!(shown.lines().next().is_some_and(|first| first.contains(heading)), "{shown}");
        let row = shown.lines().any(|line| cells.iter().all(|cell| line.contains(cell)));
        assert!(row, "no row of {table} with {cells:?}:\n{shown}");
    }
    let nobody = tidegate(&["proxy-config", "all", "--admin", "127.0.0.1:1"]).await;
    assert!(nobody.stderr.contains("--admin"), "{}", nobody.stderr);

    // The process of the kubeconfig says itself where it is to be asked.
    let of = async |kubeconfig: PathBuf| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["proxy-config", "routes"]).env("KUBECONFIG", kubeconfig);
        process::run(command, "").await
    };
    let own = of(gateway.place().data_dir().join("kubeconfig")).await.success();
    assert!(own.lines().any(|line| route.iter().all(|cell| line.contains(cell))), "{own}");
    let gone = of(gateway.place().data_dir().join("nowhere")).await;
    assert!(!gone.status.success() && gone.stderr.contains("--admin"), "{gone:?}");
}

#[tokio::test]
async fn the_gateway_shows_itself_to_kubectl() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let service = "kubectl -n istio-system get service istio-ingressgateway -o jsonpath=";
    let host = shell.ok(&format!("{service}'{{.status.loadBalancer.ingress[0].ip}}'")).await;
    assert_eq!(host, "127.0.0.1");
    let port =
        shell.ok(&format!("{service}'{{.spec.ports[?(@.name==\"http2\")].targetPort}}'")).await;
    assert_eq!(port, gateway.http.port().to_string());
    let pods = shell.ok("kubectl -n istio-system get pods -l istio=ingressgateway").await;
    assert!(pods.contains("Running") && pods.contains("1/1"), "{pods}");
    let refused = shell.run("kubectl -n istio-system delete service istio-ingressgateway").await;
    assert!(!refused.status.success(), "{refused:?}");
    let admin = format!("http://{}", gateway.admin);
    for (session, said) in [
        ("exec istio-ingressgateway -- ls", "curl [-s] [-S] [-f] localhost:15000/PATH"),
        ("port-forward istio-ingressgateway 1:15000", &admin),
    ] {
        let refused = shell.run(&format!("kubectl -n istio-system {session}")).await;
        assert!(!refused.status.success() && refused.stderr.contains(said), "{refused:?}");
    }
    // Its ports are part of what a Deployment asks for: each that opens is another form of it.
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("one", 80, &["*"])).await;
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    api.create("gateways", &objects::gateway("two", port, &["*"])).await;
    api.wait_for(&format!("{NETWORKING}/gateways/two"), &[("Programmed", "True")]).await;
    let rollout =
        "kubectl -n istio-system rollout status deployment/istio-ingressgateway --timeout 60s";
    eventually(PATIENCE, || async {
        let shown = "kubectl -n istio-system get deployment istio-ingressgateway -o jsonpath=";
        shell.ok(&format!("{shown}'{{.metadata.generation}}'")).await != "1"
    })
    .await;
    let rolled = shell.ok(rollout).await;
    assert!(rolled.contains("successfully rolled out"), "{rolled}");
    eventually(PATIENCE, || async {
        let told = shell.ok("kubectl -n istio-system get deployment istio-ingressgateway").await;
        if told.contains("1/1") { Ok(()) } else { Err(told) }
    })
    .await;
}

/// kubectl sets the terminal raw, so that it shows lines as they are sent, and takes one stream alone.
#[tokio::test]
async fn exec_can_be_read_in_a_terminal() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl, Tool::Script]) else { return };
    let typed = async |command: &str| {
        let exec = format!("kubectl -n istio-system exec -it istio-ingressgateway -- {command}");
        shell.run(&format!("script -qec '{exec}' /dev/null")).await
    };
    let shown = typed("curl localhost:15000/stats").await;
    assert!(shown.status.success() && shown.stdout.lines().count() > 10, "{shown:?}");
    // What kubectl itself says of its input, which ends at once as nobody types, comes when the terminal is no longer raw.
    let mut lines = shown.stdout.split_inclusive('\n').filter(|line| !line.contains("websocket"));
    assert!(lines.all(|line| line.ends_with("\r\n")), "{shown:?}");
    let failed = typed("curl -f localhost:15000/nope").await;
    assert!(failed.stdout.contains("returned error: 404\r\n"), "{failed:?}");
    assert!(!failed.status.success() && !failed.stdout.contains("stream id"), "{failed:?}");
}

#[tokio::test]
async fn health_is_ready_when_the_start_is_served() {
    let gateway = Gateway::start(&[]).await;
    eventually(PATIENCE, || async {
        client::get(gateway.health, "probe", "/healthz/ready").await.status == 200
    })
    .await;
    assert_eq!(client::get(gateway.health, "probe", "/stats").await.status, 404);
    assert_eq!(client::get(gateway.admin, "127.0.0.1", "/ready").await.status, 200);
}

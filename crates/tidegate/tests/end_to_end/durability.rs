//! `kill -9` at any moment, a full disk, origins that die: nothing that was answered is lost, and what
//! served goes on serving.

use std::time::Duration;

use serde_json::json;
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Body, Incoming, Origin, Request, Response, begun, echo};
use tidegate_testing::tools;
use tidegate_testing::{PATIENCE, eventually};

use crate::support::{Api, Gateway, Load, NETWORKING, Place, objects};

/// How often the process is killed.
const KILLS: usize = 100;

/// Writes until the connection breaks; the names whose creation was answered.
async fn write_until_killed(
    mut api: Api,
    round: usize,
    answered: tokio::sync::mpsc::UnboundedSender<String>,
) {
    for number in 0.. {
        let name = format!("r{round}-{number}");
        let object =
            objects::route(&name, "web", &format!("{name}.example"), "a.internal").to_string();
        match api.try_send("POST", &format!("{NETWORKING}/virtualservices"), &object).await {
            Ok(answer) if answer.status == 201 => {
                // The receiver outlives all writers.
                let _ = answered.send(name);
            }
            Ok(answer) => panic!("{} {}", answer.status, answer.text()),
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn an_answered_write_survives_kill_9() {
    let mut gateway = Gateway::start(&[]).await;
    let (sender, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let mut kept: Vec<String> = Vec::new();
    for round in 0..KILLS {
        let writers = [0, 1].map(|writer| (writer, sender.clone()));
        let mut tasks = tokio::task::JoinSet::new();
        for (writer, sender) in writers {
            tasks.spawn(write_until_killed(Api::of(&gateway).await, round * 2 + writer, sender));
        }
        // At least one write, then the axe falls at an arbitrary moment of the next ones.
        kept.push(answered.recv().await.expect("a write"));
        tokio::time::sleep(Duration::from_micros(pause_before_kill(round))).await;
        let place = gateway.place();
        gateway.process.kill().await;
        tasks.join_all().await;
        while let Ok(name) = answered.try_recv() {
            kept.push(name);
        }
        gateway = Gateway::start_at(&place, &[]).await;
        let mut api = Api::of(&gateway).await;
        let list = api.send("GET", &format!("{NETWORKING}/virtualservices"), "").await;
        let there: Vec<&str> = list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect();
        for name in &kept {
            assert!(there.contains(&name.as_str()), "{name} is lost in round {round}");
        }
        // Few objects keep the rounds short; deletions are writes like others.
        for name in kept.drain(..) {
            api.send("DELETE", &format!("{NETWORKING}/virtualservices/{name}"), "").await;
        }
    }
}

/// A fixed sequence of pauses up to 20 ms, in microseconds.
fn pause_before_kill(round: usize) -> u64 {
    (round as u64).wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) % 20_000
}

async fn serving(flags: &[&str], origin: &Origin) -> Gateway {
    let gateway = Gateway::start(flags).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    gateway.answers("a.example", "/", 200).await;
    gateway
}

#[tokio::test]
async fn a_restart_serves_what_served_before() {
    let origin = Origin::start().http(echo).await;
    let gateway = serving(&[], &origin).await;
    let place = gateway.place();
    gateway.process.kill().await;
    let gateway = Gateway::start_at(&place, &[]).await;
    gateway.answers("a.example", "/", 200).await;
}

#[tokio::test]
async fn the_last_good_form_of_a_wrong_object_serves_across_a_restart() {
    let origin = Origin::start().http(echo).await;
    let mut gateway = serving(&[], &origin).await;
    let mut api = Api::of(&gateway).await;
    // Its shape is right, so it is stored; but no host of the object covers the server name.
    let route = json!([{ "destination": { "host": "a.internal" } }]);
    let tls = json!([{ "match": [{ "port": 443, "sniHosts": ["z.example"] }], "route": route }]);
    let wrong = json!({ "spec": { "hosts": ["b.example"], "tls": tls } });
    let path = format!("{NETWORKING}/virtualservices/a");
    api.send("PATCH", &path, &wrong.to_string()).await;
    for _ in 0..2 {
        let mut api = Api::of(&gateway).await;
        let told = api.wait_for(&path, &[("Reconciled", "False")]).await;
        assert!(told["status"].to_string().contains("z.example"), "{told:#}");
        gateway.answers("a.example", "/", 200).await;
        assert_eq!(gateway.get("b.example", "/").await.status, 404);

        let place = gateway.place();
        gateway.process.kill().await;
        gateway = Gateway::start_at(&place, &[]).await;
    }
}

#[tokio::test]
async fn the_last_good_form_of_a_wrong_file_serves_across_a_restart() {
    let origin = Origin::start().http(echo).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let route = |name: &str, host: &str| objects::route(name, "web", host, "a.internal");
    write("gateway.yaml", &objects::gateway("web", 80, &["*"]).to_string());
    write("origin.yaml", &objects::host("a", "a.internal", origin.address()).to_string());
    write("a.yaml", &route("a", "a.example").to_string());
    write("b.yaml", &route("b", "b.example").to_string());
    let flags = ["-f", &folder.path().display().to_string()];
    let mut gateway = Gateway::start(&flags).await;
    gateway.answers("a.example", "/", 200).await;
    gateway.answers("b.example", "/", 200).await;

    let mut wrong = route("a", "a.example");
    wrong["spec"]["http"][0]["match"] = json!([{ "uri": { "regex": "/(" } }]);
    write("a.yaml", &wrong.to_string());
    write("b.yaml", "spec: [\n");
    let routes = format!("{NETWORKING}/virtualservices");
    for _ in 0..2 {
        let mut api = Api::of(&gateway).await;
        for (name, why) in [("a", "regex"), ("b", "b.yaml:")] {
            let path = format!("{routes}/{name}");
            let told = api.wait_for(&path, &[("Reconciled", "False")]).await;
            assert!(told["status"].to_string().contains(why), "{told:#}");
            gateway.answers(&format!("{name}.example"), "/", 200).await;
        }
        let place = gateway.place();
        gateway.process.kill().await;
        gateway = Gateway::start_at(&place, &flags).await;
    }

    // What is gone from the files while nobody looks is gone, wrong or not.
    let place = gateway.place();
    gateway.process.kill().await;
    std::fs::remove_file(folder.path().join("a.yaml")).expect("the file removed");
    let gateway = Gateway::start_at(&place, &flags).await;
    gateway.answers("b.example", "/", 200).await;
    assert_eq!(gateway.get("a.example", "/").await.status, 404);
}

/// Enough objects to take a while to read.
const MANY: usize = 2_000;

#[tokio::test]
async fn the_api_answers_once_files_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let entry = |n| objects::host(&format!("h{n}"), &format!("h{n}.internal"), origin).to_string();
    let entries: Vec<String> = (0..MANY).map(entry).collect();
    std::fs::write(folder.path().join("all.yaml"), entries.join("\n---\n")).expect("a file");
    let flags = ["-f", &folder.path().display().to_string()];
    let gateway = Gateway::start(&flags).await;
    let (place, kubeconfig) = (gateway.place(), gateway.exports["KUBECONFIG"].clone());
    gateway.process.kill().await;

    // Whoever was connected before comes back at once: the first answer has to be whole.
    let first = eventually(PATIENCE, || async {
        let mut api = Api::at(&kubeconfig).await?;
        let entries = api.try_send("GET", &format!("{NETWORKING}/serviceentries"), "").await?;
        let service = "/api/v1/namespaces/istio-system/services/istio-ingressgateway";
        let service = api.try_send("GET", service, "").await?;
        std::io::Result::Ok((entries.json(), service.status))
    });
    let (_gateway, (entries, service)) = tokio::join!(Gateway::start_at(&place, &flags), first);
    assert_eq!(entries["items"].as_array().map(Vec::len), Some(MANY));
    assert_eq!(service, 200, "what shows the gateway itself is there, too");
}

/// How many requests of each kind an origin holds when it dies.
const HELD: usize = 8;
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody";

/// Never answers `/hold`, never ends its answer to `/begun`.
async fn hold(request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/hold" => std::future::pending().await,
        "/begun" => Response::new(begun(b"part")),
        _ => echo(request).await,
    }
}

/// Clients with one request each, to this path.
async fn ask(gateway: &Gateway, request: &str, path: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..HELD {
        let mut client = Client::connect(gateway.http).await;
        client.send(request.replacen(" / ", &format!(" {path} "), 1)).await;
        clients.push(client);
    }
    clients
}

/// Reads up to where the content begins.
async fn begins(client: &mut Client) {
    let mut read = Vec::new();
    while !read.ends_with(b"part") {
        read.extend(client.read_exact(1).await.expect("an answer that begins"));
    }
}

async fn an_origin_dies(http2: bool) {
    let build = || if http2 { Origin::start().http2() } else { Origin::start() };
    let (origin, other) = (build().http(hold).await, Origin::start().http(echo).await);
    let address = origin.address();
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let mut entry = objects::host("a", "a.internal", address);
    entry["spec"]["ports"][0]["protocol"] = if http2 { "HTTP2" } else { "HTTP" }.into();
    api.create("serviceentries", &entry).await;
    api.create("serviceentries", &objects::host("b", "b.internal", other.address())).await;
    for name in ["a", "b"] {
        let (host, to) = (format!("{name}.example"), format!("{name}.internal"));
        api.create("virtualservices", &objects::route(name, "web", &host, &to)).await;
        gateway.answers(&host, "/", 200).await;
    }

    // The others: clients whose connections are idle, and those of another origin.
    let mut clients = ask(&gateway, GET, "/").await;
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    let load = Load::start(4, gateway.http, "b.example", "/", 200);
    load.flows(10).await;

    let before = origin.requests();
    let mut gets = ask(&gateway, GET, "/hold").await;
    let mut posts = ask(&gateway, POST, "/hold").await;
    let mut cut = ask(&gateway, GET, "/begun").await;
    for client in &mut cut {
        begins(client).await;
    }
    eventually(PATIENCE, || async { origin.requests() == before + 3 * HELD }).await;
    origin.kill().await;

    // Those that it held, each once, and no other.
    for client in &mut posts {
        let answer = client.response().await;
        assert_eq!(answer.status, 503);
        assert!(answer.text().ends_with("reset reason: connection termination"), "{answer:?}");
    }
    for client in &mut gets {
        // One whose connection had served before is sent again, to where nobody listens.
        let answer = client.response().await;
        assert_eq!(answer.status, 503);
        let why = ["connection termination", "remote connection failure"];
        assert!(why.iter().any(|why| answer.text().ends_with(why)), "{answer:?}");
    }
    for mut client in cut {
        let rest = client.read_to_end().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut answer must not look whole: {rest:?}");
    }
    let answer = gateway.get("a.example", "/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().ends_with("reset reason: remote connection failure"), "{answer:?}");

    // From the first moment on that it is back, every request is answered, on the connections that clients have.
    let origin = build().at(address).http(hold).await;
    clients.extend(gets.into_iter().chain(posts));
    for client in &mut clients {
        for request in [POST, GET] {
            assert_eq!(client.request(request).await.status, 200);
        }
    }
    let loads = [GET, POST].map(|request| Load::of(8, gateway.http, request, 200));
    for load in &loads {
        load.flows(200).await;
    }
    for load in loads.into_iter().chain([load]) {
        assert_eq!(load.stop().await, Vec::<String>::new());
    }
    // Two workers have one connection each, or as many as there are requests at a time.
    let most = if http2 { 2 } else { 2 * 16 };
    let (connections, requests) = (origin.connections(), origin.requests());
    assert!((1..=most).contains(&connections) && requests > 400, "{requests} on {connections}");
}

#[tokio::test]
async fn an_origin_that_dies_takes_only_its_requests_along() {
    an_origin_dies(false).await;
}

#[tokio::test]
async fn an_http2_origin_that_dies_takes_only_its_requests_along() {
    an_origin_dies(true).await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_with_a_reason_and_serves_on() {
    if !tools::is_root() {
        return tools::skip("a full disk is a small tmpfs, which only root may mount");
    }
    let origin = Origin::start().http(echo).await;
    let gateway = Gateway::start(&[]).await;
    let place = gateway.place();
    gateway.process.kill().await;
    let disk = SmallDisk::mount(&place);
    let gateway = Gateway::start_at(&place, &[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    gateway.answers("a.example", "/", 200).await;

    disk.fill();
    let route = |name: &str| objects::route(name, "web", &format!("{name}.example"), "a.internal");
    let path = format!("{NETWORKING}/virtualservices");
    let mut refused = None;
    for number in 0..1_000 {
        let answer = api.try_send("POST", &path, &route(&format!("x{number}")).to_string()).await;
        let answer = answer.expect("an answer");
        if answer.status >= 500 {
            refused = Some(answer.text());
            break;
        }
    }
    let refused = refused.expect("a write that the disk has no room for");
    assert!(refused.contains("space") || refused.contains("disk"), "{refused}");
    gateway.answers("a.example", "/", 200).await;
    api.send("GET", &path, "").await;

    disk.free();
    eventually(PATIENCE, || async {
        let mut api = Api::of(&gateway).await;
        let answer =
            api.try_send("POST", &path, &route("after").to_string()).await.expect("an answer");
        if answer.status < 300 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
}

/// A data folder of 4 MiB.
struct SmallDisk {
    folder: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(place: &Place) -> Self {
        let folder = place.data_dir();
        let options = Some(c"size=4m");
        rustix::mount::mount(
            "tmpfs",
            &folder,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            options,
        )
        .expect("a tmpfs");
        Self { folder }
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.folder.join("ballast")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.folder.join("ballast")).expect("the ballast gone");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.folder, rustix::mount::UnmountFlags::DETACH);
    }
}

//! `tidegate run`: a command in a network of its own. The machine that it is run on is the namespace which other tests have a
//! workload in, so that there is somewhere to forward to.

use std::path::Path;
use std::process::Command as StdCommand;

use http::{Request, Response};
use hyper::body::Incoming;
use rustix::process::{Pid, Signal, kill_process};
use tidegate_testing::dns_server::DnsServer;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::process::{self, Output, Process};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::Command;

use crate::support::captured::{ORIGINS, RESOLVER, WORKLOAD, World, greet, greeter, resolver};
use crate::support::{Api, Gateway, Shell, WORKLOAD_TOKEN, of_user};

/// The address that the first command on a machine has.
const COMMAND: &str = "198.18.0.2";

const WEB: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.2}]
";

async fn host(request: Request<Incoming>) -> Response<Body> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    Response::new(full(host.unwrap_or("nobody").to_owned()))
}

fn at(address: &str, port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address.parse().expect("an address"), port)
}

/// What runs a command on the machine, captured.
fn command(world: &World, flags: &[&str], words: &[&str]) -> StdCommand {
    let mut command = world.command(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["run", "--workers", "1", "-f"]).arg(world.manifests()).args(flags);
    command.arg("--").args(words);
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
        command.env_remove(name);
    }
    command
}

async fn run(world: &World, flags: &[&str], words: &[&str]) -> Output {
    process::run(Command::from(command(world, flags, words)), "").await
}

/// What runs have left on the machine: interfaces, rules, settings.
async fn left(world: &World) -> String {
    let script = "ip -o link | grep -o ' tg[0-9]*'; iptables-save | grep tg; \
                  cat /proc/sys/net/ipv4/ip_forward; \
                  ls /run/tidegate | grep \"\\.$(stat -L -c %i /proc/self/ns/net)$\"";
    world.run("sh", &["-c", script]).await.stdout
}

const NOTHING: &str = "0\n";

#[tokio::test]
async fn a_command_is_a_captured_workload_and_leaves_nothing() {
    let Some(world) = World::new() else { return };
    world.manifest("web.yaml", WEB);
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let curl = |name: &str| {
        format!("curl -sS -m 20 -w ' %{{http_code}}' -H 'Host: {name}' http://10.77.0.2/")
    };
    let known = run(&world, &["--labels", "app=sleep"], &["sh", "-c", &curl("web.example")]).await;
    assert_eq!(known.stdout, "web.example 200", "{}", known.stderr);
    assert!(known.status.success());
    let line = known.stderr.lines().find(|line| line.contains("outbound|80||web.example"));
    assert!(line.is_some_and(|line| line.contains(COMMAND)), "{}", known.stderr);
    let refused = run(&world, &[], &["sh", "-c", &curl("other.example")]).await;
    assert!(refused.stdout.ends_with(" 502"), "{}{}", refused.stdout, refused.stderr);
    assert_eq!(left(&world).await, NOTHING);
}

/// Names that only resources have, and those that the machine's resolver knows.
#[tokio::test]
async fn names_are_answered_as_resources_say() {
    let Some(world) = World::new() else { return };
    let internet = resolver().await;
    internet.address("httpbin.org.", 60, ORIGINS[0]);
    let service = "{apiVersion: v1, kind: Service, metadata: {name: httpbin}, spec: {type: ExternalName, \
                   externalName: httpbin.org, ports: [{port: 80}]}}";
    world.manifest("httpbin.yaml", service);
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let curl = ["curl", "-sS", "-m", "20", "-w", " %{http_code}", "http://httpbin/headers"];
    let output = run(&world, &["--dns-server", RESOLVER], &curl).await;
    assert_eq!(output.stdout, "httpbin.org 200", "{}", output.stderr);
    let unknown = run(&world, &["--dns-server", RESOLVER], &["curl", "-sS", "http://other/"]).await;
    assert!(unknown.stderr.contains("resolve"), "{}", unknown.stderr);
    assert_eq!(left(&world).await, NOTHING);
}

/// As with systemd-resolved: the resolver is at an address that leads nowhere from the command's own network.
#[tokio::test]
async fn a_resolver_on_the_machine_s_loopback_is_asked_there() {
    let Some(world) = World::new() else { return };
    let sockets = world.inside(|| {
        let udp = std::net::UdpSocket::bind("127.0.0.53:53")?;
        let tcp = std::net::TcpListener::bind("127.0.0.53:53")?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok((udp, tcp))
    });
    let (udp, tcp) = sockets.expect("addresses of the machine");
    let (udp, tcp) = (UdpSocket::from_std(udp), TcpListener::from_std(tcp));
    let internet = DnsServer::on(udp.expect("a socket"), tcp.expect("a socket"));
    internet.address("httpbin.org.", 60, ORIGINS[0]);
    internet.address("stranger.example.", 60, ORIGINS[1]);
    let service = "{apiVersion: v1, kind: Service, metadata: {name: httpbin}, spec: {type: ExternalName, \
                   externalName: httpbin.org, ports: [{port: 80}]}}";
    world.manifest("httpbin.yaml", service);
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let conf = world.file("resolv.conf", "nameserver 127.0.0.53\n");
    // Name servers are those of the file, of which the machine is given another one.
    let script = format!("mount --bind {conf} /etc/resolv.conf && exec \"$0\" \"$@\"");
    let curl = async |url: &str| {
        let mut own =
            command(&world, &[], &["curl", "-sS", "-m", "20", "-w", " %{http_code}", url]);
        let words: Vec<_> = own.get_args().skip(2).map(ToOwned::to_owned).collect();
        own = world.command("unshare");
        own.args(["--mount", "sh", "-c", &script]).args(words);
        process::run(Command::from(own), "").await
    };
    let known = curl("http://httpbin/headers").await;
    assert_eq!(known.stdout, "httpbin.org 200", "{}", known.stderr);
    // It has an address, which nothing lets it use.
    let refused = curl("http://stranger.example/").await;
    assert!(refused.stdout.ends_with(" 502"), "{}{}", refused.stdout, refused.stderr);
    assert!(internet.asked().iter().any(|question| question.name == "stranger.example."));
    assert_eq!(left(&world).await, NOTHING);
}

/// What is exported to one namespace alone is there for its workloads alone.
#[tokio::test]
async fn the_command_sees_what_its_namespace_sees() {
    let Some(world) = World::new() else { return };
    let own = WEB.replace("{name: web}", "{name: web, namespace: shop}");
    world.manifest("web.yaml", &format!("{own}  exportTo: [\".\"]\n"));
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let curl = ["curl", "-sS", "-m", "20", "-w", " %{http_code}", "-H", "Host: web.example"];
    let curl = [&curl[..], &["http://10.77.0.2/"]].concat();
    for (flags, status) in [(&["--namespace", "shop"][..], " 200"), (&[], " 502")] {
        let output = run(&world, flags, &curl).await;
        assert!(output.stdout.ends_with(status), "{flags:?}: {}{}", output.stdout, output.stderr);
    }
}

#[tokio::test]
async fn origins_on_the_machine_see_the_command_and_others_the_machine() {
    let Some(world) = World::new() else { return };
    world.manifest("web.yaml", WEB);
    greeter(ORIGINS[0], 9000).await;
    greet(world.listen(at(WORKLOAD[0], 9000)).await);
    // Not captured, so that it is the command's own connection.
    let hello = |address: &str| format!("exec 3<>/dev/tcp/{address}/9000; head -n 1 <&3");
    let flags = ["--exclude-ip-ranges", "10.77.0.0/24"];
    for (address, seen) in [(WORKLOAD[0], COMMAND), (ORIGINS[0], WORKLOAD[0])] {
        let output = run(&world, &flags, &["bash", "-c", &hello(address)]).await;
        assert_eq!(output.stdout, format!("hello {seen}\n"), "{}", output.stderr);
        assert!(!output.stderr.contains("10.77.0"), "no line: {}", output.stderr);
    }
    // Carried by the sidecar it is the same to them.
    let mesh = world.file("mesh.yaml", "outboundTrafficPolicy: {mode: ALLOW_ANY}\n");
    let carried =
        run(&world, &["--mesh-config", &mesh], &["bash", "-c", &hello(WORKLOAD[0])]).await;
    assert_eq!(carried.stdout, format!("hello {COMMAND}\n"), "{}", carried.stderr);
    assert!(carried.stderr.contains("PassthroughCluster"), "{}", carried.stderr);
    let alone = ["--exclude-ip-ranges", "10.77.0.0/24", "--no-forwarding"];
    let near = run(&world, &alone, &["bash", "-c", &hello(WORKLOAD[0])]).await;
    assert_eq!(near.stdout, format!("hello {COMMAND}\n"), "{}", near.stderr);
    let far = format!("timeout 1 bash -c '{}'", hello(ORIGINS[0]));
    assert_eq!(run(&world, &alone, &["bash", "-c", &far]).await.stdout, "");
    assert_eq!(left(&world).await, NOTHING);
}

#[tokio::test]
async fn ipv6_is_captured_where_the_machine_does_not_forward_it() {
    let Some(world) = World::new() else { return };
    if !Path::new("/proc/net/if_inet6").exists() {
        return tidegate_testing::tools::pass_over("this system has no IPv6");
    }
    world.manifest("web.yaml", WEB);
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let curl = ["curl", "-6", "-sS", "-m", "20", "-w", " %{http_code}"];
    // Its address of IPv6 is one that the sidecar has made up; its server has IPv4 alone.
    let led = run(&world, &[], &[&curl[..], &["http://web.example/"]].concat()).await;
    assert_eq!(led.stdout, "web.example 200", "{}", led.stderr);
    let stranger = "http://[2001:db8::7]/";
    let refused = run(&world, &[], &[&curl[..], &["-g", stranger]].concat()).await;
    assert!(refused.stdout.ends_with(" 502"), "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("2001:db8::7"), "it is in the log: {}", refused.stderr);
    // What is not captured fails at once, as without a route.
    let flags = ["--exclude-ip-ranges", "2001:db8::/32"];
    let past = run(&world, &flags, &[&curl[..], &["-g", stranger]].concat()).await;
    assert_eq!(past.status.code(), Some(7), "{}", past.stderr);
    assert_eq!(left(&world).await, NOTHING);
}

#[tokio::test]
async fn the_status_is_the_command_s_and_signals_reach_it() {
    let Some(world) = World::new() else { return };
    for (script, status) in [("exit 3", 3), ("kill -KILL $$", 137)] {
        let output = run(&world, &[], &["sh", "-c", script]).await;
        assert_eq!(output.status.code(), Some(status), "{script}: {}", output.stderr);
    }
    let missing = run(&world, &[], &["no-such-program"]).await;
    assert_eq!(missing.status.code(), Some(127));
    assert!(missing.stderr.contains("no-such-program: No such file"), "{}", missing.stderr);
    let folder = run(&world, &[], &["/"]).await;
    assert_eq!(folder.status.code(), Some(126), "{}", folder.stderr);

    let script = "trap 'echo caught; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let mut process = Process::spawn(command(&world, &[], &["sh", "-c", script]).into());
    process.stdout().containing("up").await;
    process.signal(Signal::TERM);
    process.stdout().containing("caught").await;
    assert_eq!(process.wait(PATIENCE).await.code(), Some(7));
    assert_eq!(left(&world).await, NOTHING);
}

#[tokio::test]
async fn the_command_is_of_who_asked_for_it_and_the_sidecar_is_not_root() {
    let Some(world) = World::new() else { return };
    let script = "id -u; id -g; echo $USER; [ -r /etc/shadow ] || echo no right; \
                  cat /proc/sys/net/ipv4/ip_forward >/dev/null; ip -o address show dev eth0 | grep -c inet";
    let mut asked = command(&world, &["--access-log", "off"], &["sh", "-c", script]);
    asked.envs([("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("SUDO_USER", "nobody")]);
    let output = process::run(asked.into(), "").await;
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..4], ["65534", "65534", "nobody", "no right"], "{}", output.stderr);

    // What carries traffic has no right of root's.
    let script = "for task in /proc/$PPID/task/*; do cat $task/comm; grep -E '^(Uid|CapEff)' $task/status; done";
    let output = run(&world, &["--access-log", "off"], &["sh", "-c", script]).await;
    let all: Vec<&str> = output.stdout.lines().collect();
    let at = all.iter().position(|line| *line == "worker-0").expect("a worker");
    assert_eq!(all[at + 1], "Uid:\t1337\t1337\t1337\t1337");
    assert_eq!(all[at + 2], "CapEff:\t0000000000000000");
}

#[tokio::test]
async fn what_a_killed_run_left_is_removed_by_the_next() {
    let Some(world) = World::new() else { return };
    let script = "echo up $$; exec sleep 600";
    let mut killed = Process::spawn(command(&world, &[], &["sh", "-c", script]).into());
    let up = killed.stdout().containing("up").await;
    let sleeping = up.split(' ').nth(1).and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    let before = left(&world).await;
    assert!(before.contains("MASQUERADE") && before.contains("\n1\n"), "{before}");
    // The program that was started is `nsenter`, whose place tidegate has taken.
    killed.signal(Signal::KILL);
    killed.wait(PATIENCE).await;
    assert!(left(&world).await.contains("MASQUERADE"));
    let next = run(&world, &[], &["true"]).await;
    assert!(next.status.success(), "{}", next.stderr);
    assert_eq!(left(&world).await, NOTHING);
    // The command lives on, without a network.
    kill_process(sleeping.expect("a number"), Signal::KILL).expect("it is there");
}

#[tokio::test]
async fn an_api_shows_the_command_as_a_pod_for_as_long_as_it_runs() {
    let (Some(kubectl), Some(world)) = (Tool::Kubectl.need(), World::new()) else { return };
    let _web = Origin::start().at(at(ORIGINS[0], 80)).http(host).await;
    let gateway = Gateway::start(&["--api-listen", "10.77.0.1:0"]).await;
    // It needs no more rights than those of a workload.
    let text = of_user(WORKLOAD_TOKEN, Path::new(&gateway.exports["KUBECONFIG"]));
    let kubeconfig = world.file("kubeconfig", &text);
    let mut api = Api::of(&gateway).await;
    let entry: serde_json::Value = serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "web"},
        "spec": {"hosts": ["web.example"], "resolution": "STATIC", "endpoints": [{"address": ORIGINS[0]}],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]},
    });
    api.create("serviceentries", &entry).await;

    let script = "trap 'exit 0' TERM; curl -sS -m 20 -H 'Host: web.example' http://10.77.0.2/; echo; \
                  while :; do sleep 0.01; done";
    let mut command = world.command(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["run", "--kubeconfig", &kubeconfig, "--pod", "sleep", "--labels", "app=sleep"]);
    command.args(["--", "sh", "-c", script]);
    let mut process = Process::spawn(command.into());
    process.stdout().containing("web.example").await;
    let pods = "/api/v1/namespaces/default/pods/sleep";
    let pod = api.send("GET", pods, "").await;
    assert_eq!(pod["status"]["podIP"], COMMAND, "{pod:#}");
    assert_eq!(
        (&pod["status"]["phase"], &pod["metadata"]["labels"]["app"]),
        (&"Running".into(), &"sleep".into())
    );
    assert_eq!(pod["spec"]["containers"][1]["name"], "istio-proxy");
    let mut logs = Command::new(kubectl);
    logs.args(["--kubeconfig", &kubeconfig, "logs", "-f", "sleep", "-c", "istio-proxy"]);
    let mut logs = Process::spawn(logs);
    logs.stdout().containing("outbound|80||web.example").await;
    process.signal(Signal::TERM);
    assert!(process.wait(PATIENCE).await.success(), "{process}");
    assert!(logs.wait(PATIENCE).await.success(), "the log ends with its Pod: {logs}");
    assert!(!process.stderr().text().contains("forbidden"), "{process}");
    let left = api.send("GET", "/api/v1/namespaces/default/pods", "").await;
    assert_eq!(left["items"], serde_json::json!([]), "{left:#}");
}

#[tokio::test]
async fn what_commands_are_refused_is_listed_by_the_api_for_all_of_them() {
    let Some(world) = World::new() else { return };
    let gateway = Gateway::start(&["--api-listen", "10.77.0.1:0"]).await;
    let own = &gateway.exports["KUBECONFIG"];
    let kubeconfig = world.file("kubeconfig", &std::fs::read_to_string(own).expect("a kubeconfig"));
    let shell = Shell::with(&gateway, &[]).expect("it takes no tool");
    let other = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "other" },
    });
    Api::of(&gateway).await.send("POST", "/api/v1/namespaces", &other.to_string()).await;
    let denied = async |flags: &str| shell.ok(&format!("tidegate egress denied {flags}")).await;
    assert_eq!(denied("").await, "Nothing was refused.\n");

    let asks = |count: u32, url: &str| format!("for n in $(seq {count}); do curl -sS {url}; done");
    let stays = format!(
        "{}; echo asked; while :; do sleep 0.01; done",
        asks(3, "http://espn.example:8080/")
    );
    let start = |flags: &[&str], script: &str| {
        let mut command = world.command(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["run", "--workers", "1", "--kubeconfig", &kubeconfig]).args(flags);
        command.args(["--dns-server", RESOLVER, "--", "sh", "-c", script]);
        Process::spawn(command.into())
    };
    let names = resolver().await;
    names.address("espn.example.", 60, ORIGINS[0]);
    let mut staying = start(&["--pod", "sleep", "--labels", "app=sleep"], &stays);
    staying.stdout().containing("asked").await;
    let ends = format!("{}; true", asks(2, &format!("http://{}/", ORIGINS[0])));
    let mut ending = start(&["--pod", "curl", "-n", "other"], &ends);
    assert!(ending.wait(PATIENCE).await.success(), "{ending}");

    // Of each its own, also of the one that has ended, and whose Pod is gone.
    let rows = async |flags: &str, wanted: usize| {
        eventually(PATIENCE, async || {
            let table = denied(flags).await;
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
            let mut rows: Vec<Vec<String>> = table.lines().map(words).collect();
            if rows.len() == wanted + 1 { Ok(rows.split_off(1)) } else { Err(table) }
        })
        .await
    };
    let all = rows("", 2).await;
    let of = |row: &[String]| [0, 1, 2, 3, 4, 5].map(|column: usize| row[column].clone());
    assert_eq!(of(&all[0]), ["sleep.default", "espn.example", ORIGINS[0], "8080", "HTTP", "3"]);
    assert_eq!(all[0][7], COMMAND, "who was refused");
    assert_eq!(of(&all[1]), ["curl.other", "-", ORIGINS[0], "80", "HTTP", "2"]);
    assert_eq!(rows("--pod sleep", 1).await[0][0], "sleep.default");
    assert_eq!(rows("-n other", 1).await[0][0], "curl.other");
    let unknown = shell.run("tidegate egress denied --pod nobody").await;
    assert!(!unknown.status.success());
    assert!(unknown.stderr.contains("nobody.default"), "{}", unknown.stderr);

    // What is printed lets out what was refused, in the namespace of whom it was refused.
    let manifests = denied("-o yaml").await;
    for line in ["namespace: default", "- espn.example", "namespace: other"] {
        assert!(manifests.contains(line), "no {line} in {manifests}");
    }
    staying.signal(Signal::TERM);
    staying.wait(PATIENCE).await;
}

#[tokio::test]
async fn without_root_it_says_what_to_do() {
    use std::os::unix::process::CommandExt;
    if !tidegate_testing::tools::is_root() {
        return tidegate_testing::tools::skip("another user is needed to start as");
    }
    let folder = std::env::temp_dir();
    let mut command = StdCommand::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["run", "-f"]).arg(folder).args(["--", "true"]).uid(4000).gid(4000);
    let output = command.output().expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("by root alone") && said.contains("sudo tidegate run"), "{said}");
}

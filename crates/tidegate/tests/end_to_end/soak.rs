//! Half load for as long as `SOAK` says, in seconds, with origins that stall, reset, half-close, answer early and break off:
//! memory stays flat, no request is stuck, and every failure has its flag in the log. Over HTTP/1 and over HTTP/2 on both
//! sides, and under the policies of DestinationRules.
//!
//! ```text
//! SOAK=600 cargo test -p tidegate --test end_to_end soak
//! ```

mod http1;
mod http2;
mod policies;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::{PATIENCE, eventually};
use tokio::time::{Instant, sleep};

use super::support::{Api, Gateway, Load, NETWORKING, Progress, objects};

const HOST: &str = "soak.example.com";
/// How long it takes when nobody says, seconds.
const SHORT: u64 = 6;
/// Clients of each kind.
const CLIENTS: usize = 3;
/// What the process may grow by: what allocators keep, and tables that still fill.
const GROWTH_KIB: u64 = 8 * 1024;

/// One kind of trouble.
#[derive(Clone, Copy)]
struct Kind {
    /// Its path, and its origins' host.
    name: &'static str,
    /// What its clients do.
    client: Behaviour,
    /// Status and flags in the log: whichever there may be.
    logged: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Behaviour {
    /// Sends a GET and reads the answer.
    Get,
    /// Sends this many bytes and reads them back.
    Post(usize),
    /// Announces more than it sends before it reads the answer.
    Begin,
    /// Sends a GET whose answer breaks off.
    Lose,
    /// Sends a GET and goes before there can be an answer.
    Leave,
}

impl Kind {
    /// Whether the log may have this status of it.
    fn answers(&self, status: u16) -> bool {
        let statuses = self.logged.iter().map(|logged| logged.split_once(' '));
        statuses.flatten().any(|(logged, _)| logged == status.to_string())
    }
}

/// A gateway under half load.
struct Soak {
    gateway: Gateway,
    log: PathBuf,
    _folder: TempDir,
    hosts: Vec<String>,
    loads: Vec<(Kind, Load)>,
}

/// A host's origins, and what there is to say of it.
struct Host {
    name: &'static str,
    /// `HTTP` or `HTTP2`.
    protocol: &'static str,
    origins: Vec<SocketAddr>,
    /// `trafficPolicy` of its DestinationRule.
    policy: Option<Value>,
    /// Fields of its rule.
    rule: Value,
}

impl Host {
    fn new(name: &'static str, protocol: &'static str, origins: Vec<SocketAddr>) -> Self {
        Self { name, protocol, origins, policy: None, rule: json!({"retries": {"attempts": 0}}) }
    }

    fn rule(self, rule: Value) -> Self {
        Self { rule, ..self }
    }

    fn policy(self, policy: Value) -> Self {
        Self { policy: Some(policy), ..self }
    }

    fn host(&self) -> String {
        format!("{}.example.org", self.name)
    }

    fn entry(&self) -> Value {
        let endpoint = |at: &SocketAddr| json!({"address": at.ip(), "ports": {"http": at.port()}});
        let endpoints: Vec<Value> = self.origins.iter().map(endpoint).collect();
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": self.name},
            "spec": {
                "hosts": [self.host()],
                "ports": [{"number": 80, "name": "http", "protocol": self.protocol}],
                "resolution": "STATIC",
                "endpoints": endpoints,
            },
        })
    }
}

impl Soak {
    /// A gateway that leads a path to each host.
    async fn new(hosts: &[Host]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("access.log");
        let path = log.to_str().expect("text").to_owned();
        let format = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS%\n";
        let gateway = Gateway::start(&["--access-log", &path, "--access-log-format", format]).await;
        let mut api = Api::of(&gateway).await;
        let mut rules = Vec::new();
        for host in hosts {
            api.create("serviceentries", &host.entry()).await;
            if let Some(policy) = &host.policy {
                let rule = json!({
                    "apiVersion": "networking.istio.io/v1",
                    "kind": "DestinationRule",
                    "metadata": {"name": host.name},
                    "spec": {"host": host.host(), "trafficPolicy": policy},
                });
                api.create("destinationrules", &rule).await;
            }
            let mut rule = host.rule.clone();
            rule["match"] = json!([{"uri": {"exact": format!("/{}", host.name)}}]);
            let to = json!({"host": host.host(), "port": {"number": 80}});
            rule["route"] = json!([{"destination": to}]);
            rules.push(rule);
        }
        api.create("gateways", &objects::gateway("soak", 80, &[HOST])).await;
        api.create("virtualservices", &objects::rules("soak", "soak", HOST, &json!(rules))).await;
        let path = format!("{NETWORKING}/virtualservices/soak");
        api.wait_for(&path, &[("Programmed", "True")]).await;
        let hosts = hosts.iter().map(Host::host).collect();
        Self { gateway, log, _folder: folder, hosts, loads: Vec::new() }
    }

    /// Clients that do the same again and again, each half of the time; what they do tells how many requests that were.
    fn load<F>(&mut self, kind: Kind, clients: usize, once: fn(SocketAddr, Kind) -> F)
    where
        F: Future<Output = Result<usize, String>> + Send + 'static,
    {
        let address = self.gateway.http;
        let client = move |progress: Arc<Progress>| async move {
            let mut faults = Vec::new();
            while progress.goes_on() {
                let started = Instant::now();
                match once(address, kind).await {
                    Ok(requests) => (0..requests).for_each(|_| progress.answered()),
                    Err(fault) => faults.push(format!("{}: {fault}", kind.name)),
                }
                sleep(started.elapsed()).await;
            }
            faults
        };
        self.loads.push((kind, Load::run(clients, client)));
    }

    /// Goes on for as long as it is to, and looks at what is left.
    async fn end(self) -> Gateway {
        let seconds = std::env::var("SOAK").ok().map(|text| text.parse().expect("seconds"));
        let seconds = seconds.unwrap_or(SHORT);
        let process = self.gateway.process.pid();
        // The first third fills what is filled once.
        sleep(Duration::from_secs(seconds) / 3).await;
        let before = resident(process);
        sleep(Duration::from_secs(seconds) * 2 / 3).await;
        let after = resident(process);
        let mut sent = BTreeMap::new();
        for (kind, load) in self.loads {
            let total = load.total().await.unwrap_or_else(|faults| panic!("{faults:#?}"));
            sent.insert(format!("/{}", kind.name), (kind, total));
        }
        assert!(after <= before + GROWTH_KIB, "{before} KiB became {after} KiB in {seconds} s");

        // Nothing is left, and the log has every request under a flag of its kind, and no other.
        for what in ["downstream_rq_active", "downstream_cx_active"] {
            let listener = self.gateway.http.to_string().replace(':', "_");
            let name = format!("http.outbound_{listener}.{what}");
            eventually(PATIENCE, || async { self.gateway.stat(&name).await == 0 }).await;
        }
        for host in &self.hosts {
            for what in ["upstream_rq_active", "upstream_rq_pending_active"] {
                let name = format!("cluster.outbound|80||{host}.{what}");
                eventually(PATIENCE, || async { self.gateway.stat(&name).await == 0 }).await;
            }
        }
        let found = eventually(PATIENCE, || async { logged(&self.log, &sent) }).await;
        eprintln!("{seconds} s: {before} to {after} KiB; {found:#?}");
        self.gateway
    }
}

/// What the log has, once it is all that was sent.
fn logged(
    log: &PathBuf,
    sent: &BTreeMap<String, (Kind, usize)>,
) -> Result<BTreeMap<String, usize>, String> {
    let mut found = BTreeMap::<String, usize>::new();
    let mut totals = BTreeMap::<&str, usize>::new();
    let log = fs::read_to_string(log).expect("a log");
    for line in log.lines() {
        let (path, what) = line.split_once(' ').ok_or("half a line")?;
        let (kind, _) = sent.get(path).ok_or_else(|| format!("{line}: nobody asked for it"))?;
        if !kind.logged.contains(&what) {
            return Err(format!("{line}: not one of {:?}", kind.logged));
        }
        *found.entry(line.to_owned()).or_default() += 1;
        *totals.entry(path).or_default() += 1;
    }
    for (path, (_, sent)) in sent {
        let logged = totals.get(path.as_str()).copied().unwrap_or_default();
        if logged != *sent {
            return Err(format!("{path}: {logged} lines for {sent} requests"));
        }
    }
    Ok(found)
}

/// Resident memory of a process, KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

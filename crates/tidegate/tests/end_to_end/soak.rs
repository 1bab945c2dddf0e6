//! Half load for as long as `SOAK` says, in seconds, with origins that stall, reset, half-close, answer early and break off:
//! memory stays flat, no request is stuck, and every failure has its flag in the log. Over HTTP/1 and over HTTP/2 on both
//! sides, and under the policies of DestinationRules.
//!
//! What half of the load is comes from the gateway: for a while clients send as fast as they are answered, and from then on
//! each sends half as often, however fast the answers are.
//!
//! ```text
//! SOAK=600 cargo test -p tidegate --test end_to_end soak -- --test-threads 1 --nocapture
//! ```

mod growth;
mod http1;
mod http2;
mod policies;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::{PATIENCE, eventually};
use tokio::time::{Instant, sleep, sleep_until};

use self::growth::Growth;
use super::support::{Api, Gateway, Load, NETWORKING, Progress, objects};

const HOST: &str = "soak.example.com";
/// How long it takes when nobody says, seconds.
const SHORT: u64 = 6;
/// Clients of each kind.
const CLIENTS: usize = 3;
/// The part of the time in which is found out how much is carried, and its most.
const MEASURED: u32 = 6;
const MEASURED_MOST: Duration = Duration::from_secs(30);

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
    loads: Vec<Clients>,
}

/// The clients of a kind.
struct Clients {
    kind: Kind,
    number: usize,
    load: Load,
    pace: Arc<Pace>,
}

/// How often clients of a kind do what they do.
#[derive(Default)]
struct Pace {
    rounds: AtomicUsize,
    /// From the begin of one round of a client to that of its next; until it is known they follow upon each other.
    wait: OnceLock<Duration>,
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

    /// Clients that do the same again and again; what they do tells how many requests that were.
    fn load<F>(&mut self, kind: Kind, number: usize, once: fn(SocketAddr, Kind) -> F)
    where
        F: Future<Output = Result<usize, String>> + Send + 'static,
    {
        let address = self.gateway.http;
        let pace = Arc::new(Pace::default());
        let load = Load::run(number, |progress: Arc<Progress>| {
            let pace = Arc::clone(&pace);
            async move {
                let mut faults = Vec::new();
                let mut begun = Instant::now();
                while progress.goes_on() {
                    match once(address, kind).await {
                        Ok(requests) => (0..requests).for_each(|_| progress.answered()),
                        Err(fault) => faults.push(format!("{}: {fault}", kind.name)),
                    }
                    pace.rounds.fetch_add(1, Ordering::Relaxed);
                    // Who is late does not hurry: that would be more than half for a while.
                    let next = pace.wait.get().map(|wait| begun + *wait);
                    begun = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
                    sleep_until(begun).await;
                }
                faults
            }
        });
        self.loads.push(Clients { kind, number, load, pace });
    }

    fn answered(&self) -> usize {
        self.loads.iter().map(|clients| clients.load.answered()).sum()
    }

    /// Finds out how much is carried, and has clients send half as much; how many requests a second were carried.
    async fn halve(&self, time: Duration) -> f64 {
        let begun = Instant::now();
        sleep(time).await;
        let time = begun.elapsed();
        for Clients { number, pace, .. } in &self.loads {
            let rounds = pace.rounds.load(Ordering::Relaxed).max(1);
            let _ = pace.wait.set(time.mul_f64(2.0 * *number as f64 / rounds as f64));
        }
        self.answered() as f64 / time.as_secs_f64()
    }

    /// Goes on for as long as it is to, and looks at what is left.
    async fn end(self) -> Gateway {
        let seconds = std::env::var("SOAK").ok().map(|text| text.parse().expect("seconds"));
        let time = Duration::from_secs(seconds.unwrap_or(SHORT));
        let measured = (time / MEASURED).min(MEASURED_MOST);
        let carried = self.halve(measured).await;
        let (before, begun) = (self.answered(), Instant::now());
        let process = self.gateway.process.pid();
        let growth = Growth::over(time - measured, process, || self.answered()).await;
        let sent = (self.answered() - before) as f64 / begun.elapsed().as_secs_f64();
        eprintln!("{carried:.0} requests a second are carried, {sent:.0} were sent; {growth}");
        let mut sent = BTreeMap::new();
        for Clients { kind, load, .. } in self.loads {
            let total = load.total().await.unwrap_or_else(|faults| panic!("{faults:#?}"));
            sent.insert(format!("/{}", kind.name), (kind, total));
        }
        growth.judge();

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
        eprintln!("{found:#?}");
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

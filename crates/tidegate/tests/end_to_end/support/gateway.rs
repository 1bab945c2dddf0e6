//! A running `tidegate up` with its own data folder and ports that the kernel chose.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidegate_testing::client::{self, Response};
use tidegate_testing::process::Process;
use tidegate_testing::{PATIENCE, eventually};
use tokio::process::Command;

use super::captured::World;

/// A running gateway.
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// What it told shells to export.
    pub exports: BTreeMap<String, String>,
    /// Where port 80 of Gateways is bound.
    pub http: SocketAddr,
    /// Where port 443 of Gateways is bound.
    pub https: SocketAddr,
    /// The admin interface.
    pub admin: SocketAddr,
    /// The health endpoint.
    pub health: SocketAddr,
    /// The API.
    pub api: SocketAddr,
    place: Place,
}

/// Where a process keeps its state; survives the process. Its ports do not: who comes after it has others, as anybody may
/// have taken those meanwhile.
#[derive(Clone)]
pub struct Place {
    folder: Arc<TempDir>,
}

impl Place {
    /// A new one.
    pub fn new() -> Self {
        Self { folder: Arc::new(tempfile::tempdir().expect("a folder")) }
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file that names users of the API, as one that listens beyond loopback asks for: a gateway and workloads elsewhere.
    pub fn tokens(&self) -> PathBuf {
        let file = self.folder.path().join("tokens");
        let users = format!(
            "{GATEWAY_TOKEN},gateway,1,tidegate:proxy:istio-system\n{WORKLOAD_TOKEN},workload,2,tidegate:proxy:default\n"
        );
        std::fs::write(&file, users).expect("written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("a mode");
        file
    }
}

/// The token of gateways that run elsewhere.
pub const GATEWAY_TOKEN: &str = "a-token-of-gateways-elsewhere";
/// The token of workloads in the namespace default that run elsewhere.
pub const WORKLOAD_TOKEN: &str = "a-token-of-workloads-elsewhere";

/// A kubeconfig of another user than the one that it is of.
pub fn of_user(token: &str, kubeconfig: &Path) -> String {
    let own = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
    let line = own.lines().find(|line| line.trim_start().starts_with("token:")).expect("a token");
    let indent = &line[..line.len() - line.trim_start().len()];
    own.replace(line, &format!("{indent}token: {token}"))
}

impl Gateway {
    /// A new gateway with these flags besides its own.
    pub async fn start(flags: &[&str]) -> Self {
        Self::start_at(&Place::new(), flags).await
    }

    /// A new gateway with these flags, in an environment with these variables.
    pub async fn start_with(flags: &[&str], variables: &[(&str, &Path)]) -> Self {
        let place = Place::new();
        let mut command = command(&place, flags);
        command.envs(variables.iter().copied());
        Self::started(command, &place).await
    }

    /// A new gateway in the network of `world`, with these flags and variables.
    pub async fn start_in(world: &World, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let place = Place::new();
        let program = Command::from(world.command(env!("CARGO_BIN_EXE_tidegate")));
        let mut command = with_flags(program, &place, flags);
        command.envs(variables.iter().copied());
        Self::started(command, &place).await
    }

    /// A gateway with the state of an earlier one.
    pub async fn start_at(place: &Place, flags: &[&str]) -> Self {
        Self::started(command(place, flags), place).await
    }

    async fn started(command: Command, place: &Place) -> Self {
        let process = Process::spawn(command);
        let mut exports = BTreeMap::new();
        process.stderr().containing("Three things to try").await;
        for line in process.stderr().text().lines() {
            let Some(pairs) = line.trim().strip_prefix("export ") else { continue };
            let pairs = pairs.split(' ').filter_map(|pair| pair.split_once('='));
            exports.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let told = |name: &str| exports.get(name).unwrap_or_else(|| panic!("no {name}: {process}"));
        let host: IpAddr = told("INGRESS_HOST").parse().expect("an address");
        let port = |name: &str| SocketAddr::new(host, told(name).parse().expect("a port"));
        let (http, https) = (port("INGRESS_PORT"), port("SECURE_INGRESS_PORT"));
        let [api, admin, health] =
            ["API ", "admin ", "health "].map(|what| listening(&process, what));
        Self { http, https, api, admin, health, exports, place: place.clone(), process }
    }

    /// What another process needs to go on where this one ends.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// One GET through the gateway's port 80.
    pub async fn get(&self, host: &str, path: &str) -> Response {
        client::get(self.http, host, path).await
    }

    /// A statistic of the listener behind port 443 of Gateways.
    pub async fn https_stat(&self, name: &str) -> u64 {
        let SocketAddr::V4(address) = self.https else { panic!("{} is not IPv4", self.https) };
        self.stat(&format!("listener.{}_{}.{name}", address.ip(), address.port())).await
    }

    /// A statistic of the whole process, as its admin interface shows it; panics where there is none of that name.
    pub async fn stat(&self, name: &str) -> u64 {
        let text = client::get(self.admin, "localhost", "/stats").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = line.and_then(|value| value.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Waits until a GET through port 80 has this status.
    pub async fn answers(&self, host: &str, path: &str, status: u16) {
        eventually(PATIENCE, || async {
            if tokio::net::TcpStream::connect(self.http).await.is_err() {
                return Err("nobody listens".to_owned());
            }
            let answer = self.get(host, path).await;
            if answer.status == status { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}

fn command(place: &Place, flags: &[&str]) -> Command {
    with_flags(Command::new(env!("CARGO_BIN_EXE_tidegate")), place, flags)
}

/// The program with these flags, and what they do not say.
fn with_flags(mut command: Command, place: &Place, flags: &[&str]) -> Command {
    command.arg("up").arg("--data-dir").arg(place.data_dir()).args(flags);
    for (flag, value) in [
        ("--admin-listen", "127.0.0.1:0"),
        ("--health-listen", "127.0.0.1:0"),
        ("--gateway-listen", "127.0.0.1"),
        ("--port-map", "80=0,443=0"),
        ("--workers", "2"),
        ("--api-listen", "127.0.0.1:0"),
    ] {
        if !flags.contains(&flag) {
            command.args([flag, value]);
        }
    }
    let listen = flags.iter().skip_while(|flag| **flag != "--api-listen").nth(1);
    if listen.is_some_and(|listen| !listen.starts_with("127.")) {
        command.arg("--api-token-file").arg(place.tokens());
    }
    command
}

/// The address in a line such as `  admin    http://127.0.0.1:15000`.
fn listening(process: &Process, what: &str) -> SocketAddr {
    let text = process.stderr().text();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(what));
    let address = line.and_then(|rest| rest.trim().split("://").nth(1)?.split('/').next());
    let address = address.and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("where does {what} listen? {process}"))
}

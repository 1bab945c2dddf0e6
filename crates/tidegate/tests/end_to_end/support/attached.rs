//! `tidegate up --kubeconfig` on the API of another process, and the way there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_testing::client::{self, Response};
use tidegate_testing::process::Process;
use tidegate_testing::{Link, PATIENCE, eventually};
use tokio::process::Command;

use super::ApiServer;
use super::captured::World;

/// The way to an API server, which can be cut.
pub struct Way {
    /// What carries the connections.
    pub link: Link,
    folder: TempDir,
}

impl Way {
    /// To the API of a process.
    pub async fn to(server: &ApiServer) -> Self {
        let way = Self {
            link: Link::to(server.address).await,
            folder: tempfile::tempdir().expect("a folder"),
        };
        way.leads_to(server);
        way
    }

    /// Leads to this process from now on.
    pub fn leads_to(&self, server: &ApiServer) {
        let own = std::fs::read_to_string(server.kubeconfig()).expect("a kubeconfig");
        let through = own.replace(&server.address.to_string(), &self.link.address().to_string());
        assert_ne!(own, through);
        std::fs::write(self.kubeconfig(), through).expect("written");
        self.link.mend(server.address);
    }

    /// The kubeconfig that leads this way.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }
}

/// A gateway whose objects come from the API of another process.
pub struct Attached {
    /// The process.
    pub process: Process,
    /// Where port 80 of Gateways is bound.
    pub http: SocketAddr,
    /// The health endpoint.
    pub health: SocketAddr,
}

impl Attached {
    /// Starts one, with these flags besides its own.
    pub async fn start(way: &Way, flags: &[&str]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        Self::started(command, Some(&way.kubeconfig()), flags).await
    }

    /// Starts one in the network of `world`, on the API of a kubeconfig.
    pub async fn start_in(world: &World, kubeconfig: &Path, flags: &[&str]) -> Self {
        let command = Command::from(world.command(env!("CARGO_BIN_EXE_tidegate")));
        Self::started(command, Some(kubeconfig), flags).await
    }

    /// Starts a command as one, on the API of a kubeconfig, or without one of what stands where the command finds it.
    pub async fn started(mut command: Command, kubeconfig: Option<&Path>, flags: &[&str]) -> Self {
        command.args(["up", "--workers", "2", "--port-map", "80=0,443=0"]).args(flags);
        command.args(["--gateway-listen", "127.0.0.1", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--health-listen", "127.0.0.1:0", "--kubeconfig"]).args(kubeconfig);
        let process = Process::spawn(command);
        process.stderr().containing("/healthz/ready").await;
        let text = process.stderr().text();
        let after = |start: &str| {
            let rest =
                text.split_once(start).unwrap_or_else(|| panic!("no {start:?}: {process}")).1;
            rest.split([',', '/', '\n']).next().unwrap_or_default().to_owned()
        };
        let http = format!("127.0.0.1:{}", after("80 at ")).parse().expect("an address");
        let health = after("health   http://").parse().expect("an address");
        Self { process, http, health }
    }

    /// Waits until everything there was at the start is served.
    pub async fn ready(&self) {
        self.process.stderr().containing("every worker serves them").await;
        assert_eq!(client::get(self.health, "localhost", "/healthz/ready").await.status, 200);
    }

    /// One GET through port 80.
    pub async fn get(&self, host: &str) -> Response {
        client::get(self.http, host, "/").await
    }

    /// Waits until a GET through port 80 has this status.
    pub async fn answers(&self, host: &str, status: u16) {
        eventually(PATIENCE, || async {
            if tokio::net::TcpStream::connect(self.http).await.is_err() {
                return Err("nobody listens".to_owned());
            }
            let answer = self.get(host).await;
            if answer.status == status { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}

//! The two sides: real Envoy and `tidegate proxy`, each a process of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::client::Client;
use tidegate_testing::process::Process;
use tidegate_testing::{HeldPort, PATIENCE, client};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// Listeners by name.
pub type Listeners = HashMap<String, SocketAddr>;

/// A running program that serves the bootstrap with one worker.
pub struct Side {
    pub listeners: Listeners,
    pub admin: SocketAddr,
    _admin: HeldPort,
    pub process: Process,
    _folder: TempDir,
}

impl Side {
    pub async fn envoy(program: &Path, bootstrap: &Value) -> Self {
        let mut command = Command::new(program);
        command.args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]);
        Self::start(command, bootstrap).await
    }

    pub async fn tidegate(bootstrap: &Value) -> Self {
        Self::telling("error", bootstrap).await
    }

    /// Ours, with a name server.
    pub async fn resolving(dns: SocketAddr, bootstrap: &Value) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["proxy", "--workers", "1", "--log-level", "error", "--dns-server"]);
        command.arg(dns.to_string());
        Self::start(command, bootstrap).await
    }

    /// Ours, with what it logs from a level on.
    pub async fn telling(level: &str, bootstrap: &Value) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["proxy", "--workers", "1", "--log-level", level]);
        Self::start(command, bootstrap).await
    }

    /// Starts `command` on the bootstrap, and asks its admin interface where it listens.
    async fn start(mut command: Command, bootstrap: &Value) -> Self {
        let held = HeldPort::any();
        let admin = held.address;
        let mut bootstrap = bootstrap.clone();
        let socket = json!({"address": admin.ip(), "port_value": admin.port()});
        bootstrap["admin"] = json!({"address": {"socket_address": socket}});
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap.to_string()).expect("the bootstrap on disk");
        command.arg("-c").arg(&file);
        let process = Process::spawn(command);
        let listeners = timeout(4 * PATIENCE, listeners(admin))
            .await
            .unwrap_or_else(|_| panic!("not ready; {process}"));
        Self { listeners, admin, _admin: held, process, _folder: folder }
    }
}

/// The listeners of a program, once it is ready.
async fn listeners(admin: SocketAddr) -> Listeners {
    let is_ready = async || {
        let Ok(stream) = TcpStream::connect(admin).await else { return false };
        let mut client = Client::over(stream);
        client.send("GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        client.read(false).await.is_ok_and(|answer| answer.status == 200)
    };
    while !is_ready().await {
        sleep(Duration::from_millis(20)).await;
    }
    addresses(&client::get(admin, "127.0.0.1", "/listeners?format=json").await.json())
}

fn addresses(listeners: &Value) -> Listeners {
    let statuses = listeners["listener_statuses"].as_array().expect("listeners");
    let entry = |status: &Value| {
        let at = &status["local_address"]["socket_address"];
        let ip = at["address"].as_str()?.parse().ok()?;
        let port = u16::try_from(at["port_value"].as_u64()?).ok()?;
        Some((status["name"].as_str()?.to_owned(), SocketAddr::new(ip, port)))
    };
    statuses.iter().filter_map(entry).collect()
}

//! The two sides: real Envoy, and our proxy in this process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_proxy::config::Bootstrap;
use tidegate_proxy::{Options, Proxy};
use tidegate_testing::process::Process;
use tidegate_testing::{PATIENCE, client};
use tokio::process::Command;
use tokio::runtime::Handle;

/// Listeners by name.
pub type Listeners = HashMap<String, SocketAddr>;

/// A running Envoy.
pub struct Envoy {
    pub listeners: Listeners,
    pub admin: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Envoy {
    pub async fn start(program: &Path, bootstrap: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("envoy.json");
        let admin = folder.path().join("admin");
        std::fs::write(&file, bootstrap.to_string()).expect("the bootstrap on disk");
        let mut command = Command::new(program);
        command.args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "-c"]);
        command.arg(&file).arg("--admin-address-path").arg(&admin);
        let process = Process::spawn(command);
        let told = async {
            loop {
                let text = std::fs::read_to_string(&admin).unwrap_or_default();
                if let Ok(address) = text.trim().parse::<SocketAddr>() {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let admin = tokio::time::timeout(PATIENCE, told)
            .await
            .unwrap_or_else(|_| panic!("envoy does not start; {process}"));
        let ready = async {
            while client::get(admin, "admin", "/ready").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client::get(admin, "admin", "/listeners?format=json").await.json()
        };
        let listeners = tokio::time::timeout(PATIENCE, ready).await.expect("a ready envoy");
        Self { listeners: addresses(&listeners), admin, _process: process, _folder: folder }
    }
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

/// Our proxy, with one worker.
pub struct Tidegate {
    pub listeners: Listeners,
    pub proxy: Proxy,
}

impl Tidegate {
    pub async fn start(bootstrap: &Value) -> Self {
        let bootstrap = Bootstrap::load(bootstrap).unwrap_or_else(|error| panic!("{error}"));
        let options = Options {
            workers: NonZeroUsize::MIN,
            dns: Default::default(),
            logs: Default::default(),
            about: Default::default(),
        };
        let mut proxy = Proxy::start(options, Handle::current()).expect("a worker");
        let outcome = proxy.apply(&bootstrap.update).await;
        let refused: Vec<_> =
            outcome.rejected.iter().map(|refused| bootstrap.place(refused).to_string()).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let listeners =
            proxy.addresses().map(|(name, address)| (name.to_string(), address)).collect();
        Self { listeners, proxy }
    }
}

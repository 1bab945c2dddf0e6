//! A running `tidegate api` with its own data folder, at a port that the kernel chose.

use std::net::SocketAddr;
use std::path::PathBuf;

use tidegate_testing::process::Process;
use tokio::process::Command;

use super::Api;
use super::gateway::Place;

/// A running API without a gateway.
pub struct ApiServer {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    place: Place,
}

impl ApiServer {
    /// A new one, with the namespace in which gateways are.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with these flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let server = Self::start_at(&Place::new(), flags).await;
        let namespace = r#"{"metadata": {"name": "istio-system"}}"#;
        server.client().await.send("POST", "/api/v1/namespaces", namespace).await;
        server
    }

    /// One with the state of an earlier one, and with these flags.
    pub async fn start_at(place: &Place, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("api").arg("--data-dir").arg(place.data_dir()).args(flags);
        if !flags.contains(&"--api-listen") {
            command.args(["--api-listen", "127.0.0.1:0"]);
        }
        let process = Process::spawn(command);
        process.stderr().containing("tidegate up --kubeconfig").await;
        let text = process.stderr().text();
        let told =
            text.split_once("serves its API at https://").and_then(|(_, rest)| rest.lines().next());
        let address = told.and_then(|told| told.trim_end_matches('.').parse().ok());
        let address = address.unwrap_or_else(|| panic!("where does it listen? {process}"));
        Self { process, address, place: place.clone() }
    }

    /// A connection to it.
    pub async fn client(&self) -> Api {
        Api::at(&self.kubeconfig().to_string_lossy()).await.expect("the API")
    }

    /// The kubeconfig that leads to it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.place.data_dir().join("kubeconfig")
    }

    /// What another process needs to go on where this one ends.
    pub fn place(&self) -> Place {
        self.place.clone()
    }
}

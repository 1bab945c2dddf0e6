//! A terminal beside a running gateway: guides' commands are typed as they are written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_testing::process::{self, Output, Process};
use tidegate_testing::tools::Tool;
use tokio::process::Command;

use super::Gateway;

/// A shell at the repository's root, with the gateway's exports, tidegate and the tools that a test needs on its PATH.
pub struct Shell {
    exports: BTreeMap<String, String>,
    folder: PathBuf,
    home: TempDir,
    path: String,
}

impl Shell {
    /// A shell with these tools, or nothing (said in words) when one of them is missing.
    pub fn with(gateway: &Gateway, tools: &[Tool]) -> Option<Self> {
        let home = tempfile::tempdir().expect("a folder");
        for tool in tools {
            let program: PathBuf = tool.need()?;
            symlink(program, home.path().join(tool.name())).expect("a link");
        }
        // Guides call some of its verbs by the other name.
        for name in ["tidegate", "istioctl"] {
            symlink(env!("CARGO_BIN_EXE_tidegate"), home.path().join(name)).expect("a link");
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", home.path().display());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../..").into();
        Some(Self { exports: gateway.exports.clone(), folder, home, path })
    }

    /// The same shell in another folder.
    pub fn at(self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }

    /// Leads curl to these addresses wherever a URL names one of these ports.
    pub fn curl_connects(&self, ports: &[(u16, SocketAddr)]) {
        let line = |(port, to): &(u16, SocketAddr)| format!("connect-to = \":{port}:{to}\"\n");
        let lines: String = ports.iter().map(line).collect();
        std::fs::write(self.home.path().join(".curlrc"), lines).expect("curl's own settings");
    }

    /// Runs a script, which may hold several commands and here-documents.
    pub async fn run(&self, script: &str) -> Output {
        process::run(self.command(script), "").await
    }

    /// Starts a command that goes on until it is ended: it alone, so that its end is that of what it started.
    pub fn spawn(&self, command: &str) -> Process {
        Process::spawn(self.command(&format!("exec {command}")))
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", script])
            .current_dir(&self.folder)
            .envs(&self.exports)
            .env("PATH", &self.path)
            .env("HOME", self.home.path())
            .env_remove("http_proxy")
            .env_remove("https_proxy");
        command
    }

    /// Runs a script that has to succeed; its stdout.
    pub async fn ok(&self, script: &str) -> String {
        self.run(script).await.success()
    }
}

//! What was recorded of a real API server, run against a server of our own that starts empty.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::verdict::Outcome;
use crate::tools::Tool;
use crate::workspace::{Workspace, run};

/// How long the server may take to answer.
const START: Duration = Duration::from_secs(60);

/// A gateway that takes no port that somebody else may want.
const GATEWAY: [&str; 10] = [
    "--admin-listen",
    "127.0.0.1:0",
    "--health-listen",
    "127.0.0.1:0",
    "--gateway-listen",
    "127.0.0.1",
    "--port-map",
    "80=0,443=0",
    "--access-log",
    "off",
];

/// The token of a user who may do nothing.
const VIEWER_TOKEN: &str = "a-token-of-the-viewer";

/// What serves the API.
#[derive(Clone, Copy, Debug)]
pub enum Serving {
    /// `tidegate api`, as an API server without controllers.
    Alone,
    /// `tidegate up`, whose gateway acts on what is written.
    Gateway,
}

/// What the kubeconfig of the recorded session calls its context. A context's name is the client's own and nothing of the
/// server's: ours calls it `tidegate`.
const CONTEXT: &str = "lab";

/// Builds the product, starts it, and replays the commands.
pub fn replay(workspace: &Workspace, cases: &Path, serving: Serving) -> Result<Outcome> {
    let kubectl = Tool::Kubectl.provide(workspace, true)?;
    let server = Server::start(workspace, "kubectl", serving)?;
    let kubeconfig = server.kubeconfig.with_file_name("kubeconfig-of-the-session");
    fs::copy(&server.kubeconfig, &kubeconfig)?;
    let mut rename = Command::new(&kubectl);
    rename.args(["config", "rename-context", "tidegate", CONTEXT]);
    run(rename.env("KUBECONFIG", &kubeconfig))?;
    let mut replay = workspace.command("python3");
    replay.arg(cases.join("replay")).arg("--kubectl").arg(kubectl);
    Outcome::of(replay.env("KUBECONFIG", &kubeconfig))
}

/// Builds the product, starts it, and has a runner send requests to it.
pub fn requests(
    workspace: &Workspace,
    suite: &str,
    serving: Serving,
    mut runner: Command,
) -> Result<Outcome> {
    let kubectl = Tool::Kubectl.provide(workspace, true)?;
    let server = Server::start(workspace, suite, serving)?;
    runner.env(Tool::Kubectl.variable(), kubectl);
    runner.env("KUBECONFIG", &server.kubeconfig).env("VIEWER_TOKEN", VIEWER_TOKEN);
    Outcome::of(&mut runner)
}

/// Tidegate on ports that the kernel chose. Ended when dropped.
struct Server {
    process: Child,
    kubeconfig: PathBuf,
}

impl Server {
    /// One with nothing in it, in a folder of that name.
    fn start(workspace: &Workspace, name: &str, serving: Serving) -> Result<Self> {
        run(workspace.cargo().args(["build", "--quiet", "--locked", "--bin", "tidegate"]))?;
        let folder = workspace.target().join("corpus").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let data = folder.join("data");
        let binary = workspace.target().join("debug/tidegate");
        let mut command = workspace.command(&binary.to_string_lossy());
        match serving {
            Serving::Alone => command.arg("api"),
            Serving::Gateway => command.arg("up").args(GATEWAY),
        };
        command.arg("--data-dir").arg(&data).args(["--api-listen", "127.0.0.1:0"]);
        let tokens = folder.join("tokens");
        fs::write(&tokens, format!("{VIEWER_TOKEN},viewer,1\n"))?;
        fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600))?;
        command.arg("--api-token-file").arg(tokens);
        command.stdin(Stdio::null());
        let log = folder.join("log");
        command.stdout(File::create(folder.join("out"))?).stderr(File::create(&log)?);
        let process = command.spawn().context("cannot start tidegate")?;
        let mut server = Self { process, kubeconfig: data.join("kubeconfig") };
        server.wait().with_context(|| format!("its log is {}", log.display()))?;
        Ok(server)
    }

    /// Waits until the kubeconfig is there and its server takes connections.
    fn wait(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < START {
            if let Some(status) = self.process.try_wait()? {
                bail!("tidegate ended at once: {status}");
            }
            let text = fs::read_to_string(&self.kubeconfig).unwrap_or_default();
            if address(&text).is_some_and(|address| TcpStream::connect(address).is_ok()) {
                return Ok(());
            }
            pause();
        }
        bail!("tidegate did not answer within {} s", START.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `HOST:PORT` of a kubeconfig's server.
fn address(kubeconfig: &str) -> Option<&str> {
    let server = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server: "))?;
    server.trim_matches('"').strip_prefix("https://")
}

#[expect(clippy::disallowed_methods, reason = "nothing else happens on this thread")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_server_is_read_from_a_kubeconfig() {
        let text = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n";
        assert_eq!(super::address(text), Some("127.0.0.1:6443"));
        assert_eq!(super::address("clusters: []"), None);
    }
}

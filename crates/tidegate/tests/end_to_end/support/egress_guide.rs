//! What guides about egress take for granted: an API, a terminal, workloads that are captured, and an internet of the test's own.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::dns_server::DnsServer;
use tidegate_testing::process::{self, Process};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::captured::{RESOLVER, World, resolver, within};
use super::{Gateway, Shell};

/// A terminal, an API and an internet.
pub struct Setting {
    /// Has the addresses of origins, and a network that is captured by hand.
    pub world: World,
    /// Where the guide's commands are typed.
    pub shell: Shell,
    /// Answers names.
    pub names: DnsServer,
    /// The file of authorities that the system trusts.
    pub roots: String,
    /// The kubeconfig, as a file that a sidecar may read.
    pub kubeconfig: String,
    ca: Ca,
    _gateway: Gateway,
}

impl Setting {
    /// A new one, with the terminal in `folder` of `tests/guides`; nothing, which is said in words, where it cannot be had.
    pub async fn new(folder: &str) -> Option<Self> {
        let (_, world) = (Tool::Kubectl.need()?, World::new()?);
        let gateway = Gateway::start(&["--api-listen", &format!("{RESOLVER}:0")]).await;
        let guides = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guides");
        let shell = Shell::with(&gateway, &[Tool::Kubectl])?.at(&Path::new(guides).join(folder));
        let ca = Ca::new("internet");
        let roots = world.file("roots.pem", ca.pem());
        let text = std::fs::read_to_string(&gateway.exports["KUBECONFIG"]).expect("a kubeconfig");
        let kubeconfig = world.file("kubeconfig", &text);
        let names = resolver().await;
        Some(Self { world, shell, names, roots, kubeconfig, ca, _gateway: gateway })
    }

    /// A certificate of an origin, by the authority that the system trusts.
    pub fn certificate(&self, name: &str) -> Identity {
        self.ca.issue(&[name])
    }

    /// Starts a workload in a network of its own; the API shows it as a Pod when this returns.
    pub async fn workload(&self, pod: &str, labels: &str, flags: &[&str]) -> Workload {
        let known = ["--pod", pod, "--labels", labels];
        Workload::start(&self.kubeconfig, &self.roots, &[&known, flags].concat()).await
    }

    /// Starts the workload `sleep` with the ranges that its Deployment would have istio-init capture.
    pub async fn deployed(&self, pod: &str) -> Workload {
        let args = "kubectl get deployment sleep -o jsonpath='{.spec.template.spec.initContainers[0].args}'";
        let args = self.shell.ok(args).await;
        let args: Vec<String> = serde_json::from_str(&args).expect("arguments");
        let place = args.iter().position(|word| word == "-i").expect("what is captured");
        let flags = ["--include-ip-ranges", &args[place + 1]];
        self.workload(pod, "app=sleep", &flags).await
    }
}

/// A captured workload. Killed when dropped.
pub struct Workload {
    process: Process,
    inside: Inside,
}

/// What stands in a workload's network, for as long as that lasts.
#[derive(Clone)]
pub struct Inside {
    /// The number of the workload's command.
    pid: u32,
    roots: String,
}

impl Deref for Workload {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.inside
    }
}

impl Workload {
    /// What stands in its network.
    pub fn inside(&self) -> Inside {
        self.inside.clone()
    }

    /// Starts one with these flags, and authorities that the system trusts; it is served, and shown as a Pod, when this returns.
    pub async fn start(kubeconfig: &str, roots: &str, flags: &[&str]) -> Self {
        // It ends with the sidecar, also where that is killed.
        let idle = "echo pid $$; while kill -0 $PPID 2>/dev/null; do sleep 0.2; done";
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["run", "--workers", "2", "--kubeconfig", kubeconfig]);
        command.args(["--dns-server", RESOLVER]).args(flags);
        command.args(["--", "sh", "-c", idle]).env("SSL_CERT_FILE", roots);
        for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER", "http_proxy", "https_proxy"] {
            command.env_remove(name);
        }
        let process = Process::spawn(command);
        let up = process.stdout().containing("pid ").await;
        let pid = up.trim_start_matches("pid ").parse().expect("a number");
        Self { process, inside: Inside { pid, roots: roots.to_owned() } }
    }

    /// Ends it.
    pub async fn end(mut self) {
        self.process.signal(rustix::process::Signal::TERM);
        self.process.wait(PATIENCE + Duration::from_secs(10)).await;
    }
}

impl Inside {
    /// Runs a program in the workload's network, as `kubectl exec` would.
    pub async fn exec(&self, program: &str, arguments: &[&str]) -> process::Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid)).args(["--", program]);
        command.args(arguments).env("CURL_CA_BUNDLE", &self.roots);
        command.env_remove("http_proxy").env_remove("https_proxy");
        process::run(command, "").await
    }

    /// A socket of the workload that listens at a port of every address.
    pub fn listen(&self, port: u16) -> TcpListener {
        let bound = within(self.pid, move || {
            let listener = std::net::TcpListener::bind(("::", port))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        bound.and_then(TcpListener::from_std).expect("a port of the workload")
    }

    /// What curl answers there: the body, and the status behind it.
    pub async fn curl(&self, arguments: &[&str]) -> String {
        let own = ["-sS", "-m", "20", "-w", " %{http_code}"];
        let output = self.exec("curl", &[&own[..], arguments].concat()).await;
        format!("{}{}", output.stdout, output.stderr)
    }

    /// Waits until curl answers so.
    pub async fn answers(&self, arguments: &[&str], wanted: impl Fn(&str) -> bool) {
        eventually(PATIENCE, async || {
            let answer = self.curl(arguments).await;
            if wanted(&answer) { Ok(()) } else { Err(answer) }
        })
        .await;
    }
}

//! A workload in a network namespace of its own, and around it an internet of origins, which is the test's own namespace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command as StdCommand, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tidegate_testing::dns_server::DnsServer;
use tidegate_testing::process::{self, Output, Process};
use tidegate_testing::tools::{Tool, is_root_of_all, skip};
use tidegate_testing::{PATIENCE, namespace};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::Command;

/// The workload's addresses.
pub const WORKLOAD: [&str; 2] = ["10.77.0.100", "fd77::100"];
/// Addresses of origins.
pub const ORIGINS: [&str; 3] = ["10.77.0.2", "10.77.0.3", "fd77::2"];
/// The address of the internet's end, which the workload's routes lead to.
const GATEWAY: [&str; 2] = ["10.77.0.1", "fd77::1"];

/// Where the internet's name server is.
pub const RESOLVER: &str = GATEWAY[0];

/// A workload whose connections can be captured.
pub struct World {
    /// Holds the workload's namespace for as long as its standard input is open.
    holder: Child,
    folder: TempDir,
}

/// A sidecar that is under way. Killed when dropped.
pub struct Sidecar(Process);

impl World {
    /// A new one; nothing, which is said in words, where it cannot be had: `let Some(world) = World::new() else { return };`
    pub fn new() -> Option<Self> {
        for tool in [Tool::Iptables, Tool::Curl] {
            tool.need()?;
        }
        if !namespace::inside() {
            return None;
        }
        if !is_root_of_all() {
            skip("a sidecar changes its user, for which it takes root");
            return None;
        }
        let mut holder = StdCommand::new(Tool::Unshare.need()?)
            .args(["--net", "sh", "-c", "echo up; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a namespace");
        let mut up = String::new();
        let said = BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut up);
        assert_eq!((said.ok(), &*up), (Some(3), "up\n"));
        let folder = tempfile::tempdir().expect("a folder");
        // The sidecar is of another user than who made it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::create_dir(folder.path().join("manifests")).expect("a folder");
        let world = Self { holder, folder };
        world.lay_out();
        Some(world)
    }

    fn lay_out(&self) {
        let pid = self.holder.id().to_string();
        let peer = ["peer", "name", "eth0", "netns", &pid];
        ip(&[&["link", "add", "net0", "type", "veth"][..], &peer].concat());
        ip(&["link", "set", "net0", "up"]);
        for address in GATEWAY.iter().chain(&ORIGINS) {
            done(StdCommand::new("ip").args(add(address, "net0")));
        }
        let inside = || self.command("ip");
        done(inside().args(["link", "set", "lo", "up"]));
        done(inside().args(["link", "set", "eth0", "up"]));
        for (address, gateway) in WORKLOAD.iter().zip(GATEWAY) {
            done(inside().args(add(address, "eth0")));
            done(inside().args(["route", "add", "default", "via", gateway]));
        }
    }

    /// A program in the workload's namespace.
    pub fn command(&self, program: &str) -> StdCommand {
        let mut command = StdCommand::new("nsenter");
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        command.args([&namespace, "--", program]);
        command.env_remove("http_proxy").env_remove("https_proxy");
        command
    }

    /// Runs a program of the workload to its end.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::from(self.command(program));
        command.args(arguments);
        process::run(command, "").await
    }

    /// Captures as these options of `capture apply` say.
    pub fn capture(&self, options: &[&str]) {
        let arguments = ["capture", "apply"].iter().chain(options);
        done(self.command(env!("CARGO_BIN_EXE_tidegate")).args(arguments));
    }

    /// The folder that the sidecar follows.
    pub fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    /// Writes a file beside the manifests; its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// Writes a manifest, at once as a whole.
    pub fn manifest(&self, name: &str, text: &str) {
        let draft = self.file(name, text);
        fs::rename(draft, self.manifests().join(name)).expect("a manifest");
    }

    /// Starts the workload's sidecar, which serves when this returns.
    pub async fn sidecar(&self, flags: &[&str]) -> Sidecar {
        let manifests = self.manifests().display().to_string();
        self.sidecar_on(&[], &[&["-f", &manifests], flags].concat()).await
    }

    /// As [`World::sidecar`], on objects that the flags say, with variables in its environment.
    pub async fn sidecar_on(&self, variables: &[(&str, &str)], flags: &[&str]) -> Sidecar {
        let mut command = self.command(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["sidecar", "--workers", "2"]).args(flags);
        command.envs(variables.iter().copied());
        let process = Process::spawn(command.into());
        process.stderr().containing(" serves: outbound at port 15001").await;
        Sidecar(process)
    }

    /// What curl answers in the workload, with these arguments: the body, and the status behind it.
    pub async fn curl(&self, arguments: &[&str]) -> String {
        let own = ["-sS", "-m", "20", "-w", " %{http_code}"];
        let output = self.run("curl", &[&own[..], arguments].concat()).await;
        format!("{}{}", output.stdout, output.stderr)
    }

    /// A connection of the workload.
    pub async fn dial(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let dialled = self.inside(move || {
            let stream = StdStream::connect_timeout(&to, Duration::from_secs(20))?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        dialled.and_then(TcpStream::from_std)
    }

    /// A socket of the workload that listens.
    pub async fn listen(&self, at: SocketAddr) -> TcpListener {
        let bound = self.inside(move || {
            let listener = StdListener::bind(at)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        bound.and_then(TcpListener::from_std).expect("an address of the workload")
    }

    /// Does something on a thread that is in the workload's namespace.
    pub fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        within(self.holder.id(), work)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It ends with its input; interfaces go with the namespace.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

impl Sidecar {
    /// The first line of its access log, past or future, that has all of these parts.
    pub async fn logged(&self, parts: &[&str]) -> String {
        self.0.stdout().find(|line| parts.iter().all(|part| line.contains(part))).await
    }

    /// Waits until its own log says something.
    pub async fn told(&self, words: &str) {
        self.0.stderr().containing(words).await;
    }

    /// Its access log so far.
    pub fn log(&self) -> String {
        self.0.stdout().text()
    }

    /// Ends it by SIGTERM, which it takes as the end of a day's work.
    pub async fn end(mut self) -> String {
        self.0.signal(rustix::process::Signal::TERM);
        let status = self.0.wait(PATIENCE).await;
        assert!(status.success(), "{}", self.0);
        self.log()
    }
}

/// Does something on a thread that is in the network of a process.
pub fn within<T: Send + 'static>(
    process: u32,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let entered = move || {
        let namespace = fs::File::open(format!("/proc/{process}/ns/net"))?;
        // Of this thread alone, which ends with it.
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    };
    std::thread::spawn(entered).join().expect("no panic")
}

/// The internet's name server.
pub async fn resolver() -> DnsServer {
    let at: SocketAddr = (RESOLVER.parse::<IpAddr>().expect("an address"), 53).into();
    let udp = UdpSocket::bind(at).await.expect("a port of ours");
    let tcp = TcpListener::bind(at).await.expect("a port of ours");
    DnsServer::on(udp, tcp)
}

/// An origin that greets at once with who has dialled it, and sends back what it is sent.
pub async fn greeter(address: &str, port: u16) {
    let ip: IpAddr = address.parse().expect("an address");
    greet(TcpListener::bind((ip, port)).await.expect("an address of ours"));
}

/// The same, of a socket that listens.
pub fn greet(listener: TcpListener) {
    tokio::spawn(async move {
        loop {
            let (mut stream, peer) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let _ = stream.write_all(format!("hello {}\n", peer.ip()).as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
}

/// What gives an interface an address, at once.
fn add(address: &str, device: &str) -> Vec<String> {
    let (bits, more) = if address.contains(':') { (64, Some("nodad")) } else { (24, None) };
    let network = format!("{address}/{bits}");
    let words = ["address", "add", &network, "dev", device].into_iter().chain(more);
    words.map(str::to_owned).collect()
}

fn ip(arguments: &[&str]) {
    done(StdCommand::new("ip").args(arguments));
}

fn done(command: &mut StdCommand) {
    let output = command.output().expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

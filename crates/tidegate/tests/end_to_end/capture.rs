//! `tidegate capture`: rules that are really there, in a network namespace of the test's own.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use std::{env, fs};

use tidegate_testing::namespace;
use tidegate_testing::tools::Tool;

/// Runs a program, with folders before those that are searched for it and for what it runs.
fn run(program: &str, arguments: &[&str], before: Option<&Path>) -> Output {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = before.map(Path::to_owned).into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(folders).expect("folders");
    Command::new(program).args(arguments).env("PATH", path).output().expect("a program")
}

fn capture(arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["capture"].iter().chain(arguments).copied().collect();
    let output = run(env!("CARGO_BIN_EXE_tidegate"), &arguments, None);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(program: &str, arguments: &[&str]) {
    let output = run(program, arguments, None);
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
}

/// The rules of both families: what `iptables-save` prints of tables with any.
fn rules() -> Vec<String> {
    let saved = ["iptables-save", "ip6tables-save"].map(|program| run(program, &[], None));
    let lines = saved.iter().flat_map(|output| output.stdout.split(|byte| *byte == b'\n'));
    lines.map(text).filter(|line| line.starts_with("-A ")).collect()
}

/// Whether a connection to an address comes to the proxy's port.
fn is_captured(to: &str, proxy: &TcpListener) -> bool {
    let to = to.parse().expect("an address");
    let patience = Duration::from_secs(10);
    let Ok(mut client) = TcpStream::connect_timeout(&to, patience) else { return false };
    client.set_read_timeout(Some(patience)).expect("a socket");
    let (server, _) = proxy.accept().expect("a connection");
    drop(server);
    client.read(&mut [0]).is_ok_and(|read| read == 0)
}

/// A network beyond an interface that leads nowhere, and a rule of somebody else.
fn set_up() -> bool {
    if Tool::Iptables.need().is_none() || !namespace::inside() {
        return false;
    }
    done("ip", &["link", "add", "out0", "type", "veth", "peer", "name", "out1"]);
    done("ip", &["link", "set", "out1", "up"]);
    done("ip", &["link", "set", "out0", "up"]);
    done("ip", &["address", "add", "10.77.0.1/16", "dev", "out0"]);
    let foreign = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9", "-j", "ACCEPT"];
    done("iptables", &foreign);
    true
}

#[test]
fn what_is_applied_captures_and_what_is_removed_leaves_nothing() {
    if !set_up() {
        return;
    }
    let before = rules();
    let proxy = TcpListener::bind("127.0.0.1:15001").expect("a free port");
    let told = capture(&["apply", "-i", "10.77.0.0/16", "-b", "*"]);
    assert!(told.contains("IPv4  ") && told.contains("undo: tidegate capture remove"), "{told}");
    assert!(is_captured("10.77.0.2:80", &proxy));
    let sources = || text(&run("ip", &["-6", "address", "show", "dev", "lo"], None).stdout);
    let six = Path::new("/proc/net/if_inet6").exists();
    assert_eq!(sources().contains(" ::6/128 "), six, "what inbound connections come from");
    let first = rules();
    capture(&["apply", "-i", "10.77.0.0/16", "-b", "*"]);
    assert_eq!(rules(), first, "twice is as once");

    // Other options take the place of those before.
    capture(&["apply", "-i", "10.78.0.0/16", "-m", "TPROXY", "-b", "80"]);
    let other = rules();
    assert!(!other.iter().any(|rule| rule.contains("10.77.0.0")), "{other:#?}");
    let routes = || text(&run("ip", &["rule", "show"], None).stdout);
    assert!(routes().contains("lookup 133"), "{}", routes());
    // Nothing is marked any more then.
    capture(&["apply", "-i", "10.78.0.0/16", "-b", "80"]);
    assert!(!routes().contains("lookup 133"), "{}", routes());
    capture(&["apply", "-i", "10.78.0.0/16", "-m", "TPROXY", "-b", "80"]);
    assert!(routes().contains("lookup 133"), "{}", routes());

    let told = capture(&["remove"]);
    assert!(told.contains("rules removed"), "{told}");
    assert_eq!(rules(), before);
    assert!(!routes().contains("lookup 133"), "{}", routes());
    assert!(!sources().contains(" ::6/128 "), "{}", sources());
    assert!(capture(&["remove"]).contains("nothing is captured"));
}

#[test]
fn what_cannot_be_applied_leaves_what_was_there() {
    if !set_up() {
        return;
    }
    capture(&["apply", "-i", "10.77.0.0/16"]);
    let before = rules();
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let refused = run(binary, &["capture", "apply", "-i", "*", "-u", "nobody-is-called-so"], None);
    let told = text(&refused.stderr);
    assert!(!refused.status.success() && told.contains("nobody-is-called-so"), "{told}");
    assert_eq!(rules(), before);

    // The second family fails when the first has changed already.
    if !Path::new("/proc/net/if_inet6").exists() {
        return tidegate_testing::tools::skip("this system has no IPv6");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let fake = folder.path().join("ip6tables-restore");
    let script =
        "#!/bin/sh\ncase \"$*\" in *--test*) exit 0;; esac\necho 'the disk is full' >&2\nexit 4\n";
    fs::write(&fake, script).expect("a file");
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).expect("a program");
    let failed = run(binary, &["capture", "apply", "-i", "10.79.0.0/16"], Some(folder.path()));
    let told = text(&failed.stderr);
    assert!(!failed.status.success() && told.contains("the disk is full"), "{told}");
    assert_eq!(rules(), before);
}

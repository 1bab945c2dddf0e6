//! `tidegate capture`: rules that are really there, in a network namespace of the test's own.

mod backends;
mod printed;
mod together;
mod undone;

use std::env;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use tidegate_testing::namespace;
use tidegate_testing::tools::{Tool, is_root_of_all, pass_over, skip};

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

fn done(command: &mut Command) {
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
}

/// Whether there are tables of iptables-legacy, which a kernel may be without: then the test is passed over with words.
fn has_legacy() -> bool {
    let there = ["iptables-legacy", "ip6tables-legacy"].into_iter().all(|program| {
        let listed = Command::new(program).args(["-t", "nat", "-S"]).output();
        listed.is_ok_and(|output| output.status.success())
    });
    if !there {
        pass_over("iptables-legacy is not there, or this kernel has nothing for it");
    }
    there
}

/// Whether this system has IPv6; if not the test is passed over with words.
fn has_ipv6() -> bool {
    let there = Path::new("/proc/net/if_inet6").exists();
    if !there {
        pass_over("this system has no IPv6");
    }
    there
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
    if !is_root_of_all() {
        skip("rules name a user that only root may name");
        return false;
    }
    let script = "ip link add out0 type veth peer name out1
                  ip link set out1 up
                  ip link set out0 up
                  ip address add 10.77.0.1/16 dev out0
                  iptables -t nat -A OUTPUT -p tcp --dport 9 -j ACCEPT";
    done(Command::new("sh").args(["-e", "-c", script]));
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

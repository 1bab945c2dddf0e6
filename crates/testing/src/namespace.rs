//! Network namespaces: a test that changes addresses or rules of the network does so in one that is its own.

use std::process::Command;
use std::{env, thread};

use crate::tools::{Tool, is_root, skip};

/// Set for a test that runs in a namespace of its own.
const INSIDE: &str = "TIDEGATE_TEST_NAMESPACE";

/// Whether the calling test runs in a network namespace of its own, in which only the loopback interface is up. Where it does
/// not, it is run again in one, and has nothing left to do: `if !namespace::inside() { return }`. Without what that
/// takes it is skipped with words.
///
/// # Panics
/// If the test fails there.
#[must_use]
pub fn inside() -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let (Some(unshare), Some(_ip)) = (Tool::Unshare.need(), Tool::Ip.need()) else { return false };
    let new = || {
        let mut new = Command::new(&unshare);
        new.arg("--net");
        if !is_root() {
            new.args(["--user", "--map-root-user"]);
        }
        new
    };
    if !new().arg("true").output().is_ok_and(|output| output.status.success()) {
        skip("no network namespace can be made here");
        return false;
    }
    let own = env::current_exe().expect("the running program");
    let test = thread::current().name().expect("a test's name").to_owned();
    let mut again = new();
    again.args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(own);
    again.args(["--exact", &test, "--nocapture"]).env(INSIDE, "1");
    let output = again.output().expect("a shell");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "in a namespace:\n{out}\n{err}");
    eprint!("{err}");
    false
}

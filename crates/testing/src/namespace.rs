//! Network namespaces: a test that changes addresses or rules of the network does so in one that is its own.

use std::process::Command;
use std::{env, thread};

use crate::tools::{Tool, is_root, skip, tell};

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
    if Tool::Unshare.need().is_none() || Tool::Ip.need().is_none() {
        return false;
    }
    if !can_be_made() {
        skip("no network namespace can be made here");
        return false;
    }
    let own = env::current_exe().expect("the running program");
    let test = thread::current().name().expect("a test's name").to_owned();
    let mut again = command("sh");
    again.args(["-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(own);
    again.args(["--exact", &test, "--nocapture"]).env(INSIDE, "1");
    let output = again.output().expect("a shell");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "in a namespace:\n{out}\n{err}");
    for line in err.lines() {
        // What it was skipped for is to be seen although it passes.
        let is_word = line.starts_with("skipped: ") || line.starts_with("passed over: ");
        if is_word { tell(format_args!("{line}\n")) } else { eprintln!("{line}") }
    }
    false
}

/// Whether network namespaces can be made here.
#[must_use]
pub fn can_be_made() -> bool {
    command("true").output().is_ok_and(|output| output.status.success())
}

/// A program in a network namespace of its own, which goes with it.
#[must_use]
pub fn command(program: &str) -> Command {
    let unshare = Tool::Unshare.find().unwrap_or_else(|| Tool::Unshare.name().into());
    let mut command = Command::new(unshare);
    command.arg("--net");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(program);
    command
}

//! Programs that change the network: `ip`, `iptables` and their kin.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::failure::{Failure, Outcome};

/// How long other programs may hold the lock of the rules, in seconds: for `-w`.
pub const PATIENCE: &str = "10";

/// Runs a program, and gives what it prints.
///
/// # Errors
/// It is not there, or says that it cannot do it.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Outcome<String> {
    let failed = |why: String| Failure::new(format!("{program}: {why}"));
    let output = piped(program, arguments, input).map_err(|error| {
        let package = if program == "ip" { "iproute2" } else { "iptables" };
        failed(error.to_string())
            .or(format!("install it: Debian and others have it in the package {package}"))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let failure = failed(match said.as_slice() {
        [] => output.status.to_string(),
        some => some.join("; "),
    });
    Err(if denied(&said) {
        failure.or("run it as root, or with CAP_NET_ADMIN, in the workload's network namespace")
    } else {
        failure
    })
}

fn denied(said: &[&str]) -> bool {
    said.iter().any(|line| line.contains("ermission denied") || line.contains("not permitted"))
}

fn piped(program: &str, arguments: &[&str], input: &str) -> std::io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who ends before it has read everything says why by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

//! `cargo xtask test`: all tests, with the tools they need, and an account of what was skipped.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::tools::Tools;
use crate::workspace::{Workspace, shown};

/// How a test says that it skips itself; `tidegate_testing::tools::skip` writes it.
const SKIPPED: &str = "skipped: ";
/// The same for want of what even CI may be without; `tidegate_testing::tools::pass_over` writes it.
const PASSED_OVER: &str = "passed over: ";

/// Flags of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Fetch no tools: tests that need one that is not there are skipped.
    #[arg(long)]
    offline: bool,
    /// Handed on to `cargo test`, such as `-p tidegate-proxy` or a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo: Vec<String>,
}

/// Fetches tools, runs `cargo test`, and lists what was skipped and why.
pub fn all(workspace: &Workspace, options: &Options) -> Result<()> {
    println!("== tools");
    let tools = Tools::gather(workspace, !options.offline);
    for (variable, path) in &tools.variables {
        println!("{variable}={}", path.display());
    }
    println!("\n== tests");
    let mut tests = workspace.cargo();
    tests.arg("test").args(["--locked", "--no-fail-fast"]);
    if !options.cargo.iter().any(|argument| argument.starts_with("-p")) {
        tests.arg("--workspace");
    }
    tests.args(&options.cargo).envs(tools.variables.iter().map(|(name, path)| (name, path)));
    let (mut skipped, mut passed_over) = (Vec::new(), Vec::new());
    let passed = watch(&mut tests, |line| {
        skipped.extend(line.strip_prefix(SKIPPED).map(str::to_owned));
        passed_over.extend(line.strip_prefix(PASSED_OVER).map(str::to_owned));
    })?;

    println!("\n== skipped");
    let missing: Vec<String> =
        tools.missing.iter().map(|tool| format!("what needs {tool}")).chain(skipped).collect();
    if missing.is_empty() && passed_over.is_empty() {
        println!("nothing");
    }
    for line in missing.iter().chain(&passed_over) {
        println!("{line}");
    }
    if !passed {
        bail!("tests failed");
    }
    complete(env::var_os("CI"), options.offline, &missing)
}

/// In CI nothing may be missing that CI has to have, tools, rights or namespaces: tests that skip themselves would pass for ones that
/// passed.
fn complete(ci: Option<OsString>, offline: bool, missing: &[String]) -> Result<()> {
    let in_ci = ci.is_some_and(|ci| !ci.is_empty() && ci != "false");
    if in_ci && !offline && !missing.is_empty() {
        bail!(
            "CI is set, and tests were skipped that have to run there:\n  {}",
            missing.join("\n  ")
        );
    }
    Ok(())
}

/// Runs a command and looks at each line of its standard error, which goes on to ours.
fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<bool> {
    let shown = shown(command);
    println!("$ {shown}");
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().context("a piped standard error")?;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        look(&line);
    }
    let status = child.wait().with_context(|| format!("`{shown}`"))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_fails_in_ci_alone() {
        let missing = ["what needs envoy: no network".to_owned(), "a: only root may".to_owned()];
        let fails = |ci: &str, offline, missing: &[String]| {
            complete(Some(ci.into()), offline, missing).is_err()
        };
        assert!(fails("true", false, &missing) && fails("1", false, &missing));
        assert!(!fails("true", false, &[]));
        assert!(!fails("true", true, &missing), "that was asked for");
        assert!(!fails("false", false, &missing) && !fails("", false, &missing));
        assert!(complete(None, false, &missing).is_ok());
        let error = complete(Some("true".into()), false, &missing).expect_err("it is missing");
        let told = error.to_string();
        assert!(told.ends_with("\n  what needs envoy: no network\n  a: only root may"), "{told}");
    }

    #[test]
    fn watches_standard_error() {
        let mut lines = Vec::new();
        let mut sh = Command::new("sh");
        sh.args(["-c", "echo 'skipped: a: b' >&2; exit 3"]);
        let passed = watch(&mut sh, |line| lines.push(line.to_owned())).expect("sh runs");
        assert!(!passed);
        assert_eq!(lines, ["skipped: a: b"]);
    }
}

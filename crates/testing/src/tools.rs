//! The programs that tests run beside the product, and words when they are not there.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A program that some tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// kubectl; `TIDEGATE_KUBECTL` names another one.
    Kubectl,
    /// Envoy; `TIDEGATE_ENVOY` names another one.
    Envoy,
    /// curl; `TIDEGATE_CURL` names another one.
    Curl,
    /// openssl; `TIDEGATE_OPENSSL` names another one.
    Openssl,
    /// sslyze, a scanner of TLS servers; `TIDEGATE_SSLYZE` names another one.
    Sslyze,
    /// Helm; `TIDEGATE_HELM` names another one.
    Helm,
    /// A Python that has Kubernetes' client; `TIDEGATE_KUBERNETES_PYTHON` names another one.
    KubernetesPython,
    /// dig, of BIND; `TIDEGATE_DIG` names another one.
    Dig,
    /// ip, of iproute2; `TIDEGATE_IP` names another one.
    Ip,
    /// nft, of nftables; `TIDEGATE_NFT` names another one.
    Nft,
    /// iptables; `TIDEGATE_IPTABLES` names another one.
    Iptables,
    /// unshare, of util-linux; `TIDEGATE_UNSHARE` names another one.
    Unshare,
    /// script, of util-linux, which runs a command in a terminal; `TIDEGATE_SCRIPT` names another one.
    Script,
}

impl Tool {
    /// The program's name, such as `kubectl`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names().0
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Kubectl => ("kubectl", "TIDEGATE_KUBECTL"),
            Self::Envoy => ("envoy", "TIDEGATE_ENVOY"),
            Self::Curl => ("curl", "TIDEGATE_CURL"),
            Self::Openssl => ("openssl", "TIDEGATE_OPENSSL"),
            Self::Sslyze => ("sslyze", "TIDEGATE_SSLYZE"),
            Self::Helm => ("helm", "TIDEGATE_HELM"),
            Self::KubernetesPython => ("kubernetes-python", "TIDEGATE_KUBERNETES_PYTHON"),
            Self::Dig => ("dig", "TIDEGATE_DIG"),
            Self::Ip => ("ip", "TIDEGATE_IP"),
            Self::Nft => ("nft", "TIDEGATE_NFT"),
            Self::Iptables => ("iptables", "TIDEGATE_IPTABLES"),
            Self::Unshare => ("unshare", "TIDEGATE_UNSHARE"),
            Self::Script => ("script", "TIDEGATE_SCRIPT"),
        }
    }

    /// Where the program is: what its variable says, else the first one on `PATH`.
    #[must_use]
    pub fn find(self) -> Option<PathBuf> {
        let (program, variable) = self.names();
        locate(program, env::var_os(variable), env::var_os("PATH"))
    }

    /// Where the program is, or a note that this test is skipped and how to have it run:
    /// `let Some(kubectl) = Tool::Kubectl.need() else { return };`
    #[must_use]
    pub fn need(self) -> Option<PathBuf> {
        let found = self.find();
        if found.is_none() {
            let (program, variable) = self.names();
            skip(&format!("{program} is neither on PATH nor named by {variable}"));
        }
        found
    }
}

fn locate(program: &str, named: Option<OsString>, path: Option<OsString>) -> Option<PathBuf> {
    match named.filter(|value| !value.is_empty()) {
        // A variable that names nothing is a mistake to be told, not a reason to take another program.
        Some(named) => Some(PathBuf::from(named)).filter(|file| file.is_file()),
        None => env::split_paths(&path?)
            .map(|folder| folder.join(program))
            .find(|file| is_program(file)),
    }
}

fn is_program(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
}

/// Says that the running test is skipped for want of what CI has to have: there it fails. Goes around the test harness's capture, so
/// that the words are seen although the test passes; `cargo xtask test` gathers the lines that start so.
pub fn skip(reason: &str) {
    say("skipped", reason);
}

/// The same for want of what a system may well be without, in CI, too.
pub fn pass_over(reason: &str) {
    say("passed over", reason);
}

fn say(what: &str, reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    tell(format_args!("{what}: {test}: {reason}\n"));
}

/// Writes to standard error, around the test harness's capture.
pub(crate) fn tell(words: fmt::Arguments<'_>) {
    // A closed stderr leaves nobody to tell.
    let _ = std::io::stderr().lock().write_fmt(words);
}

/// Whether this process may do what only root may (mount, bind low ports, make namespaces).
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process is root over all users, and not over those of a user namespace alone: only then can rules name any user.
#[must_use]
pub fn is_root_of_all() -> bool {
    is_root() && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| has_all(&map))
}

/// Whether a map of users has every one.
fn has_all(map: &str) -> bool {
    map.split_whitespace().nth(2).is_some_and(|count| count == "4294967295")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_goes_before_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let named = folder.path().join("mine");
        std::fs::write(&named, "").expect("a file");
        let on_path = Some(OsString::from("/usr/bin:/bin"));

        assert_eq!(locate("sh", Some(named.clone().into()), on_path.clone()), Some(named));
        assert_eq!(locate("sh", Some("/nowhere/sh".into()), on_path.clone()), None);
        assert!(locate("sh", None, on_path.clone()).is_some());
        assert_eq!(locate("no-such-program", Some(OsString::new()), on_path), None);
    }
}

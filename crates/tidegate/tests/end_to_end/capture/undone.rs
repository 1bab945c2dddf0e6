//! A change that fails in the middle leaves what was there, to the order of the rules.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{capture, done, has_ipv6, has_legacy, run, set_up, text};
use tempfile::TempDir;

/// All that `capture` may change: rules by each kind of programs, in their order, rules of routing, and addresses of loopback.
fn everything() -> String {
    let listings: [(&str, &[&str]); 7] = [
        ("iptables-nft-save", &[]),
        ("ip6tables-nft-save", &[]),
        ("iptables-legacy-save", &[]),
        ("ip6tables-legacy-save", &[]),
        ("ip", &["-4", "rule", "show"]),
        ("ip", &["-6", "rule", "show"]),
        ("ip", &["-6", "address", "show", "dev", "lo"]),
    ];
    let listed = listings.map(|(program, arguments)| {
        // Who is not there has nothing to show.
        let there = Command::new(program).args(arguments).output();
        there.map_or(String::new(), |output| text(&output.stdout))
    });
    // What nobody rules has no table, or an empty one; counters count.
    let said = listed.iter().flat_map(|listed| listed.lines());
    let said = said.filter(|line| !line.starts_with(['#', ':', '*']) && *line != "COMMIT");
    said.collect::<Vec<_>>().join("\n")
}

/// A program that can be tried, and fails when it matters.
fn broken(program: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(program);
    let script =
        "#!/bin/sh\ncase \"$*\" in *--test*) exit 0;; esac\necho 'the disk is full' >&2\nexit 4\n";
    fs::write(&path, script).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    folder
}

/// What `capture` says when it fails since this program does.
fn fails(arguments: &[&str], program: &str) -> String {
    let folder = broken(program);
    let arguments = [&["capture"][..], arguments].concat();
    let failed = run(env!("CARGO_BIN_EXE_tidegate"), &arguments, Some(folder.path()));
    let told = text(&failed.stderr);
    assert!(!failed.status.success() && told.contains("the disk is full"), "{told}");
    told
}

/// Rules of somebody else, before and behind whatever is there.
fn surround() {
    for program in ["iptables", "ip6tables"] {
        for (flag, port) in [("-I", "10"), ("-A", "11")] {
            let rule = ["-t", "nat", flag, "OUTPUT", "-p", "tcp", "--dport", port, "-j", "ACCEPT"];
            done(Command::new(program).args(rule));
        }
    }
}

#[test]
fn what_cannot_be_applied_leaves_what_was_there() {
    if !set_up() {
        return;
    }
    capture(&["apply", "-i", "10.77.0.0/16", "-b", "*", "-c", "out9"]);
    surround();
    let before = everything();
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let refused = run(binary, &["capture", "apply", "-i", "*", "-u", "nobody-is-called-so"], None);
    let told = text(&refused.stderr);
    assert!(!refused.status.success() && told.contains("nobody-is-called-so"), "{told}");
    assert_eq!(everything(), before);

    // The second family fails when the first has changed already.
    if !has_ipv6() {
        return;
    }
    let told =
        fails(&["apply", "-i", "10.79.0.0/16", "-m", "TPROXY", "-b", "*"], "ip6tables-restore");
    assert_eq!(everything(), before);
    assert_eq!(
        told.matches("the disk is full").count(),
        1,
        "nothing was to be undone there: {told}"
    );
}

#[test]
fn what_cannot_be_applied_the_first_time_leaves_nothing() {
    if !set_up() || !has_ipv6() {
        return;
    }
    let before = everything();
    fails(&["apply", "-i", "10.77.0.0/16", "-m", "TPROXY", "-b", "*"], "ip6tables-restore");
    assert_eq!(everything(), before);
}

#[test]
fn what_cannot_be_removed_stays_in_both_families() {
    if !set_up() || !has_ipv6() {
        return;
    }
    capture(&["apply", "-i", "10.77.0.0/16", "-m", "TPROXY", "-b", "*", "-c", "out9"]);
    surround();
    let before = everything();
    fails(&["remove"], "ip6tables-nft-restore");
    assert_eq!(everything(), before);
}

#[test]
fn rules_of_the_other_kind_that_cannot_be_removed_stay_alone() {
    if !set_up() || !has_legacy() || !has_ipv6() {
        return;
    }
    capture(&["apply", "-i", "10.77.0.0/16", "--backend", "legacy"]);
    let before = everything();
    fails(&["apply", "-i", "10.79.0.0/16", "--backend", "nft"], "ip6tables-legacy-restore");
    assert_eq!(everything(), before);
    fails(&["remove"], "ip6tables-legacy-restore");
    assert_eq!(everything(), before);
}

//! Programs of two kinds change rules of two kinds: those of one, and never of both at once.

use std::net::TcpListener;
use std::process::Command;

use super::{capture, done, has_legacy, is_captured, run, set_up, text};

/// The rules of ours that programs of this kind see, of both families.
fn ours(kind: &str) -> usize {
    let saved = ["iptables", "ip6tables"].map(|program| {
        let output = run(&format!("{program}-{kind}-save"), &[], None);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    });
    let lines = saved.iter().flat_map(|saved| saved.lines());
    lines.filter(|line| line.starts_with("-A ") && line.contains("ISTIO_")).count()
}

#[test]
fn one_set_of_rules_is_left_by_whichever_programs() {
    if !set_up() {
        return;
    }
    let proxy = TcpListener::bind("127.0.0.1:15001").expect("a free port");
    let told = capture(&["apply", "-i", "10.77.0.0/16", "--backend", "nft"]);
    assert!(told.contains("by iptables-nft\n"), "{told}");
    assert!(ours("nft") > 0);
    assert!(is_captured("10.77.0.2:80", &proxy));
    if !has_legacy() {
        return;
    }
    assert_eq!(ours("legacy"), 0);

    let told = capture(&["apply", "-i", "10.77.0.0/16", "--backend", "legacy"]);
    assert!(told.contains("by iptables-legacy\n"), "{told}");
    assert!(ours("legacy") > 0);
    assert_eq!(ours("nft"), 0, "a second redirect");
    assert!(is_captured("10.77.0.2:80", &proxy));

    // Who does not say has those that are in use.
    let told = capture(&["apply", "-i", "10.77.0.0/16"]);
    assert!(told.contains("by iptables-legacy\n"), "{told}");
    assert_eq!(ours("nft"), 0);

    let told = capture(&["apply", "-i", "10.77.0.0/16", "--backend", "nft"]);
    assert!(told.contains("by iptables-nft\n"), "{told}");
    assert!(ours("nft") > 0);
    assert_eq!(ours("legacy"), 0);
    assert!(is_captured("10.77.0.2:80", &proxy));

    // Those of somebody else decide, too.
    let foreign = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9", "-j", "ACCEPT"];
    done(Command::new("iptables-legacy").args(foreign));
    let told = capture(&["apply", "-i", "10.77.0.0/16"]);
    assert!(told.contains("by iptables-legacy\n"), "{told}");
    assert_eq!(ours("nft"), 0);

    // What either kind has is removed.
    let told = capture(&["remove"]);
    assert!(told.contains("rules removed"), "{told}");
    assert_eq!((ours("nft"), ours("legacy")), (0, 0));
    let legacy = text(&run("iptables-legacy-save", &[], None).stdout);
    assert!(legacy.contains("-A OUTPUT -p tcp -m tcp --dport 9 -j ACCEPT"), "{legacy}");
}

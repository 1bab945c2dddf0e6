//! Several changes at once come one after the other: what stays is one of them, whole.

use std::process::{Child, Command, Stdio};

use super::{capture, rules, set_up, text};

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("capture").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("a program")
}

#[test]
fn of_two_at_once_one_is_in_force_in_both_families() {
    if !set_up() {
        return;
    }
    let changes = [
        &["apply", "-i", "10.77.0.0/16,fd00:77::/64", "-b", "*"][..],
        &["apply", "-i", "10.78.0.0/16,fd00:78::/64", "-b", "80"],
        &["remove"],
    ];
    let alone = changes.map(|change| {
        capture(change);
        rules()
    });
    for round in 0..4 {
        for pair in [[0, 1], [1, 2], [0, 2]] {
            let both = pair.map(|which| start(changes[which]));
            for one in both {
                let output = one.wait_with_output().expect("a program");
                assert!(output.status.success(), "{pair:?}: {}", text(&output.stderr));
            }
            let now = rules();
            let is_whole = pair.iter().any(|which| now == alone[*which]);
            assert!(is_whole, "round {round}, {pair:?}: {now:#?}");
        }
    }
}

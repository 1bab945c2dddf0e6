//! Rules as `iptables-restore` reads them.

use std::fmt::Write as _;

use crate::rules::Table;

/// What `iptables-restore --noflush` (or `ip6tables-restore`) takes: chains of ours are made or emptied, all others stay as they
/// are. Rules of built-in chains are added, so that it is to be loaded once; applying does it safely.
#[must_use]
pub fn restore(tables: &[Table]) -> String {
    let mut text = String::new();
    for Table { name, chains, rules } in tables {
        // Writing into a string does not fail.
        let _ = writeln!(text, "*{name}");
        chains.iter().for_each(|chain| text.push_str(&format!(":{chain} - [0:0]\n")));
        rules.iter().for_each(|rule| {
            text.push_str(rule);
            text.push('\n');
        });
        text.push_str("COMMIT\n");
    }
    text
}

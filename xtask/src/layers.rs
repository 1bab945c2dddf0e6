//! The layering rule: which of the project's crates may use which. The table is `layers.toml`.
//!
//! Ordinary and build dependencies follow the rows of `[layers]`, which name only rows below them, so
//! every arrow points down. Tests (dev-dependencies) may also use the crates of `[test-only]`. What
//! stands under `[tools]` uses what its row says, and nothing uses it.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata};

/// One group of the table: rows in the order in which they are written.
pub type Rows = Vec<(String, Vec<String>)>;

/// `layers.toml`, read.
#[derive(Debug, Default)]
pub struct Table {
    /// Crates of the product, the highest first.
    pub layers: Rows,
    /// Crates that only tests may use.
    pub test_only: Rows,
    /// Crates that nobody may use.
    pub tools: Rows,
}

/// A dependency between two of the project's crates, by short name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The crate that uses.
    pub from: String,
    /// The crate that is used.
    pub to: String,
    /// Whether only tests of `from` use it.
    pub dev: bool,
}

impl Table {
    /// Reads the text of `layers.toml`.
    pub fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context("layers.toml is not TOML")?;
        let group = |name: &str| -> Result<Rows> {
            let Some(rows) = table.get(name) else {
                return Ok(Rows::new());
            };
            let rows = rows.as_table().with_context(|| format!("[{name}] is not a table"))?;
            rows.iter()
                .map(|(from, to)| {
                    let to = to.clone().try_into().with_context(|| format!("row {from}"))?;
                    Ok((from.clone(), to))
                })
                .collect()
        };
        Ok(Self {
            layers: group("layers")?,
            test_only: group("test-only")?,
            tools: group("tools")?,
        })
    }

    /// What an arrow may point to, when it starts at `from`; `None` when there is no such row.
    fn row(&self, from: &str) -> Option<&[String]> {
        let mut rows = self.layers.iter().chain(&self.test_only).chain(&self.tools);
        rows.find(|(name, _)| name == from).map(|(_, to)| to.as_slice())
    }

    fn is_test_only(&self, name: &str) -> bool {
        self.test_only.iter().any(|(row, _)| row == name)
    }
}

/// Everything wrong with the table itself and with the arrows, one sentence each.
pub fn violations(table: &Table, crates: &[String], arrows: &[Arrow]) -> Vec<String> {
    let mut found = upward_rows(table);
    for name in crates.iter().filter(|name| table.row(name).is_none()) {
        found.push(format!("crate `{name}` has no row in layers.toml: add one"));
    }
    for arrow in arrows {
        let Some(row) = table.row(&arrow.from) else {
            continue;
        };
        let allowed = row.contains(&arrow.to) || arrow.dev && table.is_test_only(&arrow.to);
        if !allowed {
            let what = if arrow.dev { "tests of " } else { "" };
            found.push(format!(
                "{what}`{}` may not use `{}`: its row in layers.toml is [{}]",
                arrow.from,
                arrow.to,
                row.join(", ")
            ));
        }
    }
    found
}

/// Rows of `[layers]` that name a row above them, themselves, or nothing there is.
fn upward_rows(table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (place, (from, to)) in table.layers.iter().enumerate() {
        let below = &table.layers[place + 1..];
        for to in to.iter().filter(|to| !below.iter().any(|(name, _)| name == *to)) {
            found.push(format!("layers.toml: `{from}` names `{to}`, which is not a row below it"));
        }
    }
    found
}

/// The project's crates and the arrows between them, as cargo sees them.
pub fn arrows(metadata: &Metadata) -> (Vec<String>, Vec<Arrow>) {
    let members = metadata.workspace_packages();
    let crates: Vec<String> = members.iter().map(|package| short(&package.name)).collect();
    let mut arrows = Vec::new();
    for package in &members {
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            arrows.push(Arrow {
                from: short(&package.name),
                to: short(&dependency.name),
                dev: dependency.kind == DependencyKind::Development,
            });
        }
    }
    (crates, arrows)
}

/// `pilot` for `tidegate-pilot`; other names stay.
fn short(package: &str) -> String {
    package.strip_prefix("tidegate-").unwrap_or(package).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [layers]
        tidegate = ["pilot", "proxy", "xds"]
        pilot = ["xds"]
        proxy = ["xds"]
        xds = []
        [test-only]
        testing = []
        [tools]
        xtask = []
    "#;

    fn check(arrows: &[(&str, &str, bool)]) -> Vec<String> {
        let table = Table::parse(TABLE).expect("well formed");
        let arrow = |(from, to, dev): &(&str, &str, bool)| Arrow {
            from: (*from).into(),
            to: (*to).into(),
            dev: *dev,
        };
        violations(&table, &[], &arrows.iter().map(arrow).collect::<Vec<_>>())
    }

    #[test]
    fn downward_arrows_pass() {
        let arrows = [("tidegate", "pilot", false), ("pilot", "xds", false)];
        assert_eq!(check(&arrows), Vec::<String>::new());
    }

    #[test]
    fn an_upward_arrow_fails() {
        assert_eq!(
            check(&[("xds", "pilot", false)]),
            ["`xds` may not use `pilot`: its row in layers.toml is []"]
        );
    }

    #[test]
    fn an_arrow_across_the_waist_fails_in_tests_too() {
        assert_eq!(check(&[("pilot", "proxy", false), ("proxy", "pilot", true)]).len(), 2);
    }

    #[test]
    fn only_tests_use_what_is_for_tests_and_nobody_uses_tools() {
        assert_eq!(check(&[("proxy", "testing", true)]), Vec::<String>::new());
        assert_eq!(check(&[("proxy", "testing", false)]).len(), 1);
        assert_eq!(check(&[("proxy", "xtask", true)]).len(), 1);
    }

    #[test]
    fn the_table_itself_points_down() {
        let table = Table::parse("[layers]\na = [\"b\"]\nb = [\"a\", \"b\", \"c\"]").expect("TOML");
        assert_eq!(
            violations(&table, &["d".into()], &[]),
            [
                "layers.toml: `b` names `a`, which is not a row below it",
                "layers.toml: `b` names `b`, which is not a row below it",
                "layers.toml: `b` names `c`, which is not a row below it",
                "crate `d` has no row in layers.toml: add one",
            ]
        );
    }

    #[test]
    fn the_project_keeps_to_its_table() {
        let workspace = crate::workspace::Workspace::load().expect("cargo metadata");
        let text = std::fs::read_to_string(workspace.root.join("layers.toml")).expect("the table");
        let table = Table::parse(&text).expect("well formed");
        let (crates, arrows) = arrows(&workspace.metadata);
        assert_eq!(violations(&table, &crates, &arrows), Vec::<String>::new());
    }
}

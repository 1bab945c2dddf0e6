//! What may be depended on: licences, banned crates, sources. The rules are those of `deny.toml`, so
//! that cargo-deny says the same; this check needs nothing but cargo.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Node, NodeDep, Package, PackageId};
use serde::Deserialize;

/// The part of `deny.toml` that is checked here.
#[derive(Debug, Deserialize)]
pub struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

impl Rules {
    /// Reads the text of `deny.toml`.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("deny.toml is not as expected")
    }

    /// What is wrong with the packages of the graph, one sentence each. Every platform's and every
    /// tool's dependencies count.
    pub fn violations(&self, metadata: &Metadata) -> Vec<String> {
        let used = used(metadata);
        let packages = metadata.packages.iter();
        let foreign = packages.filter(|p| p.source.is_some() && used.contains(&p.id));
        foreign.filter_map(|package| self.violation(package)).collect()
    }

    fn violation(&self, package: &Package) -> Option<String> {
        let name = format!("{} {}", package.name, package.version);
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == *package.name) {
            return Some(format!("{name} is banned: {}", ban.reason));
        }
        if package.source.as_ref().is_some_and(|source| !source.is_crates_io()) {
            return Some(format!("{name} does not come from the registry"));
        }
        let Some(license) = &package.license else {
            return Some(format!("{name} names no licence"));
        };
        (!self.allows(&package.name, license))
            .then(|| format!("{name} has the licence `{license}`, which deny.toml does not allow"))
    }

    fn allows(&self, package: &str, license: &str) -> bool {
        let extra = self.licenses.exceptions.iter().filter(|exception| exception.name == package);
        let allowed: Vec<&String> = self
            .licenses
            .allow
            .iter()
            .chain(extra.flat_map(|exception| &exception.allow))
            .collect();
        Expression::new(license).holds(&|name| allowed.iter().any(|allowed| *allowed == name))
    }
}

/// The packages that the workspace really uses. `cargo metadata` also lists those that a feature only
/// mentions (`ring?/std`), so an optional dependency counts when an enabled feature asks for it.
fn used(metadata: &Metadata) -> HashSet<PackageId> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let nodes: HashMap<&PackageId, &Node> = nodes.map(|node| (&node.id, node)).collect();
    let mut open = metadata.workspace_members.clone();
    let mut used = HashSet::new();
    while let Some(id) = open.pop() {
        if let Some(node) = nodes.get(&id)
            && used.insert(id.clone())
        {
            let package = &metadata[&id];
            let enabled = |dep: &&NodeDep| is_enabled(package, node, &metadata[&dep.pkg]);
            open.extend(node.deps.iter().filter(enabled).map(|dep| dep.pkg.clone()));
        }
    }
    used
}

fn is_enabled(package: &Package, node: &Node, on: &Package) -> bool {
    let mut declared = package.dependencies.iter().filter(|d| d.name == *on.name);
    declared.any(|dependency| {
        let name = dependency.rename.as_deref().unwrap_or(&dependency.name);
        let asks = |item: &String| {
            let item = item.strip_prefix("dep:").unwrap_or(item);
            item == name || item.split_once('/').is_some_and(|(package, _)| package == name)
        };
        let features = node.features.iter().filter_map(|f| package.features.get(f.as_str()));
        !dependency.optional || features.flatten().any(asks)
    })
}

/// An SPDX licence expression: names with AND, OR, WITH and parentheses. The old `/` means OR.
struct Expression {
    words: Vec<String>,
    at: usize,
}

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        Self { words: spaced.split_whitespace().map(str::to_owned).collect(), at: 0 }
    }

    /// Whether the allowed names suffice. What is not an expression is not allowed.
    fn holds(mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        let holds = self.any(allowed);
        holds && self.at == self.words.len()
    }

    fn any(&mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        let mut holds = self.all(allowed);
        while self.take("OR") {
            holds |= self.all(allowed);
        }
        holds
    }

    fn all(&mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        let mut holds = self.one(allowed);
        while self.take("AND") {
            holds &= self.one(allowed);
        }
        holds
    }

    fn one(&mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        if self.take("(") {
            let holds = self.any(allowed);
            return self.take(")") && holds;
        }
        let Some(mut name) = self.words.get(self.at).cloned() else {
            return false;
        };
        self.at += 1;
        if self.take("WITH") {
            let Some(exception) = self.words.get(self.at) else {
                return false;
            };
            name = format!("{name} WITH {exception}");
            self.at += 1;
        }
        allowed(&name)
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.get(self.at).is_some_and(|found| found == word);
        self.at += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            r#"
            [licenses]
            allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
            exceptions = [{ crate = "roots", allow = ["CDLA-Permissive-2.0"] }]
            [bans]
            deny = [{ crate = "openssl", reason = "rustls is the one TLS library" }]
            "#,
        )
        .expect("well formed")
    }

    #[test]
    fn licence_expressions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-2.0 OR MIT",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-2.0 AND ISC OR MIT",
        ] {
            assert!(rules().allows("x", good), "{good}");
        }
        for bad in [
            "GPL-2.0",
            "MIT AND GPL-2.0",
            "GPL-2.0 WITH LLVM-exception",
            "(MIT",
            "MIT Apache-2.0",
            "MIT WITH",
            "",
        ] {
            assert!(!rules().allows("x", bad), "{bad}");
        }
    }

    #[test]
    fn exceptions_are_for_one_crate() {
        assert!(rules().allows("roots", "CDLA-Permissive-2.0"));
        assert!(!rules().allows("other", "CDLA-Permissive-2.0"));
    }
}

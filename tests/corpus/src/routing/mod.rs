//! Where connections and requests go: whole gateways with calls, and tables of facts.
//!
//! Objects are compiled and calls are followed by `tidegate-explain`, which asks pilot's compiler and the
//! proxy's matcher; nothing here matches anything, and no network is used.

mod calls;
mod delegates;
mod facts;
mod inbound_clusters;
mod input;
mod routes;
mod sidecar_routes;
mod sidecars;
mod supplement;
mod tls;

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::cases::{self, Tally, Verdict};

/// Folders about what is not there yet, and what that is.
const NOT_YET: [(&str, &str); 2] = [
    ("gatewayapi-conversion", "routes of the Gateway API"),
    ("ingress-conversion", "Kubernetes Ingress"),
];

/// Tables of facts that are run.
const RUN: [&str; 9] = [
    "credential-secrets",
    "delegate-merge",
    "gateway-listeners",
    "gateway-merge",
    "gateway-sni-overlap",
    "gateway-tls-context",
    "http-route-translation",
    "port-protocol",
    "sidecar-outbound-route-config",
];

/// Folders whose cases are run.
const FOLDERS: [&str; 7] = [
    "facts",
    "gateway",
    "peerauth",
    "serviceentry",
    "sidecar",
    "sidecar-inbound-clusters",
    "sidecar-routes",
];

/// Runs the cases of every folder.
pub fn run(folder: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    calls::run(&folder.join("gateway"), &mut tally)?;
    for name in ["sidecar", "serviceentry", "peerauth"] {
        sidecars::run(&folder.join(name), name, &mut tally)?;
    }
    inbound_clusters::run(&folder.join("sidecar-inbound-clusters"), &mut tally)?;
    sidecar_routes::run(&folder.join("sidecar-routes"), &mut tally)?;
    sidecar_routes::run_facts(&folder.join("facts"), &mut tally)?;
    facts::run(&folder.join("facts"), &mut tally)?;
    routes::run(&folder.join("facts"), &mut tally)?;
    tls::run(&folder.join("facts"), &mut tally)?;
    delegates::run(&folder.join("facts"), &mut tally)?;
    unknown(folder, &mut tally)?;
    for (name, what) in NOT_YET {
        let part = folder.join(name);
        let files = if part.is_dir() { cases::files(&part)? } else { Vec::new() };
        println!("not yet: {name}, {} files: {what}", files.len());
        for file in files {
            tally.add(&stem(&file), Verdict::Skipped);
        }
    }
    Ok(tally)
}

/// Folders and tables of facts that nothing here knows: nobody shall take them for passed.
fn unknown(folder: &Path, tally: &mut Tally) -> Result<()> {
    let facts = folder.join("facts");
    let tables = if facts.is_dir() { cases::files(&facts)? } else { Vec::new() };
    let tables = tables.iter().map(|file| stem(file)).filter(|name| !RUN.contains(&name.as_str()));
    let tables: Vec<String> = tables.map(|name| format!("facts/{name}")).collect();
    let mut folders: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = FOLDERS.contains(&&*name) || NOT_YET.iter().any(|(own, _)| *own == name);
        folders.extend((path.is_dir() && !known).then_some(name));
    }
    folders.sort();
    for name in tables.into_iter().chain(folders) {
        tally.add(&name, Verdict::Failed("nothing here runs it".to_owned()));
    }
    Ok(())
}

/// A case's outcome as a verdict.
fn verdict(outcome: Result<(), String>) -> Verdict {
    outcome.map_or_else(Verdict::Failed, |()| Verdict::Passed)
}

/// What a table holds; nothing where the file is not there.
fn table(folder: &Path, name: &str) -> Result<Value> {
    let file = folder.join(format!("{name}.yaml"));
    if file.is_file() { cases::document(&file) } else { Ok(Value::Null) }
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn same<T: PartialEq + std::fmt::Debug>(wanted: &T, found: &T) -> Result<(), String> {
    if wanted == found { Ok(()) } else { Err(format!("wanted {wanted:?}, found {found:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = || {
            let mut tally = Tally::default();
            unknown(folder.path(), &mut tally).expect("it is looked through");
            tally.to_string()
        };
        assert_eq!(count(), "0 passed, 0 failed, 0 skipped");
        for known in FOLDERS.into_iter().chain(NOT_YET.map(|(name, _)| name)) {
            std::fs::create_dir(folder.path().join(known)).expect("a folder");
        }
        for known in RUN {
            std::fs::write(folder.path().join(format!("facts/{known}.yaml")), "").expect("a file");
        }
        assert_eq!(count(), "0 passed, 0 failed, 0 skipped");
        std::fs::write(folder.path().join("facts/new.yaml"), "cases: []").expect("a file");
        assert_eq!(count(), "0 passed, 1 failed, 0 skipped");
        std::fs::create_dir(folder.path().join("new")).expect("a folder");
        assert_eq!(count(), "0 passed, 2 failed, 0 skipped");
    }
}

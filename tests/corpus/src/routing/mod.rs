//! Where connections and requests go: whole gateways with calls, and tables of facts.
//!
//! Objects are compiled and calls are followed by `tidegate-explain`, which asks pilot's compiler and the
//! proxy's matcher; nothing here matches anything, and no network is used.

mod calls;
mod delegates;
mod facts;
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
const NOT_YET: [(&str, &str); 4] = [
    ("gatewayapi-conversion", "routes of the Gateway API"),
    ("ingress-conversion", "Kubernetes Ingress"),
    ("peerauth", "inbound traffic of sidecars"),
    ("sidecar-inbound-clusters", "inbound traffic of sidecars"),
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

/// Runs the cases of every folder.
pub fn run(folder: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    calls::run(&folder.join("gateway"), &mut tally)?;
    for name in ["sidecar", "serviceentry"] {
        sidecars::run(&folder.join(name), name, &mut tally)?;
    }
    sidecar_routes::run(&folder.join("sidecar-routes"), &mut tally)?;
    sidecar_routes::run_facts(&folder.join("facts"), &mut tally)?;
    facts::run(&folder.join("facts"), &mut tally)?;
    routes::run(&folder.join("facts"), &mut tally)?;
    tls::run(&folder.join("facts"), &mut tally)?;
    delegates::run(&folder.join("facts"), &mut tally)?;
    not_run(&folder.join("facts"), &mut tally)?;
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

/// Tables of facts that nothing runs yet: each is said, whether it is known here or new.
fn not_run(folder: &Path, tally: &mut Tally) -> Result<()> {
    let files = if folder.is_dir() { cases::files(folder)? } else { Vec::new() };
    for name in files.iter().map(|file| stem(file)).filter(|name| !RUN.contains(&name.as_str())) {
        println!("not run yet: facts/{name}");
        tally.add(&name, Verdict::Skipped);
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

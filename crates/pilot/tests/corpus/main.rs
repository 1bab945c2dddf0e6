//! Routing cases taken from Istio's own tests, which live outside this repository: without them nothing is
//! run and nothing fails.
//!
//! A case that fails has to stand in `known-failures.yaml` with the reason; one that stands there and passes
//! fails too, so the list only shrinks. The cases of whole kinds that are not served yet are left out by
//! name in [`gateway`] and [`facts`].

#[path = "../common/mod.rs"]
mod common;
mod facts;
mod gateway;
mod lenient;
mod routes;
mod walk;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What came of every case: nothing, or why it failed.
pub type Outcomes = BTreeMap<String, Result<(), String>>;

/// The cases, next to the repository.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/routing");
    folder.is_dir().then_some(folder)
}

/// The documents of every file of a part, by the file's name.
pub fn files(part: &str) -> Vec<(String, Value)> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join(part))
        .map(|entries| entries.filter_map(|e| Some(e.ok()?.path())).collect())
        .unwrap_or_default();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem()?.to_string_lossy().into_owned();
        let source = fs::read_to_string(path).ok()?;
        Some((name, common::documents(&source).into_iter().next()?))
    };
    paths.iter().filter_map(read).collect()
}

/// A file of `facts`; without cases when it is not there.
pub fn fact(name: &str) -> Value {
    files("facts").into_iter().find(|(n, _)| n == name).map_or(Value::Null, |(_, value)| value)
}

fn known_failures() -> BTreeMap<String, String> {
    let list = include_str!("known-failures.yaml");
    let list = common::documents(list).into_iter().next().unwrap_or_default();
    let entries = list.as_object().cloned().unwrap_or_default();
    entries
        .into_iter()
        .map(|(case, reason)| {
            let reason = reason.as_str().unwrap_or_default().trim().to_owned();
            assert!(!reason.is_empty(), "known-failures.yaml: {case} has no reason");
            (case, reason)
        })
        .collect()
}

#[test]
fn every_case_passes_or_is_known_to_fail() {
    if folder().is_none() {
        eprintln!("skipped: there is no ../shared/corpus/routing next to the repository");
        return;
    }
    let mut outcomes = Outcomes::new();
    gateway::run(&mut outcomes);
    facts::run(&mut outcomes);
    routes::run(&mut outcomes);
    let known = known_failures();
    let mut wrong = Vec::new();
    for (case, outcome) in &outcomes {
        match (outcome, known.contains_key(case)) {
            (Err(why), false) => wrong.push(format!("FAIL {case}: {why}")),
            (Ok(()), true) => wrong.push(format!("PASS {case}: take it off the list")),
            _ => {}
        }
    }
    let gone = known.keys().filter(|case| !outcomes.contains_key(*case));
    wrong.extend(gone.map(|case| format!("GONE {case}: there is no such case")));
    let failed = outcomes.values().filter(|o| o.is_err()).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

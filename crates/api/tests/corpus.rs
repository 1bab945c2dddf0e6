//! Validation against the corpus of cases taken from Istio's own tests.
//!
//! The corpus lies beside the project (`../shared/corpus`, or under `$TIDEGATE_SHARED`); without it the test
//! says so and passes. Cases that are known not to pass stand in `corpus-known-failures.txt`, each with its
//! reason. The list may only shrink: a listed case that passes fails the test, and so does a listed name
//! that no longer exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_api::kinds::{by_api_version, split_api_version};
use tidegate_api::{Examined, FieldValidation, Object, Origin, WarningKind, admit};

/// Files of the corpus whose kinds exist here.
const FILES: [&str; 30] = [
    "Gateway.yaml",
    "VirtualService.yaml",
    "DestinationRule.yaml",
    "ServiceEntry.yaml",
    "WorkloadEntry.yaml",
    "AuthorizationPolicy.yaml",
    "RequestAuthentication.yaml",
    "PeerAuthentication.yaml",
    "Sidecar.yaml",
    "crd-schema/workloadentry-invalid.yaml",
    "crd-schema/workloadentry-valid.yaml",
    "crd-schema/authz-invalid.yaml",
    "crd-schema/authz-valid.yaml",
    "crd-schema/reqauth-invalid.yaml",
    "crd-schema/reqauth-valid.yaml",
    "crd-schema/peerauth-invalid.yaml",
    "crd-schema/peerauth-valid.yaml",
    "EnvoyFilter.yaml",
    "crd-schema/envoyfilter-invalid.yaml",
    "crd-schema/envoyfilter-valid.yaml",
    "crd-schema/destinationrule-invalid.yaml",
    "crd-schema/destinationrule-valid.yaml",
    "crd-schema/serviceentry-invalid.yaml",
    "crd-schema/serviceentry-valid.yaml",
    "crd-schema/telemetry-invalid.yaml",
    "crd-schema/telemetry-valid.yaml",
    "crd-schema/proxyconfig-invalid.yaml",
    "crd-schema/proxyconfig-valid.yaml",
    "crd-schema/workloadgroup-invalid.yaml",
    "crd-schema/workloadgroup-valid.yaml",
];

#[test]
fn corpus() {
    let Some(folder) = corpus_folder() else {
        println!(
            "skipped: no corpus beside the project (set TIDEGATE_SHARED to the folder that holds it)"
        );
        return;
    };
    let mut known = known_failures();
    let mut wrong = Vec::new();
    let mut passed = 0;
    for file in FILES {
        for (name, case) in cases(&folder.join(file)) {
            let name = format!("{file}: {name}");
            match (judge(&case), known.remove(&name)) {
                (Ok(()), None) => passed += 1,
                (Err(_), Some(_)) => {}
                (Err(fault), None) => wrong.push(format!("{name}\n    {fault}")),
                (Ok(()), Some(_)) => {
                    wrong.push(format!("{name}\n    passes now: take it off the list"));
                }
            }
        }
    }
    let gone = known.into_keys().map(|name| format!("{name}\n    is listed but is no case"));
    wrong.extend(gone);
    assert!(wrong.is_empty(), "{passed} passed, {} did not:\n{}", wrong.len(), wrong.join("\n"));
    println!("{passed} cases passed");
}

fn corpus_folder() -> Option<PathBuf> {
    let shared = std::env::var_os("TIDEGATE_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = shared.unwrap_or(beside).join("corpus/validate");
    folder.is_dir().then_some(folder)
}

/// The listed cases and their reasons: `name = reason`, one per line.
fn known_failures() -> BTreeMap<String, String> {
    let text = include_str!("corpus-known-failures.txt");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once(" = ").expect("name = reason");
            assert!(!reason.trim().is_empty(), "{name} needs a reason");
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

/// The cases of a file. Equal names get a number, so that each is one of a kind.
fn cases(file: &Path) -> Vec<(String, Value)> {
    let source = fs::read_to_string(file).expect("a readable corpus file");
    let document = tidegate_yaml::parse(&source).remove(0);
    let json = document.unwrap_or_else(|fault| panic!("{}: {fault}", file.display())).to_json();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let cases = json["cases"].as_array().cloned().unwrap_or_default();
    cases
        .into_iter()
        .map(|case| {
            let name = case["name"].as_str().unwrap_or_default().to_owned();
            let count = seen.entry(name.clone()).or_insert(0);
            *count += 1;
            let name = if *count > 1 { format!("{name} ({count})") } else { name };
            (name, case)
        })
        .collect()
}

fn judge(case: &Value) -> Result<(), String> {
    let mut resource = case["resource"].clone();
    expand_repeats(&mut resource);
    let (api_version, kind) = (&resource["apiVersion"], &resource["kind"]);
    let (api_version, kind) = (api_version.as_str().unwrap_or(""), kind.as_str().unwrap_or(""));
    let info = by_api_version(api_version, kind).ok_or("the kind is not served")?;
    let (_, version) = split_api_version(api_version);
    let examined = Object::examine(info.kind, version, &resource, Origin::Api);
    compare(&case["expect"], &examined)?;
    // What Istio's definitions refuse, an API server does not store.
    let of_definition = case["source"].as_str().is_some_and(|file| file.contains("testdata/crds"));
    if of_definition && case["expect"]["valid"] == false {
        let stored = admit(info.kind, info.group, &mut resource, FieldValidation::Strict, None);
        return stored.err().map(|_| ()).ok_or_else(|| "would be stored".to_owned());
    }
    Ok(())
}

fn compare(expect: &Value, examined: &Examined) -> Result<(), String> {
    let errors: Vec<String> = examined.errors.iter().map(ToString::to_string).collect();
    let unknown =
        examined.warnings.iter().filter(|warning| warning.kind == WarningKind::UnknownField);
    let refused: Vec<String> =
        errors.iter().cloned().chain(unknown.map(ToString::to_string)).collect();
    let warnings: Vec<String> = examined.warnings.iter().map(ToString::to_string).collect();
    match (expect["valid"].as_bool(), refused.is_empty()) {
        (Some(true), false) => return Err(format!("should be valid, but: {refused:?}")),
        (Some(false), true) => return Err(format!("should be refused; warnings: {warnings:?}")),
        _ => {}
    }
    match (expect["warning"].as_bool(), warnings.is_empty()) {
        (Some(true), true) => Err(format!("should give a warning; errors: {errors:?}")),
        (Some(false), false) => Err(format!("should give no warning, but: {warnings:?}")),
        _ => Ok(()),
    }
}

/// `@@repeat c N` stands for N times c.
fn expand_repeats(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((unit, count)) =
                text.strip_prefix("@@repeat ").and_then(|t| t.split_once(' '))
            {
                *text = unit.repeat(count.parse().expect("a count"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(expand_repeats),
        Value::Object(map) => map.values_mut().for_each(expand_repeats),
        _ => {}
    }
}

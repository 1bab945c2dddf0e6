//! Bodies for fuzzers: plain functions over bytes, driven by a seeded mutator in the tests and by any fuzzer
//! that calls them.

use crate::{Limits, parse_bytes, parse_within};

/// Reads arbitrary bytes, and does with the outcome what callers do. Must neither panic nor take long.
///
/// # Panics
/// When an invariant of the crate is broken: that is what a fuzzer looks for.
pub fn fuzz(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    for outcome in parse_bytes(data) {
        match outcome {
            Ok(document) => {
                let json = document.to_json();
                assert!(document.line() >= 1);
                let _ = document.locate("spec.http[0].match[0].uri");
                // What is read can be written as JSON and read again, to the same value.
                let text = json.to_string();
                if json.is_object() {
                    let again = crate::parse(&text).into_iter().next().and_then(Result::ok);
                    assert_eq!(again.map(|document| document.to_json()), Some(json), "{text}");
                }
            }
            Err(fault) => {
                let shown = fault.render("fuzz.yaml", &source, false);
                assert!(shown.starts_with("error: "));
                assert!(!fault.message.is_empty());
            }
        }
    }
    let tight = Limits { bytes: 1 << 20, depth: 4, nodes: 50, repeated: 10 };
    for document in parse_within(&source, &tight).into_iter().flatten() {
        let _ = document.to_json();
    }
}

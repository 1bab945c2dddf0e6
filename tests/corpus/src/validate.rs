//! Whole resources through the door of the API: unknown fields are refused, then the shape is checked,
//! then what the object says. Compared are the verdict and whether there is a warning; the words are
//! ours.

use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tidegate_api::kinds::{KindInfo, by_api_version, split_api_version};
use tidegate_api::{FieldValidation, Object, Origin, admit};

use crate::cases::{self, Tally, Verdict};

#[derive(Deserialize)]
struct Case {
    name: String,
    expect: Expect,
    resource: Value,
}

#[derive(Deserialize)]
struct Expect {
    valid: bool,
    /// Whether there must be a warning; absent when that is not checked.
    warning: Option<bool>,
}

/// Runs every case of a folder.
pub fn run(folder: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    for file in cases::files(folder)? {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for case in cases::read::<Case>(&file)? {
            tally.add(&format!("{stem}/{}", case.name), judge(&case.written()));
        }
    }
    Ok(tally)
}

impl Case {
    /// The case as a manifest writes it. The tables were taken from Go values, where `bytes` is bytes; in a manifest
    /// they are base64, as in every JSON form of a protobuf message.
    fn written(mut self) -> Self {
        let routes = self.resource.pointer_mut("/spec/http").and_then(Value::as_array_mut);
        for route in routes.into_iter().flatten() {
            if let Some(Value::String(bytes)) = route.pointer_mut("/directResponse/body/bytes") {
                *bytes = STANDARD.encode(&bytes);
            }
        }
        self
    }
}

fn judge(case: &Case) -> Verdict {
    let text = |field: &str| case.resource[field].as_str().unwrap_or_default();
    let Some(info) = by_api_version(text("apiVersion"), text("kind")) else {
        return Verdict::Skipped;
    };
    match (case.expect.valid, admitted(info, &case.resource)) {
        (true, Err(why)) => Verdict::Failed(format!("is valid, and was refused: {why}")),
        (false, Ok(_)) => Verdict::Failed("is not valid, and was accepted".to_owned()),
        (false, Err(_)) => Verdict::Passed,
        (true, Ok(warnings)) => match (case.expect.warning, warnings.as_slice()) {
            (Some(true), []) => Verdict::Failed("must give a warning".to_owned()),
            (Some(false), [warning, ..]) => Verdict::Failed(format!("warns: {warning}")),
            _ => Verdict::Passed,
        },
    }
}

/// The warnings about a resource that is accepted, or why it is not.
fn admitted(info: &KindInfo, resource: &Value) -> Result<Vec<String>, String> {
    let api_version = resource["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = split_api_version(api_version);
    let mut stored = resource.clone();
    let shown = |errors: Vec<tidegate_api::FieldError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let mut warnings =
        admit(info.kind, group, &mut stored, FieldValidation::Strict, None).map_err(shown)?;
    let decoded = Object::decode(info.kind, version, &stored, Origin::Api).map_err(shown)?;
    warnings.extend(decoded.warnings);
    Ok(warnings.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::changes::all_fail;

    fn judged(case: &Value) -> Result<(), String> {
        let case: Case = serde_json::from_value(case.clone()).expect("a case");
        match judge(&case.written()) {
            Verdict::Passed => Ok(()),
            Verdict::Failed(why) => Err(why),
            Verdict::Skipped => Err("skipped".to_owned()),
        }
    }

    fn case(valid: bool, warning: Option<bool>, action: &Value) -> Value {
        let mut rule = json!({"match": [{"uri": {"prefix": "/"}}]});
        for (field, value) in action.as_object().into_iter().flatten() {
            rule[field] = value.clone();
        }
        let mut expect = json!({"valid": valid});
        if let Some(warning) = warning {
            expect["warning"] = warning.into();
        }
        json!({"name": "a", "expect": expect, "resource": {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "v", "namespace": "default"},
            "spec": {"hosts": ["a.com"], "http": [rule]},
        }})
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_expectation_fails() {
        let answer = |body: &Value| json!({"directResponse": {"status": 200, "body": body}});
        let quiet = answer(&json!({"string": "x"}));
        let told = answer(&json!({"string": "x".repeat(200 << 10)}));
        for case in [
            case(true, None, &quiet),
            case(true, Some(false), &quiet),
            case(true, Some(true), &told),
            // Bytes as the tables have them are not base64.
            case(true, Some(false), &answer(&json!({"bytes": "~"}))),
            case(false, None, &json!({})),
            case(false, None, &json!({"unheard": 1, "redirect": {"uri": "/"}})),
            case(false, None, &json!({"redirect": {"uri": "/", "redirectCode": 200}})),
        ] {
            all_fail(&case, "expect", judged);
        }
    }

    #[test]
    fn what_is_no_kind_here_is_not_judged() {
        let mut case = case(true, None, &json!({"redirect": {"uri": "/"}}));
        assert_eq!(judged(&case), Ok(()));
        case["resource"]["kind"] = json!("WasmPlugin");
        assert_eq!(judged(&case), Err("skipped".to_owned()));
    }
}

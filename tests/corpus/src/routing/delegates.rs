//! `routing/facts/delegate-merge`: rules of delegates under rules that lead to them, and conditions that contradict.

use std::path::Path;

use anyhow::Result as Done;
use serde_json::Value;
use tidegate_api::istio::virtual_service::{HttpMatchRequest, HttpRoute};
use tidegate_pilot::model::delegate;

use super::{same, table, verdict};
use crate::cases::Tally;

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    let name = "delegate-merge";
    let table = table(folder, name)?;
    for (part, judge) in [("merge", merged as fn(&Value) -> _), ("conflict", conflict)] {
        for case in table[part].as_array().into_iter().flatten() {
            let case_name = case["name"].as_str().unwrap_or_default();
            tally.add(&format!("{name}/{case_name}"), verdict(judge(case)));
        }
    }
    Ok(())
}

fn merged(case: &Value) -> Result<(), String> {
    let root: HttpRoute = read(&case["root"])?;
    let own: Vec<HttpRoute> = read(&case["delegate"])?;
    let wanted: Vec<HttpRoute> = read(&case["expectMerged"])?;
    let found = own.iter().filter_map(|own| delegate::merge(&root, own).ok());
    let found: Vec<HttpRoute> = found.map(|merged| merged.rule).collect();
    same(&wanted, &found)
}

fn conflict(case: &Value) -> Result<(), String> {
    let root: HttpMatchRequest = read(&case["root"])?;
    let own: HttpMatchRequest = read(&case["leaf"])?;
    same(&case["conflict"].as_bool(), &Some(delegate::conflict(&root, &own).is_some()))
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn broken_expectations_fail() {
        let rule = |path: &str| json!([{"match": [{"uri": {"prefix": path}}]}]);
        let mut case = json!({
            "root": {"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "d"}},
            "delegate": rule("/a/b"),
            "expectMerged": rule("/a/b"),
        });
        assert_eq!(merged(&case), Ok(()));
        case["expectMerged"] = rule("/a");
        assert!(merged(&case).is_err());
        let mut case = json!({
            "root": {"uri": {"prefix": "/a"}}, "leaf": {"uri": {"prefix": "/"}}, "conflict": true,
        });
        assert_eq!(conflict(&case), Ok(()));
        case["conflict"] = json!(false);
        assert!(conflict(&case).is_err());
    }
}

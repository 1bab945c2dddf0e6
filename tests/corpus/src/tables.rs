//! What discovery says of each kind, and the head of its table, as a real API server has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::cases::{Tally, Verdict};
use crate::server::Server;

/// How kubectl asks for a table.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// A kind in one of its versions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    kind: String,
    scope: String,
    singular: String,
    short_names: BTreeSet<String>,
    categories: BTreeSet<String>,
    verbs: BTreeSet<String>,
    subresources: BTreeSet<String>,
    columns: Vec<Value>,
}

/// The fields of a column that clients go by; its description is in the server's own words.
const COLUMN: [&str; 4] = ["name", "type", "format", "priority"];

/// Compares all kinds.
pub fn run(folder: &Path) -> Result<Tally> {
    let server = Server::before_us()?;
    let text = std::fs::read_to_string(folder.join("tables.json"))?;
    let kinds: BTreeMap<String, Recorded> = serde_json::from_str(&text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut tally = Tally::default();
    for (name, recorded) in kinds {
        runtime.block_on(compare(&server, &name, &recorded, &mut tally))?;
    }
    Ok(tally)
}

/// Compares one, named `PLURAL/VERSION` or `PLURAL.GROUP/VERSION`.
async fn compare(
    server: &Server,
    name: &str,
    recorded: &Recorded,
    tally: &mut Tally,
) -> Result<()> {
    let (resource, version) = name.split_once('/').context(name.to_owned())?;
    let (plural, path) = match resource.split_once('.') {
        Some((plural, group)) => (plural, format!("/apis/{group}/{version}")),
        None => (resource, format!("/api/{version}")),
    };
    let list = server.get(&path, "application/json").await?;
    let list: Value = serde_json::from_slice(&list.body).unwrap_or_default();
    let resources = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(ours) = resources.iter().find(|one| one["name"] == plural) else {
        tally.add(&format!("{name} is served"), Verdict::Failed("it is not".to_owned()));
        return Ok(());
    };
    let mut same = |what: &str, ours: Value, theirs: Value| {
        let verdict = match ours == theirs {
            true => Verdict::Passed,
            false => Verdict::Failed(format!("{ours} for {theirs}")),
        };
        tally.add(&format!("{name} {what}"), verdict);
    };
    let Recorded { kind, scope, singular, short_names, categories, .. } = recorded;
    let scoped = if ours["namespaced"] == true { "Namespaced" } else { "Cluster" };
    same(
        "names",
        serde_json::json!([
            ours["kind"],
            scoped,
            ours["singularName"],
            set(&ours["shortNames"]),
            set(&ours["categories"])
        ]),
        serde_json::json!([kind, scope, singular, short_names, categories]),
    );
    same("verbs", serde_json::json!(set(&ours["verbs"])), serde_json::json!(recorded.verbs));
    let below = format!("{plural}/");
    let named = resources.iter().filter_map(|one| one["name"].as_str()?.strip_prefix(&below));
    let below: BTreeSet<&str> = named.collect();
    same("subresources", serde_json::json!(below), serde_json::json!(recorded.subresources));
    let table = server.get(&format!("{path}/{plural}"), TABLE).await?.json();
    let columns = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    same("columns", heads(columns), heads(&recorded.columns));
    Ok(())
}

fn set(words: &Value) -> BTreeSet<&str> {
    words.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What clients go by of columns.
fn heads(columns: &[Value]) -> Value {
    let head =
        |column: &Value| -> Value { COLUMN.iter().map(|field| column[field].clone()).collect() };
    columns.iter().map(head).collect()
}

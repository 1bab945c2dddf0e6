//! `describe`: what an object says, whether it is in force, and what happened to it.

use std::fmt::Write as _;

use serde_json::Value;
use tidegate_source::cluster::escaped;

use super::Faults;
use super::read::{aligned, without_managed_fields};
use super::resource::{Resource, named, served};
use super::server::Server;
use super::write::elsewhere;
use crate::cli::DescribeArgs;
use crate::failure::Outcome;
use crate::terminal;

/// Describes objects.
///
/// # Errors
/// Some are not there, or nobody answers.
pub async fn describe(args: DescribeArgs) -> Outcome<()> {
    let kinds = named(&args.what)?;
    let server = Server::of(&args.server).await?;
    let kinds = served(&server, kinds).await?;
    let (mut faults, mut texts) = (Faults::default(), Vec::new());
    for (resource, names) in kinds {
        let names = match names.is_empty() {
            true => faults.take(all(&server, &resource).await).unwrap_or_default(),
            false => names,
        };
        for name in names {
            texts.extend(faults.take(one(&server, &resource, &name).await));
        }
    }
    terminal::print(texts.join("\n\n"))?;
    faults.outcome()
}

/// The names of all objects of a kind.
async fn all(server: &Server, resource: &Resource) -> Outcome<Vec<String>> {
    let list = server.get(&resource.list(Some(server.namespace()))).await?;
    let list = list.map_err(|refusal| refusal.failure())?;
    let names = list["items"].as_array().into_iter().flatten();
    Ok(names.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

async fn one(server: &Server, resource: &Resource, name: &str) -> Outcome<String> {
    let object = server.get(&resource.path(server.namespace(), name)).await?;
    let object = object.map_err(|refusal| match refusal.code {
        404 => elsewhere(refusal.failure(), resource, server.namespace()),
        _ => refusal.failure(),
    })?;
    let object = without_managed_fields(object);
    let about = format!("involvedObject.kind={},involvedObject.name={name}", resource.kind());
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let path = format!(
        "/api/v1/namespaces/{}/events?fieldSelector={}",
        escaped(namespace),
        escaped(&about)
    );
    // Events are an extra: who may not read them is shown the rest.
    let events = server.get(&path).await?.unwrap_or_default();
    Ok(text(resource, &object, &events))
}

fn text(resource: &Resource, object: &Value, events: &Value) -> String {
    let mut text = String::new();
    let metadata = &object["metadata"];
    let mut line = |name: &str, value: &Value| {
        let value = match value {
            Value::Null => return,
            Value::String(plain) => plain.clone(),
            Value::Object(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| {
                    format!("{key}={}", value.as_str().map_or(value.to_string(), str::to_owned))
                });
                pairs.collect::<Vec<_>>().join("\n              ")
            }
            other => other.to_string(),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{:<13} {value}", format!("{name}:"));
    };
    line("Name", &metadata["name"]);
    line("Namespace", &metadata["namespace"]);
    line("Kind", &resource.word().into());
    line("Labels", &metadata["labels"]);
    line("Annotations", &metadata["annotations"]);
    line("Created", &metadata["creationTimestamp"]);
    line("Generation", &metadata["generation"]);
    for (field, value) in object.as_object().into_iter().flatten() {
        match field.as_str() {
            "apiVersion" | "kind" | "metadata" | "status" => {}
            "data" | "stringData" if resource.word() == "secret" => text.push_str(&sizes(value)),
            field => section(&mut text, field, value),
        }
    }
    status(&mut text, &object["status"]);
    text.push_str(&happened(events));
    text
}

/// A field with all that is in it, as YAML.
fn section(text: &mut String, name: &str, value: &Value) {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    text.extend(first);
    text.push_str(letters.as_str());
    text.push_str(":\n");
    for line in tidegate_yaml::write(value).lines() {
        let _ = writeln!(text, "  {line}");
    }
}

/// Of a Secret no more than how much there is.
fn sizes(data: &Value) -> String {
    let mut text = "Data:\n".to_owned();
    for (key, value) in data.as_object().into_iter().flatten() {
        let encoded = value.as_str().unwrap_or_default();
        let padding = encoded.bytes().rev().take_while(|&byte| byte == b'=').count();
        let _ = writeln!(text, "  {key}: {} bytes", encoded.len() / 4 * 3 - padding.min(2));
    }
    text
}

fn status(text: &mut String, status: &Value) {
    let mut rest = status.clone();
    let conditions = rest.as_object_mut().and_then(|rest| rest.remove("conditions"));
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = conditions.as_ref().and_then(Value::as_array).into_iter().flatten().map(|row| {
        ["type", "status", "reason", "message"].iter().map(|field| word(row, field)).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        let heading = ["TYPE", "STATUS", "REASON", "MESSAGE"].map(str::to_owned);
        indented(text, "Conditions", &aligned(&heading, &rows));
    }
    if rest.as_object().is_some_and(|rest| !rest.is_empty()) {
        section(text, "status", &rest);
    }
}

fn happened(events: &Value) -> String {
    let items = events["items"].as_array().into_iter().flatten();
    let rows = items.map(|event| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let last = match text(&event["lastTimestamp"]) {
            none if none.is_empty() => text(&event["eventTime"]),
            last => last,
        };
        let count = event["count"].as_u64().unwrap_or(1).to_string();
        vec![text(&event["type"]), text(&event["reason"]), last, count, text(&event["message"])]
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return "Events:       <none>\n".to_owned();
    }
    rows.sort_by(|a, b| a[2].cmp(&b[2]));
    let heading = ["TYPE", "REASON", "LAST", "COUNT", "MESSAGE"].map(str::to_owned);
    let mut text = String::new();
    indented(&mut text, "Events", &aligned(&heading, &rows));
    text
}

fn indented(text: &mut String, name: &str, lines: &str) {
    let _ = writeln!(text, "{name}:");
    for line in lines.lines() {
        let _ = writeln!(text, "  {line}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_with_its_conditions_and_events() {
        let resource = Resource::of_word("vs").expect("a kind");
        let object = json!({
            "metadata": { "name": "a", "namespace": "n", "labels": { "x": "y" } },
            "spec": { "hosts": ["a.example"] },
            "status": { "conditions": [{ "type": "Programmed", "status": "True", "reason": "Served" }] },
        });
        let events = json!({ "items": [
            { "type": "Warning", "reason": "Hides", "message": "twice", "lastTimestamp": "2026", "count": 2 },
        ]});
        let text = text(&resource, &object, &events);
        for line in [
            "Name:         a\n",
            "Labels:       x=y\n",
            "Spec:\n  hosts:\n",
            "  Programmed   True     Served\n",
            "  Warning   Hides    2026   2       twice\n",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let resource = Resource::of_word("secret").expect("a kind");
        let object = json!({ "metadata": { "name": "a" }, "data": { "key": "aHVzaCE=" } });
        let text = text(&resource, &object, &Value::Null);
        assert!(text.contains("  key: 5 bytes\n") && !text.contains("aHVz"), "{text}");
    }
}

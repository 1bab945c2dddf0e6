//! `get`: objects as tables that the server makes, or as they are stored.

use http::Method;
use serde_json::{Value, json};
use tidegate_source::cluster::{Ask, escaped};

use super::Faults;
use super::resource::{Resource, named, served};
use super::server::{Server, object};
use super::write::elsewhere;
use crate::cli::{GetArgs, Output};
use crate::failure::Outcome;
use crate::terminal;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const JSON: &str = "application/json";

/// Blanks between columns, as kubectl has them.
const GAP: usize = 3;

/// Shows objects.
///
/// # Errors
/// Some are not there, or nobody answers.
pub async fn get(args: GetArgs) -> Outcome<()> {
    let kinds = named(&args.what)?;
    let server = Server::of(&args.server).await?;
    let kinds = served(&server, kinds).await?;
    let (mut faults, mut found) = (Faults::default(), Vec::new());
    for (resource, names) in &kinds {
        for path in paths(&args, &server, resource, names) {
            if let Some(answer) = faults.take(ask(&args, &server, resource, &path).await) {
                found.push((resource.clone(), answer));
            }
        }
    }
    let text = match args.output {
        None => tables(&found, &args, false),
        Some(Output::Wide) => tables(&found, &args, true),
        Some(Output::Name) => names_of(&found),
        Some(Output::Yaml) => tidegate_yaml::write(&whole(&found, &kinds)),
        Some(Output::Json) => format!("{:#}\n", whole(&found, &kinds)),
    };
    if text.is_empty() && faults.0.is_none() {
        let place = match args.all_namespaces || !kinds.iter().any(|(kind, _)| kind.namespaced()) {
            true => String::new(),
            false => format!(" in {} namespace", server.namespace()),
        };
        terminal::say(format_args!("No resources found{place}."));
    }
    terminal::print(text)?;
    faults.outcome()
}

fn paths(args: &GetArgs, server: &Server, resource: &Resource, names: &[String]) -> Vec<String> {
    if !names.is_empty() {
        return names.iter().map(|name| resource.path(server.namespace(), name)).collect();
    }
    let namespace = (!args.all_namespaces).then(|| server.namespace());
    let selector = args.selector.as_ref();
    let query = selector.map(|text| format!("?labelSelector={}", escaped(text)));
    vec![format!("{}{}", resource.list(namespace), query.unwrap_or_default())]
}

async fn ask(args: &GetArgs, server: &Server, resource: &Resource, path: &str) -> Outcome<Value> {
    let table = matches!(args.output, None | Some(Output::Wide));
    let accept = if table { TABLE } else { JSON };
    let answer = server.ask(Ask { accept, ..Ask::new(Method::GET, path) }).await?;
    object(answer).map_err(|refusal| match refusal.code {
        404 => elsewhere(refusal.failure(), resource, server.namespace()),
        _ => refusal.failure(),
    })
}

/// The tables of several kinds, one below the other; rows of one kind in one.
fn tables(found: &[(Resource, Value)], args: &GetArgs, wide: bool) -> String {
    let kinds = found.chunk_by(|(a, _), (b, _)| a == b);
    let several = found.iter().any(|(kind, _)| *kind != found[0].0);
    let texts = kinds.filter_map(|same| {
        let prefix = if several { format!("{}/", same[0].0.word()) } else { String::new() };
        let with_namespace = args.all_namespaces && same[0].0.namespaced();
        table(same.iter().map(|(_, table)| table), &prefix, with_namespace, wide)
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// One table of what a server answers in several; none without a row.
fn table<'a>(
    answers: impl Iterator<Item = &'a Value>,
    prefix: &str,
    with_namespace: bool,
    wide: bool,
) -> Option<String> {
    let (mut heading, mut rows) = (Vec::new(), Vec::new());
    for answer in answers {
        let columns: Vec<&Value> = list(&answer["columnDefinitions"]).collect();
        let shown = |i: &usize| wide || columns[*i]["priority"].as_i64().unwrap_or(0) == 0;
        let shown: Vec<usize> = (0..columns.len()).filter(shown).collect();
        if heading.is_empty() {
            let name = |&i: &usize| columns[i]["name"].as_str().unwrap_or_default().to_uppercase();
            heading = shown.iter().map(name).collect();
            if with_namespace {
                heading.insert(0, "NAMESPACE".to_owned());
            }
        }
        for row in list(&answer["rows"]) {
            let mut cells: Vec<String> = shown.iter().map(|&i| cell(&row["cells"][i])).collect();
            if let Some(first) = cells.first_mut() {
                first.insert_str(0, prefix);
            }
            if with_namespace {
                cells.insert(0, cell(&row["object"]["metadata"]["namespace"]));
            }
            rows.push(cells);
        }
    }
    (!rows.is_empty()).then(|| aligned(&heading, &rows))
}

/// Columns as wide as what stands in them.
pub fn aligned(heading: &[String], rows: &[Vec<String>]) -> String {
    let all = || std::iter::once(heading).chain(rows.iter().map(Vec::as_slice));
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end());
        text.push('\n');
    }
    text
}

/// A cell as people read it, on one line; what is not there is left out, as by kubectl.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    }
}

fn names_of(found: &[(Resource, Value)]) -> String {
    let lines = found.iter().flat_map(|(resource, answer)| {
        objects(answer).map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            format!("{}/{name}\n", resource.word())
        })
    });
    lines.collect()
}

/// One object as it is, several as a list.
fn whole(found: &[(Resource, Value)], kinds: &[(Resource, Vec<String>)]) -> Value {
    let one = kinds.len() == 1 && kinds[0].1.len() == 1;
    let shown = found.iter().flat_map(|(_, answer)| {
        let list = answer["kind"].as_str().and_then(|kind| kind.strip_suffix("List"));
        objects(answer).map(move |object| {
            let mut object = object.clone();
            // Items of a list leave out what the list says.
            if let (Some(kind), Value::Object(fields)) = (list, &mut object) {
                fields.entry("apiVersion").or_insert_with(|| answer["apiVersion"].clone());
                fields.entry("kind").or_insert_with(|| kind.into());
            }
            without_managed_fields(object)
        })
    });
    let mut shown: Vec<Value> = shown.collect();
    match one {
        true => shown.pop().unwrap_or_default(),
        false => json!({ "apiVersion": "v1", "kind": "List", "items": shown }),
    }
}

/// Who owns which field is nothing that people read.
pub fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// The items of a list, or the object itself.
fn objects(answer: &Value) -> impl Iterator<Item = &Value> {
    let items = answer["items"].as_array();
    let itself = items.is_none().then_some(answer);
    items.into_iter().flatten().chain(itself)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_what_the_server_says() {
        let answer = json!({
            "columnDefinitions": [{ "name": "Name" }, { "name": "Hosts", "priority": 1 }, { "name": "Age" }],
            "rows": [
                { "cells": ["a", ["x"], "5s"], "object": { "metadata": { "namespace": "n" } } },
                { "cells": ["longer", null, null], "object": { "metadata": { "namespace": "m" } } },
            ],
        });
        let shown = |wide, namespace| table([&answer].into_iter(), "", namespace, wide);
        let plain = "NAME     AGE\na        5s\nlonger\n";
        assert_eq!(shown(false, false).as_deref(), Some(plain));
        let wide = "NAMESPACE   NAME     HOSTS   AGE\n\
                    n           a        [\"x\"]   5s\n\
                    m           longer\n";
        assert_eq!(shown(true, true).as_deref(), Some(wide));
        assert_eq!(table([&json!({ "rows": [] })].into_iter(), "", false, false), None);
    }
}

//! Objects in files, with the lines in which they stand.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;
use tidegate_api::admission::RULES_NOT_CHECKED;
use tidegate_yaml::{Document, Value as Yaml};

use super::Faults;
use super::server::Refusal;
use crate::failure::{Failure, Outcome};

/// Endings of files in a folder that count.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// One object of a file.
#[derive(Clone, Debug)]
pub struct Manifest {
    file: Rc<str>,
    document: Rc<Document>,
    /// Where it is in the document, with a dot at its end; empty for the whole.
    within: String,
    /// What was written.
    pub value: Value,
}

/// Reads files, the files of folders, and standard input: their objects in order.
pub fn read(paths: &[PathBuf], faults: &mut Faults) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    for path in paths {
        for file in faults.take(files(path)).unwrap_or_default() {
            if let Some(bytes) = faults.take(content(&file)) {
                read_file(&file, &bytes, &mut manifests, faults);
            }
        }
    }
    if manifests.is_empty() && faults.0.is_none() {
        faults.add(Failure::new("no object stands in what -f names"));
    }
    manifests
}

/// A file itself, or the files of a folder by name.
fn files(path: &Path) -> Outcome<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let wrong = |error| Failure::new(format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(wrong)? {
        let file = entry.map_err(wrong)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        if file.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn content(file: &Path) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => io::stdin().read_to_end(&mut bytes).map(|_| bytes),
        false => fs::read(file),
    };
    read.map_err(|error| Failure::new(format!("{}: {error}", shown(file))))
}

fn shown(file: &Path) -> String {
    match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

fn read_file(file: &Path, bytes: &[u8], manifests: &mut Vec<Manifest>, faults: &mut Faults) {
    let file: Rc<str> = shown(file).into();
    for document in tidegate_yaml::parse_bytes(bytes) {
        let document = match document {
            Ok(document) => Rc::new(document),
            Err(fault) => {
                let line = fault.span.start.line;
                faults.add(Failure::new(format!("{file}:{line}: {}", fault.message)));
                continue;
            }
        };
        let one = |within: String, value: Value| Manifest {
            file: Rc::clone(&file),
            document: Rc::clone(&document),
            within,
            value,
        };
        match document.root.get("items").map(|node| &node.value) {
            Some(Yaml::Sequence(items)) if is_list(&document) => {
                let items = items.iter().enumerate();
                manifests
                    .extend(items.map(|(i, node)| one(format!("items[{i}]."), node.to_json())));
            }
            _ => manifests.push(one(String::new(), document.to_json())),
        }
    }
}

fn is_list(document: &Document) -> bool {
    let kind = document.root.get("kind").and_then(|node| node.as_str());
    kind.is_some_and(|kind| kind.ends_with("List"))
}

impl Manifest {
    /// A field of its metadata.
    pub fn metadata(&self, field: &str) -> Option<&str> {
        self.value["metadata"][field].as_str().filter(|text| !text.is_empty())
    }

    /// A field that every object has.
    ///
    /// # Errors
    /// It is missing.
    pub fn text(&self, field: &str) -> Outcome<&str> {
        let text = self.value[field].as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| self.wrong("", format!("{field} is missing: this is no object")))
    }

    /// What is wrong with a field of it, with the line in which that stands.
    pub fn wrong(&self, field: &str, what: impl std::fmt::Display) -> Failure {
        let path = format!("{}{field}", self.within);
        let line = self.document.locate(path.trim_end_matches('.')).start.line;
        Failure::new(format!("{}:{line}: {what}", self.file))
    }

    /// What an API server refuses of it: one failure for each field that it names.
    pub fn refused(&self, name: &str, refusal: &Refusal) -> Failure {
        let fields =
            refusal.causes.iter().map(|(field, message)| (field.trim_start_matches('.'), message));
        let known = fields.filter(|(field, _)| !field.is_empty() && *field != RULES_NOT_CHECKED);
        let failures = known
            .map(|(field, message)| self.wrong(field, format_args!("{name}: {field}: {message}")));
        let whole = || self.wrong("", format_args!("{name}: {}", refusal.message));
        failures.reduce(Failure::and).unwrap_or_else(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
kind: A
apiVersion: v1
metadata: {name: a}
---
kind: List
apiVersion: v1
items:
- kind: B
  apiVersion: v1
  spec:
    x: 1
";

    #[test]
    fn documents_and_items_have_their_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.yaml"), TEXT).expect("written");
        fs::write(folder.path().join("b.txt"), "no manifest").expect("written");
        let mut faults = Faults::default();
        let manifests = read(&[folder.path().to_owned()], &mut faults);
        faults.outcome().expect("good");
        let [a, b] = &manifests[..] else { panic!("{manifests:?}") };
        assert_eq!(a.metadata("name"), Some("a"));
        let told = b.wrong("spec.x", "is wrong").to_string();
        assert!(told.ends_with("a.yaml:11: is wrong"), "{told}");
        let causes = vec![("spec.x".to_owned(), "too small".to_owned())];
        let refusal = Refusal { code: 422, message: "all of it".to_owned(), causes };
        let told = b.refused("B b", &refusal).to_string();
        assert!(told.ends_with("a.yaml:11: B b: spec.x: too small"), "{told}");
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        fs::write(&file, "kind: [\n---\nkind: A\n").expect("written");
        let mut faults = Faults::default();
        let manifests = read(&[file, folder.path().join("none")], &mut faults);
        assert_eq!(manifests.len(), 1);
        let told = faults.outcome().expect_err("wrong").to_string();
        assert!(told.contains("a.yaml:") && told.contains("none: No such file"), "{told}");
    }
}

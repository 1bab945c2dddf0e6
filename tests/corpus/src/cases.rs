//! Reading case files, and counting what came of them.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What came of one case.
pub enum Verdict {
    /// As expected.
    Passed,
    /// Not as expected: in what.
    Failed(String),
    /// Not judged: it is about something that is not there yet.
    Skipped,
}

/// Counts; failures are printed as they come.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    seen: HashMap<String, usize>,
}

impl Tally {
    /// Counts a case. A name that stands several times gets a number, so that each can be listed.
    pub fn add(&mut self, name: &str, verdict: Verdict) {
        let times = self.seen.entry(name.to_owned()).or_default();
        *times += 1;
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Skipped => self.skipped += 1,
            Verdict::Failed(why) => {
                self.failed += 1;
                let number = if *times > 1 { format!(" #{times}") } else { String::new() };
                println!("FAIL {}{number}: {}", one_line(name), one_line(&why));
            }
        }
    }
}

/// The runner reads lines, and the first `: ` ends a case's name.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace(": ", ":")
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, .. } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// All YAML files of a folder and of its folders, in the order of their names.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The `cases` of a file.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>> {
    let mut cases = document(file)?["cases"].take();
    expand(&mut cases);
    serde_json::from_value(cases).with_context(|| file.display().to_string())
}

/// Runs every case of a folder with one in each file: `judge` answers in what it is not as expected. A case is called after its file and
/// its own `name`.
pub fn run<T: DeserializeOwned>(
    folder: &Path,
    judge: impl Fn(&T) -> Result<Option<String>>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    for file in files(folder)? {
        let document = document(&file)?;
        let name = document["name"].as_str().unwrap_or_default().to_owned();
        let wrong =
            serde_json::from_value(document).map_err(Into::into).and_then(|case| judge(&case));
        let wrong = wrong.with_context(|| file.display().to_string())?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        tally.add(&format!("{stem}/{name}"), wrong.map_or(Verdict::Passed, Verdict::Failed));
    }
    Ok(tally)
}

/// The one document of a file.
pub fn document(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file)?;
    let documents = tidegate_yaml::parse(&text);
    let [Ok(document)] = documents.as_slice() else {
        bail!("{} is not one YAML document", file.display());
    };
    Ok(document.to_json())
}

/// `@@repeat c N` stands for a string of N times c.
fn expand(value: &mut Value) {
    match value {
        Value::String(text) => {
            let mut words = text.split(' ');
            if let (Some("@@repeat"), Some(unit), Some(Ok(times)), None) =
                (words.next(), words.next(), words.next().map(str::parse), words.next())
            {
                *text = unit.repeat(times);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(expand),
        Value::Object(fields) => fields.values_mut().for_each(expand),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_strings_are_written_out() {
        let mut value = serde_json::json!({"a": ["@@repeat xy 3", "@@repeat"]});
        expand(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["xyxyxy", "@@repeat"]}));
    }
}

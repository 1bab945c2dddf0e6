//! YAML with line and column, kubectl's scalar rules, and diagnostics that show the source line.
//!
//! [`parse`] turns a manifest into one tree per document, each node with its place. Scalars mean what they
//! mean to kubectl (YAML 1.1 as Go's library reads it: `yes` is true, `0644` is 420), so that a file read
//! from a folder is the object that `kubectl apply` would have sent. Two things are kubectl's own:
//!
//! - A merge (`<<`) sets keys where it stands: it replaces keys before it and is replaced by keys after it.
//! - Text that begins with `{` is read as JSON first.
//!
//! One thing is stricter: a key that stands twice in one mapping is an error that names both places, where
//! kubectl silently keeps the last.
//!
//! One thing is laxer: a tab in front of a document's first key counts as space, which kubectl refuses.
//!
//! Documents are taken apart before they are parsed, so that one that is broken leaves its neighbours whole.
//!
//! ```
//! let documents = tidegate_yaml::parse("kind: Gateway\nspec:\n  port: 0644\n");
//! let document = documents[0].as_ref().expect("well-formed");
//! assert_eq!(document.to_json()["spec"]["port"], 420);
//! assert_eq!(document.locate("spec.port").start.line, 3);
//! ```

mod build;
mod diagnostic;
pub mod fuzzing;
mod json;
mod path;
mod scalar;
mod split;
mod tree;
mod write;

pub use diagnostic::{Diagnostic, Severity};
pub use tree::{Document, Entry, Node, Position, Span, Value};
pub use write::write;

/// What one source may cost to read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a source.
    pub bytes: usize,
    /// Most mappings and lists inside each other.
    pub depth: usize,
    /// Most nodes of one document, those that aliases repeat included. Long texts count as several.
    pub nodes: usize,
    /// Most nodes of one document that anchors keep and aliases repeat.
    pub repeated: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 64 << 20, depth: 100, nodes: 5_000_000, repeated: 100_000 }
    }
}

/// Reads every document of a source, in order; documents without content are left out. Each is told apart
/// from the others, so that one diagnostic stands for one document.
pub fn parse(source: &str) -> Vec<Result<Document, Diagnostic>> {
    parse_within(source, &Limits::default())
}

/// As [`parse`], documents beside the text that they were read from: one for most, several where `...` ends them.
pub fn parse_parts(source: &str) -> Vec<(&str, Vec<Result<Document, Diagnostic>>)> {
    let limits = Limits::default();
    if source.len() > limits.bytes {
        return vec![(source, parse(source))];
    }
    split::documents(source).map(|part| (part.text, read(&part, &limits))).collect()
}

/// As [`parse`], with limits of the caller's choice.
pub fn parse_within(source: &str, limits: &Limits) -> Vec<Result<Document, Diagnostic>> {
    if source.len() > limits.bytes {
        let start = Span::at(Position::START);
        let message = format!("the source has {} bytes, more than {}", source.len(), limits.bytes);
        return vec![Err(Diagnostic::error(start, message).help("split it into several files"))];
    }
    split::documents(source).flat_map(|part| read(&part, limits)).collect()
}

/// As [`parse`], for bytes that may not be text.
pub fn parse_bytes(source: &[u8]) -> Vec<Result<Document, Diagnostic>> {
    match std::str::from_utf8(source) {
        Ok(source) => parse(source),
        Err(error) => {
            let before = String::from_utf8_lossy(&source[..error.valid_up_to()]);
            let place = Span::at(Position::after(&before));
            let fault = Diagnostic::error(place, "the source is not UTF-8 text from here on");
            vec![Err(fault.help("save the file as UTF-8"))]
        }
    }
}

fn read(part: &split::Part<'_>, limits: &Limits) -> Vec<Result<Document, Diagnostic>> {
    if part.text.trim_start().starts_with('{') {
        // A flow mapping of YAML begins like JSON; only what reads as JSON to its end is JSON.
        match json::parse(part, limits) {
            Ok(document) => return vec![Ok(document)],
            Err(json::Fault::NotJson) => {}
            Err(json::Fault::Fatal(fault)) => return vec![Err(*fault)],
        }
    }
    build::parse(part, limits)
}

#[cfg(test)]
mod tests;

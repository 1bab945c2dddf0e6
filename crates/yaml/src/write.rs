//! Writes a value as YAML that reads as the same value, to us and to kubectl.

use std::fmt::Write;

use serde_json::Value;

use crate::{scalar, tree};

/// A value as one document in block style, keys in the order of the value. Texts are written plainly where nobody can take them
/// for something else, as a block where they have several lines, and in quotes elsewhere.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    node(&mut text, value, 0);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // What stands beside a key begins with a space; a document does not.
    text.strip_prefix([' ', '\n']).map_or_else(|| text.clone(), str::to_owned)
}

/// Writes what follows `key:` or `-`, with what separates them.
fn node(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                line(text, depth);
                key_text(text, key);
                text.push(':');
                // A list stands below its key without being moved in, as kubectl writes it.
                let list = matches!(value, Value::Array(_));
                node(text, value, if list { depth } else { depth + 1 });
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                line(text, depth);
                text.push('-');
                match item {
                    Value::Object(fields) if !fields.is_empty() => first_on_line(text, item, depth),
                    _ => node(text, item, depth + 1),
                }
            }
        }
        Value::Object(_) => text.push_str(" {}"),
        Value::Array(_) => text.push_str(" []"),
        Value::String(string) => {
            text.push(' ');
            scalar_text(text, string, depth);
        }
        other => {
            let _ = write!(text, " {other}");
        }
    }
}

/// A mapping in a list: its first key stands beside the dash.
fn first_on_line(text: &mut String, item: &Value, depth: usize) {
    let start = text.len();
    node(text, item, depth + 1);
    let begun = format!("\n{}", "  ".repeat(depth + 1));
    if text[start..].starts_with(&begun) {
        text.replace_range(start..start + begun.len(), " ");
    }
}

fn line(text: &mut String, depth: usize) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}

fn key_text(text: &mut String, key: &str) {
    if is_plain(key) { text.push_str(key) } else { quoted(text, key) }
}

fn scalar_text(text: &mut String, string: &str, depth: usize) {
    if is_plain(string) {
        text.push_str(string);
    } else if is_block(string) {
        block(text, string, depth);
    } else {
        quoted(text, string);
    }
}

/// Whether a text means itself without quotes, whoever reads it: one that begins like a word or a path, has no sign of YAML in it
/// and is no other scalar's name.
fn is_plain(string: &str) -> bool {
    let begins = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./-@+=$()".contains(c);
    let colons =
        string.split(':').skip(1).all(|after| !after.is_empty() && !after.starts_with(' '));
    begins
        && string.chars().all(|c| is_safe(c) || c == ':')
        && colons
        && matches!(scalar::resolve(string), Ok(tree::Value::String(_)))
}

/// Whether a text can be a literal block: several lines, the first of which tells how far all are moved in.
fn is_block(string: &str) -> bool {
    let printable =
        |c: char| c == '\n' || !(c.is_control() || "\u{85}\u{2028}\u{2029}\u{feff}".contains(c));
    string.trim_end_matches('\n').contains('\n')
        && !string.ends_with("\n\n")
        && !string.starts_with([' ', '\n'])
        && string.chars().all(printable)
        && !string.lines().any(|line| line.ends_with(' '))
}

fn block(text: &mut String, string: &str, depth: usize) {
    text.push_str(if string.ends_with('\n') { "|" } else { "|-" });
    for written in string.lines() {
        text.push('\n');
        if !written.is_empty() {
            // At the top of a document, too, a block is moved in.
            text.push_str(&"  ".repeat(depth.max(1)));
            text.push_str(written);
        }
    }
}

fn quoted(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if c.is_control() || "\u{2028}\u{2029}\u{feff}".contains(c) => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        match crate::parse(text).as_slice() {
            [Ok(document)] => document.to_json(),
            other => panic!("{other:#?} of {text}"),
        }
    }

    /// What a reader of YAML could take for something else.
    const TEXTS: &[&str] = &[
        "",
        " ",
        "a",
        "a b",
        "yes",
        "N",
        "null",
        "~",
        "0644",
        "1e3",
        "1:30",
        "-",
        "- a",
        "a: b",
        "a:",
        "a:b",
        ":a",
        "#",
        "a #b",
        "*",
        "&a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "{a}",
        "[a]",
        "a,b",
        "\"",
        "'",
        "\\",
        "\t",
        "a\nb",
        "a\nb\n",
        "a\n\nb\n",
        "a\n\n",
        "\na",
        " a\nb",
        "a \nb",
        "a\r\nb",
        "---\na",
        "a\n---\nb",
        "\u{7f}",
        "\u{85}",
        "\u{feff}a",
        "\u{2028}",
        "ä",
        "http://a.example:80/x?y=z",
        "2001-01-01",
        "$(POD).svc",
        "=",
        "<<",
        ".inf",
        "a\n  b\nc",
        "{\"a\": 1}",
    ];

    #[test]
    fn what_is_written_reads_as_it_was() {
        for &text in TEXTS {
            for value in [
                json!({ "k": text }),
                json!([text]),
                json!({ "a": [{ "k": text, "l": [[text]] }] }),
                json!({ text: 1 }),
            ] {
                let written = write(&value);
                assert_eq!(read(&written), value, "{written}");
            }
        }
        let all = json!({"a": {}, "b": [], "c": [[], {}, [1, [2]], {"d": null}], "e": -1.5, "f": true, "g": {"h": {"i": 1}}});
        assert_eq!(read(&write(&all)), all, "{}", write(&all));
    }

    #[test]
    fn it_looks_as_kubectl_writes_it() {
        let value = json!({"kind": "Pod", "spec": {"containers": [{"args": ["-i", "*", "a: b"], "name": "a"}], "on": "on"}});
        let wanted = "kind: Pod\nspec:\n  containers:\n  - args:\n    - \"-i\"\n    - \"*\"\n    - \"a: b\"\n    name: a\n  \"on\": \"on\"\n";
        assert_eq!(write(&value), wanted);
        assert_eq!(write(&json!({"a": "x\ny"})), "a: |-\n  x\n  y\n");
        assert_eq!(
            (write(&json!([1])), write(&json!("a"))),
            ("- 1\n".to_owned(), "a\n".to_owned())
        );
    }
}

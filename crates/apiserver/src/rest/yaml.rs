//! YAML in requests and answers.

use serde_json::Value;

/// Reads the one document of a body.
///
/// # Errors
///
/// What is wrong, with line and column.
pub(crate) fn read(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut documents = tidegate_yaml::parse(text);
    match documents.len() {
        1 => documents.remove(0).map(|document| document.to_json()).map_err(|diagnostic| {
            let at = diagnostic.span.start;
            format!("line {} column {}: {}", at.line, at.column, diagnostic.message)
        }),
        0 => Err("the body is empty".into()),
        more => Err(format!("the body holds {more} documents: send one at a time")),
    }
}

/// Writes a value in block style.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    pad(indent, out);
                }
                scalar(&Value::String(key.clone()), out);
                out.push(':');
                nested(value, indent, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    pad(indent, out);
                }
                out.push_str("- ");
                block(value, indent + 1, out);
            }
        }
        other => {
            scalar(other, out);
            out.push('\n');
        }
    }
}

/// The value behind a key: on the same line if it is short, else indented below.
fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            pad(indent + 1, out);
            block(value, indent + 1, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            pad(indent, out);
            block(value, indent, out);
        }
        other => {
            out.push(' ');
            block(other, indent, out);
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", indent));
}

/// Text goes without quotes only where no reader could take it for something else.
fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(text) if is_plain(text) => out.push_str(text),
        // JSON's strings are YAML's double-quoted ones.
        other => out.push_str(&other.to_string()),
    }
}

fn is_plain(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let word = text.to_ascii_lowercase();
    let reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    starts && text.chars().all(inner) && !reserved.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({
            "a": [{"b": 1, "c": [1, [2, 3], {}]}, "x y", "- z", ""],
            "d": {"e": {"f": null, "g": true, "no": "no"}},
            "empty": [], "none": {}, "multi": "line\nbreak: \"quoted\"", "n": "123", "t": "2026-01-01T00:00:00Z",
            "key with: colon": "k8s.io/x",
        });
        let text = write(&value);
        assert_eq!(read(text.as_bytes()), Ok(value), "{text}");
    }

    #[test]
    fn looks_as_people_write_it() {
        let value = json!({"kind": "X", "spec": {"hosts": ["a.example.com"], "http": [{"route": [{"host": "h"}]}]}});
        let expected =
            "kind: X\nspec:\n  hosts:\n  - a.example.com\n  http:\n  - route:\n    - host: h\n";
        assert_eq!(write(&value), expected);
    }

    #[test]
    fn faults_have_a_line() {
        let error = read(b"a: 1\nb: [1\nc: 2\n").expect_err("broken");
        assert!(error.starts_with("line "), "{error}");
        assert!(read(b"").is_err());
        assert!(read(b"a: 1\n---\nb: 2\n").is_err());
    }
}

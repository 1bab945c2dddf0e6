//! Takes the documents of a source apart, before any of them is parsed.
//!
//! A line that begins with `---` and goes on with a blank or nothing ends a document wherever it stands: at
//! the first column it can be part of no scalar.

/// The text of one document, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'s> {
    /// The text.
    pub text: &'s str,
    /// Line of its first character, from 1.
    pub line: usize,
}

/// The documents of a source that are more than blanks, comments and directives.
pub(crate) fn documents(source: &str) -> impl Iterator<Item = Part<'_>> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut parts = Vec::new();
    let mut part = Part { text: "", line: 1 };
    let mut start = 0;
    let mut at = 0;
    for (number, line) in source.split_inclusive('\n').enumerate() {
        if is_separator(line) {
            part.text = &source[start..at];
            parts.push(part);
            // Content may follow on the separator's own line, which stays in the text for its columns.
            let content = !line.trim_start_matches("---").trim().is_empty();
            (start, part.line) =
                if content { (at, number + 1) } else { (at + line.len(), number + 2) };
        }
        at += line.len();
    }
    part.text = &source[start..];
    parts.push(part);
    parts.into_iter().filter(|part| !is_empty(part.text))
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_empty(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty()
            || line.starts_with('#')
            || line.starts_with('%')
            || matches!(line, "---" | "...")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_end_documents() {
        let parts: Vec<(usize, &str)> = documents(
            "# head\n---\na: 1\n---  # note\nb: |\n  ---\n  x\n--- {c: 1}\n---\n---x\n---",
        )
        .map(|part| (part.line, part.text))
        .collect();
        assert_eq!(
            parts,
            [
                (3, "a: 1\n"),
                (4, "---  # note\nb: |\n  ---\n  x\n"),
                (8, "--- {c: 1}\n"),
                (10, "---x\n"),
            ]
        );
        assert_eq!(documents("\u{feff}a: 1").count(), 1);
        assert_eq!(documents("\r\n---\r\n# x\r\n").count(), 0);
    }
}

//! A fault in a source, shown with the line that it is in.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::tree::{Position, Span};

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The document cannot be used as it is.
    Error,
    /// The document can be used, but something about it is worth telling.
    Warning,
}

/// Something to tell about a place in a source: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// What is the matter.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that have to do with it, each with a word about it.
    pub related: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A fault.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            span,
            related: Vec::new(),
            help: None,
        }
    }

    /// Something worth telling.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(span, message) }
    }

    /// With what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another place that has to do with it.
    #[must_use]
    pub fn related(mut self, span: Span, word: impl Into<String>) -> Self {
        self.related.push((span, word.into()));
        self
    }

    /// Shows the diagnostic with the lines of `source`, which was read from `file`. With `color`, as a
    /// terminal shows it.
    pub fn render(&self, file: &str, source: &str, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let window = Window::of(source, self);
        let mut snippet = Snippet::source(window.text).line_start(window.first_line).path(file);
        snippet = snippet.annotation(AnnotationKind::Primary.span(window.range(self.span)));
        for (span, word) in &self.related {
            let range = window.range(*span);
            snippet = snippet.annotation(AnnotationKind::Context.span(range).label(word.as_str()));
        }
        let title = printable(&self.message);
        let mut group: Group<'_> = level.primary_title(title.as_str()).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// Line, column and what is the matter, on one line.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.span.start;
        write!(f, "line {line}, column {column}: {}", self.message)?;
        for (span, word) in &self.related {
            write!(f, " ({word}: line {}, column {})", span.start.line, span.start.column)?;
        }
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Without characters that would steer a terminal: a message may quote the source.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The lines of a source that a diagnostic is about.
struct Window<'s> {
    text: &'s str,
    first_line: usize,
}

impl<'s> Window<'s> {
    fn of(source: &'s str, diagnostic: &Diagnostic) -> Self {
        let spans = || diagnostic.related.iter().map(|(span, _)| *span).chain([diagnostic.span]);
        let first = spans().map(|span| span.start.line).min().unwrap_or(1).max(1) as usize;
        let last =
            spans().map(|span| span.end.line.max(span.start.line)).max().unwrap_or(1) as usize;
        let mut start = source.len();
        let mut end = source.len();
        let mut at = 0;
        for (number, line) in source.split_inclusive('\n').enumerate() {
            if number + 1 == first {
                start = at;
            }
            at += line.len();
            if number + 1 == last {
                end = at;
                break;
            }
        }
        Window { text: &source[start.min(end)..end], first_line: first }
    }

    /// The bytes of a span within the window; at least one, where there is one.
    fn range(&self, span: Span) -> Range<usize> {
        let start = self.offset(span.start);
        let end = self.offset(span.end);
        // A span that goes on for many lines is shown by its first.
        let line = self.text[start..].find('\n').map_or(self.text.len(), |length| start + length);
        let end = end.clamp(start, line.max(start));
        let width = self.text[start..].chars().next().map_or(0, char::len_utf8);
        start..end.max((start + width).min(self.text.len()))
    }

    fn offset(&self, place: Position) -> usize {
        let skip = (place.line as usize).saturating_sub(self.first_line);
        let mut at = 0;
        for line in self.text.split_inclusive('\n').take(skip) {
            at += line.len();
        }
        let rest = &self.text[at..];
        let column = (place.column as usize).saturating_sub(1);
        at + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: u32, from: u32, to: u32) -> Span {
        Span { start: Position { line, column: from }, end: Position { line, column: to } }
    }

    #[test]
    fn shows_file_line_column_reason_and_remedy() {
        let source = "spec:\n  ports: 1\n  größe: 2\n  ports: 3\n";
        let diagnostic = Diagnostic::error(span(4, 3, 8), "the key \"ports\" stands twice")
            .related(span(2, 3, 8), "first here")
            .help("remove one of them");
        let shown = diagnostic.render("gw.yaml", source, false);
        assert_eq!(
            shown,
            "error: the key \"ports\" stands twice
 --> gw.yaml:4:3
  |
2 |   ports: 1
  |   ----- first here
3 |   größe: 2
4 |   ports: 3
  |   ^^^^^
  |
  = help: remove one of them"
        );
        assert_eq!(
            diagnostic.to_string(),
            "line 4, column 3: the key \"ports\" stands twice (first here: line 2, column 3); remove one of \
             them"
        );
    }

    #[test]
    fn places_outside_the_source_do_no_harm() {
        for source in ["", "\n", "ä", "a\r\nb"] {
            for place in [span(1, 1, 1), span(1, 9, 9), span(7, 3, 2), span(2, 1, 4)] {
                let shown = Diagnostic::warning(place, "x\u{1b}[31m").render("f", source, false);
                assert!(shown.starts_with("warning: x\u{fffd}[31m"), "{shown}");
            }
        }
    }
}

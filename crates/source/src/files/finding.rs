//! What is told about a file: a diagnostic with the text that it speaks of.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tidegate_yaml::Diagnostic;

/// Something to tell about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: Arc<Path>,
    /// What, where in the file, and what to do.
    pub diagnostic: Diagnostic,
    source: Arc<str>,
}

impl Finding {
    pub(super) fn new(path: Arc<Path>, diagnostic: Diagnostic, source: Arc<str>) -> Self {
        Self { path, diagnostic, source }
    }

    /// The diagnostic with the lines that it speaks of, for people; with `color`, as a terminal shows it.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        self.diagnostic.render(&self.path.to_string_lossy(), &self.source, color)
    }
}

/// On one line: `FILE: line 3, column 5: …`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.diagnostic)
    }
}

//! What a verb says when it cannot go on: the place, the reason, and the ways out.

use std::fmt;

/// An error for the person at the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    ways_out: Vec<String>,
}

/// What verbs return.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Place and reason, in one sentence without a capital and a full stop.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ways_out: Vec::new() }
    }

    /// Adds something that one can do about it, as a phrase in the imperative.
    #[must_use]
    pub fn or(mut self, way_out: impl Into<String>) -> Self {
        self.ways_out.push(way_out.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for way_out in &self.ways_out {
            write!(f, "\n  try: {way_out}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_ways_out() {
        let failure =
            Failure::new("port 80 is taken").or("stop the other").or("--port-map 80=8080");
        let text = "error: port 80 is taken\n  try: stop the other\n  try: --port-map 80=8080";
        assert_eq!(failure.to_string(), text);
    }
}

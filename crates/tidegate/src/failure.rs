//! What a verb says when it cannot go on: the place, the reason, and the ways out.

use std::fmt;

use tidegate_yaml::Diagnostic;

/// An error for the person at the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    ways_out: Vec<String>,
    /// Others that were found beside it.
    more: Vec<Failure>,
}

/// What verbs return.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Place and reason, in one sentence without a capital and a full stop.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ways_out: Vec::new(), more: Vec::new() }
    }

    /// What is wrong with YAML, shown with the lines of `source`, which was read from `file`.
    pub fn in_yaml(fault: &Diagnostic, file: &str, source: &str) -> Self {
        let shown = fault.render(file, source, false);
        // It begins as every failure does.
        Self::new(shown.strip_prefix("error: ").unwrap_or(&shown).trim_end())
    }

    /// Adds something that one can do about it, as a phrase in the imperative.
    #[must_use]
    pub fn or(mut self, way_out: impl Into<String>) -> Self {
        self.ways_out.push(way_out.into());
        self
    }

    /// Adds what else is wrong. What is said already is not said again.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self { what, ways_out, more } = other;
        if !self.says(&what) {
            self.more.push(Self { what, ways_out, more: Vec::new() });
        }
        more.into_iter().fold(self, Self::and)
    }

    fn says(&self, what: &str) -> bool {
        self.what == what || self.more.iter().any(|other| other.says(what))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for way_out in &self.ways_out {
            write!(f, "\n  try: {way_out}")?;
        }
        self.more.iter().try_for_each(|other| write!(f, "\n{other}"))
    }
}

impl std::error::Error for Failure {}

/// Both, or all that failed.
///
/// # Errors
/// Either fails.
pub fn both<A, B>(a: Outcome<A>, b: Outcome<B>) -> Outcome<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => Err(a.and(b)),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_ways_out() {
        let failure =
            Failure::new("port 80 is taken").or("stop the other").or("--port-map 80=8080");
        let text = "error: port 80 is taken\n  try: stop the other\n  try: --port-map 80=8080";
        assert_eq!(failure.to_string(), text);
        let other: Outcome<()> = Err(Failure::new("port 443 is taken").or("--port-map 443=0"));
        let both = both::<(), ()>(Err(failure), other).expect_err("both");
        assert_eq!(
            both.to_string(),
            format!("{text}\nerror: port 443 is taken\n  try: --port-map 443=0")
        );
        let again = Failure::new("port 443 is taken").and(Failure::new("port 80 is taken"));
        assert_eq!(both.clone().and(again), both, "each is said once");
    }
}

//! Why a resource is not served: the field at fault, and what would be accepted.

use std::fmt;

/// A field that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Path of the field from the message that was compiled, such as `routes[2].match`; empty when the whole
    /// is meant.
    pub path: String,
    /// What is wrong and what would be accepted.
    pub reason: String,
}

impl Refusal {
    /// Refuses the message itself; callers add where it stands.
    pub(super) fn new(reason: impl fmt::Display) -> Self {
        Self { path: String::new(), reason: reason.to_string() }
    }

    /// Refuses one of its fields.
    pub(super) fn of(field: &str, reason: impl fmt::Display) -> Self {
        Self { path: field.to_owned(), reason: reason.to_string() }
    }

    /// The refusal as seen from around `outer`.
    pub(super) fn within(self, outer: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{outer}{dot}{}", self.path), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for Refusal {}

/// Says where a refused message stands in the one around it.
pub(super) trait Within: Sized {
    /// It is this field.
    fn within(self, field: &str) -> Self;

    /// It is this entry of a repeated field.
    fn within_item(self, field: &str, index: usize) -> Self {
        self.within(&format!("{field}[{index}]"))
    }
}

impl<T> Within for Result<T, Refusal> {
    fn within(self, field: &str) -> Self {
        self.map_err(|refusal| refusal.within(field))
    }

    fn within_item(self, field: &str, index: usize) -> Self {
        self.map_err(|refusal| refusal.within(&format!("{field}[{index}]")))
    }
}

/// Compiles every entry of a repeated field.
pub(super) fn each<T, U>(
    field: &str,
    items: &[T],
    mut compile: impl FnMut(&T) -> Result<U, Refusal>,
) -> Result<Vec<U>, Refusal> {
    let numbered = items.iter().enumerate();
    numbered.map(|(index, item)| compile(item).within_item(field, index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_grow_outwards() {
        let refused: Result<(), _> = Err(Refusal::of("regex", "bad"));
        let refused = refused.within("safe_regex").within_item("headers", 3).within("match");
        assert_eq!(
            refused.map_err(|refusal| refusal.to_string()),
            Err("match.headers[3].safe_regex.regex: bad".to_owned())
        );
        let whole: Result<(), _> = Err(Refusal::new("bad"));
        assert_eq!(whole.within("match").map_err(|r| r.path), Err("match".to_owned()));
        assert_eq!(Refusal::new("bad").to_string(), "bad");
    }

    #[test]
    fn each_names_the_entry() {
        let compile = |n: &i32| if *n < 0 { Err(Refusal::new("negative")) } else { Ok(n * 2) };
        assert_eq!(each("n", &[1, 2], compile), Ok(vec![2, 4]));
        assert_eq!(each("n", &[1, -2], compile), Err(Refusal::of("n[1]", "negative")));
    }
}

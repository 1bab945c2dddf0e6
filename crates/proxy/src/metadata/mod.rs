//! Dynamic metadata: what filters have noted of a request, for filters and routes that come after them.
//!
//! | file | subject |
//! |---|---|
//! | `value.rs` | a value, and how it is read from JSON |
//! | `matcher.rs` | tests of what was noted (`MetadataMatcher`) |

mod matcher;
mod value;

pub use matcher::{MetadataTest, NumberTest, ValueTest};
pub use value::{Fields, Value};

use std::sync::Arc;

/// What was noted of one request. Nothing is allocated until something is.
#[derive(Clone, Debug, Default)]
pub struct Metadata(Vec<Note>);

#[derive(Clone, Debug)]
struct Note {
    /// The filter, by the name under which it notes.
    of: &'static str,
    key: Arc<str>,
    value: Value,
}

impl Metadata {
    /// Notes a value under a key of a filter's own. What it noted there before is forgotten.
    pub fn note(&mut self, of: &'static str, key: Arc<str>, value: Value) {
        match self.0.iter_mut().find(|note| note.of == of && note.key == key) {
            Some(note) => note.value = value,
            None => self.0.push(Note { of, key, value }),
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What was noted by a filter at a path: a key of its own, and then the fields of what it noted there.
    #[must_use]
    pub fn get(&self, of: &str, path: &[Box<str>]) -> Option<&Value> {
        let (key, within) = path.split_first()?;
        let note = self.0.iter().find(|note| note.of == of && *note.key == **key)?;
        note.value.below(within)
    }
}

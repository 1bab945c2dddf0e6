//! `tidegate create`, `apply`, `replace`, `delete`, `get` and `describe`: objects of an API server, for people without kubectl
//! and for guides that write `istioctl`. What is said of success is what kubectl says.
//!
//! | file | what it is about |
//! |---|---|
//! | `server.rs` | asking an API server, and what it refuses in words |
//! | `resource.rs` | which kind is meant, and where its objects are |
//! | `manifest.rs` | objects in files, with the lines in which they stand |
//! | `write.rs` | create, apply, replace, delete |
//! | `read.rs`, `describe.rs` | get, describe |

mod describe;
mod manifest;
mod read;
mod resource;
mod server;
mod write;

pub use describe::describe;
pub use read::get;
pub use write::{apply, create, delete, replace};

use crate::failure::{Failure, Outcome};

/// Runs a verb to its end.
///
/// # Errors
/// Those of the verb.
pub fn run(verb: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?
        .block_on(verb)
}

/// What failed of several things, of which each is done whatever becomes of the others.
#[derive(Debug, Default)]
struct Faults(Option<Failure>);

impl Faults {
    fn add(&mut self, failure: Failure) {
        self.0 = Some(match self.0.take() {
            Some(before) => before.and(failure),
            None => failure,
        });
    }

    fn take<T>(&mut self, outcome: Outcome<T>) -> Option<T> {
        outcome.map_err(|failure| self.add(failure)).ok()
    }

    fn outcome(self) -> Outcome<()> {
        self.0.map_or(Ok(()), Err)
    }
}

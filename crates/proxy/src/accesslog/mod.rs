//! Access logs: one structure per request or connection, rendered by whoever reads.
//!
//! A worker fills a [`Record`] and hands it to its [`Recorder`]; that is all the request path does. A log
//! thread collects the records into a bounded ring, from which files, stdout and `kubectl logs` render
//! lines, each in its own format.

mod flags;
mod plan;
mod record;
mod recorder;

pub use flags::ResponseFlags;
pub use plan::{AccessLog, CapturePlan};
pub use record::{Field, Kind, Protocol, Record, Timing, Traffic};
pub use recorder::Recorder;

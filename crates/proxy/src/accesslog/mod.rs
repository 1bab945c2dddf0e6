//! Access logs: one structure per request or connection, rendered by whoever reads.
//!
//! A worker fills a [`Record`] and hands it to its [`Recorder`]; that is all the request path does. A log
//! thread collects the records of all workers into a bounded ring. From there files and stdout are
//! written, and [`Logs::read`] renders what `kubectl logs` shows, each in its own [`Format`].

mod filter;
mod flags;
mod format;
pub mod fuzzing;
mod log;
mod logs;
mod plan;
mod reader;
mod record;
mod recorder;
mod ring;
mod sink;
mod text;

#[cfg(test)]
mod tests;

pub use filter::{Compare, Filter};
pub use flags::ResponseFlags;
pub use format::{Format, FormatError, Workload};
pub(crate) use format::{TimeFormat, hostname, query, timestamp};
pub use log::{Log, Output};
pub use logs::{Logs, Options};
pub use plan::CapturePlan;
pub use reader::{Line, ReadOptions, Reader};
pub use record::{Kind, Protocol, Record, Timing, Traffic};
pub use recorder::Recorder;
pub use sink::{Destination, Sink, SinkError};
pub use text::Field;

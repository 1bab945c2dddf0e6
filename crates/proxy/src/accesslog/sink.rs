//! Where lines go: stdout, stderr or a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use crate::stats::{AccessLogStats, Stats};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Standard output of the process.
    Stdout,
    /// Standard error of the process.
    Stderr,
    /// A file, opened for appending, made if it is not there.
    File(PathBuf),
}

impl Destination {
    /// `/dev/stdout` and `/dev/stderr` mean the process's own, even where those names cannot be opened.
    pub fn from_path(path: &str) -> Self {
        match path {
            "/dev/stdout" => Self::Stdout,
            "/dev/stderr" => Self::Stderr,
            path => Self::File(path.into()),
        }
    }

    /// Opens it.
    fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Self::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
            Self::File(path) => append_to(path),
        }
    }
}

/// Opens a file for appending. A named pipe that nobody reads is an error: waiting for a reader would hold
/// up whoever applies the configuration.
fn append_to(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // Writes do wait: that is what the log thread is for.
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A destination that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "access log {destination} cannot be opened for appending: {error}; its folder must exist and be writable"
)]
pub struct SinkError {
    destination: Destination,
    #[source]
    error: io::Error,
}

/// An open destination. Only the log thread writes.
#[derive(Debug)]
pub struct Sink {
    destination: Destination,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Lines that were rendered and not written yet.
    lines: Vec<u8>,
    /// The last write failed, and that has been told.
    failing: bool,
    /// The last write ended inside a line.
    torn: bool,
}

impl Sink {
    pub(super) fn open(destination: Destination) -> Result<Self, SinkError> {
        match destination.open() {
            Ok(file) => {
                let state = State { file, lines: Vec::new(), failing: false, torn: false };
                Ok(Self { destination, state: Mutex::new(state) })
            }
            Err(error) => Err(SinkError { destination, error }),
        }
    }

    /// What it writes to.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Lets `render` append lines to what waits to be written; returns whether any waits.
    pub(super) fn append(&self, render: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.lock();
        render(&mut state.lines);
        !state.lines.is_empty()
    }

    /// Writes what waits. What cannot be written is lost: the log thread does not wait for a full disk, and
    /// memory is bounded. A failure is counted, and told once until a write succeeds again.
    pub(super) fn write(&self, stats: &Stats<AccessLogStats>) {
        let mut state = self.lock();
        let state = &mut *state;
        if state.lines.is_empty() {
            return;
        }
        if state.torn {
            state.lines.insert(0, b'\n');
        }
        let (written, result) = write_all(&mut state.file, &state.lines);
        stats.write_total.add(written as u64);
        match result {
            Ok(()) => {
                stats.write_completed.inc();
                state.torn = false;
                if std::mem::take(&mut state.failing) {
                    tracing::info!(destination = %self.destination, "access log is written again");
                }
            }
            Err(error) => {
                stats.write_failed.inc();
                state.torn = match written.checked_sub(1) {
                    Some(last) => state.lines[last] != b'\n',
                    None => state.torn,
                };
                if !std::mem::replace(&mut state.failing, true) {
                    tracing::error!(
                        destination = %self.destination, %error,
                        "access log cannot be written: lines are lost until it can"
                    );
                }
            }
        }
        state.lines.clear();
    }

    /// Opens a file again, after it was moved away for rotation. On failure the old one stays in use.
    pub(super) fn reopen(&self, stats: &Stats<AccessLogStats>) {
        let Destination::File(path) = &self.destination else {
            return;
        };
        match append_to(path) {
            Ok(file) => {
                let mut state = self.lock();
                state.file = file;
                state.torn = false;
            }
            Err(error) => {
                stats.reopen_failed.inc();
                tracing::error!(
                    destination = %self.destination, %error,
                    "access log cannot be opened again: lines go to the file that was open before"
                );
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes everything or fails; tells how much was written either way.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Registry;

    #[test]
    fn failures_are_counted_and_lines_dropped() {
        let stats = Registry::new(1).control().access_log();
        let sink = Sink::open(Destination::File("/dev/full".into())).unwrap();
        for _ in 0..3 {
            assert!(sink.append(|lines| lines.extend_from_slice(b"line\n")));
            sink.write(&stats);
        }
        assert!(!sink.append(|_| {}), "nothing waits");
        assert_eq!((stats.write_failed.get(), stats.write_completed.get()), (3, 0));
        assert!(sink.lock().failing);
    }

    #[test]
    fn what_cannot_be_opened_names_the_place() {
        let error = Sink::open(Destination::from_path("/nowhere/at/all.log")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.log"), "{error}");
        assert_eq!(Destination::from_path("/dev/stdout"), Destination::Stdout);
    }
}

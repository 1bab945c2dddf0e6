//! Signals: SIGTERM and SIGINT end the process in order, a second one at once; SIGUSR1 reopens logs.

use std::fmt;
use std::io;

use tokio::signal::unix::{self, SignalKind, signal};

/// A signal that the process listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: finish what is in flight, then end.
    Terminate,
    /// SIGINT, by Ctrl-C: likewise.
    Interrupt,
    /// SIGUSR1: open access logs anew, as somebody has moved the files.
    User1,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::User1 => "SIGUSR1",
        })
    }
}

/// The signals that have come in and were not looked at.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    user1: unix::Signal,
}

impl Signals {
    /// Listens from now on. Needs a runtime.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next signal. Safe to cancel.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.user1.recv() => Signal::User1,
        }
    }

    /// The next signal that asks for the end. Safe to cancel.
    pub async fn end(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::User1 => {}
                signal => return signal,
            }
        }
    }
}

//! Origins that do exactly what a list of steps says, for everything a proper server would not do.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::Stream;

/// What an origin does on each connection, step by step; the connection is closed after the last one.
#[derive(Clone, Debug, Default)]
pub struct Script {
    steps: Vec<Step>,
    again: bool,
}

#[derive(Clone, Debug)]
enum Step {
    ReadHead,
    Read(usize),
    ReadToEnd,
    Send(Vec<u8>),
    Pause(Duration),
    Finish,
    Reset,
}

impl Script {
    /// No steps: accepts and closes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads up to the end of a request head (an empty line). What follows the head stays unread.
    #[must_use]
    pub fn read_head(self) -> Self {
        self.then(Step::ReadHead)
    }

    /// Reads this many bytes.
    #[must_use]
    pub fn read(self, count: usize) -> Self {
        self.then(Step::Read(count))
    }

    /// Reads until the client ends its direction or resets. As the last step: holds the connection open.
    #[must_use]
    pub fn read_to_end(self) -> Self {
        self.then(Step::ReadToEnd)
    }

    /// Sends these bytes.
    #[must_use]
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Sends these bytes one at a time, with `pause` after each.
    #[must_use]
    pub fn drip(self, bytes: impl AsRef<[u8]>, pause: Duration) -> Self {
        bytes.as_ref().iter().fold(self, |script, byte| script.send([*byte]).pause(pause))
    }

    /// Sends the head of a 200 with `length` as its Content-Length and nothing of the body.
    #[must_use]
    pub fn send_head(self, length: usize) -> Self {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))
    }

    /// Waits: what is under test here is the other side's patience.
    #[must_use]
    pub fn pause(self, time: Duration) -> Self {
        self.then(Step::Pause(time))
    }

    /// Ends its own direction (FIN) and goes on.
    #[must_use]
    pub fn finish(self) -> Self {
        self.then(Step::Finish)
    }

    /// Closes with a reset (RST).
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// Starts over after the last step instead of closing: keep-alive.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Runs on one connection; ends early when the client is gone.
    pub(super) async fn run(&self, mut stream: Box<dyn Stream>, heads: &AtomicUsize) {
        loop {
            for step in &self.steps {
                if step.run(stream.as_mut(), heads).await.is_err() {
                    return;
                }
            }
            if !self.again {
                // Nothing unread may turn the orderly close into a reset, unless that was asked for.
                let reset = self.steps.iter().any(|step| matches!(step, Step::Reset));
                if !reset {
                    let _ = stream.shutdown().await;
                }
                return;
            }
        }
    }
}

impl Step {
    async fn run(&self, stream: &mut dyn Stream, heads: &AtomicUsize) -> io::Result<()> {
        match self {
            Self::ReadHead => {
                read_head(stream).await?;
                heads.fetch_add(1, Ordering::SeqCst);
            }
            Self::Read(count) => {
                stream.read_exact(&mut vec![0; *count]).await?;
            }
            Self::ReadToEnd => {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await? > 0 {}
            }
            Self::Send(bytes) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
            }
            Self::Pause(time) => sleep(*time).await,
            Self::Finish => stream.shutdown().await?,
            Self::Reset => stream.reset_on_close(),
        }
        Ok(())
    }
}

/// Byte by byte, so that what follows stays in the socket for the next step.
async fn read_head(stream: &mut dyn Stream) -> io::Result<()> {
    let mut last = [0_u8; 4];
    while last != *b"\r\n\r\n" {
        last.rotate_left(1);
        stream.read_exact(&mut last[3..]).await?;
    }
    Ok(())
}

//! One direction of a connection: read from one socket, written to the other, until the end of the
//! stream has been passed on. `super` says why it works the way it does.

use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::Pools;
use super::pool::PipeLoan;
use super::relay::Flow;
use crate::buffer::{self, Buffer};
use crate::io::Io;

/// What a direction may move in one go before other tasks get their turn.
const TURN: usize = 1 << 20;

/// Bytes on their way from one socket to another.
#[derive(Debug)]
pub(super) struct Direction {
    stage: Stage,
    cargo: Cargo,
    /// Whether the next read is expected to bring much.
    bulk: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The end of the stream has been read; what is on board still has to be written.
    Ending,
    /// The end has been passed on, or the receiver takes nothing more.
    Done,
}

/// What has been read and not yet written. An empty buffer or pipe is kept only within one turn.
#[derive(Debug)]
enum Cargo {
    Nothing,
    Buffer(Buffer),
    Pipe(PipeLoan),
}

/// The surroundings of a direction.
pub(super) struct Between<'a> {
    pub(super) from: &'a mut Io,
    pub(super) to: &'a mut Io,
    pub(super) pools: &'a Pools,
    pub(super) flow: &'a Flow,
    /// Whether the opposite direction has ended: then the sockets are closed next, and there is no
    /// need for a FIN of its own.
    pub(super) last: bool,
}

/// A direction that could not go on, and at which end.
#[derive(Debug)]
pub(super) enum Fault {
    Read(io::Error),
    Write(io::Error),
}

impl Direction {
    /// A direction on which `first` has been read already.
    pub(super) fn new(first: Option<Buffer>) -> Self {
        let cargo = first.map_or(Cargo::Nothing, Cargo::Buffer);
        Self { stage: Stage::Open, cargo, bulk: true }
    }

    /// Whether there is nothing more to do.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Moves what can be moved. Ready when the end of the stream has been passed on, or a side
    /// failed; either way this direction is then done.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut between: Between<'_>,
    ) -> Poll<Result<(), Fault>> {
        let ended = ready!(self.advance(cx, &mut between));
        self.cargo = Cargo::Nothing;
        self.stage = Stage::Done;
        Poll::Ready(ended)
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        between: &mut Between<'_>,
    ) -> Poll<Result<(), Fault>> {
        let mut moved = 0;
        loop {
            ready!(self.drain(cx, between)).map_err(Fault::Write)?;
            if self.stage == Stage::Ending {
                return finish(cx, between).map_err(Fault::Write);
            }
            if moved >= TURN {
                self.cargo = Cargo::Nothing;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(filled) = self.fill(cx, between) else {
                self.cargo = Cargo::Nothing;
                // What is encrypted goes before anything is waited for.
                if let Poll::Ready(Err(error)) = Pin::new(&mut *between.to).poll_flush(cx) {
                    return Poll::Ready(Err(Fault::Write(error)));
                }
                return Poll::Pending;
            };
            match filled.map_err(Fault::Read)? {
                0 => self.stage = Stage::Ending,
                count => {
                    moved += count;
                    self.bulk = count >= buffer::SMALL;
                    between.flow.read(count);
                }
            }
        }
    }

    /// Writes all that is on board.
    fn drain(&mut self, cx: &mut Context<'_>, between: &mut Between<'_>) -> Poll<io::Result<()>> {
        loop {
            let written = match &mut self.cargo {
                Cargo::Buffer(buffer) if !buffer.is_empty() => {
                    let count = ready!(Pin::new(&mut *between.to).poll_write(cx, buffer.filled()))?;
                    buffer.consume(count);
                    count
                }
                Cargo::Pipe(pipe) if !pipe.is_empty() => {
                    let to = between.to.socket();
                    ready!(to.poll_write_ready(cx))?;
                    match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                        done => done?,
                    }
                }
                _ => return Poll::Ready(Ok(())),
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            between.flow.written(written);
        }
    }

    /// Reads what is there; nothing is on board. Zero is the end of the stream.
    fn fill(&mut self, cx: &mut Context<'_>, between: &mut Between<'_>) -> Poll<io::Result<usize>> {
        match (self.bulk, &*between.from, &*between.to) {
            (true, Io::Plain(_), Io::Plain(_)) => self.fill_pipe(cx, between),
            (true, ..) => self.fill_buffer(cx, between, buffer::LARGE),
            (false, ..) => self.fill_buffer(cx, between, buffer::SMALL),
        }
    }

    /// Reads into a pipe, or into a large buffer when there is none.
    fn fill_pipe(
        &mut self,
        cx: &mut Context<'_>,
        between: &mut Between<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(between.from.poll_read_ready(cx))?;
            if !matches!(self.cargo, Cargo::Pipe(_)) {
                self.cargo = between.pools.pipes.take().map_or(Cargo::Nothing, Cargo::Pipe);
            }
            let Cargo::Pipe(pipe) = &mut self.cargo else {
                return self.fill_buffer(cx, between, buffer::LARGE);
            };
            let from = between.from.socket();
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if is_unsupported(&error) => {
                    tracing::debug!(%error, "cannot splice, copying instead");
                    between.pools.pipes.splice_failed();
                    self.cargo = Cargo::Nothing;
                }
                filled => return Poll::Ready(filled),
            }
        }
    }

    /// Reads into a buffer of this size.
    fn fill_buffer(
        &mut self,
        cx: &mut Context<'_>,
        between: &mut Between<'_>,
        size: usize,
    ) -> Poll<io::Result<usize>> {
        let buffers = &between.pools.buffers;
        let mut buffer = match mem::replace(&mut self.cargo, Cargo::Nothing) {
            Cargo::Buffer(buffer) if buffer.capacity() == size => buffer,
            _ if size == buffer::SMALL => buffers.small(),
            _ => buffers.large(),
        };
        let mut room = ReadBuf::new(buffer.room());
        ready!(Pin::new(&mut *between.from).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        buffer.advance(count);
        self.cargo = Cargo::Buffer(buffer);
        Poll::Ready(Ok(count))
    }
}

/// Passes the end of the stream on.
fn finish(cx: &mut Context<'_>, between: &mut Between<'_>) -> Poll<io::Result<()>> {
    match &mut *between.to {
        to @ Io::Tls(_) => Pin::new(to).poll_shutdown(cx),
        #[cfg(test)]
        to @ Io::Simulated(_) => Pin::new(to).poll_shutdown(cx),
        Io::Plain(_) if between.last => Poll::Ready(Ok(())),
        Io::Plain(to) => Poll::Ready(match rustix::net::shutdown(to, Shutdown::Write) {
            // The receiver is gone already; its own direction tells how.
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            done => done.map_err(io::Error::from),
        }),
    }
}

/// Whether splice(2) refuses this kind of socket, as sandboxed kernels do.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

//! A pipe that splice(2) moves bytes through, from one socket to another, without copying them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// The size of a pipe in bytes: what an unprivileged process may ask for (`pipe-max-size`,
/// pipe(7)). Smaller ones gain nothing over copying.
pub(super) const PIPE_SIZE: usize = 1 << 20;

/// A pipe, and how many bytes are in it.
///
/// It is filled only while it is empty: then, and only then, a fill that would block means that the
/// socket is drained. With bytes in the pipe it could as well mean that the pipe has no slot left.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// Opens a pipe of [`PIPE_SIZE`] bytes.
    ///
    /// # Errors
    ///
    /// Out of descriptors, or large pipes are not to be had: their number per user is limited
    /// (`pipe-user-pages-soft`, pipe(7)).
    pub(super) fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&write, PIPE_SIZE)?;
        Ok(Self { read, write, held: 0 })
    }

    /// Whether no byte is in the pipe.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves what has arrived at `socket` into the pipe, which must be empty. Zero bytes are the
    /// end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing has arrived; what reading from the socket can fail with;
    /// `InvalidInput` when the socket cannot be spliced.
    pub(super) fn fill(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "WouldBlock would be ambiguous");
        let count = transfer(socket, &self.write, PIPE_SIZE)?;
        self.held = count;
        Ok(count)
    }

    /// Moves bytes from the pipe, which must not be empty, to `socket`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket takes no more; what writing to it can fail with.
    pub(super) fn drain(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let count = transfer(&self.read, socket, self.held)?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

fn transfer(from: &impl AsFd, to: &impl AsFd, count: usize) -> io::Result<usize> {
    loop {
        match splice(from, None, to, None, count, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    /// Both ends of a connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_pass_through_to_the_end_of_the_stream() {
        let (mut from, source) = connection();
        let (sink, mut to) = connection();
        source.set_nonblocking(true).unwrap();
        let mut pipe = Pipe::open().unwrap();
        assert_eq!(pipe.fill(&source).unwrap_err().kind(), ErrorKind::WouldBlock);

        from.write_all(b"hello").unwrap();
        from.shutdown(Shutdown::Write).unwrap();
        source.set_nonblocking(false).unwrap();
        assert_eq!(pipe.fill(&source).unwrap(), 5);
        assert!(!pipe.is_empty());
        assert_eq!(pipe.drain(&sink).unwrap(), 5);
        assert!(pipe.is_empty());
        assert_eq!(pipe.fill(&source).unwrap(), 0);

        drop(sink);
        let mut received = String::new();
        to.read_to_string(&mut received).unwrap();
        assert_eq!(received, "hello");
    }
}

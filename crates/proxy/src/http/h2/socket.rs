//! The socket under a client's HTTP/2 connection.
//!
//! `h2` flushes after each frame of data. What the streams of a connection say in one turn of its task gathers here
//! instead and is written at the end of the turn: one system call, and over TLS one record, for the answers of many.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::{Buffer, BufferPool, SMALL};
use crate::http::chain::HttpChain;
use crate::http::h1::Conn;
use crate::io::again;

/// What may gather before it is written all the same: it is memory that a client which does not read can hold.
const ENOUGH: usize = 4 * SMALL;

/// What `h2` reads from and writes to.
#[derive(Debug)]
pub struct Socket(Rc<RefCell<Shared>>);

/// The same socket, for the connection's task, which says when a turn is over.
#[derive(Debug)]
pub struct Turns(Rc<RefCell<Shared>>);

#[derive(Debug)]
struct Shared {
    /// Bytes that were read, and counted, before HTTP/2 was known.
    first: Option<Buffer>,
    conn: Conn,
    out: Gathering,
    http: Rc<HttpChain>,
}

/// One socket for both of its users.
pub fn socket(first: Option<Buffer>, conn: Conn, http: &Rc<HttpChain>) -> (Socket, Turns) {
    let out = Gathering::new(Rc::clone(&http.worker.buffers));
    let shared = Rc::new(RefCell::new(Shared { first, conn, out, http: Rc::clone(http) }));
    (Socket(Rc::clone(&shared)), Turns(shared))
}

impl Turns {
    /// Writes what has gathered. What the socket does not take now is written once it does: it wakes the task.
    pub fn end(&self, cx: &mut Context<'_>) {
        let socket = &mut *self.0.borrow_mut();
        socket.out.end_turn(socket.conn.io_mut(), cx);
        socket.count();
    }
}

impl Shared {
    fn count(&mut self) {
        let sent = std::mem::take(&mut self.out.sent);
        if sent > 0 {
            self.http.stats.downstream_cx_tx_bytes_total.add(sent as u64);
        }
    }
}

/// What is to be written to a socket.
#[derive(Debug)]
struct Gathering {
    pool: Rc<BufferPool>,
    gathered: Vec<u8>,
    /// How many of them are written.
    written: usize,
    /// Bytes that the socket took since somebody counted them.
    sent: usize,
    /// Why a turn's bytes could not be written: whoever reads or writes next is told.
    broken: Option<io::Error>,
}

impl Gathering {
    fn new(pool: Rc<BufferPool>) -> Self {
        Self { pool, gathered: Vec::new(), written: 0, sent: 0, broken: None }
    }

    fn check(&self) -> io::Result<()> {
        self.broken.as_ref().map_or(Ok(()), |error| Err(again(error)))
    }

    fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        // Much is written as it is, without a copy.
        if total > SMALL || self.gathered.len() + total > ENOUGH {
            ready!(self.poll_drain(io, cx))?;
        }
        if total > SMALL {
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, parts));
            return Poll::Ready(written.inspect(|n| self.sent += n));
        }
        if self.gathered.capacity() == 0 {
            self.gathered = self.pool.output();
        }
        for part in parts {
            self.gathered.extend_from_slice(part);
        }
        Poll::Ready(Ok(total))
    }

    fn poll_drain(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let rest = &self.gathered[self.written..];
            let n = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.sent += n;
        }
        self.written = 0;
        self.pool.give_output(std::mem::take(&mut self.gathered));
        Poll::Ready(Ok(()))
    }

    fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(io, cx))?;
        Pin::new(&mut *io).poll_flush(cx)
    }

    fn poll_shutdown(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(io, cx))?;
        Pin::new(&mut *io).poll_shutdown(cx)
    }

    fn end_turn(&mut self, io: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) {
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.poll_flush(io, cx)
        {
            self.broken = Some(error);
            cx.waker().wake_by_ref();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &mut *self.0.borrow_mut();
        socket.out.check()?;
        if let Some(first) = &mut socket.first {
            let n = first.filled().len().min(into.remaining());
            into.put_slice(&first.filled()[..n]);
            first.consume(n);
            if first.is_empty() {
                socket.first = None;
            }
            if n > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let before = into.filled().len();
        ready!(Pin::new(socket.conn.io_mut()).poll_read(cx, into))?;
        let n = into.filled().len() - before;
        socket.http.stats.downstream_cx_rx_bytes_total.add(n as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &mut *self.0.borrow_mut();
        let taken = socket.out.poll_write(socket.conn.io_mut(), cx, parts);
        socket.count();
        taken
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Done when the turn ends: see [`Turns::end`].
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow().out.check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &mut *self.0.borrow_mut();
        let shut = socket.out.poll_shutdown(socket.conn.io_mut(), cx);
        socket.count();
        shut
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;

    /// A socket that takes what it is told to, write by write, and then nothing more for now.
    #[derive(Debug, Default)]
    struct Peer {
        takes: VecDeque<io::Result<usize>>,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let Some(takes) = self.takes.pop_front() else { return Poll::Pending };
            let n = takes?.min(bytes.len());
            self.writes.push(bytes[..n].to_vec());
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Both together.
    struct Pair {
        io: Peer,
        out: Gathering,
    }

    fn taking(takes: impl IntoIterator<Item = io::Result<usize>>) -> Pair {
        let io = Peer { takes: takes.into_iter().collect(), writes: Vec::new() };
        Pair { io, out: Gathering::new(Rc::default()) }
    }

    fn write(pair: &mut Pair, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let cx = &mut Context::from_waker(Waker::noop());
        pair.out.poll_write(&mut pair.io, cx, &[IoSlice::new(bytes)])
    }

    fn end(pair: &mut Pair) {
        pair.out.end_turn(&mut pair.io, &mut Context::from_waker(Waker::noop()));
    }

    #[test]
    fn what_a_turn_says_goes_out_at_once() {
        let mut pair = taking([Ok(usize::MAX)]);
        for part in [b"one ", b"two ", b"six "] {
            assert!(matches!(write(&mut pair, part), Poll::Ready(Ok(4))));
        }
        assert_eq!(pair.io.writes.len(), 0);
        end(&mut pair);
        assert_eq!(pair.io.writes, [b"one two six ".to_vec()]);
        assert_eq!(
            (pair.out.sent, pair.out.gathered.capacity()),
            (12, 0),
            "an idle socket holds no buffer"
        );
    }

    #[test]
    fn what_the_socket_does_not_take_goes_out_later_and_in_order() {
        let mut pair = taking([Ok(2)]);
        assert!(write(&mut pair, b"abcd").is_ready());
        end(&mut pair);
        pair.io.takes.push_back(Ok(usize::MAX));
        assert!(write(&mut pair, b"ef").is_ready());
        end(&mut pair);
        assert_eq!(pair.io.writes, [b"ab".to_vec(), b"cdef".to_vec()]);
    }

    #[test]
    fn a_client_that_does_not_read_holds_no_more_than_enough() {
        let mut pair = taking([]);
        let chunk = vec![b'x'; SMALL];
        for _ in 0..ENOUGH / SMALL {
            assert!(write(&mut pair, &chunk).is_ready());
        }
        assert!(write(&mut pair, b"x").is_pending());
        assert_eq!(pair.out.gathered.len(), ENOUGH);
    }

    #[test]
    fn much_is_not_copied_and_stays_behind_what_came_before() {
        let mut pair = taking([Ok(usize::MAX), Ok(10)]);
        assert!(write(&mut pair, b"head").is_ready());
        assert!(matches!(write(&mut pair, &vec![b'x'; SMALL + 1]), Poll::Ready(Ok(10))));
        assert_eq!(pair.io.writes, [b"head".to_vec(), b"xxxxxxxxxx".to_vec()]);
    }

    #[test]
    fn a_broken_socket_is_told_to_whoever_writes_next() {
        let mut pair = taking([Err(io::ErrorKind::ConnectionReset.into())]);
        assert!(write(&mut pair, b"lost").is_ready());
        end(&mut pair);
        for _ in 0..2 {
            let error = write(&mut pair, b"x");
            assert!(
                matches!(error, Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset)
            );
        }
    }
}

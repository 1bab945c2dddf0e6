//! A connection to an endpoint that counts its bytes as they move.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::io::Io;
use crate::stats::{ClusterStats, Stats};

/// How often it is looked whether all is read: an endpoint that always has more to say is there.
const LOOKS: u8 = 3;

/// A connection whose bytes count at its cluster.
#[derive(Debug)]
pub(super) struct Counted<S> {
    io: Rc<RefCell<S>>,
    stats: Stats<ClusterStats>,
    received: Rc<Cell<u64>>,
    drained: Rc<Notify>,
}

/// What is known of what comes on a connection that another one reads. It does not keep the connection open.
#[derive(Debug)]
pub(super) struct Heard<S> {
    io: Weak<RefCell<S>>,
    received: Rc<Cell<u64>>,
    /// Told whenever all that had come is read.
    drained: Rc<Notify>,
}

impl<S> Counted<S> {
    /// Counts what moves on `io`.
    pub(super) fn new(io: S, stats: Stats<ClusterStats>) -> Self {
        let io = Rc::new(RefCell::new(io));
        Self { io, stats, received: Rc::default(), drained: Rc::default() }
    }

    /// What is known of what comes on it, now and later.
    pub(super) fn heard(&self) -> Heard<S> {
        Heard {
            io: Rc::downgrade(&self.io),
            received: Rc::clone(&self.received),
            drained: Rc::clone(&self.drained),
        }
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            self.stats.upstream_cx_tx_bytes_total.add(*n as u64);
        }
        written
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.drained.notify_waiters();
    }
}

impl<S> Heard<S> {
    /// How many bytes were received.
    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }
}

impl Heard<Io> {
    /// The connection, while it is open.
    #[cfg(test)]
    pub(super) fn io(&self) -> Option<Rc<RefCell<Io>>> {
        self.io.upgrade()
    }

    /// Waits until what has come by now is read, an end of the connection above all, of which the runtime may not have heard yet.
    /// One system call where nothing has come.
    pub(super) async fn catch_up(&self) {
        for _ in 0..LOOKS {
            let drained = self.drained.notified();
            match self.io.upgrade() {
                Some(io) if io.borrow().has_input() => {}
                _ => return,
            }
            drained.await;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut *self.io.borrow_mut()).poll_read(cx, into);
        match into.filled().len() - before {
            0 => self.drained.notify_waiters(),
            n => {
                self.stats.upstream_cx_rx_bytes_total.add(n as u64);
                self.received.set(self.received.get() + n as u64);
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.io.borrow_mut()).poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.io.borrow_mut()).poll_write_vectored(cx, parts);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.borrow().is_write_vectored()
    }
}

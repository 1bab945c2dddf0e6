//! A network in memory: what tests put in the place of sockets, on a clock and a thread of their own.
//!
//! It does what a Linux socket does where connections end: bytes that arrived are read before an end or a reset, a
//! close with unread bytes resets, and what is written to a peer that is gone is lost before the writer learns it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

/// What a direction holds at most: little, so that writers wait.
const CAPACITY: usize = 4 * 1024;

thread_local! {
    static NETWORK: RefCell<Option<mpsc::UnboundedSender<Dial>>> = const { RefCell::new(None) };
}

/// A connection that somebody wants. Dropping it refuses.
#[derive(Debug)]
pub(crate) struct Dial {
    /// Where to.
    pub(crate) address: SocketAddr,
    answer: oneshot::Sender<Socket>,
}

impl Dial {
    /// Waits until whoever wants it waits no more.
    pub(crate) async fn given_up(&mut self) {
        self.answer.closed().await;
    }

    /// Accepts: the other end.
    pub(crate) fn accept(self) -> Socket {
        let (ours, theirs) = pair();
        // Who has given up drops its end at once.
        let _ = self.answer.send(theirs);
        ours
    }
}

/// What this thread dials from now on comes out here.
pub(crate) fn network() -> mpsc::UnboundedReceiver<Dial> {
    let (dials, dialled) = mpsc::unbounded_channel();
    NETWORK.set(Some(dials));
    dialled
}

/// The connection, where the thread has a network of its own.
pub(super) fn dial(
    address: SocketAddr,
) -> Option<impl Future<Output = io::Result<Socket>> + Send + use<>> {
    let dials = NETWORK.with_borrow(Clone::clone)?;
    Some(async move {
        let (answer, answered) = oneshot::channel();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        dials.send(Dial { address, answer }).map_err(|_| refused())?;
        answered.await.map_err(|_| refused())
    })
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Way {
    bytes: VecDeque<u8>,
    ended: bool,
    reset: bool,
    /// Nobody reads any more.
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn wake_reader(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn wake_writer(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    fn has_news(&self) -> bool {
        !self.bytes.is_empty() || self.ended || self.reset
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Socket {
    receives: Arc<Mutex<Way>>,
    sends: Arc<Mutex<Way>>,
    breaks_off: bool,
}

/// Tells of one end of a connection whether the other is still held.
#[derive(Debug)]
pub(crate) struct Peer(Arc<Mutex<Way>>);

impl Peer {
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.0).deaf
    }
}

/// Both ends of a connection.
pub(crate) fn pair() -> (Socket, Socket) {
    let (there, back) = <(Arc<Mutex<Way>>, Arc<Mutex<Way>>)>::default();
    let end = |receives: &Arc<_>, sends: &Arc<_>| Socket {
        receives: Arc::clone(receives),
        sends: Arc::clone(sends),
        breaks_off: false,
    };
    (end(&there, &back), end(&back, &there))
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().expect("nobody panics with it")
}

impl Socket {
    /// Makes closing reset the connection.
    pub(crate) fn break_off(&mut self) {
        self.breaks_off = true;
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        Peer(Arc::clone(&self.sends))
    }

    /// Whether the peer has neither sent anything nor closed.
    pub(crate) fn is_quiet(&self) -> bool {
        !lock(&self.receives).has_news()
    }

    /// Waits until there is something to read, or the end.
    pub(crate) fn poll_read_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut way = lock(&self.receives);
        if way.has_news() {
            return Poll::Ready(Ok(()));
        }
        way.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut receives = lock(&self.receives);
        receives.deaf = true;
        receives.wake_writer();
        let resets = self.breaks_off || !receives.bytes.is_empty();
        drop(receives);
        let mut sends = lock(&self.sends);
        if resets {
            sends.reset = true;
        } else {
            sends.ended = true;
        }
        sends.wake_reader();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut way = lock(&self.receives);
        let n = way.bytes.len().min(into.remaining());
        if n > 0 {
            let (first, second) = way.bytes.as_slices();
            let first = &first[..first.len().min(n)];
            into.put_slice(first);
            into.put_slice(&second[..n - first.len()]);
            way.bytes.drain(..n);
            way.wake_writer();
            return Poll::Ready(Ok(()));
        }
        match (way.reset, way.ended) {
            (true, _) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            (false, true) => Poll::Ready(Ok(())),
            (false, false) => {
                way.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if lock(&self.receives).reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut way = lock(&self.sends);
        if way.deaf {
            drop(way);
            let mut answer = lock(&self.receives);
            answer.reset = true;
            answer.wake_reader();
            return Poll::Ready(Ok(bytes.len()));
        }
        let n = bytes.len().min(CAPACITY - way.bytes.len());
        if n == 0 && !bytes.is_empty() {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        way.bytes.extend(&bytes[..n]);
        way.wake_reader();
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = lock(&self.sends);
        way.ended = true;
        way.wake_reader();
        Poll::Ready(Ok(()))
    }
}

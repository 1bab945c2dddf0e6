//! Moving a message from one side to the other, with backpressure.

use std::io;
use std::task::{Context, Poll, ready};

use super::head::Headers;
use super::stream::{Recv, RecvError, Stream};

/// How far a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfer {
    /// Content is moved.
    #[default]
    Running,
    /// All is taken, and waits to be written.
    Flushing,
    /// All is written.
    Done,
    /// The receiver takes no more; the rest is not read.
    Abandoned,
}

/// Where a message comes from.
pub trait Source {
    /// As [`Stream::poll_recv`].
    ///
    /// # Errors
    /// The peer broke off, or broke the protocol.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>>;

    /// As [`Stream::consume`].
    fn consume(&mut self, n: usize);

    /// As [`Stream::take_trailers`].
    fn take_trailers(&mut self) -> Option<Box<Headers>>;
}

impl<S: Stream> Source for S {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        Stream::poll_recv(self, cx)
    }

    fn consume(&mut self, n: usize) {
        Stream::consume(self, n);
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        Stream::take_trailers(self)
    }
}

/// What of a message was moved.
#[derive(Debug, Default)]
pub struct Moved {
    /// Bytes of its content, in this attempt.
    pub content: u64,
    /// Most that an attempt before had moved of it.
    before: u64,
    /// Its trailers.
    pub trailers: Option<Box<Headers>>,
}

impl Moved {
    /// The message is moved again, from its beginning.
    pub fn rewind(&mut self) {
        self.before = self.total();
        self.content = 0;
    }

    /// Bytes of its content that were moved, those that were repeated once.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.content.max(self.before)
    }
}

/// Which side ended a transfer before its time.
#[derive(Debug)]
pub enum TransferError {
    /// The sender of the message.
    From(RecvError),
    /// The receiver of the message.
    To(io::Error),
}

impl Transfer {
    /// A message whose head is queued. `held` says that what follows the message is of another protocol, and
    /// waits until that is granted; the message itself must be over.
    #[must_use]
    pub fn start(held: bool) -> Self {
        if held { Self::Flushing } else { Self::Running }
    }

    /// Moves what can be moved. Ready when the whole message is written. What is taken in small pieces is
    /// written when the sender pauses, so that a message that is all there costs one system call.
    ///
    /// # Errors
    /// Which side failed.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Stream,
        moved: &mut Moved,
    ) -> Poll<Result<(), TransferError>> {
        loop {
            match self {
                Self::Running => match from.poll_recv(cx) {
                    Poll::Ready(Ok(Recv::Data(data))) => {
                        let taken = ready!(to.poll_send(cx, data)).map_err(TransferError::To)?;
                        from.consume(taken);
                        moved.content += taken as u64;
                    }
                    Poll::Ready(Ok(Recv::End)) => {
                        // They come once, and may be sent again.
                        if let Some(trailers) = from.take_trailers() {
                            moved.trailers = Some(trailers);
                        }
                        to.finish(moved.trailers.as_deref());
                        *self = Self::Flushing;
                    }
                    Poll::Ready(Err(error)) => {
                        // What came before the fault is delivered as far as it goes at once.
                        let _ = to.poll_flush(cx);
                        return Poll::Ready(Err(TransferError::From(error)));
                    }
                    Poll::Pending => {
                        if let Poll::Ready(Err(error)) = to.poll_flush(cx) {
                            return Poll::Ready(Err(TransferError::To(error)));
                        }
                        return Poll::Pending;
                    }
                },
                Self::Flushing => {
                    ready!(to.poll_flush(cx)).map_err(TransferError::To)?;
                    *self = Self::Done;
                }
                Self::Done | Self::Abandoned => return Poll::Ready(Ok(())),
            }
        }
    }
}

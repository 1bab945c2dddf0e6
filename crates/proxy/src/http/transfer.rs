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

/// What of a message was moved.
#[derive(Debug, Default)]
pub struct Moved {
    /// Bytes of its content.
    pub content: u64,
    /// Its trailers.
    pub trailers: Option<Box<Headers>>,
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
        from: &mut impl Stream,
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
                        moved.trailers = from.take_trailers();
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

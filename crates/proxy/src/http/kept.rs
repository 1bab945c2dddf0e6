//! A request's content, kept so that the request can be sent again.
//!
//! What is not kept goes from the client's buffer to the endpoint as before; what is kept is copied once, up to a
//! bound. Beyond that the request cannot be repeated any more, and the memory is given back.

use std::task::{Context, Poll, ready};

use super::head::Headers;
use super::stream::{Recv, RecvError};
use super::transfer::Source;

/// Content that came, and how much of it the current attempt has taken.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    taken: usize,
    /// Most bytes that are kept; none are while it is `None`.
    limit: Option<usize>,
    /// Whether content went that was not kept.
    lost: bool,
    /// Content that came, kept or not.
    came: u64,
}

impl Kept {
    /// Begins an attempt: content is sent from its beginning. From the first attempt on that says a `limit`, up to so
    /// many bytes are kept, unless some are gone already.
    pub fn rewind(&mut self, limit: Option<usize>) {
        self.taken = 0;
        if !self.lost {
            self.limit = self.limit.or(limit);
        }
    }

    /// Whether the request can be sent again with all of its content.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.lost
    }

    /// How much content came so far, in bytes.
    #[must_use]
    pub fn came(&self) -> u64 {
        self.came
    }

    /// Reads on while no attempt takes anything, as far as content is kept. Ready at the end of the content, and where no more
    /// is kept.
    ///
    /// # Errors
    /// The client broke off, or broke the protocol.
    pub fn poll_ahead<D: Source>(
        &mut self,
        down: &mut D,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RecvError>> {
        let Some(limit) = self.limit else { return Poll::Ready(Ok(())) };
        loop {
            let copied = match ready!(down.poll_recv(cx))? {
                Recv::Data(data) if self.bytes.len() + data.len() <= limit => {
                    self.bytes.extend_from_slice(data);
                    data.len()
                }
                Recv::Data(_) | Recv::End => return Poll::Ready(Ok(())),
            };
            self.came += copied as u64;
            down.consume(copied);
        }
    }

    /// Keeps nothing from here on: there will be no other attempt. What the current one has not taken yet stays.
    pub fn release(&mut self) {
        self.limit = None;
        self.give_back();
    }

    /// The client's side, as an attempt sees it.
    pub fn source<'s, D>(&'s mut self, down: &'s mut D) -> Replayed<'s, D> {
        Replayed { kept: self, down }
    }

    fn waits(&self) -> bool {
        self.taken < self.bytes.len()
    }

    fn give_back(&mut self) {
        if self.limit.is_none() && !self.waits() && !self.bytes.is_empty() {
            (self.bytes, self.taken, self.lost) = (Vec::new(), 0, true);
        }
    }
}

/// A request's content: what was kept, then what comes.
#[derive(Debug)]
pub struct Replayed<'s, D> {
    kept: &'s mut Kept,
    down: &'s mut D,
}

impl<D: Source> Source for Replayed<'_, D> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        let Self { kept, down } = self;
        if !kept.waits() {
            let Some(limit) = kept.limit else { return down.poll_recv(cx) };
            let copied = match ready!(down.poll_recv(cx))? {
                Recv::End => return Poll::Ready(Ok(Recv::End)),
                Recv::Data(data) if kept.bytes.len() + data.len() > limit => {
                    kept.limit = None;
                    kept.lost = true;
                    kept.give_back();
                    return down.poll_recv(cx);
                }
                Recv::Data(data) => {
                    kept.bytes.extend_from_slice(data);
                    data.len()
                }
            };
            kept.came += copied as u64;
            down.consume(copied);
        }
        Poll::Ready(Ok(Recv::Data(&kept.bytes[kept.taken..])))
    }

    fn consume(&mut self, n: usize) {
        if self.kept.waits() {
            self.kept.taken += n.min(self.kept.bytes.len() - self.kept.taken);
            self.kept.give_back();
        } else {
            self.kept.lost |= n > 0;
            self.kept.came += n as u64;
            self.down.consume(n);
        }
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        self.down.take_trailers()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::task::Waker;

    use super::*;
    use crate::http::stream::{Stream, Wire};

    /// Shows its pieces one after the other, then the end.
    struct Pieces(VecDeque<&'static [u8]>);

    impl Stream for Pieces {
        fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
            Poll::Ready(Ok(self.0.front().map_or(Recv::End, |piece| Recv::Data(piece))))
        }

        fn consume(&mut self, n: usize) {
            let rest = &self.0.pop_front().expect("a piece")[n..];
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }

        fn take_trailers(&mut self) -> Option<Box<Headers>> {
            None
        }

        fn received_all(&self) -> bool {
            self.0.is_empty()
        }

        fn poll_send(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn finish(&mut self, _: Option<&Headers>) {}

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn become_tunnel(&mut self) {}

        fn wire(&self) -> Option<Wire> {
            None
        }
    }

    fn pieces() -> Pieces {
        Pieces(["abc", "def", "gh"].map(str::as_bytes).into())
    }

    /// Takes up to `most` bytes, at most `step` at a time.
    fn read(kept: &mut Kept, down: &mut Pieces, step: usize, most: usize) -> Vec<u8> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        let mut source = kept.source(down);
        while all.len() < most
            && let Poll::Ready(Ok(Recv::Data(data))) = source.poll_recv(&mut cx)
        {
            let n = data.len().min(step).min(most - all.len());
            all.extend_from_slice(&data[..n]);
            source.consume(n);
        }
        all
    }

    #[test]
    fn what_is_kept_is_sent_again_from_its_beginning() {
        let (mut kept, mut down) = (Kept::default(), pieces());
        kept.rewind(Some(8));
        assert_eq!(read(&mut kept, &mut down, 2, 5), b"abcde");
        for _ in 0..2 {
            kept.rewind(None);
            assert_eq!(read(&mut kept, &mut down, 3, 9), b"abcdefgh");
            assert!(kept.is_whole());
        }
        kept.rewind(None);
        assert_eq!(read(&mut kept, &mut down, 3, 2), b"ab");
        kept.release();
        assert_eq!(read(&mut kept, &mut down, 3, 9), b"cdefgh");
        assert!(!kept.is_whole() && kept.bytes.capacity() == 0);
    }

    #[test]
    fn beyond_the_bound_nothing_is_kept() {
        let (mut kept, mut down) = (Kept::default(), pieces());
        kept.rewind(Some(5));
        assert_eq!(read(&mut kept, &mut down, 9, 9), b"abcdefgh");
        assert!(!kept.is_whole() && kept.bytes.capacity() == 0);
        kept.rewind(Some(100));
        assert_eq!(kept.limit, None, "some of it is gone");
    }

    #[test]
    fn content_that_nobody_keeps_is_not_copied() {
        let (mut kept, mut down) = (Kept::default(), pieces());
        kept.rewind(None);
        assert!(kept.is_whole(), "nothing of it has gone yet");
        assert_eq!(read(&mut kept, &mut down, 9, 9), b"abcdefgh");
        assert!(!kept.is_whole() && kept.bytes.capacity() == 0);
    }
}

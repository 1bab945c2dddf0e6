//! A request's content on its way to copies of the request.
//!
//! The request waits for no copy: what a copy has not sent yet is kept for it up to a bound, and a copy that falls behind
//! further is given up. All copies of a worker share a bound as well.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::head::Headers;
use super::stream::{Recv, RecvError, Stream};
use super::transfer::Source;

/// Most copies that a worker may have under way.
const MOST_COPIES: usize = 4096;

/// Most bytes that may wait in a worker for copies.
const MOST_BYTES: usize = 64 << 20;

/// How much content a request may give before other tasks of the worker, those of its copies among them, have a turn.
const TURN: usize = 64 * 1024;

/// What the copies of one worker take.
#[derive(Debug, Default)]
pub struct Room {
    copies: Cell<usize>,
    bytes: Cell<usize>,
}

impl Room {
    fn hold(&self, bytes: usize) -> bool {
        let held = self.bytes.get().saturating_add(bytes);
        let fits = held <= MOST_BYTES;
        if fits {
            self.bytes.set(held);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }
}

/// A way for content to a copy, of which at most `most` bytes may wait; `None` when there are as many copies as there
/// may be.
pub fn feed(room: &Rc<Room>, most: usize) -> Option<(Rc<Feed>, Intake)> {
    let copies = room.copies.get();
    if copies >= MOST_COPIES {
        return None;
    }
    room.copies.set(copies + 1);
    let fed = Fed { bytes: Vec::new(), unsent: 0, most, end: None, waker: None };
    let feed = Rc::new(Feed { room: Rc::clone(room), fed: RefCell::new(fed) });
    Some((Rc::clone(&feed), Intake { feed, taking: Vec::new(), taken: 0 }))
}

/// The request's end of the way.
#[derive(Debug)]
pub struct Feed {
    room: Rc<Room>,
    fed: RefCell<Fed>,
}

#[derive(Debug)]
struct Fed {
    /// What the copy has not taken over.
    bytes: Vec<u8>,
    /// How many bytes it has not sent, those that it has taken over among them.
    unsent: usize,
    /// Most that these may be.
    most: usize,
    end: Option<End>,
    /// The copy's task.
    waker: Option<Waker>,
}

/// How content ended.
#[derive(Debug)]
enum End {
    Complete(Option<Box<Headers>>),
    /// There is no more of the request, or nobody takes any more.
    Broken,
    /// The copy fell behind.
    GivenUp,
}

impl Feed {
    /// Gives content to the copy; whether it takes more.
    fn give(&self, data: &[u8]) -> bool {
        let mut fed = self.fed.borrow_mut();
        if fed.end.is_some() {
            return false;
        }
        let fits = fed.unsent.saturating_add(data.len()) <= fed.most;
        if fits && self.room.hold(data.len()) {
            fed.unsent += data.len();
            fed.bytes.extend_from_slice(data);
            wake(fed);
            return true;
        }
        self.finish(fed, End::GivenUp);
        false
    }

    /// There is no more; what was given is sent, and trailers.
    pub fn end(&self, trailers: Option<&Headers>) {
        self.finish(self.fed.borrow_mut(), End::Complete(trailers.cloned().map(Box::new)));
    }

    /// The first end counts.
    fn finish(&self, mut fed: RefMut<'_, Fed>, end: End) {
        if fed.end.is_none() {
            if !matches!(end, End::Complete(_)) {
                self.forget(&mut fed);
            }
            fed.end = Some(end);
        }
        wake(fed);
    }

    fn forget(&self, fed: &mut Fed) {
        self.room.release(std::mem::take(&mut fed.unsent));
        fed.bytes = Vec::new();
    }
}

/// Wakes the copy, when nobody looks at what it takes any more.
fn wake(mut fed: RefMut<'_, Fed>) {
    let waker = fed.waker.take();
    drop(fed);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The copy's end of the way.
#[derive(Debug)]
pub struct Intake {
    feed: Rc<Feed>,
    taking: Vec<u8>,
    taken: usize,
}

impl Intake {
    /// Ready when the request is over.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut fed = self.feed.fed.borrow_mut();
        if fed.end.is_some() {
            return Poll::Ready(());
        }
        fed.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the copy was given up because it fell behind.
    pub fn is_given_up(&self) -> bool {
        matches!(self.feed.fed.borrow().end, Some(End::GivenUp))
    }
}

impl Source for Intake {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        let Self { feed, taking, taken } = self;
        let mut fed = feed.fed.borrow_mut();
        if matches!(fed.end, Some(End::Broken | End::GivenUp)) {
            *taking = Vec::new();
            return Poll::Ready(Err(RecvError::Truncated));
        }
        if *taken == taking.len() {
            (*taking, *taken) = (std::mem::take(&mut fed.bytes), 0);
            if taking.is_empty() && fed.end.is_some() {
                return Poll::Ready(Ok(Recv::End));
            }
            if taking.is_empty() {
                fed.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(Recv::Data(taking.get(*taken..).unwrap_or_default())))
    }

    fn consume(&mut self, n: usize) {
        self.taken = self.taken.saturating_add(n).min(self.taking.len());
        let mut fed = self.feed.fed.borrow_mut();
        let sent = n.min(fed.unsent);
        fed.unsent -= sent;
        self.feed.room.release(sent);
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        match &mut self.feed.fed.borrow_mut().end {
            Some(End::Complete(trailers)) => trailers.take(),
            _ => None,
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let mut fed = self.feed.fed.borrow_mut();
        self.feed.forget(&mut fed);
        fed.end = Some(End::Broken);
        self.feed.room.copies.set(self.feed.room.copies.get().saturating_sub(1));
    }
}

/// The copies of a request that still take its content.
#[derive(Debug, Default)]
pub struct Copies {
    feeds: Vec<Rc<Feed>>,
    /// How much of what the client's side shows they have already.
    shown: usize,
    /// What they were given since other tasks had a turn.
    given: usize,
}

impl Copies {
    /// The copies that these feed.
    pub fn new(feeds: Vec<Rc<Feed>>) -> Self {
        Self { feeds, ..Self::default() }
    }

    /// The client's side: whoever reads it feeds them.
    pub fn tap<'s, D>(&'s mut self, down: &'s mut D) -> Tapped<'s, D> {
        Tapped { copies: self, down }
    }

    fn see(&mut self, data: &[u8]) {
        let new = data.get(self.shown..).unwrap_or_default();
        if !new.is_empty() {
            self.feeds.retain(|feed| feed.give(new));
            self.given += new.len();
        }
        self.shown = data.len();
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for feed in &self.feeds {
            feed.finish(feed.fed.borrow_mut(), End::Broken);
        }
    }
}

/// The client's side, beside which copies are fed.
#[derive(Debug)]
pub struct Tapped<'s, D> {
    copies: &'s mut Copies,
    down: &'s mut D,
}

impl<D: Stream> Source for Tapped<'_, D> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        let Self { copies, down } = self;
        if copies.given >= TURN && !copies.feeds.is_empty() {
            copies.given = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let shown = ready!(down.poll_recv(cx))?;
        if let Recv::Data(data) = &shown {
            copies.see(data);
        }
        Poll::Ready(Ok(shown))
    }

    fn consume(&mut self, n: usize) {
        self.copies.shown = self.copies.shown.saturating_sub(n);
        self.down.consume(n);
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        let trailers = self.down.take_trailers();
        for feed in self.copies.feeds.drain(..) {
            feed.end(trailers.as_deref());
        }
        trailers
    }
}

#[cfg(test)]
mod tests;

//! The pipes of a worker: taken by a direction that has much to move, given back when it is
//! drained.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::splice::Pipe;

/// How long no pipe is asked for after the kernel refused one.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Pipes of one worker.
#[derive(Debug, Default)]
pub struct PipePool {
    limits: PipeLimits,
    spare: RefCell<Vec<Pipe>>,
    lent: Cell<usize>,
    /// Until when the kernel is not asked for another pipe.
    refused_until: Cell<Option<Instant>>,
}

/// How many pipes a pool keeps and lends.
#[derive(Debug, Clone, Copy)]
pub struct PipeLimits {
    /// Pipes that are kept while they are not in use. Each is two descriptors.
    pub spare: usize,
    /// Pipes in use at a time: a bound on descriptors and on kernel memory (1 MiB each). Beyond it,
    /// directions copy. Zero turns splicing off.
    pub lent: usize,
}

/// A pipe on loan from a [`PipePool`]. It goes back when dropped, provided that it is empty.
#[derive(Debug)]
pub(super) struct PipeLoan {
    /// `None` only while it is being dropped.
    pipe: Option<Pipe>,
    pool: Rc<PipePool>,
}

impl Default for PipeLimits {
    fn default() -> Self {
        Self { spare: 16, lent: 64 }
    }
}

impl PipePool {
    /// An empty pool.
    #[must_use]
    pub fn new(limits: PipeLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// An empty pipe; `None` when there is none to be had, now or ever.
    pub(super) fn take(self: &Rc<Self>) -> Option<PipeLoan> {
        if self.lent.get() >= self.limits.lent {
            return None;
        }
        let spare = self.spare.borrow_mut().pop();
        let pipe = spare.or_else(|| self.open())?;
        self.lent.set(self.lent.get() + 1);
        Some(PipeLoan { pipe: Some(pipe), pool: Rc::clone(self) })
    }

    /// Asks the kernel for a pipe, unless it refused one a moment ago.
    fn open(&self) -> Option<Pipe> {
        if self.refused_until.get().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match Pipe::open() {
            Ok(pipe) => Some(pipe),
            Err(error) => {
                tracing::debug!(%error, "no pipe to splice through, copying instead");
                self.pause();
                None
            }
        }
    }

    /// Lends no pipe for a while: the kernel cannot splice what it was asked to.
    pub(super) fn splice_failed(&self) {
        self.spare.borrow_mut().clear();
        self.pause();
    }

    fn pause(&self) {
        self.refused_until.set(Some(Instant::now() + REFUSED_PAUSE));
    }

    /// Pipes in existence, and those of them that are not in use.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let spare = self.spare.borrow().len();
        (self.lent.get() + spare, spare)
    }
}

impl Deref for PipeLoan {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        self.pipe.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for PipeLoan {
    fn deref_mut(&mut self) -> &mut Pipe {
        self.pipe.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for PipeLoan {
    fn drop(&mut self) {
        self.pool.lent.set(self.pool.lent.get() - 1);
        let mut spare = self.pool.spare.borrow_mut();
        if let Some(pipe) = self.pipe.take()
            && pipe.is_empty()
            && spare.len() < self.pool.limits.spare
        {
            spare.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_come_back_up_to_the_limit() {
        let pool = Rc::new(PipePool::new(PipeLimits { spare: 1, lent: 3 }));
        let pipes: Vec<PipeLoan> = std::iter::from_fn(|| pool.take()).take(9).collect();
        assert_eq!(pipes.len(), 3, "no more than the limit is lent");
        drop(pipes);
        assert_eq!(pool.count(), (1, 1));
        let again = pool.take();
        assert_eq!((again.is_some(), pool.count()), (true, (1, 0)));
    }

    #[test]
    fn after_a_refusal_the_kernel_is_left_alone_for_a_while() {
        let pool = Rc::new(PipePool::default());
        drop(pool.take());
        pool.splice_failed();
        assert_eq!(pool.count(), (0, 0));
        assert!(pool.take().is_none());
    }
}

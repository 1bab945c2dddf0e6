//! The downstream connections of a worker, so that they can be told to take leave of their clients.
//!
//! None is broken off: a client may have sent a request that has not arrived yet, and HTTP/1 has no way to say that it was not looked
//! at. So a connection that is to go is given time, and says with its next answer that it was the last.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Worker;
use crate::config::listener::FilterChain;
use crate::timer::Deadline;

/// How long a connection whose terms do not hold any more is kept for another request, at most.
pub const LAST_REQUEST: Duration = Duration::from_secs(5);

/// How long a connection that is to close is kept in any case. Who has just connected is about to ask, and does not ask again
/// where the connection is reset; and what was on its way when it was to close has arrived by then.
pub const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The connections that are open.
#[derive(Debug, Default)]
pub struct Connections {
    open: RefCell<Slab<Entry>>,
    none_left: Notify,
}

#[derive(Debug)]
struct Entry {
    /// What serves it; none while its first bytes decide on that.
    chain: Option<Arc<FilterChain>>,
    leaves: Rc<Leaves>,
}

/// Woken to take leave of its client.
type Leaves = RefCell<Option<Waker>>;

/// One connection's place among the open ones, left when dropped.
#[derive(Debug)]
pub struct Registration {
    connections: Rc<Connections>,
    key: usize,
    leaves: Rc<Leaves>,
}

impl Connections {
    /// Enters a connection.
    pub fn register(self: &Rc<Self>) -> Registration {
        let leaves = Rc::<Leaves>::default();
        let entry = Entry { chain: None, leaves: Rc::clone(&leaves) };
        let key = self.open.borrow_mut().insert(entry);
        Registration { connections: Rc::clone(self), key, leaves }
    }

    /// Number of open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes connections of the chains for which `which` holds, to take leave.
    pub fn wake(&self, which: impl Fn(Option<&Arc<FilterChain>>) -> bool) {
        for (_, entry) in self.open.borrow().iter() {
            if let (true, Some(leaves)) = (which(entry.chain.as_ref()), &*entry.leaves.borrow()) {
                leaves.wake_by_ref();
            }
        }
    }

    /// Waits until none is open.
    pub async fn drained(&self) {
        while !self.is_empty() {
            self.none_left.notified().await;
        }
    }
}

impl Registration {
    /// Says that the connection waits, and is woken when it may have to take leave.
    pub fn takes_leave(&self, waker: &Waker) {
        let mut leaves = self.leaves.borrow_mut();
        match &mut *leaves {
            Some(known) => known.clone_from(waker),
            None => *leaves = Some(waker.clone()),
        }
    }

    /// Has something done before its client can ask for anything, such as a handshake. `None` when the worker drains and that
    /// takes too long.
    pub async fn prepare<T>(&self, worker: &Worker, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut timer = Deadline::default();
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            self.takes_leave(cx.waker());
            if worker.is_draining() && timer.at().is_none() {
                timer.set(Some(Instant::now() + FIRST_REQUEST));
            }
            timer.poll(cx).map(|()| None)
        })
        .await
    }

    /// Says what serves the connection, now that it is known, or from now on.
    pub fn set_chain(&self, chain: Arc<FilterChain>) {
        if let Some(entry) = self.connections.open.borrow_mut().get_mut(self.key) {
            entry.chain = Some(chain);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.connections.open.borrow_mut();
        open.try_remove(self.key);
        if open.is_empty() {
            self.connections.none_left.notify_waiters();
        }
    }
}

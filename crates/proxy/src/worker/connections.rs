//! The downstream connections of a worker, so that they can be closed when they are idle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::config::listener::FilterChain;

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
    state: Rc<State>,
    task: Option<AbortHandle>,
}

/// What a connection says of itself.
#[derive(Debug, Default)]
struct State {
    idle: Cell<bool>,
    /// Whether it was told to go, since it can be.
    told: Cell<bool>,
    /// Woken to take leave of its client.
    leaves: RefCell<Option<Waker>>,
}

/// One connection's place among the open ones, left when dropped.
#[derive(Debug)]
pub struct Registration {
    connections: Rc<Connections>,
    key: usize,
    state: Rc<State>,
}

impl Connections {
    /// Enters a connection.
    pub fn register(self: &Rc<Self>) -> Registration {
        let state = Rc::<State>::default();
        let entry = Entry { chain: None, state: Rc::clone(&state), task: None };
        let key = self.open.borrow_mut().insert(entry);
        Registration { connections: Rc::clone(self), key, state }
    }

    /// Says which task serves the connection entered under `key`.
    pub fn set_task(&self, key: usize, task: AbortHandle) {
        if let Some(entry) = self.open.borrow_mut().get_mut(key) {
            entry.task = Some(task);
        }
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

    /// Closes idle connections of the chains for which `which` holds; those that take leave of their clients are
    /// told to, idle or not.
    pub fn close_idle(&self, which: impl Fn(Option<&Arc<FilterChain>>) -> bool) {
        for (_, entry) in self.open.borrow().iter() {
            if !which(entry.chain.as_ref()) {
                continue;
            }
            let leaves = entry.state.leaves.borrow();
            match (&*leaves, &entry.task) {
                (Some(leaves), _) => {
                    entry.state.told.set(true);
                    leaves.wake_by_ref();
                }
                (None, Some(task)) if entry.state.idle.get() => task.abort(),
                (None, _) => {}
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
    /// Its key, for [`Connections::set_task`].
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }

    /// Says whether the connection waits for a request: it may then be closed at any moment.
    pub fn set_idle(&self, idle: bool) {
        self.state.idle.set(idle);
    }

    /// Says that the connection takes leave of its client by itself: it is woken for that, and never broken off.
    pub fn takes_leave(&self, waker: &Waker) {
        let mut leaves = self.state.leaves.borrow_mut();
        match &mut *leaves {
            Some(known) => known.clone_from(waker),
            None => *leaves = Some(waker.clone()),
        }
    }

    /// Whether it was told to take leave.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.state.told.get()
    }

    /// Says what serves the connection from now on, in place of a chain that is gone.
    pub fn follow(&self, chain: Arc<FilterChain>) {
        self.state.told.set(false);
        self.set_chain(chain);
    }

    /// Says what serves the connection, now that it is known.
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

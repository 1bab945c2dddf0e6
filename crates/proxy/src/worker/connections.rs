//! The downstream connections of a worker, so that they can be closed when they are idle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

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
    chain: Arc<FilterChain>,
    idle: Rc<Cell<bool>>,
    task: Option<AbortHandle>,
}

/// One connection's place among the open ones, left when dropped.
#[derive(Debug)]
pub struct Registration {
    connections: Rc<Connections>,
    key: usize,
    idle: Rc<Cell<bool>>,
}

impl Connections {
    /// Enters a connection.
    pub fn register(self: &Rc<Self>, chain: Arc<FilterChain>) -> Registration {
        let idle = Rc::new(Cell::new(false));
        let entry = Entry { chain, idle: Rc::clone(&idle), task: None };
        let key = self.open.borrow_mut().insert(entry);
        Registration { connections: Rc::clone(self), key, idle }
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

    /// Closes idle connections of the chains for which `which` holds.
    pub fn close_idle(&self, which: impl Fn(&Arc<FilterChain>) -> bool) {
        for (_, entry) in self.open.borrow().iter() {
            if entry.idle.get()
                && which(&entry.chain)
                && let Some(task) = &entry.task
            {
                task.abort();
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
        self.idle.set(idle);
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

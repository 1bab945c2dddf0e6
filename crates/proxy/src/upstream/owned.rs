//! Pools that are a client's own: where connections begin with who the client is, or come from its address, no two clients may use
//! one.
//!
//! Each stands beside the pool that all share, to the same endpoint, and is closed with its client's connection: nobody
//! else could use what is idle there. Envoy keeps that until its time is over.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::pool::Pool;
use super::proxy_header::Ends;
use super::source::ClientSource;

/// Whose connections those of a pool are.
#[derive(Debug)]
pub(super) struct Owner {
    /// The ends of the client's connection, if they have addresses.
    ends: Option<Ends>,
    /// The pool that all share.
    shared: Rc<Pool>,
}

/// The pools beside a shared one.
#[derive(Debug, Default)]
pub(super) struct Beside(RefCell<Vec<Weak<Pool>>>);

impl Beside {
    fn add(&self, pool: &Rc<Pool>) {
        let mut all = self.0.borrow_mut();
        // Those that are gone are forgotten before there is room for more.
        if all.len() == all.capacity() {
            all.retain(|pool| pool.strong_count() > 0);
        }
        all.push(Rc::downgrade(pool));
    }

    /// Those that are still there.
    pub(super) fn all(&self) -> Vec<Rc<Pool>> {
        self.0.borrow().iter().filter_map(Weak::upgrade).collect()
    }
}

impl Pool {
    /// A pool beside this one, for a client whose connection has these ends; its connections come from `source`.
    fn owned_by(self: &Rc<Self>, ends: Option<Ends>, source: Option<ClientSource>) -> Rc<Self> {
        let mut pool = Self::new(
            Arc::clone(&self.endpoint),
            self.endpoint_stats.clone(),
            self.stats.clone(),
            Rc::clone(&self.buffers),
        );
        pool.passes = self.passes;
        pool.source = source;
        pool.owner = Some(Owner { ends, shared: Rc::clone(self) });
        let pool = Rc::new(pool);
        self.beside.add(&pool);
        pool
    }

    /// The ends of the client's connection whose own it is.
    pub(super) fn client(&self) -> Option<Ends> {
        self.owner.as_ref().and_then(|owner| owner.ends)
    }

    fn is_beside(&self, shared: &Rc<Self>) -> bool {
        self.owner.as_ref().is_some_and(|owner| Rc::ptr_eq(&owner.shared, shared))
    }
}

/// The pools of one client, which are closed with its connection.
#[derive(Debug, Default)]
pub struct OwnPools(RefCell<Vec<Rc<Pool>>>);

impl OwnPools {
    /// The client's own pool beside `shared`; `ends` are those of its connection, and `source` is what those of the pool come from.
    pub fn beside(
        &self,
        shared: &Rc<Pool>,
        ends: Option<Ends>,
        source: Option<ClientSource>,
    ) -> Rc<Pool> {
        let mut own = self.0.borrow_mut();
        if let Some(pool) = own.iter().find(|pool| pool.is_beside(shared)) {
            return Rc::clone(pool);
        }
        // Nobody holds a pool without connections but this list.
        own.retain(|pool| Rc::strong_count(pool) > 1 && !pool.is_closed());
        let pool = shared.owned_by(ends, source);
        own.push(Rc::clone(&pool));
        pool
    }
}

impl Drop for OwnPools {
    fn drop(&mut self) {
        self.0.take().iter().for_each(|pool| pool.close());
    }
}

//! A worker's listeners by address, for connections that one of them takes and another one serves.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use super::LocalListener;
use crate::config::listener::{canonical, handed_on_to};

/// The listeners that serve, whether they have sockets of their own or not. One that is stopped is none of them.
#[derive(Debug, Default)]
pub struct Listening(RefCell<HashMap<SocketAddr, Weak<LocalListener>>>);

impl Listening {
    /// A listener serves at an address.
    pub fn enter(&self, address: SocketAddr, listener: &Rc<LocalListener>) {
        self.0.borrow_mut().insert(canonical(address), Rc::downgrade(listener));
    }

    /// A listener takes no more connections.
    pub fn leave(&self, listener: &Rc<LocalListener>) {
        let is_other = |other: &Weak<_>| !std::ptr::eq(other.as_ptr(), Rc::as_ptr(listener));
        self.0.borrow_mut().retain(|_, other| is_other(other));
    }

    /// The listener for connections that were dialled to an address.
    #[must_use]
    pub fn of(&self, dialled: SocketAddr) -> Option<Rc<LocalListener>> {
        let all = self.0.borrow();
        handed_on_to(dialled).iter().find_map(|address| all.get(address)?.upgrade())
    }
}

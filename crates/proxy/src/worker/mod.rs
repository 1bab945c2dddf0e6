//! A worker: one thread, one single-threaded runtime, everything a request needs within reach.
//!
//! Workers share only what is immutable (configuration, swapped as a whole) or atomic (limits). Nothing on
//! the request path takes a lock that another worker could hold.

mod connections;
pub mod fleet;
mod places;
pub mod thread;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

pub use connections::{Connections, FIRST_REQUEST, LAST_REQUEST, Registration};
pub use fleet::Fleet;
pub use places::{Place, Places};

use crate::accesslog::Recorder;
use crate::buffer::BufferPool;
use crate::clock::Clock;
use crate::egress::{Desk, Post};
use crate::http::exchange::Scratch;
use crate::http::feed::Room;
use crate::listener::Listening;
use crate::random::Random;
use crate::stats::Scope;
use crate::tcp;
use crate::upstream::LocalClusters;

/// Heads that a worker keeps for reuse at most.
const KEEP_SCRATCH: usize = 256;

/// What the tasks of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// Number of the worker, from 0.
    pub index: usize,
    /// Its counts.
    pub stats: Scope,
    /// Its free buffers.
    pub buffers: Rc<BufferPool>,
    /// What its TCP connections share.
    pub tcp: tcp::Pools,
    /// Its connections to upstreams.
    pub clusters: LocalClusters,
    /// What the copies of its requests take.
    pub copies: Rc<Room>,
    /// Its way to the access logs.
    pub recorder: Recorder,
    /// Where it hands in what it lets not out.
    pub egress: Desk,
    /// Its random numbers.
    pub random: Random,
    /// Its clock.
    pub clock: Clock,
    /// Heads that wait for the next request.
    #[allow(clippy::vec_box, reason = "heads move between here and a request as one pointer")]
    scratch: RefCell<Vec<Box<Scratch>>>,
    /// Its listeners by address, for connections that are handed on.
    pub listeners: Listening,
    /// Its downstream connections.
    pub connections: Rc<Connections>,
    /// Places for its clients, shared by all workers.
    pub places: Arc<Places>,
    draining: Cell<bool>,
    next_connection: Cell<u64>,
}

impl Worker {
    /// A worker without connections. What it refuses to let out goes to `post`.
    #[must_use]
    pub(crate) fn new(
        index: usize,
        stats: Scope,
        recorder: Recorder,
        post: Option<Post>,
        places: Arc<Places>,
    ) -> Self {
        let egress = Desk::new(&stats, post);
        let buffers = Rc::<BufferPool>::default();
        Self {
            index,
            clusters: LocalClusters::new(stats.clone(), Rc::clone(&buffers)),
            tcp: tcp::Pools { buffers: Rc::clone(&buffers), pipes: Rc::default() },
            copies: Rc::default(),
            stats,
            buffers,
            recorder,
            egress,
            random: Random::default(),
            clock: Clock::default(),
            scratch: RefCell::default(),
            listeners: Listening::default(),
            connections: Rc::default(),
            places,
            draining: Cell::new(false),
            next_connection: Cell::new(0),
        }
    }

    /// Heads for a request: idle connections hold none.
    pub fn scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes heads back.
    pub fn give_scratch(&self, mut scratch: Box<Scratch>) {
        scratch.clear();
        let mut free = self.scratch.borrow_mut();
        if free.len() < KEEP_SCRATCH {
            free.push(scratch);
        }
    }

    /// Whether connections are to close after what they are doing.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Lets connections close after what they are doing; those of which nobody asks for anything when it does not come soon.
    pub fn drain(&self) {
        self.draining.set(true);
        self.connections.wake(|_| true);
    }

    /// A number for a connection, unique in the process: the worker's number is in its top bits.
    pub fn connection_id(&self) -> u64 {
        let next = self.next_connection.get() + 1;
        self.next_connection.set(next);
        ((self.index as u64) << 48) | next
    }
}

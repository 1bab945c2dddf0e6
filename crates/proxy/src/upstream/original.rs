//! Clusters that send to where clients dialled (`ORIGINAL_DST`): connections that were redirected to the proxy know that.
//!
//! An endpoint comes with the first connection for its address, and goes when it has no connection and none was made for
//! `cleanup_interval`, as in Envoy.

mod circle;
pub mod named;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(super) use circle::{Passing, dial};

use super::cluster::Endpoint;
use super::pool::Pool;
use super::source::ClientSource;
use crate::config::listener::canonical;

/// How many addresses a worker keeps for a cluster before it looks for those that nobody uses, without waiting for the interval, at
/// the least.
const MANY: usize = 4096;

/// How often a connection may pass the proxy: out of a workload, and into one. Istio's sidecars need two.
const PASSES: u8 = 2;

/// A connection that was redirected here, or led here as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Captured {
    /// Where its client dialled.
    pub dialled: SocketAddr,
    /// How often the proxy itself has dialled there for it already: what it dials may be redirected to it again.
    pub passes: u8,
}

impl Captured {
    /// What is known of a connection from `peer` that has come to our address `local`; `None` if it was not redirected. One system
    /// call.
    #[must_use]
    pub fn redirected(io: &TcpStream, peer: SocketAddr, local: SocketAddr) -> Option<Self> {
        let socket = SockRef::from(io);
        let dialled = match canonical(local) {
            SocketAddr::V4(_) => socket.original_dst_v4(),
            SocketAddr::V6(_) => socket.original_dst_v6(),
        };
        // Where the kernel tracks no connections, none is redirected.
        let dialled = dialled.ok()?.as_socket()?;
        (canonical(dialled) != canonical(local)).then(|| Self::to(dialled, peer))
    }

    /// What is known of a connection from `peer` that was dialled to an address.
    #[must_use]
    pub fn to(dialled: SocketAddr, peer: SocketAddr) -> Self {
        let plain = canonical(dialled);
        let dialled = if plain.is_ipv4() { plain } else { dialled };
        Self { dialled, passes: circle::passes(peer, dialled) }
    }

    /// Whether it goes round in a circle: what the proxy dials is redirected to the proxy.
    #[must_use]
    pub fn circles(self) -> bool {
        self.passes > PASSES
    }
}

/// The addresses that clients dialled, over all workers, as the endpoints of a cluster. Locked when a worker meets an address that is
/// new to it, or forgets one.
#[derive(Debug, Default)]
pub struct Originals {
    endpoints: Mutex<HashMap<SocketAddr, Shared>>,
    changes: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    endpoint: Arc<Endpoint>,
    /// How many pools lead there.
    pools: usize,
}

impl Originals {
    fn enter(&self, address: SocketAddr) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints();
        let shared = endpoints.entry(address).or_insert_with(|| {
            self.changes.fetch_add(1, Ordering::Relaxed);
            Shared { endpoint: Arc::new(Endpoint::new(address, None, 1)), pools: 0 }
        });
        shared.pools += 1;
        Arc::clone(&shared.endpoint)
    }

    /// A pool is gone.
    fn leave(&self, address: SocketAddr) {
        let mut endpoints = self.endpoints();
        let Some(shared) = endpoints.get_mut(&address) else { return };
        shared.pools -= 1;
        if shared.pools == 0 {
            self.changes.fetch_add(1, Ordering::Relaxed);
            endpoints.remove(&address);
        }
    }

    /// The endpoints now, by their address.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        let mut all: Vec<_> =
            self.endpoints().values().map(|shared| Arc::clone(&shared.endpoint)).collect();
        all.sort_by_key(|endpoint| endpoint.address.socket());
        all
    }

    /// How many there are, and how many have come and gone since this was asked last.
    pub fn take_changes(&self) -> (usize, u64) {
        (self.endpoints().len(), self.changes.swap(0, Ordering::Relaxed))
    }

    fn endpoints(&self) -> MutexGuard<'_, HashMap<SocketAddr, Shared>> {
        // Every change is whole, whoever panicked.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's connections to where clients dialled.
#[derive(Debug)]
pub struct LocalOriginals {
    pools: RefCell<HashMap<Whose, Kept>>,
    /// With how many it is looked for those that nobody uses: twice those that somebody used then, so that each costs a look or two.
    many: Cell<usize>,
    cleaned: Cell<Instant>,
}

/// Which connections share a pool: those to one address that have passed the proxy equally often, and come from one.
type Whose = (Captured, Option<ClientSource>);

#[derive(Debug)]
struct Kept {
    pool: Rc<Pool>,
    /// Whether it was picked since the last cleanup.
    used: Cell<bool>,
}

impl Kept {
    /// Whether nobody has a connection of it, nor waits for one.
    fn is_free(&self) -> bool {
        Rc::strong_count(&self.pool) == 1 && !self.pool.has_connections()
    }
}

impl Default for LocalOriginals {
    fn default() -> Self {
        let cleaned = Cell::new(Instant::now());
        Self { pools: RefCell::default(), many: Cell::new(MANY), cleaned }
    }
}

impl LocalOriginals {
    /// The pool for where a connection's client dialled, made by `make` if need be. Connections that have passed the proxy differently
    /// often share none, nor do those that come from different addresses.
    pub fn pick(
        &self,
        whose: Whose,
        all: &Originals,
        make: impl FnOnce(Arc<Endpoint>) -> Pool,
    ) -> Rc<Pool> {
        if let Some(kept) = self.pools.borrow().get(&whose) {
            kept.used.set(true);
            return Rc::clone(&kept.pool);
        }
        if self.pools.borrow().len() >= self.many.get() {
            self.forget(all, Kept::is_free);
        }
        let pool = Rc::new(make(all.enter(whose.0.dialled)));
        let kept = Kept { pool: Rc::clone(&pool), used: Cell::new(true) };
        self.pools.borrow_mut().insert(whose, kept);
        pool
    }

    /// Closes connections that have been idle for too long, and forgets addresses without any that were not dialled for
    /// `interval`.
    pub fn sweep(
        &self,
        now: Instant,
        (idle, interval): (Option<Duration>, Duration),
        all: &Originals,
    ) {
        for kept in self.pools.borrow().values() {
            kept.pool.sweep(now, idle);
        }
        if now - self.cleaned.get() >= interval {
            self.cleaned.set(now);
            self.forget(all, |kept| !kept.used.replace(false) && kept.is_free());
        }
    }

    /// Closes all.
    pub fn close(&self, all: &Originals) {
        self.forget(all, |_| true);
    }

    fn forget(&self, all: &Originals, which: impl Fn(&Kept) -> bool) {
        let mut pools = self.pools.borrow_mut();
        pools.retain(|(captured, _), kept| {
            let goes = which(kept);
            if goes {
                kept.pool.close();
                all.leave(captured.dialled);
            }
            !goes
        });
        self.many.set(MANY.max(2 * pools.len()));
    }
}

#[cfg(test)]
mod tests;

//! A client's connection as it counts, while it is open and when it closes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::time::Instant;

use super::chain::HttpChain;
use crate::config::listener::Codec;
use crate::stats::{HttpStats, Stats};

/// Counts a connection as open. Dropping it counts it as closed: by us and without a request under way, unless
/// something else was said before.
#[derive(Debug)]
pub struct Open {
    http: RefCell<Rc<HttpChain>>,
    /// Where it is counted, whatever chain it goes on with.
    stats: Stats<HttpStats>,
    opened: Instant,
    codec: Cell<Option<Codec>>,
    by_client: Cell<bool>,
    busy: Cell<bool>,
}

impl Open {
    /// A connection of which it is not known yet what it speaks.
    #[must_use]
    pub fn new(http: &Rc<HttpChain>) -> Self {
        http.stats.downstream_cx_total.inc();
        http.stats.downstream_cx_active.inc();
        Self {
            http: RefCell::new(Rc::clone(http)),
            stats: http.stats.clone(),
            opened: Instant::now(),
            codec: Cell::default(),
            by_client: Cell::default(),
            busy: Cell::default(),
        }
    }

    /// Says what it speaks.
    pub fn speaks(&self, codec: Codec) {
        let stats = &self.stats;
        let (total, active) = match codec {
            Codec::Http2 => (&stats.downstream_cx_http2_total, &stats.downstream_cx_http2_active),
            Codec::Auto | Codec::Http1 => {
                (&stats.downstream_cx_http1_total, &stats.downstream_cx_http1_active)
            }
        };
        total.inc();
        active.inc();
        self.codec.set(Some(codec));
    }

    /// Says which chain it goes on with.
    pub fn goes_on_with(&self, http: &Rc<HttpChain>) {
        self.http.replace(Rc::clone(http));
    }

    /// Says that the client closes it, not we.
    pub fn closed_by_client(&self) {
        self.by_client.set(true);
    }

    /// Says that it closes with a request under way.
    pub fn closes_busy(&self) {
        self.busy.set(true);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let stats = &self.stats;
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_active.dec();
        match self.codec.get() {
            None => {}
            Some(Codec::Http2) => stats.downstream_cx_http2_active.dec(),
            Some(Codec::Auto | Codec::Http1) => stats.downstream_cx_http1_active.dec(),
        }
        let (whole, busy) = if self.by_client.get() {
            (&stats.downstream_cx_destroy_remote, &stats.downstream_cx_destroy_remote_active_rq)
        } else {
            (&stats.downstream_cx_destroy_local, &stats.downstream_cx_destroy_local_active_rq)
        };
        whole.inc();
        if self.busy.get() {
            stats.downstream_cx_destroy_active_rq.inc();
            busy.inc();
        }
        if !self.by_client.get() && self.http.borrow().is_over() {
            stats.downstream_cx_drain_close.inc();
        }
        stats.downstream_cx_length_ms.record(self.opened.elapsed().as_millis() as u64);
    }
}

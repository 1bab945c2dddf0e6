//! The TCP proxy filter in one worker: picks a cluster and an endpoint, connects, relays, logs.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::{EndedBy, Pools, RelayLimits, Side, Tally, relay};
use crate::accesslog::{Field, Kind, Record, ResponseFlags};
use crate::buffer::Buffer;
use crate::config::listener::{FilterChain, Listener, TcpProxy};
use crate::egress::{Asked, At};
use crate::http::chain::Client;
use crate::io::Io;
use crate::remote::Remote;
use crate::stats::{Stats, TcpStats};
use crate::upstream::dialled::Dialled;
use crate::upstream::outlier::Seen;
use crate::upstream::pool::{ConnectError, Pool};
use crate::upstream::wrong_tls::Mistake;
use crate::upstream::{ClusterSlot, LocalCluster};
use crate::worker::Worker;

/// What the first record of a TLS connection begins with (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What the connections of one chain share in one worker.
#[derive(Debug)]
pub struct TcpChain {
    worker: Rc<Worker>,
    proxy: Arc<TcpProxy>,
    stats: Stats<TcpStats>,
    listener: Arc<str>,
    chain: Arc<FilterChain>,
    pools: Pools,
}

/// Why a connection has no upstream.
struct Refusal {
    flags: ResponseFlags,
    details: &'static str,
    failure: Option<String>,
    remote: Option<Remote>,
}

/// A connection to an endpoint that was dialled before a client had said anything.
pub struct Opened {
    slot: Arc<ClusterSlot>,
    cluster: Rc<LocalCluster>,
    dialled: Dialled,
    io: Io,
    /// When it was begun.
    started: (Instant, SystemTime),
}

impl Opened {
    /// Waits until the endpoint says something, or closes it; nothing where that cannot be known without reading.
    pub async fn speaks(&self) -> Option<()> {
        match &self.io {
            Io::Plain(io) => io.peek(&mut [0]).await.ok().map(drop),
            _ => None,
        }
    }
}

impl Refusal {
    fn new(flags: ResponseFlags, details: &'static str) -> Self {
        Self { flags, details, failure: None, remote: None }
    }
}

impl TcpChain {
    /// The chain `chain` of `listener`, whose filter is `proxy`.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        listener: &Listener,
        chain: Arc<FilterChain>,
        proxy: Arc<TcpProxy>,
    ) -> Self {
        Self {
            stats: worker.stats.tcp(&proxy.stat_prefix),
            listener: Arc::clone(&listener.name),
            pools: worker.tcp.clone(),
            worker,
            proxy,
            chain,
        }
    }

    /// Dials an endpoint for a client that has said nothing yet; nothing if there is none.
    pub async fn open(&self, client: &Client) -> Option<Opened> {
        let started = (Instant::now(), SystemTime::now());
        let slot = Arc::clone(self.proxy.clusters.next(|| self.worker.random.next()));
        let (dialled, io, cluster) = self.connect(&slot, client).await.ok()?;
        Some(Opened { slot, cluster, dialled, io, started })
    }

    /// Serves a connection to its end, to an endpoint that has spoken first.
    pub async fn carry(&self, client: Client, io: Io, opened: Opened) {
        self.stats.downstream_cx_total.inc();
        let Opened { slot, cluster, dialled, io: io_up, started: (started, wall) } = opened;
        let note = Note { chain: self, client: &client, slot: &slot, started, wall };
        self.relay(io, None, (dialled, io_up, cluster), note).await;
    }

    /// Whether connections to where this client dialled may not go out.
    pub fn refuses(&self, client: &Client) -> bool {
        self.chain.denies || self.worker.egress.is_astray(&self.chain, client.local.ip())
    }

    /// Refuses a connection that no name of the chain led to where it was dialled.
    pub fn refuse_astray(&self, client: &Client, first: Option<&Buffer>) {
        self.stats.downstream_cx_total.inc();
        let slot = self.proxy.clusters.next(|| self.worker.random.next());
        let (started, wall) = (Instant::now(), SystemTime::now());
        self.deny(client, first);
        let note = Note { chain: self, client, slot, started, wall };
        note.refused(&Refusal::new(ResponseFlags::NO_HEALTHY_UPSTREAM, "not_led_there_by_dns"));
    }

    /// Serves a connection to its end. `first` holds bytes that were read from it already.
    pub async fn serve(&self, client: Client, io: Io, first: Option<Buffer>) {
        self.stats.downstream_cx_total.inc();
        let (started, wall) = (Instant::now(), SystemTime::now());
        let slot = self.proxy.clusters.next(|| self.worker.random.next());
        let note = Note { chain: self, client: &client, slot, started, wall };
        if self.chain.denies {
            self.deny(&client, first.as_ref());
        }
        match self.connect(slot, &client).await {
            Ok(upstream) => self.relay(io, first, upstream, note).await,
            Err(refusal) => note.refused(&refusal),
        }
    }

    /// Carries bytes both ways until the connection ends, and notes how it did.
    async fn relay(
        &self,
        io: Io,
        first: Option<Buffer>,
        (dialled, io_up, cluster): (Dialled, Io, Rc<LocalCluster>),
        mut note: Note<'_>,
    ) {
        note.opened(&dialled, first.as_ref());
        let tally = Tally::default();
        if first.as_ref().is_some_and(begins_tls) {
            // It may be meant, and so goes on.
            cluster.cluster.tell_wrong_tls(Mistake::ClientInside);
        }
        let limits =
            RelayLimits { idle: self.proxy.idle_timeout, duration: self.proxy.max_duration };
        let outcome = relay(io, io_up, first, limits, &self.pools, &tally).await;
        cluster.stats.upstream_cx_rx_bytes_total.add(tally.upstream_received());
        cluster.stats.upstream_cx_tx_bytes_total.add(tally.upstream_sent());
        dialled.closes_busy();
        let by_us = matches!(
            outcome.ended_by,
            EndedBy::Idle | EndedBy::MaxDuration | EndedBy::Error { side: Side::Downstream, .. }
        );
        if !by_us {
            dialled.closed_by_endpoint();
        }
        let (flags, details) = self.judge(outcome.ended_by);
        self.stats.downstream_cx_rx_bytes_total.add(tally.received());
        self.stats.downstream_cx_tx_bytes_total.add(tally.sent());
        note.closed(flags, details, &dialled, &tally);
    }

    /// Notes a connection that may not go out. It has no endpoint, and so it is closed.
    fn deny(&self, client: &Client, first: Option<&Buffer>) {
        let name = client.server_name.as_deref();
        let tls = first.is_some_and(begins_tls);
        let asked = if tls || name.is_some() { Asked::Tls } else { Asked::Tcp };
        let FilterChain { egress_port, bounded_by, .. } = &*self.chain;
        let at = At { gateway: *egress_port, bounded_by: bounded_by.as_ref() };
        self.worker.egress.denied(asked, name.map(str::as_bytes), client, at);
    }

    async fn connect(
        &self,
        slot: &ClusterSlot,
        client: &Client,
    ) -> Result<(Dialled, Io, Rc<LocalCluster>), Refusal> {
        let Some(cluster) = self.worker.clusters.get(slot) else {
            self.stats.downstream_cx_no_route.inc();
            return Err(Refusal::new(ResponseFlags::NO_CLUSTER_FOUND, "cluster_not_found"));
        };
        cluster.cluster.use_when_ready().await;
        let mut last = None;
        for _ in 0..self.proxy.connect_attempts.max(1) {
            let pool = self.pick(&cluster, client).await.inspect_err(|_| {
                cluster.stats.upstream_cx_none_healthy.inc();
            })?;
            match pool.dial_for_tcp(&cluster).await {
                Ok((dialled, io)) => {
                    cluster.saw(&pool, Seen::Carried);
                    return Ok((dialled, io, cluster));
                }
                Err(ConnectError::Overflow) => {
                    return Err(Refusal::new(ResponseFlags::UPSTREAM_OVERFLOW, "overflow"));
                }
                Err(error) => {
                    if let Some(seen) = error.seen() {
                        cluster.saw(&pool, seen);
                    }
                    last = Some(Refusal {
                        failure: Some(error.to_string()),
                        remote: Some(pool.endpoint.address.clone()),
                        ..Refusal::new(ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "")
                    });
                }
            }
        }
        cluster.stats.upstream_cx_connect_attempts_exceeded.inc();
        let exceeded = ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
        Err(last.map_or_else(
            || Refusal::new(exceeded, ""),
            |last| Refusal { flags: last.flags | exceeded, ..last },
        ))
    }

    /// The endpoint: what the client names by SNI, where the cluster sends there.
    async fn pick(&self, cluster: &LocalCluster, client: &Client) -> Result<Rc<Pool>, Refusal> {
        if !cluster.sends_where_asked() {
            let picked = cluster.pick(Some(client), None, || self.worker.random.next());
            let none = || Refusal::new(ResponseFlags::NO_HEALTHY_UPSTREAM, "");
            return picked.ok_or_else(none);
        }
        let name = client.server_name.as_deref().unwrap_or_default();
        let asked = match self.proxy.sni_port {
            Some(port) if !name.is_empty() => format!("{name}:{port}"),
            _ => name.to_owned(),
        };
        cluster.pick_asked(asked.as_bytes(), client).await.map_err(|why| Refusal {
            failure: Some(why.to_string()),
            ..Refusal::new(ResponseFlags::DNS_RESOLUTION_FAILED, "dns_resolution_failure")
        })
    }

    /// What the end of a relay means in the log.
    fn judge(&self, ended_by: EndedBy) -> (ResponseFlags, &'static str) {
        match ended_by {
            EndedBy::Idle => {
                self.stats.idle_timeout.inc();
                (ResponseFlags::STREAM_IDLE_TIMEOUT, "tcp_session_idle_timeout")
            }
            EndedBy::MaxDuration => {
                self.stats.max_downstream_connection_duration.inc();
                (ResponseFlags::DURATION_TIMEOUT, "max_duration")
            }
            // A peer that resets instead of closing ends its session as well: Envoy flags neither.
            EndedBy::Error { .. } | EndedBy::Downstream | EndedBy::Upstream => {
                (ResponseFlags::NONE, "")
            }
        }
    }
}

/// Whether a client's first bytes begin TLS.
fn begins_tls(first: &Buffer) -> bool {
    first.filled().first() == Some(&TLS_HANDSHAKE)
}

/// Writes the records of one connection.
struct Note<'a> {
    chain: &'a TcpChain,
    client: &'a Client,
    slot: &'a ClusterSlot,
    started: Instant,
    wall: SystemTime,
}

impl Note<'_> {
    fn record(&self, kind: Kind) -> Option<Record> {
        let log = self.chain.proxy.log.as_ref()?;
        let mut record = Record::new(kind, self.wall, log);
        record.connection_id = self.client.id;
        record.timing.end = self.started.elapsed();
        record.set(Field::Cluster, self.slot.name.as_bytes());
        record.set(Field::Listener, self.chain.listener.as_bytes());
        record.set(Field::FilterChain, self.chain.chain.name.as_bytes());
        self.client.describe(&mut record);
        Some(record)
    }

    /// `first` has come before the endpoint was chosen.
    fn opened(&mut self, dialled: &Dialled, first: Option<&Buffer>) {
        if let Some(mut record) = self.record(Kind::TcpOpen) {
            record.upstream_remote = Some(dialled.remote.clone());
            record.upstream_local = dialled.local;
            record.upstream_connected = true;
            record.bytes.received = first.map_or(0, |first| first.filled().len() as u64);
            record.bytes.wire_received = record.bytes.received;
            self.chain.worker.recorder.record(record);
        }
    }

    fn closed(
        &self,
        flags: ResponseFlags,
        details: &'static str,
        dialled: &Dialled,
        tally: &Tally,
    ) {
        if let Some(mut record) = self.record(Kind::TcpClose) {
            record.flags = flags;
            record.upstream_remote = Some(dialled.remote.clone());
            record.upstream_connected = true;
            record.upstream_local = dialled.local;
            record.bytes.received = tally.received();
            record.bytes.sent = tally.sent();
            record.bytes.wire_received = tally.received();
            record.bytes.wire_sent = tally.sent();
            record.bytes.upstream_wire_received = tally.upstream_received();
            record.bytes.upstream_wire_sent = tally.upstream_sent();
            if !details.is_empty() {
                record.set(Field::ConnectionTermination, details);
            }
            self.chain.worker.recorder.record(record);
        }
    }

    fn refused(&self, refusal: &Refusal) {
        if let Some(mut record) = self.record(Kind::TcpClose) {
            record.flags = refusal.flags;
            record.upstream_remote.clone_from(&refusal.remote);
            if !refusal.details.is_empty() {
                record.set(Field::Details, refusal.details);
            }
            if let Some(failure) = &refusal.failure {
                record.set(Field::UpstreamFailure, failure);
            }
            self.chain.worker.recorder.record(record);
        }
    }
}

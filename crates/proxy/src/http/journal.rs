//! What is noted of an exchange while it runs: for the access log and the counts.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::chain::{Client, HttpChain};
use super::head::{Headers, RequestHead, ResponseHead, Version};
use super::stream::Wire;
use super::transfer::Moved;
use crate::accesslog::{Field, Kind, Protocol, Record, ResponseFlags, Traffic};
use crate::pipe::known;
use crate::remote::Remote;
use crate::stats::Held;

/// Details of an answer that is an endpoint's.
pub const VIA_UPSTREAM: &str = "via_upstream";

/// What was moved after the heads.
#[derive(Debug, Default)]
pub struct Bytes {
    /// Received from the client.
    pub received: Moved,
    /// Sent to the client.
    pub sent: Moved,
}

/// Notes on one exchange.
#[derive(Debug)]
pub struct Journal<'a> {
    /// Counts it as under way, however it ends.
    _active: Held<'a>,
    started: Instant,
    status: u16,
    flags: ResponseFlags,
    details: Cow<'static, str>,
    client: Option<SocketAddr>,
    upstream: Option<Remote>,
    /// Whether there was a connection to it.
    connected: bool,
    /// What moved on the endpoint's connection, if it is known; none if there was none.
    upstream_wire: Option<Option<Wire>>,
    /// What was moved after the heads.
    pub bytes: Bytes,
    record: Option<Box<Record>>,
}

impl<'a> Journal<'a> {
    /// Notes on a request that started at `started`.
    #[must_use]
    pub fn new(http: &'a HttpChain, client: &Client, version: Version, started: Instant) -> Self {
        http.stats.downstream_rq_total.inc();
        match version {
            Version::Http2 => http.stats.downstream_rq_http2_total.inc(),
            _ => http.stats.downstream_rq_http1_total.inc(),
        }
        let record = http.manager.log.as_ref().map(|log| {
            let wall = http.worker.clock.wall(started);
            let mut record = Box::new(Record::new(Kind::Http, wall, log));
            record.protocol = Some(protocol(version));
            record.connection_id = client.id;
            record.set(Field::Listener, http.listener.as_bytes());
            record.set(Field::FilterChain, http.chain.name.as_bytes());
            client.describe(&mut record);
            record
        });
        Self {
            _active: http.stats.downstream_rq_active.hold(),
            started,
            status: 0,
            flags: ResponseFlags::NONE,
            details: "".into(),
            client: None,
            upstream: None,
            connected: false,
            upstream_wire: None,
            bytes: Bytes::default(),
            record,
        }
    }

    /// Notes a text.
    pub fn set(&mut self, field: Field, value: impl AsRef<[u8]>) {
        if let Some(record) = &mut self.record {
            record.set(field, value);
        }
    }

    /// Notes the client's address, as far as it can be believed.
    pub fn set_client(&mut self, client: SocketAddr) {
        self.client = known(client);
        if let Some(record) = &mut self.record {
            record.downstream_remote = self.client;
        }
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// Notes why the exchange goes as it does.
    pub fn flag(&mut self, flags: ResponseFlags, details: impl Into<Cow<'static, str>>) {
        self.details = details.into();
        self.flags |= flags;
        if let Some(record) = &mut self.record {
            record.flags |= flags;
        }
    }

    /// Why the exchange goes as it does: flags, and words.
    #[must_use]
    pub fn reason(&self) -> (ResponseFlags, &str) {
        (self.flags, &self.details)
    }

    /// Whether an endpoint answered, and that is what the client gets.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.details == VIA_UPSTREAM
    }

    /// Notes that an endpoint is tried.
    pub fn attempt(&mut self) {
        if let Some(record) = &mut self.record {
            record.attempts += 1;
        }
    }

    /// Notes the endpoint that there was no connection to.
    pub fn unreached(&mut self, remote: &Remote) {
        self.tried(remote, false);
    }

    fn tried(&mut self, remote: &Remote, connected: bool) {
        self.upstream = Some(remote.clone());
        self.connected = connected;
        if let Some(record) = &mut self.record {
            record.upstream_remote = Some(remote.clone());
            record.upstream_connected = connected;
        }
    }

    /// Notes the connection that carries the request from `sent` on.
    pub fn upstream(
        &mut self,
        protocol: Protocol,
        local: Option<SocketAddr>,
        remote: &Remote,
        sent: Instant,
    ) {
        self.tried(remote, true);
        if let Some(record) = &mut self.record {
            record.upstream_local = local;
            record.upstream_protocol = Some(protocol);
            record.timing.upstream_first_sent = Some(sent - self.started);
        }
    }

    /// The endpoint.
    #[must_use]
    pub fn upstream_address(&self) -> Option<&Remote> {
        self.upstream.as_ref()
    }

    /// Whether there was a connection to the endpoint.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Notes that the request is complete; counts the first time only.
    pub fn request_received(&mut self) {
        if let Some(record) = &mut self.record {
            let started = self.started;
            record.timing.request_received.get_or_insert_with(|| started.elapsed());
        }
    }

    /// Notes that the endpoint's answer began at `now`, `took` after the request was sent.
    pub fn head_received(&mut self, now: Instant, took: Duration) {
        if let Some(record) = &mut self.record {
            record.timing.upstream_first_received = Some(now - self.started);
            record.upstream_service_time = Some(took);
        }
    }

    /// Notes the bytes of the exchange with the endpoint; of the last one, where there are several.
    pub fn upstream_wire(&mut self, wire: Option<Wire>) {
        self.upstream_wire = Some(wire);
    }

    /// Notes the status that the client is sent at `now`.
    pub fn responded(&mut self, status: u16, now: Instant) {
        self.status = status;
        if let Some(record) = &mut self.record {
            record.status = status;
            record.timing.first_sent = Some(now - self.started);
        }
    }

    /// Counts the exchange and hands its record to the log. `wire` is what the client's connection moved for it.
    pub fn finish(
        &mut self,
        http: &HttpChain,
        request: &RequestHead,
        response: &ResponseHead,
        wire: Option<Wire>,
    ) {
        let took = self.started.elapsed();
        http.stats.downstream_rq_time.record(took.as_millis() as u64);
        if self.status != 0 {
            http.stats.downstream_rq.count(self.status);
        }
        let (Some(mut record), Some(log)) = (self.record.take(), &http.manager.log) else {
            return;
        };
        record.timing.end = took;
        record.bytes = self.traffic(request, response, wire);
        record.set(Field::Details, &*self.details);
        record.capture_request(log.plan(), |name| match name {
            ":method" => some(request.method()),
            ":path" => some(request.path()),
            ":authority" => some(request.authority()),
            ":scheme" => some(request.scheme.as_str().as_bytes()),
            "x-envoy-original-path" => request.original_path(),
            name => request.headers.get(name.as_bytes()),
        });
        record.capture_metadata(log.plan(), |path| {
            request.noted.at(path).map(|value| value.to_string())
        });
        if self.status != 0 {
            record.capture_response(log.plan(), |name| response.headers.get(name.as_bytes()));
        }
        if let Some(trailers) = &self.bytes.sent.trailers {
            record.capture_trailers(log.plan(), |name| trailers.get(name.as_bytes()));
        }
        http.worker.recorder.record(record);
    }

    /// All that moved. Over HTTP/2, where what a connection carries is not one stream's, the wire's share is heads
    /// and contents.
    fn traffic(
        &self,
        request: &RequestHead,
        response: &ResponseHead,
        wire: Option<Wire>,
    ) -> Traffic {
        let Bytes { received, sent } = &self.bytes;
        let trailers = |moved: &Moved| moved.trailers.as_deref().map_or(0, Headers::size);
        let request_headers = request.size();
        let response_headers = if self.status == 0 { 0 } else { response.size() };
        let came = u64::from(request_headers) + received.total() + u64::from(trailers(received));
        let went = u64::from(response_headers) + sent.total() + u64::from(trailers(sent));
        let wire = wire.unwrap_or(Wire { received: came, sent: went });
        let mut traffic = Traffic {
            received: received.total(),
            sent: sent.total(),
            wire_received: wire.received,
            wire_sent: wire.sent,
            request_headers,
            response_headers,
            response_trailers: trailers(sent),
            ..Traffic::default()
        };
        if let Some(wire) = self.upstream_wire {
            let wire = wire.unwrap_or(Wire { received: went, sent: came });
            traffic.upstream_wire_received = wire.received;
            traffic.upstream_wire_sent = wire.sent;
        }
        traffic
    }
}

fn some(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::Http10 => Protocol::Http10,
        Version::Http11 => Protocol::Http11,
        Version::Http2 => Protocol::Http2,
    }
}

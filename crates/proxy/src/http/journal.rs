//! What is noted of an exchange while it runs: for the access log and the counts.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::chain::{Client, HttpChain};
use super::head::{RequestHead, ResponseHead, Version};
use crate::accesslog::{Field, Kind, Protocol, Record, ResponseFlags};

/// Body bytes moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes {
    /// Received from the client.
    pub received: u64,
    /// Sent to the client.
    pub sent: u64,
}

/// Notes on one exchange.
#[derive(Debug)]
pub struct Journal {
    started: Instant,
    status: u16,
    details: &'static str,
    client: Option<SocketAddr>,
    upstream: Option<SocketAddr>,
    /// Body bytes moved.
    pub bytes: Bytes,
    record: Option<Box<Record>>,
}

impl Journal {
    /// Notes on a request that started at `started`.
    #[must_use]
    pub fn new(http: &HttpChain, client: &Client, version: Version, started: Instant) -> Self {
        http.stats.downstream_rq_total.inc();
        http.stats.downstream_rq_active.inc();
        match version {
            Version::Http2 => http.stats.downstream_rq_http2_total.inc(),
            _ => http.stats.downstream_rq_http1_total.inc(),
        }
        let record = http.manager.log.as_ref().map(|log| {
            let wall = http.worker.clock.wall(started);
            let mut record = Box::new(Record::new(Kind::Http, wall, log));
            record.protocol = Some(protocol(version));
            record.connection_id = client.id;
            record.downstream_direct_remote = Some(client.peer);
            record.downstream_remote = Some(client.peer);
            record.downstream_local = Some(client.local);
            record.set(Field::Listener, http.listener.as_bytes());
            record.set(Field::FilterChain, http.chain.name.as_bytes());
            client.describe(&mut record);
            record
        });
        Self {
            started,
            status: 0,
            details: "",
            client: None,
            upstream: None,
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
        self.client = Some(client);
        if let Some(record) = &mut self.record {
            record.downstream_remote = Some(client);
        }
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// Notes why the exchange goes as it does.
    pub fn flag(&mut self, flags: ResponseFlags, details: &'static str) {
        self.details = details;
        if let Some(record) = &mut self.record {
            record.flags |= flags;
        }
    }

    /// Notes the endpoint that was tried.
    pub fn upstream_remote(&mut self, remote: SocketAddr) {
        self.upstream = Some(remote);
        if let Some(record) = &mut self.record {
            record.upstream_remote = Some(remote);
        }
    }

    /// Notes the connection that carries the request from `sent` on.
    pub fn upstream(
        &mut self,
        protocol: Protocol,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        sent: Instant,
    ) {
        self.upstream_remote(remote);
        if let Some(record) = &mut self.record {
            record.upstream_local = local;
            record.upstream_protocol = Some(protocol);
            record.timing.upstream_first_sent = Some(sent - self.started);
            record.attempts += 1;
        }
    }

    /// The endpoint.
    #[must_use]
    pub fn upstream_address(&self) -> Option<SocketAddr> {
        self.upstream
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

    /// Notes the status that the client is sent at `now`.
    pub fn responded(&mut self, status: u16, now: Instant) {
        self.status = status;
        if let Some(record) = &mut self.record {
            record.status = status;
            record.timing.first_sent = Some(now - self.started);
        }
    }

    /// Counts the exchange and hands its record to the log.
    pub fn finish(self, http: &HttpChain, request: &RequestHead, response: &ResponseHead) {
        let took = self.started.elapsed();
        http.stats.downstream_rq_active.dec();
        http.stats.downstream_rq_time.record(took.as_millis() as u64);
        if self.status != 0 {
            http.stats.downstream_rq.count(self.status);
        }
        let (Some(mut record), Some(log)) = (self.record, &http.manager.log) else {
            return;
        };
        record.timing.end = took;
        record.bytes.received = self.bytes.received;
        record.bytes.sent = self.bytes.sent;
        record.set(Field::Details, self.details);
        record.capture_request(log.plan(), |name| match name {
            ":method" => some(request.method()),
            ":path" => some(request.path()),
            ":authority" => some(request.authority()),
            ":scheme" => some(request.scheme.as_str().as_bytes()),
            "x-envoy-original-path" => request.original_path(),
            name => request.headers.get(name.as_bytes()),
        });
        if self.status != 0 {
            record.capture_response(log.plan(), |name| response.headers.get(name.as_bytes()));
        }
        http.worker.recorder.record(record);
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

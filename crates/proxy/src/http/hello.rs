//! A client that begins TLS where requests in plain text are read.
//!
//! It cannot read an answer in plain text, so it gets an alert, which its TLS library takes for what it is. What it did is said in the
//! log, and by the cluster to which the request would have gone, where the proxy begins TLS for it.

use std::future::poll_fn;
use std::io;
use std::time::Instant;

use super::Session;
use super::chain::HttpChain;
use super::h1::{Conn, server};
use super::head::RequestHead;
use crate::accesslog::{Field, Kind, Record, ResponseFlags};
use crate::egress::{Asked, At};
use crate::route::{Action, Decision, Route, RouteTable};
use crate::throttle::Throttle;
use crate::tls::ClientHello;
use crate::upstream::wrong_tls::Mistake;

/// A fatal alert, `handshake_failure` (RFC 8446 section 6), in a record of its own.
const ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

/// Why such a connection is over, in the log.
const DETAILS: &str = "tls_on_plain_http";

thread_local! {
    /// How many of them this worker tells of.
    static TOLD: Throttle = const { Throttle::new() };
}

/// Refuses the client and says why.
pub(super) async fn refuse(session: &Session, conn: &mut Conn, hello: &ClientHello) {
    let http = &session.http;
    http.stats.downstream_cx_protocol_error.inc();
    let name = hello.server_name.as_deref();
    let why = judge(session, name);
    log(session, name, &why);
    conn.discard();
    // Whoever is gone need not know.
    let _ = alert(conn).await;
    let _in_time = server::linger(conn, http.manager.delayed_close_timeout).await;
}

async fn alert(conn: &mut Conn) -> io::Result<()> {
    let mut rest = &ALERT[..];
    while !rest.is_empty() {
        let sent = poll_fn(|cx| conn.poll_send(cx, rest)).await?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    poll_fn(|cx| conn.poll_flush(cx)).await
}

/// What is wrong, as far as the host tells that the client names.
fn judge(session: &Session, name: Option<&str>) -> String {
    let http = &session.http;
    if let Some(wrong) = name.and_then(|name| begun_here(session, name)) {
        return wrong;
    }
    let host = name.unwrap_or("a host that it does not name");
    let why = format!(
        "the client begins TLS for {host} where plain HTTP is spoken: use http:// in the client, or give the port the protocol \
         HTTPS or TLS"
    );
    if let Some(kept_back) = TOLD.with(|told| told.pass(Instant::now())) {
        tracing::warn!(listener = %http.listener, peer = %session.client.peer, kept_back, "{why}");
    }
    why
}

/// What the cluster says to which a request for the host would go, if connections of that begin with TLS. Notes a host that may
/// not be asked at all.
fn begun_here(session: &Session, name: &str) -> Option<String> {
    let HttpChain { worker, .. } = &*session.http;
    let table = session.http.routes();
    match &meant(&table, name, worker.random.next())?.action {
        Action::Forward(forward) => {
            let target = forward.targets.next(|| worker.random.next());
            let local = worker.clusters.get(&target.cluster)?;
            local.cluster.tell_wrong_tls(Mistake::ClientAtRequests).map(|wrong| wrong.to_string())
        }
        Action::Direct(direct) if direct.denies => {
            let at = At::bounded(direct.bounded_by.as_ref());
            worker.egress.denied(Asked::Tls, Some(name.as_bytes()), &session.client, at);
            None
        }
        Action::Direct(_) | Action::Redirect(_) => None,
    }
}

/// Whether requests to a host would go to a cluster whose connections begin with TLS that a client is not to begin itself.
#[must_use]
pub fn is_begun(http: &HttpChain, host: &str) -> bool {
    let table = http.routes();
    let random = http.worker.random.next();
    let Some(Action::Forward(forward)) = meant(&table, host, random).map(|route| &route.action)
    else {
        return false;
    };
    let target = forward.targets.next(|| random);
    let cluster = http.worker.clusters.get(&target.cluster);
    cluster.is_some_and(|local| local.cluster.wrong_tls(Mistake::ClientAtRequests).is_some())
}

/// The route that a request to a host would take.
#[must_use]
pub fn meant<'t>(table: &'t RouteTable, host: &str, random: u64) -> Option<&'t Route> {
    let mut request = RequestHead::default();
    request.set_method(b"GET");
    request.set_authority(host.as_bytes());
    request.set_path(b"/");
    match table.decide(&request, random) {
        Decision::Route { route, .. } => Some(route),
        Decision::NoRoute(_) | Decision::NoVirtualHost => None,
    }
}

fn log(session: &Session, name: Option<&str>, why: &str) {
    let Session { http, client, .. } = session;
    let Some(log) = &http.manager.log else { return };
    let mut record = Record::new(Kind::Http, std::time::SystemTime::now(), log);
    record.flags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
    record.connection_id = client.id;
    record.set(Field::Listener, http.listener.as_bytes());
    record.set(Field::FilterChain, http.chain.name.as_bytes());
    record.set(Field::Details, DETAILS);
    record.set(Field::DownstreamFailure, why);
    // Istio's format shows this one, between spaces.
    record.set(Field::ConnectionTermination, why.replace(' ', "_"));
    client.describe(&mut record);
    if let Some(name) = name {
        record.set(Field::ServerName, name.as_bytes());
    }
    http.worker.recorder.record(record);
}

//! One fetch: a GET through a cluster, with all that bounds it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::keys::{KeySet, MAX_SET};
use super::{Origin, Retries};
use crate::upstream::cluster::UpstreamProtocol;
use crate::upstream::direct::{self, Connection};
use crate::upstream::fault::Fault;
use crate::upstream::{Cluster, ClusterSlot};

/// After so many bytes, an answer whose head has not ended is not read on; of one over HTTP/2, its size.
const MAX_HEAD: usize = 64 * 1024;

/// Why an attempt failed.
struct Failed {
    fault: Fault,
    /// Whether another one may do better: the answer was 5xx, or there was none.
    again: bool,
}

impl Failed {
    fn for_good(why: impl fmt::Display) -> Self {
        Self { fault: why.to_string().into(), again: false }
    }

    fn for_now(why: impl fmt::Display) -> Self {
        Self { fault: why.to_string().into(), again: true }
    }
}

/// Fetches keys. Redirects are not followed: whoever answers there was not named.
pub(super) async fn fetch(origin: Origin, slot: Arc<ClusterSlot>) -> Result<KeySet, Fault> {
    let Retries { most, pause, longest_pause } = origin.retries;
    let mut pause = pause;
    let mut left = most;
    loop {
        match attempt(&origin, &slot).await {
            Ok(text) => return Ok(KeySet::parse(&text)?),
            Err(failed) if !failed.again || left == 0 => return Err(failed.fault),
            Err(_) => {}
        }
        left -= 1;
        sleep(pause.mul_f64(fastrand::f64())).await;
        pause = longest_pause.min(pause.saturating_mul(2));
    }
}

async fn attempt(origin: &Origin, slot: &ClusterSlot) -> Result<Vec<u8>, Failed> {
    let cluster = slot.load().ok_or_else(|| Failed::for_good("there is no such cluster"))?;
    if origin.uri.scheme_str() == Some("https") && cluster.tls.is_none() {
        return Err(Failed::for_good("its address begins with https, and the cluster has no TLS"));
    }
    cluster.use_when_ready().await;
    let protocol = cluster.http.protocol.unwrap_or_default();
    let alpn: &[u8] = match protocol {
        UpstreamProtocol::Http1 => b"http/1.1",
        UpstreamProtocol::Http2 => b"h2",
    };
    let host = origin.uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let connection = reach(&cluster, host, alpn).await;
    let connection = connection.map_err(|fault| Failed { fault, again: true })?;
    let at = connection.endpoint.address.clone();
    let asked = async {
        let mut running = JoinSet::new();
        let answer = match protocol {
            UpstreamProtocol::Http1 => over_http1(connection, &origin.uri, &mut running).await?,
            UpstreamProtocol::Http2 => over_http2(connection, &origin.uri, &mut running).await?,
        };
        content(answer).await
    };
    asked.await.map_err(|failed: Failed| Failed {
        fault: Fault { at: Some(at), ..failed.fault },
        ..failed
    })
}

async fn reach(cluster: &Cluster, host: &str, alpn: &[u8]) -> Result<Connection, Fault> {
    let limit: Duration = cluster.connect_timeout;
    match timeout(limit, direct::connect(cluster, Some(host), alpn)).await {
        Ok(connected) => connected,
        Err(_) => Err(format!("no connection within {limit:?}").into()),
    }
}

async fn over_http1(
    connection: Connection,
    uri: &Uri,
    running: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Failed> {
    let mut client = http1::Builder::new();
    client.max_buf_size(MAX_HEAD);
    let (mut sender, driver) =
        client.handshake(TokioIo::new(connection.io)).await.map_err(Failed::for_now)?;
    running.spawn(async move {
        // The answer tells of its end as well, with the reason.
        let _ = driver.await;
    });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = asked(path, Version::HTTP_11)
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .body(Empty::<Bytes>::new())
        .map_err(Failed::for_good)?;
    sender.send_request(request).await.map_err(Failed::for_now)
}

async fn over_http2(
    connection: Connection,
    uri: &Uri,
    running: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Failed> {
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.max_header_list_size(MAX_HEAD as u32);
    let (mut sender, driver) =
        client.handshake(TokioIo::new(connection.io)).await.map_err(Failed::for_now)?;
    running.spawn(async move {
        let _ = driver.await;
    });
    let request = asked(&uri.to_string(), Version::HTTP_2)
        .body(Empty::<Bytes>::new())
        .map_err(Failed::for_good)?;
    sender.send_request(request).await.map_err(Failed::for_now)
}

fn asked(target: &str, version: Version) -> http::request::Builder {
    Request::get(target)
        .version(version)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
}

/// The content of an answer that has one, within bounds.
async fn content(answer: Response<Incoming>) -> Result<Vec<u8>, Failed> {
    let status = answer.status();
    if status != StatusCode::OK {
        let why = format!("it answers {status}");
        return Err(Failed { fault: why.into(), again: status.is_server_error() });
    }
    let mut body = answer.into_body();
    let too_long = || Failed::for_good(format_args!("it sends more than {MAX_SET} bytes"));
    if body.size_hint().lower() > MAX_SET as u64 {
        return Err(too_long());
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Failed::for_now)?;
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > MAX_SET {
            return Err(too_long());
        }
        whole.extend_from_slice(data);
    }
    if whole.is_empty() {
        return Err(Failed::for_good("its answer is empty"));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests;

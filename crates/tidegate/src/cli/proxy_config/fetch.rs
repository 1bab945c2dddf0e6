//! Requests of the admin interface.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use crate::failure::{Failure, Outcome};

/// A dump of 100,000 routes takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The JSON at `path`.
///
/// # Errors
/// Nobody answers there, or something else than an admin interface does.
pub fn json(admin: SocketAddr, path: &str) -> Outcome<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let fetched = runtime.block_on(async { timeout(PATIENCE, get(admin, path)).await });
    let body = match fetched {
        Ok(Ok(body)) => body,
        Ok(Err(reason)) => return Err(failure(admin, &reason)),
        Err(_) => return Err(failure(admin, &format!("no answer within {PATIENCE:?}"))),
    };
    serde_json::from_slice(&body).map_err(|error| failure(admin, &format!("{path}: {error}")))
}

async fn get(admin: SocketAddr, path: &str) -> Result<Bytes, String> {
    match ask(Method::GET, admin, path, Bytes::new()).await? {
        (status, body) if status.is_success() => Ok(body),
        (status, _) => Err(format!("{path} is answered with {status}")),
    }
}

/// Sends one request, and gives the status and the body of the answer.
///
/// # Errors
/// Nobody answers there, in words.
pub async fn ask(
    method: Method,
    at: impl ToSocketAddrs,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), String> {
    let stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
    let host = stream.peer_addr().map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host.to_string())
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    connection.abort();
    Ok((status, body.to_bytes()))
}

fn failure(admin: SocketAddr, reason: &str) -> Failure {
    Failure::new(format!("the admin interface at {admin}: {reason}"))
        .or("tidegate up, if nothing runs")
        .or("--admin ADDRESS:PORT, if it listens elsewhere: `tidegate up` prints where")
}

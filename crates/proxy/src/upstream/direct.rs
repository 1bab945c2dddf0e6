//! Connections to endpoints from the control side of the process, which has no pools: for what it asks servers itself.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::balance::Balancer;
use super::cluster::{Balancing, Keepalive, Secure};
use super::fault::Fault;
use super::proxy_header::Ends;
use super::{Cluster, Endpoint};
use crate::remote::Remote;
use crate::tls;

/// Finds out that a server is gone without a word, where the cluster does not say when.
const KEEPALIVE: Keepalive = Keepalive {
    probes: Some(3),
    idle: Some(Duration::from_secs(30)),
    interval: Some(Duration::from_secs(10)),
};

/// Bytes to and from a server, plain or in TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to an endpoint.
pub struct Connection {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// The connection.
    pub io: Box<dyn Stream>,
}

/// Connects to any of a cluster's endpoints, in TLS if the cluster has it. `host` is what is asked there, for clusters that
/// take the server's name from it; `speaks` is the ALPN protocol where the cluster names none.
///
/// # Errors
/// Why there is no connection, and to which endpoint.
pub async fn connect(
    cluster: &Cluster,
    host: Option<&str>,
    speaks: &[u8],
) -> Result<Connection, Fault> {
    let endpoint = pick(cluster).ok_or_else(|| {
        let unresolved = cluster.unresolved().get().and_then(|names| names.told());
        unresolved.unwrap_or_else(|| "its cluster has no endpoint".to_owned())
    })?;
    let io = open(cluster, &endpoint.address, host, speaks).await;
    let io = io.map_err(|error| Fault::at(&endpoint.address, error))?;
    Ok(Connection { endpoint, io })
}

/// Any endpoint: there is one connection at a time, and the next attempt may meet another one.
fn pick(cluster: &Cluster) -> Option<Arc<Endpoint>> {
    let set = cluster.endpoints.load();
    let random = || fastrand::u64(..);
    let picked = Balancer::default().pick(&Balancing::Random.into(), &set, (None, 0), random)?;
    set.endpoints.get(picked.position).cloned()
}

async fn open(
    cluster: &Cluster,
    remote: &Remote,
    host: Option<&str>,
    speaks: &[u8],
) -> Result<Box<dyn Stream>, String> {
    let keepalive = cluster.keepalive.unwrap_or(KEEPALIVE);
    let mut io =
        remote.connect(cluster.sources.of(remote), Some(&keepalive)).await.map_err(text)?;
    if let Some(header) = &cluster.proxy_header {
        let bytes = header.bytes(None, || Ends::of(io.local_addr().ok()?, remote));
        io.write_all(&bytes).await.map_err(text)?;
    }
    match &cluster.tls {
        None => Ok(Box::new(io)),
        Some(secure) => Ok(Box::new(encrypted(io, secure, remote, host, speaks).await?)),
    }
}

/// TLS as the cluster has it.
async fn encrypted(
    io: TcpStream,
    secure: &Secure,
    remote: &Remote,
    host: Option<&str>,
    speaks: &[u8],
) -> Result<TlsStream<TcpStream>, String> {
    let configs = secure.context.configs().map_err(text)?;
    let mut config = (*configs.config).clone();
    if config.alpn_protocols.is_empty() {
        config.alpn_protocols = vec![speaks.to_vec()];
    }
    let (server, must_be_for) = match host {
        Some(host) => {
            let asks = secure.asks(host, remote, None);
            (asks.server, asks.host)
        }
        None => (&*secure.context.sni, None),
    };
    let server = match server {
        "" => ServerName::IpAddress(remote.session_key().into()),
        name => ServerName::try_from(name.to_owned()).map_err(text)?,
    };
    let stream = TlsConnector::from(Arc::new(config)).connect(server, io).await.map_err(text)?;
    if let Some(host) = must_be_for {
        let (_, session) = stream.get_ref();
        tls::verify_host(session.peer_certificates(), host).map_err(text)?;
    }
    Ok(stream)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

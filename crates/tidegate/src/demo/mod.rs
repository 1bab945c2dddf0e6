//! Built-in origins, so that the first five minutes (and guide 000) need no network.
//!
//! [`Demo::start`] runs two servers on loopback: one answers as httpbin.org over plain HTTP, one as
//! www.google.com over TLS with a certificate from an authority that exists only while the process runs.
//! They run on a thread of their own: load on them delays neither the API nor the gateway's workers.
//!
//! Absent on purpose: HTTP/2, multipart forms, and everything of httpbin that no gateway needs.

mod authority;
mod httpbin;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;

use tidegate_proxy::upstream::dns::ConnectTo;
use tokio_rustls::TlsAcceptor;

use self::authority::Authority;
use crate::http_server;

/// The name that the plain origin answers as.
pub const HTTPBIN: &str = "httpbin.org";
/// The name that the TLS origin answers as.
pub const GOOGLE: &str = "www.google.com";

/// The running origins.
#[derive(Debug)]
pub struct Demo {
    /// Where httpbin.org answers over HTTP.
    pub httpbin: SocketAddr,
    /// Where www.google.com answers over TLS.
    pub google: SocketAddr,
    /// PEM file that verifies the TLS origin, for `CURL_CA_BUNDLE`.
    pub ca_bundle: PathBuf,
}

impl Demo {
    /// Starts both origins at ports that the kernel chooses and writes the CA bundle into `data_dir`.
    ///
    /// # Errors
    /// When a port cannot be bound, the bundle cannot be written or the thread cannot start.
    pub fn start(data_dir: &Path) -> io::Result<Self> {
        let authority = Authority::new().map_err(io::Error::other)?;
        let ca_bundle = data_dir.join("demo-ca.pem");
        authority.write_bundle(&ca_bundle)?;
        let tls = authority.serve_as(GOOGLE).map_err(io::Error::other)?;

        let (httpbin, plain_listener) = listen()?;
        let (google, tls_listener) = listen()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("demo".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::join!(
                    site(plain_listener, HTTPBIN, None),
                    site(tls_listener, GOOGLE, Some(TlsAcceptor::from(tls))),
                )
            })
        })?;
        Ok(Self { httpbin, google, ca_bundle })
    }

    /// Rules that lead connections to the two names here.
    pub fn connect_to(&self) -> Vec<ConnectTo> {
        let rules = [(HTTPBIN, 80, self.httpbin), (GOOGLE, 443, self.google)];
        let rule = |(name, port, to)| format!("{name}:{port}:{to}").parse().ok();
        rules.into_iter().filter_map(rule).collect()
    }
}

/// Serves one origin until the process ends.
async fn site(listener: TcpListener, name: &'static str, tls: Option<TlsAcceptor>) {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let answer =
        move |request, peer| httpbin::answer(request, httpbin::Seen { peer, name, scheme });
    let Err(error) = http_server::http(name, listener, tls, answer).await;
    tracing::error!("the demo's {name} has ended: {error}");
}

fn listen() -> io::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok((listener.local_addr()?, listener))
}

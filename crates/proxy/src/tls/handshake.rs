//! Handshakes: from a TCP connection to a TLS one, and what it settled.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use super::context::{ClientTls, ServerTls};
use super::identity::Leaf;
use super::stream::{Failure, TlsStream};
use super::validation::Mismatch;
use super::x509::Certificate;
use super::{ClientHello, InspectorLimits, Verdict, inspect, suites, verify};
use crate::buffer::{Buffer, BufferPool};

/// What a client's handshake settled, for whoever decides, logs or tells upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Version: `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite, by OpenSSL's name.
    pub cipher: &'static str,
    /// The server that the client asked for.
    pub server_name: Option<Arc<str>>,
    /// The application protocol that was agreed on.
    pub alpn: Option<Box<[u8]>>,
    /// Whether an earlier session went on.
    pub resumed: bool,
    /// The client's certificate.
    pub peer: Option<Peer>,
    /// URIs of our certificate.
    pub local_uris: Vec<Box<str>>,
}

/// A client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it says.
    pub leaf: Leaf,
    /// The chain as it was presented, the client's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether it was verified.
    pub verified: bool,
    /// What the next hop is told of it, once that is asked for.
    pub forwarded: OnceCell<Box<str>>,
}

/// A client that was not accepted.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub failure: Failure,
    /// The connection, where the client is to be told: it has to be [seen off](TlsStream::see_off).
    pub stream: Option<Box<TlsStream>>,
}

impl<F: Into<Failure>> From<F> for Refused {
    fn from(failure: F) -> Self {
        Self { failure: failure.into(), stream: None }
    }
}

/// Serves a handshake. `first` holds the bytes that were read already, and `hello` what they say.
///
/// # Errors
/// See [`Failure`].
pub async fn accept(
    mut io: TcpStream,
    first: Option<Buffer>,
    hello: Option<ClientHello>,
    tls: &ServerTls,
    buffers: &Rc<BufferPool>,
) -> Result<(Box<TlsStream>, Settled), Refused> {
    let handshake = async {
        let (first, hello) = match hello {
            Some(hello) => (first, Some(hello)),
            // Whoever looked before may have looked for something else, or not for long enough.
            None => look(&mut io, first, buffers).await?,
        };
        let configs = tls.configs()?;
        if tls.require_sni && hello.as_ref().is_some_and(|hello| hello.server_name.is_none()) {
            return Err(Failure::NoServerName.into());
        }
        let config = configs.of(hello.as_ref());
        let session = UnbufferedServerConnection::new(config).map_err(Failure::Tls)?;
        let mut stream = Box::new(TlsStream::server(io, session, first, Rc::clone(buffers)));
        if let Err(failure) = poll_fn(|cx| stream.poll_handshake(cx)).await {
            let told = matches!(failure, Failure::Tls(_));
            return Err(Refused { failure, stream: told.then_some(stream) });
        }
        let server_name = hello.and_then(|hello| hello.server_name).map(Arc::from);
        let settled = settled(&stream, tls, server_name, configs.verifies);
        Ok((stream, settled))
    };
    match tokio::time::timeout(tls.timeout, handshake).await {
        Ok(done) => done,
        Err(_) => Err(Failure::TimedOut.into()),
    }
}

/// Reads the first bytes. What is no ClientHello is left to the library, which knows the right alert.
async fn look(
    io: &mut TcpStream,
    first: Option<Buffer>,
    buffers: &Rc<BufferPool>,
) -> Result<(Option<Buffer>, Option<ClientHello>), Failure> {
    let limits = InspectorLimits { timeout: None, ..InspectorLimits::default() };
    let inspected = inspect(io, first, limits, buffers).await;
    match inspected.verdict {
        Verdict::Tls(hello) => Ok((inspected.bytes, Some(hello))),
        Verdict::NotTls | Verdict::Malformed(_) | Verdict::LongRequest | Verdict::TimedOut => {
            Ok((inspected.bytes, None))
        }
        Verdict::Closed => Err(Failure::Closed),
        Verdict::Failed(error) => Err(Failure::Io(error)),
    }
}

fn settled(
    stream: &TlsStream,
    tls: &ServerTls,
    server_name: Option<Arc<str>>,
    verifies: bool,
) -> Settled {
    let session = stream.session();
    let peer = session.peer_certificates().and_then(|chain| {
        let leaf = chain.first()?;
        let leaf = Leaf::of(&Certificate::parse(leaf)?);
        Some(Peer {
            leaf,
            chain: chain.iter().map(|each| each.clone().into_owned()).collect(),
            verified: verifies,
            forwarded: OnceCell::new(),
        })
    });
    Settled {
        version: session.protocol_version().map_or("unknown", suites::version),
        cipher: session
            .negotiated_cipher_suite()
            .map_or("unknown", |suite| suites::name(suite.suite())),
        server_name,
        alpn: session.alpn_protocol().map(Box::from),
        resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        peer,
        local_uris: tls.local_uris(),
    }
}

/// What is asked of an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Asks<'a> {
    /// The server that is asked for; empty for none.
    pub server: &'a str,
    /// The host that its certificate must be for, if that is looked at.
    pub host: Option<&'a str>,
    /// What sessions are kept by where no server is asked for.
    pub session_key: IpAddr,
    /// The application protocol that is spoken, if the context names none.
    pub speaks: Option<&'a [u8]>,
}

/// Opens a TLS connection to an endpoint.
///
/// # Errors
/// See [`Failure`].
pub async fn connect(
    io: TcpStream,
    tls: &ClientTls,
    asks: Asks<'_>,
    buffers: &Rc<BufferPool>,
) -> Result<Box<TlsStream>, Failure> {
    let configs = tls.configs()?;
    let server = match asks.server {
        // Nothing is sent then, but sessions are kept by it.
        "" => ServerName::IpAddress(asks.session_key.into()),
        name => ServerName::try_from(name.to_owned()).map_err(|_| {
            Failure::Tls(rustls::Error::General(format!("{name:?} is no host name")))
        })?,
    };
    let alpn = match (&tls.common.alpn[..], asks.speaks) {
        ([], Some(protocol)) => vec![protocol.to_vec()],
        _ => configs.config.alpn_protocols.clone(),
    };
    let session = UnbufferedClientConnection::new_with_alpn(configs.config, server, alpn);
    let session = session.map_err(Failure::Tls)?;
    let mut stream = Box::new(TlsStream::client(io, session, Rc::clone(buffers)));
    poll_fn(|cx| stream.poll_handshake(cx)).await?;
    if let Some(host) = asks.host {
        verify_host(stream.session().peer_certificates(), host).map_err(Failure::Tls)?;
    }
    Ok(stream)
}

/// Verifies that a server's certificate, the first of those that it showed, is for a host other than, perhaps, the server that
/// was asked for. Nothing but the handshake has been sent.
pub(crate) fn verify_host(
    shown: Option<&[CertificateDer<'_>]>,
    host: &str,
) -> Result<(), rustls::Error> {
    let none = || rustls::Error::NoCertificatesPresented;
    let leaf = shown.and_then(|chain| chain.first());
    let leaf = leaf.ok_or_else(none)?;
    let wanted = ServerName::try_from(host);
    if wanted
        .is_ok_and(|wanted| verify::parse(leaf).is_ok_and(|leaf| verify::is_for(&leaf, &wanted)))
    {
        return Ok(());
    }
    Err(verify::refused(Mismatch::Name))
}

#[cfg(test)]
mod tests;

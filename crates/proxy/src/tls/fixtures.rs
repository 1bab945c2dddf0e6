//! Contexts and connections for tests.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tidegate_testing::ca::Ca;
use tokio::net::{TcpListener, TcpStream};

use super::context::{ClientTls, Common, ServerTls};
use super::handshake::{Asks, Settled};
use super::identity::Identity;
use super::secret::{IdentitySource, ValidationSource};
use super::stream::{Failure, TlsStream};
use super::validation::Validation;
use crate::buffer::BufferPool;

/// What both roles have in common; ALPN as given.
pub fn common(identities: &[&tidegate_testing::ca::Identity], alpn: &[&str]) -> Common {
    let load = |identity: &&tidegate_testing::ca::Identity| {
        let (chain, key) = (identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes());
        let identity = Identity::from_pem(chain, key).expect("they fit");
        IdentitySource::Here(Arc::new(identity))
    };
    Common {
        identities: identities.iter().map(load).collect(),
        validation: ValidationSource::default(),
        versions: vec![&rustls::version::TLS12, &rustls::version::TLS13],
        suites: Vec::new(),
        groups: Vec::new(),
        alpn: alpn.iter().map(|protocol| protocol.as_bytes().into()).collect(),
    }
}

/// A context that trusts `ca` alone.
pub fn trusting(common: Common, ca: &Ca) -> Common {
    let roots = CertificateDer::pem_slice_iter(ca.pem().as_bytes());
    let here = Validation {
        roots: roots.collect::<Result<_, _>>().expect("a certificate"),
        ..Validation::default()
    };
    Common { validation: ValidationSource { here: Some(Arc::new(here)), secret: None }, ..common }
}

/// A server's context.
pub fn server(common: Common, require: bool) -> ServerTls {
    ServerTls::new(common, require, Duration::from_secs(10))
}

/// A client's context.
pub fn client(common: Common) -> ClientTls {
    ClientTls::new(common, "", true, true)
}

/// Both ends of a TCP connection.
pub async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("connected"), accepted.expect("accepted").0)
}

/// What a handshake came to at either end.
pub type Ends = (Result<Box<TlsStream>, Failure>, Result<(Box<TlsStream>, Settled), Failure>);

/// Shakes hands over loopback, asking for `name`.
pub async fn shake(
    client: &ClientTls,
    server: &ServerTls,
    name: &str,
    buffers: &Rc<BufferPool>,
) -> Ends {
    let (near, far) = tcp().await;
    let endpoint = near.peer_addr().expect("connected");
    let asks = Asks { server: name, host: None, session_key: endpoint.ip(), speaks: None };
    tokio::join!(super::connect(near, client, asks, buffers), async {
        let accepted = super::accept(far, None, None, server, buffers).await;
        accepted.map_err(|refused| refused.failure)
    })
}

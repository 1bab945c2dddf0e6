//! Unix sockets that clients connect to.
//!
//! A connection over one is a stream like one over TCP, and is carried in the same type (see [`crate::remote`]). What it lacks is
//! addresses: Envoy gives the path of the socket wherever they are written, and one that is nobody's where chains ask for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use socket2::SockAddr;

/// What the kernel takes of a path: 108 bytes with the zero at their end (unix(7)).
pub const MAX_PATH: usize = 107;

/// What stands for both addresses of a connection over a Unix socket. A chain that asks for a port or for a network does not ask
/// for this one, unless it is for every address of IPv4.
pub const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 0);

/// An address of a connection, if it has any: see [`NOWHERE`].
#[must_use]
pub fn known(address: SocketAddr) -> Option<SocketAddr> {
    (address != NOWHERE).then_some(address)
}

/// Where a listener listens that is on a Unix socket (`envoy.config.core.v3.Pipe`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipe {
    /// The path, as it is written; one that begins with `@` is a name in Linux' abstract namespace.
    pub path: Arc<str>,
    /// Whom the file lets connect, as chmod(2) has it; 0 for whom the process' umask lets.
    pub mode: u32,
}

impl Pipe {
    /// The name in the abstract namespace, of which there is no file.
    #[must_use]
    pub fn abstract_name(&self) -> Option<&str> {
        self.path.strip_prefix('@')
    }
}

/// The address of a path as the kernel takes it.
///
/// # Errors
/// The path is longer than [`MAX_PATH`].
pub fn socket_address(path: &str) -> io::Result<SockAddr> {
    match path.strip_prefix('@') {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(path),
    }
}

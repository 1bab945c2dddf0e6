//! Ports that a test has to know before the program under test binds them.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of loopback, held by a socket that does not listen: the kernel gives it to nobody who asks for any port,
/// and a program that is told to bind it still can. Until one does, connections to it are refused.
#[derive(Debug)]
pub struct HeldPort {
    _socket: Socket,
    /// Loopback, with the port.
    pub address: SocketAddr,
}

impl HeldPort {
    /// A port that the kernel chose.
    #[must_use]
    pub fn any() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        socket.set_reuse_port(true).expect("SO_REUSEPORT");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        Self { _socket: socket, address: address.expect("its address") }
    }
}

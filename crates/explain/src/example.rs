//! What a question leaves open and a request has all the same: examples stand for it. Two of them tell what of an answer rests
//! on them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidegate_proxy::config::listener::Listener;
use tidegate_proxy::pipe::NOWHERE;

use crate::question::Question;

/// An example of what the question does not say.
#[derive(Debug)]
pub(crate) struct Example {
    /// The client's address: any outside.
    client: SocketAddr,
    /// The gateway's address, where the client may dial any.
    dialled: IpAddr,
    /// The subject of a certificate of which only names are known.
    pub(crate) subject: &'static str,
    /// Where random numbers begin.
    pub(crate) seed: u64,
}

/// The example that answers show.
pub(crate) const SHOWN: Example = Example {
    client: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000),
    dialled: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    subject: "CN=client",
    seed: 0,
};

/// One that has nothing in common with it.
pub(crate) const OTHER: Example = Example {
    client: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 3)), 60_001),
    dialled: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 4)),
    subject: "CN=other",
    seed: 1,
};

impl Example {
    /// The client's address, and a port that it may have.
    pub(crate) fn client(&self, question: &Question) -> SocketAddr {
        if question.unix_socket.is_some() {
            return NOWHERE;
        }
        let address = question.client_address.unwrap_or(self.client.ip());
        SocketAddr::new(address, self.client.port())
    }

    /// The address that the client dialled, as the listener sees it.
    pub(crate) fn dialled(&self, listener: &Listener, question: &Question) -> SocketAddr {
        if question.unix_socket.is_some() {
            return NOWHERE;
        }
        let any = match listener.address.ip() {
            IpAddr::V4(any) if any.is_unspecified() => self.dialled,
            own => own,
        };
        SocketAddr::new(question.address.unwrap_or(any), question.port)
    }
}

//! What connections to endpoints come from, where the system does not choose it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;

use crate::remote::Remote;

/// A mark of the packets of a connection (`SO_MARK`), by which rules of the system know them; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark(pub u32);

/// The address of a client, as what connections to endpoints come from (listener filter `original_src`). Answers to it come back here
/// only where rules lead them, which know them by the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientSource {
    /// The client's address.
    pub address: IpAddr,
    /// The mark of what is sent.
    pub mark: Mark,
}

impl ClientSource {
    /// The same, for connections to an endpoint; nothing for one on loopback, whose answers to another address get lost, or for a
    /// socket of this machine.
    #[must_use]
    pub fn toward(self, remote: &Remote) -> Option<Self> {
        remote.socket().filter(|to| !to.ip().to_canonical().is_loopback()).map(|_| self)
    }
}

/// What a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An address of this machine.
    Own(SocketAddr),
    /// A client's.
    Client(ClientSource),
}

impl Source {
    /// Has a socket connect from there. For a client's address it takes `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The address is none of this machine, or of another family than the socket, or the process lacks the capability.
    pub fn bind(self, socket: &SockRef<'_>) -> io::Result<()> {
        match self {
            Self::Own(address) => socket.bind(&address.into()),
            Self::Client(ClientSource { address, mark: Mark(mark) }) => {
                transparent(socket, address.is_ipv6())?;
                if mark != 0 {
                    socket.set_mark(mark)?;
                }
                socket.bind(&SocketAddr::new(address, 0).into())
            }
        }
    }
}

/// Lets a socket have addresses that are not this machine's (`IP_TRANSPARENT`).
pub(crate) fn transparent(socket: &SockRef<'_>, is_ipv6: bool) -> io::Result<()> {
    match is_ipv6 {
        true => socket.set_ip_transparent_v6(true),
        false => socket.set_ip_transparent_v4(true),
    }
}

/// The addresses that connections come from; whichever the system chooses where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(pub Box<[SocketAddr]>);

impl Sources {
    /// The one for connections to an endpoint: the first of its family, else the first of all, which no connection comes from.
    #[must_use]
    pub fn of(&self, remote: &Remote) -> Option<Source> {
        let to = remote.socket()?;
        let like = self.0.iter().find(|source| source.is_ipv4() == to.is_ipv4());
        like.or(self.0.first()).copied().map(Source::Own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_loopback_is_not_sent_to_from_elsewhere() {
        let source = ClientSource { address: [192, 0, 2, 1].into(), mark: Mark(1337) };
        let at = |to: &str| Remote::Ip(to.parse().expect("an address"));
        assert_eq!(source.toward(&at("10.0.0.1:80")), Some(source));
        assert_eq!(source.toward(&at("127.0.0.1:80")), None);
        assert_eq!(source.toward(&at("[::1]:80")), None);
        assert_eq!(source.toward(&Remote::Pipe("/s".into())), None);
    }
}

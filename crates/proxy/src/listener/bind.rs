//! Binding a listener's address: one socket a worker, all on the same port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::pipe::NOWHERE;
use crate::upstream::source::transparent;

/// Connections that the kernel keeps for a worker until it accepts them.
pub(super) const BACKLOG: u16 = 1024;

/// A worker's socket at one of a listener's addresses.
#[derive(Debug)]
pub enum ListenerSocket {
    /// One that has been bound anew, and listens.
    Bound(TcpListener),
    /// The one that the worker has there already, of the form before: what waits in its queue is served.
    Kept(SocketAddr),
    /// A Unix socket that listens, which all workers share.
    Pipe(OwnedFd),
}

impl ListenerSocket {
    /// Where it is bound; a Unix socket is at [`NOWHERE`].
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Bound(socket) => socket.local_addr(),
            Self::Kept(address) => Ok(*address),
            Self::Pipe(_) => Ok(NOWHERE),
        }
    }
}

/// How sockets at an address are had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nobody of ours has it.
    Bind,
    /// The form before has it, on other terms.
    Share,
    /// The form before has it as it is to be.
    Keep,
}

/// What the sockets of a listener are bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Its addresses.
    pub addresses: Vec<SocketAddr>,
    /// Whether its sockets take connections that were dialled to any address (`transparent`).
    pub transparent: bool,
}

/// Binds all addresses of a listener; gives one socket of each to each worker, in their order. Of those that are `held` by an
/// earlier form of the listener the sockets stay. The error names the address.
///
/// # Errors
/// As [`bind`]. What is held has not been touched then.
pub fn bind_all(
    wanted: &Binding,
    held: &Binding,
    workers: usize,
) -> Result<Vec<Vec<ListenerSocket>>, (SocketAddr, io::Error)> {
    let addresses = &wanted.addresses[..];
    let ways = || addresses.iter().map(|&address| (address, way_to(address, wanted, held)));
    let mut bound: Vec<Vec<Socket>> = addresses.iter().map(|_| Vec::new()).collect();
    // Whether somebody else has an address is found out before one is shared.
    for now in [Way::Bind, Way::Share] {
        for ((address, way), sockets) in ways().zip(&mut bound).filter(|((_, way), _)| *way == now)
        {
            let terms =
                Terms { only_ipv6: is_apart(address, addresses), transparent: wanted.transparent };
            let get = if way == Way::Bind { bind } else { share };
            *sockets = get(address, terms, workers).map_err(|error| (address, error))?;
        }
    }
    // Clients wait at a socket once it listens, and are reset if it is given up.
    for (&address, sockets) in addresses.iter().zip(&bound) {
        let mut sockets = sockets.iter();
        sockets.try_for_each(|own| own.listen(BACKLOG.into())).map_err(|error| (address, error))?;
    }
    let mut of_worker = || {
        let each = addresses.iter().zip(&mut bound);
        let socket = |(&address, sockets): (_, &mut Vec<Socket>)| match sockets.pop() {
            Some(socket) => ListenerSocket::Bound(socket.into()),
            None => ListenerSocket::Kept(address),
        };
        each.map(socket).collect()
    };
    Ok((0..workers).map(|_| of_worker()).collect())
}

/// What a socket takes.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// None of IPv4, at an address of IPv6.
    only_ipv6: bool,
    /// Connections that were dialled to any address.
    transparent: bool,
}

fn way_to(address: SocketAddr, wanted: &Binding, held: &Binding) -> Way {
    let apart = |one: &Binding| is_apart(address, &one.addresses);
    match held.addresses.contains(&address) {
        false => Way::Bind,
        true if apart(wanted) == apart(held) && wanted.transparent == held.transparent => Way::Keep,
        true => Way::Share,
    }
}

/// Whether a socket of IPv6 at `address`, which is one of `addresses`, takes no IPv4, as another one of them does.
fn is_apart(address: SocketAddr, addresses: &[SocketAddr]) -> bool {
    let all_of_ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    address.is_ipv6() && addresses.contains(&all_of_ipv4)
}

/// Binds `address` once for each of `workers`; the kernel spreads connections over them once they listen.
///
/// # Errors
/// The address is taken by somebody else (another process of ours included), forbidden, or not ours.
fn bind(address: SocketAddr, terms: Terms, workers: usize) -> io::Result<Vec<Socket>> {
    // With SO_REUSEPORT a second process would share the port in silence and take half of its
    // connections. One bind without it finds that out.
    let alone = socket(address, terms)?;
    alone.bind(&address.into())?;
    let address = match address.port() {
        0 => alone.local_addr()?.as_socket().unwrap_or(address),
        _ => address,
    };
    drop(alone);
    share(address, terms, workers)
}

/// Binds `address`, which nobody has or we have already.
fn share(address: SocketAddr, terms: Terms, workers: usize) -> io::Result<Vec<Socket>> {
    (0..workers)
        .map(|_| {
            let socket = socket(address, terms)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            Ok(socket)
        })
        .collect()
}

fn socket(address: SocketAddr, terms: Terms) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process that still wait to end do not hold the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(terms.only_ipv6)?;
    }
    if terms.transparent {
        transparent(&SockRef::from(&socket), address.is_ipv6()).map_err(|error| {
            io::Error::other(format!(
                "it is to take connections to any address (transparent), for which the process needs CAP_NET_ADMIN: {error}"
            ))
        })?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addresses: &[SocketAddr]) -> Binding {
        Binding { addresses: addresses.to_vec(), transparent: false }
    }

    fn listening(address: SocketAddr, workers: usize) -> Vec<Vec<ListenerSocket>> {
        bind_all(&at(&[address]), &Binding::default(), workers).unwrap()
    }

    fn address_of(socket: &ListenerSocket) -> SocketAddr {
        socket.address().unwrap()
    }

    #[test]
    fn workers_share_a_port_and_nobody_else_does() {
        let sockets = listening(([127, 0, 0, 1], 0).into(), 3);
        let address = address_of(&sockets[0][0]);
        assert!(sockets.iter().all(|own| own.len() == 1 && address_of(&own[0]) == address));
        let (at, error) = bind_all(&at(&[address]), &Binding::default(), 1).unwrap_err();
        assert_eq!((at, error.kind()), (address, io::ErrorKind::AddrInUse));
        drop(sockets);
        listening(address, 1);
    }

    #[test]
    fn a_port_of_all_addresses_of_both_families_is_two_sockets() {
        let any = listening(([0, 0, 0, 0], 0).into(), 1);
        let port = address_of(&any[0][0]).port();
        drop(any);
        let both: [SocketAddr; 2] = [([0, 0, 0, 0], port).into(), ([0_u16; 8], port).into()];
        let sockets = match bind_all(&at(&both), &Binding::default(), 2) {
            // Where there is no IPv6.
            Err((address, error)) if error.kind() != io::ErrorKind::AddrInUse => {
                return assert_eq!(address, both[1]);
            }
            sockets => sockets.unwrap(),
        };
        assert_eq!(sockets.len(), 2);
        for worker in &sockets {
            assert_eq!(worker.iter().map(address_of).collect::<Vec<_>>(), both);
        }
        // Alone, that of IPv6 is for both families, and so it is another one.
        let alone = bind_all(&at(&both[1..]), &at(&both), 2).unwrap();
        assert!(matches!(alone[0][..], [ListenerSocket::Bound(_)]), "{alone:?}");
        let same = bind_all(&at(&both), &at(&both), 2).unwrap();
        assert!(matches!(same[1][..], [ListenerSocket::Kept(_), ListenerSocket::Kept(_)]));
    }

    #[test]
    fn what_is_held_stays_and_is_left_alone_where_another_address_is_taken() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        // One that nobody can share: a try to do so would be told.
        let others = [TcpListener::bind(any).unwrap(), TcpListener::bind(any).unwrap()];
        let [held, taken] = others.each_ref().map(|socket| socket.local_addr().unwrap());
        let now = bind_all(&at(&[held, any]), &at(&[held]), 1).unwrap().remove(0);
        assert!(
            matches!(now[..], [ListenerSocket::Kept(at), ListenerSocket::Bound(_)] if at == held)
        );
        assert_eq!(bind_all(&at(&[held, taken]), &at(&[held]), 1).unwrap_err().0, taken);
    }
}

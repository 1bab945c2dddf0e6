//! Binding a listener's address: one socket a worker, all on the same port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for a worker until it accepts them.
const BACKLOG: i32 = 1024;

/// Binds all `addresses` of a listener; gives one socket of each address to each worker. Those that are `held` by an earlier form of
/// the listener are shared with it. The error names the address.
///
/// # Errors
/// As [`bind`].
pub fn bind_all(
    addresses: &[SocketAddr],
    held: &[SocketAddr],
    workers: usize,
) -> Result<Vec<Vec<TcpListener>>, (SocketAddr, io::Error)> {
    let mut sockets: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for &address in addresses {
        // Where the addresses of IPv4 are the listener's as well, those of IPv6 are without them.
        let all_of_ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        let apart = addresses.contains(&all_of_ipv4);
        let of_address = if held.contains(&address) {
            share(address, apart, workers)
        } else {
            bind(address, apart, workers)
        };
        let of_address = of_address.map_err(|error| (address, error))?;
        for (worker, socket) in sockets.iter_mut().zip(of_address) {
            worker.push(socket);
        }
    }
    Ok(sockets)
}

/// Binds `address` once for each of `workers`; the kernel spreads connections over them. `only_ipv6` says whether an address of
/// IPv6 is to take none of IPv4.
///
/// # Errors
/// The address is taken by somebody else (another process of ours included), forbidden, or not ours.
fn bind(address: SocketAddr, only_ipv6: bool, workers: usize) -> io::Result<Vec<TcpListener>> {
    // With SO_REUSEPORT a second process would share the port in silence and take half of its
    // connections. One bind without it finds that out.
    let alone = socket(address, only_ipv6)?;
    alone.bind(&address.into())?;
    let address = match address.port() {
        0 => alone.local_addr()?.as_socket().unwrap_or(address),
        _ => address,
    };
    drop(alone);
    share(address, only_ipv6, workers)
}

/// Binds `address`, which nobody has or we have already.
fn share(address: SocketAddr, only_ipv6: bool, workers: usize) -> io::Result<Vec<TcpListener>> {
    (0..workers)
        .map(|_| {
            let socket = socket(address, only_ipv6)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr, only_ipv6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process that still wait to end do not hold the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_ipv6)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_nobody_else_does() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = bind(any, false, 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        let error = bind(address, false, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        bind(address, false, 1).unwrap();
    }

    #[test]
    fn a_port_of_all_addresses_of_both_families_is_two_sockets() {
        let any = bind(SocketAddr::from(([0, 0, 0, 0], 0)), false, 1).unwrap();
        let port = any[0].local_addr().unwrap().port();
        drop(any);
        let both: [SocketAddr; 2] = [([0, 0, 0, 0], port).into(), ([0_u16; 8], port).into()];
        let sockets = match bind_all(&both, &[], 2) {
            // Where there is no IPv6.
            Err((address, error)) if error.kind() != io::ErrorKind::AddrInUse => {
                return assert_eq!(address, both[1]);
            }
            sockets => sockets.unwrap(),
        };
        assert_eq!(sockets.len(), 2);
        for worker in sockets {
            let own: Vec<_> = worker.iter().map(|socket| socket.local_addr().unwrap()).collect();
            assert_eq!(own, both);
        }
    }

    #[test]
    fn an_address_that_stays_is_shared_with_the_form_before() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let before = bind_all(&[any], &[], 1).unwrap();
        let held = before[0][0].local_addr().unwrap();
        assert_eq!(bind_all(&[held], &[], 1).unwrap_err().0, held);
        let now = bind_all(&[held, any], &[held], 1).unwrap();
        assert_eq!(now[0][0].local_addr().unwrap(), held);
        assert_eq!(now[0].len(), 2);
    }
}

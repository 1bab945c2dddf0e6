//! Binding the process's own servers: API, admin, health.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::failure::{Failure, Outcome};

/// Binds and listens at once, so that a client that connects early waits instead of being refused.
///
/// # Errors
/// The address is taken, forbidden or not of this machine; names `flag` as a way out.
pub fn bind(address: SocketAddr, flag: &str) -> Outcome<TcpListener> {
    bind_at(address, flag, flag)
}

/// The same, where the IP address is that of another flag, `at`.
///
/// # Errors
/// As above.
pub fn bind_at(address: SocketAddr, flag: &str, at: &str) -> Outcome<TcpListener> {
    bind_or(address, (flag, at), any_port(address, flag))
}

/// The same, where `other` says how to have another address. `place` and `at` are where the port and the IP address stand.
///
/// # Errors
/// As above.
pub fn bind_or(
    address: SocketAddr,
    (place, at): (&str, &str),
    other: String,
) -> Outcome<TcpListener> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| refused(address, (place, at), other, &error))
}

/// Where a listener is bound.
///
/// # Errors
/// The system does not tell.
pub fn local(listener: &TcpListener) -> Outcome<SocketAddr> {
    listener.local_addr().map_err(|error| Failure::new(format!("a listener: {error}")))
}

/// Says why the address of a flag cannot be listened on, and what to do about it.
pub fn flag_refused(address: SocketAddr, flag: &str, error: &io::Error) -> Failure {
    refused(address, (flag, flag), any_port(address, flag), error)
}

fn any_port(address: SocketAddr, flag: &str) -> String {
    format!("{flag} {}, for any free port", SocketAddr::new(address.ip(), 0))
}

fn refused(
    address: SocketAddr,
    (flag, at): (&str, &str),
    other: String,
    error: &io::Error,
) -> Failure {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Failure::new(format!("port {port} of {ip} is taken by another program ({flag})"))
                .or(format!("ss -ltnp 'sport = :{port}', to see by whom, and stop that"))
                .or(other)
        }
        io::ErrorKind::PermissionDenied => {
            Failure::new(format!("port {port} of {ip} may not be bound by this user ({flag})"))
                .or(other)
        }
        io::ErrorKind::AddrNotAvailable => {
            Failure::new(format!("{ip} is no address of this machine ({at})"))
                .or("`ip address`, which lists those there are")
        }
        _ => Failure::new(format!("{address} cannot be listened on: {error} ({flag})")).or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_flag() {
        let first = bind("127.0.0.1:0".parse().expect("an address"), "--api-listen");
        let taken = first
            .and_then(|listener| bind(listener.local_addr().expect("its address"), "--api-listen"));
        let failure = taken.expect_err("taken").to_string();
        assert!(failure.contains("--api-listen 127.0.0.1:0"), "{failure}");
        let foreign = bind("192.0.2.1:80".parse().expect("an address"), "--api-listen");
        assert!(foreign.expect_err("foreign").to_string().contains("no address of this machine"));
    }
}

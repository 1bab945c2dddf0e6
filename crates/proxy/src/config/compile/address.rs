//! Addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_envoy::v3::core::address::Address as AddressKind;
use tidegate_envoy::v3::core::socket_address::PortSpecifier;
use tidegate_envoy::v3::core::{Address, CidrRange, Pipe, SocketAddress};

use crate::config::chains::Net;
use crate::config::refusal::{Refusal, Within};
use crate::pipe::{self, MAX_PATH};
use crate::remote::Remote;

use super::value::{present, required};

/// The permissions of a file.
const MAX_MODE: u32 = 0o777;

/// A socket address that may be a name.
pub(super) struct HostPort<'a> {
    pub host: &'a str,
    pub port: u16,
}

/// The host, by name or address, and the port of an address.
pub(super) fn host_port(address: &Address) -> Result<HostPort<'_>, Refusal> {
    match &address.address {
        Some(AddressKind::SocketAddress(socket)) => split(socket).within("socket_address"),
        Some(AddressKind::Pipe(_)) => {
            Err(Refusal::of("pipe", "only endpoints that are not found by DNS may be such sockets"))
        }
        _ => Err(Refusal::of("socket_address", "must be set")),
    }
}

/// The address of an endpoint.
pub(super) fn remote(address: &Address) -> Result<Remote, Refusal> {
    match &address.address {
        Some(AddressKind::Pipe(pipe)) => path(pipe).within("pipe").map(Remote::Pipe),
        _ => socket_address(address).map(Remote::Ip),
    }
}

/// Where a listener listens.
pub(super) enum ListenAddress {
    Ip(SocketAddr),
    Pipe(pipe::Pipe),
}

/// The address of a listener.
pub(super) fn listen_address(address: Option<&Address>) -> Result<ListenAddress, Refusal> {
    let address = present("address", address)?;
    let found = match &address.address {
        Some(AddressKind::Pipe(pipe)) => listen_pipe(pipe).within("pipe").map(ListenAddress::Pipe),
        _ => socket_address(address).map(ListenAddress::Ip),
    };
    found.within("address")
}

fn listen_pipe(proto: &Pipe) -> Result<pipe::Pipe, Refusal> {
    let pipe = pipe::Pipe { path: path(proto)?, mode: proto.mode };
    if pipe.mode > MAX_MODE {
        return Err(Refusal::of("mode", "must be 511 (octal 777) at most"));
    }
    if pipe.mode != 0 && pipe.abstract_name().is_some() {
        return Err(Refusal::of(
            "mode",
            "a name in the abstract namespace (@…) has no file, and so no mode",
        ));
    }
    Ok(pipe)
}

/// The path of a socket of this machine.
fn path(pipe: &Pipe) -> Result<Arc<str>, Refusal> {
    let path = required("path", &pipe.path)?;
    if path.len() > MAX_PATH {
        let reason = format_args!("a path of a socket has {MAX_PATH} bytes at most");
        return Err(Refusal::of("path", reason));
    }
    if path.contains('\0') {
        return Err(Refusal::of("path", "must not contain a zero byte"));
    }
    Ok(path.into())
}

fn split(socket: &SocketAddress) -> Result<HostPort<'_>, Refusal> {
    Ok(HostPort { host: required("address", &socket.address)?, port: port(socket)? })
}

/// An address that is an IP address and a port.
pub(in crate::config) fn socket_address(address: &Address) -> Result<SocketAddr, Refusal> {
    match &address.address {
        Some(AddressKind::SocketAddress(address)) => socket(address).within("socket_address"),
        _ => Err(Refusal::of("socket_address", "must be set")),
    }
}

/// The same, of the message inside.
pub(super) fn socket(address: &SocketAddress) -> Result<SocketAddr, Refusal> {
    let HostPort { host, port } = split(address)?;
    Ok(SocketAddr::new(ip(host).within("address")?, port))
}

/// The same, of a field that must be set.
pub(super) fn required_socket_address(address: Option<&Address>) -> Result<SocketAddr, Refusal> {
    socket_address(present("address", address)?).within("address")
}

fn port(socket: &SocketAddress) -> Result<u16, Refusal> {
    match &socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            u16::try_from(*port).map_err(|_| Refusal::of("port_value", "must be 65535 at most"))
        }
        Some(PortSpecifier::NamedPort(_)) => Err(Refusal::of("named_port", "use port_value")),
        None => Err(Refusal::of("port_value", "must be set")),
    }
}

fn ip(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| Refusal::new(format_args!("{text:?} is no IP address")))
}

/// A network.
pub(super) fn net(range: &CidrRange) -> Result<Net, Refusal> {
    let address = ip(&range.address_prefix).within("address_prefix")?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let len = range.prefix_len.unwrap_or_default();
    match u8::try_from(len) {
        Ok(len) if len <= bits => Ok(Net::new(address, len)),
        _ => Err(Refusal::of("prefix_len", format_args!("must be {bits} at most"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: Option<u32>) -> Address {
        let socket = SocketAddress {
            address: host.into(),
            port_specifier: port.map(PortSpecifier::PortValue),
            ..SocketAddress::default()
        };
        Address { address: Some(AddressKind::SocketAddress(socket)) }
    }

    #[test]
    fn socket_addresses() {
        let path = |address| socket_address(&address).map_err(|refusal| refusal.path);
        assert_eq!(path(address("127.0.0.1", Some(80))), Ok(([127, 0, 0, 1], 80).into()));
        assert_eq!(path(address("::1", Some(0))).map(|found| found.is_ipv6()), Ok(true));
        for (host, port, expected) in [
            ("localhost", Some(80), "socket_address.address"),
            ("", Some(80), "socket_address.address"),
            ("127.0.0.1", Some(65536), "socket_address.port_value"),
            ("127.0.0.1", None, "socket_address.port_value"),
        ] {
            assert_eq!(path(address(host, port)), Err(expected.to_owned()));
        }
        assert_eq!(path(Address::default()), Err("socket_address".to_owned()));
        assert_eq!(
            required_socket_address(None).map_err(|refusal| refusal.path),
            Err("address".to_owned())
        );
    }

    #[test]
    fn networks() {
        let range = |address: &str, len| {
            net(&CidrRange { address_prefix: address.into(), prefix_len: len })
        };
        assert_eq!(range("10.1.2.3", Some(8)), Ok(Net::new([10, 0, 0, 0].into(), 8)));
        assert_eq!(range("0.0.0.0", None), Ok(Net::new([0, 0, 0, 0].into(), 0)));
        assert_eq!(
            range("10.0.0.0", Some(33)).map_err(|refusal| refusal.path),
            Err("prefix_len".to_owned())
        );
        assert_eq!(
            range("x", None).map_err(|refusal| refusal.path),
            Err("address_prefix".to_owned())
        );
    }
}

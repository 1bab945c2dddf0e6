//! The PROXY header that connections to the endpoints of a cluster begin with: it tells them who the client is.
//!
//! Written as by Envoy: of a connection that is made for no client, such as for the copy of a request, version 1 says its own
//! ends, and version 2 that it is the proxy's own (`LOCAL`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::remote::Remote;

/// What version 2 begins with (section 2.2 of the protocol).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, for a client.
const PROXY: u8 = 0x21;
/// Version 2, for nobody.
const LOCAL: u8 = 0x20;
/// TCP over IPv4, and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Most that version 2 may have behind the addresses, in bytes: those of IPv6 take 36.
pub const MOST_ADDED: usize = u16::MAX as usize - 36;

/// The header of a cluster's connections (`envoy.config.core.v3.ProxyProtocolConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A line of text.
    V1,
    /// Binary.
    V2 {
        /// What is added to the addresses, encoded: at most [`MOST_ADDED`] bytes.
        added: Box<[u8]>,
    },
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who opened it.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
}

impl ProxyHeader {
    /// The header of a connection for a client whose connection has these ends, if it is for one. `own` are the ends of
    /// the connection itself, where it has addresses.
    #[must_use]
    pub fn bytes(&self, client: Option<Ends>, own: impl FnOnce() -> Option<Ends>) -> Vec<u8> {
        match (self, client) {
            (Self::V1, client) => text(client.or_else(own)),
            (Self::V2 { .. }, None) => [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat(),
            (Self::V2 { added }, Some(ends)) => binary(ends, added),
        }
    }
}

impl Ends {
    /// Those of a connection from us, whose address is `local`, to `remote`; `None` if that has no address.
    #[must_use]
    pub fn of(local: SocketAddr, remote: &Remote) -> Option<Self> {
        remote.socket().map(|destination| Self { source: local, destination })
    }

    /// The addresses in one family: IPv4 as it is where both are that, else in IPv6.
    fn addresses(self) -> (IpAddr, IpAddr) {
        let Self { source, destination } = self;
        match (source.ip().to_canonical(), destination.ip().to_canonical()) {
            (source @ IpAddr::V4(_), destination @ IpAddr::V4(_)) => (source, destination),
            (source, destination) => (mapped(source).into(), mapped(destination).into()),
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Version 1 (section 2.1).
fn text(ends: Option<Ends>) -> Vec<u8> {
    let Some(ends) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let (source, destination) = ends.addresses();
    let family = if source.is_ipv4() { 4 } else { 6 };
    let ports = (ends.source.port(), ends.destination.port());
    format!("PROXY TCP{family} {source} {destination} {} {}\r\n", ports.0, ports.1).into_bytes()
}

/// Version 2 (section 2.2).
fn binary(ends: Ends, added: &[u8]) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    let family = match ends.addresses() {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            addresses.extend([source.octets(), destination.octets()].concat());
            TCP4
        }
        (source, destination) => {
            addresses.extend([mapped(source).octets(), mapped(destination).octets()].concat());
            TCP6
        }
    };
    addresses.extend(ends.source.port().to_be_bytes());
    addresses.extend(ends.destination.port().to_be_bytes());
    let length = u16::try_from(addresses.len() + added.len()).unwrap_or(u16::MAX);
    [&SIGNATURE[..], &[PROXY, family], &length.to_be_bytes(), &addresses, added].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [&str; 2] = ["192.0.2.1:4711", "198.51.100.2:80"];
    const V6: [&str; 2] = ["[2001:db8::1]:4711", "[2001:db8:0:0:1::2]:80"];

    fn ends([source, destination]: [&str; 2]) -> Ends {
        let address = |text: &str| text.parse().expect("an address");
        Ends { source: address(source), destination: address(destination) }
    }

    fn v2(added: &[u8]) -> ProxyHeader {
        ProxyHeader::V2 { added: added.into() }
    }

    fn of(header: &ProxyHeader, client: [&str; 2]) -> Vec<u8> {
        header.bytes(Some(ends(client)), || unreachable!("it is for a client"))
    }

    #[test]
    fn version_1_is_a_line() {
        let line = |client| String::from_utf8(of(&ProxyHeader::V1, client)).expect("text");
        assert_eq!(line(V4), "PROXY TCP4 192.0.2.1 198.51.100.2 4711 80\r\n");
        assert_eq!(line(V6), "PROXY TCP6 2001:db8::1 2001:db8::1:0:0:2 4711 80\r\n");
        let longest = ["[1111:2222:3333:4444:5555:6666:7777:8888]:65535"; 2];
        assert_eq!(line(longest).len(), 104);
    }

    #[test]
    fn version_2_is_binary() {
        let header = of(&v2(b""), V4);
        assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(header[16..24], [192, 0, 2, 1, 198, 51, 100, 2]);
        assert_eq!(header[24..], [0x12, 0x67, 0, 80]);
        let header = of(&v2(b"\x05\0\x03abc"), V6);
        assert_eq!(header[12..16], [0x21, 0x21, 0, 36 + 6]);
        assert_eq!(header[16..18], [0x20, 0x01]);
        assert_eq!((header.len(), &header[52..]), (16 + 36 + 6, &b"\x05\0\x03abc"[..]));
    }

    #[test]
    fn addresses_are_of_one_family() {
        let line = |client| String::from_utf8(of(&ProxyHeader::V1, client)).expect("text");
        let seen_as_6 = ["[::ffff:192.0.2.1]:4711", "[::ffff:198.51.100.2]:80"];
        assert_eq!(line(seen_as_6), line(V4));
        let mixed = [V4[0], V6[1]];
        assert_eq!(line(mixed), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1:0:0:2 4711 80\r\n");
        let header = of(&v2(b""), mixed);
        assert_eq!(header[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(header[16..32], mapped("192.0.2.1".parse().expect("an address")).octets());
    }

    #[test]
    fn what_is_for_nobody_says_so() {
        let own = ProxyHeader::V1.bytes(None, || Some(ends(V4)));
        assert_eq!(own, of(&ProxyHeader::V1, V4));
        assert_eq!(ProxyHeader::V1.bytes(None, || None), b"PROXY UNKNOWN\r\n");
        let own = v2(b"\x05\0\x03abc").bytes(None, || unreachable!("it is not said"));
        assert_eq!(own, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}

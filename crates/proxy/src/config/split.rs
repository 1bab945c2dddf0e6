//! Parts of encoded messages, without decoding them.

use bytes::{Buf, Bytes, BytesMut};
use tidegate_envoy::prost::DecodeError;
use tidegate_envoy::prost::encoding::{self, DecodeContext, decode_key, skip_field};
use tidegate_xds::assemble::append_message;

/// Field number of `virtual_hosts` in `envoy.config.route.v3.RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;
/// Field number of `routes` in `envoy.config.route.v3.VirtualHost`.
const ROUTES: u32 = 3;

/// An encoded `RouteConfiguration` in two parts: all but the virtual hosts, and each virtual host.
pub(super) fn split_route_configuration(whole: &Bytes) -> Result<(Bytes, Vec<Bytes>), DecodeError> {
    split(whole, VIRTUAL_HOSTS)
}

/// An encoded `VirtualHost` in two parts: all but the routes, and each route.
pub(super) fn split_virtual_host(whole: &Bytes) -> Result<(Bytes, Vec<Bytes>), DecodeError> {
    split(whole, ROUTES)
}

/// An encoded `VirtualHost` of its two parts.
pub(super) fn join_virtual_host(around: &[u8], routes: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::from(around);
    for route in routes {
        append_message(ROUTES, route, &mut whole);
    }
    whole.freeze()
}

/// All but one repeated field, and its entries.
fn split(whole: &Bytes, repeated: u32) -> Result<(Bytes, Vec<Bytes>), DecodeError> {
    let mut rest = whole.clone();
    let mut around = BytesMut::new();
    let mut entries = Vec::new();
    while rest.has_remaining() {
        let field = rest.clone();
        let (number, wire_type) = decode_key(&mut rest)?;
        if number == repeated {
            let mut entry = Bytes::new();
            encoding::bytes::merge(wire_type, &mut entry, &mut rest, DecodeContext::default())?;
            entries.push(entry);
        } else {
            skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
            around.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    Ok((around.freeze(), entries))
}

#[cfg(test)]
mod tests {
    use tidegate_envoy::prost::Message;
    use tidegate_envoy::v3::route::{RouteConfiguration, VirtualHost};

    use super::*;

    #[test]
    fn the_parts_make_the_whole() {
        let host = |name: &str| VirtualHost { name: name.into(), ..VirtualHost::default() };
        let around = RouteConfiguration {
            name: "r".into(),
            ignore_port_in_host_matching: true,
            ..RouteConfiguration::default()
        };
        let whole =
            RouteConfiguration { virtual_hosts: vec![host("a"), host("b")], ..around.clone() };
        let bytes = Bytes::from(whole.encode_to_vec());
        let (rest, hosts) = split_route_configuration(&bytes).expect("well formed");
        assert_eq!(rest, around.encode_to_vec());
        assert_eq!(hosts, [host("a").encode_to_vec(), host("b").encode_to_vec()]);
        for cut in 1..bytes.len() {
            // Cut anywhere, it is refused or has fewer hosts; it never panics.
            let parts = split_route_configuration(&bytes.slice(..cut));
            assert!(
                parts.map_or(true, |(_, hosts)| hosts.len() < 2 || cut > bytes.len() - 4),
                "{cut}"
            );
        }
        assert!(split_route_configuration(&Bytes::from_static(b"\x10\x01")).is_err());
    }
}

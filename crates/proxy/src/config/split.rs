//! Parts of encoded messages, without decoding them.

use bytes::{Buf, Bytes, BytesMut};
use tidegate_envoy::prost::DecodeError;
use tidegate_envoy::prost::encoding::{self, DecodeContext, decode_key, skip_field};

/// Field number of `virtual_hosts` in `envoy.config.route.v3.RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;

/// An encoded `RouteConfiguration` in two parts: all but the virtual hosts, and each virtual host.
pub(super) fn split_route_configuration(whole: &Bytes) -> Result<(Bytes, Vec<Bytes>), DecodeError> {
    let mut rest = whole.clone();
    let mut around = BytesMut::new();
    let mut hosts = Vec::new();
    while rest.has_remaining() {
        let field = rest.clone();
        let (number, wire_type) = decode_key(&mut rest)?;
        if number == VIRTUAL_HOSTS {
            let mut host = Bytes::new();
            encoding::bytes::merge(wire_type, &mut host, &mut rest, DecodeContext::default())?;
            hosts.push(host);
        } else {
            skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
            around.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    Ok((around.freeze(), hosts))
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

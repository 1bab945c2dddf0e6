//! Parts of encoded messages, without decoding them.

use bytes::{Buf, Bytes, BytesMut};
use tidegate_envoy::prost::DecodeError;
use tidegate_envoy::prost::encoding::{self, DecodeContext, decode_key, skip_field};
use tidegate_xds::assemble::append_message;

/// Field number of `virtual_hosts` in `envoy.config.route.v3.RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;
/// Field number of `routes` in `envoy.config.route.v3.VirtualHost`.
const ROUTES: u32 = 3;
/// Field number of `filter_chains` in `envoy.config.listener.v3.Listener`.
const FILTER_CHAINS: u32 = 3;
/// Field number of `default_filter_chain` in it.
const DEFAULT_FILTER_CHAIN: u32 = 25;

/// An encoded `Listener` in parts.
pub(super) struct ListenerParts {
    /// All but the chains.
    pub around: Bytes,
    /// Each of `filter_chains`.
    pub chains: Vec<Bytes>,
    /// `default_filter_chain`.
    pub default: Option<Bytes>,
}

/// An encoded `RouteConfiguration` in two parts: all but the virtual hosts, and each virtual host.
pub(super) fn split_route_configuration(whole: &Bytes) -> Result<(Bytes, Vec<Bytes>), DecodeError> {
    split(whole, VIRTUAL_HOSTS)
}

/// An encoded `VirtualHost` in two parts: all but the routes, and each route.
pub(super) fn split_virtual_host(whole: &Bytes) -> Result<(Bytes, Vec<Bytes>), DecodeError> {
    split(whole, ROUTES)
}

/// An encoded `Listener` in its parts.
pub(super) fn split_listener(whole: &Bytes) -> Result<ListenerParts, DecodeError> {
    let (around, chains) = split(whole, FILTER_CHAINS)?;
    let (around, mut default) = split(&around, DEFAULT_FILTER_CHAIN)?;
    let default = match default.len() {
        0 | 1 => default.pop(),
        // A message that comes in pieces is what they are one after the other.
        _ => Some(default.concat().into()),
    };
    Ok(ListenerParts { around, chains, default })
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
    use tidegate_envoy::v3::listener::{FilterChain, Listener};
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

    #[test]
    fn a_listener_has_two_kinds_of_chains() {
        let chain = |name: &str| FilterChain { name: name.into(), ..FilterChain::default() };
        let around =
            Listener { name: "l".into(), use_original_dst: Some(true), ..Listener::default() };
        let whole = Listener {
            filter_chains: vec![chain("a"), chain("b")],
            default_filter_chain: Some(chain("c")),
            ..around.clone()
        };
        let mut bytes = whole.encode_to_vec();
        let parts = split_listener(&bytes.clone().into()).expect("well formed");
        assert_eq!(parts.around, around.encode_to_vec());
        assert_eq!(parts.chains, [chain("a").encode_to_vec(), chain("b").encode_to_vec()]);
        assert_eq!(parts.default, Some(chain("c").encode_to_vec().into()));

        // The default chain in two pieces.
        let more = FilterChain {
            transport_socket_connect_timeout: Some(Default::default()),
            ..FilterChain::default()
        };
        let more = Listener { default_filter_chain: Some(more), ..Listener::default() };
        bytes.extend(more.encode_to_vec());
        let parts = split_listener(&bytes.clone().into()).expect("well formed");
        let default = FilterChain::decode(parts.default.expect("there")).expect("well formed");
        assert_eq!(
            Listener::decode(&bytes[..]).expect("well formed").default_filter_chain,
            Some(default)
        );
        assert!(split_listener(&Bytes::new()).is_ok_and(|parts| parts.default.is_none()));
    }
}

//! Whole messages from the parts that the snapshot holds apart, without decoding them.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Field number of `virtual_hosts` in `envoy.config.route.v3.RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;

/// The name of a virtual host's resource: `ROUTE_CONFIGURATION/VIRTUAL_HOST`, as in VHDS.
#[must_use]
pub fn virtual_host_name(route_configuration: &str, virtual_host: &str) -> String {
    format!("{route_configuration}/{virtual_host}")
}

/// Splits a virtual host's resource name into route configuration and virtual host.
///
/// The last slash divides: a virtual host is named `HOST:PORT`, which has none.
#[must_use]
pub fn split_virtual_host_name(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('/')
}

/// An encoded `RouteConfiguration` from its encoded skeleton and its encoded virtual hosts.
///
/// Protobuf appends repeated fields when messages are concatenated, so this copies bytes and decodes nothing.
pub fn route_configuration<'a>(
    skeleton: &[u8],
    virtual_hosts: impl Iterator<Item = &'a Bytes> + Clone,
) -> Bytes {
    let entry =
        |host: &Bytes| key_len(VIRTUAL_HOSTS) + encoded_len_varint(host.len() as u64) + host.len();
    let hosts: usize = virtual_hosts.clone().map(entry).sum();
    let mut whole = BytesMut::with_capacity(skeleton.len() + hosts);
    whole.put_slice(skeleton);
    for host in virtual_hosts {
        encode_key(VIRTUAL_HOSTS, WireType::LengthDelimited, &mut whole);
        encode_varint(host.len() as u64, &mut whole);
        whole.put_slice(host);
    }
    whole.freeze()
}

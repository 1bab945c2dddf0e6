//! Whole messages from the parts that the snapshot holds apart, without decoding them.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};

/// Field number of `virtual_hosts` in `envoy.config.route.v3.RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;

/// Bytes before an entry at most: a key, and a length below 2^35.
const MAX_ENTRY_HEAD: usize = 10;

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

/// An encoded `RouteConfiguration` from its encoded skeleton and its encoded virtual hosts, without
/// decoding any.
pub fn route_configuration<'a>(
    skeleton: &[u8],
    virtual_hosts: impl Iterator<Item = &'a Bytes> + Clone,
) -> Bytes {
    let hosts: usize = virtual_hosts.clone().map(|h| h.len() + MAX_ENTRY_HEAD).sum();
    let mut whole = BytesMut::with_capacity(skeleton.len() + hosts);
    whole.put_slice(skeleton);
    for host in virtual_hosts {
        append_message(VIRTUAL_HOSTS, host, &mut whole);
    }
    whole.freeze()
}

/// Appends an encoded message to an encoded message, as one more entry of a repeated field: protobuf joins
/// repeated fields wherever they stand.
pub fn append_message(field: u32, message: &[u8], whole: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, whole);
    encode_varint(message.len() as u64, whole);
    whole.put_slice(message);
}

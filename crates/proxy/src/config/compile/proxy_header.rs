//! PROXY headers to endpoints.

use tidegate_envoy::v3::core::proxy_protocol_config::Version;
use tidegate_envoy::v3::core::transport_socket::ConfigType;
use tidegate_envoy::v3::core::{ProxyProtocolConfig, TlvEntry, TransportSocket};
use tidegate_envoy::v3::proxy_protocol::ProxyProtocolUpstreamTransport;

use crate::config::refusal::{Refusal, Within};
use crate::upstream::proxy_header::{MOST_ADDED, ProxyHeader};

use super::value::enumeration;
use super::{Links, is, unpack};

/// The transport socket that puts a header around another one, if it is that.
pub(super) fn around(
    socket: Option<&TransportSocket>,
) -> Result<Option<ProxyProtocolUpstreamTransport>, Refusal> {
    match socket.and_then(|socket| socket.config_type.as_ref()) {
        Some(ConfigType::TypedConfig(any)) if is::<ProxyProtocolUpstreamTransport>(any) => {
            unpack(any).map(Some).within("typed_config")
        }
        _ => Ok(None),
    }
}

/// The header; version 1 where nothing is said.
pub(super) fn header(
    proto: Option<&ProxyProtocolConfig>,
    links: &mut impl Links,
) -> Result<ProxyHeader, Refusal> {
    let Some(proto) = proto else { return Ok(ProxyHeader::V1) };
    let mut added = Vec::new();
    for (index, entry) in proto.added_tlvs.iter().enumerate() {
        add(entry, &mut added).within_item("added_tlvs", index)?;
    }
    match enumeration("version", proto.version)? {
        Version::V1 => {
            if !added.is_empty() {
                let reason = "has no effect: only version V2 has room for them";
                links.notice(Refusal::of("added_tlvs", reason));
            }
            Ok(ProxyHeader::V1)
        }
        Version::V2 => Ok(ProxyHeader::V2 { added: added.into() }),
    }
}

/// Adds what goes behind the addresses: a type, a length and a value (section 2.2 of the protocol).
fn add(entry: &TlvEntry, added: &mut Vec<u8>) -> Result<(), Refusal> {
    let Ok(kind) = u8::try_from(entry.r#type) else {
        return Err(Refusal::of("type", "must be below 256"));
    };
    if entry.value.is_empty() {
        return Err(Refusal::of("value", "must not be empty"));
    }
    let room = MOST_ADDED.saturating_sub(added.len() + 3);
    let length = u16::try_from(entry.value.len()).ok().filter(|_| entry.value.len() <= room);
    let Some(length) = length else {
        let reason = format!("is longer than what is left of {MOST_ADDED} bytes for all of them");
        return Err(Refusal::of("value", reason));
    };
    added.push(kind);
    added.extend(length.to_be_bytes());
    added.extend(&entry.value);
    Ok(())
}

//! `google.protobuf.Any`, type URLs and the descriptor pool they are looked up in.

use std::sync::LazyLock;

use prost::Name;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use prost_types::Any;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!("../descriptors.bin").as_slice())
        .expect("the committed descriptor set is well formed: a test makes it again")
});

/// Descriptors of every type in `protos.txt`, those without a Rust type too. The first call
/// decodes the set, which takes some milliseconds and 8 MiB: it comes with the first resource, as each is held against the
/// capability table by its descriptor.
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// Why an `Any`, or bytes with a type, could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnyError {
    /// The type URL names a type that is not in the pool.
    #[error("type `{0}` is not known here")]
    UnknownType(String),
    /// The type URL names another type than the one asked for.
    #[error("expected `{expected}`, found `{found}`")]
    OtherType {
        /// The full name of the type that was asked for.
        expected: String,
        /// The type URL that was found.
        found: String,
    },
    /// The bytes are no message of that type.
    #[error("`{type_name}` does not decode: {reason}")]
    Malformed {
        /// The full name of the type.
        type_name: String,
        /// What the decoder met.
        reason: String,
    },
}

/// `type.googleapis.com/` and the full name of `T`.
pub fn type_url<T: Name>() -> String {
    T::type_url()
}

/// The full name inside a type URL: what follows the last slash.
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// The message in an `Any`.
pub fn any<T: Name>(message: &T) -> Any {
    Any { type_url: T::type_url(), value: message.encode_to_vec() }
}

/// The message out of an `Any` that must hold a `T`.
///
/// # Errors
/// The `Any` holds another type, or bytes that are no `T`.
pub fn unpack<T: Name + Default>(any: &Any) -> Result<T, AnyError> {
    if type_name(&any.type_url) != T::full_name() {
        return Err(AnyError::OtherType { expected: T::full_name(), found: any.type_url.clone() });
    }
    T::decode(any.value.as_slice()).map_err(|error| malformed(&T::full_name(), &error))
}

/// The descriptor of a type, by full name or type URL.
///
/// # Errors
/// The type is not in the pool.
pub fn describe(type_url: &str) -> Result<MessageDescriptor, AnyError> {
    let name = type_name(type_url);
    pool().get_message_by_name(name).ok_or_else(|| AnyError::UnknownType(name.to_owned()))
}

/// Bytes of a type, by full name or type URL, as a message for reflection. Fields that this pool
/// does not know are kept.
///
/// # Errors
/// The type is not in the pool, or the bytes are no such message.
pub fn dynamic(type_url: &str, bytes: &[u8]) -> Result<DynamicMessage, AnyError> {
    DynamicMessage::decode(describe(type_url)?, bytes)
        .map_err(|error| malformed(type_name(type_url), &error))
}

fn malformed(type_name: &str, error: &prost::DecodeError) -> AnyError {
    AnyError::Malformed { type_name: type_name.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::v3::cluster::Cluster;
    use crate::v3::core::Address;

    #[test]
    fn any_round_trip() {
        let cluster = Cluster { name: "a".into(), ..Cluster::default() };
        let packed = any(&cluster);
        assert_eq!(packed.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
        assert_eq!(unpack::<Cluster>(&packed), Ok(cluster));
    }

    #[test]
    fn unpack_names_both_types() {
        let error = unpack::<Address>(&any(&Cluster::default())).expect_err("another type");
        assert_eq!(
            error.to_string(),
            "expected `envoy.config.core.v3.Address`, found \
             `type.googleapis.com/envoy.config.cluster.v3.Cluster`"
        );
    }

    #[test]
    fn unknown_types_and_bad_bytes_are_told_apart() {
        assert_eq!(
            dynamic("type.googleapis.com/acme.Unknown", b"").expect_err("not in the pool"),
            AnyError::UnknownType("acme.Unknown".into())
        );
        let error = dynamic("envoy.config.cluster.v3.Cluster", b"\xff").expect_err("bad bytes");
        assert!(matches!(error, AnyError::Malformed { .. }));
    }

    #[test]
    fn unknown_fields_survive_reflection() {
        let bytes = [0x8a, 0xfa, 0x01, 0x01, b'x']; // field 4001, one byte
        let message = dynamic("envoy.config.core.v3.Address", &bytes).expect("decodes");
        assert_eq!(message.encode_to_vec(), bytes);
    }

    #[test]
    fn every_generated_type_is_in_the_pool() {
        for name in [Cluster::full_name(), crate::v3::hcm::HttpConnectionManager::full_name()] {
            assert!(pool().get_message_by_name(&name).is_some(), "{name}");
        }
        for name in ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"] {
            assert!(pool().get_message_by_name(name).is_some(), "{name}");
        }
    }
}

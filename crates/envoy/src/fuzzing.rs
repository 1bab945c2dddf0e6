//! Bodies of fuzz targets, as plain functions: any driver may feed them.

use prost_reflect::DynamicMessage;

use crate::json::{FieldNames, message_from_json, message_to_json};
use crate::{capability, describe, dynamic, encode};

/// JSON as a bootstrap: what is read is written and read again, to the same bytes.
///
/// # Panics
/// When that does not hold.
pub fn json(data: &[u8]) {
    let Ok(value) = serde_json::from_slice(data) else { return };
    let descriptor = describe("envoy.config.bootstrap.v3.Bootstrap").expect("in the pool");
    match message_from_json(&descriptor, &value) {
        Ok(message) => check(&message),
        Err(error) => assert!(!error.reason.is_empty()),
    }
}

/// Bytes as a listener, as a peer may send them over ADS.
///
/// # Panics
/// When what is decoded cannot be shown, or does not survive a round trip.
pub fn wire(data: &[u8]) {
    if let Ok(message) = dynamic("envoy.config.listener.v3.Listener", data) {
        check(&message);
    }
}

fn check(message: &DynamicMessage) {
    let bytes = encode(message);
    let again = DynamicMessage::decode(prost_reflect::ReflectMessage::descriptor(message), &*bytes)
        .expect("what was encoded decodes");
    assert_eq!(encode(&again), bytes, "encoding is stable");
    for names in [FieldNames::Proto, FieldNames::Camel] {
        let shown = message_to_json(message, names);
        assert_eq!(message_to_json(&again, names), shown);
    }
    let report = capability::check(message);
    assert_eq!(capability::check(&again), report);
}

//! MERGE: what a patch says takes the place of what is there, field by field.

use tidegate_envoy::prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value,
};
use tidegate_envoy::{dynamic, encode, type_name};

/// What becomes of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// They grow (MERGE).
    Grow,
    /// They are replaced (MERGE_AND_REPLACE_LIST).
    Replace,
}

/// Merges `from` into `into`, which is of the same type. Numbers and texts are replaced, also those in wrappers, and
/// durations; messages are merged, also those in an `Any`; what a map has under a key is replaced, but for an `Any` of the
/// same type. A transport socket of another name takes the place of the one that is there.
///
/// # Errors
/// A filter's configuration is of another type than the filter's.
pub fn merge(into: &mut DynamicMessage, from: &DynamicMessage, lists: Lists) -> Result<(), String> {
    for (field, value) in from.fields() {
        if field.is_list() {
            merge_list(into, &field, value, lists);
        } else if field.is_map() {
            merge_map(into, &field, value, lists)?;
        } else if let (true, Value::Message(from)) = (into.has_field(&field), value)
            && !is_value(&field)
            && !is_other_socket(into, &field, from)
        {
            if let Value::Message(into) = into.get_field_mut(&field) {
                merge_messages(into, from, lists)
                    .map_err(|reason| within(field.name(), &reason))?;
            }
        } else {
            into.set_field(&field, value.clone());
        }
    }
    Ok(())
}

/// The field of a cluster that has its transport socket.
const SOCKET_OF_CLUSTER: &str = "transport_socket";

/// A cluster's patch that has a transport socket has nothing else, as in Istio: that alone, and the fields that are left out.
#[must_use]
pub fn socket_alone(value: &DynamicMessage) -> Option<(DynamicMessage, Vec<String>)> {
    if !value.has_field_by_name(SOCKET_OF_CLUSTER) {
        return None;
    }
    let socket = value.get_field_by_name(SOCKET_OF_CLUSTER)?.into_owned();
    let mut alone = DynamicMessage::new(value.descriptor());
    alone.set_field_by_name(SOCKET_OF_CLUSTER, socket);
    let names = value.fields().map(|(field, _)| field.name().to_owned());
    Some((alone, names.filter(|name| name != SOCKET_OF_CLUSTER).collect()))
}

fn within(field: &str, reason: &str) -> String {
    let dot = if reason.starts_with(':') { "" } else { "." };
    format!("{field}{dot}{reason}")
}

/// Durations, times, and what only wraps a value: half of one is none.
fn is_value(field: &FieldDescriptor) -> bool {
    let Kind::Message(message) = field.kind() else { return true };
    let name = message.full_name();
    let of_google = name.strip_prefix("google.protobuf.");
    of_google.is_some_and(|name| name != "Any" && name != "Struct")
}

/// Whether a field has a transport socket, and is given another: TLS is not half of what carries no TLS.
fn is_other_socket(into: &DynamicMessage, field: &FieldDescriptor, from: &DynamicMessage) -> bool {
    const SOCKET: &str = "envoy.config.core.v3.TransportSocket";
    let name = |message: &DynamicMessage| {
        message.get_field_by_name("name").map(std::borrow::Cow::into_owned)
    };
    from.descriptor().full_name() == SOCKET
        && into.get_field(field).as_message().is_some_and(|there| name(there) != name(from))
}

fn merge_list(into: &mut DynamicMessage, field: &FieldDescriptor, value: &Value, lists: Lists) {
    match (into.get_field_mut(field), value) {
        (Value::List(there), Value::List(more)) if lists == Lists::Grow => {
            there.extend(more.iter().cloned());
        }
        (there, value) => *there = value.clone(),
    }
}

fn merge_map(
    into: &mut DynamicMessage,
    field: &FieldDescriptor,
    value: &Value,
    lists: Lists,
) -> Result<(), String> {
    let (Value::Map(there), Value::Map(more)) = (into.get_field_mut(field), value) else {
        return Ok(());
    };
    for (key, value) in more {
        match (there.get_mut(key), value) {
            (Some(Value::Message(there)), Value::Message(from)) if is_same_any(there, from) => {
                merge_messages(there, from, lists)
                    .map_err(|reason| within(field.name(), &reason))?;
            }
            _ => {
                there.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

fn merge_messages(
    into: &mut DynamicMessage,
    from: &DynamicMessage,
    lists: Lists,
) -> Result<(), String> {
    if !is_any(into) {
        return merge(into, from, lists);
    }
    let ((url, there), (from_url, more)) = (any(into), any(from));
    if !is_same_any(into, from) {
        return Err(format!(
            ": is `{}`, which `{}` cannot be merged into",
            type_name(&url),
            type_name(&from_url)
        ));
    }
    let read = |bytes: &[u8]| dynamic(&url, bytes).map_err(|error| format!(": {error}"));
    let mut message = read(&there)?;
    merge(&mut message, &read(&more)?, lists)?;
    into.set_field_by_number(2, Value::Bytes(encode(&message).into()));
    Ok(())
}

fn is_any(message: &DynamicMessage) -> bool {
    message.descriptor().full_name() == "google.protobuf.Any"
}

/// Whether both are an `Any`, of one type.
fn is_same_any(a: &DynamicMessage, b: &DynamicMessage) -> bool {
    is_any(a) && is_any(b) && type_name(&any(a).0) == type_name(&any(b).0)
}

/// The URL and the bytes of an `Any`.
pub(super) fn any(message: &DynamicMessage) -> (String, Vec<u8>) {
    let url = message.get_field_by_number(1);
    let bytes = message.get_field_by_number(2);
    (
        url.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned(),
        bytes.as_deref().and_then(Value::as_bytes).map(|bytes| bytes.to_vec()).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use tidegate_envoy::json::{FieldNames, message_from_istio, message_to_json};

    use super::*;

    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

    fn merged(kind: &str, into: &Json, from: &Json, lists: Lists) -> Result<Json, String> {
        let message = |json: &Json| message_from_istio(kind, json).expect("a message");
        let mut into = message(into);
        merge(&mut into, &message(from), lists)?;
        Ok(message_to_json(&into, FieldNames::Proto))
    }

    #[test]
    fn values_replace_messages_merge_and_lists_grow() {
        let there = json!({
            "name": "c", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [{"max_requests": 7}]},
            "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 7, "keepalive_probes": 2}},
        });
        let patch = json!({
            "connect_timeout": "0.5s",
            "circuit_breakers": {"thresholds": [{"priority": "HIGH"}]},
            "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 9}},
        });
        let wanted = |thresholds: Json| {
            json!({
                "name": "c", "connect_timeout": "0.500s",
                "circuit_breakers": {"thresholds": thresholds},
                "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 9, "keepalive_probes": 2}},
            })
        };
        let grown = json!([{"max_requests": 7}, {"priority": "HIGH"}]);
        assert_eq!(merged(CLUSTER, &there, &patch, Lists::Grow), Ok(wanted(grown)));
        let replaced = json!([{"priority": "HIGH"}]);
        assert_eq!(merged(CLUSTER, &there, &patch, Lists::Replace), Ok(wanted(replaced)));
    }

    #[test]
    fn of_alternatives_the_patchs_stands() {
        let kind = "envoy.config.route.v3.Route";
        let there = json!({"match": {"prefix": "/a"}, "route": {"cluster": "c", "timeout": "1s"}});
        let patch = json!({"match": {"path": "/b"}, "direct_response": {"status": 403}});
        let wanted = json!({"match": {"path": "/b"}, "direct_response": {"status": 403}});
        assert_eq!(merged(kind, &there, &patch, Lists::Grow), Ok(wanted));
    }

    #[test]
    fn what_is_packed_is_merged_inside() {
        let kind = "envoy.config.listener.v3.Filter";
        let url = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let there = json!({"name": "f", "typed_config":
            {"@type": url, "stat_prefix": "s", "cluster": "c", "idle_timeout": "9s"}});
        let patch = json!({"typed_config": {"@type": url, "idle_timeout": "2s"}});
        let wanted = json!({"name": "f", "typed_config":
            {"@type": url, "stat_prefix": "s", "cluster": "c", "idle_timeout": "2s"}});
        assert_eq!(merged(kind, &there, &patch, Lists::Grow), Ok(wanted));
        let other = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo";
        let refused = merged(kind, &there, &json!({"typed_config": {"@type": other}}), Lists::Grow);
        let reason = refused.expect_err("another type");
        assert!(reason.starts_with("typed_config: is `envoy"), "{reason}");
    }

    #[test]
    fn a_transport_socket_of_another_name_takes_the_place() {
        let socket = |name: &str, kind: &str, more: Json| {
            let mut config = more;
            config["@type"] =
                format!("type.googleapis.com/envoy.extensions.transport_sockets.{kind}").into();
            json!({"transport_socket": {"name": name, "typed_config": config}})
        };
        let tls = "tls.v3.UpstreamTlsContext";
        let there = socket("envoy.transport_sockets.tls", tls, json!({"sni": "a.example"}));
        let plain =
            socket("envoy.transport_sockets.raw_buffer", "raw_buffer.v3.RawBuffer", json!({}));
        assert_eq!(merged(CLUSTER, &there, &plain, Lists::Grow), Ok(plain));
        let more = json!({"allow_renegotiation": true});
        let more = socket("envoy.transport_sockets.tls", tls, more);
        let both = json!({"sni": "a.example", "allow_renegotiation": true});
        let both = socket("envoy.transport_sockets.tls", tls, both);
        assert_eq!(merged(CLUSTER, &there, &more, Lists::Grow), Ok(both));
    }

    #[test]
    fn of_a_map_the_entries_are_replaced_or_merged_inside() {
        let kind = "envoy.config.route.v3.VirtualHost";
        let url = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
        let buffer = |fields: Json| {
            let mut buffer = fields;
            buffer["@type"] = url.into();
            buffer
        };
        let there = json!({"typed_per_filter_config": {
            "a": buffer(json!({"max_request_bytes": 1})), "b": buffer(json!({"max_request_bytes": 2})),
        }});
        let patch = json!({"typed_per_filter_config": {
            "b": buffer(json!({"max_request_bytes": 3})), "c": buffer(json!({})),
        }});
        let wanted = json!({"typed_per_filter_config": {
            "a": buffer(json!({"max_request_bytes": 1})), "b": buffer(json!({"max_request_bytes": 3})),
            "c": buffer(json!({})),
        }});
        assert_eq!(merged(kind, &there, &patch, Lists::Grow), Ok(wanted));
    }
}

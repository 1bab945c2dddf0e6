//! What a dump never shows: keys, passwords, tokens.

use serde_json::Value as Json;

/// What stands for a secret text.
const TEXT: &str = "[redacted]";
/// The same in base64, for secret bytes.
const BYTES: &str = "W3JlZGFjdGVkXQ==";

/// Fields that Envoy's API marks as sensitive (`udpa.annotations.sensitive`), by protobuf's name. A field of
/// another message with such a name is hidden, too: showing less is the safe side.
const SENSITIVE: [&str; 4] = ["private_key", "private_key_provider", "password", "pkcs12"];

/// Names that are sensitive only inside a field of another name.
const SENSITIVE_INSIDE: [(&str, &str); 3] =
    [("session_ticket_keys", "keys"), ("generic_secret", "secret"), ("generic_secret", "secrets")];

/// Hides everything below a sensitive field, as Envoy does: texts and bytes become `[redacted]`, numbers go.
pub(super) fn redact(value: &mut Json) {
    redact_inside("", value);
}

fn redact_inside(parent: &str, value: &mut Json) {
    match value {
        Json::Object(object) => {
            for (key, value) in object {
                let key = key.as_str();
                if SENSITIVE.contains(&key) || SENSITIVE_INSIDE.contains(&(parent, key)) {
                    hide(value, false);
                } else {
                    redact_inside(key, value);
                }
            }
        }
        Json::Array(elements) => {
            elements.iter_mut().for_each(|element| redact_inside(parent, element));
        }
        _ => {}
    }
}

fn hide(value: &mut Json, bytes: bool) {
    match value {
        Json::Object(object) => {
            object.retain(|_, value| !value.is_number() && !value.is_boolean());
            for (key, value) in object {
                if key != "@type" {
                    hide(value, key == "inline_bytes");
                }
            }
        }
        Json::Array(elements) => elements.iter_mut().for_each(|element| hide(element, bytes)),
        Json::String(text) => *text = if bytes { BYTES } else { TEXT }.to_owned(),
        other => *other = Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let mut value = json!({
            "name": "s",
            "secret": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "s",
                "tls_certificate": {
                    "certificate_chain": {"inline_string": "CERT"},
                    "private_key": {"inline_bytes": "S0VZ"},
                    "password": {"filename": "/etc/pass"},
                },
                "session_ticket_keys": {"keys": [{"inline_string": "T"}]},
                "generic_secret": {"secret": {"inline_string": "G"}, "secrets": {"a": {"inline_string": "H"}}},
            },
        });
        redact(&mut value);
        assert_eq!(value["name"], "s");
        assert_eq!(
            value["secret"],
            json!({
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "s",
                "tls_certificate": {
                    "certificate_chain": {"inline_string": "CERT"},
                    "private_key": {"inline_bytes": "W3JlZGFjdGVkXQ=="},
                    "password": {"filename": "[redacted]"},
                },
                "session_ticket_keys": {"keys": [{"inline_string": "[redacted]"}]},
                "generic_secret": {
                    "secret": {"inline_string": "[redacted]"},
                    "secrets": {"a": {"inline_string": "[redacted]"}},
                },
            })
        );
    }
}

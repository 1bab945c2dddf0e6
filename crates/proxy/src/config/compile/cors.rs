//! Cross-origin requests.

use tidegate_envoy::v3::cors::CorsPolicy as Proto;

use crate::config::refusal::{Refusal, each};
use crate::filter::cors::CorsPolicy;

use super::matching::{share, text};
use super::value::header_value;

/// What a route, a virtual host or a route configuration says.
pub(super) fn cors(proto: &Proto) -> Result<CorsPolicy, Refusal> {
    let value = |field, text| header_value(field, text).map(Into::into);
    Ok(CorsPolicy {
        origins: each("allow_origin_string_match", &proto.allow_origin_string_match, text)?,
        methods: value("allow_methods", &proto.allow_methods)?,
        headers: value("allow_headers", &proto.allow_headers)?,
        expose: value("expose_headers", &proto.expose_headers)?,
        max_age: value("max_age", &proto.max_age)?,
        credentials: proto.allow_credentials,
        private_network: proto.allow_private_network_access,
        forward_unmatched: proto.forward_not_matching_preflights,
        enabled: share("filter_enabled", proto.filter_enabled.as_ref())?,
        shadow: share("shadow_enabled", proto.shadow_enabled.as_ref())?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::testing::proto;
    use crate::route::Fraction;

    use super::*;

    #[test]
    fn policies_and_their_faults() {
        let compile = |json: serde_json::Value| cors(&proto(&json));
        let whole = compile(json!({
            "allow_origin_string_match": [{"exact": "https://a.example"}],
            "allow_methods": "GET,PUT", "max_age": "60", "allow_credentials": true,
            "filter_enabled": {"default_value": {"numerator": 7, "denominator": "HUNDRED"}},
        }));
        let whole = whole.expect("valid");
        assert!(whole.allows(b"https://a.example"));
        assert_eq!((&*whole.methods, &*whole.max_age), ("GET,PUT", "60"));
        assert_eq!(whole.enabled, Some(Fraction { numerator: 7, denominator: 100 }));
        for (wrong, path) in [
            (json!({"allow_origin_string_match": [{}]}), "allow_origin_string_match[0]"),
            (json!({"allow_methods": "GET\n"}), "allow_methods"),
            (json!({"filter_enabled": {}}), "filter_enabled.default_value"),
        ] {
            assert_eq!(compile(wrong).expect_err(path).path, path);
        }
    }
}

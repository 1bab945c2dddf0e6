//! What limits know requests by (`rate_limits`).

use tidegate_envoy::v3::core::CidrRange;
use tidegate_envoy::v3::matcher::AddressMatcher;
use tidegate_envoy::v3::route::RateLimit as ProtoLimit;
use tidegate_envoy::v3::route::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, MaskedRemoteAddress, QueryParameterValueMatch,
    QueryParameters, RemoteAddressMatch, RequestHeaders,
};
use tidegate_envoy::v3::route::rate_limit::{Action as ProtoAction, XRateLimitOption};

use crate::config::refusal::{Refusal, Within as _, each};
use crate::route::rate_limit::{Action, Entry, RateLimit};
use crate::route::{Condition, Field};

use super::address::net;
use super::matching::{header, query};
use super::value::{enumeration, header_name, present, required};

/// The last stage.
const LAST_STAGE: u32 = 10;
/// Most hits of one request that Envoy takes.
const MOST_HITS: u64 = 1_000_000_000;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The filter itself.
    Filter,
    /// A route or a virtual host.
    Route,
}

/// How a descriptor is made; `None` where nothing comes of it.
pub(super) fn rate_limit(proto: &ProtoLimit, whose: Whose) -> Result<Option<RateLimit>, Refusal> {
    let own = whose == Whose::Filter;
    if own && proto.stage.is_some() {
        return Err(Refusal::of("stage", "is for rate_limits of routes"));
    }
    if own && !proto.disable_key.is_empty() {
        return Err(Refusal::of("disable_key", "is for rate_limits of routes"));
    }
    let stage = stage(proto.stage.unwrap_or(0))?;
    if proto.actions.is_empty() {
        return Err(Refusal::of("actions", "must have an entry"));
    }
    let hits = proto.hits_addend.as_ref().and_then(|hits| hits.number).unwrap_or(1);
    if hits > MOST_HITS {
        let reason = format_args!("must be {MOST_HITS} at most");
        return Err(Refusal::of("number", reason)).within("hits_addend");
    }
    let limit = RateLimit {
        stage,
        actions: each("actions", &proto.actions, action)?,
        hits: u32::try_from(hits).unwrap_or(u32::MAX),
        told: match enumeration("x_ratelimit_option", proto.x_ratelimit_option)? {
            XRateLimitOption::Unspecified => None,
            XRateLimitOption::Off => Some(false),
            XRateLimitOption::DraftVersion03 => Some(true),
        },
    };
    // What a key could disable is left out where there is no runtime to say that it is not, as by Envoy's local limits.
    Ok(proto.disable_key.is_empty().then_some(limit))
}

/// Which filters a limit is for.
pub(super) fn stage(stage: u32) -> Result<u32, Refusal> {
    if stage > LAST_STAGE {
        return Err(Refusal::of("stage", format_args!("must be {LAST_STAGE} at most")));
    }
    Ok(stage)
}

fn action(proto: &ProtoAction) -> Result<Action, Refusal> {
    match &proto.action_specifier {
        Some(ActionSpecifier::RequestHeaders(headers)) => {
            request_headers(headers).within("request_headers")
        }
        Some(ActionSpecifier::QueryParameters(parameters)) => {
            query_parameters(parameters).within("query_parameters")
        }
        Some(ActionSpecifier::RemoteAddress(_)) => Ok(Action::Address),
        Some(ActionSpecifier::MaskedRemoteAddress(mask)) => {
            network(mask).within("masked_remote_address")
        }
        Some(ActionSpecifier::GenericKey(key)) => generic_key(key).within("generic_key"),
        Some(ActionSpecifier::HeaderValueMatch(matching)) => {
            header_match(matching).within("header_value_match")
        }
        Some(ActionSpecifier::QueryParameterValueMatch(matching)) => {
            query_match(matching).within("query_parameter_value_match")
        }
        Some(ActionSpecifier::RemoteAddressMatch(matching)) => {
            address_match(matching).within("remote_address_match")
        }
        // The capability table lets nothing else through.
        Some(_) | None => Err(Refusal::new("one of the actions must be set")),
    }
}

fn request_headers(proto: &RequestHeaders) -> Result<Action, Refusal> {
    Ok(Action::Header {
        field: Field::new(&header_name("header_name", &proto.header_name)?),
        key: required("descriptor_key", &proto.descriptor_key)?.into(),
        optional: proto.skip_if_absent,
    })
}

fn query_parameters(proto: &QueryParameters) -> Result<Action, Refusal> {
    let name = required("query_parameter_name", &proto.query_parameter_name)?;
    Ok(Action::Parameter {
        name: name.as_bytes().into(),
        key: required("descriptor_key", &proto.descriptor_key)?.into(),
        optional: proto.skip_if_absent,
    })
}

fn network(proto: &MaskedRemoteAddress) -> Result<Action, Refusal> {
    let length = |field, given: Option<u32>, bits: u8| {
        let length = given.map_or(Some(bits), |length| u8::try_from(length).ok());
        length
            .filter(|length| *length <= bits)
            .ok_or_else(|| Refusal::of(field, format_args!("must be {bits} at most")))
    };
    Ok(Action::Network(
        length("v4_prefix_mask_len", proto.v4_prefix_mask_len, 32)?,
        length("v6_prefix_mask_len", proto.v6_prefix_mask_len, 128)?,
    ))
}

fn generic_key(proto: &GenericKey) -> Result<Action, Refusal> {
    entry(&proto.descriptor_key, "generic_key", &proto.descriptor_value).map(Action::Fixed)
}

fn header_match(proto: &HeaderValueMatch) -> Result<Action, Refusal> {
    if proto.headers.is_empty() {
        return Err(Refusal::of("headers", "must have an entry"));
    }
    Ok(Action::Matching {
        entry: entry(&proto.descriptor_key, "header_match", &proto.descriptor_value)?,
        conditions: each("headers", &proto.headers, |proto| header(proto).map(Condition::Header))?,
        wanted: proto.expect_match.unwrap_or(true),
    })
}

fn query_match(proto: &QueryParameterValueMatch) -> Result<Action, Refusal> {
    if proto.query_parameters.is_empty() {
        return Err(Refusal::of("query_parameters", "must have an entry"));
    }
    Ok(Action::Matching {
        entry: entry(&proto.descriptor_key, "query_match", &proto.descriptor_value)?,
        conditions: each("query_parameters", &proto.query_parameters, query)?,
        wanted: proto.expect_match.unwrap_or(true),
    })
}

fn address_match(proto: &RemoteAddressMatch) -> Result<Action, Refusal> {
    if proto.descriptor_value.contains('%') {
        return Err(Refusal::of("descriptor_value", "variables are not supported here"));
    }
    let AddressMatcher { ranges, invert_match } =
        present("address_matcher", proto.address_matcher.as_ref())?;
    Ok(Action::From {
        entry: entry(&proto.descriptor_key, "remote_address_match", &proto.descriptor_value)?,
        networks: each("ranges", ranges, |range| {
            let prefix = range.address_prefix.clone();
            net(&CidrRange { address_prefix: prefix, prefix_len: range.prefix_len })
        })
        .within("address_matcher")?,
        invert: *invert_match,
    })
}

/// A part that is always the same. As in Envoy, variables in its value are text.
fn entry(key: &str, default: &str, value: &str) -> Result<Entry, Refusal> {
    let value = required("descriptor_value", value)?;
    let key = if key.is_empty() { default } else { key };
    Ok(Entry { key: key.into(), value: value.as_bytes().into() })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::proto;
    use crate::http::RequestHead;
    use crate::route::rate_limit::Part;

    /// The descriptor of `GET /p?id=7&id=8` with some headers from 10.1.2.3, as `key=value` parts.
    fn made(actions: &Value) -> Option<Vec<String>> {
        let mut head = RequestHead::default();
        head.set_method(b"GET");
        head.set_path(b"/p?id=7&id=8");
        for (name, value) in [("x-a", "1"), ("x-b", "2"), ("x-b", "3")] {
            head.headers.append(name.as_bytes(), value.as_bytes());
        }
        let limit = rate_limit(&proto(&json!({"actions": actions})), Whose::Route);
        let limit = limit.unwrap_or_else(|refusal| panic!("{refusal}")).expect("not disabled");
        let client: IpAddr = [10, 1, 2, 3].into();
        let parts = limit.descriptor(&head, client)?.parts;
        let text = |part: &Part<'_>| format!("{}={}", part.key, part.value.escape_ascii());
        Some(parts.iter().map(text).collect())
    }

    #[test]
    fn parts_are_made_as_by_envoy() {
        let header = |name: &str, skip: bool| json!({"request_headers": {"header_name": name, "descriptor_key": "h", "skip_if_absent": skip}});
        let parameter = |name: &str| json!({"query_parameters": {"query_parameter_name": name, "descriptor_key": "q"}});
        let matching = |expect: bool| {
            json!({"header_value_match": {"descriptor_value": "v", "expect_match": expect,
                   "headers": [{"name": "x-a", "string_match": {"exact": "1"}}]}})
        };
        let from = |invert: bool| {
            json!({"remote_address_match": {"descriptor_value": "in", "address_matcher":
                   {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "invert_match": invert}}})
        };
        for (actions, wanted) in [
            (json!([header("x-a", false)]), Some(vec!["h=1"])),
            (json!([header("x-b", false)]), Some(vec!["h=2"])),
            (json!([header(":path", false)]), Some(vec!["h=/p?id=7&id=8"])),
            (json!([header("x-none", false)]), None),
            (json!([header("x-none", true), header("x-a", true)]), Some(vec!["h=1"])),
            (json!([parameter("id")]), Some(vec!["q=7"])),
            (json!([parameter("none")]), None),
            (json!([{"remote_address": {}}]), Some(vec!["remote_address=10.1.2.3"])),
            (
                json!([{"masked_remote_address": {"v4_prefix_mask_len": 16}}]),
                Some(vec!["masked_remote_address=10.1.0.0/16"]),
            ),
            (
                json!([{"generic_key": {"descriptor_value": "%REQ(x-a)%"}}]),
                Some(vec!["generic_key=%REQ(x-a)%"]),
            ),
            (json!([matching(true)]), Some(vec!["header_match=v"])),
            (json!([matching(false)]), None),
            (json!([from(false)]), Some(vec!["remote_address_match=in"])),
            (json!([from(true)]), None),
            (
                json!([{"query_parameter_value_match": {"descriptor_value": "v", "descriptor_key": "k",
                        "query_parameters": [{"name": "id", "present_match": true}]}}, header("x-a", false)]),
                Some(vec!["k=v", "h=1"]),
            ),
        ] {
            let wanted = wanted.map(|parts| parts.into_iter().map(str::to_owned).collect());
            assert_eq!(made(&actions), wanted, "{actions}");
        }
    }

    #[test]
    fn what_a_key_could_disable_is_left_out() {
        let limit = json!({"disable_key": "k", "actions": [{"remote_address": {}}]});
        assert!(matches!(rate_limit(&proto(&limit), Whose::Route), Ok(None)));
        let refused = rate_limit(&proto(&limit), Whose::Filter).map(|_| ());
        assert_eq!(refused.map_err(|refusal| refusal.path), Err("disable_key".to_owned()));
    }
}

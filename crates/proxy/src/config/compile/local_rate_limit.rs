//! The local rate limit.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_envoy::types::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion,
};
use tidegate_envoy::v3::base::{HttpStatus, StatusCode, TokenBucket as ProtoBucket};
use tidegate_envoy::v3::core::RuntimeFractionalPercent;
use tidegate_envoy::v3::local_ratelimit::LocalRateLimit as ProtoLimit;
use tokio::time::Instant;

use crate::config::refusal::{Refusal, Within as _, each};
use crate::filter::local_rate_limit::{Described, Fill, Limiter, LocalRateLimit, OfHosts, Plan};
use crate::route::rate_limit::Entry;
use crate::route::{Fraction, Mutations};

use super::header;
use super::matching::share;
use super::rate_limit::{self, Whose};
use super::value::{enumeration, present, required, timeout};

/// Envoy's default of `max_dynamic_descriptors`.
const DEFAULT_KEPT: u32 = 20;
/// The shortest interval that Envoy takes.
const SHORTEST: Duration = Duration::from_millis(50);
/// As many headers Envoy takes.
const MOST_HEADERS: usize = 10;
/// The status of gRPC for what there is no more of.
const RESOURCE_EXHAUSTED: u32 = 8;

/// The filter, or what a route says instead of it; then there must be a bucket.
pub(super) fn local_rate_limit(
    proto: &ProtoLimit,
    of_route: bool,
) -> Result<Arc<LocalRateLimit>, Refusal> {
    let plan = plan(proto)?;
    if of_route && plan.default.is_none() {
        return Err(Refusal::of(
            "token_bucket",
            "must be set where a route has a limit of its own",
        ));
    }
    let limits = each("rate_limits", &proto.rate_limits, |limit| {
        rate_limit::rate_limit(limit, Whose::Filter)
    })?;
    let told: XRateLimitHeadersRfcVersion =
        enumeration("enable_x_ratelimit_headers", proto.enable_x_ratelimit_headers)?;
    Ok(Arc::new(LocalRateLimit {
        stat_prefix: required("stat_prefix", &proto.stat_prefix)?.into(),
        limiter: ArcSwap::from_pointee(Limiter::new(&plan, Instant::now())),
        plan,
        per_connection: proto.local_rate_limit_per_downstream_connection,
        status: status(proto.status.as_ref())?,
        grpc_status: proto.rate_limited_as_resource_exhausted.then_some(RESOURCE_EXHAUSTED),
        enabled: percent("filter_enabled", proto.filter_enabled.as_ref())?,
        enforced: percent("filter_enforced", proto.filter_enforced.as_ref())?,
        response_headers: headers("response_headers_to_add", &proto.response_headers_to_add)?,
        request_headers: headers(
            "request_headers_to_add_when_not_enforced",
            &proto.request_headers_to_add_when_not_enforced,
        )?,
        descriptors: limits.into_iter().flatten().collect(),
        stage: rate_limit::stage(proto.stage)?,
        of_hosts: match enumeration("vh_rate_limits", proto.vh_rate_limits)? {
            VhRateLimitsOptions::Override => OfHosts::Else,
            VhRateLimitsOptions::Include => OfHosts::Also,
            VhRateLimitsOptions::Ignore => OfHosts::Never,
        },
        told: told == XRateLimitHeadersRfcVersion::DraftVersion03,
    }))
}

fn plan(proto: &ProtoLimit) -> Result<Plan, Refusal> {
    let most_kept = proto.max_dynamic_descriptors.unwrap_or(DEFAULT_KEPT);
    if most_kept == 0 {
        return Err(Refusal::of("max_dynamic_descriptors", "must be 1 at least"));
    }
    let mut known = HashSet::new();
    Ok(Plan {
        default: proto.token_bucket.as_ref().map(fill).transpose().within("token_bucket")?,
        descriptors: each("descriptors", &proto.descriptors, |proto| {
            let described = described(proto)?;
            if !known.insert(described.entries.clone()) {
                return Err(Refusal::of("entries", "another descriptor has the same"));
            }
            Ok(described)
        })?,
        most_kept,
        always_default: proto.always_consume_default_token_bucket.unwrap_or(true),
    })
}

fn described(proto: &LocalRateLimitDescriptor) -> Result<Described, Refusal> {
    if proto.entries.is_empty() {
        return Err(Refusal::of("entries", "must have an entry"));
    }
    Ok(Described {
        entries: each("entries", &proto.entries, |entry| {
            Ok(Entry {
                key: required("key", &entry.key)?.into(),
                value: entry.value.as_bytes().into(),
            })
        })?,
        fill: fill(present("token_bucket", proto.token_bucket.as_ref())?).within("token_bucket")?,
        shadow: proto.shadow_mode,
    })
}

fn fill(proto: &ProtoBucket) -> Result<Fill, Refusal> {
    let interval = present("fill_interval", proto.fill_interval.as_ref())?;
    let interval = timeout("fill_interval", Some(interval), None)?.unwrap_or_default();
    if interval < SHORTEST {
        return Err(Refusal::of("fill_interval", "must be 50 ms at least"));
    }
    let per_interval = proto.tokens_per_fill.unwrap_or(1);
    if per_interval == 0 {
        return Err(Refusal::of("tokens_per_fill", "must be 1 at least"));
    }
    Ok(Fill { max: proto.max_tokens, per_interval, interval })
}

/// As in Envoy, 429 stands for every status that is none of a failure.
fn status(proto: Option<&HttpStatus>) -> Result<u16, Refusal> {
    let Some(proto) = proto else { return Ok(429) };
    if enumeration::<StatusCode>("code", proto.code).within("status")? == StatusCode::Empty {
        return Err(Refusal::of("status.code", "must be a status"));
    }
    let status = u16::try_from(proto.code).ok();
    Ok(status.filter(|status| *status >= 400).unwrap_or(429))
}

/// Nothing where it is not said, as in Envoy.
fn percent(field: &str, proto: Option<&RuntimeFractionalPercent>) -> Result<Fraction, Refusal> {
    Ok(share(field, proto)?.unwrap_or(Fraction::NONE))
}

fn headers(
    field: &str,
    add: &[tidegate_envoy::v3::core::HeaderValueOption],
) -> Result<Mutations, Refusal> {
    if add.len() > MOST_HEADERS {
        return Err(Refusal::of(field, format_args!("must have {MOST_HEADERS} entries at most")));
    }
    Ok(Mutations::new([Arc::new(header::additions(field, add)?)]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::proto;

    fn with(changes: &Value) -> Result<Arc<LocalRateLimit>, String> {
        let mut config = json!({
            "stat_prefix": "p",
            "token_bucket": {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "1s"},
        });
        for (field, value) in changes.as_object().into_iter().flatten() {
            config[field] = value.clone();
        }
        local_rate_limit(&proto(&config), true).map_err(|refusal| refusal.path)
    }

    #[test]
    fn defaults_are_envoys() {
        let limit = with(&json!({})).expect("valid");
        assert_eq!((limit.status, limit.told, limit.per_connection), (429, false, false));
        assert_eq!((limit.enabled, limit.enforced), (Fraction::NONE, Fraction::NONE));
        let Plan { default, most_kept, always_default, .. } = limit.plan;
        assert_eq!((most_kept, always_default), (20, true));
        let interval = Duration::from_secs(1);
        assert_eq!(default, Some(Fill { max: 2, per_interval: 1, interval }));
    }

    #[test]
    fn statuses_of_failures_only() {
        for (code, wanted) in
            [("OK", 429), ("Found", 429), ("Forbidden", 403), ("ServiceUnavailable", 503)]
        {
            let limit = with(&json!({"status": {"code": code}})).expect("valid");
            assert_eq!(limit.status, wanted, "{code}");
        }
    }

    #[test]
    fn refusals_name_the_field() {
        let bucket = |interval: &str| json!({"max_tokens": 1, "fill_interval": interval});
        let entry = json!({"key": "k", "value": "v"});
        let described = json!({"entries": [entry], "token_bucket": bucket("1s")});
        for (changes, path) in [
            (json!({"stat_prefix": ""}), "stat_prefix"),
            (json!({"token_bucket": null}), "token_bucket"),
            (json!({"token_bucket": {"max_tokens": 1}}), "token_bucket.fill_interval"),
            (json!({"token_bucket": bucket("0.049s")}), "token_bucket.fill_interval"),
            (
                json!({"token_bucket": {"max_tokens": 1, "tokens_per_fill": 0, "fill_interval": "1s"}}),
                "token_bucket.tokens_per_fill",
            ),
            (json!({"status": {}}), "status.code"),
            (json!({"stage": 11}), "stage"),
            (json!({"max_dynamic_descriptors": 0}), "max_dynamic_descriptors"),
            (json!({"filter_enabled": {}}), "filter_enabled.default_value"),
            (json!({"descriptors": [{"token_bucket": bucket("1s")}]}), "descriptors[0].entries"),
            (json!({"descriptors": [{"entries": [entry]}]}), "descriptors[0].token_bucket"),
            (json!({"descriptors": [described, described]}), "descriptors[1].entries"),
            (json!({"rate_limits": [{}]}), "rate_limits[0].actions"),
            (
                json!({"rate_limits": [{"stage": 1, "actions": [{"remote_address": {}}]}]}),
                "rate_limits[0].stage",
            ),
            (
                json!({"response_headers_to_add": [{"header": {"key": "a b"}}]}),
                "response_headers_to_add[0].header.key",
            ),
        ] {
            assert_eq!(with(&changes).err().as_deref(), Some(path), "{changes}");
        }
    }
}

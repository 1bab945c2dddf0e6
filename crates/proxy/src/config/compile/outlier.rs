//! Outlier detection of a cluster.

use std::time::Duration;

use tidegate_envoy::types::envoy::config::common::matcher::v3::MatchPredicate;
use tidegate_envoy::types::envoy::config::common::matcher::v3::match_predicate::Rule;
use tidegate_envoy::v3::cluster::{Cluster as ProtoCluster, OutlierDetection};
use tidegate_envoy::v3::matcher::string_matcher::MatchPattern;
use tidegate_envoy::v3::route::HeaderMatcher;
use tidegate_envoy::v3::route::header_matcher::HeaderMatchSpecifier;

use crate::config::refusal::{Refusal, Within, each};
use crate::upstream::outlier::{FailurePercentage, Settings, Statuses, Streak, SuccessRate};

use super::value::{positive, present, timeout};

/// Envoy's default of `healthy_panic_threshold`, percent.
const DEFAULT_PANIC: u32 = 50;

/// How endpoints are judged.
pub(super) fn settings(proto: &OutlierDetection) -> Result<Settings, Refusal> {
    let default = Settings::default();
    let base = positive("base_ejection_time", proto.base_ejection_time.as_ref(), default.base)?;
    let most = proto.max_ejection_time.as_ref();
    let most = positive("max_ejection_time", most, default.most.max(base))?;
    if most < base {
        return Err(Refusal::of(
            "max_ejection_time",
            "must not be shorter than base_ejection_time",
        ));
    }
    let streak = |threshold: Option<u32>, (field, enforcing), default: Streak| {
        let enforcing = percent(field, enforcing, default.enforcing)?;
        Ok(Streak { threshold: threshold.unwrap_or(default.threshold), enforcing })
    };
    let jitter = proto.max_ejection_time_jitter.as_ref();
    Ok(Settings {
        consecutive_5xx: streak(
            proto.consecutive_5xx,
            ("enforcing_consecutive_5xx", proto.enforcing_consecutive_5xx),
            default.consecutive_5xx,
        )?,
        consecutive_gateway_failure: streak(
            proto.consecutive_gateway_failure,
            ("enforcing_consecutive_gateway_failure", proto.enforcing_consecutive_gateway_failure),
            default.consecutive_gateway_failure,
        )?,
        consecutive_local_origin_failure: streak(
            proto.consecutive_local_origin_failure,
            (
                "enforcing_consecutive_local_origin_failure",
                proto.enforcing_consecutive_local_origin_failure,
            ),
            default.consecutive_local_origin_failure,
        )?,
        split: proto.split_external_local_origin_errors,
        interval: positive("interval", proto.interval.as_ref(), default.interval)?,
        base,
        most,
        jitter: timeout("max_ejection_time_jitter", jitter, None)?.unwrap_or(Duration::ZERO),
        max_percent: percent(
            "max_ejection_percent",
            proto.max_ejection_percent,
            default.max_percent,
        )?,
        always_one: proto.always_eject_one_host.unwrap_or(default.always_one),
        success_rate: success_rate(proto, default.success_rate)?,
        failure_percentage: failure_percentage(proto, default.failure_percentage)?,
    })
}

fn success_rate(proto: &OutlierDetection, default: SuccessRate) -> Result<SuccessRate, Refusal> {
    Ok(SuccessRate {
        hosts: proto.success_rate_minimum_hosts.unwrap_or(default.hosts),
        requests: proto.success_rate_request_volume.unwrap_or(default.requests),
        stdev_factor: proto.success_rate_stdev_factor.unwrap_or(default.stdev_factor),
        enforcing: percent(
            "enforcing_success_rate",
            proto.enforcing_success_rate,
            default.enforcing,
        )?,
        enforcing_local: percent(
            "enforcing_local_origin_success_rate",
            proto.enforcing_local_origin_success_rate,
            default.enforcing_local,
        )?,
    })
}

fn failure_percentage(
    proto: &OutlierDetection,
    default: FailurePercentage,
) -> Result<FailurePercentage, Refusal> {
    Ok(FailurePercentage {
        threshold: percent(
            "failure_percentage_threshold",
            proto.failure_percentage_threshold,
            default.threshold,
        )?,
        hosts: proto.failure_percentage_minimum_hosts.unwrap_or(default.hosts),
        requests: proto.failure_percentage_request_volume.unwrap_or(default.requests),
        enforcing: percent(
            "enforcing_failure_percentage",
            proto.enforcing_failure_percentage,
            default.enforcing,
        )?,
        enforcing_local: percent(
            "enforcing_failure_percentage_local_origin",
            proto.enforcing_failure_percentage_local_origin,
            default.enforcing_local,
        )?,
    })
}

fn percent(field: &str, value: Option<u32>, default: u32) -> Result<u32, Refusal> {
    match value {
        Some(over) if over > 100 => Err(Refusal::of(field, "must be 100 at most")),
        value => Ok(value.unwrap_or(default)),
    }
}

/// `healthy_panic_threshold` in whole percent.
pub(super) fn panic_threshold(proto: &ProtoCluster) -> Result<u32, Refusal> {
    let common = proto.common_lb_config.as_ref();
    let Some(percent) = common.and_then(|common| common.healthy_panic_threshold.as_ref()) else {
        return Ok(DEFAULT_PANIC);
    };
    if !(0.0..=100.0).contains(&percent.value) {
        let refusal = Refusal::of("value", "must be 0 to 100");
        return Err(refusal).within("healthy_panic_threshold").within("common_lb_config");
    }
    Ok(percent.value.round() as u32)
}

/// The answers that are failures.
pub(super) fn errors(predicate: &MatchPredicate) -> Result<Statuses, Refusal> {
    let rule = present("rule", predicate.rule.as_ref())?;
    match rule {
        Rule::AnyMatch(_) => Ok(Statuses::of(|_| true)),
        Rule::NotMatch(not) => {
            let not = errors(not).within("not_match")?;
            Ok(Statuses::of(|status| !not.contains(status)))
        }
        Rule::OrMatch(set) => {
            let any = each("rules", &set.rules, errors).within("or_match")?;
            Ok(Statuses::of(|status| any.iter().any(|one| one.contains(status))))
        }
        Rule::AndMatch(set) => {
            let all = each("rules", &set.rules, errors).within("and_match")?;
            Ok(Statuses::of(|status| all.iter().all(|one| one.contains(status))))
        }
        Rule::HttpResponseHeadersMatch(headers) => {
            let all =
                each("headers", &headers.headers, status).within("http_response_headers_match")?;
            Ok(Statuses::of(|status| all.iter().all(|one| one.contains(status))))
        }
        _ => Err(Refusal::new("only http_response_headers_match of :status is supported")),
    }
}

/// What a matcher of `:status` matches.
fn status(matcher: &HeaderMatcher) -> Result<Statuses, Refusal> {
    if !matcher.name.eq_ignore_ascii_case(":status") {
        return Err(Refusal::of("name", "only :status is supported"));
    }
    let exact = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(string)) => match &string.match_pattern {
            Some(MatchPattern::Exact(exact)) => exact,
            _ => return Err(Refusal::of("string_match", "only exact is supported")),
        },
        _ => return Err(Refusal::new("only string_match is supported")),
    };
    Ok(Statuses::of(|status| (status.to_string() == *exact) != matcher.invert_match))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use tidegate_envoy::json::from_json;

    use super::*;

    fn compile(proto: &Json) -> Result<Settings, String> {
        let proto: OutlierDetection = from_json(proto).expect("a message");
        settings(&proto).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn defaults_are_envoys_and_fields_take_their_place() {
        assert_eq!(compile(&json!({})), Ok(Settings::default()));
        let found = compile(&json!({
            "consecutive_5xx": 0, "enforcing_consecutive_5xx": 0,
            "consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100,
            "split_external_local_origin_errors": true, "consecutive_local_origin_failure": 2,
            "interval": "1s", "base_ejection_time": "400s", "max_ejection_time_jitter": "0.5s",
            "max_ejection_percent": 50, "always_eject_one_host": true,
            "enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0,
            "failure_percentage_threshold": 60,
        }))
        .expect("valid");
        let default = Settings::default();
        let expected = Settings {
            consecutive_5xx: Streak { threshold: 0, enforcing: 0 },
            consecutive_gateway_failure: Streak { threshold: 3, enforcing: 100 },
            consecutive_local_origin_failure: Streak { threshold: 2, enforcing: 100 },
            split: true,
            interval: Duration::from_secs(1),
            base: Duration::from_secs(400),
            most: Duration::from_secs(400),
            jitter: Duration::from_millis(500),
            max_percent: 50,
            always_one: true,
            success_rate: SuccessRate { enforcing: 0, enforcing_local: 0, ..default.success_rate },
            failure_percentage: FailurePercentage { threshold: 60, ..default.failure_percentage },
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (proto, field) in [
            (json!({"interval": "0s"}), "interval"),
            (json!({"base_ejection_time": "0s"}), "base_ejection_time"),
            (json!({"max_ejection_time": "1s"}), "max_ejection_time"),
            (json!({"max_ejection_percent": 101}), "max_ejection_percent"),
            (json!({"enforcing_consecutive_5xx": 101}), "enforcing_consecutive_5xx"),
            (json!({"failure_percentage_threshold": 101}), "failure_percentage_threshold"),
        ] {
            let refused = compile(&proto).expect_err("refused");
            assert!(refused.starts_with(field), "{proto}: {refused}");
        }
    }

    #[test]
    fn failures_are_the_statuses_that_are_matched() {
        let is = |status: &str| {
            let exact = json!({"exact": status});
            json!({"http_response_headers_match": {
                "headers": [{"name": ":status", "string_match": exact}],
            }})
        };
        let compile = |proto: &Json| {
            let proto: MatchPredicate = from_json(proto).expect("a message");
            let found = errors(&proto).map_err(|refusal| refusal.path)?;
            Ok((0..1000).filter(|status| found.contains(*status)).collect::<Vec<u16>>())
        };
        let both = json!({"or_match": {"rules": [is("429"), is("503")]}});
        assert_eq!(compile(&is("429")), Ok(vec![429]));
        assert_eq!(compile(&both), Ok(vec![429, 503]));
        let but = json!({"and_match": {"rules": [both, {"not_match": is("503")}]}});
        assert_eq!(compile(&but), Ok(vec![429]));
        assert_eq!(compile(&json!({"any_match": true})).map(|all| all.len()), Ok(500));
        let other = json!({"http_response_headers_match": {
            "headers": [{"name": "x", "string_match": {"exact": "1"}}],
        }});
        let path = "http_response_headers_match.headers[0].name".to_owned();
        assert_eq!(compile(&other), Err(path));
    }
}

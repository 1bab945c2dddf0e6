//! When and how often failed requests are sent again.

use tidegate_api::istio::virtual_service::HttpRetry;
use tidegate_envoy::any;
use tidegate_envoy::v3::previous_hosts::PreviousHostsPredicate;
use tidegate_envoy::v3::route::RetryPolicy;
use tidegate_envoy::v3::route::retry_policy::retry_host_predicate::ConfigType;
use tidegate_envoy::v3::route::retry_policy::{RetryBackOff, RetryHostPredicate};

use super::duration;

/// Istio's conditions where a rule names none: requests that no endpoint has looked at, and gRPC calls of which it says
/// that they can be made again.
const DEFAULT_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// How often Istio sends a request again where nobody says it.
const DEFAULT_RETRIES: u32 = 2;

/// How often another endpoint is chosen in place of one that has failed.
const SELECTIONS: i64 = 5;

const STATUS_CODES: &str = "retriable-status-codes";

/// The policy of a rule; `hashed` says that a request's endpoint follows from the request, so that there is no other to
/// prefer. None where retries are turned off.
#[must_use]
pub fn policy(rule: Option<&HttpRetry>, hashed: bool) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy {
        retry_on: DEFAULT_ON.to_owned(),
        num_retries: Some(DEFAULT_RETRIES),
        host_selection_retry_max_attempts: SELECTIONS,
        ..RetryPolicy::default()
    };
    let mut others_first = !hashed;
    if let Some(rule) = rule {
        policy.num_retries = Some(u32::try_from(rule.attempts).ok().filter(|n| *n > 0)?);
        if !rule.retry_on.is_empty() {
            (policy.retry_on, policy.retriable_status_codes) = conditions(&rule.retry_on);
        }
        policy.per_try_timeout = rule.per_try_timeout.map(|limit| duration(limit.get()));
        policy.retry_back_off = rule.backoff.map(|pause| RetryBackOff {
            base_interval: Some(duration(pause.get())),
            ..RetryBackOff::default()
        });
        others_first = rule.retry_ignore_previous_hosts.unwrap_or(others_first);
    }
    if others_first {
        policy.retry_host_predicate.push(RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
        });
    }
    Some(policy)
}

/// Splits Istio's list into Envoy's conditions and the numbers of statuses.
fn conditions(retry_on: &str) -> (String, Vec<u32>) {
    let (mut words, mut statuses) = (Vec::new(), Vec::new());
    for word in retry_on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(status) => statuses.push(status),
            Err(_) => words.push(word),
        }
    }
    if !statuses.is_empty() && !words.contains(&STATUS_CODES) {
        words.push(STATUS_CODES);
    }
    (words.join(","), statuses)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(rule: serde_json::Value) -> Option<RetryPolicy> {
        let rule: HttpRetry = serde_json::from_value(rule).expect("a retry policy");
        policy(Some(&rule), false)
    }

    #[test]
    fn numbers_become_statuses() {
        let cases = [
            ("5xx,reset", "5xx,reset", vec![]),
            ("5xx,503,504", "5xx,retriable-status-codes", vec![503, 504]),
            ("503", "retriable-status-codes", vec![503]),
            ("retriable-status-codes,429", "retriable-status-codes", vec![429]),
        ];
        for (written, words, statuses) in cases {
            let policy = of(json!({ "attempts": 1, "retryOn": written })).expect("a policy");
            assert_eq!(
                (policy.retry_on.as_str(), policy.retriable_status_codes),
                (words, statuses)
            );
        }
    }

    #[test]
    fn what_a_rule_leaves_open_is_istios() {
        let default = policy(None, false).expect("retries are on");
        assert_eq!((default.num_retries, default.retry_host_predicate.len()), (Some(2), 1));
        assert_eq!(policy(None, true).expect("retries are on").retry_host_predicate, []);
        let own = of(json!({ "attempts": 4, "backoff": "1s", "perTryTimeout": "3s" }));
        let own = own.expect("retries are on");
        assert_eq!((own.retry_on.as_str(), own.num_retries), (DEFAULT_ON, Some(4)));
        assert_eq!(own.per_try_timeout.map(|limit| limit.seconds), Some(3));
        assert_eq!(of(json!({ "attempts": 0 })), None);
        let same = of(json!({ "attempts": 1, "retryIgnorePreviousHosts": false }));
        assert_eq!(same.expect("retries are on").retry_host_predicate, []);
    }

    /// `retryIgnorePreviousHosts` is asked before how endpoints are chosen.
    #[test]
    fn a_rule_says_whether_other_endpoints_come_first() {
        let predicates = |written: Option<bool>, hashed| {
            let rule = json!({ "attempts": 1, "retryIgnorePreviousHosts": written });
            let rule: HttpRetry = serde_json::from_value(rule).expect("a retry policy");
            let policy = policy(Some(&rule), hashed).expect("retries are on");
            policy.retry_host_predicate.into_iter().map(|p| p.name).collect::<Vec<_>>()
        };
        let others = ["envoy.retry_host_predicates.previous_hosts"];
        for hashed in [false, true] {
            assert_eq!(predicates(Some(true), hashed), others, "{hashed}");
            assert_eq!(predicates(Some(false), hashed), [""; 0], "{hashed}");
        }
        assert_eq!(predicates(None, false), others);
        assert_eq!(predicates(None, true), [""; 0]);
    }
}

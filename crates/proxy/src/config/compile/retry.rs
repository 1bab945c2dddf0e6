//! Retry policies.

use std::time::Duration;

use tidegate_envoy::v3::route::RetryPolicy as ProtoPolicy;
use tidegate_envoy::v3::route::retry_policy::RetryBackOff;

use crate::config::refusal::{Refusal, Within, each};
use crate::route::{RetryOn, RetryPolicy};

use super::matching::header;
use super::value::{positive, present, timeout};

/// Envoy's default of the shortest pause.
const PAUSE: Duration = Duration::from_millis(25);
/// How many times that the longest pause is, where it is not said.
const LONGEST: u32 = 10;

/// A retry policy; none where it tries nothing again and limits no attempt.
pub(super) fn policy(proto: &ProtoPolicy) -> Result<RetryPolicy, Refusal> {
    let (pause, longest_pause) = match &proto.retry_back_off {
        Some(back_off) => pauses(back_off).within("retry_back_off")?,
        None => (PAUSE, PAUSE * LONGEST),
    };
    let statuses = each("retriable_status_codes", &proto.retriable_status_codes, |status| {
        u16::try_from(*status).map_err(|_| Refusal::new(format_args!("{status} is no status")))
    })?;
    Ok(RetryPolicy {
        on: RetryOn::parse(&proto.retry_on),
        most: proto.num_retries.unwrap_or(1),
        statuses,
        answers_with: each("retriable_headers", &proto.retriable_headers, header)?,
        requests_with: each("retriable_request_headers", &proto.retriable_request_headers, header)?,
        per_try: timeout("per_try_timeout", proto.per_try_timeout.as_ref(), None)?,
        per_try_idle: timeout("per_try_idle_timeout", proto.per_try_idle_timeout.as_ref(), None)?,
        pause,
        longest_pause,
        others_first: !proto.retry_host_predicate.is_empty(),
        selections: u32::try_from(proto.host_selection_retry_max_attempts).unwrap_or(0),
    })
}

fn pauses(proto: &RetryBackOff) -> Result<(Duration, Duration), Refusal> {
    present("base_interval", proto.base_interval.as_ref())?;
    let pause = positive("base_interval", proto.base_interval.as_ref(), PAUSE)?;
    let longest =
        positive("max_interval", proto.max_interval.as_ref(), pause.saturating_mul(LONGEST))?;
    if longest < pause {
        return Err(Refusal::of("max_interval", "must not be shorter than base_interval"));
    }
    Ok((pause, longest))
}

#[cfg(test)]
mod tests {
    use prost_types::Duration as ProtoDuration;
    use tidegate_envoy::v3::route::retry_policy::RetryHostPredicate;

    use super::*;

    fn span(milliseconds: i32) -> Option<ProtoDuration> {
        Some(ProtoDuration { seconds: 0, nanos: milliseconds * 1_000_000 })
    }

    #[test]
    fn what_is_left_open_is_envoys() {
        let policy = policy(&ProtoPolicy::default()).expect("a policy");
        assert!(policy.on.is_empty() && !policy.others_first);
        assert_eq!((policy.most, policy.per_try), (1, None));
        assert_eq!(policy.pause, Duration::from_millis(25));
        assert_eq!(policy.longest_pause, Duration::from_millis(250));
    }

    #[test]
    fn what_is_said_is_taken_and_what_cannot_be_is_refused() {
        let mut proto = ProtoPolicy {
            retry_on: "5xx,unavailable".to_owned(),
            num_retries: Some(3),
            per_try_timeout: span(200),
            retriable_status_codes: vec![404],
            retry_host_predicate: vec![RetryHostPredicate::default()],
            host_selection_retry_max_attempts: 5,
            retry_back_off: Some(RetryBackOff { base_interval: span(40), max_interval: None }),
            ..ProtoPolicy::default()
        };
        let taken = policy(&proto).expect("a policy");
        assert_eq!(taken.on, RetryOn::SERVER_ERROR | RetryOn::GRPC_UNAVAILABLE);
        assert_eq!((taken.most, taken.selections, taken.others_first), (3, 5, true));
        assert_eq!(taken.per_try, Some(Duration::from_millis(200)));
        assert_eq!(taken.longest_pause, Duration::from_millis(400));
        proto.retriable_status_codes = vec![70_000];
        let refused = policy(&proto).expect_err("no status");
        assert_eq!(refused.path, "retriable_status_codes[0]");
        proto.retriable_status_codes.clear();
        for (base, most, path) in [
            (None, None, "retry_back_off.base_interval"),
            (span(0), None, "retry_back_off.base_interval"),
            (span(40), span(20), "retry_back_off.max_interval"),
        ] {
            proto.retry_back_off = Some(RetryBackOff { base_interval: base, max_interval: most });
            assert_eq!(policy(&proto).expect_err(path).path, path);
        }
    }
}

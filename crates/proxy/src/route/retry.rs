//! Which failures a route answers with another attempt, and how soon.
//!
//! Pure: what an attempt came to is held against the policy; who acts on it is `http/exchange/retry.rs`.

use std::ops::{BitOr, BitOrAssign};
use std::time::Duration;

use crate::http::local::Reset;
use crate::http::{RequestHead, ResponseHead};

use super::condition::HeaderCondition;

/// What is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u16);

impl RetryOn {
    /// Answers of 5xx, and none at all.
    pub const SERVER_ERROR: Self = Self(1);
    /// Answers of 502, 503 and 504, and none at all.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// No answer at all.
    pub const RESET: Self = Self(1 << 2);
    /// No answer, while nothing of the request had been sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// No connection.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// Answers that another proxy marked as rate limited.
    pub const RATE_LIMITED: Self = Self(1 << 5);
    /// Answers of 409.
    pub const CONFLICT: Self = Self(1 << 6);
    /// Streams that the endpoint refused without a look at them.
    pub const REFUSED_STREAM: Self = Self(1 << 7);
    /// Answers of the policy's statuses.
    pub const STATUSES: Self = Self(1 << 8);
    /// Answers with one of the policy's headers.
    pub const HEADERS: Self = Self(1 << 9);
    /// The statuses of gRPC, in answers that are nothing but a status.
    pub const GRPC_CANCELLED: Self = Self(1 << 10);
    /// …
    pub const GRPC_DEADLINE_EXCEEDED: Self = Self(1 << 11);
    /// …
    pub const GRPC_RESOURCE_EXHAUSTED: Self = Self(1 << 12);
    /// …
    pub const GRPC_INTERNAL: Self = Self(1 << 13);
    /// …
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 14);

    const GRPC: Self = Self(0b11111 << 10);

    /// The conditions by their names in `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
    const NAMES: [(Self, &str); 15] = [
        (Self::SERVER_ERROR, "5xx"),
        (Self::GATEWAY_ERROR, "gateway-error"),
        (Self::RESET, "reset"),
        (Self::RESET_BEFORE_REQUEST, "reset-before-request"),
        (Self::CONNECT_FAILURE, "connect-failure"),
        (Self::RATE_LIMITED, "envoy-ratelimited"),
        (Self::CONFLICT, "retriable-4xx"),
        (Self::REFUSED_STREAM, "refused-stream"),
        (Self::STATUSES, "retriable-status-codes"),
        (Self::HEADERS, "retriable-headers"),
        (Self::GRPC_CANCELLED, "cancelled"),
        (Self::GRPC_DEADLINE_EXCEEDED, "deadline-exceeded"),
        (Self::GRPC_RESOURCE_EXHAUSTED, "resource-exhausted"),
        (Self::GRPC_INTERNAL, "internal"),
        (Self::GRPC_UNAVAILABLE, "unavailable"),
    ];

    /// The conditions of a list of names. What Envoy does not know it skips, and so does this; HTTP/3 is not spoken to
    /// endpoints.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let mut all = Self::default();
        for word in list.split(',').map(str::trim) {
            let known = Self::NAMES.iter().find(|(_, name)| *name == word);
            all |= known.map_or_else(Self::default, |(condition, _)| *condition);
        }
        all
    }

    /// The names of its conditions.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let own = Self::NAMES.iter().filter(move |(condition, _)| self.any(*condition));
        own.map(|(_, name)| *name)
    }

    /// Whether nothing is tried again.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

impl BitOr for RetryOn {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for RetryOn {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// When and how often a request is sent again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// What is tried again.
    pub on: RetryOn,
    /// How often at most, after the first attempt.
    pub most: u32,
    /// The statuses of `RetryOn::STATUSES`.
    pub statuses: Vec<u16>,
    /// The headers of `RetryOn::HEADERS`.
    pub answers_with: Vec<HeaderCondition>,
    /// Only requests with one of these headers are tried again; all, where there is none.
    pub requests_with: Vec<HeaderCondition>,
    /// Time of an attempt, from the end of the request to the beginning of the answer.
    pub per_try: Option<Duration>,
    /// Time of an attempt without progress.
    pub per_try_idle: Option<Duration>,
    /// The pause before an attempt is chosen below this, which doubles with each …
    pub pause: Duration,
    /// … up to this.
    pub longest_pause: Duration,
    /// Whether endpoints that have been tried are avoided.
    pub others_first: bool,
    /// How often another endpoint is chosen for that.
    pub selections: u32,
}

impl RetryPolicy {
    /// Whether a request can be tried again at all.
    #[must_use]
    pub fn concerns(&self, request: &RequestHead) -> bool {
        !self.on.is_empty()
            && (self.requests_with.is_empty()
                || self.requests_with.iter().any(|condition| condition.holds(request)))
    }

    /// Whether a failure without an answer is tried again; `sent` says whether anything of the request was.
    #[must_use]
    pub fn after_reset(&self, reset: Reset, sent: bool) -> bool {
        let mut on = RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR | RetryOn::RESET;
        if !sent {
            on |= RetryOn::RESET_BEFORE_REQUEST;
        }
        match reset {
            // More of the same would not help.
            Reset::Overflow => return false,
            Reset::ConnectFailure | Reset::ConnectTimeout => on |= RetryOn::CONNECT_FAILURE,
            Reset::Refused => on |= RetryOn::REFUSED_STREAM,
            Reset::Termination | Reset::Remote | Reset::Protocol | Reset::Local => {}
        }
        self.on.any(on)
    }

    /// Whether an answer is dropped for another attempt.
    #[must_use]
    pub fn after_answer(&self, answer: &ResponseHead) -> bool {
        if answer.headers.get(b"x-envoy-ratelimited").is_some() {
            return self.on.any(RetryOn::RATE_LIMITED);
        }
        let mut on = RetryOn::default();
        match answer.status {
            502..=504 => on |= RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR,
            500..=599 => on |= RetryOn::SERVER_ERROR,
            409 => on |= RetryOn::CONFLICT,
            _ => {}
        }
        if self.statuses.contains(&answer.status) {
            on |= RetryOn::STATUSES;
        }
        if self.on.any(RetryOn::GRPC) {
            on |= of_grpc(answer);
        }
        self.on.any(on)
            || self.on.any(RetryOn::HEADERS)
                && self.answers_with.iter().any(|condition| condition.holds_of(answer))
    }

    /// Whether a failure is tried again after which the request's content may be gone: only then is it kept.
    /// Without a connection nothing of it has been sent.
    #[must_use]
    pub fn repeats_content(&self, http2: bool, grpc: bool) -> bool {
        let mut without =
            RetryOn::CONNECT_FAILURE | RetryOn::RESET_BEFORE_REQUEST | RetryOn::default();
        if !http2 {
            without |= RetryOn::REFUSED_STREAM;
        }
        if !grpc {
            without |= RetryOn::GRPC;
        }
        let statuses = !self.statuses.is_empty();
        if !statuses {
            without |= RetryOn::STATUSES;
        }
        self.on.0 & !without.0 != 0
    }

    /// The pause before the attempt after `before` retries, of a uniform number.
    #[must_use]
    pub fn pause(&self, before: u32, random: u64) -> Duration {
        let doubled = self.pause.saturating_mul(2_u32.saturating_pow(before.min(31)));
        let below = doubled.min(self.longest_pause).as_millis().max(1);
        Duration::from_millis(random % u64::try_from(below).unwrap_or(u64::MAX))
    }
}

/// The condition that a status of gRPC in an answer's head stands for.
fn of_grpc(answer: &ResponseHead) -> RetryOn {
    match answer.headers.get(b"grpc-status") {
        Some(b"1") => RetryOn::GRPC_CANCELLED,
        Some(b"4") => RetryOn::GRPC_DEADLINE_EXCEEDED,
        Some(b"8") => RetryOn::GRPC_RESOURCE_EXHAUSTED,
        Some(b"13") => RetryOn::GRPC_INTERNAL,
        Some(b"14") => RetryOn::GRPC_UNAVAILABLE,
        _ => RetryOn::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on: &str) -> RetryPolicy {
        RetryPolicy {
            on: RetryOn::parse(on),
            most: 1,
            statuses: vec![418],
            answers_with: Vec::new(),
            requests_with: Vec::new(),
            per_try: None,
            per_try_idle: None,
            pause: Duration::from_millis(25),
            longest_pause: Duration::from_millis(250),
            others_first: false,
            selections: 0,
        }
    }

    fn answer(status: u16, header: Option<(&str, &str)>) -> ResponseHead {
        let mut head = ResponseHead { status, ..ResponseHead::default() };
        if let Some((name, value)) = header {
            head.headers.append(name.as_bytes(), value.as_bytes());
        }
        head
    }

    #[test]
    fn answers_by_condition() {
        let cases = [
            ("5xx", 500, None, true),
            ("5xx", 599, None, true),
            ("5xx", 499, None, false),
            ("gateway-error", 500, None, false),
            ("gateway-error", 502, None, true),
            ("gateway-error", 504, None, true),
            ("retriable-4xx", 409, None, true),
            ("retriable-4xx", 404, None, false),
            ("retriable-status-codes", 418, None, true),
            ("retriable-status-codes", 503, None, false),
            ("connect-failure,refused-stream,reset", 503, None, false),
            ("cancelled", 200, Some(("grpc-status", "1")), true),
            ("unavailable", 200, Some(("grpc-status", "14")), true),
            ("unavailable", 200, Some(("grpc-status", "13")), false),
            ("5xx", 503, Some(("x-envoy-ratelimited", "true")), false),
            ("envoy-ratelimited", 429, Some(("x-envoy-ratelimited", "true")), true),
            ("nonsense", 503, None, false),
        ];
        for (on, status, header, expected) in cases {
            let found = policy(on).after_answer(&answer(status, header));
            assert_eq!(found, expected, "{on} {status} {header:?}");
        }
    }

    #[test]
    fn conditions_have_the_names_that_they_are_given() {
        let all: Vec<&str> = RetryOn::NAMES.iter().map(|(_, name)| *name).collect();
        assert_eq!(RetryOn::parse(&all.join(",")).names().collect::<Vec<_>>(), all);
        let some: Vec<&str> = RetryOn::parse("reset, nonsense,5xx,").names().collect();
        assert_eq!(some, ["5xx", "reset"]);
    }

    #[test]
    fn resets_by_condition() {
        let all = [
            Reset::Overflow,
            Reset::ConnectFailure,
            Reset::ConnectTimeout,
            Reset::Termination,
            Reset::Remote,
            Reset::Refused,
            Reset::Protocol,
            Reset::Local,
        ];
        let tried = |on: &str, sent| {
            let policy = policy(on);
            all.map(|reset| policy.after_reset(reset, sent))
        };
        let any = [false, true, true, true, true, true, true, true];
        assert_eq!(tried("5xx", true), any);
        assert_eq!(tried("gateway-error", true), any);
        assert_eq!(tried("reset", true), any);
        assert_eq!(tried("reset-before-request", false), any);
        assert_eq!(tried("reset-before-request", true), [false; 8]);
        let connect = [false, true, true, false, false, false, false, false];
        assert_eq!(tried("connect-failure", true), connect);
        let refused = [false, false, false, false, false, true, false, false];
        assert_eq!(tried("refused-stream", true), refused);
        assert_eq!(tried("unavailable,retriable-4xx", true), [false; 8]);
    }

    #[test]
    fn content_is_kept_only_where_it_may_be_needed_again() {
        let istio = "connect-failure,refused-stream,unavailable,cancelled";
        assert!(!policy(istio).repeats_content(false, false));
        assert!(policy(istio).repeats_content(true, false));
        assert!(policy(istio).repeats_content(false, true));
        assert!(policy("5xx").repeats_content(false, false));
        assert!(policy("retriable-status-codes").repeats_content(false, false));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = policy("5xx");
        let longest = |before| {
            let pauses = (0..10_000).map(|random| policy.pause(before, random));
            pauses.max().expect("some")
        };
        let expected = [24, 49, 99, 199, 249, 249];
        for (before, expected) in (0..).zip(expected) {
            assert_eq!(longest(before), Duration::from_millis(expected));
        }
        assert_eq!(policy.pause(u32::MAX, 250), Duration::ZERO);
    }

    #[test]
    fn only_requests_that_are_meant_are_tried_again() {
        use crate::route::{Field, HeaderTest};

        let mut policy = policy("5xx,retriable-headers");
        let condition = |name: &str| HeaderCondition {
            field: Field::new(name),
            test: HeaderTest::Present(true),
            invert: false,
            absent_is_empty: false,
        };
        let mut request = RequestHead::default();
        assert!(policy.concerns(&request));
        policy.requests_with.push(condition("x-again"));
        assert!(!policy.concerns(&request));
        request.headers.append(b"X-Again", b"1");
        assert!(policy.concerns(&request));
        policy.answers_with.push(condition("x-busy"));
        assert!(policy.after_answer(&answer(200, Some(("X-Busy", "1")))));
        assert!(!policy.after_answer(&answer(200, None)));
        policy.on = RetryOn::default();
        assert!(!policy.concerns(&request));
    }
}

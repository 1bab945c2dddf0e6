//! Why a response or a connection ended as it did, in Envoy's letters.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of response flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $short:literal, $long:literal;)+) => {
        impl ResponseFlags {
            flags!(@consts 0u32; $($(#[$doc])* $name;)+);

            /// Every flag: the set, its letters, its long name; in the order they are written. Envoy writes them as it
            /// notices them: that there is no other attempt comes before what the last one failed of.
            const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$name, $short, $long)),+];
        }
    };
    (@consts $bit:expr; $(#[$doc:meta])* $name:ident; $($rest:tt)*) => {
        $(#[$doc])*
        pub const $name: Self = Self(1 << $bit);
        flags!(@consts $bit + 1; $($rest)*);
    };
    (@consts $bit:expr;) => {};
}

flags! {
    /// URX: no more retries or connection attempts.
    UPSTREAM_RETRY_LIMIT_EXCEEDED = "URX", "UpstreamRetryLimitExceeded";
    /// UO: a circuit breaker was open; with 503.
    UPSTREAM_OVERFLOW = "UO", "UpstreamOverflow";
    /// LH: the local service failed its health check.
    FAILED_LOCAL_HEALTH_CHECK = "LH", "FailedLocalHealthCheck";
    /// UH: no healthy endpoint in the cluster; with 503.
    NO_HEALTHY_UPSTREAM = "UH", "NoHealthyUpstream";
    /// UT: the upstream did not answer in time; with 504.
    UPSTREAM_REQUEST_TIMEOUT = "UT", "UpstreamRequestTimeout";
    /// LR: we reset the upstream stream; with 503.
    LOCAL_RESET = "LR", "LocalReset";
    /// UR: the upstream reset the stream; with 503.
    UPSTREAM_REMOTE_RESET = "UR", "UpstreamRemoteReset";
    /// UF: no connection to the upstream; with 503.
    UPSTREAM_CONNECTION_FAILURE = "UF", "UpstreamConnectionFailure";
    /// UC: the upstream closed the connection; with 503.
    UPSTREAM_CONNECTION_TERMINATION = "UC", "UpstreamConnectionTermination";
    /// NR: no route, with 404; or no filter chain for a connection.
    NO_ROUTE_FOUND = "NR", "NoRouteFound";
    /// DI: delayed by fault injection.
    DELAY_INJECTED = "DI", "DelayInjected";
    /// FI: aborted by fault injection.
    FAULT_INJECTED = "FI", "FaultInjected";
    /// RL: rate limited; with 429.
    RATE_LIMITED = "RL", "RateLimited";
    /// UAEX: denied by authorization.
    UNAUTHORIZED_EXTERNAL_SERVICE = "UAEX", "UnauthorizedExternalService";
    /// RLSE: the rate limit service failed.
    RATE_LIMIT_SERVICE_ERROR = "RLSE", "RateLimitServiceError";
    /// DC: the downstream closed the connection.
    DOWNSTREAM_CONNECTION_TERMINATION = "DC", "DownstreamConnectionTermination";
    /// SI: the stream was idle for too long; with 408 or 504.
    STREAM_IDLE_TIMEOUT = "SI", "StreamIdleTimeout";
    /// IH: a strictly checked request header has an invalid value; with 400.
    INVALID_ENVOY_REQUEST_HEADERS = "IH", "InvalidEnvoyRequestHeaders";
    /// DPE: the downstream broke the protocol.
    DOWNSTREAM_PROTOCOL_ERROR = "DPE", "DownstreamProtocolError";
    /// UMSDR: the upstream stream reached its maximal duration.
    UPSTREAM_MAX_STREAM_DURATION_REACHED = "UMSDR", "UpstreamMaxStreamDurationReached";
    /// RFCF: answered from a cache.
    RESPONSE_FROM_CACHE_FILTER = "RFCF", "ResponseFromCacheFilter";
    /// NFCF: the configuration of a filter has not arrived.
    NO_FILTER_CONFIG_FOUND = "NFCF", "NoFilterConfigFound";
    /// DT: the connection reached its maximal duration.
    DURATION_TIMEOUT = "DT", "DurationTimeout";
    /// UPE: the upstream broke the protocol.
    UPSTREAM_PROTOCOL_ERROR = "UPE", "UpstreamProtocolError";
    /// NC: the route names a cluster that is not there.
    NO_CLUSTER_FOUND = "NC", "NoClusterFound";
    /// OM: ended to relieve the process.
    OVERLOAD_MANAGER = "OM", "OverloadManagerTerminated";
    /// DF: the upstream's name could not be resolved.
    DNS_RESOLUTION_FAILED = "DF", "DnsResolutionFailed";
    /// DO: dropped by the cluster's drop policy.
    DROP_OVERLOAD = "DO", "DropOverload";
    /// DR: the downstream reset the stream.
    DOWNSTREAM_REMOTE_RESET = "DR", "DownstreamRemoteReset";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any flag of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The flag written with these letters, such as `UF`.
    pub fn from_short(letters: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, short, _)| *short == letters).map(|flag| flag.0)
    }

    /// The letters of the flags that are set, in Envoy's order.
    pub fn short(self) -> impl Iterator<Item = &'static str> {
        self.set().map(|flag| flag.1)
    }

    /// The long names of the flags that are set, in Envoy's order.
    pub fn long(self) -> impl Iterator<Item = &'static str> {
        self.set().map(|flag| flag.2)
    }

    fn set(self) -> impl Iterator<Item = &'static (Self, &'static str, &'static str)> {
        Self::ALL.iter().filter(move |flag| self.intersects(flag.0))
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The letters, separated by commas; `-` without flags.
impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, letters) in self.short().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(letters)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_in_envoys_order() {
        let flags = ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED
            | ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
        assert_eq!(flags.to_string(), "URX,UF");
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
        assert_eq!(
            ResponseFlags::from_short("UF"),
            Some(ResponseFlags::UPSTREAM_CONNECTION_FAILURE)
        );
        assert_eq!(ResponseFlags::from_short("XX"), None);
    }

    #[test]
    fn every_flag_is_a_bit_of_its_own() {
        let all = ResponseFlags::ALL.iter().fold(ResponseFlags::NONE, |all, flag| {
            assert!(!all.intersects(flag.0), "{} twice", flag.1);
            all | flag.0
        });
        assert_eq!(all.short().count(), ResponseFlags::ALL.len());
    }
}

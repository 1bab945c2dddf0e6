//! The metrics of what may not go out, which Envoy has not.

use super::Counter;
use super::metric::block;

block! {
    /// `egress.`: what was refused as nothing describes where it wanted to go.
    EgressStats {
        /// Requests.
        denied_http: Counter,
        /// TLS connections.
        denied_tls: Counter,
        /// Connections of neither kind.
        denied_tcp: Counter,
        /// Refusals that are not, or no longer, in the list of `/egress/denied`, which has a bound.
        unlisted: Counter,
    }
}

//! Differences in faults, in requests from other origins and in mirrors.

use super::Listed;
use super::What::Lines;

/// The differences.
pub const LISTED: &[Listed] = &[
    Listed {
        cases: &["policy/cors two origins"],
        what: Lines(
            &["> origin: https://a.example,https://evil"],
            &["> origin: https://a.example", "> origin: https://evil"],
        ),
        reason: "lines of one name are not joined: they mean the same (RFC 9110 section 5.3)",
    },
    Listed {
        cases: &["mirrors/another protocol"],
        what: Lines(
            &[
                "> GET /one HTTP/1.1",
                "> connection: upgrade",
                "> host: mirror.example-shadow",
                "> upgrade: websocket",
                "> x-envoy-attempt-count: 1",
                "> x-envoy-expected-rq-timeout-ms: 15000",
                "> x-envoy-external-address: 127.0.0.1",
                "> x-envoy-internal: true",
                "> x-forwarded-for: 127.0.0.1,127.0.0.1",
                "> x-forwarded-proto: http",
                "> x-request-id: (made)",
                "> x-route: 1",
                "> x-table: 1",
                "> []",
            ],
            &[],
        ),
        reason: "requests for another protocol are not copied, as Envoy's documentation says of itself: what follows is a \
                 conversation, and the copy's side of it would be nobody's",
    },
];

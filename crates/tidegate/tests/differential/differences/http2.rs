//! Differences with HTTP/2 on either side, and with connections that end between requests.

use super::Listed;
use super::What::Lines;

/// The differences.
pub const LISTED: &[Listed] = &[
    Listed {
        cases: &["to h2/refused", "to h2/code 7 before the answer"],
        what: Lines(
            &[],
            &[
                "> GET http://a/h2",
                "> x-envoy-expected-rq-timeout-ms: 5000",
                "> x-envoy-external-address: 127.0.0.1",
                "> x-forwarded-for: 127.0.0.1",
                "> x-forwarded-proto: http",
                "> x-request-id: (made)",
                "> x-table: 1",
                "> []",
            ],
        ),
        reason: "a stream that was refused unseen is sent again, once: nothing can have come of it (RFC 9113 \
                 section 8.7)",
    },
    Listed {
        cases: &["to h2/POST refused"],
        what: Lines(
            &[],
            &[
                "> POST http://a/h2",
                "> content-length: 4",
                "> x-envoy-expected-rq-timeout-ms: 5000",
                "> x-envoy-external-address: 127.0.0.1",
                "> x-forwarded-for: 127.0.0.1",
                "> x-forwarded-proto: http",
                "> x-request-id: (made)",
                "> x-table: 1",
                "> [body]",
            ],
        ),
        reason: "as above",
    },
    Listed {
        cases: &["own/away-error", "own/close-unseen"],
        what: Lines(
            &[
                "< HTTP/1.1 503 Service Unavailable",
                "< content-length: 95",
                "< content-type: text/plain",
                "< [upstream connect error or disconnect/reset before headers. reset reason: \
                  connection termination]",
            ],
            &[
                "< HTTP/1.1 200 OK",
                "< transfer-encoding: chunked",
                "< x-envoy-upstream-service-time: (time)",
                "< [ok]",
            ],
        ),
        reason: "a pooled connection that ended before the answer: a request that may be repeated is sent again (RFC 9110 \
                 section 9.2.2), as over HTTP/1",
    },
    Listed {
        cases: &["h2/oversized head", "h2/head of strict size"],
        what: Lines(&["< reset INTERNAL_ERROR"], &["< 431", "< []"]),
        reason: "the client is told what is wrong (RFC 9113 section 10.5.1)",
    },
    Listed {
        cases: &["h2/too many lines"],
        what: Lines(
            &["< reset INTERNAL_ERROR"],
            &[
                "< 431",
                "< content-length: 31",
                "< content-type: text/plain",
                "< server: gate",
                "< [Request Header Fields Too Large]",
            ],
        ),
        reason: "as above",
    },
    Listed {
        cases: &["to h2/websocket"],
        what: Lines(
            &[
                "< content-length: 87",
                "< [upstream connect error or disconnect/reset before headers. reset reason: \
                  protocol error]",
            ],
            &["< content-length: 49", "< [upgrades do not go to endpoints that speak HTTP/2]"],
        ),
        reason: "refused for the same reason, and the answer says it",
    },
    Listed {
        cases: &["to h2/code 10 before the answer"],
        what: Lines(
            &[
                "< content-length: 106",
                "< [upstream connect error or disconnect/reset before headers. reset reason: \
                  remote error with CONNECT request]",
            ],
            &[
                "< content-length: 85",
                "< [upstream connect error or disconnect/reset before headers. reset reason: \
                  remote reset]",
            ],
        ),
        reason: "no CONNECT was sent: it is a reset like others",
    },
    Listed {
        cases: &["own/stale-get", "own/stale-put"],
        what: Lines(
            &[
                "< HTTP/1.1 503 Service Unavailable",
                "< content-length: 95",
                "< content-type: text/plain",
                "< [upstream connect error or disconnect/reset before headers. reset reason: \
                  connection termination]",
            ],
            &[
                "< HTTP/1.1 200 OK",
                "< content-length: 0",
                "< x-envoy-upstream-service-time: (time)",
                "< []",
            ],
        ),
        reason: "a pooled connection that was closed before a byte of the answer: a request that may be \
                 repeated is sent again on a new one (RFC 9112 section 9.3.1), without a retry policy",
    },
    Listed {
        cases: &["own/stale-head"],
        what: Lines(
            &[
                "< HTTP/1.1 503 Service Unavailable",
                "< content-length: 95",
                "< content-type: text/plain",
            ],
            &[
                "< HTTP/1.1 200 OK",
                "< content-length: 0",
                "< x-envoy-upstream-service-time: (time)",
            ],
        ),
        reason: "as above",
    },
    Listed {
        cases: &[
            "own/away-unseen",
            "own/away-unseen-post",
            "own/refuses-second",
            "own/refuses-second-post",
        ],
        what: Lines(
            &[
                "< HTTP/1.1 503 Service Unavailable",
                "< content-length: 100",
                "< content-type: text/plain",
                "< [upstream connect error or disconnect/reset before headers. reset reason: \
                  remote refused stream reset]",
            ],
            &[
                "< HTTP/1.1 200 OK",
                "< transfer-encoding: chunked",
                "< x-envoy-upstream-service-time: (time)",
                "< [ok]",
            ],
        ),
        reason: "a stream that was refused unseen is sent again, once (RFC 9113 section 8.7)",
    },
    Listed {
        cases: &["own/hints"],
        what: Lines(
            &[],
            &[
                "< HTTP/1.1 103 Early Hints",
                "< link: </a>",
                "< HTTP/1.1 103 Early Hints",
                "< link: </a>",
            ],
        ),
        reason: "a proxy must forward interim answers that it has not asked for (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["own/hints-end"],
        what: Lines(&[], &["< HTTP/1.1 103 Early Hints", "< HTTP/1.1 103 Early Hints"]),
        reason: "as above; that it was the end is seen after it",
    },
    Listed {
        cases: &["own/pseudo-trailer"],
        what: Lines(
            &["< [ok], cut", "< no answer", "closed"],
            &[
                "< [ok]",
                "< HTTP/1.1 200 OK",
                "< server: gate",
                "< transfer-encoding: chunked",
                "< x-envoy-upstream-service-time: (time)",
                "< x-table: 1",
                "< [ok]",
                "open",
            ],
        ),
        reason: "a pseudo-header behind the content is dropped: nothing of it goes on",
    },
    Listed {
        cases: &[
            "frames/connection",
            "frames/keep-alive",
            "frames/proxy-connection",
            "frames/transfer-encoding",
            "frames/upgrade",
            "frames/te gzip",
            "frames/two hosts",
            "frames/pseudo-header behind fields",
            "frames/two paths",
            "frames/two methods",
            "frames/two authorities",
            "frames/status in a request",
            "frames/protocol without CONNECT",
            "frames/no method",
            "frames/no scheme",
            "frames/no path",
            "frames/no authority",
            "frames/empty path",
            "frames/path without a slash",
            "frames/path of a star",
            "frames/path with a space",
            "frames/path with a control character",
            "frames/absolute path",
            "frames/empty authority",
            "frames/user information",
            "frames/two words for an authority",
            "frames/scheme that is none",
            "frames/CONNECT with a path",
            "frames/extended CONNECT",
            "frames/length that is none",
            "frames/two lengths",
            "frames/two equal lengths",
        ],
        what: Lines(&["closed"], &["< 1: reset PROTOCOL_ERROR", "open"]),
        reason: "a malformed request is an error of its stream (RFC 9113 section 8.1.1): the other streams of \
                 the connection are other requests",
    },
    Listed {
        cases: &[
            "frames/upper case name",
            "frames/empty name",
            "frames/space in a name",
            "frames/line end in a value",
            "frames/NUL in a value",
            "frames/unknown pseudo-header",
            "frames/empty method",
            "frames/method that is none",
            "frames/even stream",
            "frames/stream again",
        ],
        what: Lines(&[], &["< away PROTOCOL_ERROR"]),
        reason: "who closes says why (RFC 9113 section 5.4.1)",
    },
    Listed {
        cases: &["frames/path with a fragment"],
        what: Lines(&["< 1: 400"], &["< 1: 200", "< 1: [path]"]),
        reason: "the fragment is dropped when the target is read: nothing matches, logs or forwards it",
    },
    Listed {
        cases: &["frames/path in another alphabet"],
        what: Lines(&["< 1: 404", "< 1: end"], &["< 1: reset PROTOCOL_ERROR"]),
        reason: "a target is ASCII (RFC 3986 section 2), over HTTP/2 as over HTTP/1, where Envoy refuses it, too",
    },
    Listed {
        cases: &["frames/head of 200 KiB"],
        what: Lines(&["< away COMPRESSION_ERROR"], &["< away ENHANCE_YOUR_CALM"]),
        reason: "the head is too large; its compression has no fault",
    },
    Listed {
        cases: &["frames/going away"],
        what: Lines(&["open"], &["< away NO_ERROR", "closed"]),
        reason: "a client that goes away has its answer and wants no other: the connection ends",
    },
    Listed {
        cases: &["frames/trailers with a pseudo-header"],
        what: Lines(&["closed"], &["< 1: 200", "< 1: [path]", "< 1: end", "open"]),
        reason: "a pseudo-header behind the content is dropped: nothing of it goes on",
    },
];

//! What many cases show as a whole, where one side refuses what the other takes.

/// Lines that belong together.
pub type Part = &'static [&'static str];

/// The origin's answer, on a connection that goes on.
pub const OK: Part = &[
    "< HTTP/1.1 200 OK",
    "< content-length: 2",
    "< server: gate",
    "< x-envoy-upstream-service-time: (time)",
    "< x-table: 1",
    "< [ok]",
    "open",
];

/// What the origin gets of every request, but for its own head and content.
pub const FORWARDED: Part = &[
    "> x-envoy-expected-rq-timeout-ms: 15000",
    "> x-envoy-external-address: 127.0.0.1",
    "> x-forwarded-for: 127.0.0.1",
    "> x-forwarded-proto: http",
    "> x-request-id: (made)",
    "> x-table: 1",
];

/// The rest of what it gets of a plain GET.
pub const GET: Part = &["> GET /o HTTP/1.1", "> host: a", "> []"];

/// A direct answer.
pub const PATH: Part = &[
    "< HTTP/1.1 200 OK",
    "< content-length: 4",
    "< content-type: text/plain",
    "< server: gate",
    "< x-table: 1",
    "< [path]",
];

/// The same, to HTTP/1.0, from the listener that takes it.
pub const PATH_10: Part = &[
    "< HTTP/1.0 200 OK",
    "< connection: close",
    "< content-length: 4",
    "< content-type: text/plain",
    "< via: gate",
    "< x-table: 1",
    "< [path]",
    "closed",
];

/// A request that is refused for its head.
pub const BAD_REQUEST: Part = &[
    "< HTTP/1.1 400 Bad Request",
    "< connection: close",
    "< content-length: 11",
    "< content-type: text/plain",
    "< server: gate",
    "< [Bad Request]",
    "closed",
];

/// The version is not one that is spoken.
pub const UPGRADE_REQUIRED: Part = &[
    "< HTTP/1.1 426 Upgrade Required",
    "< connection: close",
    "< content-length: 16",
    "< content-type: text/plain",
    "< via: gate",
    "< [Upgrade Required]",
    "closed",
];

/// A head, or what is read like one, is too large.
pub const TOO_LARGE: Part = &[
    "< HTTP/1.1 431 Request Header Fields Too Large",
    "< connection: close",
    "< content-length: 31",
    "< content-type: text/plain",
    "< server: gate",
    "< x-table: 1",
    "< [Request Header Fields Too Large]",
    "closed",
];

/// An answer that is refused.
pub const BAD_GATEWAY: Part = &[
    "< HTTP/1.1 502 Bad Gateway",
    "< content-length: 87",
    "< content-type: text/plain",
    "< server: gate",
    "< x-table: 1",
    "< [upstream connect error or disconnect/reset before headers. reset reason: protocol error]",
    "open",
];

/// No route takes it.
pub const NOT_FOUND: Part =
    &["< HTTP/1.1 404 Not Found", "< content-length: 0", "< server: gate", "< []", "open"];

/// No answer at all.
pub const NOTHING: Part = &["< no answer"];
pub const OPEN: Part = &["open"];
pub const CLOSED: Part = &["closed"];

//! Differences in HTTP/1, on both sides.

use super::Listed;
use super::What::{Lines, Whole};
use super::parts::{
    BAD_GATEWAY, BAD_REQUEST, CLOSED, FORWARDED, GET, NOT_FOUND, NOTHING, OK, OPEN, PATH, PATH_10,
    TOO_LARGE, UPGRADE_REQUIRED,
};

/// The differences.
pub const LISTED: &[Listed] = &[
    Listed {
        cases: &["methods/M-SEARCH"],
        what: Whole(
            &[BAD_REQUEST],
            &[
                OK,
                FORWARDED,
                &["> M-SEARCH /o HTTP/1.1", "> host: a", "> content-length: 0", "> []"],
            ],
        ),
        reason: "any token is a method (RFC 9110 section 9.1), as it is to Envoy over HTTP/2 and with \
                 allow_custom_methods; origins answer 405 and 501",
    },
    Listed {
        cases: &["methods/BREW"],
        what: Whole(
            &[BAD_REQUEST],
            &[OK, FORWARDED, &["> BREW /o HTTP/1.1", "> host: a", "> content-length: 0", "> []"]],
        ),
        reason: "as above",
    },
    Listed {
        cases: &["methods/get"],
        what: Whole(
            &[BAD_REQUEST],
            &[OK, FORWARDED, &["> get /o HTTP/1.1", "> host: a", "> content-length: 0", "> []"]],
        ),
        reason: "as above",
    },
    Listed {
        cases: &["targets/http://u@b.example/o"],
        what: Whole(
            &[OK, FORWARDED, &["> GET /o HTTP/1.1", "> host: b.example", "> []"]],
            &[BAD_REQUEST],
        ),
        reason: "user information is an error (RFC 9110 section 4.2.4)",
    },
    Listed {
        cases: &["hosts/a@b"],
        what: Whole(&[PATH, OPEN], &[BAD_REQUEST]),
        reason: "as above",
    },
    Listed {
        cases: &["targets/OPTIONS *"],
        what: Whole(
            &[NOT_FOUND],
            &[OK, FORWARDED, &["> OPTIONS * HTTP/1.1", "> host: a", "> content-length: 0", "> []"]],
        ),
        reason: "OPTIONS * concerns the server behind, too (RFC 9110 section 9.3.7): a route whose path is * \
                 takes it, and without one it is 404; to Envoy every path begins with a slash",
    },
    Listed {
        cases: &["targets/OPTIONS absolute"],
        what: Whole(
            &[NOT_FOUND],
            &[
                OK,
                FORWARDED,
                &["> OPTIONS * HTTP/1.1", "> host: b.example", "> content-length: 0", "> []"],
            ],
        ),
        reason: "as above",
    },
    Listed {
        cases: &["hosts/a:b", "hosts/[::1", "hosts/[zz]", "hosts/two", "hosts/two that differ"],
        what: Whole(&[PATH, OPEN], &[BAD_REQUEST]),
        reason: "Host names one host, with a number as its port (RFC 9112 section 3.2)",
    },
    Listed {
        cases: &["redirects/[::1x] /to/https"],
        what: Whole(
            &[&[
                "< HTTP/1.1 301 Moved Permanently",
                "< content-length: 0",
                "< location: https://[::1x]/to/https",
                "< server: gate",
                "< x-table: 1",
                "< []",
                "open",
            ]],
            &[BAD_REQUEST],
        ),
        reason: "Host names one host (RFC 9112 section 3.2)",
    },
    Listed {
        cases: &[
            "versions/plain 1.0",
            "versions/plain 1.0 keep-alive",
            "versions/plain 1.0 chunked answer",
            "versions/plain 1.0 with a length",
            "versions/plain 1.0 direct",
            "versions/plain 1.0 absolute without host",
        ],
        what: Lines(&["< HTTP/1.0 200 OK"], &["< HTTP/1.1 200 OK"]),
        reason: "a server says its own version (RFC 9110 section 6.2)",
    },
    Listed {
        cases: &["versions/plain 1.0 without host"],
        what: Lines(&["< HTTP/1.0 400 Bad Request"], &["< HTTP/1.1 400 Bad Request"]),
        reason: "as above",
    },
    Listed {
        cases: &["versions/plain 1.2", "versions/plain 2.0"],
        what: Whole(&[PATH_10], &[UPGRADE_REQUIRED]),
        reason: "with accept_http_10, HTTP/1.0 is accepted; Envoy then takes every other version for it, \
                 HTTP/2.0 too",
    },
    Listed {
        cases: &["versions/plain 0.9"],
        what: Whole(
            &[&[
                "< HTTP/1.0 400 Bad Request",
                "< connection: close",
                "< content-length: 0",
                "< via: gate",
                "< []",
                "closed",
            ]],
            &[UPGRADE_REQUIRED],
        ),
        reason: "as above: the fault is the version, not the missing Host",
    },
    Listed {
        cases: &["versions/edge 1.1 absolute without host"],
        what: Whole(
            &[PATH, OPEN],
            &[&[
                "< HTTP/1.1 400 Bad Request",
                "< connection: close",
                "< content-length: 0",
                "< server: gate",
                "< []",
                "closed",
            ]],
        ),
        reason: "a request without Host must be refused, whatever its target (RFC 9112 section 3.2)",
    },
    Listed {
        cases: &["versions/plain 1.0 chunked request"],
        what: Whole(
            &[&[
                "< HTTP/1.0 200 OK",
                "< connection: close",
                "< content-length: 2",
                "< server: origin",
                "< via: gate",
                "< x-envoy-upstream-service-time: (time)",
                "< x-table: 1",
                "< [ok]",
                "closed",
                "> POST /o HTTP/1.1",
                "> host: a",
                "> transfer-encoding: chunked",
                "> via: gate",
                "> x-envoy-expected-rq-timeout-ms: 15000",
                "> x-forwarded-proto: http",
                "> x-table: 1",
                "> [hi]",
            ]],
            &[&[
                "< HTTP/1.1 400 Bad Request",
                "< connection: close",
                "< content-length: 11",
                "< content-type: text/plain",
                "< via: gate",
                "< [Bad Request]",
                "closed",
            ]],
        ),
        reason: "chunks in HTTP/1.0 are faulty framing (RFC 9112 section 6.1)",
    },
    Listed {
        cases: &["versions/edge two spaces"],
        what: Whole(&[OK, FORWARDED, GET], &[BAD_REQUEST]),
        reason: "one space stands between the parts of a request line (RFC 9112 section 3)",
    },
    Listed {
        cases: &["versions/edge tab"],
        what: Whole(&[OK], &[BAD_REQUEST]),
        reason: "as above; this request does not say which case it is, so what the origin gets is not seen",
    },
    Listed {
        cases: &["connections/pipeline of eight"],
        what: Whole(
            &[PATH, PATH, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, CLOSED],
            &[PATH, PATH, PATH, PATH, PATH, PATH, PATH, PATH, OPEN],
        ),
        reason: "a pipeline is served to its end, which Envoy takes for a flood",
    },
    Listed {
        cases: &["connections/half closed after the request"],
        what: Whole(&[NOTHING, CLOSED], &[PATH, CLOSED]),
        reason: "an answer that is there at once reaches a client that has ended its own direction. While an endpoint is \
                 awaited such a client has gone, as for Envoy",
    },
    Listed {
        cases: &[
            "connections/proxy-connection close",
            "rbac/POST",
            "policy/fault POST",
            "rbac/upgrade",
            "redirects/POST",
            "failures/POST /unknown",
            "failures/PUT /unknown in chunks",
            "failures/POST /empty",
            "failures/PUT /empty in chunks",
            "failures/POST /none",
            "failures/PUT /none in chunks",
            "upgrades/direct answer",
            "upgrades/granted after the route's time",
            "upgrades/redirect",
            "upgrades/no route",
            "upgrades/unknown cluster",
            "upgrades/refused connection",
        ],
        what: Lines(&["< connection: close", "closed"], &["open"]),
        reason: "the request has been read to its end, so the connection can carry another; \
                 Proxy-Connection means nothing (RFC 9112 appendix C.2.2)",
    },
    Listed {
        cases: &["direct//direct/418 ", "direct/HEAD /direct/418"],
        what: Lines(&["< HTTP/1.1 418 Unknown"], &["< HTTP/1.1 418 I'm a teapot"]),
        reason: "the reason of the status' own specification (RFC 2324)",
    },
    Listed {
        cases: &["direct/POST"],
        what: Lines(
            &["< HTTP/1.1 418 Unknown", "< connection: close", "closed"],
            &["< HTTP/1.1 418 I'm a teapot", "open"],
        ),
        reason: "as above: the request has been read, and the teapot has its name",
    },
    Listed {
        cases: &["direct//direct/599 ", "no body/599 Content-Length: 0"],
        what: Lines(
            &["< HTTP/1.1 599 Last Unassigned Server Error Code"],
            &["< HTTP/1.1 599 Unknown"],
        ),
        reason: "the status has no registered reason",
    },
    Listed {
        cases: &[
            "direct/HEAD /none",
            "direct/HEAD /unknown",
            "direct/HEAD /to/https",
            "no body/HEAD without a length",
            "no body/HEAD in chunks",
            "own/head-data",
        ],
        what: Lines(&["< transfer-encoding: chunked"], &[]),
        reason: "an answer without content needs no framing (RFC 9112 section 6.1)",
    },
    Listed {
        cases: &["headers/Accept: */*\\r\\naccept: text/plain", "to h2/headers"],
        what: Lines(&["> accept: */*,text/plain"], &["> accept: */*", "> accept: text/plain"]),
        reason: "lines of one name are not joined: they mean the same (RFC 9110 section 5.3)",
    },
    Listed {
        cases: &[
            "headers/plain X-Forwarded-For: 9.9.9.9, 8.8.8.8\\r\\nX-Forwarded-For: 7.7.7.7",
            "headers/strict X-Forwarded-For: 9.9.9.9, 8.8.8.8\\r\\nX-Forwarded-For: 7.7.7.7",
        ],
        what: Lines(
            &["> x-forwarded-for: 9.9.9.9, 8.8.8.8,7.7.7.7"],
            &["> x-forwarded-for: 9.9.9.9, 8.8.8.8", "> x-forwarded-for: 7.7.7.7"],
        ),
        reason: "lines of one name are not joined: they mean the same (RFC 9110 section 5.3)",
    },
    Listed {
        cases: &["headers/Connection: host"],
        what: Lines(
            &["< content-length: 0", "< []"],
            &["< content-length: 11", "< content-type: text/plain", "< [Bad Request]"],
        ),
        reason: "refused for what it says; Envoy removes Host and then misses it",
    },
    Listed {
        cases: &["headers/TE: Trailers"],
        what: Lines(&[], &["> te: trailers"]),
        reason: "the keyword has no letter case (RFC 9110 section 10.1.4)",
    },
    Listed {
        cases: &["headers/HTTP2-Settings: AAA"],
        what: Lines(&["> http2-settings: AAA"], &[]),
        reason: "it concerns one connection only (RFC 7540 section 3.2.1)",
    },
    Listed {
        cases: &["headers/bad X-A: 1\\r\\n folded"],
        what: Whole(&[OK, FORWARDED, GET, &["> x-a: 1 folded"]], &[BAD_REQUEST]),
        reason: "folded lines, bare LF and bare CR are refused (RFC 9112 sections 2.2 and 5.2)",
    },
    Listed {
        cases: &["headers/bad X-A: 1\\r\\n\\tfolded"],
        what: Whole(&[OK, FORWARDED, GET, &["> x-a: 1\tfolded"]], &[BAD_REQUEST]),
        reason: "as above",
    },
    Listed {
        cases: &["headers/bad X-A: a\\rb"],
        what: Whole(&[OK, FORWARDED, GET, &["> x-a: ab"]], &[BAD_REQUEST]),
        reason: "as above",
    },
    Listed {
        cases: &["headers/bad X-A: a\\nX-B: b"],
        what: Whole(&[OK, FORWARDED, GET, &["> x-a: a", "> x-b: b"]], &[BAD_REQUEST]),
        reason: "as above",
    },
    Listed {
        cases: &["headers/bad X-A: 1"],
        what: Whole(&[OK, FORWARDED, GET, &["> x-a: 1"]], &[BAD_REQUEST]),
        reason: "as above",
    },
    Listed {
        cases: &["headers/bare LF throughout", "headers/bare LF at the end"],
        what: Whole(&[OK, FORWARDED, GET], &[BAD_REQUEST]),
        reason: "as above",
    },
    Listed {
        cases: &["answer headers/edge Connection: x-a\\r\\nX-A: 1"],
        what: Lines(&["< x-a: 1"], &[]),
        reason: "nominated fields end here in both directions (RFC 9110 section 7.6.1)",
    },
    Listed {
        cases: &["interim/expectation without a body"],
        what: Lines(&["< HTTP/1.1 100 Continue"], &[]),
        reason: "the request is complete: there is nothing to go on with, and a 100 would be one more answer \
                 for the client to tell from the final one (RFC 9110 section 10.1.1)",
    },
    Listed {
        cases: &["interim/103 from the origin"],
        what: Lines(&[], &["< HTTP/1.1 103 Early Hints", "< link: </a>"]),
        reason: "a proxy must forward interim answers that it has not asked for (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["interim/102 from the origin"],
        what: Lines(&[], &["< HTTP/1.1 102 Processing"]),
        reason: "a proxy must forward interim answers that it has not asked for (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["interim/several from the origin"],
        what: Lines(
            &[],
            &[
                "< HTTP/1.1 103 Early Hints",
                "< link: </a>",
                "< HTTP/1.1 103 Early Hints",
                "< link: </b>",
            ],
        ),
        reason: "a proxy must forward interim answers that it has not asked for (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["gone/closed after 103"],
        what: Lines(&[], &["< HTTP/1.1 103 Early Hints"]),
        reason: "a proxy must forward interim answers that it has not asked for (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &[
            "framing/size with space behind",
            "framing/chunk longer than its size",
            "framing/chunk ends in a bare LF",
            "framing/control character in an extension",
        ],
        what: Whole(
            &[
                OK,
                FORWARDED,
                &["> POST /o HTTP/1.1", "> host: a", "> transfer-encoding: chunked", "> [body]"],
            ],
            &[BAD_REQUEST, &["< x-table: 1"]],
        ),
        reason: "chunks are framed strictly (RFC 9112 section 7.1)",
    },
    Listed {
        cases: &["answer framing/bare LF", "answer framing/version 2.0"],
        what: Whole(&[OK, FORWARDED, GET], &[BAD_GATEWAY, FORWARDED, GET]),
        reason: "answers are read as strictly as requests: a gateway replaces a folded answer by 502 (RFC 9112 \
                 section 5.2), chunks in HTTP/1.0 are faulty framing (6.1), and the others are read in two ways \
                 (2.2, 2.3)",
    },
    Listed {
        cases: &["answer framing/folded"],
        what: Whole(&[OK, FORWARDED, GET, &["< x-a: 1 folded"]], &[BAD_GATEWAY, FORWARDED, GET]),
        reason: "as above",
    },
    Listed {
        cases: &["answer framing/version 1.0 in chunks"],
        what: Whole(
            &[
                &[
                    "< HTTP/1.1 200 OK",
                    "< server: gate",
                    "< x-envoy-upstream-service-time: (time)",
                    "< x-table: 1",
                    "< transfer-encoding: chunked",
                    "< [ok]",
                    "open",
                ],
                FORWARDED,
                GET,
            ],
            &[BAD_GATEWAY, FORWARDED, GET],
        ),
        reason: "as above",
    },
    Listed {
        cases: &["answer framing/status of four digits"],
        what: Whole(
            &[
                &[
                    "< HTTP/1.1 2000 Unknown",
                    "< content-length: 2",
                    "< server: gate",
                    "< x-envoy-upstream-service-time: (time)",
                    "< x-table: 1",
                    "< [ok]",
                    "open",
                ],
                FORWARDED,
                GET,
            ],
            &[BAD_GATEWAY, FORWARDED, GET],
        ),
        reason: "a status has three digits (RFC 9112 section 4)",
    },
    Listed {
        cases: &["answer framing/unasked 101"],
        what: Whole(
            &[
                &[
                    "< HTTP/1.1 101 Switching Protocols",
                    "< server: gate",
                    "< x-envoy-upstream-service-time: (time)",
                    "< x-table: 1",
                    "open",
                ],
                FORWARDED,
                GET,
            ],
            &[BAD_GATEWAY, FORWARDED, GET],
        ),
        reason: "a protocol that was not asked for is an error (RFC 9110 section 15.2.2)",
    },
    Listed {
        cases: &["upgrades/the origin ignores it", "upgrades/POST with a body"],
        what: Lines(&["< content-length: 0", "< []"], &["< content-length: 2", "< [ok]"]),
        reason: "an origin may ignore Upgrade (RFC 9110 section 7.8): its answer is then the answer, with its \
                 content; Envoy takes any 200 for a granted upgrade",
    },
    Listed {
        cases: &["upgrades/in capitals"],
        what: Lines(&["> connection: keep-alive, upgrade"], &["> connection: upgrade"]),
        reason: "options of the client's connection end here (RFC 9110 section 7.6.1)",
    },
    Listed {
        cases: &["upgrades/with HTTP 1.0"],
        what: Whole(
            &[&[
                "< HTTP/1.0 403 Forbidden",
                "< connection: close",
                "< content-length: 0",
                "< server: gate",
                "< x-table: 1",
                "< []",
                "closed",
            ]],
            &[
                &[
                    "< HTTP/1.1 200 OK",
                    "< connection: close",
                    "< content-length: 2",
                    "< server: gate",
                    "< x-envoy-upstream-service-time: (time)",
                    "< x-table: 1",
                    "< [ok]",
                    "closed",
                ],
                FORWARDED,
                GET,
            ],
        ),
        reason: "Upgrade in HTTP/1.0 is ignored (RFC 9110 section 7.8)",
    },
    Listed {
        cases: &["chunks/extension of 70 KiB"],
        what: Whole(
            &[
                OK,
                FORWARDED,
                &["> POST /o HTTP/1.1", "> host: a", "> transfer-encoding: chunked", "> [abc]"],
            ],
            &[TOO_LARGE],
        ),
        reason: "a chunk's line has a bound, and extensions mean nothing here (RFC 9112 section 7.1.1)",
    },
    Listed {
        cases: &["trailers/up that frames"],
        what: Lines(&["> trailer content-length: 5", "> trailer transfer-encoding: gzip"], &[]),
        reason: "fields that frame a message have no place behind it (RFC 9110 section 6.5.1)",
    },
    Listed {
        cases: &["trailers/down that frames"],
        what: Lines(&["< trailer content-length: 5"], &[]),
        reason: "as above",
    },
    Listed {
        cases: &["trailers/up of 120 lines"],
        what: Whole(
            &[TOO_LARGE],
            &[
                OK,
                FORWARDED,
                &[
                    "> POST /o HTTP/1.1",
                    "> host: a",
                    "> transfer-encoding: chunked",
                    "> [abc]",
                    "> trailer: x-t",
                ],
                &["> trailer x-t: 1"; 120],
            ],
        ),
        reason: "trailers have bounds of their own, 8 KiB and 256 lines, whatever the head may hold",
    },
    Listed {
        cases: &["interim/length in a 103"],
        what: Lines(&[], &["< HTTP/1.1 103 Early Hints", "< link: </a>"]),
        reason: "a proxy must forward interim answers that it has not asked for (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["interim/connection option in a 103", "upgrades/granted after 103"],
        what: Lines(&[], &["< HTTP/1.1 103 Early Hints"]),
        reason: "a proxy must forward interim answers that it has not asked for (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["upgrades/granted without its name"],
        what: Lines(&["< connection: close"], &["< connection: upgrade"]),
        reason: "what follows a 101 is the other protocol, and no end of the connection",
    },
    Listed {
        cases: &["upgrades/HEAD"],
        what: Lines(&["< transfer-encoding: chunked"], &["< content-length: 2"]),
        reason: "an answer that ignores Upgrade keeps its length, as above",
    },
];

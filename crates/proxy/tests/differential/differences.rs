//! Where Tidegate is meant to differ from Envoy, each with its reason.

use std::fmt::Write as _;

/// A difference that is meant.
struct Listed {
    /// The cases in which it occurs, by name.
    cases: &'static [&'static str],
    /// What differs.
    what: What,
    /// Why.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
}

enum What {
    /// Exactly these lines are Envoy's alone, and these Tidegate's.
    Lines(&'static [&'static str], &'static [&'static str]),
    /// Envoy answers with the one status, Tidegate with the other; the rest follows from that.
    Status(u16, u16),
    /// Envoy takes the connection to be over.
    Gone,
}

use What::{Gone, Lines, Status};

const LISTED: &[Listed] = &[
    Listed {
        cases: &["methods/M-SEARCH", "methods/BREW", "methods/get"],
        what: Status(400, 200),
        reason: "any token is a method (RFC 9110 section 9.1)",
    },
    Listed {
        cases: &["targets/https://b.example/o"],
        what: Status(403, 200),
        reason: "the scheme of a target is not believed: the connection's counts",
    },
    Listed {
        cases: &["targets/http://u@b.example/o", "hosts/a@b"],
        what: Status(200, 400),
        reason: "user information is an error (RFC 9110 section 4.2.4)",
    },
    Listed {
        cases: &["targets/OPTIONS *", "targets/OPTIONS absolute"],
        what: Status(404, 200),
        reason: "a route for the path * takes OPTIONS *",
    },
    Listed {
        cases: &["hosts/a:b", "hosts/[::1", "hosts/[zz]", "hosts/two", "hosts/two that differ"],
        what: Status(200, 400),
        reason: "Host names one host, with a number as its port (RFC 9112 section 3.2)",
    },
    Listed {
        cases: &["redirects/[::1x] /to/https"],
        what: Status(301, 400),
        reason: "Host names one host (RFC 9112 section 3.2)",
    },
    Listed {
        cases: &[
            "versions/plain 1.0",
            "versions/plain 1.0 keep-alive",
            "versions/plain 1.0 chunked answer",
            "versions/plain 1.0 with a length",
            "versions/plain 1.0 direct",
        ],
        what: Lines(&["< HTTP/1.0 200 OK"], &["< HTTP/1.1 200 OK"]),
        reason: "a server says its own version (RFC 9110 section 2.5)",
    },
    Listed {
        cases: &["versions/plain 1.0 without host"],
        what: Status(400, 200),
        reason: "HTTP/1.0 has no Host: the catch-all virtual host takes the request",
    },
    Listed {
        cases: &["versions/plain 1.0 chunked request"],
        what: Status(200, 501),
        reason: "chunks in HTTP/1.0 are faulty framing (RFC 9112 section 6.1)",
    },
    Listed {
        cases: &["versions/edge 1.2", "versions/edge 2.0", "versions/edge 0.9"],
        what: Status(426, 400),
        reason: "not HTTP/1 as it is spoken: Envoy takes it for HTTP/1.0",
    },
    Listed {
        cases: &["versions/edge two spaces", "versions/edge tab"],
        what: Status(200, 400),
        reason: "one space stands between the parts of a request line (RFC 9112 section 3)",
    },
    Listed {
        cases: &["connections/pipeline of eight", "connections/half closed after the request"],
        what: Gone,
        reason: "a pipeline is served to its end, and to a client that has only ended its own direction; \
                 Envoy takes the one for a flood and the other for a client that has gone",
    },
    Listed {
        cases: &[
            "connections/proxy-connection close",
            "redirects/POST",
            "failures/POST /unknown",
            "failures/PUT /unknown in chunks",
            "failures/POST /empty",
            "failures/PUT /empty in chunks",
            "failures/POST /none",
            "failures/PUT /none in chunks",
            "upgrades/direct answer",
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
        cases: &["headers/Connection: host", "headers/Connection: x-forwarded-for"],
        what: Status(400, 200),
        reason: "fields that the proxy itself needs cannot be nominated: the option is ignored",
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
        cases: &[
            "headers/bad X-A: 1\\r\\n folded",
            "headers/bad X-A: 1\\r\\n\\tfolded",
            "headers/bad X-A: a\\rb",
            "headers/bad X-A: a\\nX-B: b",
            "headers/bad X-A: 1",
            "headers/bare LF throughout",
            "headers/bare LF at the end",
        ],
        what: Status(200, 400),
        reason: "folded lines, bare LF and bare CR are refused (RFC 9112 sections 2.2 and 5.2)",
    },
    Listed {
        cases: &["answer headers/edge Connection: x-a\\r\\nX-A: 1"],
        what: Lines(&["< x-a: 1"], &[]),
        reason: "nominated fields end here in both directions (RFC 9110 section 7.6.1)",
    },
    Listed {
        cases: &["interim/expectation without a body"],
        what: Lines(&["< HTTP/1.1 100 Continue"], &[]),
        reason: "the request is complete: there is nothing to go on with (RFC 9110 section 10.1.1)",
    },
    Listed {
        cases: &[
            "interim/refused expectation",
            "early/inside a body with a length",
            "early/inside chunks",
            "early/inside a body, closing",
        ],
        what: Lines(&["< connection: close"], &[]),
        reason: "when the answer begins, the request may still be read to its end",
    },
    Listed {
        cases: &["interim/103 from the origin"],
        what: Lines(&[], &["< HTTP/1.1 103 Early Hints", "< link: </a>"]),
        reason: "interim answers are forwarded (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["interim/102 from the origin"],
        what: Lines(&[], &["< HTTP/1.1 102 Processing"]),
        reason: "interim answers are forwarded (RFC 9110 section 15.2)",
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
        reason: "interim answers are forwarded (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["gone/closed after 103"],
        what: Lines(&[], &["< HTTP/1.1 103 Early Hints"]),
        reason: "interim answers are forwarded (RFC 9110 section 15.2)",
    },
    Listed {
        cases: &["framing/identity and length"],
        what: Status(400, 501),
        reason: "of two faults the coding is seen first",
    },
    Listed {
        cases: &[
            "framing/size with space behind",
            "framing/chunk longer than its size",
            "framing/chunk ends in a bare LF",
            "framing/control character in an extension",
        ],
        what: Status(200, 400),
        reason: "chunks are framed strictly (RFC 9112 section 7.1)",
    },
    Listed {
        cases: &[
            "answer framing/bare LF",
            "answer framing/version 2.0",
            "answer framing/folded",
            "answer framing/version 1.0 in chunks",
        ],
        what: Status(200, 502),
        reason: "answers are read as strictly as requests (RFC 9112 sections 2.2, 2.3, 4, 5.2, 6.1)",
    },
    Listed {
        cases: &["answer framing/status of four digits"],
        what: Status(2000, 502),
        reason: "a status has three digits (RFC 9112 section 4)",
    },
    Listed {
        cases: &["answer framing/204 with a body"],
        what: Status(502, 204),
        reason: "a length in a 204 is ignored and taken away, what follows ends the connection \
                 (RFC 9112 section 6.3)",
    },
    Listed {
        cases: &["answer framing/a head of 70 KiB"],
        what: Status(200, 502),
        reason: "heads of answers are bounded at 60 KiB",
    },
    Listed {
        cases: &["answer framing/unasked 101"],
        what: Status(101, 502),
        reason: "a protocol that was not asked for is an error (RFC 9110 section 15.2.2)",
    },
    Listed {
        cases: &["gone/reset inside the head"],
        what: Status(502, 503),
        reason: "a reset says nothing about what was sent before it",
    },
    Listed {
        cases: &["upgrades/the origin ignores it", "upgrades/POST with a body"],
        what: Lines(&["< content-length: 0", "< []"], &["< content-length: 2", "< [ok]"]),
        reason: "an answer that refuses an upgrade keeps its content",
    },
    Listed {
        cases: &["upgrades/in capitals"],
        what: Lines(&["> connection: keep-alive, upgrade"], &["> connection: upgrade"]),
        reason: "options of the client's connection end here (RFC 9110 section 7.6.1)",
    },
    Listed {
        cases: &["upgrades/with HTTP 1.0"],
        what: Status(403, 200),
        reason: "Upgrade in HTTP/1.0 is ignored (RFC 9110 section 7.8)",
    },
    Listed {
        cases: &["to h2/refused"],
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
        reason: "a stream that was refused unseen is sent again, once (RFC 9113 section 8.7)",
    },
];

/// Collects what differs.
pub struct Differences {
    occurred: Vec<(usize, &'static str)>,
    report: String,
}

/// Whether a case is as it should be: the same on both sides, or different as listed.
pub fn is_settled(case: &str, envoy: &[String], tidegate: &[String]) -> bool {
    let mut differences = Differences::new();
    differences.see(case, envoy, tidegate);
    let is_listed = LISTED.iter().any(|listed| listed.cases.contains(&case));
    differences.report.is_empty() && (!is_listed || !differences.occurred.is_empty())
}

impl Differences {
    pub fn new() -> Self {
        Self { occurred: Vec::new(), report: String::new() }
    }

    /// Compares one case.
    pub fn see(&mut self, case: &str, envoy: &[String], tidegate: &[String]) {
        let envoy = &own_address(envoy, tidegate);
        let theirs = without(envoy, tidegate);
        let ours = without(tidegate, envoy);
        if theirs.is_empty() && ours.is_empty() {
            return;
        }
        let is_listed = |listed: &Listed| match listed.what {
            Lines(envoy, tidegate) => theirs == envoy && ours == tidegate,
            Status(theirs, ours) => status(envoy) == theirs && status(tidegate) == ours,
            Gone => theirs.contains(&"< no answer") && !ours.contains(&"< no answer"),
        };
        for (index, listed) in LISTED.iter().enumerate() {
            if let Some(name) = listed.cases.iter().find(|name| **name == case)
                && is_listed(listed)
            {
                self.occurred.push((index, name));
                return;
            }
        }
        let _ = writeln!(self.report, "{case}\n  envoy:    {theirs:#?}\n  tidegate: {ours:#?}");
    }

    /// What is not as listed; empty when all is. `partial` says that not all cases were run.
    pub fn report(mut self, partial: bool) -> String {
        for (index, listed) in LISTED.iter().enumerate() {
            for name in listed.cases {
                if !partial && !self.occurred.contains(&(index, name)) {
                    let _ = writeln!(self.report, "{name}: listed, but did not occur as listed");
                }
            }
        }
        self.report
    }
}

/// Status of the first answer; 0 without one.
fn status(lines: &[String]) -> u16 {
    let status = lines.first().and_then(|line| line.split(' ').nth(2));
    status.and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// The lines that are in `these` more often than in `those`.
fn without<'a>(these: &'a [String], those: &[String]) -> Vec<&'a str> {
    let mut those: Vec<&String> = those.iter().collect();
    let mut left = Vec::new();
    for line in these {
        match those.iter().position(|other| *other == line) {
            Some(at) => {
                those.swap_remove(at);
            }
            None => left.push(line.as_str()),
        }
    }
    left
}

/// Envoy writes an address of its own machine where the peer is on loopback (`x-forwarded-for`); Tidegate
/// writes the peer's. Puts the one for the other where nothing else differs.
fn own_address(envoy: &[String], tidegate: &[String]) -> Vec<String> {
    const FIELD: &str = "> x-forwarded-for: ";
    let before = |line: &str| line.rfind([',', ' ']).map(|at| line[..=at].to_owned());
    let meant = |line: &String| {
        let ours = format!("{}127.0.0.1", before(line)?);
        (line.starts_with(FIELD) && tidegate.contains(&ours)).then_some(ours)
    };
    envoy.iter().map(|line| meant(line).unwrap_or_else(|| line.clone())).collect()
}

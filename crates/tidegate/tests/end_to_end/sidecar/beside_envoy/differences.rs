//! Where our proxy is meant to differ from Envoy, each with its reason.

use std::fmt::Write as _;

use super::cases::Case;

/// A difference that is meant.
struct Listed {
    /// The names of the connections on which it occurs.
    cases: &'static [&'static str],
    /// Lines that are Envoy's alone.
    envoy: &'static [&'static str],
    /// Lines that are ours alone; one that ends with `…` stands for all that begin so.
    tidegate: &'static [&'static str],
    /// Why.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
}

const LISTED: &[Listed] = &[
    Listed {
        cases: &["an allowed Host at another port", "no TLS at a port of TLS"],
        envoy: &["closed", "logged: 0 UH - BlackHoleCluster - - -"],
        tidegate: &[
            "status: 502",
            "field content-length: …",
            "field content-type: text/plain",
            "field server: envoy",
            "field date",
            "got: egress to …",
            "logged: 502 - direct_response - - - block_all",
        ],
        reason: "a request that may not go out is told so in words, also where nobody listens for its port",
    },
    Listed {
        cases: &["a server name at another port"],
        envoy: &["logged: 0 UH - BlackHoleCluster - - -"],
        tidegate: &["logged: 0 UH - BlackHoleCluster - secure.example -"],
        reason: "what is refused is listed by its server name, and so looked into on every port",
    },
    Listed {
        cases: &["TLS without the certificate"],
        envoy: &[
            "field content-length: 121",
            "got: upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
             remote connection failure",
            "logged: 503 UF,URX upstream_reset_before_response_started{remote_connection_failure} \
             outbound|80||unshown.example 10.77.0.2:8443 - default",
        ],
        tidegate: &[
            "field content-length: 95",
            "got: upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "logged: 503 UC upstream_reset_before_response_started{connection_termination} \
             outbound|80||unshown.example 10.77.0.2:8443 - default",
        ],
        reason: "as a client Envoy speaks TLS 1.2 unless it is told otherwise, ours 1.3, where a server refuses a certificate \
                 after the client's handshake has ended",
    },
    Listed {
        cases: &["TLS to an origin without"],
        envoy: &[
            "field content-length: 121",
            "got: upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
             remote connection failure",
        ],
        tidegate: &[
            "field content-length: 334",
            "got: upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
             remote connection failure, transport failure reason: TLS_error: the endpoint answers TLS with plain bytes: \
             set DestinationRule default/plain spec.trafficPolicy.tls.mode to DISABLE …",
        ],
        reason: "the workload is told which field has TLS begin; what stands in it is a mark that Envoy does not know",
    },
    Listed {
        cases: &["one without an address"],
        envoy: &[
            "field content-length: 22",
            "got: DNS resolution failure",
            "logged: 503 DF dns_resolution_failure{…",
        ],
        tidegate: &[
            "field content-length: 59",
            "got: nobody.wild.example is not resolved: there is no such name",
            "logged: 503 DF dns_resolution_failure outbound|80||*.wild.example - - default",
        ],
        reason: "the answer says which name, and why",
    },
];

/// What differs and is not listed, and what is listed and does not differ so; empty where all is well.
pub fn report(cases: &[Case], envoy: &[Vec<String>], tidegate: &[Vec<String>]) -> String {
    let mut report = String::new();
    for (case, (envoy, tidegate)) in cases.iter().zip(envoy.iter().zip(tidegate)) {
        let (theirs, ours) = (without(envoy, tidegate), without(tidegate, envoy));
        let listed = LISTED.iter().find(|listed| listed.cases.contains(&case.name));
        let meant = match listed {
            Some(listed) => agree(listed.envoy, &theirs) && agree(listed.tidegate, &ours),
            None => theirs.is_empty() && ours.is_empty(),
        };
        if !meant {
            let told = |lines: &[String]| lines.join("\n    ");
            let both = without(envoy, &theirs);
            let _ = writeln!(
                report,
                "{case}\n  both:\n    {}\n  Envoy alone:\n    {}\n  Tidegate alone:\n    {}",
                told(&both),
                told(&theirs),
                told(&ours)
            );
        }
    }
    report
}

/// The lines of one that the other does not have.
fn without(lines: &[String], others: &[String]) -> Vec<String> {
    lines.iter().filter(|line| !others.contains(line)).cloned().collect()
}

fn agree(listed: &[&str], lines: &[String]) -> bool {
    let same = |(listed, line): (&&str, &String)| match listed.strip_suffix('…') {
        Some(beginning) => line.starts_with(beginning),
        None => line == listed,
    };
    listed.len() == lines.len() && listed.iter().zip(lines).all(same)
}

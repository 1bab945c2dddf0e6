//! The rule that a metric is declared only if something counts it, as a test over the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

use super::*;

/// Files by the beginning of their path, and the names that the code there has for a block.
type Place = (&'static str, &'static [&'static str]);

/// Where the metrics of a block are written: files by the beginning of their path, and under what name the code
/// there has the block at hand. A path may stand twice.
const PLACES: &[(&str, &[Place])] = &[
    ("ListenerStats", &[("listener/", &["stats", "current.stats", "borrow().stats"])]),
    (
        "HttpStats",
        &[
            ("http/", &["http.stats"]),
            ("http/h2/server.rs", &["stats"]),
            ("http/open.rs", &["stats"]),
            ("http/exchange/mod.rs", &["stats"]),
        ],
    ),
    ("LocalRateLimitStats", &[("filter/local_rate_limit/", &["stats"])]),
    ("RbacStats", &[("rbac/", &["enforced"])]),
    ("RbacShadowStats", &[("rbac/", &["shadow"])]),
    ("JwtStats", &[("filter/jwt/", &["counts", "self.counts"])]),
    ("CorsStats", &[("filter/cors.rs", &["stats"])]),
    ("FaultStats", &[("filter/fault.rs", &["stats", "self.stats"])]),
    ("TcpStats", &[("tcp/", &["self.stats"])]),
    (
        "ClusterStats",
        &[
            ("upstream/", &["stats", "self.stats", "pool.stats", "pool().stats"]),
            ("http/", &["cluster.stats"]),
            ("http/upstream.rs", &["stats"]),
            ("tcp/", &["cluster.stats"]),
        ],
    ),
    ("MembershipStats", &[("upstream/membership.rs", &["stats"])]),
    (
        "OutlierStats",
        &[
            ("upstream/outlier/", &["stats", "self.stats"]),
            ("upstream/membership.rs", &["outlier"]),
        ],
    ),
    (
        "EndpointStats",
        &[
            ("upstream/", &["self.endpoint_stats", "pool.endpoint_stats"]),
            (
                "http/exchange/",
                &["endpoint_stats", "pool.endpoint_stats", "endpoint.endpoint_stats"],
            ),
        ],
    ),
    ("HttpInspectorStats", &[("listener/look.rs", &["counts"])]),
    ("TlsInspectorStats", &[("listener/look.rs", &["counts"])]),
    ("AccessLogStats", &[("accesslog/", &["stats", "self.stats"])]),
    ("ClusterManagerStats", &[("ledger.rs", &["stats", "books.cluster_manager"])]),
    ("EgressStats", &[("egress/", &["stats", "self.stats"])]),
    ("DnsStats", &[("upstream/dns/counted.rs", &["stats", "stats()"])]),
    (
        "ListenerManagerStats",
        &[("ledger.rs", &["stats", "books.listener_manager", "books().listener_manager"])],
    ),
    ("CertificateStats", &[("ledger.rs", &["stats"])]),
    ("SdsStats", &[("ledger.rs", &["stats"])]),
    (
        "ServerStats",
        &[("admin/server.rs", &["server"]), ("view.rs", &["server"]), ("ledger.rs", &["server"])],
    ),
];

/// The fields of the blocks, as `blocks.rs` and `refusals.rs` declare them.
fn declared() -> BTreeMap<&'static str, Vec<&'static str>> {
    let sources = [include_str!("blocks.rs"), include_str!("refusals.rs")];
    let mut blocks: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut block = "";
    for line in sources.into_iter().flat_map(str::lines) {
        if let Some(name) = line.strip_prefix("    ").and_then(|line| line.strip_suffix(" {")) {
            block = name;
        } else if let Some((field, _)) = line.split_once(": ")
            && let Some(field) = field.strip_prefix("        ")
            && !field.starts_with('/')
        {
            blocks.entry(block).or_default().push(field);
        }
    }
    blocks
}

/// The sources without comments, tests and line ends, by path below `src/`.
fn sources(folder: &Path, root: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the sources").flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).expect("below it").display().to_string();
        if path.is_dir() {
            sources(&path, root, into);
        } else if name.ends_with(".rs") && !name.contains("tests") && !name.starts_with("stats/") {
            let text = fs::read_to_string(&path).expect("a source");
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
            into.push((name, code.collect()));
        }
    }
}

#[test]
fn every_metric_is_counted_somewhere() {
    let declared = declared();
    let fields: usize = declared.values().map(Vec::len).sum();
    let metrics = ListenerStats::METRICS.len()
        + HttpStats::METRICS.len()
        + LocalRateLimitStats::METRICS.len()
        + RbacStats::METRICS.len()
        + RbacShadowStats::METRICS.len()
        + CorsStats::METRICS.len()
        + FaultStats::METRICS.len()
        + TcpStats::METRICS.len()
        + ClusterStats::METRICS.len()
        + MembershipStats::METRICS.len()
        + OutlierStats::METRICS.len()
        + EndpointStats::METRICS.len()
        + HttpInspectorStats::METRICS.len()
        + TlsInspectorStats::METRICS.len()
        + JwtStats::METRICS.len()
        + AccessLogStats::METRICS.len()
        + ClusterManagerStats::METRICS.len()
        + DnsStats::METRICS.len()
        + EgressStats::METRICS.len()
        + ListenerManagerStats::METRICS.len()
        + CertificateStats::METRICS.len()
        + SdsStats::METRICS.len()
        + ServerStats::METRICS.len();
    assert_eq!(fields, metrics, "the blocks are not read as they are meant");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    let mut unwritten = BTreeSet::new();
    for (block, fields) in &declared {
        let places = PLACES.iter().find(|(name, _)| name == block);
        let (_, places) = places.unwrap_or_else(|| panic!("say in PLACES who writes {block}"));
        for field in fields {
            let use_of =
                Regex::new(&format!(r"((?:\w+(?:\(\))?\.)?\w+(?:\(\))?)\.{field}\b(\.get\()?"))
                    .expect("a pattern");
            let written = files.iter().any(|(file, code)| {
                use_of.captures_iter(code).any(|found| {
                    let owner = found.get(1).map_or("", |owner| owner.as_str());
                    let only_read = found.get(2).is_some();
                    let here = places
                        .iter()
                        .any(|(path, owners)| file.starts_with(path) && owners.contains(&owner));
                    here && !only_read
                })
            });
            if !written {
                unwritten.insert(format!("{block}.{field}"));
            }
        }
    }
    assert!(unwritten.is_empty(), "declared, and never counted: {unwritten:#?}");
}

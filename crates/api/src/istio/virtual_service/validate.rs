//! What a VirtualService may say, besides its HTTP rules.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::{
    Destination, HttpMatchRequest, L4MatchAttributes, RouteDestination, TcpRoute,
    TlsMatchAttributes, TlsRoute, VirtualService,
};
use crate::Object;
use crate::istio::host;
use crate::istio::rules::{self, Exporter, headers, hosts};
use crate::metadata::validate_labels;
use crate::validation::Report;

/// The Gateway that stands for all sidecars.
const MESH: &str = "mesh";

impl VirtualService {
    /// Checks what the spec says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        let delegate = self.hosts.is_empty();
        if delegate {
            self.validate_delegate(report);
        }
        rules::gateway_names(report, &self.gateways);
        let gateways_only = !self.gateways.is_empty() && !self.names_mesh();
        if !gateways_only {
            self.validate_claims(report);
        }
        self.validate_hosts(gateways_only, report);
        if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            report.wrong("http, tcp or tls must be provided in virtual service");
        }
        report.each("http", &self.http, |report, rule| {
            rule.validate(delegate, report);
        });
        report.each("tls", &self.tls, |report, rule| rule.validate(self, report));
        report.each("tcp", &self.tcp, |report, rule| rule.validate(report));
        rules::export_to(report, object.namespace(), &self.export_to, Exporter::Ordinary);
        let names = |rule: &super::HttpRoute| rule.name.clone();
        advise_unreachable(
            report,
            "http",
            &self.http,
            names,
            // A delegate may take less than its conditions say.
            (|rule| rule.delegate.is_none(), |rule| &rule.matches),
            |condition| HttpMatchRequest { name: String::new(), ..condition.clone() },
        );
        advise_unreachable(
            report,
            "tls",
            &self.tls,
            |_| String::new(),
            (|_| true, |r| &r.matches),
            Clone::clone,
        );
        advise_unreachable(
            report,
            "tcp",
            &self.tcp,
            |_| String::new(),
            (|_| true, |r| &r.matches),
            Clone::clone,
        );
        if !report.has_faults() {
            report.each("http", &self.http, |report, rule| rule.advise_unfit(report));
        }
    }

    fn names_mesh(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway == MESH)
    }

    /// Without hosts the object is a delegate: it has HTTP rules and nothing else.
    fn validate_delegate(&self, report: &mut Report) {
        let given = [
            ("gateways", self.gateways.is_empty()),
            ("tls", self.tls.is_empty()),
            ("tcp", self.tcp.is_empty()),
        ];
        for (field, _) in given.into_iter().filter(|(_, empty)| !empty) {
            let message =
                format!("a delegate, which is a VirtualService without hosts, has no {field}");
            report.field(field, |r| r.forbidden(message));
        }
    }

    /// Claims of a JWT are known at gateways only.
    fn validate_claims(&self, report: &mut Report) {
        report.each("http", &self.http, |report, rule| {
            report.each("match", &rule.matches, |report, condition| {
                let names = condition.headers.keys().chain(condition.without_headers.keys());
                for name in names.filter(|name| headers::is_jwt_claim(name)) {
                    let message =
                        format!("routing by a JWT claim ({name}) is only supported for gateways");
                    report.wrong(message);
                }
            });
        });
    }

    fn validate_hosts(&self, gateways_only: bool, report: &mut Report) {
        let sni = self.tls.iter().flat_map(|rule| &rule.matches).any(|m| !m.sni_hosts.is_empty());
        let mut valid = true;
        report.each("hosts", &self.hosts, |report, name| {
            let result = match name.as_str() {
                "*" if !gateways_only => Err(
                    "wildcard host * is not allowed for virtual services bound to the mesh gateway"
                        .to_owned(),
                ),
                name if hosts::is_ip(name) => Ok(()),
                name if gateways_only => hosts::gateway_domain(sni, name),
                name => hosts::wildcard_domain(name),
            };
            valid &= result.is_ok();
            report.check(name.as_str(), result);
        });
        if valid {
            self.validate_distinct_hosts(report);
        }
    }

    /// A name may fall under one host of the list only.
    fn validate_distinct_hosts(&self, report: &mut Report) {
        let mut before: Vec<&str> = Vec::new();
        let mut exact: HashSet<&str> = HashSet::new();
        let mut patterns: Vec<&str> = Vec::new();
        report.each("hosts", &self.hosts, |report, name| {
            let name = name.as_str();
            let wildcard = host::is_wildcard(name);
            // Only a wildcard may take in others; among exact names one lookup tells.
            let others = if wildcard { &before } else { &patterns };
            let other = others.iter().find(|other| **other != name && host::overlap(other, name));
            if !exact.insert(name) {
                report.duplicate(name);
            } else if let Some(other) = other {
                let (wide, narrow) =
                    if host::is_subset(name, other) { (*other, name) } else { (name, *other) };
                let words = format!("{wide} takes in {narrow} already: remove one of them");
                report.covered(name, words);
            }
            before.push(name);
            if wildcard {
                patterns.push(name);
            }
        });
    }
}

impl TlsRoute {
    fn validate(&self, context: &VirtualService, report: &mut Report) {
        if self.matches.is_empty() {
            report.field("match", |r| {
                r.required("TLS route must have at least one match condition");
            });
        }
        report.each("match", &self.matches, |report, condition| {
            condition.validate(context, report);
        });
        validate_destinations(&self.route, "TLS route is required", report);
    }
}

impl TlsMatchAttributes {
    fn validate(&self, context: &VirtualService, report: &mut Report) {
        if self.sni_hosts.is_empty() {
            report.field("sniHosts", |r| {
                r.required("TLS match must have at least one SNI host");
            });
        }
        report.each("sniHosts", &self.sni_hosts, |report, name| {
            if hosts::is_ip(name) {
                return report
                    .advise("an IP address goes against the SNI spec and most clients do not send it");
            }
            let result = if context.names_mesh() {
                hosts::wildcard_domain(name)
            } else {
                hosts::gateway_domain(true, name)
            };
            let covered = context.hosts.iter().any(|host| host::is_subset(name, host));
            match result {
                Ok(()) if !covered => report.invalid(
                    name.as_str(),
                    format!(
                        "SNI host is not a compatible subset of any of the virtual service hosts: [{}]",
                        context.hosts.join(", ")
                    ),
                ),
                result => report.check(name.as_str(), result),
            }
        });
        validate_subnets(&self.destination_subnets, report);
        validate_labels("sourceLabels", &self.source_labels, report);
        rules::gateway_names(report, &self.gateways);
    }
}

impl TcpRoute {
    fn validate(&self, report: &mut Report) {
        report.each("match", &self.matches, |report, condition| {
            condition.validate(report);
        });
        validate_destinations(&self.route, "TCP route is required", report);
    }
}

impl L4MatchAttributes {
    fn validate(&self, report: &mut Report) {
        validate_subnets(&self.destination_subnets, report);
        validate_labels("sourceLabels", &self.source_labels, report);
        rules::gateway_names(report, &self.gateways);
    }
}

fn validate_subnets(subnets: &[String], report: &mut Report) {
    report.each("destinationSubnets", subnets, |report, subnet| {
        report.check(subnet.as_str(), hosts::subnet(subnet));
    });
}

fn validate_destinations(route: &[RouteDestination], required: &str, report: &mut Report) {
    if route.is_empty() {
        report.field("route", |r| r.required(required));
    }
    report.each("route", route, |report, target| {
        report.field("destination", |r| target.destination.validate(r));
        rules::not_negative(report, "weight", target.share());
    });
    validate_weights(&weights(route), report);
}

fn weights(route: &[RouteDestination]) -> Vec<Option<i32>> {
    route.iter().map(|target| target.weight).collect()
}

/// The destinations of several that have no weight beside others that have one: they get nothing.
pub fn without_share(weights: &[Option<i32>]) -> impl Iterator<Item = usize> {
    let shared = weights.len() > 1 && weights.iter().any(|weight| weight.is_some_and(|w| w > 0));
    let all = weights.iter().enumerate().filter(move |(_, weight)| shared && weight.is_none());
    all.map(|(number, _)| number)
}

const NO_WEIGHT: &str = "total destination weight = 0: of several destinations at least one needs a weight above 0, and one without a \
     weight gets nothing; write weight in each";

/// Several destinations without any weight would leave traffic nowhere to go.
pub(super) fn validate_weights(weights: &[Option<i32>], report: &mut Report) {
    let sum: i64 = weights.iter().flatten().copied().map(i64::from).sum();
    if sum == 0 && weights.len() > 1 {
        report.field("route", |r| r.wrong(NO_WEIGHT));
    }
    if sum > i64::from(u32::MAX) {
        report.field("route", |r| {
            r.advise(format!("the sum of weights is above {}, which proxies refuse", u32::MAX));
        });
    }
    for number in without_share(weights) {
        report.field(&format!("route[{number}]"), |r| {
            r.advise("there is no weight beside others that have one, and so it gets nothing, as with weight 0; write its weight");
        });
    }
}

impl Destination {
    /// Checks the name of the service, the subset and the port.
    pub(in crate::istio) fn validate(&self, report: &mut Report) {
        let result = match self.host.as_str() {
            "*" => Err("a destination is one service, not *".to_owned()),
            name => hosts::wildcard_domain(name),
        };
        report.field("host", |r| r.check(self.host.as_str(), result));
        if !self.subset.is_empty() && !hosts::is_label(&self.subset) {
            report.field("subset", |r| {
                r.invalid(self.subset.as_str(), "must be a DNS label");
            });
        }
        if self.port.is_some_and(|port| port.number.is_none()) {
            report.field("port", |r| {
                r.field("number", |r| r.required("port must be between 1-65535"));
            });
        }
    }
}

/// Tells rules that no traffic reaches, since an earlier rule takes everything or has the same condition.
///
/// Conditions that an earlier one covers only in part or by a shorter prefix are left to the analyzers. `takes` says whether a
/// rule takes all that its conditions, `matches`, say.
fn advise_unreachable<R, M: Eq + Hash>(
    report: &mut Report,
    field: &str,
    rules: &[R],
    name: impl Fn(&R) -> String,
    (takes, matches): (impl Fn(&R) -> bool, impl Fn(&R) -> &[M]),
    bare: impl Fn(&M) -> M,
) {
    let title = |at: usize| match rules.get(at).map(&name).unwrap_or_default() {
        name if name.is_empty() => format!("#{at}"),
        name => format!("{name:?}"),
    };
    let mut seen: HashMap<M, usize> = HashMap::new();
    let mut takes_all: Option<usize> = None;
    let mut at = 0;
    report.each(field, rules, |report, rule| {
        let here = at;
        at += 1;
        if let Some(first) = takes_all {
            let first = title(first);
            return report.advise(format!(
                "never used: rule {first} has no conditions and takes everything"
            ));
        }
        let conditions = matches(rule);
        let whole = takes(rule);
        if conditions.is_empty() && whole {
            takes_all = Some(here);
        }
        report.each("match", conditions, |report, condition| match seen.get(&bare(condition)) {
            Some(first) => {
                let first = title(*first);
                report.advise(format!("not used: rule {first} has the same condition"));
            }
            None if whole => {
                seen.insert(bare(condition), here);
            }
            None => {}
        });
    });
}

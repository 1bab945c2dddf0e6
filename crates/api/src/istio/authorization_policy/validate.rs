//! What an AuthorizationPolicy may say.

use super::{Action, Attribute, AuthorizationPolicy, Condition, Operation, Rule, Source};
use crate::Object;
use crate::istio::policy::{self, DRY_RUN};
use crate::istio::rules::hosts;
use crate::validation::Report;

impl AuthorizationPolicy {
    /// Checks what the object says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        if let Some(value) = object.annotations.get(DRY_RUN) {
            report.field("metadata", |r| {
                r.field("annotations", |r| {
                    r.field(&format!("[{DRY_RUN}]"), |r| self.validate_dry_run(value, r));
                });
            });
        }
        report.field("spec", |report| self.validate_spec(report));
    }

    fn validate_dry_run(&self, value: &str, report: &mut Report) {
        if !matches!(self.action, Action::Allow | Action::Deny) {
            report.forbidden("only policies that allow or deny can be tried out");
        } else if go_bool(value).is_none() {
            report.invalid(value, "must be true or false");
        }
    }

    fn validate_spec(&self, report: &mut Report) {
        policy::validate_attachment(
            report,
            self.selector.as_ref(),
            self.target_ref.as_ref(),
            &self.target_refs,
        );
        self.validate_action(report);
        report.each("rules", &self.rules, |report, rule| {
            if self.action == Action::Custom {
                validate_custom(rule, report);
            }
            rule.validate(report);
            if self.action == Action::Deny && rule.denies_all_tcp() {
                report.advise(
                    "denies every connection to a TCP port, as it asks for nothing but HTTP: name the ports that it is for",
                );
            }
        });
    }

    fn validate_action(&self, report: &mut Report) {
        let named = self.provider.as_ref().is_some_and(|provider| !provider.name.is_empty());
        match self.action {
            Action::Custom | Action::Deny if self.rules.is_empty() => {
                let message = "without rules the policy never matches; an empty rule {} matches every request";
                report.field("rules", |r| r.required(message));
            }
            Action::Custom if !named => {
                report.field("provider", |r| {
                    r.field("name", |r| r.required("`provider.name` must not be empty"));
                });
            }
            Action::Custom => {}
            _ if self.provider.is_some() => {
                report.field("provider", |r| r.forbidden("only the action CUSTOM has a provider"));
            }
            _ => {}
        }
    }
}

/// Whether a policy is only tried out: it counts what it would do, and does nothing.
pub fn is_dry_run(object: &Object) -> bool {
    object.annotations.get(DRY_RUN).and_then(|value| go_bool(value)).unwrap_or(false)
}

/// The words that Go takes for truth values.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

impl Rule {
    fn validate(&self, report: &mut Report) {
        report.optional("from", self.from.as_ref(), |report, from| {
            if from.is_empty() {
                report.required("`from` must not be empty");
            }
        });
        report.each("from", self.from.as_deref().unwrap_or_default(), |report, from| {
            report.field("source", |report| match &from.source {
                Some(source) => source.validate(report),
                None => report.required("`from.source` must not be nil"),
            });
        });
        report.optional("to", self.to.as_ref(), |report, to| {
            if to.is_empty() {
                report.required("`to` must not be empty");
            }
        });
        report.each("to", self.to.as_deref().unwrap_or_default(), |report, to| {
            report.field("operation", |report| match &to.operation {
                Some(operation) => operation.validate(report),
                None => report.required("`to.operation` must not be nil"),
            });
        });
        report.each("when", &self.when, |report, condition| condition.validate(report));
    }

    /// Whether the rule asks for nothing that a connection without HTTP has. A rule that denies ignores what is not there.
    fn denies_all_tcp(&self) -> bool {
        let sources = || self.from.iter().flatten().filter_map(|from| from.source.as_ref());
        let operations = || self.to.iter().flatten().filter_map(|to| to.operation.as_ref());
        let from = sources().next().is_some();
        let to = operations().next().is_some();
        (from && !to && !sources().any(Source::asks_for_connections))
            || (to && !operations().any(|o| !o.ports.is_empty() || !o.not_ports.is_empty()))
    }
}

impl Source {
    fn asks_for_connections(&self) -> bool {
        let lists = [
            &self.principals,
            &self.not_principals,
            &self.ip_blocks,
            &self.not_ip_blocks,
            &self.namespaces,
            &self.not_namespaces,
            &self.remote_ip_blocks,
            &self.not_remote_ip_blocks,
            &self.service_accounts,
            &self.not_service_accounts,
        ];
        lists.into_iter().any(|list| !list.is_empty())
    }

    fn validate(&self, report: &mut Report) {
        let plain = [
            ("principals", &self.principals),
            ("notPrincipals", &self.not_principals),
            ("requestPrincipals", &self.request_principals),
            ("notRequestPrincipals", &self.not_request_principals),
            ("namespaces", &self.namespaces),
            ("notNamespaces", &self.not_namespaces),
        ];
        let accounts = [
            ("serviceAccounts", &self.service_accounts),
            ("notServiceAccounts", &self.not_service_accounts),
        ];
        let domains =
            [("trustDomains", &self.trust_domains), ("notTrustDomains", &self.not_trust_domains)];
        let blocks = [
            ("ipBlocks", &self.ip_blocks),
            ("notIpBlocks", &self.not_ip_blocks),
            ("remoteIpBlocks", &self.remote_ip_blocks),
            ("notRemoteIpBlocks", &self.not_remote_ip_blocks),
        ];
        let all = plain.iter().chain(&accounts).chain(&domains).chain(&blocks);
        if all.into_iter().all(|(_, list)| list.is_empty()) {
            report.required("`from.source` must not be empty");
        }
        check_each(report, &plain, |_| Ok(()));
        check_each(report, &accounts, service_account);
        check_each(report, &domains, trust_domain);
        check_each(report, &blocks, hosts::subnet);
    }
}

impl Operation {
    fn validate(&self, report: &mut Report) {
        let plain = [
            ("hosts", &self.hosts),
            ("notHosts", &self.not_hosts),
            ("methods", &self.methods),
            ("notMethods", &self.not_methods),
        ];
        let ports = [("ports", &self.ports), ("notPorts", &self.not_ports)];
        let paths = [("paths", &self.paths), ("notPaths", &self.not_paths)];
        let mut all = plain.iter().chain(&ports).chain(&paths);
        if all.all(|(_, list)| list.is_empty()) {
            report.required("`to.operation` must not be empty");
        }
        check_each(report, &plain, |_| Ok(()));
        check_each(report, &ports, port);
        check_each(report, &paths, path);
    }
}

impl Condition {
    fn validate(&self, report: &mut Report) {
        if self.key.is_empty() {
            return report.field("key", |r| r.required("`key` must not be empty"));
        }
        if self.values.is_empty() && self.not_values.is_empty() {
            report.required("at least one of `values` or `notValues` must be set");
        }
        let attribute = match Attribute::parse(&self.key) {
            Ok(attribute) => attribute,
            Err(message) => {
                return report.field("key", |r| r.invalid(self.key.as_str(), message));
            }
        };
        let lists = [("values", &self.values), ("notValues", &self.not_values)];
        check_each(report, &lists, |value| match attribute {
            Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => {
                hosts::subnet(value)
            }
            Attribute::SourceServiceAccount => service_account(value),
            Attribute::SourceTrustDomain => wildcard(value),
            Attribute::DestinationPort => port(value),
            _ => Ok(()),
        });
    }
}

/// Checks the entries of lists, none of which may be empty.
fn check_each(
    report: &mut Report,
    lists: &[(&str, &Vec<String>)],
    check: impl Fn(&str) -> Result<(), String>,
) {
    for (field, list) in lists {
        report.each(field, list, |report, value| {
            let empty = || Err("empty value not allowed".to_owned());
            let result = if value.is_empty() { empty() } else { check(value) };
            report.check(value.as_str(), result);
        });
    }
}

/// The external service of a CUSTOM policy is asked before anything is known of the client but its address.
fn validate_custom(rule: &Rule, report: &mut Report) {
    const MESSAGE: &str = "is currently not supported with CUSTOM action";
    let sources = rule.from.as_deref().unwrap_or_default();
    report.each("from", sources, |report, from| {
        let Some(source) = &from.source else { return };
        report.field("source", |report| {
            let lists = [
                ("namespaces", &source.namespaces),
                ("notNamespaces", &source.not_namespaces),
                ("serviceAccounts", &source.service_accounts),
                ("notServiceAccounts", &source.not_service_accounts),
                ("trustDomains", &source.trust_domains),
                ("notTrustDomains", &source.not_trust_domains),
                ("principals", &source.principals),
                ("notPrincipals", &source.not_principals),
                ("requestPrincipals", &source.request_principals),
                ("notRequestPrincipals", &source.not_request_principals),
            ];
            for (field, _) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
                report.field(field, |r| r.forbidden(MESSAGE));
            }
        });
    });
    report.each("when", &rule.when, |report, condition| {
        const OF_PEERS: [&str; 4] =
            ["source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal"];
        let key = condition.key.as_str();
        if OF_PEERS.contains(&key) || key.starts_with("request.auth.") {
            report.field("key", |r| r.invalid(key, MESSAGE));
        }
    });
}

/// Checks a port, which may be 0.
fn port(text: &str) -> Result<(), String> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(_) if plain => Ok(()),
        _ => Err("must be a port, 0 to 65535".to_owned()),
    }
}

/// Checks an account: `NAME` or `NAMESPACE/NAME`.
fn service_account(text: &str) -> Result<(), String> {
    const LONGEST: usize = 320;
    if text.contains('*') {
        return Err("wildcard not allowed".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("may not be longer than {LONGEST} bytes"));
    }
    let mut parts = text.split('/');
    let two = parts.clone().count() <= 2;
    if two && parts.all(|part| !part.is_empty()) {
        Ok(())
    } else {
        Err("must be a service account, or namespace/serviceAccount".to_owned())
    }
}

/// Checks a trust domain, in which a wildcard may begin or end.
fn trust_domain(text: &str) -> Result<(), String> {
    wildcard(text)?;
    if text.contains('/') { Err("a trust domain has no /".to_owned()) } else { Ok(()) }
}

fn wildcard(text: &str) -> Result<(), String> {
    match text.matches('*').count() {
        0 => Ok(()),
        1 if text.starts_with('*') || text.ends_with('*') => Ok(()),
        1 => Err("a wildcard stands at the start or at the end".to_owned()),
        _ => Err("at most one wildcard is allowed".to_owned()),
    }
}

/// Whether a path is a template: `{*}` stands for a segment of it, or `{**}` for any number.
pub fn has_template(path: &str) -> bool {
    path.contains("{*}") || path.contains("{**}")
}

/// Checks a path, and its segments if it is a template.
fn path(text: &str) -> Result<(), String> {
    let template = has_template(text);
    let mut rest = false;
    for segment in text.trim_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if rest => return Err("{**} has to be the last operator".to_owned()),
            "{**}" => rest = true,
            "{*}" => {}
            _ if segment.contains(['{', '}']) => {
                return Err("{ and } stand in {*} and {**} only, each of which is a segment".into());
            }
            _ if template && !is_literal(segment) => {
                return Err(format!("segment {segment:?} of the template is no plain text"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a segment beside templates is plain: characters of a path (RFC 3986), at least one, and no `*`.
fn is_literal(segment: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&b);
    !segment.is_empty() && segment.bytes().all(plain)
}

//! Rules that several of Istio's kinds share, as its admission webhook has them.

pub(crate) mod headers;
pub(crate) mod hosts;

use std::collections::BTreeSet;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{Ast, Visitor, visit};

use super::StringMatch;
use crate::scalar::{GoDuration, Percent};
use crate::validation::Report;

/// Longest regular expression that is accepted, in bytes.
const MAX_REGEX: usize = 1024;
/// Most memory that a compiled one may take, in bytes: as much as the proxy grants it.
const MAX_COMPILED_REGEX: usize = 1024 * 1024;

/// Checks a duration that is given: Istio counts in whole milliseconds, and in no fewer than one.
pub(crate) fn duration(report: &mut Report, field: &str, span: Option<GoDuration>) {
    let Some(span) = span.map(GoDuration::get) else {
        return;
    };
    let message = if span < Duration::from_millis(1) {
        "duration must be greater than 1ms"
    } else if span.subsec_nanos() % 1_000_000 != 0 {
        "only durations to ms precision are supported"
    } else {
        return;
    };
    report.field(field, |r| r.invalid(format!("{span:?}"), message));
}

/// As [`duration`], where zero means "off".
pub(crate) fn duration_or_zero(report: &mut Report, field: &str, span: Option<GoDuration>) {
    duration(report, field, span.filter(|span| !span.get().is_zero()));
}

/// Checks a number that may not be negative.
pub(crate) fn not_negative(report: &mut Report, field: &str, number: i32) {
    if number < 0 {
        report.field(field, |r| r.invalid(number, "must be non-negative"));
    }
}

/// Checks a whole number of percent.
pub(crate) fn whole_percent(report: &mut Report, field: &str, number: i32) {
    if !(0..=100).contains(&number) {
        report.field(field, |r| r.invalid(number, "must be in range 0..100"));
    }
}

/// Checks a share that may be a fraction of a percent.
pub(crate) fn percent(report: &mut Report, field: &str, share: Option<Percent>) {
    let Some(Percent { value }) = share else {
        return;
    };
    if value != 0.0 && !(0.0001..=100.0).contains(&value) {
        let message = "must be 0.0 or in range [0.0001, 100.0]";
        report.field(field, |r| r.field("value", |r| r.invalid(value, message)));
    }
}

/// Checks a share that may be anything up to all.
pub(crate) fn percent_up_to_all(report: &mut Report, field: &str, share: Option<Percent>) {
    let Some(Percent { value }) = share else {
        return;
    };
    if !(0.0..=100.0).contains(&value) {
        report.field(field, |r| {
            r.field("value", |r| r.invalid(value, "must be in range 0..100"));
        });
    }
}

/// Checks a regular expression.
///
/// The expression is compiled by the engine that the proxy runs, within the limits that hold there: the proxy would refuse
/// the routes around one that it does not take. RE2 and that engine differ in corners (RE2 takes `a{,5}` and `\Q…\E` for
/// plain text); such an expression is refused here, not misread there.
pub(crate) fn regex(report: &mut Report, pattern: &str) {
    if pattern.is_empty() {
        report.invalid(pattern, "regex string match should not be empty");
    } else if pattern.len() > MAX_REGEX {
        report.too_long(format!("regex is too large, max length allowed is {MAX_REGEX}"));
    } else if repeats_a_repetition(pattern) {
        report.invalid(pattern, "invalid nested repetition operator; put the inner one in a group");
    } else if let Err(error) = compile(pattern) {
        let error = error.to_string();
        // The engine draws the place over several lines; its last line says what is wrong.
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        report.invalid(pattern, format!("{reason}; an RE2 regular expression is expected"));
    }
}

/// Whether an expression repeats what is repeated already (`a++`, `a{2}*`), which RE2 does not take.
fn repeats_a_repetition(pattern: &str) -> bool {
    struct Nested;
    impl Visitor for Nested {
        type Output = ();
        type Err = ();
        fn finish(self) -> Result<(), ()> {
            Ok(())
        }
        fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
            match ast {
                Ast::Repetition(outer) if matches!(*outer.ast, Ast::Repetition(_)) => Err(()),
                _ => Ok(()),
            }
        }
    }
    // What cannot be read is refused by who compiles it.
    Parser::new().parse(pattern).is_ok_and(|ast| visit(&ast, Nested).is_err())
}

/// Compiles an expression as the proxy does: by itself, without Unicode where that is possible, and to match a whole text.
/// Answers the former.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |pattern: &str, unicode| {
        let mut builder = RegexBuilder::new(pattern);
        builder.unicode(unicode).size_limit(MAX_COMPILED_REGEX).dfa_size_limit(MAX_COMPILED_REGEX);
        builder.build()
    };
    let unicode = matches!(build(pattern, false), Err(regex::Error::Syntax(_)));
    let found = build(pattern, unicode)?;
    build(&format!(r"\A(?:{pattern})\z"), unicode)?;
    Ok(found)
}

/// What is wrong with the text that stands in for a match: after a backslash it has the number of one of the pattern's
/// groups, 0 for the whole match, or another backslash.
pub(crate) fn substitution(pattern: &str, text: &str) -> Option<String> {
    let mut most = 0;
    let mut bytes = text.bytes();
    while bytes.any(|byte| byte == b'\\') {
        match bytes.next() {
            Some(b'\\') => {}
            Some(digit @ b'0'..=b'9') => most = most.max(usize::from(digit - b'0')),
            _ => {
                return Some(
                    r"a backslash stands before a digit or another backslash (\\)".to_owned(),
                );
            }
        }
    }
    // What a wrong pattern is told says enough.
    let groups = if most == 0 { 0 } else { compile(pattern).ok()?.captures_len() - 1 };
    (most > groups).then(|| format!("\\{most} names a group, and the pattern has {groups} of them"))
}

/// Checks a text condition whose prefix and regex may not be empty.
pub(crate) fn string_match(report: &mut Report, condition: &StringMatch) {
    match condition {
        StringMatch::Prefix(prefix) if prefix.is_empty() => {
            report.field("prefix", |r| {
                r.invalid("", "prefix string match should not be empty");
            });
        }
        _ => string_match_regex(report, condition),
    }
}

/// Checks a text condition whose regex may not be empty; a prefix may, and then matches everything.
pub(crate) fn string_match_regex(report: &mut Report, condition: &StringMatch) {
    if let StringMatch::Regex(pattern) = condition {
        report.field("regex", |r| regex(r, pattern));
    }
}

/// Who an `exportTo` belongs to: each has its own exceptions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exporter {
    /// Nothing special.
    Ordinary,
    /// A ServiceEntry, which may be hidden from everyone by `~`.
    ServiceEntry,
    /// A DestinationRule with a workload selector, which stays in its namespace.
    SelectiveRule,
}

/// Checks the namespaces that an object is visible in.
pub(crate) fn export_to(report: &mut Report, namespace: &str, list: &[String], who: Exporter) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    report.each("exportTo", list, |report, entry| {
        let resolved = if entry == "." { namespace } else { entry.as_str() };
        if !seen.insert(resolved) {
            return report.duplicate(entry.as_str());
        }
        match entry.as_str() {
            "." | "*" => {}
            "~" if who == Exporter::ServiceEntry => {}
            "~" => report.invalid("~", "only a ServiceEntry can be exported to no one (~)"),
            name if hosts::is_label(name) => {}
            name => report.invalid(name, "must be ., *, or the name of a namespace"),
        }
    });
    let alone = list.len() == 1;
    report.field("exportTo", |report| {
        if seen.contains("*") && !alone {
            report.wrong("cannot have both public (*) and non-public exportTo values");
        }
        if seen.contains("~") && !alone {
            report.wrong("cannot export to no one (~) and someone");
        }
        let stays = list.is_empty() || (seen.len() == 1 && seen.contains(namespace));
        if who == Exporter::SelectiveRule && !stays {
            report.wrong(
                "a rule with a workloadSelector cannot be exported beyond its own namespace",
            );
        }
    });
}

/// Checks a list of Gateways, each `name` or `namespace/name`.
pub(crate) fn gateway_names(report: &mut Report, names: &[String]) {
    report.each("gateways", names, |report, name| match name.split_once('/') {
        None => {
            if let Some((gateway, rest)) = name.split_once('.') {
                let namespace = rest.split('.').next().unwrap_or_default();
                report.advise(format!(
                    "using legacy gateway name {name:?}; write it as {namespace}/{gateway}"
                ));
            }
            report.check(name.as_str(), hosts::fqdn(name));
        }
        Some((namespace, gateway)) => {
            if !hosts::is_label(namespace) || !hosts::is_label(gateway) {
                report.invalid(name.as_str(), "must be the name of a Gateway, or namespace/name");
            }
        }
    });
}

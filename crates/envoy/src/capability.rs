//! What the proxy does with each xDS type and field: one table, in `capability/table/`.
//!
//! A field is *honoured*; *accepted without effect*, for a reason that a [`Report`] tells; or *refused*
//! with its path. What the table does not name is refused: nothing is ignored in silence. pilot emits
//! only what is honoured here, and the proxy compiles only what [`check`] lets through.
//!
//! To honour a field, move it to the `honoured` list of its message's row; for a new message, add a
//! row. Tests hold the table against the descriptors: names exist, stand once, and every message that
//! an honoured field holds has a row of its own.
//!
//! An extension is known by the type of its configuration: one without it is refused, whatever its name says, as Envoy
//! does. Otherwise a TLS socket without `typed_config` would be plaintext.
//!
//! Absent: Envoy's validation rules (lengths, ranges, required fields). What they guard is checked where
//! the value is compiled.

mod row;
mod table;

use std::fmt;

use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, ReflectMessage, Value};

use crate::path::Path;
use crate::{AnyError, any};
use row::{CompiledRow, NOTHING, Rule};

/// Findings kept of each sort; the rest is counted in the last one. A peer decides how many there are.
const MAX_FINDINGS: usize = 64;
/// What is said of an extension without configuration.
const MUST_BE_SET: &str = "must be set: an extension is known by the type of its configuration";
/// How many messages may nest.
const MAX_DEPTH: usize = 64;

/// One field and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path from the resource, such as `filter_chains[0].filters[1].typed_config`; empty when the
    /// whole is meant.
    pub path: String,
    /// What is wrong and what would be accepted, or why there is no effect.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// What the proxy would do with a message beyond honouring it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Fields that are refused. If there is one, the resource is not served.
    pub refusals: Vec<Finding>,
    /// Fields accepted without effect, and optional filters that are skipped.
    pub notices: Vec<Finding>,
}

/// Walks the set fields of a resource and holds them against the table.
pub fn check(resource: &DynamicMessage) -> Report {
    let mut report = Report::default();
    check_message(resource, &Path::Root, 0, &mut report);
    report
}

/// [`check`] of encoded bytes of a type, by full name or type URL.
///
/// # Errors
/// The type is not in the pool, or the bytes are no such message.
pub fn check_bytes(type_url: &str, bytes: &[u8]) -> Result<Report, AnyError> {
    Ok(check(&any::dynamic(type_url, bytes)?))
}

/// Whether the table has a row for a type, by full name or type URL.
pub fn knows(type_url: &str) -> bool {
    table::row(any::type_name(type_url)).is_some()
}

fn check_message(message: &DynamicMessage, path: &Path<'_>, depth: usize, report: &mut Report) {
    let descriptor = message.descriptor();
    if descriptor.package_name() == "google.protobuf" {
        return;
    }
    let Some(row) = table::row(descriptor.full_name()) else {
        return report.refuse(path, format!("{} is not supported", descriptor.full_name()));
    };
    if row.whole {
        return;
    }
    if depth > MAX_DEPTH {
        return report.refuse(path, format!("more than {MAX_DEPTH} messages deep"));
    }
    if let Some(reason) = skipped(message, row) {
        return report.notice(path, reason);
    }
    for name in missing(message, row) {
        report.refuse(&path.field(name), MUST_BE_SET.to_owned());
    }
    for (field, value) in message.fields() {
        let path = &path.field(field.name());
        match row.rule(field.name()) {
            Rule::Honoured => check_field(&field, value, row, path, depth, report),
            Rule::Ignored(reason) => report.notice(path, format!("has no effect: {reason}")),
            Rule::Refused(reason) => report.refuse(path, (*reason).to_owned()),
            Rule::Absent => report.refuse(
                path,
                format!("`{}` of {} is not supported", field.name(), descriptor.full_name()),
            ),
        }
    }
    if let Some(unknown) = message.unknown_fields().next() {
        let reason =
            format!("{} has an unknown field {}", descriptor.full_name(), unknown.number());
        report.refuse(path, reason);
    }
}

/// The fields for the configuration of an extension that are absent, where that means nothing. What stands in place of one
/// (such as `config_discovery`) is judged by itself.
fn missing<'a>(
    message: &'a DynamicMessage,
    row: &'a CompiledRow,
) -> impl Iterator<Item = &'static str> + 'a {
    let absent = |name: &str| {
        let Some(field) = message.descriptor().get_field_by_name(name) else { return false };
        let one = field.supports_presence() && !message.has_field(&field);
        let other = field
            .containing_oneof()
            .is_some_and(|oneof| oneof.fields().any(|alternative| message.has_field(&alternative)));
        one && !other
    };
    let held = row.held.iter().filter(|(_, held)| !held.contains(&NOTHING));
    held.map(|(name, _)| *name).filter(move |name| absent(name))
}

/// The reason to skip a filter that is marked optional and holds a type that is not known at its place, or none.
fn skipped(message: &DynamicMessage, row: &CompiledRow) -> Option<String> {
    let flag = message.get_field_by_name(row.optional?)?;
    if flag.as_bool() != Some(true) {
        return None;
    }
    if let Some(name) = missing(message, row).next() {
        return Some(format!("skipped: it has no `{name}`, and it is optional"));
    }
    message.fields().find_map(|(field, value)| {
        let allowed = row.held.get(field.name())?;
        let url = any_url(value.as_message()?);
        (!allowed.contains(&any::type_name(&url)))
            .then(|| format!("skipped: `{url}` is not supported, and it is optional"))
    })
}

fn check_field(
    field: &FieldDescriptor,
    value: &Value,
    row: &CompiledRow,
    path: &Path<'_>,
    depth: usize,
    report: &mut Report,
) {
    if let Some(allowed) = row.values.get(field.name()) {
        check_value(field, value, allowed, path, report);
    }
    let mut each = |value: &Value, path: &Path<'_>| {
        let Some(message) = value.as_message() else {
            return;
        };
        if message.descriptor().full_name() == "google.protobuf.Any" {
            let held = row.held.get(field.name()).copied().unwrap_or_default();
            check_any(message, held, path, depth + 1, report);
        } else {
            check_message(message, path, depth + 1, report);
        }
    };
    match value {
        Value::List(items) => {
            items.iter().enumerate().for_each(|(at, item)| each(item, &path.index(at)));
        }
        Value::Map(entries) => {
            // In key order, so that a report is the same each time.
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, item) in entries {
                each(item, &path.key(&key_text(key)));
            }
        }
        single => each(single, path),
    }
}

fn check_any(
    message: &DynamicMessage,
    held: &[&str],
    path: &Path<'_>,
    depth: usize,
    report: &mut Report,
) {
    let url = any_url(message);
    let known = held.contains(&any::type_name(&url));
    if url.is_empty() && !known {
        return report.refuse(path, MUST_BE_SET.to_owned());
    }
    if !known {
        let named = held.iter().filter(|name| **name != NOTHING);
        let known: Vec<String> = named.map(|name| format!("`{name}`")).collect();
        let known = if known.is_empty() { "nothing".into() } else { known.join(" or ") };
        return report.refuse(path, format!("`{url}` is not supported here: {known} is"));
    }
    let bytes = message.get_field_by_number(2);
    let bytes = bytes.as_deref().and_then(Value::as_bytes).map_or(&[][..], |bytes| bytes);
    if url == NOTHING {
        return;
    }
    match any::dynamic(&url, bytes) {
        Ok(inner) => check_message(&inner, path, depth, report),
        Err(error) => report.refuse(path, error.to_string()),
    }
}

/// Values are compared as text: the name of an enum's value, `true`, a number; a wrapper as what it holds.
fn check_value(
    field: &FieldDescriptor,
    value: &Value,
    allowed: &[&str],
    path: &Path<'_>,
    report: &mut Report,
) {
    let text = |value: &Value| match value {
        Value::EnumNumber(number) => {
            let kind = field.kind();
            let value = kind.as_enum().and_then(|kind| kind.get_value(*number));
            value.map_or_else(|| number.to_string(), |value| value.name().to_owned())
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let found = match value {
        Value::Message(wrapper) => wrapper.get_field_by_number(1).map(|inner| text(&inner)),
        single => Some(text(single)),
    };
    let found = found.unwrap_or_default();
    if !allowed.contains(&found.as_str()) {
        report.refuse(path, format!("{found} is not supported: {} is", allowed.join(" or ")));
    }
}

fn any_url(any: &DynamicMessage) -> String {
    let url = any.get_field_by_number(1);
    url.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn key_text(key: &MapKey) -> String {
    key.as_str().map_or_else(|| Value::from(key.clone()).to_string(), str::to_owned)
}

impl Report {
    fn refuse(&mut self, path: &Path<'_>, reason: String) {
        push(&mut self.refusals, path, reason);
    }

    fn notice(&mut self, path: &Path<'_>, reason: String) {
        push(&mut self.notices, path, reason);
    }
}

fn push(findings: &mut Vec<Finding>, path: &Path<'_>, reason: String) {
    if findings.len() < MAX_FINDINGS {
        findings.push(Finding { path: path.to_string(), reason });
    } else if findings.len() == MAX_FINDINGS {
        findings.push(Finding { path: String::new(), reason: "there are more like these".into() });
    }
}

#[cfg(test)]
mod tests;

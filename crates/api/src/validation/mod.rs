//! What an object says, checked once its shape is right.
//!
//! Each kind's rules stand beside its type; here is what they share: the [`Report`] that collects faults
//! with their paths, and the rules for [`names`].

pub mod names;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{FieldError, Reason, Warning, WarningKind};

/// Collects what validation finds, each finding with the path of the place that is being looked at.
#[derive(Debug, Default)]
pub struct Report {
    path: String,
    errors: Vec<FieldError>,
    warnings: Vec<Warning>,
}

impl Report {
    /// An empty report at the root of an object.
    pub fn new() -> Self {
        Report::default()
    }

    /// The faults and warnings that were found.
    pub fn into_parts(self) -> (Vec<FieldError>, Vec<Warning>) {
        (self.errors, self.warnings)
    }

    /// Whether a fault was found: an object with one has no effect.
    pub fn has_faults(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Looks at a field.
    pub fn field<R>(&mut self, name: &str, look: impl FnOnce(&mut Self) -> R) -> R {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.descend(&format!("{dot}{name}"), look)
    }

    /// Looks at a field if it is given.
    pub fn optional<T>(&mut self, name: &str, value: Option<&T>, look: impl FnOnce(&mut Self, &T)) {
        if let Some(value) = value {
            self.field(name, |report| look(report, value));
        }
    }

    /// Looks at each entry of a list, as `name[0]` and so on.
    pub fn each<'t, T>(
        &mut self,
        name: &str,
        list: &'t [T],
        mut look: impl FnMut(&mut Self, &'t T),
    ) {
        self.field(name, |report| {
            for (at, item) in list.iter().enumerate() {
                report.descend(&format!("[{at}]"), |report| look(report, item));
            }
        });
    }

    /// Looks at each entry of a map, as `name[key]`.
    pub fn entries<'t, T>(
        &mut self,
        name: &str,
        map: &'t BTreeMap<String, T>,
        mut look: impl FnMut(&mut Self, &'t str, &'t T),
    ) {
        self.field(name, |report| {
            for (key, value) in map {
                report.descend(&format!("[{key}]"), |report| look(report, key, value));
            }
        });
    }

    fn descend<R>(&mut self, segment: &str, look: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        self.path.push_str(segment);
        let result = look(self);
        self.path.truncate(length);
        result
    }

    /// The value here is not acceptable.
    pub fn invalid(&mut self, value: impl Into<Value>, message: impl Into<String>) {
        self.errors.push(FieldError::invalid(self.path.clone(), value, message));
    }

    /// What stands here is not acceptable as a whole; no single value is to blame.
    pub fn wrong(&mut self, message: impl Into<String>) {
        self.errors.push(FieldError::new(self.path.clone(), Reason::Invalid, message));
    }

    /// Something has to be here.
    pub fn required(&mut self, message: impl Into<String>) {
        self.errors.push(FieldError::new(self.path.clone(), Reason::Required, message));
    }

    /// This may not be here.
    pub fn forbidden(&mut self, message: impl Into<String>) {
        self.errors.push(FieldError::new(self.path.clone(), Reason::Forbidden, message));
    }

    /// Another entry has this value already.
    pub fn duplicate(&mut self, value: impl Into<Value>) {
        let error = FieldError::invalid(self.path.clone(), value, "");
        self.errors.push(FieldError { reason: Reason::Duplicate, ..error });
    }

    /// Another entry takes in what this one says, as the message tells.
    pub fn covered(&mut self, value: impl Into<Value>, message: impl Into<String>) {
        let error = FieldError::invalid(self.path.clone(), value, message);
        self.errors.push(FieldError { reason: Reason::Duplicate, ..error });
    }

    /// The value here is none of those that are allowed.
    pub fn not_supported(&mut self, value: impl Into<Value>, supported: &[&str]) {
        self.errors.push(FieldError::not_supported(self.path.clone(), value, supported));
    }

    /// The text here is too long.
    pub fn too_long(&mut self, message: impl Into<String>) {
        self.errors.push(FieldError::new(self.path.clone(), Reason::TooLong, message));
    }

    /// The list here has `count` entries, more than `most`.
    pub fn too_many(&mut self, count: usize, most: usize) {
        let message = format!("must have at most {most} items");
        let error = FieldError::invalid(self.path.clone(), count, message);
        self.errors.push(FieldError { reason: Reason::TooMany, ..error });
    }

    /// Records the fault of a value here, if there is one.
    pub fn check(&mut self, value: impl Into<Value>, result: Result<(), impl Into<String>>) {
        if let Err(message) = result {
            self.invalid(value, message);
        }
    }

    /// Worth telling, but no fault.
    pub fn advise(&mut self, message: impl AsRef<str>) {
        self.warnings.push(Warning {
            path: self.path.clone(),
            kind: WarningKind::Advice,
            message: format!("{}: {}", self.path, message.as_ref()),
        });
    }

    /// Written the way of one of the guides; says what to write today.
    pub fn dialect(&mut self, message: impl AsRef<str>) {
        self.advise(message);
        if let Some(warning) = self.warnings.last_mut() {
            warning.kind = WarningKind::Dialect;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_kubernetes_paths() {
        let mut report = Report::new();
        let map = BTreeMap::from([("tls.key".to_owned(), ())]);
        report.field("spec", |r| {
            r.each("ports", &[1, 2], |r, n| {
                r.field("port", |r| r.invalid(*n, "x"));
            });
        });
        report.entries("data", &map, |r, _, ()| r.required(""));
        report.field("spec", |r| r.advise("hm"));
        let (errors, warnings) = report.into_parts();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.ports[0].port: Invalid value: 1: x",
                "spec.ports[1].port: Invalid value: 2: x",
                "data[tls.key]: Required value",
            ]
        );
        assert_eq!(warnings[0].to_string(), "spec: hm");
    }
}

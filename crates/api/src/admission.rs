//! What an API server does with an object before it stores it: unknown fields by the caller's policy, then
//! the shape, the metadata, and the rules of its schema.
//!
//! What the object says beyond that is [`Object::decode`](crate::Object::decode)'s to judge: a caller that
//! stores wrong objects, to tell their fault in their status, asks for it afterwards.

use serde_json::Value;

use crate::decode;
use crate::error::{FieldError, Reason, Warning, WarningKind};
use crate::schema::rules;
use crate::schema::walk::{Mode, walk};
use crate::validation::Report;
use crate::{Kind, schema};

/// What becomes of fields that no schema knows; `fieldValidation` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are refused.
    Strict,
    /// They are dropped, and each is told. The default.
    #[default]
    Warn,
    /// They are dropped.
    Ignore,
}

/// Prunes `value`, an object of `kind` as `group` shows it, to what is stored, and checks its shape, its
/// metadata and the rules of its schema. `old` is the form that it replaces, in the same view: what it has in common with that
/// is not held against rules anew. Dialects stay as they were written; each is told, whatever the policy.
///
/// # Errors
/// Under the strict policy every unknown field, with [`Reason::Unknown`], before anything else is said.
/// Otherwise every fault of shape and metadata, and every rule that is broken, unless the shape is too wrong for rules;
/// [`Reason::Undecodable`] means that the request itself is bad.
pub fn admit(
    kind: Kind,
    group: &str,
    value: &mut Value,
    policy: FieldValidation,
    old: Option<&Value>,
) -> Result<Vec<Warning>, Vec<FieldError>> {
    let built_in = kind.info().built_in;
    let schema = schema::of_view(kind, group);
    let found = walk(schema, built_in, Mode::Store, value);
    if let Some(undecodable) = found.errors.iter().find(|e| e.reason == Reason::Undecodable) {
        // Go's decoder stops at the first.
        return Err(vec![undecodable.clone()]);
    }
    if policy == FieldValidation::Strict && !found.unknown.is_empty() {
        let unknown = found.unknown.into_iter();
        return Err(unknown.map(|path| FieldError::new(path, Reason::Unknown, "")).collect());
    }
    let mut errors = metadata_errors(kind, value);
    errors.extend(found.errors);
    match !built_in && errors.iter().any(|error| error.reason.hides_rules()) {
        true => errors.push(rules_not_checked()),
        false => errors.extend(rules::check(schema, value, old)),
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let unknown = found.unknown.into_iter().filter(|_| policy == FieldValidation::Warn);
    Ok(unknown.map(unknown_field).chain(found.dialects).collect())
}

/// The warning about a field that was dropped, in Kubernetes' words.
pub(crate) fn unknown_field(path: String) -> Warning {
    let message = format!("unknown field {path:?}");
    Warning { path, kind: WarningKind::UnknownField, message }
}

fn metadata_errors(kind: Kind, value: &Value) -> Vec<FieldError> {
    match decode::metadata(value) {
        Ok(metadata) => {
            let mut report = Report::new();
            report.field("metadata", |report| metadata.validate(kind, report));
            report.into_parts().0
        }
        Err(error) => vec![error],
    }
}

/// The path of what Kubernetes adds when a custom resource is so wrong that rules across fields make no sense. It says
/// nothing of a field: who does not speak as an API server leaves it out.
pub const RULES_NOT_CHECKED: &str = "<nil>";

fn rules_not_checked() -> FieldError {
    FieldError::invalid(
        RULES_NOT_CHECKED,
        Value::Null,
        "some validation rules were not checked because the object was invalid; correct the existing \
         errors to complete validation",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const GROUP: &str = "networking.istio.io";

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn strict_refuses_all_unknown_fields_at_once() {
        let written = json!({"metadata": {"name": "a"}, "x": 1, "spec": {"hosts": [], "zzz": 1}});
        let mut value = written.clone();
        let errors = admit(Kind::VirtualService, GROUP, &mut value, FieldValidation::Strict, None)
            .expect_err("strict");
        assert_eq!(texts(&errors), ["unknown field \"spec.zzz\"", "unknown field \"x\""]);
        let mut value = written.clone();
        let warnings = admit(Kind::VirtualService, GROUP, &mut value, FieldValidation::Warn, None)
            .expect("warn");
        assert_eq!(warnings[0].to_string(), "unknown field \"spec.zzz\"");
        assert_eq!(value, json!({"metadata": {"name": "a"}, "spec": {"hosts": []}}));
        let mut value = written;
        let warnings =
            admit(Kind::VirtualService, GROUP, &mut value, FieldValidation::Ignore, None)
                .expect("ignore");
        assert_eq!(warnings, []);
    }

    #[test]
    fn dialects_pass_the_strict_policy_with_a_warning() {
        let written = json!({"metadata": {"name": "a"}, "spec": {
            "hosts": ["a"], "http": [{"retries": {"retriableStatusCodes": [503]}}],
            "tls": [{"match": [{"sni_hosts": ["a"]}], "route": []}],
        }});
        let mut value = written.clone();
        let warnings =
            admit(Kind::VirtualService, GROUP, &mut value, FieldValidation::Strict, None)
                .expect("known");
        assert_eq!(value, written, "stored as written");
        let paths: Vec<&str> = warnings.iter().map(|w| w.path.as_str()).collect();
        assert_eq!(
            paths,
            ["spec.http[0].retries.retriableStatusCodes", "spec.tls[0].match[0].sni_hosts"]
        );
    }

    #[test]
    fn only_faults_that_hide_rules_say_so() {
        for (written, hides) in [
            (json!({"metadata": {"name": "Bad_Name"}, "spec": {}}), false),
            (json!({"metadata": {"name": "a", "labels": {"a": "b c"}}, "spec": {}}), false),
            (json!({"metadata": {"name": "a"}, "spec": {"hosts": "a"}}), true),
        ] {
            let mut value = written.clone();
            let errors =
                admit(Kind::VirtualService, GROUP, &mut value, FieldValidation::Strict, None);
            let errors = errors.expect_err("wrong");
            let said = errors.iter().any(|error| error.path == "<nil>");
            assert_eq!((said, errors.len()), (hides, 1 + usize::from(hides)), "{written}");
        }
    }

    #[test]
    fn names_are_checked_with_the_shape() {
        let mut value = json!({"metadata": {}, "spec": {}});
        let errors = admit(Kind::VirtualService, GROUP, &mut value, FieldValidation::Strict, None)
            .expect_err("no name");
        assert_eq!(
            texts(&errors),
            [
                "metadata.name: Required value: name or generateName is required",
                "<nil>: Invalid value: null: some validation rules were not checked because the object \
                 was invalid; correct the existing errors to complete validation",
            ]
        );
    }
}

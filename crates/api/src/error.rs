//! What is wrong with an object, and what is only worth a warning.

use std::fmt;

use serde_json::Value;

/// Why a field is refused; each maps onto the `reason` of a cause in a Kubernetes Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The field has to be there.
    Required,
    /// The value is not acceptable.
    Invalid,
    /// The value is none of those that are allowed.
    NotSupported,
    /// The fields do not go together, by a rule of the kind's own schema (`x-kubernetes-validations`).
    Rule,
    /// The value has the wrong JSON type (custom resources).
    TypeInvalid,
    /// The field may not be there.
    Forbidden,
    /// Another entry has the same value.
    Duplicate,
    /// The value has too many bytes.
    TooLong,
    /// The list has too many entries.
    TooMany,
    /// No such field exists (strict validation).
    Unknown,
    /// Go's decoder would not read the body at all: the whole request is bad (400), not one field of it.
    Undecodable,
}

impl Reason {
    /// The word in a Status' `causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            // The last two are faults of the request; where a cause has to name one, it is a bad value.
            Reason::Invalid | Reason::Rule | Reason::Unknown | Reason::Undecodable => {
                "FieldValueInvalid"
            }
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
        }
    }

    /// Whether Kubernetes checks no rules across fields once a custom resource has such a fault.
    pub(crate) fn hides_rules(self) -> bool {
        matches!(
            self,
            Reason::Required
                | Reason::NotSupported
                | Reason::TypeInvalid
                | Reason::TooLong
                | Reason::TooMany
        )
    }

    /// How a message about a field begins.
    fn phrase(self) -> &'static str {
        match self {
            Reason::Required => "Required value",
            Reason::Invalid | Reason::Rule | Reason::TypeInvalid => "Invalid value",
            Reason::NotSupported => "Unsupported value",
            Reason::Forbidden => "Forbidden",
            Reason::Duplicate => "Duplicate value",
            Reason::TooLong => "Too long",
            Reason::TooMany => "Too many",
            Reason::Unknown => "unknown field",
            Reason::Undecodable => "undecodable",
        }
    }
}

/// One fault of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// The field, as Kubernetes spells paths: `spec.http[0].route`.
    pub path: String,
    /// Why it is refused.
    pub reason: Reason,
    /// The value that is refused, where showing it helps.
    pub value: Option<Value>,
    /// What is wrong and what would be right; may be empty for [`Reason::Required`].
    pub message: String,
}

impl FieldError {
    /// A fault without a value to show.
    pub fn new(path: impl Into<String>, reason: Reason, message: impl Into<String>) -> Self {
        FieldError { path: path.into(), reason, value: None, message: message.into() }
    }

    /// A value that is not acceptable.
    pub fn invalid(
        path: impl Into<String>,
        value: impl Into<Value>,
        message: impl Into<String>,
    ) -> Self {
        FieldError {
            path: path.into(),
            reason: Reason::Invalid,
            value: Some(value.into()),
            message: message.into(),
        }
    }

    /// A field that has to be there.
    pub fn required(path: impl Into<String>) -> Self {
        FieldError::new(path, Reason::Required, "")
    }

    /// A value that is none of `supported`.
    pub fn not_supported(
        path: impl Into<String>,
        value: impl Into<Value>,
        supported: &[impl AsRef<str>],
    ) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("{:?}", s.as_ref())).collect();
        FieldError {
            path: path.into(),
            reason: Reason::NotSupported,
            value: Some(value.into()),
            message: format!("supported values: {}", list.join(", ")),
        }
    }

    /// The message without the path, as in a Status' `causes[].message`: `Invalid value: "x": must …`.
    pub fn cause(&self) -> String {
        match self.reason {
            Reason::Undecodable => return self.message.clone(),
            Reason::Unknown => return format!("unknown field {:?}", self.path),
            _ => {}
        }
        let mut text = self.reason.phrase().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&shown(value));
        }
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        text
    }
}

/// A value as Kubernetes shows it in a message: text in quotes, the rest as JSON.
fn shown(value: &Value) -> String {
    shortened(value.to_string())
}

/// The beginning of a value that is shown in a message.
#[must_use]
pub fn shortened(mut text: String) -> String {
    /// Longer values say nothing more and would fill a terminal.
    const LIMIT: usize = 256;
    if text.len() > LIMIT {
        let cut = (0..=LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Unknown | Reason::Undecodable => f.write_str(&self.cause()),
            _ => write!(f, "{}: {}", self.path, self.cause()),
        }
    }
}

impl std::error::Error for FieldError {}

/// Something about an object that is worth telling, but that does not stop it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The field that it is about, as Kubernetes spells paths.
    pub path: String,
    /// What kind of thing it is.
    pub kind: WarningKind,
    /// The whole sentence, path included.
    pub message: String,
}

/// Why a warning is given; a caller's policy may turn some of them into errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WarningKind {
    /// A field that no schema knows; it is dropped.
    UnknownField,
    /// A spelling of one of the guides, accepted in place of today's.
    Dialect,
    /// A value that is accepted but probably not meant, or without effect.
    Advice,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

//! JSON formats: a document whose strings are format strings.

use serde_json::Value as Json;

use super::parse::Template;
use super::value::{write_json_string, write_json_text};
use super::{FormatError, View};
use crate::accesslog::plan::Headers;

/// Deepest nesting of a format.
const DEEPEST: usize = 32;

/// A part of the document.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Written as it is.
    Literal(Box<str>),
    /// A string with operators.
    Template(Template),
    List(Vec<Node>),
    /// By key, sorted; the key is written with its quotes and colon.
    Object(Vec<(Box<[u8]>, Node)>),
}

impl Node {
    /// Parses the document.
    ///
    /// # Errors
    /// Names the key and the operator at fault.
    pub(super) fn parse(document: &Json) -> Result<Self, FormatError> {
        match document {
            Json::Object(_) => Self::parse_part(document, DEEPEST),
            _ => Err(FormatError("a JSON format is an object".to_owned())),
        }
    }

    fn parse_part(part: &Json, deeper: usize) -> Result<Self, FormatError> {
        let Some(deeper) = deeper.checked_sub(1) else {
            return Err(FormatError(format!("a JSON format nests at most {DEEPEST} levels")));
        };
        Ok(match part {
            Json::String(text) => Self::Template(Template::parse(text)?),
            Json::Array(parts) => Self::List(
                (0usize..)
                    .zip(parts)
                    .map(|(index, part)| {
                        Self::parse_part(part, deeper).map_err(|e| e.inside(&format!("[{index}]")))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(parts) => {
                let mut sorted: Vec<_> = parts.iter().collect();
                sorted.sort_unstable_by_key(|(key, _)| *key);
                let object = sorted.into_iter().map(|(key, part)| {
                    let node = Self::parse_part(part, deeper).map_err(|error| error.inside(key))?;
                    let mut quoted = Vec::new();
                    write_json_string(key.as_bytes(), &mut quoted);
                    quoted.push(b':');
                    Ok((quoted.into(), node))
                });
                Self::Object(object.collect::<Result<_, FormatError>>()?)
            }
            Json::Number(number) => Self::Literal(number_text(number).into()),
            Json::Null | Json::Bool(_) => Self::Literal(part.to_string().into()),
        })
    }

    /// Appends the document for one record, on one line.
    pub(super) fn write(&self, view: View<'_>, omit_empty: bool, out: &mut Vec<u8>) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::Template(template) => match template.single(view) {
                Some(value) => value.write_json(out),
                None => {
                    let mut text = Vec::new();
                    template.write(view, if omit_empty { "" } else { "-" }, &mut text);
                    out.push(b'"');
                    write_json_text(&text, out);
                    out.push(b'"');
                }
            },
            Self::List(parts) => {
                out.push(b'[');
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    part.write(view, omit_empty, out);
                }
                out.push(b']');
            }
            Self::Object(parts) => {
                out.push(b'{');
                let mut first = true;
                for (key, part) in parts {
                    if omit_empty && part.is_absent(view) {
                        continue;
                    }
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    part.write(view, omit_empty, out);
                }
                out.push(b'}');
            }
        }
    }

    /// Whether it is a single operator whose value is not known.
    fn is_absent(&self, view: View<'_>) -> bool {
        match self {
            Self::Template(template) => {
                template.single(view).is_some_and(|value| value.is_absent())
            }
            _ => false,
        }
    }

    /// Adds the headers that the operators ask for.
    pub(super) fn headers(&self, headers: &mut Headers) {
        match self {
            Self::Literal(_) => {}
            Self::Template(template) => template.headers(headers),
            Self::List(parts) => parts.iter().for_each(|part| part.headers(headers)),
            Self::Object(parts) => parts.iter().for_each(|(_, part)| part.headers(headers)),
        }
    }
}

/// A `google.protobuf.Struct` knows only floating point: 5 comes as 5.0 and is written 5.
fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

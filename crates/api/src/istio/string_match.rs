//! The one-of matcher for text that VirtualService uses everywhere.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error as _};

/// How a text has to look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// Nothing was asked for: the header or parameter has to be there, whatever its value.
    #[default]
    Present,
    /// The whole text.
    Exact(String),
    /// How it begins.
    Prefix(String),
    /// An RE2 expression that has to match the whole text.
    Regex(String),
}

/// A condition on a text. At most one of the fields may be given; with none, the text only has to be there.
#[derive(serde::Deserialize, JsonSchema)]
#[schemars(extend("x-oneof" = [["exact", "prefix", "regex"]]))]
struct Written {
    /// The whole text, as it is.
    exact: Option<String>,
    /// How the text begins.
    prefix: Option<String>,
    /// An RE2 expression that has to match the whole text.
    regex: Option<String>,
}

impl<'de> Deserialize<'de> for StringMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written { exact: None, prefix: None, regex: None } => Ok(StringMatch::Present),
            Written { exact: Some(text), prefix: None, regex: None } => {
                Ok(StringMatch::Exact(text))
            }
            Written { exact: None, prefix: Some(text), regex: None } => {
                Ok(StringMatch::Prefix(text))
            }
            Written { exact: None, prefix: None, regex: Some(text) } => {
                Ok(StringMatch::Regex(text))
            }
            _ => Err(D::Error::custom("only one of exact, prefix and regex can be set")),
        }
    }
}

impl JsonSchema for StringMatch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StringMatch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

//! One walk over an object and its schema.
//!
//! It finds unknown fields and prunes them, finds values of the wrong type in Kubernetes' own words, reads
//! protobuf's spellings and the guides' dialects with a warning each, and drops nulls that mean "absent".
//! Rules on single values are told only when the shape is right, as Kubernetes does.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use super::path::Path;
use super::{Field, ListType, Node, Object, Schema};
use crate::error::{FieldError, Reason, Warning, WarningKind};

/// What the walked object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be stored: it stays as it was written, apart from unknown fields, nulls and defaults.
    Store,
    /// To be read into our types: every field gets the name that today's Istio gives it.
    Decode,
}

/// Whose decoder's words are used for a value of the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// A custom resource's, checked against its schema.
    Structural,
    /// A built-in kind's or metadata's, which Go's decoder refuses outright.
    Go,
}

/// What a walk found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Paths of fields that no schema knows; they were removed.
    pub unknown: Vec<String>,
    /// Dialects that were read.
    pub dialects: Vec<Warning>,
    /// What is wrong with the shape, or, when the shape is right, with single values.
    pub errors: Vec<FieldError>,
}

/// Walks a whole object of a custom or a built-in kind.
pub fn walk(schema: &Schema, built_in: bool, mode: Mode, value: &mut Value) -> Findings {
    let mut walker = Walker {
        mode,
        style: if built_in { Style::Go } else { Style::Structural },
        custom: !built_in,
        spellings: false,
        inside: "",
        found: Findings::default(),
        rules: Vec::new(),
    };
    walker.value(schema, value, Path::ROOT);
    let Walker { mut found, rules, .. } = walker;
    if found.errors.is_empty() {
        found.errors = rules;
    }
    if !built_in {
        // Kubernetes tells the unknown fields of custom resources in this order.
        found.unknown.sort();
    }
    found
}

struct Walker<'s> {
    mode: Mode,
    /// The innermost type that the walk is in.
    inside: &'s str,
    style: Style,
    /// Whether the kind is a custom resource.
    custom: bool,
    /// Whether protobuf's spelling of names is read here: inside `spec` of custom resources.
    spellings: bool,
    found: Findings,
    rules: Vec<FieldError>,
}

impl<'s> Walker<'s> {
    fn value(&mut self, schema: &'s Schema, value: &mut Value, path: Path<'_>) {
        match (&schema.node, &mut *value) {
            (Node::Any, _) => {}
            (Node::Object(object), Value::Object(map)) => self.object(object, map, path),
            (Node::Map { values, min, max }, Value::Object(map)) => {
                self.map(values, (*min, *max), map, path);
            }
            (Node::Array { items, min, max, list_type }, Value::Array(list)) => {
                self.array(items, (*min, *max), list_type, list, path);
            }
            (Node::Boolean, Value::Bool(_)) => {}
            (Node::Number { min, max }, Value::Number(number)) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                let low = min.filter(|min| number < *min);
                let high = max.filter(|max| number > *max);
                self.bounds(low, high, value, path);
            }
            (Node::Integer { .. }, Value::Number(_)) => self.integer(schema, value, path),
            (Node::String { values, .. }, Value::String(text)) if !values.is_empty() => {
                if !values.iter().any(|(allowed, _)| allowed == text) {
                    let supported: Vec<&str> = values.iter().map(|(v, _)| v.as_str()).collect();
                    let text = text.as_str();
                    self.error(FieldError::not_supported(path.to_string(), text, &supported));
                }
            }
            (Node::String { format, .. }, Value::String(text)) if format == "byte" => {
                self.base64(text, path);
            }
            (Node::String { .. }, Value::String(text)) => self.text(schema, text, path),
            (Node::IntOrString, Value::String(_)) => {}
            (Node::IntOrString, Value::Number(number)) if number.is_i64() => {}
            _ => self.wrong_type(schema, value, path),
        }
    }

    fn object(&mut self, object: &'s Object, map: &mut Map<String, Value>, path: Path<'_>) {
        let outside = std::mem::replace(&mut self.inside, &object.name);
        let mut renamed: Vec<(String, &str)> = Vec::new();
        map.retain(|key, value| {
            let here = path.field(key);
            let Some((name, field)) = self.lookup(object, key) else {
                if !object.preserve_unknown {
                    self.found.unknown.push(here.to_string());
                }
                return object.preserve_unknown;
            };
            if value.is_null() && !(field.schema.nullable && self.mode == Mode::Store) {
                return false;
            }
            self.tell_dialect(name, key, field, here);
            if name != key {
                renamed.push((key.clone(), name));
            }
            self.field(name, field, value, here);
            true
        });
        for (written, name) in renamed {
            if map.contains_key(name) {
                self.error(FieldError::new(
                    path.field(&written).to_string(),
                    Reason::Duplicate,
                    format!("the same field is given as {name} too; keep {name}"),
                ));
            } else if self.mode == Mode::Decode
                && let Some(value) = map.remove(&written)
            {
                map.insert(name.to_owned(), value);
            }
        }
        for (name, field) in &object.fields {
            if let (Some(default), false) = (&field.default, map.contains_key(name)) {
                map.insert(name.clone(), default.clone());
            }
        }
        self.completeness(object, map, path);
        self.inside = outside;
    }

    /// Walks one field, entering `metadata` and `spec` of the whole object with the rules that hold there.
    fn field(&mut self, name: &str, field: &'s Field, value: &mut Value, here: Path<'_>) {
        let outer = (self.style, self.spellings);
        if self.custom && here.depth() == 1 {
            match name {
                "metadata" => self.style = Style::Go,
                "spec" => self.spellings = true,
                _ => {}
            }
        }
        self.value(&field.schema, value, here);
        (self.style, self.spellings) = outer;
    }

    /// The field that a key stands for, with its own name.
    fn lookup(&self, object: &'s Object, key: &str) -> Option<(&'s str, &'s Field)> {
        if self.spellings {
            return object.spelt(key);
        }
        object.fields.get_key_value(key).map(|(name, field)| (name.as_str(), field))
    }

    fn tell_dialect(&mut self, name: &str, key: &str, field: &Field, here: Path<'_>) {
        let advice = match &field.dialect {
            Some(instead) => instead.clone(),
            None if name != key => {
                format!("read as {name}, which is how the field is written today")
            }
            None => return,
        };
        self.found.dialects.push(Warning {
            path: here.to_string(),
            kind: WarningKind::Dialect,
            message: format!("{here}: {advice}"),
        });
    }

    /// Fields that have to be there, and fields that exclude each other.
    fn completeness(&mut self, object: &'s Object, map: &Map<String, Value>, path: Path<'_>) {
        let has = |name: &str| {
            map.contains_key(name)
                || map.keys().any(|key| self.lookup(object, key).is_some_and(|(n, _)| n == name))
        };
        let missing: Vec<&String> = object.required.iter().filter(|name| !has(name)).collect();
        let clashes: Vec<usize> = object
            .one_of
            .iter()
            .map(|group| group.iter().filter(|name| has(name)).count())
            .filter(|given| *given > 1)
            .collect();
        for name in missing {
            self.error(FieldError::required(path.field(name).to_string()));
        }
        for given in clashes {
            let message = format!(
                "{:?} must validate one and only one schema (oneOf). Found {given} valid alternatives",
                path.to_string()
            );
            self.error(FieldError::invalid(path.to_string(), "", message));
        }
    }

    fn map(
        &mut self,
        values: &'s Schema,
        (min, max): (usize, usize),
        map: &mut Map<String, Value>,
        path: Path<'_>,
    ) {
        if map.len() < min {
            let message = format!("{path} in body should have at least {min} properties");
            self.error(FieldError::invalid(path.to_string(), map.len(), message));
        }
        self.at_most(max, map.len(), path);
        for (key, value) in map.iter_mut() {
            self.entry(values, value, path.key(key));
        }
    }

    fn array(
        &mut self,
        items: &'s Schema,
        (min, max): (usize, usize),
        list_type: &ListType,
        list: &mut [Value],
        path: Path<'_>,
    ) {
        if list.len() < min {
            let message = format!("{path} in body should have at least {min} items");
            self.error(FieldError::invalid(path.to_string(), list.len(), message));
        }
        self.at_most(max, list.len(), path);
        for (at, value) in list.iter_mut().enumerate() {
            self.entry(items, value, path.index(at));
        }
        if list.len() <= max {
            self.different(list_type, list, path);
        }
    }

    /// Entries of a set or a map have to be told apart.
    fn different(&mut self, list_type: &ListType, list: &[Value], path: Path<'_>) {
        let mut seen = BTreeSet::new();
        for (at, entry) in list.iter().enumerate() {
            let Some(identity) = list_type.identity(entry) else { continue };
            if !seen.insert(identity.to_string()) {
                let error = FieldError::invalid(path.index(at).to_string(), identity, "");
                self.error(FieldError { reason: Reason::Duplicate, ..error });
            }
        }
    }

    fn at_most(&mut self, max: usize, count: usize, path: Path<'_>) {
        if count > max {
            let message = format!("must have at most {max} items");
            let error = FieldError::invalid(path.to_string(), count, message);
            self.error(FieldError { reason: Reason::TooMany, ..error });
        }
    }

    /// An entry of a list or map. Go reads a null there as the type's zero value; a custom resource's
    /// schema refuses it.
    fn entry(&mut self, schema: &'s Schema, value: &mut Value, path: Path<'_>) {
        if value.is_null() && self.style == Style::Go {
            *value = match &schema.node {
                Node::Object(_) | Node::Map { .. } => json!({}),
                Node::Array { .. } => json!([]),
                Node::String { .. } | Node::IntOrString => json!(""),
                Node::Boolean => json!(false),
                Node::Integer { .. } | Node::Number { .. } => json!(0),
                Node::Any => Value::Null,
            };
        }
        self.value(schema, value, path);
    }

    fn integer(&mut self, schema: &Schema, value: &mut Value, path: Path<'_>) {
        let Node::Integer { min, max, values, rule, .. } = &schema.node else {
            return;
        };
        let Some(number) = whole_number(value) else {
            return self.wrong_type(schema, value, path);
        };
        if value.is_f64() {
            // 80.0 is 80, as it is for protobuf and for Kubernetes; Go's decoder does not take it.
            if self.style == Style::Go {
                return self.wrong_type(schema, value, path);
            }
            *value = i64::try_from(number).map_or(Value::Null, Value::from);
        }
        if number < *min || number > *max {
            if self.style == Style::Go {
                return self.wrong_type(schema, value, path);
            }
            let low = (number < *min).then_some(*min);
            let high = (number > *max).then_some(*max);
            return self.bounds(low, high, value, path);
        }
        if !values.is_empty() && !values.iter().any(|allowed| i128::from(*allowed) == number) {
            let supported: Vec<String> = values.iter().map(ToString::to_string).collect();
            let place = path.to_string();
            return self.error(FieldError::not_supported(place, value.clone(), &supported));
        }
        if let Some(Err(message)) = rule.map(|rule| rule.check_number(number)) {
            self.broken_rule(value, message, path);
        }
    }

    fn bounds<N: fmt::Display>(
        &mut self,
        low: Option<N>,
        high: Option<N>,
        value: &Value,
        path: Path<'_>,
    ) {
        let message = match (low, high) {
            (Some(low), _) => format!("{path} in body should be greater than or equal to {low}"),
            (None, Some(high)) => format!("{path} in body should be less than or equal to {high}"),
            (None, None) => return,
        };
        self.error(FieldError::invalid(path.to_string(), value.clone(), message));
    }

    fn text(&mut self, schema: &Schema, text: &str, path: Path<'_>) {
        let Node::String { min_length, max_length, pattern, rule, .. } = &schema.node else {
            return;
        };
        let length = text.chars().count();
        if let Some(max) = max_length.filter(|max| length > *max) {
            let message = format!("may not be more than {max} bytes");
            self.error(FieldError::new(path.to_string(), Reason::TooLong, message));
        }
        if length < *min_length {
            let message = format!("{path} in body should be at least {min_length} chars long");
            self.error(FieldError::invalid(path.to_string(), text, message));
        } else if let Some(pattern) = pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let message = format!("{path} in body should match '{pattern}'");
            self.error(FieldError::invalid(path.to_string(), text, message));
        }
        if let Some(Err(message)) = rule.map(|rule| rule.check_text(text)) {
            self.broken_rule(&Value::from(text), message, path);
        }
    }

    fn base64(&mut self, text: &str, path: Path<'_>) {
        let Err(illegal) = crate::base64::decode(text) else {
            return;
        };
        self.error(match self.style {
            Style::Go => {
                FieldError::new(path.to_string(), Reason::Undecodable, illegal.to_string())
            }
            Style::Structural => {
                let message = format!("{path} in body must be of type byte: {illegal}");
                FieldError::invalid(path.to_string(), text, message)
            }
        });
    }

    fn broken_rule(&mut self, value: &Value, message: &str, path: Path<'_>) {
        self.rules.push(FieldError::invalid(path.to_string(), value.clone(), message));
    }

    fn wrong_type(&mut self, schema: &Schema, value: &Value, path: Path<'_>) {
        let error = match self.style {
            Style::Structural => {
                let (is, wanted) = (json_type(value), wanted_type(schema));
                let message = format!("{path} in body must be of type {wanted}: {is:?}");
                FieldError {
                    reason: Reason::TypeInvalid,
                    ..FieldError::invalid(path.to_string(), is, message)
                }
            }
            Style::Go => {
                // Metadata of a custom resource is decoded on its own.
                let skip = usize::from(self.custom);
                let field = format!("{}.{}", self.inside, path.go_field(skip));
                let (is, wanted) = (go_kind(value), go_type(schema));
                FieldError::new(
                    path.to_string(),
                    Reason::Undecodable,
                    format!(
                        "json: cannot unmarshal {is} into Go struct field {field} of type {wanted}"
                    ),
                )
            }
        };
        self.error(error);
    }

    fn error(&mut self, error: FieldError) {
        self.found.errors.push(error);
    }
}

/// The whole number that a JSON number is, if it is one.
fn whole_number(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    let float = number.as_f64()?;
    // Beyond 2^53 a float no longer tells whole numbers apart.
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i128)
}

/// JSON Schema's name of a value's type.
fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if whole_number(value).is_some() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// JSON Schema's name of the type that a schema asks for.
fn wanted_type(schema: &Schema) -> &'static str {
    match schema.node {
        Node::Any => "any",
        Node::IntOrString => "integer,string",
        Node::Boolean => "boolean",
        Node::Integer { .. } => "integer",
        Node::Number { .. } => "number",
        Node::String { .. } => "string",
        Node::Array { .. } => "array",
        Node::Map { .. } | Node::Object(_) => "object",
    }
}

/// What Go's JSON decoder calls a value.
fn go_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.is_f64() => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

/// What Go calls the type that a schema asks for.
fn go_type(schema: &Schema) -> String {
    match &schema.node {
        Node::Any => "interface {}".to_owned(),
        Node::IntOrString => "intstr.IntOrString".to_owned(),
        Node::Boolean => "bool".to_owned(),
        Node::Integer { format, .. } => format.clone(),
        Node::Number { .. } => "float64".to_owned(),
        Node::String { format, .. } if format == "byte" => "[]uint8".to_owned(),
        Node::String { format, .. } if format == "date-time" => "v1.Time".to_owned(),
        Node::String { .. } => "string".to_owned(),
        Node::Array { items, .. } => format!("[]{}", go_type(items)),
        Node::Map { values, .. } => format!("map[string]{}", go_type(values)),
        Node::Object(object) => format!("v1.{}", object.name),
    }
}

//! The schema of a kind as OpenAPI v3, which `kubectl explain` prints and kubectl and client libraries read.
//!
//! Dialects are not shown: they are read, not recommended.

use serde_json::{Map, Value, json};

use super::rules::ValidationRule;
use super::{Field, ListType, Node, Object, Rule, Schema};
use crate::Kind;

/// Where clients look for the schema of `metadata`.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of whole objects of a kind as a group shows them. `metadata` refers to [`OBJECT_META`], which
/// the document that this becomes part of has to hold as well ([`object_meta`]).
pub fn object(kind: Kind, group: &str) -> Value {
    let schema = super::of_view(kind, group);
    let mut json = Printer { rules: !kind.info().built_in }.print(schema);
    if let Some(metadata) = json.pointer_mut("/properties/metadata") {
        let description = metadata["description"].take();
        *metadata = json!({
            "description": description,
            "allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}],
        });
    }
    json
}

/// The schema of `metadata`, to stand under [`OBJECT_META`].
pub fn object_meta() -> Value {
    Printer { rules: false }.print(super::object_meta())
}

/// Prints schemas.
#[derive(Clone, Copy)]
struct Printer {
    /// Whether rules are shown: a built-in kind has none, as its own code checks it.
    rules: bool,
}

impl Printer {
    fn print(self, schema: &Schema) -> Value {
        let mut json = Map::new();
        if !schema.description.is_empty() {
            json.insert("description".into(), schema.description.clone().into());
        }
        if schema.nullable {
            json.insert("nullable".into(), true.into());
        }
        let Value::Object(shape) = self.shape(&schema.node) else {
            return Value::Object(json);
        };
        json.extend(shape);
        if let Node::String { values, .. } = &schema.node {
            describe_values(&mut json, values);
        }
        if self.rules {
            let of_scalar = schema.node.rule().map(Rule::says);
            let rule =
                |rule: &ValidationRule| json!({"rule": rule.expression, "message": rule.message});
            let rules: Vec<Value> = of_scalar
                .iter()
                .map(|says| json!(says))
                .chain(schema.rules.iter().map(rule))
                .collect();
            if !rules.is_empty() {
                json.insert("x-kubernetes-validations".into(), rules.into());
            }
        }
        Value::Object(json)
    }

    fn shape(self, node: &Node) -> Value {
        match node {
            Node::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
            Node::IntOrString => json!({
                "x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
            }),
            Node::Boolean => json!({"type": "boolean"}),
            Node::Integer { min, max, values, format, .. } => {
                let mut json = integer(*min, *max, format);
                set(&mut json, "enum", Some(values).filter(|values| !values.is_empty()));
                json
            }
            Node::Number { min, max } => {
                let mut json = json!({"type": "number", "format": "double"});
                set(&mut json, "minimum", min.map(plain));
                set(&mut json, "maximum", max.map(plain));
                json
            }
            Node::String { format, values, min_length, max_length, pattern, .. } => {
                let mut json = json!({"type": "string"});
                set(&mut json, "format", Some(format.as_str()).filter(|format| !format.is_empty()));
                set(&mut json, "pattern", pattern.as_ref().map(regex::Regex::as_str));
                set(&mut json, "minLength", Some(*min_length).filter(|min| *min > 0));
                set(&mut json, "maxLength", *max_length);
                let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
                set(&mut json, "enum", Some(names).filter(|names| !names.is_empty()));
                json
            }
            Node::Array { items, min, max, list_type } => {
                let mut json = json!({"type": "array", "items": self.print(items)});
                set(&mut json, "minItems", Some(*min).filter(|min| *min > 0));
                set(&mut json, "maxItems", Some(*max).filter(|max| *max < usize::MAX));
                match list_type {
                    ListType::Atomic => {}
                    ListType::Set => set(&mut json, "x-kubernetes-list-type", Some("set")),
                    ListType::Map(keys) => {
                        set(&mut json, "x-kubernetes-list-type", Some("map"));
                        set(&mut json, "x-kubernetes-list-map-keys", Some(keys));
                    }
                }
                json
            }
            Node::Map { values, min, max } => {
                let mut json =
                    json!({"type": "object", "additionalProperties": self.print(values)});
                set(&mut json, "minProperties", Some(*min).filter(|min| *min > 0));
                set(&mut json, "maxProperties", Some(*max).filter(|max| *max < usize::MAX));
                json
            }
            Node::Object(fields) => self.object_shape(fields),
        }
    }

    fn object_shape(self, object: &Object) -> Value {
        let shown = object.fields.iter().filter(|(_, field)| field.dialect.is_none());
        let property = |(name, field): (&String, &Field)| {
            let mut json = self.print(&field.schema);
            set(&mut json, "default", field.default.as_ref());
            (name.clone(), json)
        };
        let properties: Map<String, Value> = shown.map(property).collect();
        let mut json = json!({"type": "object", "properties": properties});
        set(&mut json, "required", Some(&object.required).filter(|required| !required.is_empty()));
        if object.preserve_unknown {
            set(&mut json, "x-kubernetes-preserve-unknown-fields", Some(true));
        }
        match object.one_of.as_slice() {
            [] => {}
            [group] => set(&mut json, "oneOf", Some(at_most_one(group))),
            groups => {
                let groups: Vec<Value> =
                    groups.iter().map(|group| json!({"oneOf": at_most_one(group)})).collect();
                set(&mut json, "allOf", Some(groups));
            }
        }
        json
    }
}

/// "None of them, or just one", as a structural schema says it.
fn at_most_one(group: &[String]) -> Vec<Value> {
    let each: Vec<Value> = group.iter().map(|name| json!({"required": [name]})).collect();
    let mut options = vec![json!({"not": {"anyOf": each}})];
    options.extend(each);
    options
}

/// A bound of any number, without a fraction that says nothing.
fn plain(bound: f64) -> Value {
    if bound.fract() == 0.0 && bound.abs() < f64::from(i32::MAX) {
        json!(bound as i64)
    } else {
        json!(bound)
    }
}

fn integer(min: i128, max: i128, format: &str) -> Value {
    let mut json = json!({"type": "integer"});
    let signed = matches!(format, "int32" | "int64");
    if signed {
        set(&mut json, "format", Some(format));
    }
    let natural = match format {
        "int32" => (i128::from(i32::MIN), i128::from(i32::MAX)),
        "int64" => (i128::from(i64::MIN), i128::from(i64::MAX)),
        // A number without a sign has no format of its own in OpenAPI: its bounds say it.
        "uint64" => (i128::MIN, i128::from(u64::MAX)),
        _ => (i128::MIN, i128::MAX),
    };
    let bound = |bound: i128, natural: i128| {
        Some(bound).filter(|b| *b != natural).and_then(|b| i64::try_from(b).ok())
    };
    set(&mut json, "minimum", bound(min, natural.0));
    set(&mut json, "maximum", bound(max, natural.1));
    json
}

/// Tells the meaning of an enumeration's values, for which OpenAPI has no place of its own.
fn describe_values(json: &mut Map<String, Value>, values: &[(String, String)]) {
    let meant: Vec<String> = values
        .iter()
        .filter(|(_, meaning)| !meaning.is_empty())
        .map(|(name, meaning)| format!("{name}: {meaning}"))
        .collect();
    if meant.is_empty() {
        return;
    }
    let words = json.get("description").and_then(Value::as_str).unwrap_or_default();
    let text = format!("{words}\n\n{}", meant.join("\n\n"));
    json.insert("description".into(), text.trim_start().into());
}

fn set(json: &mut Value, key: &str, value: Option<impl serde::Serialize>) {
    let value = value.and_then(|value| serde_json::to_value(value).ok());
    if let (Some(map), Some(value)) = (json.as_object_mut(), value) {
        map.insert(key.to_owned(), value);
    }
}

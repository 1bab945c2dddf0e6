//! From the JSON Schema that schemars derives to our tree.

use std::collections::BTreeMap;

use regex::Regex;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::rules::ValidationRule;
use super::{Field, ListType, Node, Object, Rule, Schema};

/// The tree of a type. Constructs that no type of ours uses become [`Node::Any`]; a test holds that none
/// does.
pub(super) fn compile<T: JsonSchema>() -> Schema {
    let root = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let root = root.to_value();
    let empty = Map::new();
    let definitions = root.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    Compiler { definitions }.schema(&root, &T::schema_name())
}

struct Compiler<'a> {
    definitions: &'a Map<String, Value>,
}

impl Compiler<'_> {
    fn schema(&self, json: &Value, name: &str) -> Schema {
        let (body, name) = self.resolve(json, name);
        // A field's own words come before those of its type.
        let description = text(json, "description").or_else(|| text(body, "description"));
        let node = self.node(json, body, name);
        // A type has rules of its own, and a field may add to them.
        let mut rules = rules_of(body);
        if !std::ptr::eq(json, body) {
            rules.extend(rules_of(json));
        }
        Schema {
            description: paragraphs(description.unwrap_or_default()),
            nullable: json.get("nullable").and_then(Value::as_bool).unwrap_or(false),
            ruled: !rules.is_empty() || within(&node).any(|schema| schema.ruled),
            node,
            rules,
        }
    }

    /// Follows a reference, also one inside `anyOf [T, null]`, which is what an optional field has.
    fn resolve<'j>(&'j self, json: &'j Value, name: &'j str) -> (&'j Value, &'j str) {
        if let Some(target) = text(json, "$ref") {
            let target = target.rsplit('/').next().unwrap_or(target);
            return match self.definitions.get(target) {
                Some(body) => self.resolve(body, target),
                None => (json, name),
            };
        }
        let not_null = json
            .get("anyOf")
            .and_then(Value::as_array)
            .and_then(|options| options.iter().find(|o| text(o, "type") != Some("null")));
        match not_null {
            Some(option) => self.resolve(option, name),
            None => (json, name),
        }
    }

    fn node(&self, json: &Value, body: &Value, name: &str) -> Node {
        let flag = |key| body.get(key).and_then(Value::as_bool).unwrap_or(false);
        if flag("x-kubernetes-int-or-string") {
            return Node::IntOrString;
        }
        // Bounds may stand beside a reference or in the type itself.
        let number = |key| json.get(key).or_else(|| body.get(key)).and_then(Value::as_f64);
        let count = |key| {
            let value = json.get(key).or_else(|| body.get(key));
            value.and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
        };
        let rule = text(body, "x-rule").and_then(Rule::of);
        match type_of(body) {
            Some("boolean") => Node::Boolean,
            Some("integer") => integer(body, number("minimum"), number("maximum"), rule),
            Some("number") => Node::Number { min: number("minimum"), max: number("maximum") },
            Some("string") => Node::String {
                format: text(body, "format").unwrap_or_default().to_owned(),
                values: values(body),
                min_length: count("minLength").unwrap_or(0),
                max_length: count("maxLength"),
                pattern: text(json, "pattern").or(text(body, "pattern")).and_then(pattern),
                rule,
            },
            Some("array") => Node::Array {
                items: Box::new(self.schema(body.get("items").unwrap_or(&Value::Null), name)),
                min: count("minItems").unwrap_or(0),
                max: count("maxItems").unwrap_or(usize::MAX),
                list_type: list_type(json),
            },
            Some("object") if body.get("properties").is_some() => {
                Node::Object(self.object(body, name))
            }
            Some("object") => match body.get("additionalProperties") {
                Some(values @ Value::Object(_)) => Node::Map {
                    values: Box::new(self.schema(values, name)),
                    min: count("minProperties").unwrap_or(0),
                    max: count("maxProperties").unwrap_or(usize::MAX),
                },
                _ => Node::Any,
            },
            _ if body.get("oneOf").is_some() => Node::String {
                format: String::new(),
                values: values(body),
                min_length: 0,
                max_length: None,
                pattern: None,
                rule,
            },
            _ => Node::Any,
        }
    }

    fn object(&self, body: &Value, name: &str) -> Object {
        let empty = Map::new();
        let properties = body.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let fields: BTreeMap<_, _> = properties
            .iter()
            .map(|(key, json)| {
                let field = Field {
                    schema: self.schema(json, name),
                    aliases: strings(json.get("x-alias")),
                    dialect: text(json, "x-dialect").map(str::to_owned),
                    default: json.get("x-default").cloned(),
                };
                (key.clone(), field)
            })
            .collect();
        let one_of = body.get("x-oneof").and_then(Value::as_array);
        Object {
            name: name.to_owned(),
            fields,
            required: strings(body.get("required")),
            one_of: one_of
                .map(|groups| groups.iter().map(|group| strings(Some(group))).collect())
                .unwrap_or_default(),
            preserve_unknown: body
                .get("x-kubernetes-preserve-unknown-fields")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        }
    }
}

fn list_type(json: &Value) -> ListType {
    match text(json, "x-kubernetes-list-type") {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(strings(json.get("x-kubernetes-list-map-keys"))),
        _ => ListType::Atomic,
    }
}

fn rules_of(json: &Value) -> Vec<ValidationRule> {
    let list = json.get("x-kubernetes-validations").and_then(Value::as_array);
    let rule =
        |json: &Value| Some(ValidationRule::new(text(json, "rule")?, text(json, "message")?));
    list.into_iter().flatten().filter_map(rule).collect()
}

/// The schemas that a shape is made of.
fn within(node: &Node) -> Box<dyn Iterator<Item = &Schema> + '_> {
    match node {
        Node::Object(object) => Box::new(object.fields.values().map(|field| &field.schema)),
        Node::Array { items: inner, .. } | Node::Map { values: inner, .. } => {
            Box::new(std::iter::once(&**inner))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// A whole number's bounds: those given, within those of its format.
fn integer(body: &Value, min: Option<f64>, max: Option<f64>, rule: Option<Rule>) -> Node {
    let format = text(body, "format").unwrap_or("int64");
    // Istio's numbers without a sign are 32 bits wide; narrower Rust types are checked by a rule or bound.
    let (format, low, high) = match format {
        "int32" => ("int32", i128::from(i32::MIN), i128::from(i32::MAX)),
        "uint16" | "uint32" => ("uint32", 0, i128::from(u32::MAX)),
        "uint64" => ("uint64", 0, i128::from(u64::MAX)),
        _ => ("int64", i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    // schemars states the range of the Rust type, which is never more than 32 bits where it matters; as
    // a float it is exact.
    let given = |bound: Option<f64>, default: i128| match bound {
        Some(bound) if bound.abs() <= f64::from(u32::MAX) => bound as i128,
        _ => default,
    };
    let values = body.get("enum").and_then(Value::as_array).into_iter().flatten();
    Node::Integer {
        values: values.filter_map(Value::as_i64).collect(),
        min: given(min, low).max(low),
        max: given(max, high).min(high),
        format: format.to_owned(),
        rule,
    }
}

/// A pattern of a type of ours: every test of the schema would find one that cannot be compiled.
fn pattern(text: &str) -> Option<Regex> {
    let compiled = Regex::new(text);
    debug_assert!(compiled.is_ok(), "{text} is no regular expression");
    compiled.ok()
}

/// The values of an enumeration, each with its meaning.
fn values(body: &Value) -> Vec<(String, String)> {
    if let Some(list) = body.get("enum").and_then(Value::as_array) {
        let texts = list.iter().filter_map(Value::as_str);
        return texts.map(|value| (value.to_owned(), String::new())).collect();
    }
    let options = body.get("oneOf").and_then(Value::as_array);
    options
        .into_iter()
        .flatten()
        .filter_map(|option| {
            let meaning = text(option, "description").unwrap_or_default();
            Some((text(option, "const")?.to_owned(), paragraphs(meaning)))
        })
        .collect()
}

/// The type of a schema, leaving out the null that an optional field adds.
fn type_of(body: &Value) -> Option<&str> {
    match body.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn text<'j>(json: &'j Value, key: &str) -> Option<&'j str> {
    json.get(key).and_then(Value::as_str)
}

fn strings(json: Option<&Value>) -> Vec<String> {
    let list = json.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Doc comments are broken at the width of the source; only empty lines mean something.
fn paragraphs(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "))
        .collect();
    paragraphs.join("\n\n")
}

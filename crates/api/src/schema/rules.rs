//! Rules across fields, in the Common Expression Language: `x-kubernetes-validations` of a definition.
//!
//! A rule stands beside the type that it is about. Who reads the definition finds it there, and it is enforced here as an API
//! server does: `self` is the value and `oldSelf` the one whose place it takes. A rule that names `oldSelf` says nothing of a
//! value that is new, and what stays as it was is not judged anew, so that objects from before a rule may still be changed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, OnceLock};

use cel::common::types::{CelBool, CelInt, CelList, CelString, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program};
use serde::Serialize;
use serde_json::Value;

use super::path::Path;
use super::{ListType, Node, Schema};
use crate::error::{FieldError, Reason};
use crate::scalar::GoDuration;

/// A rule as it stands beside a type, for `extend("x-kubernetes-validations" = …)`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Says {
    pub rule: &'static str,
    pub message: &'static str,
}

/// What has to hold, and what is said where it does not.
pub(crate) const fn says(rule: &'static str, message: &'static str) -> Says {
    Says { rule, message }
}

/// A rule of a schema.
#[derive(Clone, Debug)]
pub struct ValidationRule {
    /// What has to be true.
    pub expression: String,
    /// What is said where it is not.
    pub message: String,
    /// Read when it is first asked: most processes never see a kind that has rules.
    program: Arc<OnceLock<Result<Program, String>>>,
}

impl ValidationRule {
    pub(super) fn new(expression: &str, message: &str) -> Self {
        ValidationRule {
            expression: expression.to_owned(),
            message: message.to_owned(),
            program: Arc::default(),
        }
    }

    fn program(&self) -> Result<&Program, &String> {
        let read = || ENVIRONMENT.compile(&self.expression).map_err(|error| error.to_string());
        self.program.get_or_init(read).as_ref()
    }

    /// Whether a value keeps the rule; else what there is to say.
    fn check(&self, value: &cel::Value, old: Option<&cel::Value>) -> Result<(), String> {
        let unclear = |why: String| format!("{why} evaluating rule: {}", self.message);
        let program = self.program().map_err(|error| unclear(error.clone()))?;
        if old.is_none() && program.references().has_variable(OLD) {
            return Ok(());
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.add_variable_from_value("self", value.clone());
        if let Some(old) = old {
            context.add_variable_from_value(OLD, old.clone());
        }
        match program.execute(&context) {
            Ok(cel::Value::Bool(true)) => Ok(()),
            Ok(_) => Err(self.message.clone()),
            Err(error) => Err(unclear(error.to_string())),
        }
    }
}

const OLD: &str = "oldSelf";

/// Checks an object of the right shape, with its defaults, against the rules of its schema. `old` is the form that it replaces.
pub(crate) fn check(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut found = Vec::new();
    descend(schema, value, old, Path::ROOT, &mut found);
    found
}

fn descend(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: Path<'_>,
    found: &mut Vec<FieldError>,
) {
    if !schema.ruled || old == Some(value) {
        return;
    }
    if !schema.rules.is_empty() {
        let this = to_cel(&schema.node, value);
        let before = old.map(|old| to_cel(&schema.node, old));
        let broken =
            schema.rules.iter().filter_map(|rule| rule.check(&this, before.as_ref()).err());
        found.extend(broken.map(|said| FieldError::new(path.to_string(), Reason::Rule, said)));
    }
    match (&schema.node, value) {
        (Node::Object(object), Value::Object(map)) => {
            for (key, value) in map {
                if let Some((_, field)) = object.spelt(key) {
                    let old = old.and_then(|old| old.get(key));
                    descend(&field.schema, value, old, path.field(key), found);
                }
            }
        }
        (Node::Map { values, .. }, Value::Object(map)) => {
            for (key, value) in map {
                let old = old.and_then(|old| old.get(key));
                descend(values, value, old, path.entry(key), found);
            }
        }
        (Node::Array { items, list_type, .. }, Value::Array(list)) => {
            for (at, value) in list.iter().enumerate() {
                let old = counterpart(list_type, value, old);
                descend(items, value, old, path.index(at), found);
            }
        }
        _ => {}
    }
}

/// The entry of the old list that an entry of the new one takes the place of, as far as that can be told.
fn counterpart<'v>(
    list_type: &ListType,
    entry: &Value,
    old: Option<&'v Value>,
) -> Option<&'v Value> {
    let identity = list_type.identity(entry)?;
    old?.as_array()?.iter().find(|old| list_type.identity(old).as_ref() == Some(&identity))
}

/// A value as expressions see it, with fields by their own names. Those that the language reserves are written `__namespace__`
/// there; keys of maps stay as they are.
fn to_cel(node: &Node, value: &Value) -> cel::Value {
    match (node, value) {
        (Node::Object(object), Value::Object(fields)) => {
            let entry = |(name, value): (&String, &Value)| {
                let field = object.spelt(name).map(|(name, field)| (name, &field.schema.node));
                let (name, node) = field.unwrap_or((name, &Node::Any));
                (key(escaped(name)), to_cel(node, value))
            };
            map(fields.iter().map(entry).collect())
        }
        (node, Value::Object(entries)) => {
            let values =
                if let Node::Map { values, .. } = node { &values.node } else { &Node::Any };
            let entry =
                |(name, value): (&String, &Value)| (key(name.clone()), to_cel(values, value));
            map(entries.iter().map(entry).collect())
        }
        (node, Value::Array(list)) => {
            let items = if let Node::Array { items, .. } = node { &items.node } else { &Node::Any };
            let list: Vec<cel::Value> = list.iter().map(|value| to_cel(items, value)).collect();
            cel::Value::List(Arc::new(list))
        }
        (_, Value::String(text)) => cel::Value::String(Arc::new(text.clone())),
        (_, Value::Bool(value)) => cel::Value::Bool(*value),
        (_, Value::Null) => cel::Value::Null,
        (_, Value::Number(number)) => match number.as_i64() {
            Some(number) => cel::Value::Int(number),
            None => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}

fn key(name: String) -> Key {
    Key::String(Arc::new(name))
}

fn map(entries: HashMap<Key, cel::Value>) -> cel::Value {
    cel::Value::Map(Map { map: Arc::new(entries) })
}

fn escaped(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) { format!("__{name}__") } else { name.to_owned() }
}

/// The language with those of Kubernetes' own functions that rules of ours ask for.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let declared = cel::add_overload!(env, fn duration: (CelString<'_>) -> Result<CelInt>)
        .and(cel::add_overload!(env, fn is_ip: (CelString<'_>) -> CelBool, name = "isIP"))
        .and(env.add_member_overload("sum", "list_sum", LIST_TYPE, Vec::new(), sum));
    debug_assert!(declared.is_ok(), "{declared:?}");
    Arc::new(env)
});

/// A span of time in nanoseconds, which is all that rules need to compare two.
fn duration(text: &CelString<'_>) -> Result<CelInt, ExecutionError> {
    let span = GoDuration::parse(text.inner()).map(GoDuration::get);
    let nanos = span.and_then(|span| i64::try_from(span.as_nanos()).ok());
    let fault = || ExecutionError::function_error("duration", "is not a duration");
    nanos.map(CelInt::from).ok_or_else(fault)
}

fn is_ip(text: &CelString<'_>) -> CelBool {
    CelBool::from(text.inner().parse::<IpAddr>().is_ok())
}

/// The sum of a list of whole numbers.
fn sum<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let fault = || ExecutionError::function_error("sum", "is for lists of whole numbers");
    let list = arguments.into_iter().next().ok_or_else(fault)?;
    let list = list.downcast_ref::<CelList<'_>>().ok_or_else(fault)?;
    let number = |number: &(dyn Val + 'v)| number.downcast_ref::<CelInt>().map(|n| *n.inner());
    let mut total = list.inner().iter().map(|entry| number(entry.as_ref()));
    let total = total.try_fold(0_i64, |sum, number| sum.checked_add(number?));
    total.map(|total| CowVal::owned(CelInt::from(total))).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Rule;
    use crate::{Kind, schema};

    fn every_rule<'s>(schema: &'s Schema, into: &mut Vec<&'s ValidationRule>) {
        into.extend(&schema.rules);
        match &schema.node {
            Node::Object(object) => {
                object.fields.values().for_each(|field| every_rule(&field.schema, into));
            }
            Node::Array { items: inner, .. } | Node::Map { values: inner, .. } => {
                every_rule(inner, into);
            }
            _ => {}
        }
    }

    #[test]
    fn every_rule_can_be_read_and_says_something() {
        for kind in Kind::all() {
            let mut rules = Vec::new();
            every_rule(schema::of(kind), &mut rules);
            assert_eq!(schema::of(kind).ruled, !rules.is_empty(), "{kind}");
            for rule in rules {
                assert!(rule.program().is_ok(), "{}: {:?}", rule.expression, rule.program());
                assert!(!rule.message.is_empty(), "{}", rule.expression);
            }
        }
    }

    /// What is shown of the checks of single values is what they do.
    #[test]
    fn rules_of_scalars_say_what_they_check() {
        for rule in [Rule::Port, Rule::PortOrZero] {
            for number in [-1, 0, 1, 80, 65_535, 65_536, 1_i64 << 32] {
                agree(rule, &json!(number), rule.check_number(number.into()));
            }
        }
        let texts = [
            "", "0", "0s", "1ms", "999us", "1h30m", "-1s", "soon", "1", "HTTP", "https", "grpc-web",
        ];
        let names = [
            "HTTP2",
            "Http_Proxy",
            "GRPC",
            "mongo",
            "TCP",
            "TLS",
            "UDP",
            "REDIS",
            "MYSQL",
            "HBONE",
        ];
        for rule in [Rule::Duration, Rule::DurationOrZero, Rule::Protocol, Rule::ProtocolOrEmpty] {
            for text in texts.into_iter().chain(names).chain(["QUIC", "HTTPX", "X TCP", "GRPC_WEB"])
            {
                agree(rule, &json!(text), rule.check_text(text));
            }
        }
    }

    fn agree(rule: Rule, value: &Value, checked: Result<(), &str>) {
        let Says { rule: expression, message } = rule.says();
        let shown = ValidationRule::new(expression, message);
        let shown = shown.check(&to_cel(&Node::Any, value), None).is_ok();
        assert_eq!(shown, checked.is_ok(), "{rule:?} of {value}");
        assert!(checked.err().is_none_or(|said| said == message), "{rule:?} of {value}");
    }

    fn holds(expression: &str, value: &Value) -> Result<(), String> {
        ValidationRule::new(expression, "no").check(&to_cel(&Node::Any, value), None)
    }

    #[test]
    fn functions_of_kubernetes() {
        for (expression, value, expected) in [
            ("duration(self) > duration('59s')", json!("1m"), Ok(())),
            ("duration(self) > duration('60s')", json!("1m"), Err("no")),
            ("isIP(self)", json!("::1"), Ok(())),
            ("isIP(self)", json!("1.2.3"), Err("no")),
            ("self.map(n, n + 1).sum() == 5", json!([1, 2]), Ok(())),
            ("self.sum() == 0", json!([]), Ok(())),
        ] {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(holds(expression, &value), expected, "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_refused_with_the_reason() {
        let said = holds("self.a == 1", &json!({"b": 1})).expect_err("no such field");
        assert!(said.ends_with("a evaluating rule: no"), "{said}");
        assert!(holds("duration(self) > duration('1s')", &json!("soon")).is_err());
        assert!(holds("self.sum() == 0", &json!(["a"])).is_err());
    }
}

//! Field selectors: `metadata.name=a,status.phase!=Running`, on the few fields that Kubernetes offers.

use serde_json::Value;
use tidegate_api::{Kind, KindInfo};

use crate::store::Entry;

/// A parsed field selector; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    field: &'static str,
    value: String,
    equal: bool,
}

const EVERYWHERE: &[&str] = &["metadata.name", "metadata.namespace"];

/// The further fields by which objects of a kind can be selected.
fn selectable(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        Kind::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Kind::Secret => &["type"],
        Kind::Namespace => &["status.phase"],
        Kind::Service => &["spec.clusterIP", "spec.type"],
        Kind::Node => &["spec.unschedulable"],
        Kind::ReplicaSet => &["status.replicas"],
        _ => &[],
    }
}

impl FieldSelector {
    /// # Errors
    ///
    /// What could not be understood, in the words of Kubernetes; `labels` is the label selector of the same
    /// request, which one of them quotes.
    pub(crate) fn parse(
        text: &str,
        labels: &str,
        info: &KindInfo,
        version: &str,
    ) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in split(text) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, value, true)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, value, true)
            } else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            let known = EVERYWHERE.iter().chain(selectable(info.kind)).find(|k| **k == field);
            let Some(known) = known else {
                return Err(unsupported(field, text, labels, info, version));
            };
            requirements.push(Requirement { field: known, value: unescape(value), equal });
        }
        Ok(Self(requirements))
    }

    /// The same, and `metadata.name=<name>`.
    pub(crate) fn with_name(mut self, name: &str) -> Self {
        self.0.push(Requirement { field: "metadata.name", value: name.to_owned(), equal: true });
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        let mut json = None;
        self.0.iter().all(|requirement| {
            let equal = match requirement.field {
                "metadata.name" => *entry.key().name == *requirement.value,
                "metadata.namespace" => *entry.key().namespace == *requirement.value,
                field => {
                    let json = json.get_or_insert_with(|| entry.json());
                    field_of(json, field) == requirement.value
                }
            };
            equal == requirement.equal
        })
    }
}

/// Commas separate requirements unless they are escaped.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c: char| {
        let separates = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
    .filter(|part| !part.is_empty())
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut escaped = false;
    for c in value.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}

fn unsupported(field: &str, text: &str, labels: &str, info: &KindInfo, version: &str) -> String {
    if info.built_in {
        return format!("field label not supported: {field}");
    }
    format!(
        "Unable to find \"{}/{version}, Resource={}\" that match label selector {labels:?}, field selector \
         {text:?}: field label not supported: {field}",
        info.group, info.plural
    )
}

/// The value that a selector compares with, as text; what is absent is empty.
fn field_of(json: &Value, field: &str) -> String {
    let value = match field {
        "source" => &json["source"]["component"],
        "spec.hostNetwork" => {
            return json["spec"]["hostNetwork"].as_bool().unwrap_or_default().to_string();
        }
        "status.podIPs" => &json["status"]["podIPs"][0]["ip"],
        _ => field.split('.').fold(json, |value, part| &value[part]),
    };
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, kind: Kind) -> Result<FieldSelector, String> {
        FieldSelector::parse(text, "", kind.info(), "v1")
    }

    #[test]
    fn knows_the_fields_of_each_kind() {
        assert!(parse("metadata.name=a,metadata.namespace!=b", Kind::Gateway).is_ok());
        assert!(parse("status.phase==Running", Kind::Pod).is_ok());
        assert_eq!(
            parse("spec.foo=1", Kind::Pod),
            Err("field label not supported: spec.foo".into())
        );
        assert_eq!(
            parse("spec.foo=1", Kind::VirtualService),
            Err(
                "Unable to find \"networking.istio.io/v1, Resource=virtualservices\" that match label \
                 selector \"\", field selector \"spec.foo=1\": field label not supported: spec.foo"
                    .into()
            )
        );
        assert_eq!(
            parse("bogus", Kind::Pod),
            Err("invalid selector: 'bogus'; can't understand 'bogus'".into())
        );
    }

    #[test]
    fn escapes() {
        let selector = parse("reason=a\\,b,type=x", Kind::Event).expect("a selector");
        let values: Vec<&str> = selector.0.iter().map(|r| r.value.as_str()).collect();
        assert_eq!(values, ["a,b", "x"]);
    }
}

//! What stands in the answers of the server before us for what stood in the recorded ones: revisions,
//! uids, generated names, and where a list goes on. Requests that were recorded later name the recorded
//! ones.

use std::collections::HashMap;

use serde_json::Value;

use super::recording::{Request, Values};

/// Recorded values, each with ours.
#[derive(Default)]
pub struct Bindings {
    revisions: HashMap<String, String>,
    continues: HashMap<String, String>,
    /// Found inside of other text, too: uids are placeholders of their own; generated names, tags and
    /// hashes are long.
    words: HashMap<String, String>,
}

impl Bindings {
    /// Takes what an answer says in the place of the recorded one.
    pub fn learn(&mut self, recorded: &Value, ours: &Value) {
        match (recorded, ours) {
            (Value::Object(recorded), Value::Object(fields)) => {
                let generated = recorded.contains_key("generateName");
                for (name, value) in recorded {
                    let Some(our) = fields.get(name) else { continue };
                    let (Some(value), Some(our)) = (value.as_str(), our.as_str()) else {
                        self.learn(value, our);
                        continue;
                    };
                    match name.as_str() {
                        "resourceVersion" => bind(&mut self.revisions, value, our),
                        "continue" => bind(&mut self.continues, value, our),
                        "uid" => bind(&mut self.words, value, our),
                        "name" if generated => bind(&mut self.words, value, our),
                        "serverRelativeURL" => self.learn_hash(value, our),
                        _ => {}
                    }
                }
            }
            (Value::Array(recorded), Value::Array(ours)) => {
                for item in recorded {
                    if let Some(our) = ours.iter().find(|our| same_name(item, our)) {
                        self.learn(item, our);
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes a word that stands inside of others, too.
    pub fn learn_word(&mut self, recorded: &str, ours: &str) {
        bind(&mut self.words, recorded, ours);
    }

    /// Documents of OpenAPI are asked for by their hash.
    fn learn_hash(&mut self, recorded: &str, ours: &str) {
        let hash = |url: &str| url.split_once("?hash=").map(|(_, hash)| hash.to_owned());
        if let (Some(recorded), Some(ours)) = (hash(recorded), hash(ours)) {
            bind(&mut self.words, &recorded, &ours);
        }
    }

    /// A request with our values.
    pub fn apply(&self, request: &mut Request) {
        self.reword(&mut request.path);
        for (name, values) in &mut request.query {
            let values = match values {
                Values::One(value) => std::slice::from_mut(value),
                Values::Several(values) => values.as_mut_slice(),
            };
            for value in values {
                let known = match name.as_str() {
                    "resourceVersion" => self.revisions.get(value),
                    "continue" => self.continues.get(value),
                    _ => None,
                };
                match known {
                    Some(known) => value.clone_from(known),
                    None => self.reword(value),
                }
            }
        }
        for condition in ["if-none-match", "if-modified-since"] {
            if let Some(value) = request.headers.get_mut(condition) {
                self.reword(value);
            }
        }
        self.rewrite(&mut request.body);
    }

    fn rewrite(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.reword(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.rewrite(item)),
            Value::Object(fields) => {
                // The operation of a JSON patch names its place beside the value.
                let of_patch = fields
                    .get("path")
                    .and_then(Value::as_str)
                    .is_some_and(|path| path.ends_with("/resourceVersion"));
                for (name, value) in fields {
                    let revision = name == "resourceVersion" || (of_patch && name == "value");
                    match value.as_str().and_then(|value| self.revisions.get(value)) {
                        Some(known) if revision => *value = Value::String(known.clone()),
                        _ => self.rewrite(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn reword(&self, text: &mut String) {
        for (recorded, ours) in &self.words {
            if text.contains(recorded) {
                *text = text.replace(recorded, ours);
            }
        }
    }
}

fn bind(known: &mut HashMap<String, String>, recorded: &str, ours: &str) {
    if !recorded.is_empty() && recorded != "0" {
        known.insert(recorded.to_owned(), ours.to_owned());
    }
}

/// Whether two items of lists are the same object.
fn same_name(one: &Value, other: &Value) -> bool {
    let name = |item: &Value| item["metadata"]["name"].as_str().map(str::to_owned);
    name(one).is_some() && name(one) == name(other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_answer_named_is_named_in_later_requests() {
        let mut bindings = Bindings::default();
        bindings.learn(
            &json!({"metadata": {"resourceVersion": "703", "uid": "<uid-3>", "generateName": "gn-", "name": "gn-n5tsl"}}),
            &json!({"metadata": {"resourceVersion": "12", "uid": "u", "generateName": "gn-", "name": "gn-abcde"}}),
        );
        let mut request: Request = serde_json::from_value(json!({
            "method": "PUT",
            "path": "/virtualservices/gn-n5tsl",
            "query": {"resourceVersion": "703", "fieldSelector": "involvedObject.uid=<uid-3>"},
            "body": {
                "metadata": {"resourceVersion": "703", "labels": {"a": "703"}},
                "patch": [{"op": "test", "path": "/metadata/resourceVersion", "value": "703"}],
            },
        }))
        .expect("a request");
        bindings.apply(&mut request);
        assert_eq!(request.path, "/virtualservices/gn-abcde");
        assert_eq!(request.query["resourceVersion"].all(), ["12"]);
        assert_eq!(request.query["fieldSelector"].all(), ["involvedObject.uid=u"]);
        assert_eq!(
            request.body["metadata"],
            json!({"resourceVersion": "12", "labels": {"a": "703"}})
        );
        assert_eq!(request.body["patch"][0]["value"], "12");
    }
}

//! What watches begin with. What they tell later came of writes that are asked one after the other here,
//! so that only the beginning can be compared.

use std::collections::BTreeSet;

use serde_json::Value;

use super::recording::{Group, Request, Told};

/// The annotation of the bookmark that ends what there is.
const END: &str = "k8s.io/initial-events-end";

/// The events before the first change.
#[derive(Debug, Default, PartialEq, Eq)]
struct Beginning {
    /// Objects that are there, each as `NAMESPACE/NAME`.
    objects: BTreeSet<String>,
    /// The kinds in whose form they are told.
    forms: BTreeSet<String>,
    /// Whether a bookmark says that these were all.
    ended: bool,
    /// The code and the reason of an error.
    error: Option<(u64, String)>,
}

impl Beginning {
    fn of<'a>(events: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut beginning = Self::default();
        for event in events {
            let object = &event["object"];
            match event["type"].as_str() {
                Some("ADDED") => beginning.add(object),
                Some("BOOKMARK") => {
                    beginning.ended = object["metadata"]["annotations"][END] == "true";
                    break;
                }
                Some("ERROR") => {
                    let reason = object["reason"].as_str().unwrap_or_default().to_owned();
                    beginning.error = Some((object["code"].as_u64().unwrap_or_default(), reason));
                    break;
                }
                Some(_) => break,
                // The watch of one object is that object.
                None => beginning.add(event),
            }
        }
        beginning
    }

    fn add(&mut self, object: &Value) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.forms.insert(word(&object["kind"]));
        let named = if object["kind"] == "Table" { &object["rows"][0]["object"] } else { object };
        let metadata = &named["metadata"];
        self.objects.insert(format!(
            "{}/{}",
            word(&metadata["namespace"]),
            word(&metadata["name"])
        ));
    }
}

/// In what a watch begins otherwise than the recorded one. One from a revision on begins with what has
/// happened since, in which the two servers differ; errors are compared there.
pub fn difference(
    request: &Request,
    recorded: &[Told],
    body: &[u8],
    group: Group,
) -> Option<String> {
    let ours: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let (theirs, ours) =
        (Beginning::of(recorded.iter().map(|told| &told.event)), Beginning::of(&ours));
    if theirs.error != ours.error {
        return Some(format!("the watch ends in {:?} for {:?}", ours.error, theirs.error));
    }
    if !from_the_start(request) {
        return None;
    }
    let missing: Vec<&String> = theirs.objects.difference(&ours.objects).collect();
    if group.has_its_objects() && !missing.is_empty() {
        return Some(format!("the watch begins without {missing:?}"));
    }
    // A list that is empty has no form.
    if !theirs.forms.is_empty() && theirs.forms != ours.forms {
        return Some(format!("objects as {:?} for {:?}", ours.forms, theirs.forms));
    }
    (theirs.ended != ours.ended).then(|| format!("its end is marked: {}", ours.ended))
}

/// Whether a watch begins with what there is.
fn from_the_start(request: &Request) -> bool {
    let one = |name: &str| request.query.get(name).and_then(|values| values.all().first());
    one("sendInitialEvents").is_some_and(|value| value == "true")
        || one("resourceVersion").is_none_or(|value| value.is_empty() || value == "0")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compared(query: &Value, recorded: &[Value], ours: &[Value]) -> Option<String> {
        let request = json!({"method": "GET", "path": "/", "query": query});
        let lines: String = ours.iter().map(|event| format!("{event}\n")).collect();
        let request = serde_json::from_value(request).expect("a request");
        let recorded: Vec<Told> =
            recorded.iter().map(|event| Told { event: event.clone() }).collect();
        difference(&request, &recorded, lines.as_bytes(), Group::Raw)
    }

    fn added(name: &str) -> Value {
        let metadata = json!({"namespace": "a", "name": name});
        json!({"type": "ADDED", "object": {"kind": "Service", "metadata": metadata}})
    }

    #[test]
    fn what_there_is_and_its_end_are_compared() {
        let end =
            json!({"type": "BOOKMARK", "object": {"metadata": {"annotations": {END: "true"}}}});
        let changed = json!({"type": "MODIFIED", "object": added("x")["object"]});
        let theirs = [added("x"), end.clone(), added("later")];
        let query = &json!({"sendInitialEvents": "true"});
        assert_eq!(compared(query, &theirs, &[added("more"), added("x"), end.clone()]), None);
        assert!(compared(query, &theirs, &[added("x")]).is_some(), "no mark");
        assert!(compared(query, &theirs, &[changed, end.clone()]).is_some(), "no object");
        let other = json!({"type": "ADDED", "object": {"kind": "Table", "rows": [added("x")]}});
        assert!(compared(query, &theirs, &[other, end]).is_some(), "another form");
        let query = &json!({"resourceVersion": "7"});
        assert_eq!(compared(query, &theirs, &[]), None, "from a revision on");
    }

    #[test]
    fn errors_are_compared() {
        let error = [json!({"type": "ERROR", "object": {"code": 410, "reason": "Expired"}})];
        let query = &json!({"resourceVersion": "1"});
        assert_eq!(compared(query, &error, &error), None);
        assert!(compared(query, &error, &[]).is_some());
        assert!(compared(query, &[], &error).is_some());
    }
}

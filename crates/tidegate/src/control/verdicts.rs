//! What several gateways say of one object, in one status.
//!
//! Each has an entry of its own below `status.gateways`, by its field manager, which nobody else writes; `status.conditions` follows from
//! all entries alone. So whoever writes last writes what any other would, and none speaks for another: a condition holds when it
//! does at every gateway that the object is for. (The list of conditions cannot be shared by its items: in Istio's definitions it is one
//! value.)

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_apiserver::store::{Condition, set_among};
use tidegate_pilot::status::{ConditionKind, PROGRAMMED, SERVED};

use super::sink::is_elsewhere;

/// The field of entries.
pub const GATEWAYS: &str = "gateways";

/// The conditions that gateways write.
const KINDS: [&str; 3] =
    [ConditionKind::Reconciled.as_str(), ConditionKind::ResolvedRefs.as_str(), PROGRAMMED];

/// As much of a status as one gateway applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// `status.conditions`, those of others than gateways among them.
    pub conditions: Vec<Value>,
    /// Its own entry; none where the object is for others.
    pub own: Option<Value>,
}

impl Verdicts {
    /// The status with them in it.
    pub fn within(self, status: &Value, gateway: &str) -> Value {
        let Self { conditions, own } = self;
        let mut status = status.clone();
        status["conditions"] = conditions.into();
        match own {
            Some(own) => status[GATEWAYS][gateway] = own,
            None => forget(&mut status, gateway),
        }
        status
    }
}

/// Takes an entry out of a status.
fn forget(status: &mut Value, gateway: &str) {
    let Some(entries) = status[GATEWAYS].as_object_mut() else { return };
    entries.remove(gateway);
    if entries.is_empty()
        && let Some(status) = status.as_object_mut()
    {
        status.remove(GATEWAYS);
    }
}

/// A status with what a gateway says of the object; nothing where that is there already.
pub fn news(status: &Value, gateway: &str, said: &[Condition]) -> Option<Verdicts> {
    let before = &status[GATEWAYS][gateway];
    let own = (!is_elsewhere(said)).then(|| {
        let mut list = before["conditions"].as_array().cloned().unwrap_or_default();
        set_among(&mut list, said);
        json!({ "conditions": list })
    });
    let entries = status[GATEWAYS].as_object().into_iter().flatten();
    let others = entries.filter(|(name, _)| *name != gateway);
    let mut all: BTreeMap<&str, &Value> =
        others.map(|(name, entry)| (name.as_str(), entry)).collect();
    let together = match (all.is_empty(), &own) {
        (true, _) => said.to_vec(),
        (false, own) => {
            all.extend(own.iter().map(|own| (gateway, own)));
            KINDS.into_iter().filter_map(|kind| together(kind, &all)).collect()
        }
    };
    let listed = status["conditions"].as_array().cloned().unwrap_or_default();
    let mut conditions = listed.clone();
    set_among(&mut conditions, &together);
    let same = conditions == listed && own.as_ref().unwrap_or(&Value::Null) == before;
    (!same).then_some(Verdicts { conditions, own })
}

/// A status without what gateways said that are gone; nothing where all are there.
pub fn of_present(status: &Value, is_present: impl Fn(&str) -> bool) -> Option<Value> {
    let entries = status[GATEWAYS].as_object()?;
    let gone: Vec<&String> = entries.keys().filter(|gateway| !is_present(gateway)).collect();
    if gone.is_empty() {
        return None;
    }
    let mut left = status.clone();
    gone.into_iter().for_each(|gateway| forget(&mut left, gateway));
    let entries = left[GATEWAYS].as_object().into_iter().flatten();
    let all: BTreeMap<&str, &Value> = entries.map(|(name, entry)| (name.as_str(), entry)).collect();
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    for kind in KINDS {
        match together(kind, &all) {
            Some(condition) => set_among(&mut conditions, &[condition]),
            None => conditions.retain(|condition| condition["type"] != kind),
        }
    }
    left["conditions"] = conditions.into();
    Some(left)
}

/// What follows for a condition from what gateways say of it, if any does. It is as of the oldest form that any of them speaks of.
fn together(kind: &'static str, entries: &BTreeMap<&str, &Value>) -> Option<Condition> {
    let said: Vec<(&str, &Value)> = entries
        .iter()
        .filter_map(|(gateway, entry)| {
            let mut conditions = entry["conditions"].as_array()?.iter();
            Some((*gateway, conditions.find(|condition| condition["type"] == kind)?))
        })
        .collect();
    let holds = |wanted: &str| said.iter().find(|(_, condition)| condition["status"] == wanted);
    let text =
        |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let partly = || said.iter().find(|(_, c)| kind == PROGRAMMED && c["reason"] != SERVED);
    let (holds, (_, deciding)) = match (holds("False"), holds("Unknown")) {
        (Some(lost), _) => (Some(false), lost),
        (None, Some(unknown)) => (None, unknown),
        (None, None) => (Some(true), partly().or(said.first())?),
    };
    Some(Condition {
        name: kind,
        holds,
        reason: text(deciding, "reason"),
        message: words(&said),
        generation: said.iter().filter_map(|(_, c)| c["observedGeneration"].as_i64()).min()?,
    })
}

/// What gateways say in words: each with its name, where they differ.
fn words(said: &[(&str, &Value)]) -> String {
    let text = |condition: &Value| condition["message"].as_str().unwrap_or_default().to_owned();
    if said.windows(2).all(|pair| pair[0].1["message"] == pair[1].1["message"]) {
        return said.first().map(|(_, condition)| text(condition)).unwrap_or_default();
    }
    let told = said.iter().map(|(gateway, condition)| (gateway, text(condition)));
    let told = told.filter(|(_, message)| !message.is_empty());
    told.map(|(gateway, message)| format!("{gateway}: {message}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programmed(holds: bool, reason: &str, message: &str, generation: i64) -> Vec<Condition> {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        vec![Condition { name: PROGRAMMED, holds: Some(holds), reason, message, generation }]
    }

    /// Writes what a gateway says into a status, as the API server does that it is applied to.
    fn write(status: &mut Value, gateway: &str, said: &[Condition]) -> bool {
        let Some(verdicts) = news(status, gateway, said) else { return false };
        *status = verdicts.within(status, gateway);
        true
    }

    fn shown(status: &Value) -> (&str, &str, &str, i64) {
        let text = |field: &str| status["conditions"][0][field].as_str().expect("text");
        let generation = status["conditions"][0]["observedGeneration"].as_i64();
        (text("status"), text("reason"), text("message"), generation.expect("a generation"))
    }

    #[test]
    fn what_holds_at_every_gateway_holds_whoever_writes_last() {
        let mut status = json!({});
        let good = programmed(true, SERVED, "every worker serves it", 1);
        let bad = programmed(false, "HostNotServed", "no host", 1);
        assert!(write(&mut status, "a.x", &good));
        assert_eq!(shown(&status), ("True", SERVED, "every worker serves it", 1));
        assert!(write(&mut status, "b.x", &bad));
        let both = "a.x: every worker serves it; b.x: no host";
        assert_eq!(shown(&status), ("False", "HostNotServed", both, 1));
        for (gateway, said) in [("a.x", &good), ("b.x", &bad), ("a.x", &good)] {
            assert!(!write(&mut status, gateway, said), "{gateway} has nothing new to say");
        }
        // The newer form is spoken of when both have seen it.
        assert!(write(&mut status, "a.x", &programmed(true, SERVED, "every worker serves it", 2)));
        assert_eq!(shown(&status).3, 1);
        assert!(write(&mut status, "b.x", &programmed(true, "PartlyServed", "some of it", 2)));
        let both = "a.x: every worker serves it; b.x: some of it";
        assert_eq!(shown(&status), ("True", "PartlyServed", both, 2));
        assert!(write(&mut status, "b.x", &programmed(true, SERVED, "every worker serves it", 2)));
        assert_eq!(shown(&status), ("True", SERVED, "every worker serves it", 2));
    }

    #[test]
    fn whom_it_is_not_for_any_more_says_nothing_of_it() {
        let mut status = json!({"conditions": [{"type": "Theirs", "status": "True"}]});
        let bad = programmed(false, "HostNotServed", "no host", 1);
        assert!(write(&mut status, "a.x", &programmed(true, SERVED, "served", 1)));
        assert!(write(&mut status, "b.x", &bad));
        let elsewhere = programmed(false, "NotSelected", "for others", 2);
        assert!(write(&mut status, "b.x", &elsewhere));
        assert!(!write(&mut status, "b.x", &elsewhere));
        assert_eq!(status[GATEWAYS].as_object().expect("entries").len(), 1);
        assert_eq!(status["conditions"][0]["type"], "Theirs");
        assert_eq!(status["conditions"][1]["status"], "True");
        assert_eq!(status["conditions"][1]["message"], "served");
    }
}

//! Conditions in the store's words, out of what pilot and the workers say.

use tidegate_apiserver::store::Condition;
use tidegate_pilot::status::{ConditionKind, Force, PROGRAMMED, SERVED, Standing, StatusUpdate};

use super::outgoing::Update;
use super::programmed::Told;

/// What pilot says of an object.
pub fn compiled(status: StatusUpdate, standing: Option<&Standing>) -> Update {
    let StatusUpdate { generation, in_force, .. } = status;
    let conditions = status.conditions.into_iter().map(|condition| Condition {
        name: condition.kind.as_str(),
        holds: Some(condition.holds),
        reason: condition.reason.to_owned(),
        message: condition.message,
        generation: match condition.kind {
            ConditionKind::Reconciled => generation,
            ConditionKind::ResolvedRefs => in_force,
        },
    });
    let mut conditions: Vec<Condition> = conditions.collect();
    if conditions.is_empty() {
        conditions = match standing.map(|standing| &standing.force) {
            Some(Force::Nothing { reason, message }) => elsewhere(reason, message, generation),
            // A kind that nothing is compiled from, whose last form was refused.
            _ => vec![readable_again(generation)],
        };
    }
    Update { conditions, ..Update::default() }
}

/// Of an object that is for others it is not known whether it would compile.
fn elsewhere(reason: &str, message: &str, generation: i64) -> Vec<Condition> {
    let kinds = [ConditionKind::Reconciled, ConditionKind::ResolvedRefs];
    let condition = |kind: ConditionKind| Condition {
        name: kind.as_str(),
        holds: None,
        reason: reason.to_owned(),
        message: message.to_owned(),
        generation,
    };
    kinds.map(condition).into()
}

fn readable_again(generation: i64) -> Condition {
    let name = ConditionKind::Reconciled.as_str();
    let (reason, message) = (name.to_owned(), String::new());
    Condition { name, holds: Some(true), reason, message, generation }
}

/// Listeners that a route acts through and that are not open, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// None of them is.
    All(String),
    /// Others are.
    Some(String),
}

/// The condition `Programmed`.
pub fn programmed(told: Told, standing: &Standing, closed: Option<Closed>) -> Update {
    let (holds, reason, message) = match (told.refusal, &standing.force, closed) {
        (Some(refusal), ..) => (false, "Refused", refusal),
        (None, Force::Nothing { reason, message }, _) => (false, *reason, message.clone()),
        (None, _, Some(Closed::All(closed))) => (false, "GatewayNotProgrammed", closed),
        (None, _, closed) => {
            let closed = closed.map(|(Closed::All(words) | Closed::Some(words))| words);
            let faults = standing.fault.iter().cloned().chain(told.lost).chain(closed);
            match faults.collect::<Vec<_>>().join("; ").as_str() {
                "" => (true, SERVED, "every worker serves it".to_owned()),
                faults => (true, "PartlyServed", partly(faults)),
            }
        }
    };
    let (name, holds, reason) = (PROGRAMMED, Some(holds), reason.to_owned());
    let condition = Condition { name, holds, reason, message, generation: told.generation };
    Update { conditions: vec![condition], ..Update::default() }
}

fn partly(fault: &str) -> String {
    format!("every worker serves what is in force of it; not in force: {fault}")
}

#[cfg(test)]
mod tests {
    use tidegate_api::{Kind, ObjectKey};

    use super::*;

    /// What `Programmed` says: whether it holds, its reason and its message.
    fn said(
        refusal: Option<&str>,
        force: Force,
        fault: Option<&str>,
        closed: Option<Closed>,
    ) -> (bool, String, String) {
        let key = ObjectKey::new(Kind::VirtualService, "default", "a");
        let told = Told { key, generation: 3, refusal: refusal.map(str::to_owned), lost: None };
        let standing = Standing { force, fault: fault.map(str::to_owned) };
        let mut update = programmed(told, &standing, closed);
        assert_eq!(update.conditions.len(), 1);
        let condition = update.conditions.remove(0);
        assert_eq!(condition.generation, 3);
        (condition.holds == Some(true), condition.reason, condition.message)
    }

    /// What is in force is spoken of as of its own generation, where a newer form is refused.
    #[test]
    fn each_condition_is_as_of_the_form_that_it_speaks_of() {
        let told = |kind, holds| tidegate_pilot::status::Condition {
            kind,
            holds,
            reason: "",
            message: String::new(),
        };
        let status = StatusUpdate {
            key: ObjectKey::new(Kind::VirtualService, "default", "a"),
            generation: 3,
            in_force: 2,
            conditions: vec![
                told(ConditionKind::Reconciled, false),
                told(ConditionKind::ResolvedRefs, true),
            ],
        };
        let update = compiled(status, None);
        let seen = update.conditions.iter().map(|condition| (condition.name, condition.generation));
        assert_eq!(seen.collect::<Vec<_>>(), [("Reconciled", 3), ("ResolvedRefs", 2)]);
    }

    #[test]
    fn programmed_holds_only_of_what_is_served() {
        let nothing = || Force::Nothing { reason: "NoGateway", message: "no g".to_owned() };
        let through = || Force::Through(vec!["0.0.0.0_80".into()]);
        let is =
            |holds, reason: &str, message: &str| (holds, reason.to_owned(), message.to_owned());
        assert_eq!(said(None, through(), None, None), is(true, "Served", "every worker serves it"));
        let partly = said(None, through(), Some("retries"), None);
        assert_eq!((partly.0, partly.1.as_str()), (true, "PartlyServed"));
        assert!(partly.2.ends_with("not in force: retries"), "{partly:?}");
        assert_eq!(said(None, nothing(), None, None), is(false, "NoGateway", "no g"));
        let all = || Some(Closed::All("taken".to_owned()));
        let closed = said(None, through(), None, all());
        assert_eq!(closed, is(false, "GatewayNotProgrammed", "taken"));
        let partly = said(None, through(), Some("retries"), Some(Closed::Some("taken".to_owned())));
        assert_eq!((partly.0, partly.1.as_str()), (true, "PartlyServed"));
        assert!(partly.2.ends_with("not in force: retries; taken"), "{partly:?}");
        let refused = said(Some("bad"), through(), None, all());
        assert_eq!(refused, is(false, "Refused", "bad"));
    }
}

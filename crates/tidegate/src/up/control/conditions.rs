//! Conditions in the store's words, out of what pilot and the workers say.

use tidegate_apiserver::store::Condition;
use tidegate_pilot::status::{ConditionKind, Force, Standing, StatusUpdate};

use super::outgoing::Update;
use super::programmed::Told;

/// What pilot says of an object.
pub fn compiled(status: StatusUpdate, standing: Option<&Standing>) -> Update {
    let conditions = status.conditions.into_iter().map(|condition| Condition {
        name: condition.kind.as_str(),
        holds: Some(condition.holds),
        reason: condition.reason.to_owned(),
        message: condition.message,
    });
    let mut conditions: Vec<Condition> = conditions.collect();
    if conditions.is_empty() {
        conditions = match standing.map(|standing| &standing.force) {
            Some(Force::Nothing { reason, message }) => elsewhere(reason, message),
            // A kind that nothing is compiled from, whose last form was refused.
            _ => vec![readable_again()],
        };
    }
    Update { generation: status.generation, conditions, ..Update::default() }
}

/// Of an object that is for others it is not known whether it would compile.
fn elsewhere(reason: &str, message: &str) -> Vec<Condition> {
    let kinds = [ConditionKind::Reconciled, ConditionKind::ResolvedRefs];
    let condition = |kind: ConditionKind| Condition {
        name: kind.as_str(),
        holds: None,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    kinds.map(condition).into()
}

fn readable_again() -> Condition {
    let name = ConditionKind::Reconciled.as_str();
    Condition { name, holds: Some(true), reason: name.to_owned(), message: String::new() }
}

/// The condition `Programmed`. `closed` says why none of the listeners that a
/// route acts through is open.
pub fn programmed(told: Told, standing: &Standing, closed: Option<String>) -> Update {
    let (holds, reason, message) = match (told.refusal, &standing.force, closed) {
        (Some(refusal), ..) => (false, "Refused", refusal),
        (None, Force::Nothing { reason, message }, _) => (false, *reason, message.clone()),
        (None, _, Some(closed)) => (false, "GatewayNotProgrammed", closed),
        (None, ..) => match &standing.fault {
            None => (true, "Served", "every worker serves it".to_owned()),
            Some(fault) => (true, "PartlyServed", partly(fault)),
        },
    };
    let condition =
        Condition { name: "Programmed", holds: Some(holds), reason: reason.to_owned(), message };
    Update { generation: told.generation, conditions: vec![condition], ..Update::default() }
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
        closed: Option<&str>,
    ) -> (bool, String, String) {
        let key = ObjectKey::new(Kind::VirtualService, "default", "a");
        let told = Told { key, generation: 3, refusal: refusal.map(str::to_owned) };
        let standing = Standing { force, fault: fault.map(str::to_owned) };
        let mut update = programmed(told, &standing, closed.map(str::to_owned));
        assert_eq!((update.generation, update.conditions.len()), (3, 1));
        let condition = update.conditions.remove(0);
        (condition.holds == Some(true), condition.reason, condition.message)
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
        let closed = said(None, through(), None, Some("taken"));
        assert_eq!(closed, is(false, "GatewayNotProgrammed", "taken"));
        let refused = said(Some("bad"), through(), None, Some("taken"));
        assert_eq!(refused, is(false, "Refused", "bad"));
    }
}

//! Which objects are not in force as they were written.

use std::collections::HashMap;

use tidegate_api::ObjectKey;
use tidegate_pilot::status::{ConditionKind, StatusUpdate};

/// Pilot's reason when the last good form of an object serves on.
const REFUSED_AS_A_WHOLE: &str = "Invalid";

/// The faults of the forms in force, in words.
#[derive(Debug, Default)]
pub struct Faults(HashMap<ObjectKey, String>);

impl Faults {
    /// Takes in what pilot says of an object; true when its fault changed. A form that was refused as a whole says
    /// nothing of the one before it, which stays in force with its fault, if it has one.
    pub fn note(&mut self, status: &StatusUpdate) -> bool {
        let reconciled = status.conditions.iter().find(|c| c.kind == ConditionKind::Reconciled);
        if reconciled.is_some_and(|c| c.reason == REFUSED_AS_A_WHOLE) {
            return false;
        }
        let fault = reconciled.filter(|c| !c.holds).map(|c| c.message.clone());
        let before = match &fault {
            Some(fault) => self.0.insert(status.key.clone(), fault.clone()),
            None => self.0.remove(&status.key),
        };
        before != fault && reconciled.is_some()
    }

    /// The fault of an object.
    pub fn of(&self, key: &ObjectKey) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// An object is gone.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;
    use tidegate_pilot::status::Condition;

    use super::*;

    fn said(reason: &'static str) -> StatusUpdate {
        StatusUpdate {
            key: ObjectKey::new(Kind::VirtualService, "default", "a"),
            generation: 1,
            conditions: vec![Condition {
                kind: ConditionKind::Reconciled,
                holds: reason == "Reconciled",
                reason,
                message: format!("about {reason}"),
            }],
            events: Vec::new(),
        }
    }

    #[test]
    fn a_refused_form_leaves_the_fault_of_the_one_in_force() {
        let mut faults = Faults::default();
        let key = said("NotServed").key;
        assert!(faults.note(&said("NotServed")));
        assert!(!faults.note(&said("Invalid")));
        assert_eq!(faults.of(&key), Some("about NotServed"));
        assert!(!faults.note(&said("NotServed")), "it is what it was");
        assert!(faults.note(&said("Reconciled")));
        assert!(!faults.note(&said("Invalid")));
        assert_eq!(faults.of(&key), None);
        faults.note(&said("Conflict"));
        faults.forget(&key);
        assert_eq!(faults.of(&key), None);
    }
}

//! What is said to hold only once every worker serves it: that what an object names can be used, of which the proxy has
//! the last word. What is false is told at once. Pure bookkeeping.

use std::collections::HashMap;

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::Condition;
use tidegate_pilot::status::ConditionKind;

use super::secrets::USABLE;

/// Conditions that hold as far as compiling decides.
#[derive(Debug, Default)]
pub struct Awaited(HashMap<(ObjectKey, &'static str), Waiting>);

/// A condition, and what it waits for.
#[derive(Debug)]
struct Waiting {
    /// The snapshot generation that has to be served.
    snapshot: u64,
    condition: Condition,
}

impl Awaited {
    /// Takes in conditions of an object that were found with a snapshot generation; those that can be told now. They
    /// take the place of what was found before.
    pub fn found(
        &mut self,
        snapshot: u64,
        key: &ObjectKey,
        conditions: Vec<Condition>,
    ) -> Vec<Condition> {
        let (waiting, now): (Vec<_>, Vec<_>) = conditions.into_iter().partition(waits);
        for condition in &now {
            self.0.remove(&(key.clone(), condition.name));
        }
        for condition in waiting {
            let place = (key.clone(), condition.name);
            self.0.insert(place, Waiting { snapshot, condition });
        }
        now
    }

    /// What holds, now that `served` is what every worker serves: each object with the condition.
    pub fn served(&mut self, served: Option<u64>) -> Vec<(ObjectKey, Condition)> {
        let Some(served) = served else { return Vec::new() };
        let there = self.0.extract_if(|_, waiting| waiting.snapshot <= served);
        there.map(|((key, _), waiting)| (key, waiting.condition)).collect()
    }

    /// An object is gone.
    pub fn forget(&mut self, key: &ObjectKey) {
        for name in NAMES {
            self.0.remove(&(key.clone(), name));
        }
    }
}

/// The conditions of which the proxy has the last word.
const NAMES: [&str; 2] = [ConditionKind::ResolvedRefs.as_str(), USABLE];

fn waits(condition: &Condition) -> bool {
    condition.holds == Some(true) && NAMES.contains(&condition.name)
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;

    use super::*;

    const RESOLVED: &str = ConditionKind::ResolvedRefs.as_str();

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::Gateway, "default", "g")
    }

    fn condition(name: &'static str, holds: bool) -> Condition {
        let (reason, message) = (String::new(), String::new());
        Condition { name, holds: Some(holds), reason, message, generation: 3 }
    }

    fn names(conditions: &[Condition]) -> Vec<&str> {
        conditions.iter().map(|condition| condition.name).collect()
    }

    #[test]
    fn what_is_named_can_be_used_once_it_is_served() {
        let mut awaited = Awaited::default();
        let all = || vec![condition("Reconciled", true), condition(RESOLVED, true)];
        assert_eq!(names(&awaited.found(7, &key(), all())), ["Reconciled"]);
        assert!(awaited.served(None).is_empty());
        assert!(awaited.served(Some(6)).is_empty());
        let told = awaited.served(Some(7));
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0].0, told[0].1.name), (&key(), RESOLVED));
        assert!(awaited.served(Some(8)).is_empty(), "once");
    }

    #[test]
    fn a_verdict_takes_the_place_of_what_waits_for_it() {
        let mut awaited = Awaited::default();
        awaited.found(7, &key(), vec![condition(RESOLVED, true)]);
        let refused = awaited.found(7, &key(), vec![condition(RESOLVED, false)]);
        assert_eq!(names(&refused), [RESOLVED]);
        assert!(awaited.served(Some(7)).is_empty());
        awaited.found(8, &key(), vec![condition(USABLE, true), condition(RESOLVED, true)]);
        awaited.forget(&key());
        assert!(awaited.served(Some(8)).is_empty());
    }
}

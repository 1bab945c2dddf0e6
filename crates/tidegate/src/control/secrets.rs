//! What is said of Secrets that cannot be used. They have no status: who takes them says so in its own, and events tell
//! whoever looks at the Secret itself.

use std::collections::BTreeSet;

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::Condition;
use tidegate_pilot::status::SecretUse;

/// What events name as true of a Secret, or not.
pub const USABLE: &str = "Usable";
/// The reason where it is not, as in the conditions of those who take it.
const INVALID: &str = "InvalidCertificateRef";
/// The reason where it is not known.
const UNTAKEN: &str = "NotTaken";

/// Secrets that cannot be used as they are.
#[derive(Debug, Default)]
pub struct Unusable(BTreeSet<ObjectKey>);

impl Unusable {
    /// Looks at these Secrets, and at those that could not be used before; whether they can, as `to_takers` tells. Of one
    /// that nobody takes any more that is not known, and it is looked at no more.
    pub fn look(
        &mut self,
        at: impl IntoIterator<Item = ObjectKey>,
        to_takers: impl Fn(&ObjectKey) -> SecretUse,
    ) -> Vec<(ObjectKey, Condition)> {
        let before = std::mem::take(&mut self.0);
        let all: BTreeSet<ObjectKey> = before.into_iter().chain(at).collect();
        let said = all.into_iter().map(|key| {
            let (holds, reason, message) = match to_takers(&key) {
                SecretUse::Nobody => (None, UNTAKEN, String::new()),
                SecretUse::Usable => (Some(true), USABLE, String::new()),
                SecretUse::Unusable(why) => {
                    self.0.insert(key.clone());
                    (Some(false), INVALID, why)
                }
            };
            let reason = reason.to_owned();
            // Secrets have none.
            (key, Condition { name: USABLE, holds, reason, message, generation: 0 })
        });
        said.collect()
    }

    /// An object is gone.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;
    use tokio::time::Instant;

    use super::super::notices::{Notices, SETTLED_AFTER};
    use super::*;

    #[test]
    fn what_could_not_be_used_is_looked_at_until_it_can() {
        let key = |name| ObjectKey::new(Kind::Secret, "istio-system", name);
        let mut unusable = Unusable::default();
        let mut look = |at: Vec<ObjectKey>, broken: &str| {
            let said = unusable.look(at, |key| match &*key.name {
                name if *name == *broken => SecretUse::Unusable("why".to_owned()),
                _ => SecretUse::Usable,
            });
            let said = said.into_iter().map(|(key, c)| (key.name.to_string(), c.holds, c.message));
            said.collect::<Vec<_>>()
        };
        let can = |name: &str| (name.to_owned(), Some(true), String::new());
        let cannot = |name: &str| (name.to_owned(), Some(false), "why".to_owned());
        assert_eq!(look(vec![key("a"), key("b")], "b"), [can("a"), cannot("b")]);
        assert_eq!(look(vec![], "b"), [cannot("b")]);
        assert_eq!(look(vec![key("a")], ""), [can("a"), can("b")]);
        assert_eq!(look(vec![], "b"), []);
        look(vec![key("b")], "b");
        unusable.forget(&key("b"));
        assert_eq!(unusable.look(vec![], |_| SecretUse::Usable), []);
    }

    #[test]
    fn of_what_nobody_takes_any_more_nothing_is_told() {
        let key = ObjectKey::new(Kind::Secret, "istio-system", "a");
        let (mut unusable, mut notices) = (Unusable::default(), Notices::default());
        let start = Instant::now();
        let mut look = |now: Instant, found: &SecretUse| {
            let mut told = notices.settled(now);
            for (key, condition) in unusable.look([key.clone()], |_| found.clone()) {
                told.extend(notices.heard(now, &key, &[condition]));
            }
            told.into_iter().map(|note| note.message).collect::<Vec<_>>()
        };
        let broken = SecretUse::Unusable("why".to_owned());
        look(start, &broken);
        let later = start + SETTLED_AFTER;
        assert_eq!(look(later, &broken), ["why"]);
        assert_eq!(look(later, &SecretUse::Nobody), [""; 0], "it is as broken as before");
        assert_eq!(look(later, &SecretUse::Usable), [""; 0]);
        // Who takes it next is told anew.
        look(later, &broken);
        assert_eq!(look(later + SETTLED_AFTER, &broken), ["why"]);
        assert_eq!(look(later + SETTLED_AFTER, &SecretUse::Usable), ["Usable holds again"]);
    }
}

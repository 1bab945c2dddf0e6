//! What is said of Secrets that cannot be used. They have no status: who takes them says so in its own, and events tell
//! whoever looks at the Secret itself.

use std::collections::BTreeSet;

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::Condition;

/// What events name as true of a Secret, or not.
const USABLE: &str = "Usable";
/// The reason where it is not, as in the conditions of those who take it.
const INVALID: &str = "InvalidCertificateRef";

/// Secrets that cannot be used as they are.
#[derive(Debug, Default)]
pub struct Unusable(BTreeSet<ObjectKey>);

impl Unusable {
    /// Looks at these Secrets, and at those that could not be used before; whether they can, now that `fault` says why not.
    pub fn look(
        &mut self,
        at: impl IntoIterator<Item = ObjectKey>,
        fault: impl Fn(&ObjectKey) -> Option<String>,
    ) -> Vec<(ObjectKey, Condition)> {
        let before = std::mem::take(&mut self.0);
        let all: BTreeSet<ObjectKey> = before.into_iter().chain(at).collect();
        let said = all.into_iter().map(|key| {
            let fault = fault(&key);
            if fault.is_some() {
                self.0.insert(key.clone());
            }
            let reason = if fault.is_some() { INVALID } else { USABLE };
            let condition = Condition {
                name: USABLE,
                holds: Some(fault.is_none()),
                reason: reason.to_owned(),
                message: fault.unwrap_or_default(),
            };
            (key, condition)
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

    use super::*;

    #[test]
    fn what_could_not_be_used_is_looked_at_until_it_can() {
        let key = |name| ObjectKey::new(Kind::Secret, "istio-system", name);
        let mut unusable = Unusable::default();
        let mut look = |at: Vec<ObjectKey>, broken: &str| {
            let said = unusable.look(at, |key| (*key.name == *broken).then(|| "why".to_owned()));
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
        assert_eq!(unusable.look(vec![], |_| None), []);
    }
}

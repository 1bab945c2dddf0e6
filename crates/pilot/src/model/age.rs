//! Who is first when objects conflict.

use std::sync::Arc;

use jiff::Timestamp;
use tidegate_api::Object;

/// Istio's order of conflicting objects: the oldest first, then by name, then by namespace.
///
/// The order of the fields is the rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age {
    created: Timestamp,
    name: Arc<str>,
    namespace: Arc<str>,
}

impl Age {
    /// The place of an object in that order.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        Self {
            created: object.created,
            name: Arc::clone(&object.key.name),
            namespace: Arc::clone(&object.key.namespace),
        }
    }

    /// Why an object comes before another of this place, as in "which is older".
    #[must_use]
    pub fn why_before(&self, other: &Self) -> &'static str {
        if self.created != other.created {
            "is older"
        } else if self.name != other.name {
            "is as old and comes first by its name"
        } else {
            "is as old and comes first by its namespace"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_then_name_then_namespace() {
        let age = |created: i64, name: &str, namespace: &str| Age {
            created: Timestamp::from_second(created).expect("a valid time"),
            name: name.into(),
            namespace: namespace.into(),
        };
        let mut all = [age(2, "a", "a"), age(1, "b", "b"), age(1, "b", "a"), age(1, "a", "z")];
        all.sort();
        let why: Vec<&str> = all.windows(2).map(|pair| pair[0].why_before(&pair[1])).collect();
        let words = [
            "is as old and comes first by its name",
            "is as old and comes first by its namespace",
            "is older",
        ];
        assert_eq!(why, words);
        assert_eq!(all, [age(1, "a", "z"), age(1, "b", "a"), age(1, "b", "b"), age(2, "a", "a")]);
    }
}

//! Field masks: paths of the fields to keep.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Which fields of a message are shown. Unlike protobuf's masks it reaches into lists: what it says of a list
/// it says of each element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// Everything.
    All,
    /// These, each by its own mask.
    Fields(BTreeMap<String, Mask>),
}

/// Deepest path; deeper ones are cut, which shows more, not less.
const DEEPEST: usize = 32;

impl Mask {
    /// Parses paths such as `cluster.name,version_info`. A field that does not exist shows nothing.
    pub(super) fn parse(paths: &str) -> Self {
        let mut mask = Self::Fields(BTreeMap::new());
        for path in paths.split(',') {
            let mut at = &mut mask;
            for name in path.trim().split('.').take(DEEPEST) {
                let Self::Fields(fields) = at else { break };
                at = fields.entry(name.to_owned()).or_insert_with(|| Self::Fields(BTreeMap::new()));
            }
            *at = Self::All;
        }
        mask
    }

    /// The mask of one field; `None` if it is not shown.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::All => Some(Self::All),
            Self::Fields(fields) => fields.get(name).cloned(),
        }
    }

    /// Takes out of `value` what is not shown. `@type` always is.
    pub(super) fn apply(&self, value: &mut Json) {
        let Self::Fields(fields) = self else { return };
        match value {
            Json::Array(elements) => elements.iter_mut().for_each(|element| self.apply(element)),
            Json::Object(object) => {
                object.retain(|key, value| match fields.get(key) {
                    Some(mask) => {
                        mask.apply(value);
                        true
                    }
                    None => key == "@type",
                });
            }
            // A path that goes on where the message ends.
            scalar => *scalar = Json::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_what_is_asked_for() {
        let mut value = json!({
            "@type": "t", "version_info": "1",
            "cluster": {"@type": "c", "name": "a", "type": "EDS", "list": [{"x": 1, "y": 2}]},
        });
        Mask::parse("cluster.name,cluster.list.y,nope.x").apply(&mut value);
        assert_eq!(
            value,
            json!({"@type": "t", "cluster": {"@type": "c", "name": "a", "list": [{"y": 2}]}})
        );
    }

    #[test]
    fn a_whole_covers_its_parts() {
        assert_eq!(Mask::parse("a,a.b"), Mask::parse("a"));
        assert_eq!(Mask::parse("a.b,a").field("a"), Some(Mask::All));
        assert_eq!(Mask::parse("a").field("b"), None);
        let deep = vec!["a"; 10_000].join(".");
        Mask::parse(&deep);
    }
}

//! Which forms of objects have proved good: what serves after a restart where a later form is refused.
//!
//! Pure bookkeeping. A form is good once every worker serves the generation that it was published in, and nothing that it
//! feeds is refused.

use std::collections::HashMap;

use tidegate_api::{Kind, ObjectKey};

/// Forms of which it is not known yet whether they are good.
#[derive(Debug, Default)]
pub struct Confirmed {
    /// The latest form of each object (`metadata.resourceVersion`), and the snapshot generation that it was published in.
    open: HashMap<ObjectKey, (u64, u64)>,
}

impl Confirmed {
    /// Forms were published with a snapshot generation.
    pub fn applied(&mut self, snapshot: u64, forms: impl IntoIterator<Item = (ObjectKey, u64)>) {
        let forms = forms.into_iter().filter(|(key, _)| can_be_refused(key.kind));
        self.open.extend(forms.map(|(key, version)| (key, (snapshot, version))));
    }

    /// An object is gone.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.open.remove(key);
    }

    /// The forms that have proved good, now that `served` is what every worker serves.
    pub fn heard(
        &mut self,
        served: Option<u64>,
        is_refused: impl Fn(&ObjectKey) -> bool,
    ) -> Vec<(ObjectKey, u64)> {
        let Some(served) = served else { return Vec::new() };
        let good = |key: &ObjectKey, snapshot: u64| snapshot <= served && !is_refused(key);
        let proved = self.open.extract_if(|key, (snapshot, _)| good(key, *snapshot));
        proved.map(|(key, (_, version))| (key, version)).collect()
    }
}

/// Whether something is served of objects of a kind that may turn out wrong. Of the others every form is as good as the next.
const fn can_be_refused(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Gateway
            | Kind::VirtualService
            | Kind::ServiceEntry
            | Kind::DestinationRule
            | Kind::WorkloadEntry
            | Kind::AuthorizationPolicy
            | Kind::RequestAuthentication
            | Kind::PeerAuthentication
            | Kind::EnvoyFilter
            | Kind::Secret
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_good_once_it_is_served_and_not_refused() {
        let key = |name| ObjectKey::new(Kind::Secret, "istio-system", name);
        let mut confirmed = Confirmed::default();
        confirmed.applied(1, [(key("a"), 10), (key("b"), 11)]);
        let is_b = |refused: &ObjectKey| *refused == key("b");
        assert_eq!(confirmed.heard(None, is_b), []);
        assert_eq!(confirmed.heard(Some(0), is_b), []);
        assert_eq!(confirmed.heard(Some(1), is_b), [(key("a"), 10)]);
        assert_eq!(confirmed.heard(Some(2), |_| false), [(key("b"), 11)], "not refused any more");
        assert_eq!(confirmed.heard(Some(2), |_| false), []);

        // A form that another one replaces is not confirmed in its place.
        confirmed.applied(3, [(key("a"), 12)]);
        confirmed.applied(4, [(key("a"), 13)]);
        assert_eq!(confirmed.heard(Some(3), |_| false), []);
        confirmed.forget(&key("a"));
        assert_eq!(confirmed.heard(Some(4), |_| false), []);
    }
}

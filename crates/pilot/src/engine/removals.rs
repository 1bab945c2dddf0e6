//! Routes of VirtualServices that EnvoyFilters take away: told to whoever wrote them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use super::{Dirty, Pilot};
use crate::origins::{HostOrigins, Origin, RouteOrigin};

/// Routes that patches have taken away, by object and virtual host.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    of: HashMap<ObjectKey, BTreeMap<Arc<str>, Vec<Removal>>>,
    on: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
}

/// A part of an object whose route is taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Removal {
    place: Origin,
    patch: Origin,
}

impl Removals {
    /// Replaces what is known of a virtual host; answers the objects of which something else is to be said.
    fn set(&mut self, host: &Arc<str>, removed: &[(RouteOrigin, Origin)]) -> BTreeSet<ObjectKey> {
        let mut touched = self.forget(host);
        for (route, patch) in removed {
            for place in route.parts() {
                let removal = Removal { place: place.clone(), patch: patch.clone() };
                let of_key = self.of.entry(place.key.clone()).or_default();
                of_key.entry(Arc::clone(host)).or_default().push(removal);
                self.on.entry(Arc::clone(host)).or_default().insert(place.key.clone());
                touched.insert(place.key.clone());
            }
        }
        touched
    }

    /// Forgets a virtual host; answers the same.
    pub(super) fn forget(&mut self, host: &str) -> BTreeSet<ObjectKey> {
        let touched = self.on.remove(host).unwrap_or_default();
        for key in &touched {
            if let Some(hosts) = self.of.get_mut(key) {
                hosts.remove(host);
                if hosts.is_empty() {
                    self.of.remove(key);
                }
            }
        }
        touched
    }

    /// What is said of an object: who takes which of its routes out of which virtual host.
    pub(crate) fn of(&self, key: &ObjectKey) -> Vec<String> {
        let mut told: BTreeMap<(&str, &Origin), Vec<&str>> = BTreeMap::new();
        for (host, removals) in self.of.get(key).into_iter().flatten() {
            for removal in removals {
                let places = told.entry((&**host, &removal.patch)).or_default();
                let place = removal.place.path.trim_start_matches("spec.");
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        let told = told.into_iter();
        told.map(|((host, patch), places)| {
            format!("{}: {} from {host}", places.join(", "), removed_by(patch))
        })
        .collect()
    }
}

/// `EnvoyFilter NAMESPACE/NAME configPatches[0] removes it`.
pub(super) fn removed_by(patch: &Origin) -> String {
    format!("{} {} removes it", patch.key, patch.path.trim_start_matches("spec."))
}

impl Pilot {
    /// Notes what patches have taken out of a virtual host; answers the objects of which nothing is left there.
    pub(super) fn note_removed(
        &mut self,
        table: &str,
        host: &str,
        dirty: &mut Dirty,
    ) -> BTreeSet<ObjectKey> {
        let name: Arc<str> = virtual_host_name(table, host).into();
        let removes =
            self.patches.removes(&(ResourceType::VirtualHost, Arc::clone(&name)), &self.filters);
        let origins = if removes { self.host_origins(table, host) } else { None };
        let HostOrigins { routes, removed, .. } = origins.unwrap_or_default();
        dirty.status.extend(self.patches.removals.set(&name, &removed));
        let keys = |route: &RouteOrigin| -> Vec<ObjectKey> {
            route.parts().map(|part| part.key.clone()).collect()
        };
        let kept: BTreeSet<ObjectKey> = routes.iter().flatten().flat_map(keys).collect();
        let gone = removed.iter().flat_map(|(route, _)| keys(route));
        gone.filter(|key| !kept.contains(key)).collect()
    }

    /// The routes of an object that EnvoyFilters take away, each with where it stands, and who does so, in words.
    #[must_use]
    pub fn removed(&self, key: &ObjectKey) -> Vec<(Origin, String)> {
        let hosts = self.patches.removals.of.get(key).into_iter().flatten();
        let told = |host: &str, removal: &Removal| {
            (removal.place.clone(), format!("{} from {host}", removed_by(&removal.patch)))
        };
        hosts.flat_map(|(host, all)| all.iter().map(move |one| told(host, one))).collect()
    }
}

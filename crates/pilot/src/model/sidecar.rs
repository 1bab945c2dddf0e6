//! Sidecar resources: which one says what the proxy beside a workload sees.
//!
//! One counts alone: of those of the workload's namespace the oldest that selects it by labels, else the oldest that selects
//! every workload; else, of the root namespace, the oldest that selects every workload of the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_api::istio;
use tidegate_api::istio::sidecar::OutboundTrafficMode;
use tidegate_api::{Object, ObjectKey};

use super::age::Age;
use super::names;
use crate::{Options, OutboundPolicy};

/// All Sidecars that may be about the workload.
#[derive(Debug)]
pub struct Sidecars {
    all: BTreeMap<ObjectKey, Candidate>,
    /// What the mesh does with what nothing describes.
    mesh_policy: OutboundPolicy,
}

#[derive(Debug)]
struct Candidate {
    reach: Reach,
    age: Age,
    spec: Arc<istio::Sidecar>,
}

/// How far a Sidecar reaches, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Workload,
    Namespace,
    Mesh,
}

impl Reach {
    /// `None` where it reaches past the workload.
    fn of(namespace: &str, spec: &istio::Sidecar, options: &Options) -> Option<Self> {
        match &spec.workload_selector {
            Some(selector) if namespace == options.namespace => {
                options.carries(&selector.labels).then_some(Self::Workload)
            }
            None if namespace == options.namespace => Some(Self::Namespace),
            None if namespace == options.root_namespace => Some(Self::Mesh),
            // In the root namespace those for single workloads are about its own only, as in Istio.
            _ => None,
        }
    }
}

impl Sidecars {
    /// None yet, in a mesh that does this with what nothing describes.
    #[must_use]
    pub fn new(mesh_policy: OutboundPolicy) -> Self {
        Self { all: BTreeMap::new(), mesh_policy }
    }

    /// Replaces one.
    pub fn set(&mut self, object: &Object, spec: &istio::Sidecar, options: &Options) {
        match Reach::of(object.namespace(), spec, options) {
            Some(reach) => {
                let spec = Arc::new(spec.clone());
                let candidate = Candidate { reach, age: Age::of(object), spec };
                self.all.insert(object.key.clone(), candidate);
            }
            None => self.remove(&object.key),
        }
    }

    /// Forgets one.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.all.remove(key);
    }

    /// The one that counts.
    #[must_use]
    pub fn chosen(&self) -> Option<(&ObjectKey, &Arc<istio::Sidecar>)> {
        let narrowest = self.all.iter().min_by_key(|(_, found)| (found.reach, &found.age));
        narrowest.map(|(key, found)| (key, &found.spec))
    }

    /// What is done with what nothing describes, and the cluster that it is sent through, if any.
    #[must_use]
    pub fn outbound(&self, domain: &str) -> (OutboundPolicy, Option<Arc<str>>) {
        let chosen = self.chosen();
        let chosen =
            chosen.and_then(|(key, spec)| Some((key, spec.outbound_traffic_policy.as_ref()?)));
        let Some((key, policy)) = chosen else { return (self.mesh_policy, None) };
        if policy.mode == OutboundTrafficMode::RegistryOnly {
            return (OutboundPolicy::RegistryOnly, None);
        }
        let cluster = policy.egress_proxy.as_ref().and_then(|proxy| {
            let host = names::full_host(&proxy.host, &key.namespace, domain);
            let port = proxy.port_number()?.get();
            Some(names::cluster(&host, &proxy.subset, port).into())
        });
        (OutboundPolicy::AllowAny, cluster)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_api::{Kind, Origin, Spec};

    use super::*;

    fn object(namespace: &str, name: &str, year: u16, labels: Option<&Value>) -> Object {
        let manifest = json!({
            "metadata": {
                "namespace": namespace, "name": name,
                "creationTimestamp": format!("{year}-01-01T00:00:00Z"),
            },
            "spec": {
                "workloadSelector": labels.map(|labels| json!({"labels": labels})),
                "egress": [{"hosts": ["*/*"]}],
            },
        });
        Object::examine(Kind::Sidecar, "v1", &manifest, Origin::Api).object.expect("a Sidecar")
    }

    #[test]
    fn the_narrowest_and_then_the_oldest_counts() {
        let labels = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
        let options = Options { labels, namespace: "own".to_owned(), ..Options::default() };
        let (a, b) = (json!({"app": "a"}), json!({"app": "b"}));
        let mut sidecars = Sidecars::new(OutboundPolicy::RegistryOnly);
        for (object, counts) in [
            (object("other", "other", 2000, None), None),
            (object("istio-system", "selects", 2000, Some(&a)), None),
            (object("istio-system", "mesh", 2010, None), Some("mesh")),
            (object("own", "young", 2020, None), Some("young")),
            (object("own", "old", 2015, None), Some("old")),
            (object("own", "else", 2000, Some(&b)), Some("old")),
            (object("own", "mine", 2021, Some(&a)), Some("mine")),
            (object("own", "mine-too", 2022, Some(&a)), Some("mine")),
        ] {
            let Spec::Sidecar(spec) = &object.spec else { panic!("{object:?}") };
            sidecars.set(&object, spec, &options);
            assert_eq!(sidecars.chosen().map(|(key, _)| &*key.name), counts);
        }
        let mine = sidecars.chosen().expect("one").0.clone();
        sidecars.remove(&mine);
        assert_eq!(sidecars.chosen().map(|(key, _)| &*key.name), Some("mine-too"));
    }
}

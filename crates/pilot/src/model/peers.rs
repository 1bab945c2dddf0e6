//! PeerAuthentications: which TLS a workload takes from the others of its mesh.
//!
//! The narrowest policy counts: of a port, of the workload, of its namespace, of the mesh; of several that reach as far, the
//! oldest. What one leaves open (`UNSET`) is as the next wider says, and PERMISSIVE where none says anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::istio::PeerAuthentication;
use tidegate_api::istio::peer_authentication::{MutualTls, MutualTlsMode};
use tidegate_api::{Object, ObjectKey};

use super::age::Age;
use crate::Options;

/// A PeerAuthentication.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerPolicy {
    /// The object.
    pub key: ObjectKey,
    age: Age,
    spec: Arc<PeerAuthentication>,
    reach: Option<Reach>,
}

/// How far a policy that holds for the workload reaches, the widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Mesh,
    Namespace,
    Workload,
}

/// What is taken from peers, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Which TLS; never `UNSET`.
    pub mode: MutualTlsMode,
    /// The field that says so; nothing where no policy says anything.
    pub by: Option<(ObjectKey, String)>,
}

/// What is taken from peers at each port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    all: Mode,
    ports: BTreeMap<u16, Mode>,
}

impl PeerPolicy {
    /// An object, as far as it holds for the workload.
    #[must_use]
    pub fn new(object: &Object, spec: &PeerAuthentication, options: &Options) -> Self {
        let labels = spec.selector.as_ref().map(|selector| &selector.match_labels);
        let labels = labels.filter(|labels| !labels.is_empty());
        Self {
            key: object.key.clone(),
            age: Age::of(object),
            spec: Arc::new(spec.clone()),
            reach: Reach::of(object.namespace(), labels, options),
        }
    }
}

impl Reach {
    fn of(
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
        options: &Options,
    ) -> Option<Self> {
        match labels {
            None if namespace == options.root_namespace => Some(Self::Mesh),
            None if namespace == options.namespace => Some(Self::Namespace),
            // In the root namespace those for single workloads hold for none, as in Istio.
            Some(labels)
                if namespace == options.namespace
                    && namespace != options.root_namespace
                    && options.carries(labels) =>
            {
                Some(Self::Workload)
            }
            _ => None,
        }
    }
}

/// All PeerAuthentications.
#[derive(Debug, Default)]
pub struct PeerPolicies {
    all: BTreeMap<ObjectKey, PeerPolicy>,
    /// Those that may hold for the workload, and of which there never was a form that could be read.
    unreadable: BTreeSet<ObjectKey>,
}

impl PeerPolicies {
    /// Replaces one; `None`: it is gone.
    pub fn set(&mut self, key: &ObjectKey, policy: Option<PeerPolicy>) {
        self.unreadable.remove(key);
        match policy {
            Some(policy) => self.all.insert(key.clone(), policy),
            None => self.all.remove(key),
        };
    }

    /// Notes that the newest form of one cannot be read but for its selector; one that had a good form keeps it.
    pub fn set_unreadable(
        &mut self,
        key: &ObjectKey,
        labels: Option<&BTreeMap<String, String>>,
        options: &Options,
    ) {
        let labels = labels.filter(|labels| !labels.is_empty());
        let reach = Reach::of(&key.namespace, labels, options);
        if reach.is_some() && !self.all.contains_key(key) {
            self.unreadable.insert(key.clone());
        } else {
            self.unreadable.remove(key);
        }
    }

    /// What is taken at each port. Where a policy cannot be read, only what every policy would take: mutual TLS.
    #[must_use]
    pub fn modes(&self) -> Modes {
        if let Some(key) = self.unreadable.first() {
            let by = Some((key.clone(), "spec".to_owned()));
            let all = Mode { mode: MutualTlsMode::Strict, by };
            return Modes { all, ports: BTreeMap::new() };
        }
        let mut modes = Modes::default();
        let mut oldest: BTreeMap<Reach, &PeerPolicy> = BTreeMap::new();
        for policy in self.all.values() {
            let Some(reach) = policy.reach else { continue };
            let before = oldest.entry(reach).or_insert(policy);
            if policy.age < before.age {
                *before = policy;
            }
        }
        for (reach, policy) in oldest {
            if let Some(mode) = set(policy.spec.mtls) {
                modes.all = policy.says(mode, "mtls.mode");
            }
            let ports = policy.spec.port_level_mtls.iter().flatten();
            for (port, mtls) in ports.filter(|_| reach == Reach::Workload) {
                // Validation has seen to it that they are ports.
                let Ok(number) = port.parse() else { continue };
                let path = format!("portLevelMtls[{port}].mode");
                let own = set(Some(*mtls)).map(|mode| policy.says(mode, &path));
                modes.ports.insert(number, own.unwrap_or_else(|| modes.all.clone()));
            }
        }
        modes
    }
}

impl PeerPolicy {
    fn says(&self, mode: MutualTlsMode, path: &str) -> Mode {
        Mode { mode, by: Some((self.key.clone(), format!("spec.{path}"))) }
    }
}

fn set(mtls: Option<MutualTls>) -> Option<MutualTlsMode> {
    mtls.map(|mtls| mtls.mode).filter(|mode| *mode != MutualTlsMode::Unset)
}

impl Default for Modes {
    fn default() -> Self {
        Self { all: Mode { mode: MutualTlsMode::Permissive, by: None }, ports: BTreeMap::new() }
    }
}

impl Modes {
    /// What is taken at a port.
    #[must_use]
    pub fn at(&self, port: u16) -> &Mode {
        self.ports.get(&port).unwrap_or(&self.all)
    }

    /// What is taken where nothing is said of a port.
    #[must_use]
    pub const fn elsewhere(&self) -> &Mode {
        &self.all
    }

    /// The ports of which something is said.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_api::{Kind, Origin, Spec};

    use super::*;

    fn policy(namespace: &str, name: &str, created: i64, spec: &Value) -> PeerPolicy {
        let created = format!("2024-01-01T00:00:{created:02}Z");
        let manifest = json!({
            "kind": "PeerAuthentication",
            "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created},
            "spec": spec,
        });
        let object = Object::decode(Kind::PeerAuthentication, "v1", &manifest, Origin::Api);
        let object = object.expect("a good object").object;
        let Spec::PeerAuthentication(spec) = &object.spec else { panic!("{object:?}") };
        PeerPolicy::new(&object, spec, &options())
    }

    fn options() -> Options {
        Options {
            namespace: "own".to_owned(),
            labels: [("app".to_owned(), "a".to_owned())].into(),
            ..Options::default()
        }
    }

    fn modes(policies: Vec<PeerPolicy>) -> Modes {
        let mut all = PeerPolicies::default();
        policies.into_iter().for_each(|policy| all.set(&policy.key.clone(), Some(policy)));
        all.modes()
    }

    fn mtls(mode: &str) -> Value {
        json!({"mtls": {"mode": mode}})
    }

    fn of_app(app: &str, mode: &str, ports: &Value) -> Value {
        json!({
            "selector": {"matchLabels": {"app": app}},
            "mtls": {"mode": mode},
            "portLevelMtls": ports,
        })
    }

    #[test]
    fn the_narrowest_policy_counts_and_passes_on_what_it_leaves_open() {
        use MutualTlsMode::{Disable, Permissive, Strict};
        assert_eq!(modes(Vec::new()).at(80).mode, Permissive);
        let mesh = || policy("istio-system", "mesh", 0, &mtls("STRICT"));
        let namespace = |mode: &str| policy("own", "namespace", 0, &mtls(mode));
        assert_eq!(modes(vec![mesh()]).at(80).mode, Strict);
        assert_eq!(modes(vec![mesh(), namespace("DISABLE")]).at(80).mode, Disable);
        let open = modes(vec![mesh(), namespace("UNSET")]);
        let by = open.at(80).by.as_ref().map(|(key, path)| (&*key.name, path.as_str()));
        assert_eq!((open.at(80).mode, by), (Strict, Some(("mesh", "spec.mtls.mode"))));

        let ports = json!({"80": {"mode": "PERMISSIVE"}, "81": {"mode": "UNSET"}});
        let own = modes(vec![mesh(), policy("own", "own", 0, &of_app("a", "DISABLE", &ports))]);
        let found = [80, 81, 82].map(|port| own.at(port).mode);
        assert_eq!(found, [Permissive, Disable, Disable]);
        assert_eq!(own.ports().collect::<Vec<_>>(), [80, 81]);
        let path = own.at(80).by.as_ref().map(|(_, path)| path.as_str());
        assert_eq!(path, Some("spec.portLevelMtls[80].mode"));
    }

    #[test]
    fn the_oldest_of_those_that_reach_as_far_counts() {
        let all = vec![
            policy("own", "a", 2, &mtls("DISABLE")),
            policy("own", "b", 1, &mtls("STRICT")),
            policy("other", "c", 0, &mtls("DISABLE")),
            policy("own", "d", 0, &of_app("z", "DISABLE", &json!({"1": {}}))),
            policy("istio-system", "e", 0, &of_app("a", "DISABLE", &json!({"1": {}}))),
        ];
        let modes = modes(all);
        assert_eq!(modes.elsewhere().mode, MutualTlsMode::Strict);
        assert_eq!(modes.ports().count(), 0);
    }

    /// What a policy asks for that nobody can read is not known: nothing may be weaker than that.
    #[test]
    fn what_cannot_be_read_leaves_mutual_tls_alone() {
        let mut all = PeerPolicies::default();
        let key = |namespace: &str| ObjectKey::new(Kind::PeerAuthentication, namespace, "p");
        let labels = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned())]);
        all.set_unreadable(&key("other"), None, &options());
        all.set_unreadable(&key("own"), Some(&labels("z")), &options());
        assert_eq!(all.modes(), Modes::default());
        all.set_unreadable(&key("own"), Some(&labels("a")), &options());
        assert_eq!(all.modes().at(80).mode, MutualTlsMode::Strict);
        let good = policy("own", "p", 0, &of_app("a", "DISABLE", &json!({"80": {}})));
        all.set(&key("own"), Some(good));
        all.set_unreadable(&key("own"), Some(&labels("a")), &options());
        assert_eq!(all.modes().at(80).mode, MutualTlsMode::Disable, "its last good form holds");
        all.set(&key("own"), None);
        assert_eq!(all.modes(), Modes::default());
    }
}

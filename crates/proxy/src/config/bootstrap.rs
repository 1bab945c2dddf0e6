//! A static configuration file: Envoy's bootstrap, as far as the capability table supports it.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tidegate_envoy::capability::{self, Finding};
use tidegate_envoy::json::{self, JsonError};
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::bootstrap::Bootstrap as ProtoBootstrap;
use tidegate_xds::{Rejection, Resource, ResourceType, Update};

use super::compile;
use super::refusal::{Refusal, Within};
use super::targets;

/// A bootstrap, ready to be applied.
#[derive(Debug)]
pub struct Bootstrap {
    /// `node.id`; may be empty.
    pub node_id: String,
    /// `node.cluster`; may be empty.
    pub node_cluster: String,
    /// Where admin listens; `None` when it does not.
    pub admin: Option<SocketAddr>,
    /// The resources, as one update of generation 1.
    pub update: Update,
    /// Fields that have no effect here, and why.
    pub notices: Vec<Finding>,
    /// The bootstrap as it was understood, for `/config_dump`.
    pub bytes: Vec<u8>,
    /// Where each resource stands in the file.
    places: HashMap<(ResourceType, Arc<str>), String>,
}

/// Why a bootstrap was refused: every field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapError {
    /// The fields at fault, with paths from the top of the file.
    pub refusals: Vec<Refusal>,
    /// Whether they ask for what this proxy does not do, and are not wrong in themselves.
    pub unsupported: bool,
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.refusals.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{refusal}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BootstrapError {}

impl From<Refusal> for BootstrapError {
    fn from(refusal: Refusal) -> Self {
        Self { refusals: vec![refusal], unsupported: false }
    }
}

impl From<JsonError> for BootstrapError {
    fn from(error: JsonError) -> Self {
        Refusal { path: error.path, reason: error.reason }.into()
    }
}

impl Bootstrap {
    /// Reads a bootstrap from JSON, or from YAML that was turned into it.
    ///
    /// # Errors
    /// A field is unknown, has a wrong type or is not supported. What resources hold is judged further when
    /// they are applied; see [`Bootstrap::place`] for refusals that come then.
    pub fn load(value: &Value) -> Result<Self, BootstrapError> {
        let mut proto: ProtoBootstrap = json::from_json(value)?;
        let bytes = proto.encode_to_vec();
        let report = capability::check_bytes(&<ProtoBootstrap as prost::Name>::full_name(), &bytes)
            .map_err(Refusal::new)?;
        if !report.refusals.is_empty() {
            let refusal = |finding: Finding| Refusal { path: finding.path, reason: finding.reason };
            return Err(BootstrapError {
                refusals: report.refusals.into_iter().map(refusal).collect(),
                unsupported: true,
            });
        }
        let missing = proto.static_resources.as_ref().map(targets::missing).unwrap_or_default();
        if !missing.is_empty() {
            return Err(BootstrapError { refusals: missing, unsupported: false });
        }
        let admin = proto.admin.as_ref().and_then(|admin| admin.address.as_ref());
        let admin = admin.map(compile::socket_address).transpose();
        let admin = admin.within("address").within("admin")?;
        let node = proto.node.take().unwrap_or_default();
        let mut bootstrap = Self {
            node_id: node.id,
            node_cluster: node.cluster,
            admin,
            update: Update { generation: 1, ..Update::default() },
            notices: report.notices,
            bytes,
            places: HashMap::new(),
        };
        bootstrap.take_resources(proto)?;
        Ok(bootstrap)
    }

    fn take_resources(&mut self, mut proto: ProtoBootstrap) -> Result<(), Refusal> {
        let resources = proto.static_resources.take().unwrap_or_default();
        for (index, cluster) in resources.clusters.iter().enumerate() {
            let place = format!("static_resources.clusters[{index}]");
            self.add(ResourceType::Cluster, &cluster.name, cluster, place)?;
        }
        for (index, secret) in resources.secrets.iter().enumerate() {
            let place = format!("static_resources.secrets[{index}]");
            self.add(ResourceType::Secret, &secret.name, secret, place)?;
        }
        for (index, mut listener) in resources.listeners.into_iter().enumerate() {
            if listener.name.is_empty() {
                // Envoy makes up a name, too.
                listener.name = format!("listener_{index}");
            }
            let place = format!("static_resources.listeners[{index}]");
            self.add(ResourceType::Listener, &listener.name, &listener, place)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        kind: ResourceType,
        name: &str,
        message: &impl Message,
        place: String,
    ) -> Result<(), Refusal> {
        let resource = Resource::encode(kind, name, message);
        let key = (kind, Arc::clone(&resource.name));
        if let Some(other) = self.places.get(&key) {
            return Err(Refusal::of(
                &format!("{place}.name"),
                format_args!("{other} has the name {name:?}"),
            ));
        }
        self.places.insert(key, place);
        self.update.upsert.push(Arc::new(resource));
        Ok(())
    }

    /// Whether a refusal is one of the file's own resources.
    #[must_use]
    pub fn has(&self, rejection: &Rejection) -> bool {
        self.places.contains_key(&(rejection.kind, Arc::clone(&rejection.name)))
    }

    /// A refusal of one of the resources, with its path from the top of the file.
    #[must_use]
    pub fn place(&self, rejection: &Rejection) -> Refusal {
        let refusal = Refusal { path: rejection.path.clone(), reason: rejection.reason.clone() };
        match self.places.get(&(rejection.kind, Arc::clone(&rejection.name))) {
            Some(place) => refusal.within(place),
            None => refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::Applier;
    use crate::config::testing::with;

    use super::*;

    fn address(port: u16) -> Value {
        json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
    }

    fn cluster(name: &str) -> Value {
        json!({"name": name, "load_assignment": {"cluster_name": name}})
    }

    fn listener(more: &Value) -> Value {
        let config = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "s", "cluster": "c",
        });
        let chain = json!({"filters": [{"name": "tcp", "typed_config": config}]});
        with(&json!({"address": address(0), "filter_chains": [chain]}), more)
    }

    fn refused(bootstrap: &Value) -> Vec<String> {
        let error = Bootstrap::load(bootstrap).map(|_| ()).expect_err("refused");
        error.refusals.into_iter().map(|refusal| refusal.path).collect()
    }

    #[test]
    fn resources_admin_and_node() {
        let bootstrap = Bootstrap::load(&json!({
            "node": {"id": "n", "cluster": "k"},
            "admin": {"address": address(9901), "access_log_path": "/dev/null"},
            "static_resources": {
                "clusters": [cluster("c")],
                "listeners": [listener(&json!({"name": "l"})), listener(&json!({}))],
            },
        }))
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((&*bootstrap.node_id, &*bootstrap.node_cluster), ("n", "k"));
        assert_eq!(bootstrap.admin, Some(([127, 0, 0, 1], 9901).into()));
        let names: Vec<_> =
            bootstrap.update.upsert.iter().map(|resource| &*resource.name).collect();
        assert_eq!(names, ["c", "l", "listener_1"]);
        assert_eq!(bootstrap.notices[0].path, "admin.access_log_path");
        let applied = Applier::new(None).apply(&bootstrap.update);
        assert_eq!((applied.rejected, applied.config.listeners.len()), (vec![], 2));
        assert!(Bootstrap::load(&json!({})).is_ok_and(|empty| empty.update.upsert.is_empty()));
    }

    #[test]
    fn faults_are_named_from_the_top_of_the_file() {
        let resources = |clusters: Value| json!({"static_resources": {"clusters": clusters}});
        let cases = [
            (json!({"nonsense": 1}), "nonsense"),
            (resources(json!([{"nam": "c"}])), "static_resources.clusters[0].nam"),
            (json!({"dynamic_resources": {}}), "dynamic_resources"),
            (
                resources(json!([with(&cluster("c"), &json!({"health_checks": [{}]}))])),
                "static_resources.clusters[0].health_checks",
            ),
            (resources(json!([cluster("c"), cluster("c")])), "static_resources.clusters[1].name"),
            (
                json!({"admin": {"address": {"socket_address": {"address": "x", "port_value": 1}}}}),
                "admin.address.socket_address.address",
            ),
        ];
        for (bootstrap, expected) in cases {
            let paths = refused(&bootstrap);
            assert!(paths[0].starts_with(expected), "{paths:?} for {bootstrap}");
        }
    }

    #[test]
    fn a_refusal_of_a_resource_gets_its_place() {
        let bootstrap = Bootstrap::load(&json!({"static_resources": {
            "clusters": [cluster("a"), with(&cluster("b"), &json!({"connect_timeout": "0s"}))],
        }}))
        .unwrap_or_else(|error| panic!("{error}"));
        let applied = Applier::new(None).apply(&bootstrap.update);
        let places: Vec<_> =
            applied.rejected.iter().map(|each| bootstrap.place(each).to_string()).collect();
        assert_eq!(
            places,
            ["static_resources.clusters[1].connect_timeout: the duration must be at least 1 ms"]
        );
    }
}

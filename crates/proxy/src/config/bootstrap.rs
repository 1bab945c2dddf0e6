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
        Self { refusals: vec![refusal] }
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
            });
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

//! What the admin interface tells of a gateway: the bootstrap that an Envoy in its place would have.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use serde_json::{Value, json};
use tidegate_envoy::json::JsonError;
use tidegate_proxy::view::About;

use super::gateway::Facts;
use crate::about::of_node;

/// What is told of the gateway, whose admin interface is at `admin`.
///
/// # Errors
/// The facts are none that an Envoy could be told: a mistake here.
pub fn about(facts: &Facts, workers: NonZeroUsize, admin: SocketAddr) -> Result<About, JsonError> {
    of_node(node(facts), workers, admin)
}

/// `envoy.config.core.v3.Node` in Istio's form: `router~ADDRESS~POD.NAMESPACE~DOMAIN`.
fn node(facts: &Facts) -> Value {
    let (name, namespace) = (facts.name(), &facts.namespace);
    json!({
        "id": format!(
            "router~{}~{name}.{namespace}~{namespace}.svc.cluster.local",
            facts.address
        ),
        "cluster": format!("{name}.{namespace}"),
        "metadata": {"NAME": name, "NAMESPACE": namespace, "LABELS": facts.labels()},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidegate_envoy::prost::Message;
    use tidegate_envoy::v3::bootstrap::Bootstrap;

    use super::*;

    #[test]
    fn the_bootstrap_names_the_gateway_and_its_admin_interface() {
        let facts = Facts {
            labels: crate::cli::Labels(BTreeMap::from([("istio".to_owned(), "edge".to_owned())])),
            namespace: "istio-system".to_owned(),
            mesh: String::new(),
            address: [192, 0, 2, 1].into(),
            listen: [192, 0, 2, 1].into(),
            health_port: 15021,
            admin: ([127, 0, 0, 1], 15000).into(),
            ports: BTreeMap::new(),
            ready: false,
            started: jiff::Timestamp::UNIX_EPOCH,
            turned: jiff::Timestamp::UNIX_EPOCH,
        };
        let about = about(&facts, NonZeroUsize::MIN, facts.admin).expect("what Envoy can be told");
        let bootstrap = Bootstrap::decode(about.bootstrap).expect("a bootstrap");
        let node = bootstrap.node.expect("a node");
        assert_eq!(
            node.id,
            "router~192.0.2.1~istio-edge.istio-system~istio-system.svc.cluster.local"
        );
        assert_eq!(node.cluster, "istio-edge.istio-system");
        assert_eq!(about.node["metadata"]["LABELS"]["app"], "istio-edge");
        assert!(bootstrap.admin.is_some_and(|admin| admin.address.is_some()));
    }
}

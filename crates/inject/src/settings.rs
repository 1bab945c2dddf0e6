//! What a sidecar is like where its workload says nothing.

use serde_json::{Map, Value};
use tidegate_capture::{Options, Ports, Ranges};

/// Settings of an installation. The defaults are Istio's, and for its image; [`Settings::own`] has those for ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The image of the sidecar. It is started with the arguments of Istio's.
    pub image: String,
    /// The image that redirects connections before the workload starts; the sidecar's if there is no other.
    pub init_image: Option<String>,
    /// When images are pulled, as Kubernetes says it: `Always`, `IfNotPresent`, `Never`.
    pub pull_policy: Option<String>,
    /// Which connections are led to the sidecar. Ports of the sidecar itself are excepted in any case.
    pub capture: Options,
    /// The port that tells how workload and sidecar are; 0 for none.
    pub status_port: u16,
    /// How the sidecar is asked whether it is ready.
    pub readiness: Readiness,
    /// Whether the sidecar is an init container that goes on (Kubernetes 1.29 and later), or a container beside the others.
    pub native: bool,
    /// Whether probes of the workload go through the sidecar, which strangers' requests may not reach otherwise.
    pub rewrites_probes: bool,
    /// Whether the sidecar is asked for the workload's metrics, too.
    pub merges_metrics: bool,
    /// The revision of the control plane.
    pub revision: Option<String>,
    /// The domain of the cluster.
    pub domain: String,
    /// Istio's `ProxyConfig` of the mesh (`defaultConfig` in its `MeshConfig`).
    pub proxy_config: Map<String, Value>,
}

/// How a sidecar is asked whether it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Seconds before the first time.
    pub initial_delay: u32,
    /// Seconds between two times.
    pub period: u32,
    /// How many failures in a row make it not ready.
    pub failure_threshold: u32,
}

/// Istio's image: it is what the arguments of the containers are written for.
const IMAGE: &str = "docker.io/istio/proxyv2:1.27.0";

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: IMAGE.to_owned(),
            init_image: None,
            pull_policy: None,
            capture: Options { outbound: Ranges::All, inbound: Ports::All, ..Options::default() },
            status_port: 15020,
            readiness: Readiness { initial_delay: 0, period: 15, failure_threshold: 4 },
            native: true,
            rewrites_probes: true,
            merges_metrics: true,
            revision: None,
            domain: "cluster.local".to_owned(),
            proxy_config: Map::new(),
        }
    }
}

/// Tidegate's own image, which takes the same arguments.
const OWN_IMAGE: &str = concat!("tidegate-sidecar:", env!("CARGO_PKG_VERSION"));

impl Settings {
    /// Settings for Tidegate's own image.
    #[must_use]
    pub fn own() -> Self {
        Self { image: OWN_IMAGE.to_owned(), ..Self::default() }
    }

    /// The revision, by Istio's name for there being none.
    pub(crate) fn revision(&self) -> &str {
        self.revision.as_deref().filter(|revision| !revision.is_empty()).unwrap_or("default")
    }
}

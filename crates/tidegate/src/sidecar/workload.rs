//! The workload that a sidecar is for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tidegate_api::validation::names;
use tidegate_pilot::ProxyKind;

use super::unspecified;
use crate::cli::ProxyFlags;
use crate::data_plane;

/// What is known of a workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name: that of its Pod, where it has one.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its service account.
    pub service_account: String,
    /// Its addresses; at least one.
    pub addresses: Vec<IpAddr>,
}

impl Workload {
    /// What flags say, of a workload with these addresses. It has another name where they say none.
    pub fn new(flags: &ProxyFlags, name: &str, addresses: Vec<IpAddr>) -> Self {
        let fits = names::dns_subdomain(name).is_ok();
        let other = || if fits { name.to_owned() } else { "workload".to_owned() };
        Self {
            namespace: flags.namespace.clone(),
            name: flags.pod.clone().unwrap_or_else(other),
            labels: flags.labels.clone().map(|labels| labels.0).unwrap_or_default(),
            service_account: flags.service_account.clone(),
            addresses,
        }
    }

    /// A port of every address of the family that the workload has first.
    pub fn any(&self, port: u16) -> SocketAddr {
        SocketAddr::new(unspecified(self.first()), port)
    }

    fn first(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// What pilot is told of it.
    pub fn pilot_options(&self) -> tidegate_pilot::Options {
        let mut options = tidegate_pilot::Options {
            namespace: self.namespace.clone(),
            system_roots: data_plane::system_roots(),
            judge: tidegate_pilot::Judge(tidegate_proxy::config::would_take),
            ..tidegate_pilot::Options::default()
        };
        self.describe_to(&mut options);
        options
    }

    /// Has pilot know the workload as it is now.
    pub fn describe_to(&self, options: &mut tidegate_pilot::Options) {
        let workload = tidegate_pilot::Workload { addresses: self.addresses.clone() };
        options.proxy = ProxyKind::Sidecar(workload);
        options.labels.clone_from(&self.labels);
    }

    /// `envoy.config.core.v3.Node` in Istio's form: `sidecar~ADDRESS~POD.NAMESPACE~DOMAIN`.
    pub fn node(&self) -> Value {
        let Self { namespace, name, labels, service_account, addresses } = self;
        let app = labels.get("app").unwrap_or(name);
        json!({
            "id": format!("sidecar~{}~{name}.{namespace}~{namespace}.svc.cluster.local", self.first()),
            "cluster": format!("{app}.{namespace}"),
            "metadata": {
                "NAME": name,
                "NAMESPACE": namespace,
                "LABELS": labels,
                "SERVICE_ACCOUNT": service_account,
                "INSTANCE_IPS": addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            },
        })
    }
}

/// As messages have it: `default/sleep (10.0.0.2)`.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "{}/{} ({})", self.namespace, self.name, addresses.join(", "))
    }
}

//! Which process is asked: the one that the kubeconfig leads to says where its admin interface listens.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tidegate_apiserver::rest::ADMIN_ANNOTATION;
use tidegate_apiserver::store::is_own;
use tokio::time::timeout;

use crate::api::{self, Access};
use crate::failure::{Failure, Outcome};
use crate::up::gateway::NAMESPACE;

/// Where admin interfaces listen unless they are told otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// A process that serves answers in no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway by the name of its Pod, which is that of its Deployment, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    name: String,
    namespace: Option<String>,
}

impl Name {
    /// The same in a namespace, if one is given.
    #[must_use]
    pub fn within(self, namespace: Option<String>) -> Self {
        Self { namespace: namespace.or(self.namespace), ..self }
    }

    fn is(&self, gateway: &Gateway) -> bool {
        let namespace = self.namespace.as_deref().unwrap_or(NAMESPACE);
        gateway.name == self.name && gateway.namespace == namespace
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
        let (name, namespace) = match (kind, name.split_once('.')) {
            ("pod" | "pods" | "po", Some((name, namespace))) => (name, Some(namespace.to_owned())),
            ("pod" | "pods" | "po" | "deploy" | "deployment" | "deployments", _) => (name, None),
            _ => return Err("a gateway is deploy/NAME, POD or POD.NAMESPACE".to_owned()),
        };
        Ok(Self { name: name.to_owned(), namespace })
    }
}

/// The admin interface of the process whose API a kubeconfig names. A kubeconfig that nobody named counts only while its
/// process answers, unless a gateway is asked for by name: any proxy may have the usual address.
///
/// # Errors
/// The API does not answer, or shows no gateway that says so.
pub fn admin(given: Option<&Path>, named: Option<&Name>) -> Outcome<SocketAddr> {
    let ask = |path: &Path| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let asked = runtime.block_on(async { timeout(PATIENCE, told(path, named)).await });
        asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    };
    if let Some(path) = api::named_kubeconfig(given) {
        return ask(&path).map_err(|reason| {
            Failure::new(format!("the process of {}: {reason}", path.display()))
                .or(format!("--admin {USUAL}, or where its admin interface listens"))
        });
    }
    let usual = api::usual_kubeconfig().filter(|path| path.is_file());
    let asked = usual.map(|path| ask(&path));
    match (asked, named) {
        (Some(Ok(address)), _) => Ok(address),
        (_, None) => Ok(USUAL),
        (Some(Err(reason)), Some(_)) => Err(Failure::new(reason)),
        (None, Some(_)) => {
            Err(Failure::new("there is no kubeconfig to find a gateway by its name"))
        }
    }
}

async fn told(path: &Path, named: Option<&Name>) -> Result<SocketAddr, String> {
    let gateways = shown(path, named).await?;
    // Those that are named are there.
    let first = gateways.first().ok_or("its API shows no gateway with an admin interface")?;
    Ok(first.admin)
}

/// A gateway that an API shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The name of its Pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where its admin interface listens.
    pub admin: SocketAddr,
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)
    }
}

/// The gateways that the API of a kubeconfig shows, or the one that is named.
///
/// # Errors
/// There is no kubeconfig, its API does not answer, or the one that is named is not there.
pub fn gateways(given: Option<&Path>, named: Option<&Name>) -> Outcome<Vec<Gateway>> {
    let path = api::kubeconfig(given)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let asked = runtime.block_on(async { timeout(PATIENCE, shown(&path, named)).await });
    let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    asked.map_err(|reason| Failure::new(format!("the process of {}: {reason}", path.display())))
}

async fn shown(path: &Path, named: Option<&Name>) -> Result<Vec<Gateway>, String> {
    let access = Access::read(path)?;
    let mut api = access.connect().await?;
    let pods = access.get(&mut api, &format!("/api/v1/namespaces/{NAMESPACE}/pods")).await?;
    let pods = pods.unwrap_or_default();
    let pods = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let gateway = |pod: &Value| {
        let metadata = &pod["metadata"];
        Some(Gateway {
            name: metadata["name"].as_str()?.to_owned(),
            namespace: metadata["namespace"].as_str()?.to_owned(),
            admin: metadata["annotations"][ADMIN_ANNOTATION].as_str()?.parse().ok()?,
        })
    };
    // Whatever somebody else writes into a Pod is no address to ask.
    let all: Vec<Gateway> = pods.iter().filter(|pod| is_own(pod)).filter_map(gateway).collect();
    let Some(named) = named else { return Ok(all) };
    let found: Vec<Gateway> = all.iter().filter(|gateway| named.is(gateway)).cloned().collect();
    if found.is_empty() {
        let names: Vec<&str> = all.iter().map(|gateway| &*gateway.name).collect();
        return Err(format!(
            "its API shows no gateway {} in {}; in {NAMESPACE} there is: {}",
            named.name,
            named.namespace.as_deref().unwrap_or(NAMESPACE),
            names.join(", ")
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_named_as_by_istioctl() {
        let pod = Gateway {
            name: "istio-ingressgateway".to_owned(),
            namespace: "istio-system".to_owned(),
            admin: USUAL,
        };
        for (text, is) in [
            ("deploy/istio-ingressgateway", true),
            ("istio-ingressgateway", true),
            ("istio-ingressgateway.istio-system", true),
            ("istio-ingressgateway.default", false),
            ("pod/other", false),
        ] {
            assert_eq!(text.parse::<Name>().expect(text).is(&pod), is, "{text}");
        }
        assert!("service/istio-ingressgateway".parse::<Name>().is_err());
        let name: Name = "a".parse().expect("a name");
        assert!(!name.within(Some("b".to_owned())).is(&pod));
    }
}

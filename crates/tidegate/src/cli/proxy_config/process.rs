//! Which process is asked: the one that the kubeconfig leads to says where its admin interface listens.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tidegate_apiserver::rest::{ADMIN_ANNOTATION, EGRESS_PATH};
use tidegate_apiserver::store::is_own;
use tidegate_source::cluster::{Access, Client};

use crate::api::{self, Had};
use crate::cli::AccessArgs;
use crate::failure::{Failure, Outcome};
use crate::run::pod::is_of_this_machine;
use crate::up::gateway::NAMESPACE;

/// Where admin interfaces listen unless they are told otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// A cluster's Pods are elsewhere, with admin interfaces that only they themselves reach.
const REMEDY: &str = "--admin ADDRESS:PORT, where it listens; of a Pod in a cluster kubectl port-forward -n istio-system POD 15000, \
                      and --admin 127.0.0.1:15000";
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
pub fn admin(args: &AccessArgs, named: Option<&Name>) -> Outcome<SocketAddr> {
    let access = api::access(args);
    let meant = named.is_some() || access.as_ref().is_ok_and(Access::is_named);
    match access.and_then(|access| first(&access, named)) {
        Err(_) if !meant && args.context.is_none() => Ok(USUAL),
        asked => asked.map_err(|failure| failure.or(REMEDY)),
    }
}

fn first(access: &Access, named: Option<&Name>) -> Outcome<SocketAddr> {
    let gateways = ask(access, named)?;
    // Those that are named are there.
    let first = gateways.first().ok_or_else(|| nobody(access));
    first.map(|gateway| gateway.admin)
}

/// What is known of what was refused.
#[derive(Debug)]
pub struct Known {
    /// Where the gateway's own list is to be had.
    pub admin: Option<SocketAddr>,
    /// The lists of workloads that other processes serve, each in the form of `/egress/denied`.
    pub lists: Vec<Value>,
}

/// What the API of a kubeconfig knows of what was refused. One that nobody named counts only while its process answers.
///
/// # Errors
/// The API does not answer, or knows of nobody.
pub fn refusals(args: &AccessArgs) -> Outcome<Known> {
    let access = api::access(args);
    let meant = access.as_ref().is_ok_and(Access::is_named) || args.context.is_some();
    let known = access.and_then(|access| {
        api::wait(PATIENCE, async {
            let client = access.client().await.map_err(|error| api::failure(&error))?;
            known(&client).await.map_err(|why| Failure::new(format!("{access}: {why}")))
        })
    });
    match known {
        Err(_) if !meant => Ok(Known { admin: Some(USUAL), lists: Vec::new() }),
        known => known.map_err(|failure| failure.or(REMEDY)),
    }
}

async fn known(client: &Client) -> Result<Known, String> {
    let admin = shown(client, None).await?.first().map(|gateway| gateway.admin);
    match (api::get(client, EGRESS_PATH).await?, admin) {
        (Had::There(mut known), _) => match known["items"].take() {
            Value::Array(lists) => Ok(Known { admin, lists }),
            _ => Err(format!("{EGRESS_PATH} is answered with something else")),
        },
        // A cluster's API server knows of no workloads.
        (Had::Nothing | Had::Forbidden(_), Some(_)) => Ok(Known { admin, lists: Vec::new() }),
        (Had::Nothing, None) => Err("it does not know what was refused".to_owned()),
        (Had::Forbidden(why), None) => Err(why),
    }
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

/// The gateways that an API shows, or the one that is named.
///
/// # Errors
/// There is no kubeconfig, its API does not answer, shows none, or the one that is named is not there.
pub fn gateways(args: &AccessArgs, named: Option<&Name>) -> Outcome<Vec<Gateway>> {
    let access = api::access(args)?;
    let gateways = ask(&access, named)?;
    if gateways.is_empty() {
        return Err(nobody(&access).or(
            "on the machine of a gateway: tidegate proxy-config listeners --admin ADDRESS:PORT, where its admin interface listens",
        ));
    }
    Ok(gateways)
}

fn nobody(access: &Access) -> Failure {
    Failure::new(format!("{access}: no Pod in {NAMESPACE} says where its admin interface listens"))
}

fn ask(access: &Access, named: Option<&Name>) -> Outcome<Vec<Gateway>> {
    api::wait(PATIENCE, async {
        let client = access.client().await.map_err(|error| api::failure(&error))?;
        shown(&client, named).await.map_err(Failure::new)
    })
}

async fn shown(client: &Client, named: Option<&Name>) -> Result<Vec<Gateway>, String> {
    let pods = match api::get(client, &format!("/api/v1/namespaces/{NAMESPACE}/pods")).await? {
        Had::There(pods) => pods,
        Had::Nothing => Value::Null,
        Had::Forbidden(why) => return Err(why),
    };
    let pods = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let gateway = |pod: &Value| {
        let metadata = &pod["metadata"];
        Some(Gateway {
            name: metadata["name"].as_str()?.to_owned(),
            namespace: metadata["namespace"].as_str()?.to_owned(),
            admin: metadata["annotations"][ADMIN_ANNOTATION].as_str()?.parse().ok()?,
        })
    };
    // Whatever somebody else writes into a Pod is no address to ask, but for what runs on this machine, at an address of its own.
    let here = |gateway: &Gateway| gateway.admin.ip().is_loopback();
    let all: Vec<Gateway> = pods
        .iter()
        .filter_map(|pod| {
            let gateway = gateway(pod)?;
            (is_own(pod) || is_of_this_machine(pod) && here(&gateway)).then_some(gateway)
        })
        .collect();
    let Some(named) = named else { return Ok(all) };
    let found: Vec<Gateway> = all.iter().filter(|gateway| named.is(gateway)).cloned().collect();
    if found.is_empty() {
        let names: Vec<&str> = all.iter().map(|gateway| &*gateway.name).collect();
        return Err(format!(
            "the API shows no gateway {} in {}; in {NAMESPACE} there is: {}",
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

//! The short form of an egress gateway: annotations of a ServiceEntry that stand for the Gateway, the VirtualServices and the
//! DestinationRules that Istio wants for it.
//!
//! ```yaml
//! metadata:
//!   annotations:
//!     tidegate.dev/egress-gateway: istio-egressgateway.istio-system
//!     tidegate.dev/originate-tls: "true"
//!     tidegate.dev/mutual-tls: "true"
//! ```
//!
//! [`long_form`] writes them out as manifests, which `tidegate expand` prints and the engine takes in like those of users: one
//! object or six come to the same resources.

mod manifests;
mod mutual;
mod ports;

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_api::istio::ServiceEntry;
use tidegate_api::{Kind, Object, ObjectKey, SOURCE_ANNOTATION};

pub use ports::{Claims, Ports};

use crate::model::names;

/// On a ServiceEntry: the Service of the gateway that its hosts are reached through, as `NAME` of the same namespace,
/// `NAME.NAMESPACE` or its full host.
pub const GATEWAY_ANNOTATION: &str = "tidegate.dev/egress-gateway";

/// On a ServiceEntry with [`GATEWAY_ANNOTATION`]: whether the gateway starts TLS towards the hosts for what workloads send as plain
/// HTTP, `"true"` or `"false"`.
pub const TLS_ANNOTATION: &str = "tidegate.dev/originate-tls";

/// On a ServiceEntry with [`GATEWAY_ANNOTATION`]: whether workloads and the gateway know each other by their certificates in the
/// mesh (`ISTIO_MUTUAL`), `"true"` or `"false"`.
pub const MUTUAL_ANNOTATION: &str = "tidegate.dev/mutual-tls";

/// Every annotation that stands for objects.
pub const ANNOTATIONS: [&str; 3] = [GATEWAY_ANNOTATION, TLS_ANNOTATION, MUTUAL_ANNOTATION];

/// What the names of all annotations of ours begin with.
const PREFIX: &str = "tidegate.dev/";

/// The form that everything is written in.
pub(crate) const API_VERSION: &str = "networking.istio.io/v1";

/// What the names of the Services of Istio's gateways have before the label `istio` of these.
const SERVICE_PREFIX: &str = "istio-";

/// What the annotations of a ServiceEntry ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The Service of the gateway.
    pub gateway: ObjectKey,
    /// Whether the gateway starts TLS for plain HTTP.
    pub originates: bool,
    /// Whether what workloads send to the gateway is in mutual TLS of the mesh.
    pub mutual: bool,
}

impl Wish {
    /// Reads the annotations; `None` where nothing is asked for. `domain` is that of Kubernetes Services.
    ///
    /// # Errors
    /// What is wrong with them, with what to write.
    pub fn of(object: &Object, domain: &str) -> Option<Result<Self, String>> {
        if let Some(wrong) = unknown(object) {
            return Some(Err(wrong));
        }
        let Some(gateway) = object.annotations.get(GATEWAY_ANNOTATION) else {
            return lonely(object).map(Err);
        };
        Some(Self::read(object, gateway, domain))
    }

    fn read(object: &Object, gateway: &str, domain: &str) -> Result<Self, String> {
        let service = service(gateway.trim(), object.namespace(), domain).ok_or_else(|| {
            format!(
                "annotation {GATEWAY_ANNOTATION}: {gateway:?} names no Service: write NAME.NAMESPACE, as in \
                 istio-egressgateway.istio-system"
            )
        })?;
        Ok(Self {
            gateway: service,
            originates: is_wanted(object, TLS_ANNOTATION)?,
            mutual: is_wanted(object, MUTUAL_ANNOTATION)?,
        })
    }

    /// The host of the gateway's Service.
    fn host(&self, domain: &str) -> String {
        names::service_host(&self.gateway.name, &self.gateway.namespace, domain)
    }

    /// The labels that pick the gateway's workloads: those that its Service selects by, else the one that the Services of
    /// Istio's gateways are named after.
    fn selector(&self, front: Option<&Front>) -> Result<BTreeMap<String, String>, String> {
        if let Some(front) = front.filter(|front| !front.selector.is_empty()) {
            return Ok(front.selector.clone());
        }
        let label = self.gateway.name.strip_prefix(SERVICE_PREFIX).filter(|rest| !rest.is_empty());
        let label = label.ok_or_else(|| {
            let Self { gateway, .. } = self;
            let lack = if front.is_some() { "has no selector" } else { "is not there" };
            format!(
                "annotation {GATEWAY_ANNOTATION}: {gateway} {lack}, so that nothing says which workloads are the gateway: apply \
                 it with its selector"
            )
        })?;
        Ok(BTreeMap::from([("istio".to_owned(), label.to_owned())]))
    }
}

/// What is wrong with an object that has an annotation of ours that says nothing: misspelt, it would be lost in silence.
fn unknown(object: &Object) -> Option<String> {
    let known = |name: &str| ANNOTATIONS.contains(&name) || name == SOURCE_ANNOTATION;
    let mut ours = object.annotations.keys().filter(|name| name.starts_with(PREFIX));
    let unknown = ours.find(|name| !known(name))?;
    Some(format!(
        "annotation {unknown} is none that a ServiceEntry has: {}",
        ANNOTATIONS.join(", ")
    ))
}

/// What is wrong with an object that has annotations about the way to a gateway, and none that names one.
fn lonely(object: &Object) -> Option<String> {
    let instead = [
        (TLS_ANNOTATION, "TLS that sidecars start is asked for by a DestinationRule"),
        (MUTUAL_ANNOTATION, "mutual TLS between workloads is asked for by a DestinationRule"),
    ];
    let (annotation, instead) =
        instead.into_iter().find(|(annotation, _)| object.annotations.contains_key(*annotation))?;
    Some(format!("annotation {annotation} has no effect without {GATEWAY_ANNOTATION}; {instead}"))
}

/// What an annotation says that is `"true"` or `"false"`; what is not said is not wanted.
fn is_wanted(object: &Object, annotation: &str) -> Result<bool, String> {
    match object.annotations.get(annotation).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(format!("annotation {annotation}: {other:?} is neither \"true\" nor \"false\""))
        }
    }
}

/// The Service in front of the gateway, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// Which Pods it picks.
    pub selector: BTreeMap<String, String>,
    /// The numbers of its ports.
    pub ports: Vec<u16>,
}

/// The objects that a short form stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LongForm {
    /// Manifests, the Gateway first. None where something is wrong that leaves nothing to write.
    pub manifests: Vec<Value>,
    /// What is wrong, with what to do.
    pub faults: Vec<String>,
}

/// Which object a manifest of a [`LongForm`] is.
pub(crate) fn key_of(manifest: &Value) -> ObjectKey {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = match manifest["kind"].as_str() {
        Some("Gateway") => Kind::Gateway,
        Some("VirtualService") => Kind::VirtualService,
        _ => Kind::DestinationRule,
    };
    let metadata = &manifest["metadata"];
    ObjectKey::new(kind, text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Writes out what a ServiceEntry asks for. `front` is the Service that it names, where that is there; `ports` are those that
/// [`Claims::settle`] has for the ServiceEntry.
#[must_use]
pub fn long_form(
    object: &Object,
    entry: &ServiceEntry,
    wish: &Wish,
    front: Option<&Front>,
    ports: &Ports,
    domain: &str,
) -> LongForm {
    let selector = match wish.selector(front) {
        Ok(selector) => selector,
        Err(fault) => return LongForm { manifests: Vec::new(), faults: vec![fault] },
    };
    manifests::Writer { object, entry, wish, front, ports, host: wish.host(domain) }
        .write(&selector)
}

/// The Service that a name means for a resource of `namespace`.
fn service(written: &str, namespace: &str, domain: &str) -> Option<ObjectKey> {
    let full = names::full_host(written, namespace, domain);
    let suffix = format!(".svc.{domain}");
    let short = full.strip_suffix(suffix.as_str()).unwrap_or(&full);
    let (name, namespace) = short.split_once('.')?;
    let is_label = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner)
    };
    (is_label(name) && is_label(namespace)).then(|| ObjectKey::new(Kind::Service, namespace, name))
}

#[cfg(test)]
mod tests;

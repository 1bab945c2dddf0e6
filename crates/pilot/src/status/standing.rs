//! How far objects are in force: as much of the condition `Programmed` as compiling decides.
//!
//! Whether workers serve what was compiled, and whether a listener could be opened, is known to whoever publishes.

use std::fmt::Write;
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::{
    Findings, Subject, View, destination_rule, envoy_filter, gateway, join, security,
    service_entry, virtual_service, workload_entry,
};

/// Where the form of an object that counts stands: the last good one, where the last one was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether anything of the object is served.
    pub force: Force,
    /// What of it is not served as it is written, in words.
    pub fault: Option<String>,
}

/// Whether anything of an object is served, as far as compiling decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is, once workers have it.
    Whole,
    /// It acts through these listeners, and so while one of them is open: what routes say.
    Through(Vec<Arc<str>>),
    /// Nothing of it is.
    Nothing {
        /// Why, in one word of CamelCase.
        reason: &'static str,
        /// Why, in words.
        message: String,
    },
}

/// The condition that whoever publishes tells: whether what is in force of an object is served.
pub const PROGRAMMED: &str = "Programmed";

/// Its reason where all of the object is in force.
pub const SERVED: &str = "Served";

/// Whether this is the reason of what is for others than this proxy.
#[must_use]
pub fn is_elsewhere(reason: &str) -> bool {
    matches!(reason, "NoMatch" | "NotSelected")
}

impl Force {
    /// Whether it is about what is not here: it has nothing to do with anything that is.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Nothing { reason, .. } if is_elsewhere(reason))
    }

    /// Why nothing is in force, in words.
    pub(super) fn message_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Nothing { message, .. } => Some(message),
            Self::Whole | Self::Through(_) => None,
        }
    }

    pub(super) fn nothing(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Nothing { reason, message: message.into() }
    }
}

/// Whether an object that there is, and of which `findings` were made, is in force.
pub(super) fn force(
    key: &ObjectKey,
    subject: Subject<'_>,
    findings: Option<&Findings>,
    view: View<'_>,
) -> Force {
    match (subject, findings) {
        (Subject::Gateway, None) => Force::nothing("NotSelected", not_selected(view)),
        (Subject::Gateway, Some(findings)) if !gateway::is_open(key, view) => {
            let (reason, faults) = findings.first_and_all();
            let (reason, faults) = match reason {
                Some(reason) => (reason, faults),
                None => findings.unresolved().unwrap_or(("NotServed", String::new())),
            };
            Force::nothing(reason, format!("none of its servers is open: {faults}"))
        }
        (Subject::VirtualService, _) => virtual_service::force(key, findings, view),
        (Subject::ServiceEntry, Some(findings)) => of_entry(key, findings, view),
        (Subject::ServiceEntry, None) => {
            let help = service_entry::kept_address(key, view).unwrap_or_default();
            Force::nothing("NotSelected", format!("it is for sidecars: {help}"))
        }
        (Subject::EnvoyFilter, _) => envoy_filter::force(key, findings, view),
        (Subject::DestinationRule(rule), _) => destination_rule::force(rule, findings, view),
        (Subject::AuthorizationPolicy(policy), _) => security::force(policy.reach, view),
        (Subject::RequestAuthentication(policy), _) => security::force(policy.reach, view),
        (Subject::PeerAuthentication, _) => Force::nothing("NotSelected", security::PEERS),
        (Subject::Sidecar, _) => Force::nothing("NotSelected", SIDECARS),
        (Subject::WorkloadEntry, _) => workload_entry::force(key, findings, view),
        _ => Force::Whole,
    }
}

/// What a gateway says of a Sidecar.
const SIDECARS: &str =
    "it is about the proxies beside workloads: a gateway sees everything, as in Istio";

/// What the proxy is called, as in `this gateway`.
pub(super) fn this(view: View<'_>) -> &'static str {
    if view.options.workload().is_some() { "workload" } else { "gateway" }
}

/// Why an object is left to other proxies: the labels of this one.
pub(super) fn not_selected(view: View<'_>) -> String {
    let mut labels = String::new();
    for (name, value) in &view.options.labels {
        let comma = if labels.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(labels, "{comma}{name}={value}");
    }
    let flag = if view.options.workload().is_some() { "--labels" } else { "--gateway-labels" };
    format!("it is for other proxies than this one, whose labels are {labels} ({flag})")
}

/// A ServiceEntry is in force while there is a cluster of one of its ports.
fn of_entry(key: &ObjectKey, findings: &Findings, view: View<'_>) -> Force {
    let services = view.registry.services_of(key);
    if services.is_empty() {
        let namespace = &view.options.namespace;
        let message = format!("exportTo hides it from namespace {namespace}, where the gateway is");
        return Force::nothing("Hidden", message);
    }
    let leads = services.iter().any(|service| {
        let ports = view.registry.ports(&service.host);
        service.ports.iter().any(|port| service.kept_address(port).is_none())
            && ports.values().any(|(winner, _)| winner.key == service.key)
    });
    match findings.first_and_all() {
        (Some(reason), faults) if !leads => Force::nothing(reason, faults),
        _ => Force::Whole,
    }
}

impl Findings {
    /// What of an object is not in force, in words.
    pub(super) fn not_in_force(&self) -> String {
        let faults = self.faults.iter().map(|(_, message)| message);
        join(&faults.chain(&self.closed).cloned().collect::<Vec<_>>())
    }

    /// The reason of the first fault, and all faults in words.
    pub(super) fn first_and_all(&self) -> (Option<&'static str>, String) {
        let reason = self.faults.first().map(|(reason, _)| *reason);
        let faults: Vec<String> = self.faults.iter().map(|(_, message)| message.clone()).collect();
        (reason, join(&faults))
    }
}

//! Status of WorkloadEntries: whose endpoints they are.

use tidegate_api::ObjectKey;

use super::{Findings, Force, View};
use crate::model::endpoints::{left_out, of_entry};

/// What is wrong with a WorkloadEntry.
pub(super) fn findings(key: &ObjectKey, view: View<'_>) -> Findings {
    let mut findings = Findings::default();
    let Some(workload) = view.registry.workload(key) else { return findings };
    if workload.address.is_empty() {
        let message = "it has no address, and gateways of other networks are not known here";
        findings.fault("NotServed", message.to_owned());
    }
    for service in view.registry.selected_by(key) {
        let host = &service.host;
        if let Some(why) = left_out(workload, service.resolved().is_some()) {
            findings.fault("NotServed", format!("host {host}: {why}"));
            continue;
        }
        // A target port that goes by a name has to be among its own.
        let lacks = |port: &&crate::model::service::Port| of_entry(workload, port).is_none();
        for port in service.ports.iter().filter(lacks).filter(|_| !workload.address.is_empty()) {
            findings.fault("PortNotFound", format!("host {host}: it has no port {}", port.name));
        }
    }
    findings
}

/// How far a WorkloadEntry is in force: it is an endpoint of something.
pub(super) fn force(key: &ObjectKey, findings: Option<&Findings>, view: View<'_>) -> Force {
    if view.registry.selected_by(key).next().is_none() {
        let message =
            "no ServiceEntry (workloadSelector) and no Service of its namespace selects its labels";
        return Force::nothing("NotAttached", message);
    }
    let workload = view.registry.workload(key);
    let is_endpoint = view.registry.selected_by(key).any(|service| {
        workload.is_some_and(|workload| {
            let fits = left_out(workload, service.resolved().is_some()).is_none();
            fits && service.ports.iter().any(|port| of_entry(workload, port).is_some())
        })
    });
    match findings.map(Findings::first_and_all) {
        Some((Some(reason), faults)) if !is_endpoint => Force::nothing(reason, faults),
        _ => Force::Whole,
    }
}

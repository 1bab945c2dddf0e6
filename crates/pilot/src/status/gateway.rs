//! Status of Gateways: servers that lost a conflict, cannot be bound, or need what is not served yet.

use tidegate_api::ObjectKey;
use tidegate_api::istio::gateway::ServerTlsMode;

use super::{Findings, View};
use crate::model::gateway::{Class, Server};

/// What is wrong with a Gateway; `None` when other proxies serve it.
pub(super) fn findings(key: &ObjectKey, view: View<'_>) -> Option<Findings> {
    let gateway = view.index.gateway(key)?;
    let mut findings = Findings::default();
    for server in &gateway.servers {
        let place = format!("{} (port {})", server.place(), server.port);
        if server.listen.is_empty() {
            let fault = "no Service in front of the gateway has that port; it is not opened";
            findings.fault("PortNotFound", format!("{place}: {fault}"));
        }
        for port in server.listen.iter().filter(|p| **p < view.options.lowest_port) {
            findings.fault(
                "PortForbidden",
                format!(
                    "{place}: this process may not bind port {port}; map it to one from {} up",
                    view.options.lowest_port
                ),
            );
        }
        if let Some(fault) = not_served(server) {
            findings.fault("NotServed", format!("{place}: {fault}"));
        }
        let plans = server.listen.iter().filter_map(|port| view.ports.get(port));
        for plan in plans {
            for refusal in plan.refused.iter().filter(|r| r.server == *server) {
                findings.fault("Conflict", format!("{place}: {}", refusal.reason));
            }
            let mut listeners = plan.listeners.iter().filter(|l| l.servers.contains(server));
            if not_served(server).is_none() && listeners.any(|l| !view.listeners.opens(&l.name)) {
                let fault =
                    "the port is not opened before a VirtualService has a tcp or tls rule for it";
                findings.fault("NoRoute", format!("{place}: {fault}"));
            }
        }
    }
    Some(findings)
}

/// Whether a listener is opened for any server of a Gateway.
pub(super) fn is_open(key: &ObjectKey, view: View<'_>) -> bool {
    let servers = view.index.gateway(key).into_iter().flat_map(|gateway| &gateway.servers);
    servers.filter(|server| not_served(server).is_none()).any(|server| {
        let plans = server.listen.iter().filter_map(|port| view.ports.get(port));
        let mut listeners = plans.flat_map(|plan| &plan.listeners);
        listeners.any(|l| l.servers.contains(server) && view.listeners.opens(&l.name))
    })
}

fn not_served(server: &Server) -> Option<String> {
    let mode = server.tls.filter(|_| server.class() == Class::Tls)?.mode;
    let mode = match mode {
        ServerTlsMode::Passthrough => return None,
        ServerTlsMode::Simple => "SIMPLE",
        ServerTlsMode::Mutual => "MUTUAL",
        ServerTlsMode::AutoPassthrough => "AUTO_PASSTHROUGH",
        ServerTlsMode::IstioMutual => "ISTIO_MUTUAL",
        ServerTlsMode::OptionalMutual => "OPTIONAL_MUTUAL",
    };
    Some(format!(
        "tls mode {mode} is not served yet, only PASSTHROUGH is; the server takes no connections"
    ))
}

//! Status of Gateways: servers that lost a conflict, cannot be bound, or need what is not served yet.

use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::gateway::ServerTlsMode;

use super::credentials::Lack;
use super::{Findings, View, redirected};
use crate::engine::gateway_name;
use crate::model::credentials::Found;
use crate::model::gateway::{Class, Server};
use crate::model::key::KeyKind;
use crate::model::merge::{ListenerPlan, PortPlan};
use crate::model::tls::{Credential, Terms};

/// What becomes of a server without its certificates.
const CLOSED: &str = "connections for its hosts are closed";

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
        if let Some((reason, fault)) = closed(server) {
            findings.fault(reason, format!("{place}: {fault}"));
        }
        credentials(server, &place, view, &mut findings);
        let plans = server.listen.iter().filter_map(|port| view.ports.get(port));
        for plan in plans {
            for refusal in plan.refused.iter().filter(|r| Arc::ptr_eq(&r.server, server)) {
                findings.fault("Conflict", format!("{place}: {}", refusal.reason));
            }
            let mut listeners = plan.listeners.iter().filter(|l| has(l, server));
            if closed(server).is_none() && listeners.any(|l| !view.listeners.opens(&l.name)) {
                let fault =
                    "the port is not opened before a VirtualService has a tcp or tls rule for it";
                findings.fault("NoRoute", format!("{place}: {fault}"));
            }
        }
    }
    for lost in view.listeners.lost_by(key) {
        findings.fault("Conflict", lost.to_owned());
    }
    redirected::tell_gateway(key, view, &mut findings);
    let name = gateway_name(key);
    let routes = |s: &Arc<Server>| {
        s.class() == Class::Http && !s.redirects_to_https() || s.https_terms().is_some()
    };
    if view.index.naming(&name).next().is_none() && gateway.servers.iter().any(routes) {
        let adopted = view.index.reaching(&name);
        let adopted: Vec<String> =
            adopted.iter().map(|(service, _)| service.key.to_string()).collect();
        findings.advice.push(if adopted.is_empty() {
            format!("no VirtualService names it: requests for its hosts are answered 404 until one has {name} in its gateways")
        } else {
            format!(
                "no VirtualService names it, so that it takes the hosts that others of its namespace answer in plain HTTP ({}). \
                 Istio answers 404: add {name} to their gateways",
                adopted.join(", ")
            )
        });
    }
    Some(findings)
}

/// Whether a listener is opened for any server of a Gateway.
pub(super) fn is_open(key: &ObjectKey, view: View<'_>) -> bool {
    open(key, view).next().is_some()
}

/// The servers of a Gateway for which listeners are opened, with these.
pub(crate) fn open<'a>(
    key: &ObjectKey,
    view: View<'a>,
) -> impl Iterator<Item = (&'a Arc<Server>, &'a Arc<str>)> {
    let servers = view.index.gateway(key).into_iter().flat_map(|gateway| &gateway.servers);
    servers.filter(move |server| accepts(server, view)).flat_map(move |server| {
        let plans = server.listen.iter().filter_map(move |port| view.ports.get(port));
        let listeners = plans.flat_map(|plan| &plan.listeners);
        let own = listeners.filter(move |l| has(l, server) && view.listeners.opens(&l.name));
        own.map(move |listener| (server, &listener.name))
    })
}

fn has(listener: &ListenerPlan, server: &Arc<Server>) -> bool {
    listener.servers.iter().any(|other| Arc::ptr_eq(other, server))
}

/// Whether a server was given a place at any port.
pub(super) fn has_place(server: &Server, view: View<'_>) -> bool {
    let plans = server.listen.iter().filter_map(|port| view.ports.get(port));
    let refuses = |plan: &PortPlan| plan.refused.iter().any(|r| std::ptr::eq(&*r.server, server));
    plans.into_iter().any(|plan| !refuses(plan))
}

/// Whether connections for a server get past their handshake, where there is one.
pub(super) fn accepts(server: &Server, view: View<'_>) -> bool {
    closed(server).is_none() && server.terms().is_none_or(|terms| view.credentials.complete(terms))
}

/// Why a server takes no connections, whatever else there is.
fn closed(server: &Server) -> Option<(&'static str, String)> {
    let tls = server.tls.as_ref().filter(|_| server.class() == Class::Tls)?;
    if tls.mode == ServerTlsMode::AutoPassthrough {
        let fault = "tls mode AUTO_PASSTHROUGH is not served; use PASSTHROUGH and tls rules";
        return Some(("NotServed", fault.to_owned()));
    }
    let fault = tls.terms.as_ref()?.fault()?;
    Some(("InvalidTls", format!("tls.{fault}; the server takes no connections")))
}

/// Certificates and authorities that are not there, and what would better be named.
fn credentials(server: &Server, place: &str, view: View<'_>, findings: &mut Findings) {
    let left_out = server.tls.iter().flat_map(|tls| &tls.left_out);
    findings.advice.extend(left_out.map(|advice| format!("{place}: {advice}")));
    let Some(terms) = server.terms() else { return };
    findings.advice.extend(terms.advice().map(|advice| format!("{place}: tls.{advice}")));
    let idle = server.tls.as_ref().map(|tls| tls.idle.join(", ")).filter(|idle| !idle.is_empty());
    findings.advice.extend(idle.map(|idle| {
        format!(
            "{place}: tls: at mode SIMPLE clients are asked for no certificate, so that {idle} says nothing: set mode MUTUAL or \
             OPTIONAL_MUTUAL, or remove it"
        )
    }));
    if terms.clients.as_ref().is_some_and(|clients| clients.accepted.any_issuer) {
        findings.advice.push(format!(
            "{place}: tls.insecureSkipVerify: certificates of clients are not verified: whoever makes one is let in"
        ));
    }
    findings.advice.extend(alike(terms, view).map(|advice| format!("{place}: tls: {advice}")));
    // One without a place takes none: what it lacks is nothing to it.
    let taken = |credential: &&_| view.credentials.is_taken_by(&server.key, credential);
    for credential in terms.credentials().filter(taken) {
        if let Some(lack) = Lack::of(credential, view) {
            lack.tell(place, CLOSED, findings);
        }
        let behind = view.credentials.behind(credential);
        let found = behind.as_ref().map(|behind| view.secrets.find(behind));
        if let Some(Ok(Found::Authorities { guessed: Some(guessed), .. })) = found {
            findings.advice.push(format!(
                "{place}: client certificates are verified against Secret {guessed}, the only one with authorities in \
                 the gateway's namespace; say so by tls.caCertCredentialName: {guessed}"
            ));
        }
    }
}

/// Two certificates with keys of one kind, where two are meant for clients that know different kinds.
fn alike(terms: &Terms, view: View<'_>) -> Option<String> {
    let kinds: Vec<(&Credential, KeyKind)> = terms
        .identities
        .iter()
        .filter_map(|credential| match view.secrets.find(credential) {
            Ok(Found::Pair { key, .. }) => Some((credential, KeyKind::of_pem(key)?)),
            _ => None,
        })
        .collect();
    let second = |(at, (_, kind)): (usize, &(&Credential, KeyKind))| {
        kinds[..at].iter().find(|(_, earlier)| earlier == kind).map(|_| at)
    };
    let at = kinds.iter().enumerate().find_map(second)?;
    let (later, kind) = kinds.get(at)?;
    let (first, _) = kinds.iter().find(|(_, earlier)| earlier == kind)?;
    let (first, later) = (view.secrets.describe(first), view.secrets.describe(later));
    Some(format!(
        "{first} and {later} both have {kind}, so that the second is shown to nobody whose server name the first is for: two \
         certificates are meant to be one with an RSA key and one with an elliptic-curve key"
    ))
}

//! Gateways that this process serves: their servers, with ports and hosts resolved.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::istio::Protocol;
use tidegate_api::istio::gateway::{self as api, ServerTlsMode};
use tidegate_api::{Object, ObjectKey};

use super::age::Age;
use super::host::{Host, HostSet};
use super::tls::{Terms, left_out};
use crate::Options;

/// On a Gateway: it belongs to these Services (full host names, separated by commas) instead of to the
/// proxies that its selector picks. Istio sets it on what it converts from the Gateway API.
const SERVICE_ANNOTATION: &str = "internal.istio.io/gateway-service";

/// A Gateway that this process serves.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its place among conflicting Gateways.
    pub age: Age,
    /// Its servers, in the order in which they were written.
    pub servers: Vec<Arc<Server>>,
    /// The hosts of all of them.
    pub hosts: ServerHosts,
}

/// One server of a Gateway. It carries its Gateway's name, so that it can stand alone in a merged listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The Gateway that it belongs to.
    pub key: ObjectKey,
    /// `NAMESPACE/NAME` of that Gateway, as VirtualServices name it.
    pub gateway: Arc<str>,
    /// Its Gateway's place among conflicting ones.
    pub age: Age,
    /// Position among the Gateway's servers.
    pub index: usize,
    /// The port that was written: a Service's port.
    pub port: u16,
    /// The ports that are listened on for it; none where no Service in front of the gateway has the port.
    pub listen: Vec<u16>,
    /// The port's name.
    pub port_name: String,
    /// What is spoken on the port.
    pub protocol: Protocol,
    /// Address to listen on; empty for the gateway's own.
    pub bind: String,
    /// Hosts that are served.
    pub hosts: ServerHosts,
    /// What happens to TLS; `None` where the port carries none.
    pub tls: Option<Tls>,
}

/// The hosts of a server, as they were written and by the namespace that may attach to them.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerHosts {
    written: Vec<ServerHost>,
    by_namespace: HashMap<Option<Arc<str>>, HostSet>,
}

/// A host of a server, and who may attach routes to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerHost {
    /// The namespace whose VirtualServices may attach; any when absent.
    pub namespace: Option<Arc<str>>,
    /// The host.
    pub host: Host,
}

/// What a server does with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Who ends it.
    pub mode: ServerTlsMode,
    /// On plain HTTP: every request is sent to https.
    pub https_redirect: bool,
    /// What is agreed on where it is terminated.
    pub terms: Option<Arc<Terms>>,
    /// Whether that may be had over QUIC as well.
    pub quic: bool,
    /// Fields that say nothing in this mode.
    pub idle: Vec<&'static str>,
    /// Suites and groups that are asked for and cannot be had, in words.
    pub left_out: Vec<String>,
}

/// What kind of listener a server needs. Only servers of one class share a listener, and only one TCP
/// server may have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Requests, routed by host.
    Http,
    /// TLS, told apart by SNI.
    Tls,
    /// Bytes.
    Tcp,
}

impl Gateway {
    /// The Gateway as this process serves it; `None` when its selector picks others.
    #[must_use]
    pub fn select(object: &Object, spec: &api::Gateway, options: &Options) -> Option<Self> {
        let key = &object.key;
        let fronts = match object.annotations.get(SERVICE_ANNOTATION) {
            Some(hosts) => {
                let hosts: BTreeSet<&str> = hosts.split(',').map(str::trim).collect();
                let own = |s: &&_| is_front(s, &hosts, &key.namespace);
                let fronts: Vec<_> = options.services.iter().filter(own).collect();
                if fronts.is_empty() {
                    return None;
                }
                Some(fronts)
            }
            None => {
                if !options.carries(&spec.selector) {
                    return None;
                }
                None
            }
        };
        let gateway: Arc<str> = format!("{}/{}", key.namespace, key.name).into();
        let age = Age::of(object);
        let servers = spec.servers.iter().enumerate().map(|(index, server)| {
            let port = server.port.number.get();
            Arc::new(Server {
                key: key.clone(),
                gateway: Arc::clone(&gateway),
                age: age.clone(),
                index,
                port,
                listen: match &fronts {
                    Some(fronts) => all_targets(port, fronts),
                    None => vec![first_target(port, options)],
                },
                port_name: server.port.name.clone(),
                protocol: server.port.protocol,
                bind: server.bind.clone(),
                hosts: ServerHosts::new(&server.hosts, &key.namespace),
                tls: server.tls.as_ref().map(|tls| Tls::of(tls, options)),
            })
        });
        let hosts: Vec<String> = spec.servers.iter().flat_map(|s| &s.hosts).cloned().collect();
        let servers = servers.collect();
        Some(Self { age, servers, hosts: ServerHosts::new(&hosts, &key.namespace) })
    }
}

impl Tls {
    fn of(settings: &api::ServerTlsSettings, options: &Options) -> Self {
        let terms = Terms::of(settings, options).map(Arc::new);
        Self {
            mode: settings.mode,
            https_redirect: settings.https_redirect,
            quic: options.http3 && terms.as_ref().is_some_and(|terms| terms.hold_over_quic()),
            terms,
            idle: idle_fields(settings),
            left_out: left_out(settings, options),
        }
    }
}

/// The fields that ask something of clients' certificates, where none is asked for.
fn idle_fields(tls: &api::ServerTlsSettings) -> Vec<&'static str> {
    let given = [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("caCertCredentialName", !tls.ca_cert_credential_name.is_empty()),
        ("caCrl", !tls.ca_crl.is_empty()),
        ("verifyCertificateSpki", !tls.verify_certificate_spki.is_empty()),
        ("verifyCertificateHash", !tls.verify_certificate_hash.is_empty()),
        ("insecureSkipVerify", tls.insecure_skip_verify == Some(true)),
    ];
    let idle = given.into_iter().filter(|(_, given)| *given && tls.mode == ServerTlsMode::Simple);
    idle.map(|(field, _)| field).collect()
}

fn is_front(service: &crate::GatewayService, hosts: &BTreeSet<&str>, namespace: &str) -> bool {
    hosts.contains(service.host.as_str()) && service.namespace == namespace
}

/// Every target of a port, for Gateways that belong to Services.
fn all_targets(port: u16, fronts: &[&crate::GatewayService]) -> Vec<u16> {
    let targets: BTreeSet<u16> =
        fronts.iter().filter_map(|s| s.ports.get(&port).copied()).collect();
    targets.into_iter().collect()
}

/// The first Service's target of a port, or the port itself, for Gateways with a selector.
fn first_target(port: u16, options: &Options) -> u16 {
    options.services.iter().find_map(|s| s.ports.get(&port).copied()).unwrap_or(port)
}

impl Server {
    /// Which listeners it can be part of.
    #[must_use]
    pub fn class(&self) -> Class {
        if self.protocol.is_http() {
            Class::Http
        } else if self.tls.is_some() {
            Class::Tls
        } else {
            Class::Tcp
        }
    }

    /// Whether every request to its hosts is redirected to https.
    #[must_use]
    pub fn redirects_to_https(&self) -> bool {
        self.class() == Class::Http && self.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }

    /// What is agreed on with clients, where it terminates TLS and a handshake can be held.
    #[must_use]
    pub fn terms(&self) -> Option<&Arc<Terms>> {
        let terms = self.tls.as_ref().filter(|_| self.class() == Class::Tls)?.terms.as_ref();
        terms.filter(|terms| terms.fault().is_none())
    }

    /// What is agreed on with clients, where requests are what TLS is terminated for.
    #[must_use]
    pub fn https_terms(&self) -> Option<&Arc<Terms>> {
        self.terms().filter(|_| self.protocol == Protocol::Https)
    }

    /// Whether it takes requests over HTTP/3 too.
    #[must_use]
    pub fn takes_http3(&self) -> bool {
        self.https_terms().is_some() && self.tls.as_ref().is_some_and(|tls| tls.quic)
    }

    /// The hosts that it is reached by, whoever may attach routes to them.
    pub fn names(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().map(|host| &host.host)
    }

    /// Whether it is for every name that a client may ask for.
    #[must_use]
    pub fn takes_every_name(&self) -> bool {
        self.names().any(|host| host.as_str() == "*")
    }

    /// Why it comes before another server that wants the same, as in "which is older".
    #[must_use]
    pub fn why_before(&self, other: &Self) -> &'static str {
        if self.key == other.key {
            return "stands before it in the same Gateway";
        }
        self.age.why_before(&other.age)
    }

    /// Where it stands, for messages: `servers[1]`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("servers[{}]", self.index)
    }
}

impl ServerHosts {
    fn new(written: &[String], own: &Arc<str>) -> Self {
        let written: Vec<ServerHost> = written.iter().map(|h| ServerHost::new(h, own)).collect();
        let mut by_namespace: HashMap<_, Vec<Host>> = HashMap::new();
        for host in &written {
            by_namespace.entry(host.namespace.clone()).or_default().push(host.host.clone());
        }
        let by_namespace =
            by_namespace.into_iter().map(|(ns, hosts)| (ns, hosts.into_iter().collect())).collect();
        Self { written, by_namespace }
    }

    /// The hosts as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &ServerHost> {
        self.written.iter()
    }

    /// The hosts under which a VirtualService of `namespace` with these hosts is reached here; each once.
    #[must_use]
    pub fn shared_with(&self, hosts: &[Host], namespace: &Arc<str>) -> Vec<Host> {
        let mut shared = Vec::new();
        for set in self.sets_for(namespace) {
            for host in hosts.iter().flat_map(|h| set.intersections(h)) {
                shared.push(host);
            }
        }
        shared.sort();
        shared.dedup();
        shared
    }

    /// Whether a VirtualService of `namespace` with these hosts is reached here at all.
    #[must_use]
    pub fn overlaps(&self, hosts: &[Host], namespace: &Arc<str>) -> bool {
        self.sets_for(namespace).any(|set| hosts.iter().any(|h| set.overlaps(h)))
    }

    fn sets_for(&self, namespace: &Arc<str>) -> impl Iterator<Item = &HostSet> {
        let own = self.by_namespace.get(&Some(Arc::clone(namespace)));
        self.by_namespace.get(&None).into_iter().chain(own)
    }
}

impl ServerHost {
    /// Reads `host`, `ns/host`, `./host` (the Gateway's own namespace) or `*/host`.
    fn new(written: &str, own: &Arc<str>) -> Self {
        let (namespace, host) = match written.split_once('/') {
            None | Some(("*", _)) => (None, written.rsplit('/').next().unwrap_or(written)),
            Some((".", host)) => (Some(Arc::clone(own)), host),
            Some((namespace, host)) => (Some(namespace.into()), host),
        };
        Self { namespace, host: Host::new(host) }
    }
}

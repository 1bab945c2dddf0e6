//! At which Gateways a VirtualService claims hosts: those that it names, and, as guide 002 has it, two cases more.
//!
//! - *Unlisted*: a VirtualService that shares no host with any of the Gateways that it names, all of them of its own
//!   namespace and of nothing but plain HTTP, is routed there all the same, unless any Gateway here, but for its TCP ports, says more of one of
//!   these hosts than a wider wildcard of plain HTTP in the same namespace. Istio leaves
//!   them to that wildcard, and answers 404 where there is none.
//! - *Adopted*: a Gateway that terminates HTTPS and that no VirtualService names takes hosts that others of its namespace
//!   already answer in plain HTTP (see [`super::adoption`]). Istio answers 404.
//!
//! Neither shows to anybody what was not open in plain text or asked for by name; the status names the field that says it
//! in Istio's way.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_api::{Kind, ObjectKey};

use super::Index;
use super::index::Place;
use crate::model::gateway::{Class, Gateway, Server};
use crate::model::host::Host;
use crate::model::virtual_service::VirtualService;

/// Why a VirtualService claims hosts at a Gateway.
#[derive(Clone, Debug)]
pub(crate) enum How {
    /// It names the Gateway, which lists the hosts.
    Listed,
    /// It names Gateways, none of which lists any of its hosts.
    Unlisted,
    /// Nobody names the Gateway; it takes these hosts, which are open in plain HTTP.
    Adopted(BTreeSet<Host>),
}

impl Index {
    /// The Gateways at which a VirtualService claims hosts.
    pub(crate) fn reach(&self, service: &VirtualService) -> Vec<(Arc<str>, How)> {
        let how = if self.is_unlisted(service) { How::Unlisted } else { How::Listed };
        let named = service.gateways.iter().map(|gateway| (Arc::clone(gateway), how.clone()));
        let unnamed = self.unnamed_in(&service.key.namespace).iter();
        let adopting = unnamed.filter_map(|gateway| {
            let taken = self.adoption(gateway)?.taken.get(&service.key)?;
            Some((Arc::clone(gateway), How::Adopted(taken.clone())))
        });
        named.chain(adopting).collect()
    }

    /// The VirtualServices that claim hosts at a Gateway, in the order in which they apply.
    pub(crate) fn reaching(&self, gateway: &str) -> Vec<(&VirtualService, How)> {
        if self.naming(gateway).next().is_some() {
            let how = |service| if self.is_unlisted(service) { How::Unlisted } else { How::Listed };
            return self.bound_to(gateway).map(|service| (service, how(service))).collect();
        }
        let taken = self.adoption(gateway).into_iter().flat_map(|adoption| &adoption.taken);
        let adopted = taken.filter_map(|(key, hosts)| {
            Some((&**self.virtual_service(key)?, How::Adopted(hosts.clone())))
        });
        adopted.collect()
    }

    /// Whether a VirtualService is routed for hosts that none of its Gateways lists.
    pub(crate) fn is_unlisted(&self, service: &VirtualService) -> bool {
        self.is_stray(&service.key) && self.keeper(service).is_none()
    }

    /// Where none of its Gateways lists any of a VirtualService's hosts: a server that has one of them and does not leave it.
    pub(crate) fn keeper(&self, service: &VirtualService) -> Option<&Arc<Server>> {
        if !self.is_stray(&service.key) {
            return None; // It is not told again when others come and go.
        }
        // The oldest Gateway's first.
        let like: BTreeSet<&Place> =
            service.hosts.iter().flat_map(|host| self.servers_like(host)).collect();
        let servers = like.into_iter().filter_map(|place| self.server_at(place));
        servers.into_iter().find(|server| !leaves(server, service))
    }

    /// The VirtualServices that share no host with their Gateways and that a Gateway keeps from being routed all the same.
    pub(super) fn kept_by(&self, gateway: &Gateway) -> BTreeSet<ObjectKey> {
        let servers = gateway.servers.iter();
        let like = servers.flat_map(|server| {
            let strays = server.names().flat_map(|host| self.strays_like(host));
            strays.filter(move |service| !leaves(server, service))
        });
        like.map(|service| service.key.clone()).collect()
    }

    /// The gateways at which a VirtualService may claim hosts as things stand.
    pub(super) fn reached<'a>(
        &'a self,
        service: &'a VirtualService,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let unnamed = self.unnamed_in(&service.key.namespace).iter();
        let adopting = unnamed.filter(|gateway| {
            self.adoption(gateway).is_some_and(|taken| taken.taken.contains_key(&service.key))
        });
        service.gateways.iter().chain(adopting)
    }

    /// Whether a VirtualService shares no host with any of its Gateways, which are open to anybody.
    pub(super) fn strays(&self, service: &VirtualService) -> bool {
        let namespace = &service.key.namespace;
        let open = |server: &Arc<Server>| {
            is_plain(server)
                && server.hosts.iter().all(|host| {
                    let ours = host.namespace.as_ref().is_none_or(|own| own == namespace);
                    ours && !service.hosts.iter().any(|own| own.overlaps(&host.host))
                })
        };
        !service.in_mesh
            && !service.gateways.is_empty()
            && !service.hosts.is_empty()
            && service.gateways.iter().all(|name| {
                // The first costs the same however many servers there are.
                self.own_gateway(name, namespace).is_some_and(|gateway| {
                    !gateway.hosts.overlaps(&service.hosts, namespace)
                        && gateway.servers.iter().all(open)
                })
            })
    }

    /// Whether none of the Gateways of its namespace that a VirtualService names asks TLS for a host of it, or sends there.
    pub(super) fn is_in_plain_text(&self, service: &VirtualService) -> bool {
        let namespace = &service.key.namespace;
        let own = service.gateways.iter().filter_map(|name| self.own_gateway(name, namespace));
        own.flat_map(|gateway| &gateway.servers)
            .all(|server| is_plain(server) || !server.hosts.overlaps(&service.hosts, namespace))
    }

    /// A Gateway of a namespace that is served here, by `NAMESPACE/NAME`.
    fn own_gateway(&self, name: &str, namespace: &str) -> Option<&Gateway> {
        let (own, name) = name.split_once('/')?;
        let key = || ObjectKey::new(Kind::Gateway, own, name);
        (own == namespace).then(|| self.gateway(&key())).flatten()
    }
}

/// Whether anybody may send requests to a server, in plain text.
fn is_plain(server: &Server) -> bool {
    server.class() == Class::Http && !server.redirects_to_https()
}

/// Whether a server leaves a VirtualService's hosts to it: it has none of them, or holds the door open for all names under
/// a wildcard, in plain text and in the same namespace. Where bytes are passed on, no host is anybody's.
fn leaves(server: &Server, service: &VirtualService) -> bool {
    let namespace = &service.key.namespace;
    let opens = is_plain(server) && server.key.namespace == *namespace;
    server.class() == Class::Tcp
        || server.hosts.iter().all(|listed| {
            let ours = listed.namespace.as_ref().is_none_or(|own| own == namespace);
            let mut both = service.hosts.iter().filter(|host| host.overlaps(&listed.host));
            both.all(|host| opens && ours && host.is_narrower_than(&listed.host))
        })
}

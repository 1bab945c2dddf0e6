//! What is different where a sidecar decides: connections are redirected to it, and it asks where they were dialled to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidegate_api::ObjectKey;
use tidegate_pilot::model::host::Host;
use tidegate_pilot::model::names;
use tidegate_pilot::origins::{Origin, RouteOrigin};
use tidegate_proxy::config::listener::Listener;

use crate::World;
use crate::answer::{Answer, End, Error, Lost, Part};
use crate::follow::Refusal;
use crate::lost::without_port;
use crate::question::{Direction, Protocol, Question, Security};

/// The endpoint of a cluster that keeps the address that was dialled.
pub(crate) const DIALLED: &str = "the address that was dialled";

/// An address that belongs to nobody.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

impl World {
    /// The address that a workload dials for a name, as far as objects say it.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<IpAddr> {
        self.pilot.address_of(name)
    }

    /// The listener that serves a redirected connection.
    pub(crate) fn captured(
        &self,
        question: &Question,
        answer: &mut Answer,
    ) -> Result<&Listener, Refusal> {
        let entry = match question.direction.unwrap_or_default() {
            Direction::Outbound => tidegate_pilot::compile::sidecar::VIRTUAL_OUTBOUND,
            Direction::Inbound => {
                let reason = "what comes in to a workload is not compiled yet".to_owned();
                return Err((Error::NoListener, None, reason));
            }
        };
        let Some(entry) = self.config.listeners.get(entry) else {
            let refused = self.rejected.iter().find(|rejection| *rejection.name == *entry);
            let reason = refused.map_or_else(String::new, |refused| refused.reason.clone());
            return Err((Error::NoListener, None, format!("the sidecar has no {entry}: {reason}")));
        };
        let dialled = SocketAddr::new(question.address.unwrap_or(NOBODY), question.port);
        let listener = self.config.handed_on(entry, dialled);
        let owners =
            self.pilot.owners(tidegate_xds::ResourceType::Listener, &listener.name).into_iter();
        answer.listener = Some(Part {
            name: listener.name.to_string(),
            asks: String::new(),
            from: owners.map(|key| self.whole(key)).collect(),
        });
        Ok(listener)
    }
}

/// What the HTTP inspector says of a connection; `None` where nobody looks, or where there is no request in plain text.
pub(crate) fn sniffed(listener: &Listener, question: &Question) -> Option<&'static str> {
    let looks = listener.capture.finds_requests && question.security == Security::Plain;
    match question.protocol {
        Protocol::Http1 if looks => Some("http/1.1"),
        Protocol::Http2 if looks => Some("h2c"),
        _ => None,
    }
}

/// Says of connections and requests that nobody describes where they go what becomes of them.
pub(crate) fn note_elsewhere(answer: &mut Answer) {
    let to = |name: &str| answer.clusters.iter().any(|cluster| cluster.name == name);
    if to(names::PASSTHROUGH_CLUSTER) {
        let note = "no object describes where it goes; outboundTrafficPolicy is ALLOW_ANY, so that it goes to where the \
                    client dialled";
        answer.notes.push(note.to_owned());
    } else if to(names::BLACK_HOLE_CLUSTER) {
        let reason = format!(
            "{}: no object describes where it goes, and outboundTrafficPolicy is REGISTRY_ONLY; a ServiceEntry would let \
             it through",
            names::BLACK_HOLE_CLUSTER
        );
        answer.end = End::Unavailable { status: None, reason };
    }
}

/// VirtualServices that are no part of a virtual host, and why.
pub(crate) fn objects(world: &World, part: &[ObjectKey], port: u16, host: &str) -> Vec<Lost> {
    let part: BTreeSet<&ObjectKey> = part.iter().collect();
    let mut others: Vec<_> =
        world.pilot.virtual_services().filter(|service| !part.contains(&service.key)).collect();
    others.sort_by(|a, b| a.key.cmp(&b.key));
    let options = world.pilot.options();
    let host = Host::new(&world.pilot.host_called(without_port(host)));
    let lost_hosts = world.pilot.lost_hosts(&port.to_string());
    let mut lost = Vec::new();
    for service in others {
        let mut lose = |path: &str, refused: String| {
            let origin = Origin { key: service.key.clone(), path: path.to_owned() };
            let from = vec![world.source(&origin)];
            lost.push(Lost { at: "object", name: String::new(), refused, from });
        };
        if service.hosts.is_empty() {
            lose("spec", "it is a delegate, and nothing that leads to it is asked here".to_owned());
        } else if !service.in_mesh {
            let bound = service.gateways.join(", ");
            lose("spec.gateways", format!("it is bound to {bound}, and not to the mesh"));
        } else if service.order.is_none() {
            let namespace = &options.namespace;
            lose("spec.exportTo", format!("its exportTo hides it from namespace {namespace}"));
        } else if let Some(before) = lost_hosts.iter().find(|lost| lost.loser == service.key) {
            let (host, winner) = (&before.host, &before.winner);
            let refused = format!(
                "requests for {host} belong to {winner}, which is older or for a narrower host; in the mesh rules of \
                 several VirtualServices are not merged"
            );
            lose("spec.hosts", refused);
        } else if !service.hosts.iter().any(|own| host.is_within(own)) {
            let hosts: Vec<&str> = service.hosts.iter().map(Host::as_str).collect();
            lose("spec.hosts", format!("its hosts are {}", hosts.join(", ")));
        } else {
            lost.extend(world.pilot.idle_in_mesh(&service.key, port).into_iter().map(
                |(origin, refused)| Lost {
                    at: "route",
                    name: String::new(),
                    refused,
                    from: RouteOrigin::parts(&origin).map(|o| world.source(o)).collect(),
                },
            ));
        }
    }
    lost
}

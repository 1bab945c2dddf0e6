//! What is different where a sidecar decides: connections are redirected to it, and it asks where they were dialled to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidegate_api::{Kind, ObjectKey};
use tidegate_pilot::compile::sidecar::VIRTUAL_OUTBOUND;
use tidegate_pilot::model::host::Host;
use tidegate_pilot::model::names;
use tidegate_pilot::model::tls::Credential;
use tidegate_pilot::origins::Origin;
use tidegate_pilot::sidecar::inbound::VIRTUAL_INBOUND;
use tidegate_pilot::sidecar::routes::TableName;
use tidegate_pilot::sidecar::{INBOUND_PORT, OUTBOUND_PORT};
use tidegate_proxy::config::listener::Listener;
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::tls::context::NotReady;
use tidegate_proxy::tls::secret::Missing;
use tidegate_xds::ResourceType;

use crate::World;
use crate::answer::{Answer, End, Error, Lost, Part};
use crate::follow::Refusal;
use crate::lost::{idle, without_port};
use crate::question::{Direction, Protocol, Question, Security};
use crate::remedy::{self, Refused, Wire};

/// The endpoint of a cluster that keeps the address that was dialled.
pub(crate) const DIALLED: &str = "the address that was dialled";

/// The endpoint of a cluster that resolves what clients ask for.
pub(crate) const ASKED: &str = "the host that is asked for, resolved by the proxy";

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
            Direction::Outbound => VIRTUAL_OUTBOUND,
            Direction::Inbound => VIRTUAL_INBOUND,
        };
        let Some(entry) = self.config.listeners.get(entry) else {
            let refused = self.rejected.iter().find(|rejection| *rejection.name == *entry);
            let reason = refused.map_or_else(String::new, |refused| refused.reason.clone());
            return Err((Error::NoListener, None, format!("the sidecar has no {entry}: {reason}")));
        };
        let dialled = SocketAddr::new(question.address.unwrap_or(NOBODY), question.port);
        let listener = self.config.handed_on(entry, dialled);
        // One for everything that comes in is made of all that there is: its chains say of what.
        let owners = match &*listener.name {
            VIRTUAL_INBOUND => Vec::new(),
            name => self.pilot.owners(ResourceType::Listener, name),
        };
        answer.listener = Some(Part {
            name: listener.name.to_string(),
            asks: String::new(),
            from: owners.into_iter().map(|key| self.whole(key)).collect(),
        });
        self.note_faults(&listener.name, answer);
        Ok(listener)
    }

    /// Says what of the objects that act on a listener is not in force.
    fn note_faults(&self, listener: &str, answer: &mut Answer) {
        let kinds = [Kind::EnvoyFilter, Kind::AuthorizationPolicy, Kind::RequestAuthentication];
        // Policies say what comes in.
        let kinds = if listener == VIRTUAL_INBOUND { &kinds[..] } else { &kinds[..1] };
        let keys = kinds.iter().flat_map(|kind| self.keys(*kind));
        let faults = keys.filter_map(|key| {
            let standing = self.pilot.standing(key)?;
            let fault = standing.fault.as_ref()?;
            // What is about others has nothing to do with what was asked.
            (!standing.force.is_elsewhere())
                .then(|| format!("not all of {key} is in force: {fault}"))
        });
        answer.notes.extend(faults);
    }
}

impl World {
    /// Why no filter chain takes what comes in to a workload, and what would be taken; `None` where something else decides.
    pub(crate) fn untaken(&self, question: &Question) -> Option<(String, Option<String>)> {
        if question.direction != Some(Direction::Inbound) {
            return None;
        }
        let port = question.port;
        let strict =
            self.pilot.taken_from_peers(port).by.map_or_else(String::new, |(key, path)| match self
                .has(&key)
            {
                true => format!("{path} of {key} is STRICT"),
                false => format!("{key} cannot be read, and nobody knows what it asks for"),
            });
        let mutual =
            "mutual TLS of the mesh would be taken (--tls --alpn istio-http/1.1 --client-cert yes)";
        let reason = match question.security {
            Security::Plain => format!(
                "the connection is plain text, and port {port} takes mutual TLS alone: {strict}"
            ),
            Security::Tls => format!(
                "port {port} carries requests, in plain text or in mutual TLS of the mesh, whose ClientHello names an ALPN \
                 protocol of the mesh (istio, istio-http/1.1, …); this one names {}",
                named(&question.alpn)
            ),
        };
        Some((reason, Some(mutual.to_owned())))
    }

    /// Whether handshakes lack only what a sidecar has and nobody gave here: the certificates of the mesh.
    pub(crate) fn presumes(&self, fault: &NotReady) -> bool {
        let options = self.pilot.options();
        let of_mesh = |name: &str| {
            [Credential::MeshPair, Credential::MeshAuthorities]
                .iter()
                .any(|c| c.to_string() == name)
        };
        let given = options.workload_certificates.is_some();
        options.workload().is_some()
            && !given
            && matches!(fault, NotReady::Missing(Missing { name, .. }) if of_mesh(name))
    }
}

/// What a ClientHello offers in ALPN, in words.
fn named(alpn: &[String]) -> String {
    match alpn {
        [] => "none".to_owned(),
        some => some.join(", "),
    }
}

/// How a connection is secured, in words.
pub(crate) fn shown(question: &Question) -> String {
    match question.security {
        Security::Plain => "plain text".to_owned(),
        Security::Tls => format!("TLS, whose ALPN names {}", named(&question.alpn)),
    }
}

/// What the HTTP inspector says of a connection; `None` where nobody looks, or where there is no request in plain text.
pub(crate) fn sniffed(listener: &Listener, question: &Question) -> Option<&'static str> {
    let looks = listener.looks_for_requests(question.port) && question.security == Security::Plain;
    match question.protocol {
        Protocol::Http | Protocol::Http1 if looks => Some("http/1.1"),
        Protocol::Http2 if looks => Some("h2c"),
        _ => None,
    }
}

impl World {
    /// The route configuration that the requests of a question belong to, where they share one.
    fn table(&self, question: &Question) -> TableName {
        match &question.unix_socket {
            Some(path) => TableName::Socket(format!("unix://{path}").into()),
            None => TableName::Port(question.port),
        }
    }

    /// Says who hides the host that a workload asks for.
    pub(crate) fn note_hidden(&self, question: &Question, answer: &mut Answer) {
        let name = match question.host.as_str() {
            "" => question.sni.as_deref(),
            host => Some(without_port(host)),
        };
        let Some(name) = name.filter(|_| question.direction != Some(Direction::Inbound)) else {
            return;
        };
        let host = self.pilot.host_called(name);
        if let Some(Origin { key, path }) =
            self.pilot.hides_host(&host, &self.table(question), question.port)
        {
            answer.notes.push(format!(
                "{key} hides {host} from this workload: none of its {path}[].hosts brings it in"
            ));
        }
    }

    /// Says of what may not go out what would let it, unless it is there and hidden from this workload.
    pub(crate) fn note_denied(&self, question: &Question, answer: &mut Answer) {
        let plain = question.security == Security::Plain;
        let wire = match question.protocol {
            Protocol::Tcp if plain => Wire::Tcp,
            _ if plain => Wire::Http,
            _ => Wire::Tls,
        };
        if let (Wire::Http, End::Unavailable { reason, .. }) = (wire, &answer.end) {
            // The proxy looks into what it refuses.
            answer.end = End::Unavailable { status: Some(502), reason: reason.clone() };
        }
        let name = match wire {
            Wire::Http => Some(without_port(&question.host).to_ascii_lowercase()),
            Wire::Tls => question.sni.clone().or_else(|| Some(question.host.clone())),
            Wire::Tcp => None,
        };
        let host = name.filter(|name| !name.is_empty());
        let hidden = host.as_ref().and_then(|name| {
            let host = self.pilot.host_called(name);
            self.pilot.hides_host(&host, &self.table(question), question.port)
        });
        if hidden.is_some() {
            return;
        }
        let named = host.as_deref().map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>());
        let (host, address) = match named {
            Some(Ok(address)) => (None, Some(address)),
            _ => (host, question.address),
        };
        let refused = Refused { wire, host, address, port: question.port, gateway: None };
        let namespace = &self.pilot.options().namespace;
        answer.remedy = remedy::service_entries(&[refused], namespace).pop();
    }

    /// Says of connections and requests that nobody describes where they go what becomes of them.
    pub(crate) fn note_elsewhere(&self, port: u16, answer: &mut Answer) {
        let to = |name: &str| answer.clusters.iter().any(|cluster| cluster.name == name);
        if to(names::INBOUND_PASSTHROUGH_CLUSTER) {
            let note = "no service leads to this port of the workload: what comes in goes to where the client dialled";
            answer.notes.push(note.to_owned());
            answer.notes.extend(self.pilot.behind_port(port).map(|(key, target)| {
                format!(
                    "port {port} of {key} leads to port {target} of the workload (--port {target})"
                )
            }));
        } else if to(names::PASSTHROUGH_CLUSTER) {
            let note = "no object describes where it goes; outboundTrafficPolicy is ALLOW_ANY, so that it goes to where the \
                    client dialled";
            answer.notes.push(note.to_owned());
        } else if to(names::ALLOW_ANY_DYNAMIC_DNS_CLUSTER) {
            let note = "no object describes where it goes; outboundTrafficPolicy is ALLOW_ANY_DYNAMIC_DNS, so that it goes to the host \
                    that it asks for, which the proxy resolves";
            answer.notes.push(note.to_owned());
        } else if to(names::BLACK_HOLE_CLUSTER) && [INBOUND_PORT, OUTBOUND_PORT].contains(&port) {
            let reason = format!(
                "{}: port {port} is the sidecar's own, and connections to it would go round in a circle",
                names::BLACK_HOLE_CLUSTER
            );
            answer.end = End::Unavailable { status: None, reason };
        } else if to(names::BLACK_HOLE_CLUSTER) {
            let reason = format!(
                "{}: no object describes where it goes, and outboundTrafficPolicy is REGISTRY_ONLY; a ServiceEntry would let \
             it through",
                names::BLACK_HOLE_CLUSTER
            );
            answer.end = End::Unavailable { status: None, reason };
        }
    }
}

/// VirtualServices that are no part of a virtual host, and why.
pub(crate) fn objects(
    world: &World,
    part: &[ObjectKey],
    question: &Question,
    (host, head): (&str, &RequestHead),
) -> Vec<Lost> {
    let port = question.port;
    if question.direction == Some(Direction::Inbound) {
        return Vec::new(); // Rules act where requests leave.
    }
    let part: BTreeSet<&ObjectKey> = part.iter().collect();
    let mut others: Vec<_> =
        world.pilot.virtual_services().filter(|service| !part.contains(&service.key)).collect();
    others.sort_by(|a, b| a.key.cmp(&b.key));
    let options = world.pilot.options();
    let host = Host::new(&world.pilot.host_called(without_port(host)));
    let lost_hosts = world.pilot.lost_hosts(&world.table(question).to_string());
    let mut lost = Vec::new();
    for service in others {
        let here = service.hosts.iter().any(|own| host.is_within(own));
        let mut lose = |path: &str, refused: String| {
            let origin = Origin { key: service.key.clone(), path: path.to_owned() };
            lost.push(Lost { far: !here, ..Lost::object(world.source(&origin), refused) });
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
        } else if let Some(by) =
            world.pilot.hides_rules(&service.key, &world.table(question)).filter(|_| here)
        {
            let refused = format!("{} does not bring it in ({}[].hosts)", by.key, by.path);
            lose("spec.hosts", refused);
        } else if !here {
            let hosts: Vec<&str> = service.hosts.iter().map(Host::as_str).collect();
            lose("spec.hosts", format!("its hosts are {}", hosts.join(", ")));
        } else {
            lost.extend(idle(world, &world.pilot.idle_in_mesh(&service.key, port), head));
        }
    }
    lost
}
